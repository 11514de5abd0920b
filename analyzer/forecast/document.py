"""What `forecast.json` holds, declared once: a forecast is written from these models, and read back by them."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from segcast.analyzer.answers.standings import Verdict
from segcast.analyzer.network.sid_table import SidTable
from segcast.traces.disk.documents import Count, Shape, Whole
from segcast.traces.document import Finding

SCHEMA_VERSION: Final = 2


class StatedVariant(Shape):
    """Cells that differ only in their seed and load."""

    policy: str = Field(description="label of the policy")
    timeout: str | None = Field(None, description="label of the flowlet timeout, such as `50us`; null without one")
    timeout_ns: Whole | None = Field(None, description="the timeout, if it is fixed; else null")


class LoadedVariant(StatedVariant):
    """Cells that differ only in their seed."""

    load: float = Field(1.0, description="what is offered, in parts of the trace")
    growth: float | None = Field(None, description="of the load, the factor that is of more connections, or fewer")
    year: Count | None = Field(None, description="the year from now, where growth is given by the year")
    share: str | None = Field(None, description="the load as it was asked, if that is a share of the busiest link")


class StatedComparison(LoadedVariant):
    """A variant against the baseline at the same load, in one metric."""

    baseline_policy: str = Field("", description="label of the baseline's policy")
    baseline_timeout: str | None = Field(None, description="label of its flowlet timeout")
    baseline_timeout_ns: Whole | None = Field(None, description="its timeout, if it is fixed")
    metric: str = Field(description="column of the summary that is compared")
    seeds: Count = Field(0, description="seeds of which both have a value")
    value: float | None = Field(None, description="mean of the variant over these seeds; null without any")
    baseline: float | None = Field(None, description="mean of the baseline over these seeds")
    change: float | None = Field(None, description="relative change, -0.1 for 10 % less; null if nothing to divide by")
    low: float | None = Field(None, description="lower bound of the change, at 95 % together; null with too few seeds")
    high: float | None = Field(None, description="upper bound")
    traffic_low: float | None = Field(
        None, description="lower bound that covers other traffic, too; null unless resamples were run"
    )
    traffic_high: float | None = Field(None, description="upper bound of that")


class ForecastSource(Shape):
    """A capture of the trace."""

    path: str = Field(description="where it was")
    bytes: Count = Field(0, description="size as stored")
    xxh128: str = Field("", description="digest of the stored bytes (XXH128), by which a changed capture is told")


class ForecastTrace(Shape):
    """The trace or the workload that was forecast, as far as it is sent."""

    kind: Literal["trace", "workload"] = Field("trace", description="a capture, or a flow list")
    reacts: bool = Field(False, description="whether TCP senders react; else all packets leave as captured")
    name: str = Field("", description="a short name for reports")
    folder: str = Field("", description="the trace's folder, or that of the flow list; absolute")
    layer: Literal["outer", "inner"] = Field("outer", description="the IP header that counts where tunnels nest them")
    packets: Count | None = Field(None, description="packets that leave as captured; null for a workload")
    messages: Count | None = Field(None, description="messages of senders that react; null without any")
    connections: Count | None = Field(None, description="their connections; null without any")
    flows: Count | None = Field(None, description="flows that send")
    hosts: Count | None = Field(None, description="steering hosts")
    duration_ns: Whole | None = Field(None, description="from the first packet sent to the last, at load 1")
    findings: list[Finding] = Field([], description="what to know before believing the numbers")
    sources: list[ForecastSource] = Field([], description="its captures, in order of `file`")


class StatedGroup(Shape):
    """The attachments between which the paths of a group lead."""

    group: Count = Field(description="number of the group, from 0 on")
    a: str = Field(alias="from", description="attachment where its packets enter")
    b: str = Field(alias="to", description="attachment where they leave")


class StatedSides(Shape):
    """How hosts were put at the two sides of parallel paths, where no prefix says it."""

    left: list[str] = Field([], description="prefixes that hold the addresses at the left, and none at the right")
    groups: Count = Field(0, description="groups of hosts without traffic with each other: each could be the other way")
    flows_together: Count = Field(0, description="flows between hosts of one side, which are left out")


class LinkEntry(Shape):
    """A link of the network as built."""

    name: str = Field("", description="name of the link")
    rate_bps: Count | None = Field(None, description="its rate")
    delay_ns: Count | None = Field(None, description="its propagation delay")
    buffer_bytes: Count | None = Field(None, description="what its queue holds; null for any amount")
    ecn_bytes: Count | None = Field(None, description="queue from which packets are marked; null for never")
    buffer_packets: Count | None = Field(None, description="what its queue holds in packets; null for any number")
    ecn_packets: Count | None = Field(None, description="queue in packets from which they are marked; null for never")
    overhead_bytes: Whole | None = Field(None, description="what a frame takes on the wire besides its own bytes")
    burst_bytes: Count | None = Field(None, description="what it lets pass at once after an idle time")


class ChangeEntry(Shape):
    """A change of a link's rate by an event."""

    at_ns: Whole = Field(description="when, from the first packet on")
    link: str = Field(description="name of the link")
    rate_bps: Count = Field(description="its rate from then on; 0 while it is down")


