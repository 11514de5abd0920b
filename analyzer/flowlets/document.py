"""What `segcast flowlets --json` prints."""

from __future__ import annotations

from pydantic import Field

from segcast.traces.disk.documents import Count, Number, Shape


class FlowletProfile(Shape):
    """Flowlets at one timeout; quantiles are p50, p90, p99, p99.9 and the largest."""

    timeout_ns: Count = Field(description="the flowlet timeout")
    flowlets: Count = Field(description="flowlets of all flows")
    flows: Count = Field(description="flows of the trace")
    never_split: Count = Field(description="flows that are one flowlet")
    packets_p50: Count | None = Field(description="packets of a flowlet: p50")
    packets_p90: Count | None = Field(description="the same: p90")
    packets_p99: Count | None = Field(description="the same: p99")
    packets_p999: Count | None = Field(description="the same: p99.9")
    packets_max: Count | None = Field(description="the same: the most")
    packets_mean: Number | None = Field(description="the same: the mean")
    bytes_p50: Count | None = Field(description="bytes of a flowlet: p50")
    bytes_p90: Count | None = Field(description="the same: p90")
    bytes_p99: Count | None = Field(description="the same: p99")
    bytes_p999: Count | None = Field(description="the same: p99.9")
    bytes_max: Count | None = Field(description="the same: the most")
    bytes_mean: Number | None = Field(description="the same: the mean")


class TriedTimeout(Shape):
    """A timeout worth trying."""

    timeout_ns: Count = Field(description="the timeout")
    movable: float = Field(description="share of bytes that follow a longer gap within their flow")
    packets: float = Field(description="packets of a flowlet on average")


class WorthTrying(Shape):
    """What is worth trying, of what the traffic alone says."""

    timeouts: list[TriedTimeout] = Field(description="timeouts, the shortest first; empty if none is")
    says: str = Field(description="the same in a sentence, with the reason")


class FlowletsDocument(Shape):
    """Gaps within flows, and flowlets at each timeout."""

    segcast: str = Field(description="version of Segcast")
    schema_version: Count = Field(description="version of this document")
    trace: str = Field(description="name of the trace")
    packets: Count = Field(description="packets with an IP header")
    flows: Count = Field(description="flows of the trace")
    gap_ns: dict[str, Count | None] = Field(description="quantiles of gaps within flows, by name: `p10` to `max`")
    timeouts: list[FlowletProfile] = Field(description="each timeout")
    worth_trying: WorthTrying = Field(description="timeouts worth trying")
