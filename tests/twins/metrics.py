"""The metrics of `docs/model.md` computed from fates the slow and obvious way, in exact fractions."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from tests.twins.engine import Fate, Flow, Ledger, Link, Packet, Path, simulate
from tests.twins.network import HostLinks

QUANTILES = {
    "p50": Fraction(1, 2),
    "p90": Fraction(9, 10),
    "p99": Fraction(99, 100),
    "p999": Fraction(999, 1000),
    "max": Fraction(1),
}

Number = TypeVar("Number", int, Fraction)


def nearest_rank(values: Iterable[Number], quantile: Fraction) -> Number | None:
    """The smallest value with at least `quantile * n` values not above it; None of no values."""
    ordered = sorted(values)
    for place, value in enumerate(ordered, start=1):
        if place >= quantile * len(ordered):
            return value
    return None


def send_order(packets: Sequence[Packet]) -> list[int]:
    """Indices of the packets by time, then by place in the table."""
    return sorted(range(len(packets)), key=lambda index: (packets[index].send_ns, index))


def reorder_extents(flows: Sequence[int], receive_ns: Sequence[int | None]) -> list[int | None]:
    """The extent of each reordered packet, None for the others (RFC 4737 sections 3.3 and 4.2.1).

    The packets are given in send order; a dropped one has a `receive_ns` of None. Packets of a flow that are
    received at one instant count as received in send order. The extent of arrival i is i - j, where j is the
    earliest arrival that was sent later.
    """
    extents: list[int | None] = [None] * len(flows)
    for flow in set(flows):
        arrivals = sorted(
            (time_ns, sent)
            for sent, (other, time_ns) in enumerate(zip(flows, receive_ns, strict=True))
            if other == flow and time_ns is not None
        )
        for i, (_, sent) in enumerate(arrivals):
            overtakers = [j for j in range(i) if arrivals[j][1] > sent]
            if overtakers:
                extents[sent] = i - overtakers[0]
    return extents


def extents_of_fates(packets: Sequence[Packet], fates: Sequence[Fate]) -> list[int | None]:
    """As `reorder_extents`, for packets in any order."""
    order = send_order(packets)
    in_order = reorder_extents([packets[i].flow for i in order], [fates[i].receive_ns for i in order])
    extents: list[int | None] = [None] * len(packets)
    for place, index in enumerate(order):
        extents[index] = in_order[place]
    return extents


def received_of(flow: int, packets: Sequence[Packet], fates: Sequence[Fate]) -> list[int]:
    """Indices of a flow's received packets, in send order."""
    return [i for i in send_order(packets) if packets[i].flow == flow and fates[i].receive_ns is not None]


def completion_ns(flow: int, packets: Sequence[Packet], fates: Sequence[Fate]) -> int | None:
    """First send to last receive of a flow's received packets; None if nothing was received."""
    received = received_of(flow, packets, fates)
    if not received:
        return None
    last = max(receive for i in received if (receive := fates[i].receive_ns) is not None)
    return last - min(packets[i].send_ns for i in received)


def empty_completion_ns(
    links: Sequence[Link], ways: Sequence[tuple[int, ...]], sent: Sequence[Packet], minimum_frame_bytes: int
) -> int:
    """The least time over several ways that these packets alone need, unsteered and never dropped."""
    endless = [Link(link.rate_bps, link.delay_ns, None, None, link.overhead_bytes, link.burst_bytes) for link in links]
    alone = [Packet(packet.send_ns, 0, packet.ip_bytes) for packet in sent]
    times: list[int] = []
    for way in ways:
        fates = simulate(
            endless,
            [Path(0, way, 0, 0)],
            [Flow(0, 0, 0)],
            alone,
            policy="ecmp",
            timeout_ns=0,
            seed=0,
            minimum_frame_bytes=minimum_frame_bytes,
            loss_timeout_ns=0,
        )
        time_ns = completion_ns(0, alone, fates)
        assert time_ns is not None
        times.append(time_ns)
    return min(times)


def slowdown(
    flow: int,
    links: Sequence[Link],
    paths: Sequence[Path],
    flows: Sequence[Flow],
    packets: Sequence[Packet],
    fates: Sequence[Fate],
    minimum_frame_bytes: int,
    hosts: Sequence[HostLinks] = (),
) -> Fraction | None:
    """A flow's completion time over that of the departures of its received packets in an empty network."""
    time_ns = completion_ns(flow, packets, fates)
    if time_ns is None:
        return None
    sent = [packets[i] for i in received_of(flow, packets, fates)]
    ways = [path.links for path in paths if path.group == flows[flow].group]
    if hosts:
        ends = hosts[flows[flow].host].uplink, hosts[flows[flow].destination].downlink
        ways = [(ends[0], *way, ends[1]) for way in ways]
    return Fraction(time_ns, empty_completion_ns(links, ways, sent, minimum_frame_bytes) or 1)


