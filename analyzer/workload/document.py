"""What `segcast synth` and `segcast workload` print with `--json`."""

from __future__ import annotations

from pydantic import Field

from segcast.traces.disk.documents import Count, Number, Printed, Shape, Whole


class JobCount(Shape):
    """Jobs of flows."""

    jobs: Count = Field(description="jobs in the list")
    flows_per_job: Count = Field(description="flows of each")


class OfferedLoad(Shape):
    """The load, and what it is of."""

    asked: Number = Field(description="load that was asked for")
    offered: float = Field(description="load that the list offers")
    tier: str = Field(description="the tier of links that it is of")
    links: Count = Field(description="links of that tier")
    capacity_bps: Number = Field(description="their rate together")
    frame_overhead_bytes: Number = Field(description="bytes that a frame has beside a segment's payload")
    segment_bytes: Count = Field(description="payload of a full segment")


class TierLoad(Shape):
    """A tier of links."""

    tier: str = Field(description="its name")
    links: Count = Field(description="its links")
    capacity_bps: Number = Field(description="their rate together")
    load: float = Field(description="their load")


class SynthDocument(Printed):
    """A flow list that was made."""

    workload: str = Field(description="its file")
    kind: str = Field(description="what was asked for")
    source: str = Field(description="where its sizes are from")
    seed: Count = Field(description="seed of all that was drawn")
    flows: Count = Field(description="its flows")
    jobs: JobCount | None = Field(description="its jobs; null of flows that wait for none")
    bytes: Count = Field(description="bytes of all flows")
    flow_bytes: dict[str, Count] = Field(description="sizes of flows, by quantile")
    flow_bytes_mean: float = Field(description="mean size of flows")
    pattern: str = Field(description="who sends to whom")
    arrivals: str = Field(description="distribution of gaps")
    sigma: Number | None = Field(description="how bursty lognormal gaps are; null of others")
    arrival_gap_mean_ns: Number = Field(description="mean gap between arrivals")
    arrivals_end_ns: Whole = Field(description="time of the last arrival")
    start_jitter_ns: Count = Field(description="by how much flows of a job start late, at most")
    load: OfferedLoad = Field(description="the load")
    tiers: list[TierLoad] = Field(description="the tiers of links, the bottleneck first")
    notes: list[str] = Field(description="what to know of it")


class FlowCount(Shape):
    """Flows of a trace."""

    flows: Count = Field(description="how many")
    packets: Count = Field(description="their packets")
    bytes: Count = Field(description="their bytes")


class LeftFlows(FlowCount):
    """Flows that are not in the list."""

    reason: str = Field(description="why they are not")


class WorkloadDocument(Printed):
    """A flow list that was told from a trace."""

    workload: str = Field(description="its file")
    trace: str = Field(description="name of the trace")
    flows: Count = Field(description="its flows, each a message")
    bytes: Count = Field(description="bytes of all flows")
    connections: Count = Field(description="connections that they are of")
    crossing: Count = Field(description="connections whose two directions do not wait for each other")
    hosts: Count = Field(description="hosts that send or receive")
    origin_ns: Whole = Field(description="the time in the trace that is 0 in the list")
    flow_bytes: dict[str, Count] = Field(description="sizes of flows, by quantile")
    think_ns: dict[str, Count] | None = Field(description="think times, by quantile; null if no flow waits")
    listed: FlowCount = Field(description="flows of the trace that are in the list")
    open_loop: list[LeftFlows] = Field(description="the others, by reason")