class PathEntry(Shape):
    """A path of the network as built."""

    path_id: Count = Field(description="number of the path, as tables have it")
    group: Count = Field(description="its group")
    slot: Count | None = Field(None, description="its place in the group, as policies count")
    links: list[str] = Field([], description="names of its links, in order")
    rate_bps: Count | None = Field(None, description="rate of its slowest link; null without links")
    delay_ns: Count | None = Field(None, description="delays of its links, added up")
    srv6_bytes: Count = Field(0, description="what SRv6 adds to a packet that is steered onto it")


class NetworkEntry(Shape):
    """The network as built from the scenario."""

    kind: str = Field("", description="the topology, such as `leaf-spine`")
    minimum_frame_bytes: Count = Field(0, description="size that shorter frames are padded to")
    detection_ns: Count = Field(0, description="time from a link's failure to when hosts avoid its paths")
    groups: list[StatedGroup] = Field([], description="who sends to whom")
    links: list[LinkEntry] = Field([], description="the links")
    changes: list[ChangeEntry] = Field([], description="what events change, in order of time")
    paths: list[PathEntry] = Field([], description="the paths, in order of `path_id`")


class StatedBreach(StatedVariant):
    """A variant that breaks budgets."""

    budgets: list[str] = Field([], description="which, and by what")


class StatedStanding(Shape):
    """What is to be done at a load."""

    load: float = Field(description="the load")
    offered: str = Field("", description="the same in words, as it was asked: `load 60 %`")
    verdict: Verdict = Field(
        description="`use`: clearly quicker than the baseline; `only`: the baseline breaks a budget that it keeps; "
        "`stay`: nothing within the budgets is clearly quicker than the baseline; `none`: nothing keeps the budgets; "
        "`alone`: there is nothing to choose from; `lost`: nothing was delivered"
    )
    chosen: list[StatedVariant] = Field([], description="what to use: those that are alike, the first as good as any")
    change: float | None = Field(None, description="change of the headline's metric by the first of them")
    low: float | None = Field(None, description="lower bound of that")
    high: float | None = Field(None, description="upper bound")
    closest: StatedVariant | None = Field(None, description="what comes nearest where nothing is to be gained")
    broken: list[StatedBreach] = Field([], description="what breaks budgets, and so is not chosen")


class StatedDecision(Shape):
    """What to do, because of what, and what speaks against it, as page and terminal say it."""

    do: str = Field("", description="what to do, and for which loads")
    brief: str = Field("", description="the same in short; empty in forecasts of before it was told")
    because: str = Field("", description="the numbers behind it, of one load; empty where nothing was delivered")
    but: list[str] = Field([], description="what speaks against it, most of all first")
    budgets: str = Field("", description="the budgets that it is held to")
    covers: str = Field("", description="what the intervals cover")
    few: list[str] = Field([], description="why nothing can be told yet, if so, and what it would take")
    kept: bool | None = Field(
        None, description="whether somebody keeps the budgets of `[slo]` at each load; null without"
    )
    knows_p999: bool = Field(True, description="whether p99.9 rests on enough flows, packets and busy periods")
    loads: list[StatedStanding] = Field([], description="the verdict at each load, loads rising")


class StatedValidation(Shape):
    """What replays measured of the model, where a validation was given."""

    folder: str = Field("", description="name of the validation's folder")
    holds: bool = Field(False, description="whether it held")
    p99: dict[str, float] = Field(
        {}, description="by policy, how far the model's p99 of delay is above the measured one, of packets as sent"
    )


class OfferedEntry(Shape):
    """What cells of a load are offered."""

    load: float = Field(description="what is offered, in parts of the trace")
    rate: float = Field(1.0, description="of it, how much faster packets come")
    growth: float = Field(1.0, description="of it, the factor that is of more connections, or fewer")
    year: Count | None = Field(None, description="the year from now, where growth is given by the year")
    share: str | None = Field(None, description="the load as it was asked, if that is a share of the busiest link")
    bytes: float | None = Field(
        None, description="bytes sent, in parts of the trace's: whole connections make up `growth` only nearly"
    )


class ForecastDocument(Shape):
    """What was forecast, over which trace and network, and what came of it."""

    segcast: str = Field("", description="version of Segcast that wrote it")
    schema_version: Count = Field(0, description="version of this document")
    answer: str = Field("", description="the headline: what to do; the same as `decision.do`")
    answered: LoadedVariant | None = Field(None, description="the variant that the answer is about; null if of none")
    decision: StatedDecision | None = Field(None, description="the answer in full; null in forecasts without it")
    validated: StatedValidation | None = Field(None, description="the model's measured error; null unless given")
    baseline: StatedVariant = Field(
        StatedVariant(policy="", timeout=None, timeout_ns=None), description="what the others are compared with"
    )
    comparisons: list[StatedComparison] = Field([], description="each variant and metric against it")
    cells: Count = Field(0, description="cells that were run")
    seeds: list[int] = Field([], description="seeds that were run, each once")
    loads: list[float] = Field([], description="loads that were run, ascending")
    offered: list[OfferedEntry] = Field([], description="what each of them is made of")
    trace: ForecastTrace = Field(ForecastTrace.model_validate({}), description="the trace")
    excluded: dict[str, Count] = Field({}, description="packets that are not sent, by reason")
    network: NetworkEntry = Field(NetworkEntry.model_validate({}), description="the network")
    sids: SidTable = Field(SidTable.model_validate({}), description="its SIDs, and the segment lists of its paths")
    sides: StatedSides | None = Field(None, description="the sides chosen for hosts; null where the scenario says them")
