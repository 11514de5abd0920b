"""What a plan states: each policy's edge, what it is against the baseline's, and what limits the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from segcast.analyzer.answers.evidence import FEWEST_FLOWS, PERIODS_BEYOND, is_waited_for
from segcast.analyzer.answers.wording import percent
from segcast.analyzer.forecast.loads import share_findings
from segcast.analyzer.plan.axes import OF_TRAFFIC, Axis
from segcast.analyzer.plan.cells import SAMPLES, Variant
from segcast.analyzer.plan.cost import cost_of
from segcast.analyzer.plan.document import StatedEdge, StatedEnd, StatedProbe
from segcast.analyzer.plan.search import Edge, Probe, Question
from segcast.analyzer.plan.searches import Asked, Searches, is_pooled, question_of
from segcast.analyzer.plan.words import end_of, name_of, unsettled_words
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.slo import Budget
from segcast.analyzer.statistics.pooled import pooled_quantile
from segcast.analyzer.statistics.pools import POOLED_COLUMNS
from segcast.traces.units import say_number

_SHORT: Final = ("queue_p999_ns", "slowdown_p999")


def rank(axis: Axis, edge: StatedEdge) -> tuple[int, float]:
    """Orders edges by how far they go."""
    place = -math.inf if edge.value is None else axis.place(edge.value)
    return {"nowhere": 0, "edge": 1, "everywhere": 2}[edge.state], place


def stated(variant: Variant, edge: Edge, asked: Asked, search: Searches) -> StatedEdge:
    """An edge as the document has it."""
    axis = asked.axis
    value = None if edge.place is None else axis.value(edge.place)
    at = None if value is None else axis.put(search.scenario, value)
    question = question_of(asked, search.between)
    ends = sorted(axis.value(place) for place in (edge.low, edge.high) if place is not None)
    return StatedEdge(
        policy=variant.policy.label,
        timeout=None if variant.timeout is None else variant.timeout.label,
        timeout_ns=None if variant.timeout is None else variant.timeout.timeout_ns,
        state=edge.state,
        value=value,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        traffic_low=None,
        traffic_high=None,
        years=None if value is None else axis.years(value),
        share=search.cells.share(at) if at is not None and axis.name in OF_TRAFFIC else None,
        cost=None if at is None else cost_of(at),
        end=_end(variant, edge, asked, search),
        seeds_wanted=edge.seeds_wanted(question),
        binding=None if edge.binding is None else asked.slo.budgets[edge.binding].text,
        settled=edge.settled,
        monotone=edge.monotone,
        gain=None,
        gain_low=None,
        gain_high=None,
        cells=edge.cells,
        probes=sorted(
            (_probe(probe, search.figures[variant, probe.place], asked, question) for probe in edge.probes),
            key=lambda probe: probe.value,
        ),
    )


def _end(variant: Variant, edge: Edge, asked: Asked, search: Searches) -> StatedEnd | None:
    """How near a policy without an edge is to one."""
    if (probe := edge.end) is None:
        return None
    rows = search.figures[variant, probe.place]
    figures = {budget.metric: _figure(budget, rows) for budget in asked.slo.budgets}
    return end_of(asked.axis, asked.slo.budgets, figures, asked.axis.value(probe.place), edge.state)


def _probe(probe: Probe, rows: Sequence[dict[str, Any]], asked: Asked, question: Question) -> StatedProbe:
    return StatedProbe(
        value=asked.axis.value(probe.place),
        seeds=probe.seeds,
        verdict=question.verdict(probe.margins),
        figures={budget.metric: _figure(budget, rows) for budget in asked.slo.budgets},
    )


def _figure(budget: Budget, rows: Sequence[dict[str, Any]]) -> float | None:
    """What a budget is held against: a quantile of all seeds' values together, or a mean over seeds."""
    if not is_pooled(budget):
        return _mean([row[budget.metric] for row in rows])
    metric, quantile = POOLED_COLUMNS[budget.metric]
    found = pooled_quantile([row[SAMPLES][metric] for row in rows], quantile)
    return None if found is None else float(found.value)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


