"""Flowlets of a trace the slow and obvious way: the gaps of each flow, and its runs of packets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sighting:
    """A packet of a trace as far as flowlets go; packets may come in any order of time."""

    time_ns: int
    flow: int
    ip_bytes: int


@dataclass
class Flowlet:
    """A run of a flow's packets, numbered by its place in the list."""

    flow: int
    start_ns: int
    first_packet: int
    packets: int
    bytes: int


@dataclass(frozen=True)
class Profile:
    """The flowlets at one timeout, in order of start, and how many flows stay one flowlet."""

    timeout_ns: int
    flowlets: list[Flowlet]
    flowlet_of_packet: list[int]  # in the order of the packets given
    flows: int
    never_split: int


def trace_order(packets: Sequence[Sighting]) -> list[int]:
    """Indices of the packets by time, then by place in the table."""
    return sorted(range(len(packets)), key=lambda index: (packets[index].time_ns, index))


def gaps_ns(packets: Sequence[Sighting]) -> list[int | None]:
    """For each packet the time since its flow's packet before, None for a flow's first."""
    gaps: list[int | None] = [None] * len(packets)
    last_ns: dict[int, int] = {}
    for index in trace_order(packets):
        packet = packets[index]
        if packet.flow in last_ns:
            gaps[index] = packet.time_ns - last_ns[packet.flow]
        last_ns[packet.flow] = packet.time_ns
    return gaps


def profile(packets: Sequence[Sighting], timeout_ns: int) -> Profile:
    """The flowlets at one timeout: a gap strictly greater than it starts the next."""
    gaps = gaps_ns(packets)
    flowlets: list[Flowlet] = []
    flowlet_of_packet = [0] * len(packets)
    current: dict[int, int] = {}  # flow -> its newest flowlet
    for index in trace_order(packets):
        packet = packets[index]
        gap = gaps[index]
        if gap is None or gap > timeout_ns:
            current[packet.flow] = len(flowlets)
            flowlets.append(Flowlet(packet.flow, packet.time_ns, index, 0, 0))
        flowlet = flowlets[current[packet.flow]]
        flowlet.packets += 1
        flowlet.bytes += packet.ip_bytes
        flowlet_of_packet[index] = current[packet.flow]
    flows = {packet.flow for packet in packets}
    never_split = sum(1 for flow in flows if sum(1 for f in flowlets if f.flow == flow) == 1)
    return Profile(timeout_ns, flowlets, flowlet_of_packet, len(flows), never_split)


def profiles(packets: Sequence[Sighting], timeouts_ns: Iterable[int]) -> list[Profile]:
    """One profile per timeout, in the order given."""
    return [profile(packets, timeout_ns) for timeout_ns in timeouts_ns]
