"""The sentences of an answer: what a policy carries within the budgets, or needs to keep them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final

from segcast.analyzer.answers.budgets import say_value
from segcast.analyzer.answers.evidence import FEWEST_FLOWS
from segcast.analyzer.answers.wording import percent, significant
from segcast.analyzer.plan.axes import OF_TRAFFIC, Axis
from segcast.analyzer.plan.cost import money
from segcast.analyzer.plan.document import StatedEdge, StatedEnd, StatedInstead
from segcast.analyzer.scenario.cost import CostSpec
from segcast.analyzer.slo import Budget, parse_slo
from segcast.traces.units import say_number

_LEAST: Final = {">": "and more", ">=": "or more", "==": "exactly"}


def name_of(edge: StatedEdge) -> str:
    """A policy and its timeout."""
    return edge.policy if edge.timeout is None else f"{edge.policy}, {edge.timeout}"


def value_words(axis: Axis, value: float) -> str:
    """A value of the axis to three digits, as `load 0.71`, `5 paths`, `10Gbps`."""
    if axis.name in OF_TRAFFIC:
        return f"{axis.noun} {say_number(float(f'{value:.3g}'))}"
    if axis.whole:
        return f"{round(value)} {axis.name}" if value != 1 else f"1 {axis.name.removesuffix('s')}"
    return _rounded(axis, value)


def _rounded(axis: Axis, value: float) -> str:
    return axis.write(float(f"{value:.3g}"))


def _percent(value: float) -> str:
    return say_number(float(f"{value:.3g}"))


def bounds_words(axis: Axis, low: float, high: float) -> str:
    """Both bounds of an interval, as ` (0.69 to 0.73)`; empty where they are one."""
    first, last = ((str(round(v)) if axis.whole else _rounded(axis, v)) for v in (low, high))
    return "" if first == last else f" ({first} to {last})"


def edge_words(axis: Axis, edge: StatedEdge, currency: str | None = None) -> str:
    """How far one policy goes."""
    name = name_of(edge)
    if edge.value is None or edge.low is None or edge.high is None:
        where = "nowhere" if edge.state == "nowhere" else "wherever it was asked"
        return f"{name} {where}" + (f" ({edge.end.words})" if edge.end is not None else "")
    verb = "up to" if axis.rises else "from"
    low, high = _widest(edge)
    notes = [
        bounds_words(axis, low, high).strip(" ()"),
        years_words(axis, edge.value, low, high),
        "" if edge.share is None else f"{_percent(100 * edge.share)} % of the busiest link",
        "" if edge.cost is None or axis.name in OF_TRAFFIC else money(edge.cost, currency),
    ]
    beside = "; ".join(each for each in notes if each)
    return f"{name} {verb} {value_words(axis, edge.value)}" + (f" ({beside})" if beside else "")


def years_words(axis: Axis, value: float, low: float, high: float) -> str:
    """In how many years growth comes to a value, with its bounds; empty where no year's growth is given."""
    years, first, last = (axis.years(each) for each in (value, low, high))
    if years is None or first is None or last is None:
        return ""
    bounds = [significant(first, 2), significant(last, 2)]
    between = "" if bounds[0] == bounds[1] else f", {bounds[0]} to {bounds[1]},"
    return f"in {significant(years, 2)} years{between} at {_percent(100 * (axis.per_year or 0.0))} % a year"


def _widest(edge: StatedEdge) -> tuple[float, float]:
    low, high = edge.traffic_low, edge.traffic_high
    if low is None or high is None:
        low, high = edge.low, edge.high
    assert low is not None
    assert high is not None
    return low, high


