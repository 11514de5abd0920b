"""What a question varies: the load, links' rates, the number of paths, buffers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from segcast.analyzer.network.shapes import LinkShape
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.topologies.leaf_spine import LeafSpineSpec
from segcast.analyzer.topologies.parallel import ParallelSpec, PathSpec
from segcast.traces.errors import InputError
from segcast.traces.units import rate_bps, say_number, size_bytes, write_rate, write_size

_MOST_LOAD: Final = 1000.0
_LEAST_LOAD: Final = 0.001


@dataclass(frozen=True, slots=True)
class Axis:
    """A quantity of a scenario. `rises`: more of it is worse; `whole`: it is counted.

    `read` and `write` are its text, `put` gives the scenario with another value of it, `now` the scenario's own. `noun`
    says what it is.
    """

    name: str
    noun: str
    rises: bool
    whole: bool
    read: Callable[[str], float]
    write: Callable[[float], str]
    put: Callable[[ValidScenario, float], ValidScenario]
    now: Callable[[ValidScenario], float]
    least: float
    most: float

    def place(self, value: float) -> float:
        """Where a value is on the axis of a search, on which further is worse."""
        along = value if self.whole else math.log(value)
        return along if self.rises else -along

    def value(self, place: float) -> float:
        """The value at a place, as exactly as a scenario says it."""
        along = place if self.rises else -place
        if self.whole:
            return float(round(along))
        value = math.exp(along)
        return round(value, 6) if self.name == "load" else float(round(value))

    def between(self, text: str) -> tuple[float, float]:
        """The least and the greatest value of a text like `0.2..1.5`. Raises InputError."""
        parts = text.split("..")
        if len(parts) != 2:
            raise InputError(f"--between {text!r}: write it like {self.write(self.least)}..{self.write(self.most)}")
        low, high = (self._bound(text, part.strip()) for part in parts)
        if not low < high:
            raise InputError(f"--between {text!r}: the first bound must be the lower one")
        return low, high

    def _bound(self, text: str, part: str) -> float:
        try:
            value = self.read(part)
        except InputError as error:
            raise InputError(f"--between {text!r}: {error}") from None
        if not self.least <= value <= self.most:
            raise InputError(
                f"--between {text!r}: {part} is not within {self.write(self.least)} to {self.write(self.most)}"
            )
        return value


def axis_named(name: str) -> Axis:
    """The axis of that name. Raises InputError."""
    if name not in AXES:
        raise InputError(f"--over {name!r}: there are {', '.join(AXES)}")
    return AXES[name]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise InputError(f"{text!r} is not a finite number")
    return value


def _whole(text: str) -> float:
    if not text.isdecimal():
        raise InputError(f"{text!r} is not a whole number")
    return float(int(text[:9]))


def _with_load(scenario: ValidScenario, value: float) -> ValidScenario:
    return scenario.model_copy(update={"load": (value,)})


def _shapes(scenario: ValidScenario) -> list[LinkShape]:
    """The links' shapes that lie between attachments; hosts' links are not meant."""
    network: Any = scenario.network
    if isinstance(network, ParallelSpec):
        return [link for path in network.paths for link in path.links]
    links = network.links
    return list(links) if isinstance(links, tuple | list) else [links]


def _alike(scenario: ValidScenario, field: str, axis: str) -> float:
    values = {getattr(shape, field) for shape in _shapes(scenario)}
    if len(values) > 1 or any(getattr(each, field, None) is not None for each in scenario.network.overrides):
        raise InputError(
            f"{scenario.source}: --over {axis} needs links that are alike, and these have several; "
            "ask --over load instead"
        )
    (value,) = values
    if value is None:
        raise InputError(f"{scenario.source}: --over {axis}: the scenario's links have no {field}")
    return float(value)


def _with_shapes(scenario: ValidScenario, **changes: int | None) -> ValidScenario:
    network: Any = scenario.network
    if isinstance(network, ParallelSpec):
        paths = [
            path.model_copy(update={"links": tuple(link.model_copy(update=changes) for link in path.links)})
            for path in network.paths
        ]
        return scenario.model_copy(update={"network": network.model_copy(update={"paths": tuple(paths)})})
    if isinstance(network.links, tuple | list):
        links: Any = tuple(link.model_copy(update=changes) for link in network.links)
    else:
        links = network.links.model_copy(update=changes)
    return scenario.model_copy(update={"network": network.model_copy(update={"links": links})})


def _paths_now(scenario: ValidScenario) -> float:
    network = scenario.network
    if isinstance(network, LeafSpineSpec):
        return float(network.spines)
    if isinstance(network, ParallelSpec):
        return float(len(network.paths))
    raise InputError(
        f"{scenario.source}: --over paths is for leaf-spine and parallel networks; a {scenario.kind} has its own shape"
    )


def _with_paths(scenario: ValidScenario, value: float) -> ValidScenario:
    network, count = scenario.network, int(value)
    if isinstance(network, LeafSpineSpec):
        return scenario.model_copy(update={"network": network.model_copy(update={"spines": count})})
    assert isinstance(network, ParallelSpec)
    paths = list(network.paths[:count])
    while len(paths) < count:
        paths.append(_again(network.paths[len(paths) % len(network.paths)], len(paths)))
    return scenario.model_copy(update={"network": network.model_copy(update={"paths": tuple(paths)})})


def _again(path: PathSpec, number: int) -> PathSpec:
    """A further path like one that there is; its SIDs are allocated."""
    links = tuple(link.model_copy(update={"name": f"{link.name}+{number}"}) for link in path.links)
    return path.model_copy(update={"segments": (), "links": links})


AXES: Final = {
    axis.name: axis
    for axis in (
        Axis(
            "load",
            "load",
            True,
            False,
            _number,
            say_number,
            _with_load,
            lambda scenario: float(scenario.offered[0].rate),
            _LEAST_LOAD,
            _MOST_LOAD,
        ),
        Axis(
            "links.rate",
            "rate of links",
            False,
            False,
            lambda text: float(rate_bps(text)),
            lambda value: write_rate(round(value)),
            lambda scenario, value: _with_shapes(scenario, rate=round(value)),
            lambda scenario: _alike(scenario, "rate", "links.rate"),
            1e3,
            1e14,
        ),
        Axis(
            "paths",
            "number of paths",
            False,
            True,
            _whole,
            lambda value: str(round(value)),
            _with_paths,
            _paths_now,
            1,
            1024,
        ),
        Axis(
            "buffer",
            "buffer of links",
            False,
            False,
            lambda text: float(size_bytes(text)),
            lambda value: write_size(round(value)),
            lambda scenario, value: _with_shapes(scenario, buffer=round(value)),
            lambda scenario: _alike(scenario, "buffer", "buffer"),
            64,
            2**40,
        ),
    )
}
