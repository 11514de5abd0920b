"""Unloaded flow completion times: each flow's received packets, sent at the same times, alone in the network."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.places import host_links
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network, Path
from segcast.analyzer.network.transmitter import Transmitter, transmit
from segcast.analyzer.packets import RECEIVED, Fates, FlowPlan, Packets, empty_fates
from segcast.traces.jit import int64, kernel

_PIECE: Final = 1 << 18

LINK_COSTS: Final = np.dtype(
    [("rate_bps", np.int64), ("delay_ns", np.int64), ("overhead_bytes", np.int64), ("burst_ns", np.int64)], align=True
)
"""What a packet pays at a link that nothing else uses; a burst is as long as it takes at the link's rate."""


class FastestPaths(NamedTuple):
    """The paths on which a flow can be fastest; *way* is one of them, with the host's links before and after it.

    `links` LINK_COSTS[links]. `first_way` int64[groups + 1] and `first_hop`
    int64[ways + 1] say where the ways of a group and the links (`hops` int64) of a way begin. `group`, `uplink` and
    `downlink` int64[flows] (-1 without host links), `place` and `result` int64[flows]: where its queues and its times
    begin in `Unloaded`.
    """

    links: NDArray[np.void]
    first_way: NDArray[np.int64]
    first_hop: NDArray[np.int64]
    hops: NDArray[np.int64]
    group: NDArray[np.int64]
    uplink: NDArray[np.int64]
    downlink: NDArray[np.int64]
    place: NDArray[np.int64]
    result: NDArray[np.int64]


class Unloaded(NamedTuple):
    """Per flow and hop of each of its ways `free_ns` and `rest` (of the transmitter, as in the engine), int64.

    `first_ns` int64[flows] is the first send, `took_ns` int64, per flow and way, the time from there to the last
    receive; -1 if nothing was received.
    """

    free_ns: NDArray[np.int64]
    rest: NDArray[np.int64]
    first_ns: NDArray[np.int64]
    took_ns: NDArray[np.int64]


def _no_slower(network: Network, path: Path, other: Path) -> bool:
    """Whether every hop is at least as fast as the one in its place."""
    pairs = [(network.links[a], network.links[b]) for a, b in zip(path.links, other.links, strict=False)]
    return len(path.links) == len(other.links) and all(
        a.rate_bps >= b.rate_bps
        and a.delay_ns <= b.delay_ns
        and a.overhead_bytes <= b.overhead_bytes
        and a.burst_ns >= b.burst_ns
        for a, b in pairs
    )


def _candidates(network: Network) -> list[list[Path]]:
    """Of each group the paths that can be fastest."""
    groups: list[list[Path]] = []
    for slots in network.group_slots():
        fastest: list[Path] = []
        for path in (network.paths[slot] for slot in slots):
            if not any(_no_slower(network, other, path) for other in fastest):
                fastest = [other for other in fastest if not _no_slower(network, path, other)] + [path]
        groups.append(fastest)
    return groups


def fastest_paths(network: Network, plan: FlowPlan) -> FastestPaths:
    """The paths on which each flow can be fastest, at the rates the links begin with."""
    uplink, downlink = host_links(network, plan)
    groups = _candidates(network)
    lengths = [len(path.links) for fastest in groups for path in fastest]
    first_way = np.cumsum([0, *(len(fastest) for fastest in groups)])
    first_hop = np.cumsum([0, *lengths])
    ends = 2 * network.host_links
    queues = (first_hop[first_way[1:]] - first_hop[first_way[:-1]] + ends * np.diff(first_way))[plan.group]
    ways = np.diff(first_way)[plan.group]
    return FastestPaths(
        np.array([(x.rate_bps, x.delay_ns, x.overhead_bytes, x.burst_ns) for x in network.links], LINK_COSTS),
        first_way.astype(np.int64),
        first_hop.astype(np.int64),
        np.array([link for fastest in groups for path in fastest for link in path.links], np.int64),
        plan.group,
        uplink,
        downlink,
        np.cumsum(np.append(0, queues)).astype(np.int64),
        np.cumsum(np.append(0, ways)).astype(np.int64),
    )


def empty_unloaded(ways: FastestPaths) -> Unloaded:
    """Every flow before its first packet."""
    queues, results = int(ways.place[-1]), int(ways.result[-1])
    return Unloaded(
        np.full(queues, np.iinfo(np.int64).min, np.int64),
        np.zeros(queues, np.int64),
        np.full(len(ways.group), -1, np.int64),
        np.full(results, -1, np.int64),
    )


@kernel
def send_unloaded(
    ways: FastestPaths, state: Unloaded, packets: Packets, fates: Fates, minimum_frame_bytes: int
) -> None:
    """Send the received of these packets, each flow on each of its ways as if there were no other."""
    links, hops, free_ns, rests = ways.links, ways.hops, state.free_ns, state.rest
    for row in range(len(packets.flow)):
        if not fates.state[row] & RECEIVED:
            continue
        flow = packets.flow[row]
        frame_bytes = max(int64(packets.ip_bytes[row]) + ETHERNET_HEADER_BYTES, minimum_frame_bytes)
        group = ways.group[flow]
        at = ways.place[flow]
        begin = ways.first_way[group]
        if state.took_ns[ways.result[flow]] < 0:
            state.first_ns[flow] = packets.send_ns[row]
        uplink, downlink = ways.uplink[flow], ways.downlink[flow]
        for way in range(begin, ways.first_way[group + 1]):
            now_ns = packets.send_ns[row]
            first, stop = ways.first_hop[way], ways.first_hop[way + 1]
            # The uplink stands before the first hop and the downlink after the last, where there are any.
            for hop in range(first - (uplink >= 0), stop + (downlink >= 0)):
                link = links[uplink if hop < first else (downlink if hop >= stop else hops[hop])]
                transmitter = Transmitter(link.rate_bps, 1.0 / link.rate_bps, link.burst_ns, free_ns[at], rests[at])
                sent = transmit(transmitter, now_ns, frame_bytes + link.overhead_bytes)
                free_ns[at] = sent.free_ns
                rests[at] = sent.free_rest
                now_ns = sent.departs_ns + link.delay_ns
                at += 1
            state.took_ns[ways.result[flow] + way - begin] = now_ns - state.first_ns[flow]


def unloaded_fct_ns(ways: FastestPaths, state: Unloaded) -> NDArray[np.int64]:
    """Completion time, int64[flows] ns, of each flow's received packets alone in the network; -1 if there are none."""
    if len(ways.group) == 0:
        return np.empty(0, np.int64)
    return np.minimum.reduceat(state.took_ns, ways.result[:-1])


def unloaded_times(network: Network, plan: FlowPlan, packets: Packets) -> NDArray[np.int64]:
    """`unloaded_fct_ns` if all packets are received: what `Measured.unloaded_ns` asks for."""
    ways = fastest_paths(network, plan)
    state = empty_unloaded(ways)
    received = empty_fates(min(_PIECE, len(packets.flow)))
    received.state[:] = RECEIVED
    for begin in range(0, len(packets.flow), _PIECE):
        some = Packets._make(column[begin : begin + _PIECE] for column in packets)
        send_unloaded(ways, state, some, received, network.minimum_frame_bytes)
    return unloaded_fct_ns(ways, state)