def path_changes(flow: int, packets: Sequence[Packet], fates: Sequence[Fate]) -> int:
    """Flowlets of a flow sent on another path than its flowlet before."""
    path_of_flowlet = {f.flowlet_id: f.path_id for p, f in zip(packets, fates, strict=True) if p.flow == flow}
    path_ids = [path_of_flowlet[flowlet_id] for flowlet_id in sorted(path_of_flowlet)]
    return sum(1 for before, after in itertools.pairwise(path_ids) if before != after)


def interval_bytes(
    paths: Sequence[Path],
    packets: Sequence[Packet],
    fates: Sequence[Fate],
    frames: Sequence[int],
    interval_ns: int,
) -> dict[tuple[int, int], list[int]]:
    """Frame bytes sent into each path of a group, by (group, number of the interval since the first packet).

    `frames` holds each packet's frame bytes; a group's silent intervals are absent.
    """
    first_ns = min((packet.send_ns for packet in packets), default=0)
    sums: dict[tuple[int, int], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for packet, fate, size in zip(packets, fates, frames, strict=True):
        interval = (packet.send_ns - first_ns) // interval_ns
        sums[paths[fate.path_id].group, interval][fate.path_id] += size
    return {
        (group, interval): [by_path[path_id] for path_id, path in enumerate(paths) if path.group == group]
        for (group, interval), by_path in sums.items()
    }


def imbalance(loads: Sequence[int]) -> Fraction:
    """(max - min) / mean of the loads."""
    return (max(loads) - min(loads)) / Fraction(sum(loads), len(loads))


def jain(loads: Sequence[int]) -> Fraction:
    """Jain's index: the square of the sum over n times the sum of the squares."""
    return Fraction(sum(loads) ** 2, len(loads) * sum(load**2 for load in loads))


def balance(intervals: dict[tuple[int, int], list[int]]) -> tuple[Fraction, Fraction] | None:
    """Imbalance and Jain's index, averaged over the groups' intervals, weighted by their bytes."""
    total = sum(sum(loads) for loads in intervals.values())
    if total == 0:
        return None
    return (
        sum((sum(loads) * imbalance(loads) for loads in intervals.values()), Fraction(0)) / total,
        sum((sum(loads) * jain(loads) for loads in intervals.values()), Fraction(0)) / total,
    )


def utilisations(
    links: Sequence[Link], packets: Sequence[Packet], fates: Sequence[Fate], ledger: Ledger
) -> list[Fraction] | None:
    """Per link its bits, overhead included, over its rate and the time from first send to last receive."""
    received = [fate.receive_ns for fate in fates if fate.receive_ns is not None]
    if not received:
        return None
    time_ns = max(received) - min(packet.send_ns for packet in packets)
    bits = [
        sum((passage.frame_bytes + link.overhead_bytes) * 8 for passage in ledger.passages[number])
        for number, link in enumerate(links)
    ]
    return [Fraction(bits[n] * 10**9, link.rate_bps * time_ns) for n, link in enumerate(links)]


@dataclass(frozen=True)
class FlowRow:
    """A row of the table `flows` of a forecast."""

    flow_id: int
    bytes: int
    packets: int
    delivered: int
    fct_ns: int | None
    slowdown: Fraction | None
    reordered: int
    flowlets: int
    path_changes: int


def flow_rows(
    links: Sequence[Link],
    paths: Sequence[Path],
    flows: Sequence[Flow],
    packets: Sequence[Packet],
    fates: Sequence[Fate],
    minimum_frame_bytes: int,
    hosts: Sequence[HostLinks] = (),
) -> list[FlowRow]:
    """One row per flow that sent a packet, in the order of the flows."""
    extents = extents_of_fates(packets, fates)
    rows: list[FlowRow] = []
    for flow in sorted({packet.flow for packet in packets}):
        own = [i for i, packet in enumerate(packets) if packet.flow == flow]
        rows.append(
            FlowRow(
                flow_id=flow,
                bytes=sum(packets[i].ip_bytes for i in own),
                packets=len(own),
                delivered=sum(1 for i in own if not fates[i].dropped),
                fct_ns=completion_ns(flow, packets, fates),
                slowdown=slowdown(flow, links, paths, flows, packets, fates, minimum_frame_bytes, hosts),
                reordered=sum(1 for i in own if extents[i] is not None),
                flowlets=len({fates[i].flowlet_id for i in own}),
                path_changes=path_changes(flow, packets, fates),
            )
        )
    return rows


def mean(values: Sequence[int]) -> Fraction | None:
    """The exact mean; None of no values."""
    return Fraction(sum(values), len(values)) if values else None


def percentiles(values: Sequence[Number]) -> dict[str, Number | None]:
    """Every quantile of the tables, by its short name."""
    return {name: nearest_rank(values, quantile) for name, quantile in QUANTILES.items()}


def counted(value: int | None, digits: int = 12) -> int | None:
    """A value as the histograms of docs/model.md report it: its leading `digits` binary digits, zeros after them."""
    if value is None:
        return None
    text = f"{value:b}"
    return int(text[:digits] + "0" * len(text[digits:]), 2)


def counted_percentiles(values: Sequence[int]) -> dict[str, int | None]:
    """Every quantile as a histogram reports it; the maximum is exact."""
    return {name: value if name == "max" else counted(value) for name, value in percentiles(values).items()}


@dataclass(frozen=True)
class LinkRow:
    """A row of the table `links` of a forecast."""

    carried_bytes: int
    utilisation: Fraction | None
    dropped: int
    marked: int


def link_rows(links: Sequence[Link], packets: Sequence[Packet], fates: Sequence[Fate], ledger: Ledger) -> list[LinkRow]:
    """One row per link; links must not change."""
    shares = utilisations(links, packets, fates, ledger)
    fell = [ledger.ways[packet][hop] for packet, hop in ledger.dropped_at_hop.items()]
    rows = []
    for number, link in enumerate(links):
        passages = ledger.passages[number]
        marked = 0
        for place, passage in enumerate(passages):
            backlog = sum(p.frame_bytes for p in passages[:place] if p.departs_ns > passage.enter_ns)
            marked += link.ecn_bytes is not None and backlog >= link.ecn_bytes
        carried = sum(passage.frame_bytes + link.overhead_bytes for passage in passages)
        rows.append(LinkRow(carried, shares[number] if shares else None, fell.count(number), marked))
    return rows


@dataclass(frozen=True)
class HostRow:
    """A row of the table `hosts` of a forecast."""

    host: int
    packets: int
    bytes: int
    dropped: int
    delay_p50_ns: int | None
    delay_p99_ns: int | None


def host_rows(flows: Sequence[Flow], packets: Sequence[Packet], fates: Sequence[Fate]) -> list[HostRow]:
    """One row per steering host that sent a packet, by bytes (most first), then by number."""
    rows = []
    for host in {flows[packet.flow].host for packet in packets}:
        own = [i for i, packet in enumerate(packets) if flows[packet.flow].host == host]
        delays = delays_ns([packets[i] for i in own], [fates[i] for i in own])
        p50, p99 = (counted(nearest_rank(delays, QUANTILES[name]), 8) for name in ("p50", "p99"))
        size = sum(packets[i].ip_bytes for i in own)
        rows.append(HostRow(host, len(own), size, sum(fates[i].dropped for i in own), p50, p99))
    return sorted(rows, key=lambda row: (-row.bytes, row.host))


def delays_ns(packets: Sequence[Packet], fates: Sequence[Fate]) -> list[int]:
    """One-way delays of the received packets."""
    return [f.receive_ns - p.send_ns for p, f in zip(packets, fates, strict=True) if f.receive_ns is not None]


def busy_periods(packets: Sequence[Packet], fates: Sequence[Fate], quantile: Fraction) -> Fraction | None:
    """Separate busy periods beyond a quantile of queueing, by the mean and variance of counts in blocks of time."""
    threshold_ns = counted(nearest_rank(queueing_ns(fates), quantile), 6)
    if not threshold_ns:
        return None
    sent = [packet.send_ns for packet in packets]
    block_ns = 1
    while (max(sent) - min(sent)) // block_ns >= 64:
        block_ns *= 2
    found: list[Fraction] = []
    for length_ns in (block_ns, 2 * block_ns, 4 * block_ns):
        blocks = [0] * ((max(sent) - min(sent)) // block_ns // (length_ns // block_ns) + 1)
        for send_ns, fate in zip(sent, fates, strict=True):
            if fate.receive_ns is not None and fate.queue_ns >= threshold_ns:
                blocks[(send_ns - min(sent)) // length_ns] += 1
        if len(blocks) > 1:
            numbers = [Fraction(number) for number in blocks]
            varies = statistics.variance(numbers)
            alone = statistics.mean(numbers) ** 2 * len(blocks) / varies if varies else sum(numbers, Fraction(0))
            found.append(Fraction(alone))
    return min(found, default=Fraction(1))


def queueing_ns(fates: Sequence[Fate]) -> list[int]:
    """Time in queues of the received packets."""
    return [fate.queue_ns for fate in fates if fate.receive_ns is not None]
