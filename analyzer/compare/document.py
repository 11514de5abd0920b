"""What `compare.json` holds: two forecasts, what differs in what they were asked, and in what came of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.analyzer.forecast.document import LoadedVariant
from segcast.traces.disk.documents import Count, Shape

Verdict = Literal["equal", "lower", "higher", "unclear", "unpaired", "none"]


class ComparedForecast(Shape):
    """One of the two."""

    folder: str = Field(description="the forecast, as it was named")
    segcast: str = Field(description="version of Segcast that wrote it")
    answer: str = Field(description="what it says to do")
    traffic: str = Field(description="name of its trace or flow list")
    packets: Count | None = Field(description="packets that leave as captured; null for a flow list")
    flows: Count | None = Field(description="flows that send")
    reacts: bool = Field(description="whether TCP senders react; else all packets leave as captured")
    seeds: list[int] = Field(description="its seeds")
    cells: Count = Field(description="its cells")


class StatedDifference(Shape):
    """A key that is not the same in both."""

    of: Literal["question", "traffic", "scenario"] = Field(
        description="what it is of: what is sent, or the scenario; of plans the question itself as well"
    )
    key: str = Field(description="key of the scenario, or of `trace` in forecast.json; of a plan's question its option")
    first: str | None = Field(description="what the first has, as text; null without it")
    second: str | None = Field(description="what the second has")


class StatedChange(LoadedVariant):
    """A variant that both have, in one metric."""

    metric: str = Field(description="column of the summary")
    seeds: Count = Field(description="seeds of which both have a value; 0 where nothing is paired")
    first: float | None = Field(description="what the first has: of all seeds together for pooled quantiles, else mean")
    second: float | None = Field(description="what the second has")
    change: float | None = Field(
        description="from the first to the second, -0.1 for 10 % less: of seeds of which both have a value, else of "
        "the two figures; null if nothing to divide by"
    )
    low: float | None = Field(description="lower bound of the change, at 95 % together; null where there is none")
    high: float | None = Field(description="upper bound")
    verdict: Verdict = Field(
        description="`equal`: the same for every seed; `lower`, `higher`: clearly, so that the interval of the change, "
        "or of the difference where a value is 0, excludes none; `unclear`; `unpaired`; `none`: one has no value"
    )


class StatedKept(LoadedVariant):
    """How a variant keeps the budgets."""

    first: list[str] | None = Field(description="what the first breaks; empty if it keeps them, null if not in it")
    second: list[str] | None = Field(description="the same of the second")


class CompareDocument(Shape):
    """What differs between two forecasts."""

    segcast: str = Field(description="version of Segcast that wrote it")
    schema_version: Count = Field(description="version of this document")
    answer: str = Field(description="what differs, in a sentence or two; of different traffic that comes first")
    but: list[str] = Field(description="what limits it, worst first")
    first: ComparedForecast = Field(description="the first forecast")
    second: ComparedForecast = Field(description="the second")
    same_traffic: bool = Field(description="whether the same is sent in both, by the digests of its captures")
    paired: bool = Field(description="whether results are compared seed by seed")
    seeds: list[int] = Field(description="the seeds that both have")
    differences: list[StatedDifference] = Field(description="what is not the same, traffic first")
    only_first: list[LoadedVariant] = Field(description="variants that only the first has")
    only_second: list[LoadedVariant] = Field(description="variants that only the second has")
    headline: str = Field(description="the metric that the answer is about")
    changes: list[StatedChange] = Field(description="each variant that both have, in each metric")
    slo: str | None = Field(description="the budgets; null without any")
    kept: list[StatedKept] = Field(description="who keeps the budgets; empty without any")
    holds: bool | None = Field(
        description="whether the second keeps the budgets: at each load a policy does, and none breaks what it kept in "
        "the first; null without budgets"
    )
