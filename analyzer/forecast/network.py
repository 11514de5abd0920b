"""The network of a forecast, built again from its scenario and checked against what the forecast says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segcast.analyzer.forecast.reading import groups_of, read_document
from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.disk.folders import FORECAST
from segcast.traces.errors import InputError


def network_of(folder: Path, scenario: ValidScenario) -> Assembled:
    """The network that the forecast in `folder` ran on, without its hosts' links and before any event.

    `scenario` is the forecast's own, or another of the same network. Raises InputError if its links and paths are not
    those that forecast.json names: path and link numbers in the forecast's tables would mean others.
    """
    assembled = scenario.between(groups_of(folder))
    network = assembled.network
    stated = read_document(folder).network
    links = [link.name for link in stated.links]
    if scenario.network.host_links is not None:
        links = links[: len(network.links)]
    ours = [link.name for link in network.links]
    different = _difference("link", [[name] for name in links], [[name] for name in ours]) or _difference(
        "path",
        [path.links for path in stated.paths],
        [[ours[link] for link in path.links] for path in network.paths],
    )
    if different:
        raise InputError(
            f"{scenario.source}: is of another network than {folder / FORECAST.marker}, {different}; "
            "run segcast forecast again with this scenario"
        )
    return assembled


def _difference(what: str, theirs: Sequence[Sequence[str]], ours: Sequence[Sequence[str]]) -> str:
    """In words, the first place where two lists of names differ; empty if they do not."""
    for number, (a, b) in enumerate(zip(theirs, ours, strict=False)):
        if list(a) != list(b):
            return f"whose {what} {number} is {', '.join(a) or 'empty'} instead of {', '.join(b) or 'empty'}"
    return "" if len(theirs) == len(ours) else f"which has {len(theirs)} {what}s instead of {len(ours)}"