class Estimate(NamedTuple):
    """A quantity above 0 with its bounds at 95 %."""

    value: float
    low: float
    high: float


def estimate_of(edge: StatedEdge) -> Estimate | None:
    """Where an edge is, as far as seeds' draws go; None if the policy has none."""
    if edge.value is None or edge.low is None or edge.high is None:
        return None
    return Estimate(edge.value, edge.low, edge.high)


def ratio_of(one: Estimate, other: Estimate) -> Estimate:
    """One over the other, less 1; their errors add as those of independent estimates do."""
    value, low, high = (math.log(each) for each in one)
    base, base_low, base_high = (math.log(each) for each in other)
    return Estimate(
        math.expm1(value - base),
        math.expm1(value - base - math.hypot(value - low, base_high - base)),
        math.expm1(value - base + math.hypot(high - value, base - base_low)),
    )


def against(edge: StatedEdge, baseline: StatedEdge) -> StatedEdge:
    """The edge with what it is against the baseline's."""
    one, other = estimate_of(edge), estimate_of(baseline)
    if one is None or other is None:
        return edge
    gain = ratio_of(one, other)
    return edge.model_copy(update={"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high})


def few_flows(rows: Sequence[dict[str, Any]]) -> str | None:
    """That the traffic is of too few flows for its edges to be anyone else's, in words; None if it is not."""
    known = [row["effective_flows"] for row in rows if row.get("effective_flows") is not None]
    if not known or min(known) >= FEWEST_FLOWS:
        return None
    flows = say_number(float(f"{min(known):.2g}"))
    return f"the traffic is spread as if of {'1 flow' if flows == '1' else f'{flows} flows of one size'}"


def other_hours(few: str | None) -> list[str]:
    """What too few flows leave open."""
    return [] if few is None else [f"{few}: another hour of it may have another edge, and policies another order"]


def overfull(edges: Sequence[StatedEdge]) -> list[str]:
    """Whose edge offers a link more than its rate, which only a trace that is over before buffers are full can keep."""
    beyond = [edge for edge in edges if edge.share is not None and edge.share > 1]
    if not beyond:
        return []
    shares = ", ".join(f"{name_of(edge)} at {percent(edge.share)}" for edge in beyond if edge.share is not None)
    said = f"more than the busiest link's rate is offered at the edge ({shares}): "
    return [said + "the trace ends before buffers are full, and no traffic that goes on can be so much"]


def few_busy_periods(asked: Asked, edges: Sequence[StatedEdge], rows: Sequence[dict[str, Any]]) -> list[str]:
    """That a percentile of delay, where a policy's edge is, is of too few busy periods to be anyone else's."""
    least: tuple[float, str, str] | None = None
    for quantile in {found for budget in asked.slo.budgets for found in _QUEUED if budget.metric in _QUEUED[found]}:
        for edge in edges:
            at = edge.value if edge.end is None else edge.end.value
            if at is None or not edge.probes:
                continue
            nearest = min((probe.value for probe in edge.probes), key=lambda value: abs(value - at))
            told = _mean([_periods(row, quantile) for row in rows if row["value"] == nearest and _is_of(row, edge)])
            if told is not None and told < PERIODS_BEYOND and (least is None or told < least[0]):
                least = told, quantile, name_of(edge)
    if least is None:
        return []
    periods, quantile, name = max(least[0], 1.0), least[1], least[2]
    number, longer = (
        say_number(float(f"{each:.2g}")) for each in (periods, math.ceil(10 * PERIODS_BEYOND / periods) / 10)
    )
    what = "1 separate busy period" if number == "1" else f"{number} separate busy periods"
    said = (
        f"too few busy periods: {quantile.replace('p999', 'p99.9')} delay at the edge of {name} rests on about {what} "
    )
    need = f"of the queues, {PERIODS_BEYOND} would be needed, traffic about {longer} times as long: "
    return [said + need + "another hour may have another edge"]


_QUEUED: Final = {quantile: (f"delay_{quantile}_ns", f"queue_{quantile}_ns") for quantile in ("p99", "p999")}


def _is_of(row: dict[str, Any], edge: StatedEdge) -> bool:
    return bool(row["policy"] == edge.policy and row["timeout"] == edge.timeout)


def _periods(row: dict[str, Any], quantile: str) -> float | None:
    """The busy periods that a cell's percentile of delay rests on; None where waiting is hardly a part of it."""
    waited, delay = row.get(f"queue_{quantile}_ns") or 0, row.get(f"delay_{quantile}_ns") or 0
    return row.get(f"busy_periods_{quantile}") if is_waited_for(waited, delay) else None


def other_draws(asked: Asked, edges: Sequence[StatedEdge], rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the seeds that keep an exact budget leave open of other draws; nothing where nothing is drawn."""
    exact = [budget.text for budget in asked.slo.budgets if budget.exact]
    if not exact or not _draws(rows):
        return []
    found: dict[int, list[str]] = {}
    for edge in edges:
        at = edge.value if edge.end is None else edge.end.value
        seeds = max((probe.seeds for probe in edge.probes if probe.value == at and probe.verdict == "kept"), default=0)
        if seeds:
            found.setdefault(seeds, []).append(name_of(edge))
    which = "" if len(found) == 1 else " ({})"
    return [
        f"{' and '.join(exact)}: kept by all {seeds} draws that were tried{which.format(', '.join(names))}; at 95 %, "
        f"up to {percent(open_share(seeds))} of others may break it ({say_seeds_for(0.01)} for 1 %)"
        for seeds, names in found.items()
    ]


def open_share(seeds: int) -> float:
    """The largest share of draws that break a budget of which so many, all keeping it, is not less likely than 5 %."""
    return float(-math.expm1(math.log(0.05) / seeds))


def say_seeds_for(share: float) -> str:
    """How many seeds would leave so small a share open, as an option."""
    return f"--seeds {math.ceil(math.log(0.05) / math.log1p(-share))}"


def _draws(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether seeds make a difference anywhere."""
    seen: dict[tuple[Any, ...], float | None] = {}
    return any(
        seen.setdefault((row["value"], row["policy"], row["timeout"]), row["delay_mean_ns"]) != row["delay_mean_ns"]
        for row in rows
    )


def offered_words(scenario: ValidScenario, axis: Axis) -> list[str]:
    """What the scenario's load came to, and that only the least of several was asked of."""
    if axis.name == "load":
        return []
    if axis.name == "growth":
        return [finding.detail for finding in share_findings(scenario)]
    found = [finding.detail for finding in share_findings(scenario)]
    if len(scenario.offered) > 1:
        found.append(f"of the scenario's {len(scenario.offered)} loads only the least was asked: give one")
    return found


def limits(asked: Asked, edges: Sequence[StatedEdge], reacts: bool, scenario: ValidScenario) -> list[str]:
    """What limits the answer."""
    found: list[str] = []
    if not all(edge.monotone for edge in edges):
        names = ", ".join(dict.fromkeys(edge.policy for edge in edges if not edge.monotone))
        found.append(f"{names}: budgets are kept again beyond the edge, which is the first; look at the curve")
    found += unsettled_words(asked.axis, edges, asked.precision, asked.most)
    if any(budget.metric in _SHORT for budget in asked.slo.budgets):
        found.append(
            "p99.9 of queueing and slowdown is the mean of the seeds' own, some per cent below that of all their "
            "values together: only those of delays and completion times are kept"
        )
    by_rate = asked.axis.name == "load" or (asked.axis.name == "growth" and scenario.growth_spec.by == "rate")
    if asked.axis.name == "growth" and not by_rate:
        found.append(
            "growth copies whole connections, at other times and between new hosts: nobody's behaviour changes"
        )
    if by_rate and not reacts:
        found.append("load squeezes the trace's time: each sender is faster, gaps between its packets shrink")
    if not reacts:
        found.append("packets leave as captured, however full the queues are: nobody slows down or sends again")
    return found
