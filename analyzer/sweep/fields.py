"""The variants of a scenario: every combination of the values that its swept fields take."""

from __future__ import annotations

import copy
import itertools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from segcast.analyzer.network.shapes import LinkShape
from segcast.analyzer.plan.axes import AXES
from segcast.analyzer.scenario.model import Scenario
from segcast.analyzer.scenario.reading import validated
from segcast.analyzer.scenario.sweeping import Scalar, values_of
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.errors import InputError
from segcast.traces.refusals import meant

MOST_VARIANTS: Final = 10_000
PATHS: Final = "paths"
_OWN_LISTS: Final = {
    "policies": "--policy",
    "timeouts": "--timeout",
    "load": "--load",
    "seeds": "--seeds",
    "growth.factor": "--growth",
}
_MOST_SAID: Final = 60
_NOT_SWEPT: Final = ("sweep", "packets")
_OF_LINKS: Final = tuple(LinkShape.model_fields)
_LINKS: Final = ("links", "core_links", "link")
_ALL: Final = "*"
_RANGE: Final = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+?)\s*/\s*(-?\d{1,12})\s*(linear|log)?\s*")

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SweptVariant:
    """One combination of values, by field as the user calls it; its name is empty where nothing is swept."""

    name: str
    values: Mapping[str, Scalar]
    scenario: ValidScenario


def parse_set(text: str) -> tuple[str, tuple[Scalar, ...]]:
    """The field and the values of `FIELD=V1,V2` or `FIELD=FROM..TO/STEPS`. Raises InputError naming the flag."""
    field, sign, given = (part.strip() for part in text.partition("="))
    found = _RANGE.fullmatch(given)
    if not field or not sign or not given or (".." in given and found is None):
        raise InputError(f"--set {_short(text)!r}: write it like buffer=64KiB,1MiB or buffer=64KiB..1MiB/5")
    value: Any = [_scalar(part.strip()) for part in given.split(",")]
    if found is not None:
        value = {"from": _scalar(found[1]), "to": _scalar(found[2]), "steps": int(found[3])}
        value |= {"scale": found[4]} if found[4] else {}
    try:
        return field, values_of(value)
    except ValueError as error:
        raise InputError(f"--set {_short(text)!r}: {error}") from None


def _short(text: str) -> str:
    return text if len(text) <= _MOST_SAID else f"{text[:_MOST_SAID]}..."


def _scalar(text: str) -> Scalar:
    """A number, true or false as TOML has them; anything else is text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:  # not TOML, or a number of thousands of digits
        return text
    return value if isinstance(value, int | float | bool | str) else text


def with_set(scenario: ValidScenario, given: Sequence[str]) -> ValidScenario:
    """The scenario that sweeps what `--set` says as well, in place of what its own sweep says of the same fields."""
    if not given:
        return scenario
    return scenario.model_copy(update={"sweep": {**(scenario.sweep or {}), **dict(map(parse_set, given))}})


def variants_of(scenario: ValidScenario) -> list[SweptVariant]:
    """Every combination, the last field's values in turn first; one without a name where nothing is swept.

    Raises InputError for a field that there is not, or a value that it cannot take.
    """
    swept = dict(scenario.sweep or {})
    plain = scenario.model_copy(update={"sweep": None})
    if not swept:
        return [SweptVariant("", {}, plain)]
    count = 1
    for each in swept.values():
        count *= len(each)
    if count > MOST_VARIANTS:
        sizes = " x ".join(str(len(each)) for each in swept.values())
        raise scenario.wrong(("sweep",), f"{sizes} are {count:,} variants; at most {MOST_VARIANTS:,} are supported")
    data = plain.model_dump(mode="json", exclude_none=True)
    places = {field: _places(field, data, scenario) for field in swept}
    _check_apart(places, scenario)
    found = []
    for combination in itertools.product(*swept.values()):
        values: dict[str, Scalar] = dict(zip(swept, combination, strict=True))
        found.append(SweptVariant(variant_name(values), values, _variant(plain, data, places, values)))
    return found


def variant_name(values: Mapping[str, Scalar]) -> str:
    """What tables call a variant: `buffer 64KiB, links.rate 10Gbps`."""
    return ", ".join(f"{field} {written(value)}" for field, value in values.items())


def written(value: Scalar) -> str:
    """A value as text, as a scenario writes it but for quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _variant(
    plain: ValidScenario, data: dict[str, Any], places: Mapping[str, list[Place]], values: Mapping[str, Scalar]
) -> ValidScenario:
    """The scenario with these values. Raises InputError naming the sweep."""
    changed = copy.deepcopy(data)
    for field, value in values.items():
        for place in places[field]:
            _put(changed, place, value)
    name = variant_name(values)

    def where(place: Place) -> str:
        field = next((field for field in values if any(_within(place, own) for own in places[field])), None)
        if field is None:
            return f"{plain.place_of(('sweep',))}: with {name}"
        return f"{plain.place_of(('sweep', field))} = {_short(written(values[field]))}"

    try:
        made = plain.with_origin_of(validated(changed, where))
    except InputError as error:
        # All links that a name means are wrong in the same way.
        raise InputError(re.sub(r" \(and \d+ more\)$", "", str(error))) from None
    if PATHS in values:
        made = AXES[PATHS].put(made, _count(plain, values[PATHS]))
    return made


