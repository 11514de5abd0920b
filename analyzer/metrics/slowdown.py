"""Each flow's received packets alone in the network, piece by piece: what slowdown compares with."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network, Path
from segcast.analyzer.network.transmitter import Transmitter, transmit
from segcast.analyzer.packets import RECEIVED, Fates, FlowPlan, Packets
from segcast.traces.jit import int64, kernel

_NEVER_NS: Final = np.iinfo(np.int64).max


class Ways(NamedTuple):
    """The ways on which a flow can be fastest.

    `links` int64[links, 4]: rate, delay, overhead, time of the burst. `first_way` int64[groups + 1] and `first_hop`
    int64[ways + 1] say where the ways of a group and the links (`hops` int64) of a way begin. `group`, `uplink` and
    `downlink` int64[flows] (-1 without host links), `place` and `result` int64[flows]: where its queues and its times
    begin in `Alone`.
    """

    links: NDArray[np.int64]
    first_way: NDArray[np.int64]
    first_hop: NDArray[np.int64]
    hops: NDArray[np.int64]
    group: NDArray[np.int64]
    uplink: NDArray[np.int64]
    downlink: NDArray[np.int64]
    place: NDArray[np.int64]
    result: NDArray[np.int64]


class Alone(NamedTuple):
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


def _fastest_paths(network: Network) -> list[list[Path]]:
    """Of each group the paths that can be fastest."""
    groups: list[list[Path]] = []
    for slots in network.group_slots():
        fastest: list[Path] = []
        for path in (network.paths[slot] for slot in slots):
            if not any(_no_slower(network, other, path) for other in fastest):
                fastest = [other for other in fastest if not _no_slower(network, path, other)] + [path]
        groups.append(fastest)
    return groups


def ways_of(network: Network, plan: FlowPlan) -> Ways:
    """The ways of each flow, at the rates the links begin with."""
    groups = _fastest_paths(network)
    lengths = [len(path.links) for fastest in groups for path in fastest]
    first_way = np.cumsum([0, *(len(fastest) for fastest in groups)])
    first_hop = np.cumsum([0, *lengths])
    ends = 2 * network.host_links
    queues = (first_hop[first_way[1:]] - first_hop[first_way[:-1]] + ends * np.diff(first_way))[plan.group]
    ways = np.diff(first_way)[plan.group]
    absent = np.full(len(plan.group), -1, np.int64)
    return Ways(
        np.array([(x.rate_bps, x.delay_ns, x.overhead_bytes, x.burst_ns) for x in network.links], np.int64),
        first_way.astype(np.int64),
        first_hop.astype(np.int64),
        np.array([link for fastest in groups for path in fastest for link in path.links], np.int64),
        plan.group,
        plan.uplink if network.host_links and plan.uplink is not None else absent,
        plan.downlink if network.host_links and plan.downlink is not None else absent,
        np.cumsum(np.append(0, queues)).astype(np.int64),
        np.cumsum(np.append(0, ways)).astype(np.int64),
    )


def nobody(ways: Ways) -> Alone:
    """Nothing was sent yet."""
    queues, results = int(ways.place[-1]), int(ways.result[-1])
    return Alone(
        np.full(queues, np.iinfo(np.int64).min, np.int64),
        np.zeros(queues, np.int64),
        np.full(len(ways.group), -1, np.int64),
        np.full(results, -1, np.int64),
    )


@kernel
def add_alone(ways: Ways, state: Alone, packets: Packets, fates: Fates, minimum_frame_bytes: int) -> None:
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
                link = uplink if hop < first else (downlink if hop >= stop else hops[hop])
                rate = links[link, 0]
                transmitter = Transmitter(rate, 1.0 / rate, links[link, 3], free_ns[at], rests[at])
                sent = transmit(transmitter, now_ns, frame_bytes + links[link, 2])
                free_ns[at] = sent.free_ns
                rests[at] = sent.free_rest
                now_ns = sent.departs_ns + links[link, 1]
                at += 1
            state.took_ns[ways.result[flow] + way - begin] = now_ns - state.first_ns[flow]


def least_times(ways: Ways, state: Alone) -> NDArray[np.int64]:
    """Completion time, int64[flows] ns, of each flow's received packets alone in the network; -1 if there are none."""
    if len(ways.group) == 0:
        return np.empty(0, np.int64)
    return np.minimum.reduceat(state.took_ns, ways.result[:-1])
