"""Scenarios in a call: a network or a file, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segcast.analyzer.scenario.flags import growth_of, scenario_of
from segcast.analyzer.scenario.model import Scenario
from segcast.analyzer.scenario.reading import read_scenario, validated
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.toml_keys import written
from segcast.library.networks import Network

Asks = Network | Scenario | str | Path
"""A network, a whole scenario, the file of one, or a folder that has one, such as a forecast."""


def scenario(
    network: Asks,
    *,
    policies: Sequence[str | dict[str, Any]] | None = None,
    timeouts: Sequence[str | dict[str, Any]] | None = None,
    load: float | str | Sequence[float | str] | None = None,
    growth: str | Sequence[float] | None = None,
    until: str | None = None,
    seeds: int | Sequence[int] | None = None,
    transport: str | dict[str, Any] | None = None,
    slo: str | None = None,
    **more: Any,
) -> ValidScenario:
    """The scenario of a network and what is asked of it; of a whole scenario, with what is given in its place.

    `seeds` is how many, from 1 on, or which. `more` are further keys of a scenario (docs/scenario.md). Raises
    InputError, naming the key.
    """
    fields: dict[str, Any] = {"policies": policies, "timeouts": timeouts, **more}
    fields["load"] = [load] if isinstance(load, int | float | str) else load
    fields["seeds"] = list(range(1, seeds + 1)) if isinstance(seeds, int) else seeds
    fields["transport"] = {"control": transport} if isinstance(transport, str) else transport
    fields["slo"] = None if slo is None else {"keep": slo}
    fields["growth"] = growth_of(growth, until) if growth is None or isinstance(growth, str) else {"factor": growth}
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(network, Network):
        return validated({"network": network.spec, **given}, written)
    whole = network if isinstance(network, Scenario) else read_scenario(_file_of(network))
    return _changed(whole, given)


def swept_scenario(network: Asks, **asked: Any) -> ValidScenario:
    """The same for who runs sweeps: what is read may say what is swept. Raises InputError."""
    if isinstance(network, str | Path):
        network = read_scenario(_file_of(network), swept=True)
    return scenario(network, **asked)


def scenario_from_flags(
    flags: Mapping[str, Any], file: str | Path | None = None, *, swept: bool = False
) -> ValidScenario:
    """The scenario that a command's flags mean, each by its name and as text: `{"paths": "4x10Gbps", "load": "50%"}`.

    With `file` only those that go with one may be given: growth, until, resamples and block. `swept`: the file may say
    what a sweep varies. A flag that is None is not given. Raises InputError, naming the flag.
    """
    return scenario_of(None if file is None else Path(file), dict(flags), swept=swept)


def _changed(whole: Scenario, given: dict[str, Any]) -> ValidScenario:
    """A whole scenario with other values of some keys; later errors still name its file."""
    if not given and isinstance(whole, ValidScenario):
        return whole
    made = validated(whole.model_dump(mode="json", exclude_none=True) | given, written)
    return whole.with_origin_of(made) if isinstance(whole, ValidScenario) else made


def _file_of(place: str | Path) -> Path:
    path = Path(place)
    return path / "scenario.toml" if path.is_dir() else path