def _count(plain: ValidScenario, value: Scalar) -> float:
    axis = AXES[PATHS]
    if not isinstance(value, int) or isinstance(value, bool) or not axis.least <= value <= axis.most:
        raise plain.wrong(("sweep", PATHS), f"{written(value)} is no number of paths from 1 to {axis.most:g}")
    axis.now(plain)  # refuses a network that has no such number
    return float(value)


def _within(place: Place, own: Place) -> bool:
    return place[: len(own)] == own or own[: len(place)] == place


def _places(field: str, data: dict[str, Any], scenario: ValidScenario) -> list[Place]:
    """Where a field stands in a scenario's data: one place, or several where the name means all links."""
    parts = [int(part) if part.isdecimal() else part for part in re.sub(r"\[(\*|\d+)\]", r".\1", field).split(".")]
    own_list = re.sub(r"(\[(\*|\d+)\]|\.\*|\.\d+)+$", "", field)
    if own_list in _OWN_LISTS:
        text = f"takes a list of its own, every value of which is run; give them there, or by {_OWN_LISTS[own_list]}"
        raise scenario.wrong(("sweep", field), text)
    if parts[0] in _NOT_SWEPT:
        raise scenario.wrong(("sweep", field), "cannot be swept")
    if field == PATHS:
        return []
    own = parts[-1] if len(parts) == 1 or (len(parts) == 2 and parts[0] == "links") else None
    if own in _OF_LINKS:
        found = [(*place, own) for place in _link_places(data["network"])]
        if not found:
            raise scenario.wrong(("sweep", field), f"the network has no links of its own to give another {own}")
        return found
    if parts[0] not in Scenario.model_fields:
        known = [*Scenario.model_fields, *_OF_LINKS, PATHS]
        text = f"no field of a scenario{meant(str(parts[0]), known)}; write it like network.links.rate, or {PATHS}"
        raise scenario.wrong(("sweep", field), f"{text}, or {', '.join(_OF_LINKS[:4])} of all links")
    return list(_matching(parts, data, (), field, scenario))


def _check_apart(places: Mapping[str, list[Place]], scenario: ValidScenario) -> None:
    """Raise InputError if two fields mean the same: variants would differ by a value that the other overwrites."""
    whose: dict[Place, str] = {}
    above: dict[Place, str] = {}
    for field, own in places.items():
        for place in own if field != PATHS else [("network", "spines")]:
            parts = [place[:length] for length in range(1, len(place) + 1)]
            other = above.get(place) or next((whose[part] for part in parts if part in whose), None)
            if other not in (None, field):
                raise scenario.wrong(("sweep", field), f"{other} is swept as well, and means the same; leave one out")
            whose[place] = field
            above |= dict.fromkeys(parts, field)


def _link_places(network: dict[str, Any]) -> Iterator[Place]:
    """Where links between nodes are described; those of hosts are not meant."""
    for number, path in enumerate(network.get("paths", ())):
        yield from (("network", "paths", number, "links", hop) for hop in range(len(path["links"])))
    for key in _LINKS:
        described = network.get(key)
        if isinstance(described, dict):
            yield "network", key
        elif isinstance(described, list):
            yield from (("network", key, number) for number in range(len(described)))


def _matching(
    parts: Sequence[str | int], data: Any, before: Place, field: str, scenario: ValidScenario
) -> Iterator[Place]:
    """The places that a dotted name with numbers and `*` means. Raises InputError if there are none."""
    part, rest = parts[0], parts[1:]
    steps: list[str | int]
    if isinstance(data, list):
        steps = list(range(len(data))) if part == _ALL else [part] if isinstance(part, int) and part < len(data) else []
    elif isinstance(data, dict):
        steps = list(data) if part == _ALL else [str(part)]
    else:
        steps = []
    if not steps or part == "":
        there = ".".join(map(str, before)) or "the scenario"
        raise scenario.wrong(("sweep", field), f"there is no {part!r} in {there}")
    for step in steps:
        if not rest:
            yield (*before, step)
            continue
        inner: Any = data[int(step)] if isinstance(data, list) else data.get(step, {})
        yield from _matching(rest, inner, (*before, step), field, scenario)


def _put(data: dict[str, Any], place: Place, value: Scalar) -> None:
    inner: Any = data
    for step in place[:-1]:
        inner = inner[int(step)] if isinstance(inner, list) else inner.setdefault(step, {})
    inner[place[-1]] = value
