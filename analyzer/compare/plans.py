"""Comparing two plans: what they were asked, of what traffic, and how far each policy goes in both."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from segcast.analyzer.compare.differences import differences, scenario_of
from segcast.analyzer.compare.document import StatedDifference
from segcast.analyzer.compare.plan_document import (
    ComparedEdge,
    ComparedPlan,
    EdgeVerdict,
    PlanCompareDocument,
    PolicyTimeout,
    StatedEdgeChange,
)
from segcast.analyzer.compare.plan_words import answer_of, limits_of
from segcast.analyzer.compare.writing import write_compared
from segcast.analyzer.forecast.document import ForecastTrace
from segcast.analyzer.plan.axes import Axis, axis_named
from segcast.analyzer.plan.document import PlanDocument, StatedEdge
from segcast.analyzer.plan.reading import read_plan
from segcast.analyzer.plan.stating import Estimate, ratio_of
from segcast.analyzer.plan.words import beyond, edge_words, name_of
from segcast.traces.disk.folders import KINDS, PLAN_COMPARISON
from segcast.traces.errors import InputError
from segcast.traces.version import VERSION

SCHEMA_VERSION: Final = 1
SLO_OF_PLANS: Final = (
    "budgets are given for forecasts: a plan has those that it was asked for; plan both anew with others"
)
_SHAPES: Final = r"network\.(paths\[.*\]\.)?links(\[.*\])?\."
_VARIED: Final = {
    "load": r"load",
    "growth": r"growth\.factor",
    "links.rate": _SHAPES + "rate",
    "buffer": _SHAPES + "buffer",
    "paths": r"network\.spines",
}
"""Keys of a scenario in whose place an axis puts its own values."""


class _Read(NamedTuple):
    """A plan folder, read."""

    folder: Path
    document: PlanDocument
    scenario: dict[str, Any]

    @property
    def axis(self) -> Axis:
        return axis_named(self.document.over, self.document.per_year)

    @property
    def trace(self) -> ForecastTrace:
        traffic = self.document.traffic
        said: dict[str, Any] = {} if traffic is None else traffic.as_dict()
        return ForecastTrace.model_validate({**said, "reacts": self.document.reacts})


def are_plans(first: str | Path, second: str | Path) -> bool:
    """Whether two folders are plans, or else not: forecasts. Raises InputError if they are of two kinds, or another."""
    kinds = [_kind(Path(folder)) for folder in (first, second)]
    for folder, kind in zip((first, second), kinds, strict=True):
        if kind not in (None, "forecast", "plan"):
            raise InputError(f"{folder}: is a {kind}; two forecasts are compared, or two plans")
    if None not in kinds and kinds[0] != kinds[1]:
        raise InputError(f"{first} is a {kinds[0]} and {second} a {kinds[1]}; compare two forecasts, or two plans")
    return "plan" in kinds


def _kind(folder: Path) -> str | None:
    return next((kind.name for kind in KINDS.values() if (folder / kind.marker).is_file()), None)


def compare_plans(
    first: str | Path,
    second: str | Path,
    out: str | Path | None = None,
    *,
    finish: Callable[[Path], object] | None = None,
) -> dict[str, Any]:
    """What differs between two plan folders; returns the content of compare-plans.json.

    The folder `out`, if there is one, gets the document, and `finish` is called with it before it gets its name.
    Raises InputError.
    """
    read = _read(Path(first)), _read(Path(second))
    document = _document(*read)
    write_compared(document, out, PLAN_COMPARISON, [one.folder for one in read], finish)
    return document.as_dict()


def _read(folder: Path) -> _Read:
    document = read_plan(folder)
    return _Read(folder, document, scenario_of(folder))


def _document(first: _Read, second: _Read) -> PlanCompareDocument:
    asked = list(_asked(first, second))
    found = [
        each
        for each in differences((first.trace, second.trace), (first.scenario, second.scenario))
        if not each.key.startswith("slo.") and not _is_varied(each, first, second)
    ]
    same_traffic = all(each.of != "traffic" for each in found)
    same_axis = first.document.over == second.document.over
    pairs = _paired(first.document.edges, second.document.edges)
    changes = [_change(first, second, *pair, same=same_axis and same_traffic) for pair in pairs]
    same_question = same_axis and first.document.slo == second.document.slo
    document = PlanCompareDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        answer="",
        but=[],
        first=_stated(first),
        second=_stated(second),
        same_question=same_question,
        same_traffic=same_traffic,
        differences=[*asked, *found],
        only_first=_only(first.document.edges, second.document.edges),
        only_second=_only(second.document.edges, first.document.edges),
        edges=changes,
        holds=any(edge.state != "nowhere" for edge in second.document.edges)
        and not (same_question and any(each.verdict == "worse" for each in changes)),
    )
    return document.model_copy(update={"answer": answer_of(document), "but": limits_of(document)})


def _asked(first: _Read, second: _Read) -> list[StatedDifference]:
    """What differs in the question itself; bounds only where they are of the same thing."""
    one, other = first.document, second.document
    pairs = [("over", one.over, other.over), ("slo", one.slo, other.slo)]
    if one.over == other.over:
        pairs.append(("between", _bounds(first), _bounds(second)))
    return [
        StatedDifference(of="question", key=key, first=before, second=after)
        for key, before, after in pairs
        if before != after
    ]


def _bounds(read: _Read) -> str:
    ends = sorted((read.document.near, read.document.far))
    return "..".join(read.axis.write(float(f"{end:.6g}")) for end in ends)


def _is_varied(difference: StatedDifference, first: _Read, second: _Read) -> bool:
    """Whether the axis of both puts other values in the place of a key."""
    if first.document.over != second.document.over:
        return False
    return re.fullmatch(_VARIED[first.document.over], difference.key) is not None


def _key(edge: StatedEdge) -> tuple[str, str | None, int | None]:
    return edge.policy, edge.timeout, edge.timeout_ns


def _paired(first: Sequence[StatedEdge], second: Sequence[StatedEdge]) -> list[tuple[StatedEdge, StatedEdge]]:
    known = {_key(edge): edge for edge in first}
    return [(known[_key(edge)], edge) for edge in second if _key(edge) in known]


def _only(edges: Sequence[StatedEdge], others: Sequence[StatedEdge]) -> list[PolicyTimeout]:
    known = {_key(edge) for edge in others}
    return [PolicyTimeout(policy=edge.policy, timeout=edge.timeout) for edge in edges if _key(edge) not in known]


def _stated(read: _Read) -> ComparedPlan:
    document = read.document
    return ComparedPlan(
        folder=str(read.folder),
        segcast=document.segcast,
        answer=document.answer,
        few=document.few,
        but=document.but[0] if document.but else None,
        traffic=Path(document.source).name if document.traffic is None else document.traffic.name,
        reacts=document.reacts,
        over=document.over,
        slo=document.slo,
        furthest=name_of(_furthest(read)),
    )


def _furthest(read: _Read) -> StatedEdge:
    """What a plan's own answer finds best: the baseline, unless something clearly goes further."""
    edges = read.document.edges
    baseline = next((edge for edge in edges if edge.policy == read.document.baseline), edges[0])
    return next((edge for edge in edges if beyond(read.axis, edge, baseline)), baseline)


