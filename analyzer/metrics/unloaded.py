"""Unloaded flow completion times: each flow's received packets, sent at the same times, alone in the network."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.places import host_links
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network, Path
from segcast.analyzer.network.transmitter import Transmitter, transmit
from segcast.analyzer.packets import RECEIVED, Fates, FlowPlan, Packets, empty_fates
from segcast.traces.jit import at, int64, kernel

_PIECE: Final = 1 << 18

LINK_COSTS: Final = np.dtype(
    [
        ("rate_bps", np.int64),
        ("per_bit", np.float64),
        ("delay_ns", np.int64),
        ("overhead_bytes", np.int64),
        ("burst_ns", np.int64),
    ],
    align=True,
)
"""What a packet pays at a link that nothing else uses; a burst is as long as it takes at the link's rate."""

FLOW_WAYS: Final = np.dtype(
    [
        ("first_way", np.int64),
        ("stop_way", np.int64),
        ("uplink", np.int64),
        ("downlink", np.int64),
        ("queue", np.int64),
        ("result", np.int64),
    ],
    align=True,
)
"""The ways of a flow, its hosts' links (-1 without), and where its queues and its times begin in `Unloaded`."""

QUEUE: Final = np.dtype([("free_ns", np.int64), ("rest", np.int64)], align=True)
"""When a transmitter is free, as in the engine."""


class FastestPaths(NamedTuple):
    """The paths on which a flow can be fastest; *way* is one of them, with the host's links before and after it.

    `links` LINK_COSTS[links]. `first_hop` int64[ways + 1] says where the links (`hops` int64) of a way begin. `flows`
    FLOW_WAYS[flows]; of all flows there are so many `queues` and `results`.
    """

    links: NDArray[np.void]
    first_hop: NDArray[np.int64]
    hops: NDArray[np.int64]
    flows: NDArray[np.void]
    queues: int
    results: int


class Unloaded(NamedTuple):
    """Per flow and hop of each of its ways a QUEUE.

    `first_ns` int64[flows] is the first send, `took_ns` int64, per flow and way, the time from there to the last
    receive; -1 if nothing was received.
    """

    queues: NDArray[np.void]
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
    flows = np.zeros(len(plan.group), FLOW_WAYS)
    flows["first_way"], flows["stop_way"] = first_way[plan.group], first_way[plan.group + 1]
    flows["uplink"], flows["downlink"] = uplink, downlink
    flows["queue"], flows["result"] = np.cumsum(queues) - queues, np.cumsum(ways) - ways
    links = [(x.rate_bps, 1.0 / x.rate_bps, x.delay_ns, x.overhead_bytes, x.burst_ns) for x in network.links]
    return FastestPaths(
        np.array(links, LINK_COSTS),
        first_hop.astype(np.int64),
        np.array([link for fastest in groups for path in fastest for link in path.links], np.int64),
        flows,
        int(queues.sum()),
        int(ways.sum()),
    )


def empty_unloaded(ways: FastestPaths) -> Unloaded:
    """Every flow before its first packet."""
    queues = np.zeros(ways.queues, QUEUE)
    queues["free_ns"] = np.iinfo(np.int64).min
    return Unloaded(queues, np.full(len(ways.flows), -1, np.int64), np.full(ways.results, -1, np.int64))


@kernel
def send_unloaded(
    ways: FastestPaths, state: Unloaded, packets: Packets, fates: Fates, minimum_frame_bytes: int
) -> None:
    """Send the received of these packets, each flow on each of its ways as if there were no other."""
    links, hops, first_hop, queues, took_ns = ways.links, ways.hops, ways.first_hop, state.queues, state.took_ns
    for row in range(len(packets.flow)):
        if not fates.state[row] & RECEIVED:
            continue
        flow = packets.flow[row]
        send_ns = packets.send_ns[row]
        frame_bytes = max(int64(packets.ip_bytes[row]) + ETHERNET_HEADER_BYTES, minimum_frame_bytes)
        own = ways.flows[flow]
        result, queue = own.result, own.queue
        if took_ns[at(result)] < 0:
            state.first_ns[flow] = send_ns
        first_ns = state.first_ns[flow]
        for way in range(own.first_way, own.stop_way):
            now_ns = send_ns
            first, stop = first_hop[at(way)], first_hop[at(way + 1)]
            # The uplink stands before the first hop and the downlink after the last, where there are any.
            for hop in range(first - (own.uplink >= 0), stop + (own.downlink >= 0)):
                link = links[at(own.uplink if hop < first else (own.downlink if hop >= stop else hops[at(hop)]))]
                before = queues[at(queue)]
                transmitter = Transmitter(link.rate_bps, link.per_bit, link.burst_ns, before.free_ns, before.rest)
                sent = transmit(transmitter, now_ns, frame_bytes + link.overhead_bytes)
                queues[at(queue)].free_ns = sent.free_ns
                queues[at(queue)].rest = sent.free_rest
                now_ns = sent.departs_ns + link.delay_ns
                queue += 1
            took_ns[at(result)] = now_ns - first_ns
            result += 1


def unloaded_fct_ns(ways: FastestPaths, state: Unloaded) -> NDArray[np.int64]:
    """Completion time, int64[flows] ns, of each flow's received packets alone in the network; -1 if there are none."""
    if len(ways.flows) == 0:
        return np.empty(0, np.int64)
    return np.minimum.reduceat(state.took_ns, ways.flows["result"])


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
