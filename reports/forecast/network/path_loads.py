"""The part of the page on path load: a panel per policy, timeout and direction, and what each direction's paths are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from segcast.reports import text
from segcast.reports.forecast import figures
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.network.places import Places
from segcast.reports.style import COLOURS, DASH_ARRAYS, Figure

_MOST_GROUPS: Final = 6
_MOST_PANELS: Final = 48
_MANY_PANELS: Final = 24
_FEWEST_INTERVALS: Final = 24
_ALL_INTERVALS: Final = 2_400
_MOST_EVENTS: Final = 24
_SIDES: Final = {"left", "right"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of path load: which variant and group it is of, and what it says in words."""

    name: str
    number: int
    group: int
    title: str
    words: str
    shown: bool


@dataclass(frozen=True, slots=True)
class PathGroup:
    """A direction to choose: its name, its paths as legend (none where envelopes are drawn), and their rates in words.

    `paths` holds label, colour and dash of each.
    """

    number: int
    name: str
    paths: Sequence[tuple[str, str, str]]
    rates: str


@dataclass(slots=True)
class PathLoads:
    """Panels of path load and their figures; the first of the groups is shown at first."""

    panels: list[Panel] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    groups: list[PathGroup] = field(default_factory=list)
    interval_ns: int = 0
    drops: bool = False


def path_loads(forecast: Forecast, cast: figures.Cast) -> PathLoads:
    """Path load per variant and group, all on the same axes; groups that have a choice of paths come first."""
    loads = PathLoads()
    of_group: dict[int, dict[int, float | None]] = {}
    for path in forecast.section("network").get("paths") or []:
        of_group.setdefault(path.get("group"), {})[path["path_id"]] = path.get("rate_bps")
    sent = _sent(forecast)
    few = max(sent, default=0) <= 1
    # The direction with the most bytes says most; of a few, they keep their order.
    most_groups = max(2 if few else 1, min(_MOST_GROUPS, _MOST_PANELS // len(cast.variants)))
    busiest = sorted(sent, key=lambda g: (len(of_group.get(g, ())) < 2, g if few else -sent[g]))[:most_groups]
    panels = len(cast.variants) * len(busiest)
    detail = figures.MOST_INTERVALS if panels <= _MANY_PANELS else max(_FEWEST_INTERVALS, _ALL_INTERVALS // panels)
    found: list[tuple[int, int, figures.Load]] = []
    for number, variant in enumerate(cast.variants):
        for group in busiest if variant in forecast.series else ():
            one = figures.load(forecast.series[variant], group, list(of_group.get(group, ())), detail)
            if one is not None:
                found.append((number, group, one))
    most = max((float(one.bps.max()) for *_, one in found), default=0.0)
    if most <= 0:
        return loads
    rates = {g: sorted({float(rate) for rate in of_group.get(g, {}).values() if rate}) for g in busiest}
    top = max([most, *(rate for those in rates.values() for rate in those if rate <= 1.7 * most)])
    until_ns: dict[float, int] = {}
    for number, _, one in found:
        load = cast.variants[number].load
        until_ns[load] = max(until_ns.get(load, 0), one.bps.shape[1] * one.interval_ns)
    loads.interval_ns = found[0][2].interval_ns
    loads.drops = any(bool(one.dropped.any()) for *_, one in found)
    names, places = group_names(forecast), Places(forecast)
    drawn = {group: one.path_ids for _, group, one in found}
    for group in (g for g in busiest if g in drawn):
        name = names.get(group) or (("forward", "back")[group] if few else f"group {group}")
        loads.groups.append(PathGroup(group, name, _legend(places.path_names(drawn[group])), _rates(rates[group], top)))
    for number, group, one in found:
        variant = cast.variants[number]
        name = f"load-{number}-{group}"
        loads.figures[name] = figures.load_panel(
            one,
            top,
            rates[group],
            until_ns[variant.load],
            places.path_names(one.path_ids),
            [e.at_ns for e in places.events[:_MOST_EVENTS]],
        )
        shown = variant in cast.shown and group == loads.groups[0].number
        loads.panels.append(Panel(name, number, group, variant.label, _words(forecast, variant, one), shown))
    return loads


def group_names(forecast: Forecast) -> Mapping[int, str]:
    """What to call the groups, by number: nothing if they lead between two sides, where forward and back say more."""
    network: dict[str, Any] = forecast.section("network")
    groups = network.get("groups") or []
    if all({g["from"], g["to"]} <= _SIDES for g in groups):
        return {}
    return {g["group"]: f"{g['from']} to {g['to']}" for g in groups}


def _sent(forecast: Forecast) -> dict[int, int]:
    """Bytes sent into the paths of each group, over all variants."""
    sent: dict[int, int] = {}
    for table in forecast.series.values():
        for row in table.group_by("group", use_threads=False).aggregate([("bytes", "sum")]).to_pylist():
            sent[row["group"]] = sent.get(row["group"], 0) + row["bytes_sum"]
    return sent


def _words(forecast: Forecast, variant: Variant, one: figures.Load) -> str:
    share, even = one.share_max, 1 / len(one.path_ids)
    overall = text.plain(forecast.estimate(variant, "imbalance").mean, 2)
    return f"imbalance {overall}; busiest path {text.percent(share)} of bytes (even: {text.percent(even)})"


def _rates(rates: Sequence[float], top: float) -> str:
    """Rates of a group's paths, rising, and where to look for them: `200 to 400 Mbit/s (dotted lines)`."""
    if not rates:
        return ""
    words = text.rate(rates[0])
    if len(rates) > 1:
        words = text.span(words, text.rate(rates[-1]))
    if rates[0] > top:
        return f"{words} (above the scale)"
    if rates[-1] > top:
        return f"{words} (dotted, up to the end of the scale)"
    return f"{words} (dotted line{'s' if len(rates) > 1 else ''})"


def _legend(names: Sequence[str]) -> list[tuple[str, str, str]]:
    if len(names) > figures.MOST_LINES:
        return []
    return [(name, COLOURS[n % len(COLOURS)], DASH_ARRAYS[n % len(DASH_ARRAYS)]) for n, name in enumerate(names)]