def _change(first: _Read, second: _Read, one: StatedEdge, other: StatedEdge, *, same: bool) -> StatedEdgeChange:
    """One policy in both; not compared unless the question and the traffic are the `same`."""
    both = one.traffic_low is not None and other.traffic_low is not None
    before, after = (_estimate(edge, of_traffic=both) for edge in (one, other))
    gain = ratio_of(after, before) if same and before is not None and after is not None else None
    return StatedEdgeChange(
        policy=other.policy,
        timeout=other.timeout,
        timeout_ns=other.timeout_ns,
        first=_side(first, one, before),
        second=_side(second, other, after),
        change=None if gain is None else gain.value,
        low=None if gain is None else gain.low,
        high=None if gain is None else gain.high,
        verdict=_verdict(first, second, one, other, gain) if same else "unpaired",
    )


def _estimate(edge: StatedEdge, *, of_traffic: bool) -> Estimate | None:
    low, high = (edge.traffic_low, edge.traffic_high) if of_traffic else (edge.low, edge.high)
    return None if edge.value is None or low is None or high is None else Estimate(edge.value, low, high)


def _side(read: _Read, edge: StatedEdge, found: Estimate | None) -> ComparedEdge:
    return ComparedEdge(
        state=edge.state,
        value=edge.value,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        binding=edge.binding,
        settled=edge.settled,
        words=edge_words(read.axis, edge, read.document.currency).removeprefix(f"{name_of(edge)} "),
    )


def _verdict(first: _Read, second: _Read, one: StatedEdge, other: StatedEdge, gain: Estimate | None) -> EdgeVerdict:
    if one.state == other.state != "edge":
        return "beyond"
    before, after = _reach(first, one), _reach(second, other)
    if before == after and one.value == other.value:
        return "equal"
    if gain is not None:
        signs = (gain.low, gain.high) if first.axis.rises else (-gain.high, -gain.low)
    else:  # one of them lies somewhere beyond what was asked
        signs = (after[0] - before[1], after[1] - before[0])
    if signs[0] <= 0 <= signs[1]:
        return "unclear"
    return "better" if signs[0] > 0 else "worse"


def _reach(read: _Read, edge: StatedEdge) -> tuple[float, float]:
    """Between which places of its axis an edge lies; without one, beyond the bounds that were asked."""
    axis, document = read.axis, read.document
    if edge.state == "everywhere":
        return axis.place(document.far), math.inf
    if edge.value is None or edge.low is None or edge.high is None:
        return -math.inf, axis.place(document.near)
    low, high = sorted(axis.place(value) for value in (edge.low, edge.high))
    return low, high
