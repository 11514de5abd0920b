"""What `plan.json` holds: a question, and the answer for each policy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.traces.disk.documents import Count, Shape, Whole


class StatedProbe(Shape):
    """A value of the axis that was tried, with one policy and timeout."""

    value: float = Field(description="value of what is varied")
    seeds: Count = Field(description="seeds that were run there")
    verdict: Literal["kept", "broken", "unclear"] = Field(
        description="whether the budgets are kept, by 95 % intervals of the means over seeds"
    )
    figures: dict[str, float | None] = Field(description="mean over seeds of each metric that a budget bounds")


class StatedEnd(Shape):
    """Where a policy has no edge: how near the budgets are to breaking, or being kept, at the nearest bound."""

    value: float = Field(description="bound of the axis: where budgets are easiest to keep, or hardest")
    budget: str = Field(description="the budget that is broken by most there, or kept by least")
    figure: float | None = Field(description="mean over seeds of its metric there; null where nothing was received")
    limit: float = Field(description="what the budget allows, in the metric's unit")
    words: str = Field(description="the same in words")


class StatedEdge(Shape):
    """How far one policy and timeout keeps the budgets."""

    policy: str = Field(description="label of the policy")
    timeout: str | None = Field(None, description="label of the flowlet timeout; null without one")
    timeout_ns: Whole | None = Field(None, description="the timeout, if it is fixed; else null")
    state: Literal["edge", "nowhere", "everywhere"] = Field(
        description="`nowhere`: no value within the bounds keeps the budgets; `everywhere`: all do"
    )
    value: float | None = Field(None, description="the last value that keeps the budgets; null without an edge")
    low: float | None = Field(None, description="lower bound of it at 95 %, as far as seeds' draws go")
    high: float | None = Field(None, description="upper bound")
    traffic_low: float | None = Field(
        default=None,
        description="lower bound at 95 % that covers the traffic's own chance too; null if it was not asked for",
    )
    traffic_high: float | None = Field(None, description="upper bound of that")
    binding: str | None = Field(None, description="the budget that breaks first")
    end: StatedEnd | None = Field(None, description="without an edge: the bound that is nearest to one; else null")
    seeds_wanted: Count | None = Field(
        None, description="seeds a place that would tell what these did not, about; null where the edge is settled"
    )
    settled: bool = Field(True, description="whether seeds told kept from broken on both sides of the edge")
    monotone: bool = Field(True, description="false: budgets are kept again beyond the edge")
    gain: float | None = Field(None, description="the edge over the baseline's, less 1; null for the baseline")
    gain_low: float | None = Field(None, description="lower bound of that at 95 %, the edges' errors taken as apart")
    gain_high: float | None = Field(None, description="upper bound")
    cells: Count = Field(0, description="cells that it took, those found in the store included")
    probes: list[StatedProbe] = Field(default_factory=list, description="what was tried, in order of value")


class PlanDocument(Shape):
    """A question, and the answer for each policy."""

    segcast: str = Field(description="version of Segcast")
    schema_version: Whole = Field(description="version of this document")
    source: str = Field(description="trace or workload")
    reacts: bool = Field(description="whether TCP senders react; else all packets leave as captured")
    over: str = Field(description="what is varied: `load`, `links.rate`, `paths` or `buffer`")
    rises: bool = Field(description="whether more of it is worse")
    near: float = Field(description="bound of the axis where budgets are easiest to keep")
    far: float = Field(description="the other bound")
    now: float | None = Field(None, description="value of the scenario itself; null for the load")
    share: float | None = Field(
        None,
        description="mean utilisation of the busiest link, evenly spread, at load 1; null unless the load is varied",
    )
    slo: str = Field(description="the budgets")
    answer: str = Field(description="the answer in one sentence")
    but: list[str] = Field(default_factory=list, description="what limits the answer, worst first")
    baseline: str = Field(description="label of the policy that others are compared with")
    edges: list[StatedEdge] = Field(description="each policy and timeout, the furthest first")
    cells: Count = Field(description="cells that it took")
    ran: Count = Field(description="cells that were run now; the others were in the store")
