"""The load curve: a metric against the load, a line per policy, with its budget, and where each line crosses it.

Exists where there are two loads or more. Each policy is drawn at one flowlet timeout, its best.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from segcast.analyzer.forecast.compare import load_label, load_number
from segcast.analyzer.slo import Budget
from segcast.reports import text
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.figures import Cast, short, translucent
from segcast.reports.forecast.metrics import FLOW_TIMES, METRICS, TCP_COSTS, Metric
from segcast.reports.style import INK, MUTED, PAPER, Figure, axis, label, layout, linear_ticks, log_axis

_MOST_METRICS: Final = 6
_ALSO: Final = {
    False: ("delay_p99_ns", "slowdown_p99", "drop_ratio", "reordered_ratio"),
    True: ("fct_p99_ns", "slowdown_p99", "unfinished", "drop_ratio", "retransmissions"),
}
_NAMED: Final = {metric.column: metric for metric in (*FLOW_TIMES, *TCP_COSTS, *METRICS)}


@dataclass(frozen=True, slots=True)
class Line:
    """A policy at one flowlet timeout: its variants, loads rising."""

    name: str
    variants: tuple[Variant, ...]

    @property
    def policy(self) -> str:
        """The policy."""
        return self.variants[0].policy


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where a line crosses, between two loads that were run; `at` is between the means there, on a straight line."""

    line: Line
    at: float
    value: float
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Drawn:
    """A metric along the loads: its figure's name, its title, and what its lines do, in words."""

    name: str
    title: str
    budget: str
    says: list[tuple[str, str]]


