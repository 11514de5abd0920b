"""When bytes leave the in-flight count if the trace says so: every later packet is looked at, for every packet."""

from __future__ import annotations

from collections.abc import Sequence

from tests.twins.network import Flow, Packet, Segment


def acknowledges(acknowledgement: Segment, segment: Segment) -> bool:
    """Whether the one acknowledges the whole of the other, in serial arithmetic."""
    end = segment.seq + (segment.payload_bytes if segment.payload_bytes > 0 else 1)
    beyond = (acknowledgement.ack - end) % 2**32
    return acknowledgement.ack_set and beyond < 2**31


def acknowledged_ns(index: int, flows: Sequence[Flow], packets: Sequence[Packet]) -> int | None:
    """When the first later packet of the reverse flow that acknowledges a packet is sent; None if there is none."""
    packet = packets[index]
    for later in packets[index + 1 :]:
        if later.flow != flows[packet.flow].reverse or later.segment is None or packet.segment is None:
            continue
        if acknowledges(later.segment, packet.segment):
            return later.send_ns
    return None


def release_times(flows: Sequence[Flow], packets: Sequence[Packet], loss_timeout_ns: int, recorded: bool) -> list[int]:
    """The time at which each packet's bytes are no longer counted; without `recorded` that of its timeout."""
    times = []
    for index, packet in enumerate(packets):
        time_ns = packet.send_ns + loss_timeout_ns
        seen_ns = acknowledged_ns(index, flows, packets) if recorded else None
        times.append(time_ns if seen_ns is None else min(time_ns, seen_ns))
    return times
