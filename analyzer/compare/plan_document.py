"""What `compare-plans.json` holds: two plans, what differs in what they were asked, and how far policies go in each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.analyzer.compare.document import StatedDifference
from segcast.traces.disk.documents import Count, Shape, Whole

EdgeVerdict = Literal["equal", "beyond", "better", "worse", "unclear", "unpaired"]


class ComparedPlan(Shape):
    """One of the two."""

    folder: str = Field(description="the plan, as it was named")
    segcast: str = Field(description="version of Segcast that wrote it")
    answer: str = Field(description="its answer")
    few: str | None = Field(description="of what it has too little to tell; null if it has enough")
    but: str | None = Field(description="what limits its answer most; null if nothing does")
    traffic: str = Field(description="name of its trace or flow list")
    reacts: bool = Field(description="whether TCP senders react; else all packets leave as captured")
    over: str = Field(description="what it varies")
    slo: str = Field(description="its budgets")
    furthest: str = Field(description="the policy and timeout best of it: the baseline, or what clearly beats that")


class ComparedEdge(Shape):
    """How far a policy goes in one of the two."""

    state: Literal["edge", "nowhere", "everywhere"] = Field(
        description="`nowhere`: no value that was asked keeps the budgets; `everywhere`: all do"
    )
    value: float | None = Field(description="the last value that keeps the budgets; null without an edge")
    low: float | None = Field(description="lower bound at 95 %, with other traffic's if both plans have that")
    high: float | None = Field(description="upper bound")
    binding: str | None = Field(description="the budget that breaks first")
    settled: bool = Field(description="whether seeds told kept from broken on both sides")
    words: str = Field(description="the same in words")


class StatedEdgeChange(Shape):
    """A policy and timeout that both plans have."""

    policy: str = Field(description="label of the policy")
    timeout: str | None = Field(description="label of the flowlet timeout; null without one")
    timeout_ns: Whole | None = Field(description="the timeout, if it is fixed; else null")
    first: ComparedEdge = Field(description="how far it goes in the first")
    second: ComparedEdge = Field(description="how far it goes in the second")
    change: float | None = Field(description="the second's edge over the first's, less 1; null without two to compare")
    low: float | None = Field(description="lower bound of that at 95 %, the edges' errors taken as apart")
    high: float | None = Field(description="upper bound")
    verdict: EdgeVerdict = Field(
        description="`equal`: the same edge and bounds; `better`: the second clearly carries more, or needs less; "
        "`worse`: the other way; `unclear`; `beyond`: neither has an edge within what was asked; `unpaired`: another "
        "question, or other traffic"
    )


class PolicyTimeout(Shape):
    """A policy and its flowlet timeout."""

    policy: str = Field(description="label of the policy")
    timeout: str | None = Field(description="label of the flowlet timeout; null without one")


class PlanCompareDocument(Shape):
    """What differs between two plans."""

    segcast: str = Field(description="version of Segcast that wrote it")
    schema_version: Count = Field(description="version of this document")
    answer: str = Field(description="what differs, in a sentence or two; another question or other traffic comes first")
    but: list[str] = Field(description="what limits it, worst first")
    first: ComparedPlan = Field(description="the first plan")
    second: ComparedPlan = Field(description="the second")
    same_question: bool = Field(description="whether the same is varied, and the same budgets are to be kept")
    same_traffic: bool = Field(description="whether the same is sent in both, by the digests of its files")
    differences: list[StatedDifference] = Field(description="what is not the same: question, traffic, scenario")
    only_first: list[PolicyTimeout] = Field(description="policies and timeouts that only the first has")
    only_second: list[PolicyTimeout] = Field(description="those that only the second has")
    edges: list[StatedEdgeChange] = Field(
        description="each policy and timeout that both have, as the second orders them"
    )
    holds: bool = Field(
        description="false: no policy of the second keeps its budgets anywhere, or, asked the same of the same "
        "traffic, one clearly goes less far than in the first"
    )
