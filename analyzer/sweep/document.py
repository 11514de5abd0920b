"""What `sweep.json` holds: what was swept, and what to do in each case."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from segcast.traces.disk.documents import Count, Shape, Whole


class StatedField(Shape):
    """A field that is swept."""

    field: str = Field(description="the field, as it was asked for")
    values: list[str] = Field(description="its values, in their order")


class StatedCase(Shape):
    """A variant of the scenario at a load, and what to do there."""

    variant: str = Field(description="name of the variant, as tables have it")
    values: dict[str, str] = Field(description="its values by field")
    load: float = Field(description="what is offered, in parts of the trace")
    offered: str = Field(description="the same in words")
    verdict: Literal["use", "only", "stay", "none", "alone", "lost"] = Field(
        description="as in `decision.loads` of a forecast"
    )
    do: str = Field(description="what to do there")
    policy: str | None = Field(
        None, description="label of the policy whose figures follow: the one to use, or else what comes nearest to it"
    )
    timeout: str | None = Field(None, description="label of its timeout; null without one")
    timeout_ns: Whole | None = Field(None, description="the timeout, if it is fixed; else null")
    metric: str = Field(description="column that decides")
    value: float | None = Field(
        None, description="its value of all seeds together, as `choices` has it, in the column's unit"
    )
    baseline: float | None = Field(None, description="that of the baseline")
    change: float | None = Field(None, description="change against the baseline, seed by seed")
    low: float | None = Field(None, description="lower bound of it at 95 %")
    high: float | None = Field(None, description="upper bound")
    drop_ratio: float | None = Field(None, description="mean share of packets dropped")
    breaks: list[str] = Field(description="the budgets that it breaks")


class SweepDocument(Shape):
    """What was swept, over what, and what came of it."""

    segcast: str = Field("", description="version of Segcast that wrote it")
    schema_version: Count = Field(0, description="version of this document")
    answer: str = Field("", description="what to do, and where")
    but: list[str] = Field([], description="what to know before believing it")
    budgets: str = Field("", description="the budgets that choices are held to")
    source: str = Field("", description="name of the trace or the flow list")
    kind: Literal["trace", "workload"] = Field("trace", description="which of them it is")
    reacts: bool = Field(False, description="whether senders react")
    fields: list[StatedField] = Field([], description="what is swept")
    variants: Count = Field(0, description="variants of the scenario")
    cells: Count = Field(0, description="cells of all of them")
    seeds: list[int] = Field([], description="seeds that were run")
    loads: list[float] = Field([], description="loads that were run, of all variants, ascending")
    baseline: str = Field("", description="label of the policy that others are compared with")
    cases: list[StatedCase] = Field([], description="each variant at each load, in their order")
    kept: bool | None = Field(None, description="whether in some case a choice keeps the budgets; null without any")