class LoadCurve:
    """What the page shows of the loads of a forecast; empty where there is but one."""

    def __init__(self, forecast: Forecast, cast: Cast) -> None:
        self._forecast, self._cast = forecast, cast
        self.loads = sorted({v.load for v in forecast.variants})

    def __bool__(self) -> bool:
        return len(self.loads) > 1 and bool(self.lines)

    @cached_property
    def lines(self) -> list[Line]:
        """A line per policy, that of its best timeout; the baseline first."""
        found: dict[str, dict[tuple[str, int], list[Variant]]] = {}
        for variant in self._forecast.variants:
            of_policy = found.setdefault(variant.policy, {})
            of_policy.setdefault((variant.rule or "", variant.timeout_ns or 0), []).append(variant)
        best = [min(of_policy.values(), key=self._badness) for of_policy in found.values()]
        return [
            Line(replace(ones[0], load=1.0, several=False, growth=None, year=None, share=None).label, tuple(ones))
            for ones in best
        ]

    def _badness(self, variants: Sequence[Variant]) -> tuple[int, int, float, float]:
        """Few loads are worst, then many broken budgets, unfinished flows, and the headline's mean over loads."""
        values = [self._forecast.estimate(v, self._forecast.headline).mean for v in variants]
        known = [math.log(max(value, 1.0)) for value in values if value is not None]
        left = sum(self._forecast.estimate(v, "unfinished").mean or 0.0 for v in variants)
        broken = sum(v in self._forecast.broken for v in variants)
        return -len(known), broken, left, math.fsum(known) / max(len(known), 1)

    @cached_property
    def legend(self) -> list[tuple[str, str, str]]:
        """Name, colour and marker of each line."""
        looks = self._cast.looks
        return [(o.name, looks[o.variants[0]].colour, looks[o.variants[0]].marker_shape) for o in self.lines]

    @cached_property
    def metrics(self) -> list[tuple[Metric, Budget | None]]:
        """What is drawn, the first at first: what is bounded by budgets, the headline, and the usual rest."""
        given = [b for b in self._forecast.budgets if b.metric in _NAMED and not b.exact]
        budgets = {b.metric: b for b in sorted(given, key=self._first_broken)}
        binding = [b.metric for b in budgets.values() if self._first_broken(b) < math.inf]
        columns = [*binding, self._forecast.headline, *budgets, *_ALSO[self._forecast.reacts]]
        return [
            (_NAMED[column], budgets.get(column))
            for column in dict.fromkeys(columns)
            if any(self._forecast.estimate(v, column).mean for line in self.lines for v in line.variants)
        ][:_MOST_METRICS]

    def _first_broken(self, budget: Budget) -> float:
        """The lowest load at which a line breaks a budget."""
        broken = [
            variant.load
            for line in self.lines
            for variant, value in self._points(line, _NAMED[budget.metric])
            if not budget.holds(value)
        ]
        return min(broken, default=math.inf)

    @cached_property
    def drawn(self) -> list[Drawn]:
        """The figures in order, with what they say in words."""
        return [
            Drawn(f"curve-{metric.column}", metric.title, budget.text if budget else "", self._says(metric, budget))
            for metric, budget in self.metrics
        ]

    def figures(self) -> dict[str, Figure]:
        """The figures by name."""
        if not self:
            return {}
        return {f"curve-{metric.column}": self._figure(metric, budget) for metric, budget in self.metrics}

    @property
    def busiest(self) -> str:
        """Whose busiest link the axis tells; empty where that is not known."""
        baseline = self._forecast.baseline
        known = [self._share(load) for load in self.loads]
        return "" if baseline is None or not any(known) else baseline.policy

    def tick(self, load: float) -> str:
        """A load in words, and under it what the busiest link carries."""
        one = next(v for v in self._forecast.variants if v.load == load)
        said = load_label(load, one.growth, one.year, one.share).removeprefix("load ")
        share = self._share(load) if self.busiest else None
        return label(text.typeset(said)) + ("" if share is None else f"<br>{text.typeset(text.percent(share))}")

    def _share(self, load: float) -> float | None:
        """What the busiest link carries under the baseline at a load."""
        policy = self.lines[0].policy if self._forecast.baseline is None else self._forecast.baseline.policy
        one = next((v for v in self._forecast.variants if v.policy == policy and v.load == load), None)
        return None if one is None else self._forecast.estimate(one, "utilisation_max").mean

    def _points(self, line: Line, metric: Metric) -> list[tuple[Variant, float]]:
        found = [(v, self._forecast.estimate(v, metric.column).mean) for v in line.variants]
        return [(variant, value) for variant, value in found if value is not None]

    def _figure(self, metric: Metric, budget: Budget | None) -> Figure:
        points = {line.name: self._points(line, metric) for line in self.lines}
        values = [value for those in points.values() for _, value in those]
        values += [] if budget is None else [budget.limit]
        logarithmic = min(values, default=0.0) > 0
        floor = min(values, default=0.0) / 10 if logarithmic else -math.inf
        bands, lines = [], []
        for line in self.lines:
            known = points[line.name]
            look = self._cast.looks[line.variants[0]]
            found = [self._forecast.estimate(v, metric.column) for v, _ in known]
            if len(known) > 1 and all(e.low is not None and e.high is not None for e in found):
                edges = [max(e.low or 0.0, floor) for e in found], [e.high or 0.0 for e in found]
                loads = [v.load for v, _ in known]
                bands.append(
                    {
                        "type": "scatter",
                        "mode": "lines",
                        "x": short([*loads, *reversed(loads)], 6),
                        "y": short([*edges[0], *reversed(edges[1])]),
                        "fill": "toself",
                        "fillcolor": translucent(look.colour, 0.13),
                        "line": {"width": 0},
                        "hoverinfo": "skip",
                    }
                )
            lines.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": label(text.typeset(line.name)),
                    "x": short((v.load for v, _ in known), 6),
                    "y": short(value for _, value in known),
                    "text": [self._hover(v, metric) for v, _ in known],
                    "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
                    "line": {"color": look.colour, "width": 2.6},
                    "marker": {"symbol": look.marker, "size": 10, "color": look.colour},
                }
            )
        crossings = self._crossings(metric, budget)
        marks, notes = self._marks(crossings, logarithmic)
        shapes = []
        if budget is not None:
            shapes.append(
                {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": budget.limit, "y1": budget.limit}
                | {"line": {"color": MUTED, "width": 2, "dash": "dash"}}
            )
            notes.append(
                {"text": label(text.typeset(f"budget {metric.unit(budget.limit)}")), "xref": "paper", "x": 0.004}
                | {"y": math.log10(budget.limit) if logarithmic else budget.limit, "showarrow": False}
                | {"xanchor": "left", "yanchor": "bottom", "font": {"size": 15, "color": MUTED}}
            )
        y_axis = (
            log_axis(metric.title, min(values), max(values) * 1.25, metric.unit)
            if logarithmic
            else _plain_axis(metric, max(values, default=1.0))
        )
        drawing = layout(xaxis=self._x_axis(), yaxis=y_axis, shapes=shapes, annotations=notes, height=440)
        return {"data": bands + lines + marks, "layout": drawing}

    def _x_axis(self) -> dict[str, Any]:
        title = "load"
        if who := self.busiest:
            title = f"load, and what the busiest link carries under {who}"
        found = log_axis(title, self.loads[0], self.loads[-1], text.plain)
        ticks = _apart(self.loads)
        return found | {"tickvals": ticks, "ticktext": [self.tick(load) for load in ticks]}

    def _hover(self, variant: Variant, metric: Metric) -> str:
        estimate = self._forecast.estimate(variant, metric.column)
        words = f"{load_label(variant.load, variant.growth, variant.year, variant.share)}: {metric.unit(estimate.mean)}"
        if estimate.low is not None and estimate.high is not None:
            words += f" ({text.span(metric.unit(estimate.low), metric.unit(estimate.high))})"
        if variant in self._forecast.broken:
            words += f"<br>over budget: {label(self._forecast.broken[variant])}"
        return text.typeset(words)

    def _crossings(self, metric: Metric, budget: Budget | None) -> list[Crossing]:
        """Where each line crosses the budget; without one, where it changes sides with the baseline."""
        if budget is not None:
            return [crossing for line in self.lines for crossing in self._of_budget(line, metric, budget)]
        found = [self._overtakes(line, metric) for line in self.lines[1:]]
        return [crossing for crossing in found if crossing is not None]

    def _of_budget(self, line: Line, metric: Metric, budget: Budget) -> Iterator[Crossing]:
        for (one, before), (other, after) in itertools.pairwise(self._points(line, metric)):
            if budget.holds(before) != budget.holds(after):
                at = _between(one.load, other.load, before - budget.limit, after - budget.limit)
                yield Crossing(line, at, budget.limit, one.load, other.load)

    def _overtakes(self, line: Line, metric: Metric) -> Crossing | None:
        clear = [
            (found.variant.load, found.change or 0.0)
            for v in line.variants
            if (found := self._forecast.compared(v, metric.column)) is not None and found.clear
        ]
        theirs = {v.load: value for v, value in self._points(self.lines[0], metric)}
        for (before, one), (after, other) in itertools.pairwise(clear):
            if (one < 0) != (other < 0) and {before, after} <= theirs.keys():
                at = _between(before, after, one, other)
                part = math.log(at / before) / math.log(after / before)
                low, high = (math.log(max(theirs[load], 1e-12)) for load in (before, after))
                return Crossing(line, at, math.exp(low + part * (high - low)), before, after)
        return None

    def _marks(
        self, crossings: Sequence[Crossing], logarithmic: bool
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        marks, notes = [], []
        for place, one in enumerate(sorted(crossings, key=lambda crossing: crossing.at)):
            colour = self._cast.looks[one.line.variants[0]].colour
            marks.append(
                {"type": "scatter", "mode": "markers", "name": label(text.typeset(one.line.name))}
                | {"x": short([one.at]), "y": short([one.value]), "hovertemplate": "%{text}<extra></extra>"}
                | {"text": [label(text.typeset(f"{one.line.name} crosses near load {self._named(one.at)}"))]}
                | {"marker": {"symbol": "diamond", "size": 13, "color": colour, "line": {"color": INK, "width": 1}}}
            )
            y = math.log10(one.value) if logarithmic and one.value > 0 else one.value
            notes.append(
                {"x": math.log10(one.at), "y": y, "ax": -26, "ay": -26 - 22 * (place % 4), "xanchor": "right"}
                | {"text": label(text.typeset(f"{one.line.policy} at {self._named(one.at, 2)}")), "showarrow": True}
                | {"arrowhead": 0, "arrowwidth": 1.2, "arrowcolor": MUTED, "standoff": 7}
                | {"font": {"size": 15, "color": INK}, "bgcolor": translucent(PAPER, 0.8)}
            )
        return marks, notes

    def _says(self, metric: Metric, budget: Budget | None) -> list[tuple[str, str]]:
        """What each line does, in words."""
        if budget is None:
            found = {c.line.name: c for c in self._crossings(metric, None)}
            other = self.lines[0].name
            return [
                (name, f"changes sides with {other} between load {self._span(c)}, near {self._named(c.at, 2)}")
                for name, c in found.items()
            ]
        return [(line.name, self._kept(line, metric, budget)) for line in self.lines]

    def _kept(self, line: Line, metric: Metric, budget: Budget) -> str:
        """At which loads a line keeps a budget, and near which it crosses it."""
        known = [(variant.load, budget.holds(value)) for variant, value in self._points(line, metric)]
        if not known:
            return "nothing is received"
        if len({kept for _, kept in known}) == 1:
            return (
                f"{'keeps' if known[0][1] else 'breaks'} it at every load, {self._loads([load for load, _ in known])}"
            )
        said = []
        for kept, those in itertools.groupby(known, key=lambda one: one[1]):
            said.append(f"{'keeps' if kept else 'breaks'} it at {self._loads([load for load, _ in those])}")
        near = [self._named(crossing.at, 2) for crossing in self._of_budget(line, metric, budget)]
        return f"{', '.join(said)}; on a straight line it crosses near {' and '.join(near)}"

    def _loads(self, loads: Sequence[float]) -> str:
        return text.span(self._named(loads[0]), self._named(loads[-1])) if len(loads) > 1 else self._named(loads[0])

    def _span(self, crossing: Crossing) -> str:
        return f"{self._named(crossing.before)} and {self._named(crossing.after)}"

    def _named(self, load: float, digits: int = 3) -> str:
        """A load, as loads were asked: a factor, or the part of a share that lies as far from the next one."""
        near = min(self._forecast.variants, key=lambda v: abs(math.log(v.load / load)))
        share, percent, rest = near.share or "", *(near.share or "").partition("%")[::2]
        if not share or (rest and near.load != load):
            return text.plain(load, digits)
        return (
            load_number(load, share)
            if near.load == load
            else f"{text.plain(float(percent) * load / near.load, digits)} %"
        )


def _between(low: float, high: float, before: float, after: float) -> float:
    """Where a straight line over the logarithm of the load from `before` at `low` to `after` at `high` is zero."""
    part = before / (before - after)
    return math.exp(math.log(low) + part * (math.log(high) - math.log(low)))


def _apart(loads: Sequence[float]) -> list[float]:
    """The loads whose ticks have room: not nearer to the last than a twelfth of the axis, both ends always."""
    if len(loads) < 3:
        return list(loads)
    least = math.log(loads[-1] / loads[0]) / 12
    kept = [loads[0]]
    for load in loads[1:-1]:
        if math.log(load / kept[-1]) >= least and math.log(loads[-1] / load) >= least:
            kept.append(load)
    return [*kept, loads[-1]]


def _plain_axis(metric: Metric, most: float) -> dict[str, Any]:
    ticks = linear_ticks(0.0, most * 1.05)
    return axis(
        metric.title,
        range=[-0.02 * most, most * 1.15],
        tickvals=ticks,
        ticktext=[text.typeset(metric.unit(tick)) for tick in ticks],
    )
