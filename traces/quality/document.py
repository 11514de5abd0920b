"""What `segcast inspect --json` and `segcast ingest --json` print."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from segcast.traces.disk.documents import Count, Number, Shape, Whole
from segcast.traces.document import Anonymization, DamageEntry, Finding, OffloadSplit


class Share(Shape):
    """Flows and packets of one kind."""

    name: str = Field(description="its name")
    flows: Count = Field(description="flows of that kind")
    packets: Count = Field(description="packets of that kind")
    wire_bytes: Count = Field(description="bytes on the wire")


class ProtocolShare(Share):
    """Of a protocol."""

    protocol: Count = Field(description="protocol number of IP")


class VersionShare(Share):
    """Of a version of IP."""

    ip_version: Count = Field(description="4 or 6")


class LinkTypeShare(Shape):
    """Packets of a link type."""

    link_type: Count = Field(description="number of the link type")
    name: str = Field(description="its name")
    packets: Count = Field(description="packets of that kind")


class Talker(Shape):
    """A source address."""

    src: str = Field(description="the address")
    flows: Count = Field(description="its flows")
    packets: Count = Field(description="its packets")
    wire_bytes: Count = Field(description="bytes on the wire")


class InspectedSource(Shape):
    """A capture, as far as it matters to whoever looks."""

    path: str = Field(description="where it is")
    bytes: Count = Field(description="size as stored")
    xxh128: str = Field(description="digest of the stored bytes (XXH128)")
    format: str = Field(description="`pcap`, `pcapng` and so on")
    compression: str = Field(description="how it is compressed; `none` if it is not")
    packets: Count = Field(description="packets of that kind")
    first_ns: Whole | None = Field(description="time of the first")
    last_ns: Whole | None = Field(description="time of the last")
    snaplen_bytes: Count | None = Field(description="how much of each frame was kept; null where nothing limits it")
    longest_captured_bytes: Count = Field(description="most that was captured of a frame")
    clock_resolution_ns: Number | None = Field(description="as the capture says")
    clock_unit_seen_ns: Count | None = Field(description="as its times show")
    drops: dict[str, Any] = Field(description="packets that the capturing machine says it lost")
    damages: list[DamageEntry] = Field(description="places that could not be read")


class InspectDocument(Shape):
    """What a trace holds, how good it is, and whether a forecast can be made of it."""

    segcast: str = Field(description="version of Segcast")
    schema_version: Count = Field(description="version of this document")
    packets: Count = Field(description="packets of the trace")
    flows: Count = Field(description="its flows")
    wire_bytes: Count | None = Field(description="bytes on the wire")
    captured_bytes: Count | None = Field(description="bytes captured")
    first_ns: Whole | None = Field(description="time of the first packet")
    last_ns: Whole | None = Field(description="time of the last")
    duration_ns: Whole | None = Field(description="from one to the other")
    protocols: list[ProtocolShare] = Field(description="by protocol, the most packets first")
    ip_versions: list[VersionShare] = Field(description="by version of IP")
    link_types: list[LinkTypeShare] = Field(description="by link type")
    layer: Literal["outer", "inner"] = Field(description="the IP header that counts where tunnels nest them")
    tunnels: dict[str, Count] = Field(description="packets whose inner header was read, by tunnel")
    tunnels_unread: dict[str, Count] = Field(description="packets whose inner header was not, by tunnel and reason")
    tenants: list[dict[str, Any]] = Field(description="VLANs and overlays, where there are any")
    segment_lists: Count = Field(description="different segment lists of SRv6")
    segment_lists_unread: dict[str, Count] = Field(description="packets whose segment list was not read, by reason")
    fragments_without_first: Count = Field(description="fragments whose ports are unknown")
    packets_without_ip: Count = Field(description="frames that hold no IP packet")
    skipped: dict[str, Count] = Field(description="the same by reason")
    truncated_packets: Count = Field(description="packets of which a part was captured")
    truncated_share: float | None = Field(description="their share")
    one_sided_flows: Count = Field(description="flows whose other direction was not seen")
    one_sided_tcp_flows: Count = Field(description="of TCP among them")
    one_sided_share: float | None = Field(description="share of one-sided flows")
    flows_with_rtt: Count = Field(description="flows whose round trip time is known")
    rtt_min_ns: Whole | None = Field(description="least round trip time of any")
    rtt_median_ns: Whole | None = Field(description="median of the flows' median round trip times")
    time_steps_backwards: Count = Field(description="packets older than the one before, as captured")
    furthest_step_backwards_ns: Count = Field(description="by how much at most")
    packets_without_time: Count = Field(description="packets that no clock stamped")
    retransmissions: Count = Field(description="segments of TCP that were sent again")
    out_of_order: Count = Field(description="segments that came out of order")
    handshake_rtt_median_ns: Whole | None = Field(description="median round trip time of TCP handshakes")
    anonymized: Anonymization | None = Field(description="how addresses were replaced; null if they were not")
    offload_split: OffloadSplit | None = Field(description="how long frames were cut; null if they were not")
    filter: str | None = Field(description="what was kept of the captures; null for everything")
    left_out: dict[str, Count] = Field(description="inputs that were not read, by reason")
    findings: list[Finding] = Field(description="what is noteworthy, worst first")
    top_talkers: list[Talker] = Field(description="who sends most")
    sources: list[InspectedSource] = Field(description="the captures, in order")
    mean_bps: Number | None = Field(description="mean rate on the wire")
    peak_bps: Number | None = Field(description="rate of the busiest interval")
    peak_interval_ns: Count | None = Field(description="length of these intervals")
    verdict: Literal["fit", "usable", "unfit"] = Field(description="whether a forecast can be made of it")
    reasons: list[str] = Field(description="why not, or not quite")
