"""What `plan.json` holds: a question, and the answer for each policy."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.analyzer.forecast.document import ForecastSource
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
    years: float | None = Field(None, description="in how many years growth comes to the edge, where a year's is given")
    share: float | None = Field(
        default=None,
        description="mean utilisation of the busiest link at the edge, evenly spread; null unless traffic is varied",
    )
    cost: float | None = Field(None, description="what the network at the edge costs, by the prices that were given")
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


class StatedInstead(Shape):
    """With how many paths the best policy carries what the baseline does, found by a search of its own."""

    policy: str = Field(description="label of the policy that needs fewer")
    timeout: str | None = Field(None, description="label of its flowlet timeout")
    value: float = Field(description="the load, or growth, that the baseline carries with all paths")
    of: Literal["spine", "path"] = Field(description="what is counted")
    now: Count = Field(description="how many the network has")
    needs: Count = Field(description="the fewest with which it keeps the budgets there")
    low: Count = Field(description="lower bound of that at 95 %, as far as seeds' draws go")
    high: Count = Field(description="upper bound: what is surely enough")
    saved: float | None = Field(None, description="what `now` costs more than `high`, by the prices that were given")
    probes: list[StatedProbe] = Field(default_factory=list, description="what was tried, in order of paths")


class PlanTraffic(Shape):
    """The trace or the flow list that a plan is of, by which another of the same traffic is told."""

    kind: Literal["trace", "workload"] = Field(description="a capture, or a flow list")
    name: str = Field(description="a short name")
    layer: Literal["outer", "inner"] = Field(description="the IP header that counts where tunnels nest them")
    sources: list[ForecastSource] = Field(description="its captures, or the list")


class PlanDocument(Shape):
    """A question, and the answer for each policy."""

    segcast: str = Field(description="version of Segcast")
    schema_version: Whole = Field(description="version of this document")
    source: str = Field(description="trace or workload")
    traffic: PlanTraffic | None = Field(None, description="what was sent; null in plans that did not say it")
    reacts: bool = Field(description="whether TCP senders react; else all packets leave as captured")
    over: str = Field(description="what is varied: `load`, `growth`, `links.rate`, `paths` or `buffer`")
    rises: bool = Field(description="whether more of it is worse")
    near: float = Field(description="bound of the axis where budgets are easiest to keep")
    far: float = Field(description="the other bound")
    now: float | None = Field(None, description="value of the scenario itself; null for the load")
    per_year: float | None = Field(None, description="how much growth is in a year, in parts of 1; null if not given")
    share: float | None = Field(
        None,
        description="mean utilisation of the busiest link, evenly spread, where `over` is 1; null unless it is load or "
        "growth",
    )
    cost: float | None = Field(None, description="what the scenario's own network costs; null without prices")
    currency: str | None = Field(None, description="what prices are in")
    instead: StatedInstead | None = Field(
        None, description="with how many paths the best policy carries what the baseline does; null if with no fewer"
    )
    slo: str = Field(description="the budgets")
    few: str | None = Field(None, description="of what there is too little to tell; null if there is enough")
    answer: str = Field(description="the answer in one sentence; first of all that there is too little to tell, if so")
    but: list[str] = Field(default_factory=list, description="what limits the answer, worst first")
    baseline: str = Field(description="label of the policy that others are compared with")
    edges: list[StatedEdge] = Field(description="each policy and timeout, the furthest first")
    cells: Count = Field(description="cells that it took")
    ran: Count = Field(description="cells that were run now; the others were in the store")
