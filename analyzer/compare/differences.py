"""What two forecasts were asked, key by key, and whether the same traffic was sent in both."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from segcast.analyzer.compare.document import StatedDifference
from segcast.analyzer.forecast.document import ForecastTrace
from segcast.analyzer.toml_keys import read_toml

_NAMES: Final = ("label", "name", "at", "node", "link", "prefix")
_OF_TRAFFIC: Final = ("traffic.", "growth.by", "growth.seed", "growth.groups")
_RESULTS: Final = ("slo.", "cost.", "packets")
_ASKED: Final = ("load", "seeds")
_CHOSEN: Final = ("policies", "timeouts")
_CHOICES: Final = tuple(f"{key}[" for key in _CHOSEN)
_PLACE: Final = re.compile(r"\[[^\]]*\]")
_LONGEST: Final = 60
_THERE: Final = "there"


def scenario_of(folder: Path) -> dict[str, Any]:
    """What the scenario in a forecast folder says. Raises InputError."""
    _, found = read_toml(folder / "scenario.toml", "scenario")
    return found


def differences(
    traces: tuple[ForecastTrace, ForecastTrace], scenarios: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[StatedDifference]:
    """What is not the same, what is sent first."""
    found = list(_of_traces(*traces))
    first, second = (dict(_keys(scenario)) for scenario in scenarios)
    alone = tuple(f"{key}." for key in {*first} ^ {*second} if key.endswith("]"))
    for key in sorted({*first, *second}):
        one, other = first.get(key), second.get(key)
        if one != other and not key.startswith(alone):  # of what only one has, its name is enough
            of: Any = "traffic" if key.startswith(_OF_TRAFFIC) else "scenario"
            found.append(StatedDifference(of=of, key=key, first=one, second=other))
    return sorted(found, key=lambda difference: difference.of != "traffic")


def causes(found: Sequence[StatedDifference]) -> list[StatedDifference]:
    """Those that results of what both have can follow from.

    Prices, budgets and what is kept change none; what only one was asked has nothing beside it in the other.
    """
    return [
        each
        for each in found
        if not each.key.startswith(_RESULTS)
        and each.key not in _ASKED
        and not (each.key.startswith(_CHOICES) and None in (each.first, each.second))
    ]


def folded(found: Sequence[StatedDifference]) -> list[tuple[str, str | None, str | None]]:
    """Key, first and second; keys that differ alike at several places of lists as one, such as `links[*].rate`."""
    groups: dict[tuple[str, str | None, str | None], list[str]] = {}
    for each in found:
        groups.setdefault((_PLACE.sub("[*]", each.key), each.first, each.second), []).append(each.key)
    return [
        (keys[0] if len(keys) == 1 else f"{pattern} ({len(keys)})", first, second)
        for (pattern, first, second), keys in groups.items()
    ]


def _of_traces(first: ForecastTrace, second: ForecastTrace) -> Iterator[StatedDifference]:
    """What is sent is the same if the bytes of all captures are, and they are read alike.

    Where a digest is missing nobody knows, so it counts as different.
    """
    digests = [[source.xxh128 for source in trace.sources] for trace in (first, second)]
    if digests[0] != digests[1] or not all(digests[0]) or not digests[0]:
        yield _difference("trace.sources", _captures(first), _captures(second))
    for key in ("kind", "layer", "reacts"):
        one, other = getattr(first, key), getattr(second, key)
        if one != other:
            yield _difference(f"trace.{key}", _text(one), _text(other))


def _difference(key: str, first: str, second: str) -> StatedDifference:
    return StatedDifference(of="traffic", key=key, first=first, second=second)


def _captures(trace: ForecastTrace) -> str:
    """Captures by name and the beginning of their digest, so that two of one name are told apart."""
    named = [f"{Path(source.path).name} ({source.xxh128[:8] or 'no digest'})" for source in trace.sources]
    return ", ".join(named) or "not said"


def _keys(value: Any, before: str = "") -> Iterator[tuple[str, str]]:
    """Every key with its value as text; tables of a list go by their name, where that is theirs alone."""
    if isinstance(value, Mapping):
        if before and not value:
            yield before, "{}"
        for key, inner in value.items():
            yield from _keys(inner, f"{before}.{key}" if before else str(key))
    elif isinstance(value, list) and (tables := _tables(value, before in _CHOSEN)):
        for name, inner in zip(_named(tables), tables, strict=True):
            yield f"{before}[{name}]", _THERE
            yield from _keys(inner, f"{before}[{name}]")
    else:
        yield before, _text(value)


def _tables(value: Sequence[Any], chosen: bool) -> list[Mapping[str, Any]]:
    """The tables of a list, empty if it has anything else; `chosen`: members may be a name alone."""
    named = [{"label": each} if chosen and isinstance(each, str) else each for each in value]
    return [each for each in named if isinstance(each, Mapping)] if all(isinstance(e, Mapping) for e in named) else []


def _named(tables: Sequence[Mapping[str, Any]]) -> list[str]:
    for key in _NAMES:
        names = [str(table[key]) for table in tables if key in table]
        if len(set(names)) == len(tables):
            return names
    return [str(number) for number in range(len(tables))]


def _text(value: Any) -> str:
    """A value as text; whole numbers that follow each other as a range."""
    if isinstance(value, str):
        return value
    numbers = isinstance(value, list) and len(value) > 2 and all(type(each) is int for each in value)
    if numbers and value == list(range(value[0], value[0] + len(value))):
        return f"{value[0]} to {value[-1]}"
    return json.dumps(value, ensure_ascii=False, default=str)


def listed(found: Sequence[StatedDifference], most: int) -> str:
    """So many of them in a line: `network.spines 2 -> 4, growth only in the second, and 3 more`."""
    rows = folded(found)
    said = [_said(*row) for row in rows[:most]]
    return ", ".join([*said, *([f"and {len(rows) - most} more"] if len(rows) > most else [])])


def _said(key: str, first: str | None, second: str | None) -> str:
    if first is None or second is None:
        there = first if second is None else second
        value = "" if there == _THERE else f" {short(there)}"
        return f"{key}{value} only in the {'first' if second is None else 'second'}"
    return f"{key} {short(first)} -> {short(second)}"


def short(said: str | None) -> str:
    """A value as tables show it."""
    if said is None:
        return "-"
    return said if len(said) <= _LONGEST else f"{said[: _LONGEST - 2]}.."