def answer_words(
    axis: Axis,
    edges: Sequence[StatedEdge],
    baseline: StatedEdge,
    slo: str,
    bounds: tuple[float, float],
    prices: CostSpec | None = None,
    instead: StatedInstead | None = None,
) -> str:
    """The answer in one sentence: the baseline's edge, the best other's, and what lies between them.

    `bounds` are the values of the axis between which was asked. Which policy is best is said only where its interval
    against the baseline's is clear of 0; those whose edges cannot be told from the best are named with it.
    """
    ends = f"{_end(axis, min(bounds))} to {_end(axis, max(bounds))}"
    currency = None if prices is None else prices.currency
    if all(edge.state == "nowhere" for edge in edges):
        return f"no policy keeps {slo} at any {axis.noun} from {ends}{_nearest(edges, 'nearest to it')}"
    if all(edge.state == "everywhere" for edge in edges):
        nearest = _nearest(edges, "nearest to breaking it")
        return f"every policy keeps {slo} at every {axis.noun} from {ends}{nearest}; ask further out"
    said = f"{slo} is kept by {edge_words(axis, baseline, currency)}"
    others = [edge for edge in edges if edge is not baseline]
    if not others:
        return said
    further = [edge for edge in others if beyond(axis, edge, baseline)]
    if not further:
        worse = all(beyond(axis, baseline, edge) for edge in others)
        return f"{said}; {'no other policy goes as far' if worse else 'nothing else clearly goes further'}"
    best = further[0]  # in order, the furthest first
    alike = [edge for edge in further[1:] if not beyond(axis, best, edge)]
    together = f" ({', '.join(name_of(edge) for edge in alike)} alike)" if alike else ""
    gains = [
        _gain_words(axis, best, baseline),
        "" if instead is None else instead_words(instead, currency),
        _saved_words(axis, best, baseline, currency),
    ]
    gain = ", ".join(each for each in gains if each)
    return f"{said}, by {edge_words(axis, best, currency)}{together}" + (f": {gain}" if gain else "")


def untold(few: str, answer: str) -> str:
    """An answer of which too little is known, with why; what was seen is said, and that it is no answer."""
    return f"too little to tell: {few}, and it takes at least {FEWEST_FLOWS}. Seen so far, and no answer yet: {answer}"


def end_of(
    axis: Axis, budgets: Sequence[Budget], figures: Mapping[str, float | None], value: float, state: str
) -> StatedEnd:
    """How near a policy without an edge is to one: at the bound where budgets are easiest to keep, or hardest.

    Of several budgets that are broken the one by most is told, of those that are kept that by least, as far as parts of
    a limit can be told: of a budget that allows none, or a metric that is 0, there are none.
    """
    distant = [(_distance(budget, figures[budget.metric]), budget) for budget in budgets]
    broken = [budget for distance, budget in distant if distance > 0]
    known = [(distance, budget) for distance, budget in distant if math.isfinite(distance) or distance > 0]
    _, budget = max(known or distant, key=lambda one: one[0])
    figure = figures[budget.metric]
    least = axis.rises == (state == "nowhere")
    where = f"at {value_words(axis, value)}, the {'lowest' if least else 'highest'} asked"
    said = "nothing is received " + where
    if figure is not None:
        said = f"{name_of_metric(budget)} {say_value(budget.metric, figure)} {where}: {_against(budget, figure)}"
    if others := [other.text for other in broken if other is not budget]:
        said += f", {' and '.join(others)} broken, too"
    return StatedEnd(value=value, budget=budget.text, figure=figure, limit=budget.limit, words=said)


def name_of_metric(budget: Budget) -> str:
    """The metric of a budget, as whoever asked calls it."""
    return re.split(r"[ <>=]", budget.text, maxsplit=1)[0].replace("_", " ")


def _distance(budget: Budget, figure: float | None) -> float:
    """How far a figure is beyond its budget, in logarithms; below 0 within it, infinite where there is no part."""
    if figure is None:
        return math.inf
    if figure > 0 and budget.limit > 0 and not budget.exact:
        return -budget.margin(figure)
    return -math.inf if budget.holds(figure) else 1e-9


def _against(budget: Budget, figure: float) -> str:
    """What a figure is of its budget."""
    limit = say_value(budget.metric, budget.limit)
    if budget.exact and budget.limit == 0:
        return "none is allowed"
    named = f"the budget of {limit}{'' if budget.sign[0] == '<' else f' {_LEAST[budget.sign]}'}"
    if figure <= 0 or budget.limit <= 0 or budget.sign == "==":
        return f"{'within' if budget.holds(figure) else 'beyond'} {named}"
    ratio = figure / budget.limit
    if ratio >= 2:
        return f"{significant(ratio)} times {named}"
    if ratio > 1:
        return f"{percent(ratio - 1)} over {named}"
    return f"{percent(ratio)} of {named}" if budget.sign[0] == "<" else f"{percent(1 - ratio)} below {named}"


