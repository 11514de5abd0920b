"""What `failures.json` holds, declared once."""

from __future__ import annotations

from pydantic import Field

from segcast.traces.disk.documents import Count, Shape, Whole


class FailedLoad(Shape):
    """When things fail at a load."""

    load: float = Field(description="what is offered, in parts of the trace")
    share: str | None = Field(None, description="the load as it was asked, if that is a share of the busiest link")
    at_ns: Whole = Field(description="when everything fails, from the first packet on")
    until_ns: Whole = Field(description="when the last packet is sent, under the first policy without a failure")


class FailedVariant(Shape):
    """A policy with its timeout and load, over all failures."""

    policy: str = Field(description="label of the policy")
    timeout: str | None = Field(description="label of its flowlet timeout; null without one")
    timeout_ns: Whole | None = Field(description="the timeout, if it is fixed")
    load: float = Field(description="what is offered, in parts of the trace")
    share: str | None = Field(None, description="the load as it was asked, if that is a share of the busiest link")
    says: list[str] = Field(description="what the failures cost under it, in sentences")
    never_learns: bool = Field(description="whether its hosts never leave a dead path: nothing makes them suspect one")
    broken: Count = Field(description="failures that break the budgets over the whole run or in their last stage")
    broken_after: Count = Field(description="of them those that break budgets in their last stage")
    broken_intact: list[str] = Field(description="budgets that are broken without a failure")


class FailuresDocument(Shape):
    """What every single failure of a kind costs, under each policy."""

    segcast: str = Field(description="version of Segcast that wrote it")
    schema_version: Count = Field(description="version of this document")
    source: str = Field(description="the trace or the flow list")
    reacts: bool = Field(description="whether TCP senders react; else all packets leave as captured")
    kind: str = Field(description="what fails: `links`, `nodes` or `groups`")
    tried: Count = Field(description="failures that were run, pairs among them")
    pairs: Count = Field(description="of them pairs")
    all_pairs: Count = Field(description="pairs that there are; 0 if none were asked for")
    idle: list[str] = Field(
        description="what is on no path of the traffic: its failure changes nothing and was not run"
    )
    detection_ns: Count = Field(description="until the fabric's routing knows of a failure")
    slo: str | None = Field(description="the budgets; null if there are none")
    judge: str = Field(description="`whole`: budgets hold over the run and in the last stage; `settled`: in the latter")
    holds: bool = Field(description="whether no failure breaks the budgets; true without any")
    answer: str = Field(description="the headline")
    but: list[str] = Field(description="what limits the answer, what was not tried among it")
    loads: list[FailedLoad] = Field(description="when things fail")
    variants: list[FailedVariant] = Field(description="each policy, in the order of the scenario")
    seeds: Count = Field(description="seeds that figures are means over")
    cells: Count = Field(description="cells that it took")
    ran: Count = Field(description="of them those that ran now; the others were kept")