def _nearest(edges: Sequence[StatedEdge], what: str) -> str:
    """Which policy is nearest to the other verdict, and how near."""
    stated = [(edge, edge.end) for edge in edges if edge.end is not None]
    if not stated:
        return ""
    towards = {"nowhere": 1.0, "everywhere": -1.0}[edges[0].state]
    edge, end = min(stated, key=lambda one: towards * _distance(parse_slo(one[1].budget).budgets[0], one[1].figure))
    who = f"{what} is {name_of(edge)}, " if len(edges) > 1 else ""
    return f": {who}{end.words}"


def unsettled_words(axis: Axis, edges: Sequence[StatedEdge], precision: float, most: int) -> list[str]:
    """Whose edge the seeds have left open, and about how many would not."""
    found = []
    for edge in edges:
        if edge.settled:
            continue
        seeds = max((probe.seeds for probe in edge.probes), default=0)
        where, goal = "do not tell kept from broken", "to tell"
        if edge.value is not None and not axis.whole and edge.low is not None and edge.high is not None:
            where = f"leave the edge within{bounds_words(axis, edge.low, edge.high).replace('(', '').replace(')', '')}"
            goal = f"to know it within {percent(precision)}"
        said = f"{name_of(edge)}: {seeds} seeds a place {where}"
        if edge.seeds_wanted is not None and edge.seeds_wanted > seeds:
            wanted = _rounded_up(edge.seeds_wanted)
            said += f"; {goal} would take about {wanted:,} (--seeds {wanted})"
        elif edge.seeds_wanted is not None:
            said += f"; the {most:,} cells that a policy may take ran out (--cells)"
        found.append(said)
    return found


def _rounded_up(count: int) -> int:
    """A whole number to two digits, not below it."""
    unit: int = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // unit) * unit


def beyond(axis: Axis, edge: StatedEdge, other: StatedEdge) -> bool:
    """Whether an edge clearly lies further out than another."""
    rank = {"nowhere": 0, "edge": 1, "everywhere": 2}
    if edge.state != "edge" or other.state != "edge":
        return rank[edge.state] > rank[other.state]
    (low, high), (other_low, other_high) = _widest(edge), _widest(other)
    return low > other_high if axis.rises else high < other_low


def instead_words(instead: StatedInstead, currency: str | None) -> str:
    """How many paths less carry what the baseline carries, and what that saves."""
    fewer, noun = instead.now - instead.high, instead.of
    many = f"{fewer} {noun}{'' if fewer == 1 else 's'} fewer for the same ({instead.high} instead of {instead.now})"
    saved = "" if instead.saved is None else f", which saves {money(instead.saved, currency)}"
    return f"or {many}{saved}"


def _saved_words(axis: Axis, best: StatedEdge, baseline: StatedEdge, currency: str | None) -> str:
    if axis.name in OF_TRAFFIC or best.cost is None or baseline.cost is None or best.cost >= baseline.cost:
        return ""
    return f"{money(baseline.cost - best.cost, currency)} less"


def _end(axis: Axis, value: float) -> str:
    """A bound of the axis; of growth in years the years, too."""
    years = axis.years(value)
    return (
        axis.write(value) if years is None else f"{axis.write(float(f'{value:.3g}'))} ({significant(years, 2)} years)"
    )


def _gain_words(axis: Axis, best: StatedEdge, baseline: StatedEdge) -> str:
    if best.gain is None or best.value is None or baseline.value is None:
        return ""
    if axis.whole:
        fewer = round(baseline.value - best.value)
        return f"{fewer} fewer" if fewer > 0 else ""
    percent = _whole_percent(best.gain)
    if best.gain_low is not None and best.gain_high is not None:
        ends = sorted((best.gain_low, best.gain_high), key=abs)
        percent += f" % ({_whole_percent(ends[0])} to {_whole_percent(ends[1])})"
    else:
        percent += " %"
    if axis.name not in OF_TRAFFIC:
        return f"{percent} less"
    later = "" if best.years is None or baseline.years is None else best.years - baseline.years
    return f"{percent} more traffic" + ("" if later == "" else f", {significant(float(later), 2)} years later")


def _whole_percent(ratio: float) -> str:
    """A change without its sign, in whole percent from ten on."""
    value = abs(100 * ratio)
    return f"{value:.0f}" if value >= 9.95 else f"{value:.2g}"
