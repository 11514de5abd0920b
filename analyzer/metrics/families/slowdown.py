"""Flow completion time, and slowdown: that time over the one in an empty network.

Each flow's received packets are sent again, at the same times, alone in the network (unloaded). That time depends on
nothing but the packets received, so it is known beforehand for a flow that loses none, whatever the policy.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import empty_fates
from segcast.analyzer.engine.layout import FlowPlan
from segcast.analyzer.engine.state import NANOSECOND_BITS, RECEIVED, Fates, Packets
from segcast.analyzer.metrics.families.tally import host_links
from segcast.analyzer.metrics.family import Ending, Family, FlowColumns, Measured
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network, Path
from segcast.analyzer.schema import QUANTILES, named_quantiles, quantile_columns
from segcast.traces.jit import int64, kernel
from segcast.traces.schema import Column

_PIECE: Final = 1 << 18


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
    uplink, downlink = host_links(network, plan)
    groups = _fastest_paths(network)
    lengths = [len(path.links) for fastest in groups for path in fastest]
    first_way = np.cumsum([0, *(len(fastest) for fastest in groups)])
    first_hop = np.cumsum([0, *lengths])
    ends = 2 * network.host_links
    queues = (first_hop[first_way[1:]] - first_hop[first_way[:-1]] + ends * np.diff(first_way))[plan.group]
    ways = np.diff(first_way)[plan.group]
    return Ways(
        np.array([(x.rate_bps, x.delay_ns, x.overhead_bytes, x.burst_ns) for x in network.links], np.int64),
        first_way.astype(np.int64),
        first_hop.astype(np.int64),
        np.array([link for fastest in groups for path in fastest for link in path.links], np.int64),
        plan.group,
        uplink,
        downlink,
        np.cumsum(np.append(0, queues)).astype(np.int64),
        np.cumsum(np.append(0, ways)).astype(np.int64),
    )


def empty_alone(ways: Ways) -> Alone:
    """Every flow before its first packet."""
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
                if now_ns - links[link, 3] > free_ns[at]:
                    free_ns[at] = now_ns - links[link, 3]
                    rests[at] = 0
                bits = (frame_bytes + links[link, 2]) * NANOSECOND_BITS + rests[at]
                free_ns[at] += bits // links[link, 0]
                rests[at] = bits % links[link, 0]
                now_ns = max(free_ns[at] + (rests[at] > 0), now_ns) + links[link, 1]
                at += 1
            state.took_ns[ways.result[flow] + way - begin] = now_ns - state.first_ns[flow]


def least_times(ways: Ways, state: Alone) -> NDArray[np.int64]:
    """Completion time, int64[flows] ns, of each flow's received packets alone in the network; -1 if there are none."""
    if len(ways.group) == 0:
        return np.empty(0, np.int64)
    return np.minimum.reduceat(state.took_ns, ways.result[:-1])


def unloaded_times(network: Network, plan: FlowPlan, packets: Packets) -> NDArray[np.int64]:
    """`least_times` if all packets are received: what `Measured.unloaded_ns` asks for."""
    ways = ways_of(network, plan)
    state = empty_alone(ways)
    received = empty_fates(min(_PIECE, len(packets.flow)))
    received.state[:] = RECEIVED
    for begin in range(0, len(packets.flow), _PIECE):
        some = Packets._make(column[begin : begin + _PIECE] for column in packets)
        add_alone(ways, state, some, received, network.minimum_frame_bytes)
    return least_times(ways, state)


class Completion(NamedTuple):
    """Per flow, int64[flows]: the first send of its received packets, the time from there to their last receive (-1:
    none was received), and how many were not received.
    """

    first_ns: NDArray[np.int64]
    fct_ns: NDArray[np.int64]
    lost: NDArray[np.int64]


class Counts(NamedTuple):
    """Completion times, and those alone in the network."""

    completion: Completion
    alone: Alone


@kernel
def _add_completion(packets: Packets, fates: Fates, completion: Completion) -> None:
    first_ns, fct_ns, lost = completion.first_ns, completion.fct_ns, completion.lost
    for row in range(len(packets.flow)):
        flow = packets.flow[row]
        if fates.state[row] & RECEIVED:
            if fct_ns[flow] < 0:
                first_ns[flow] = packets.send_ns[row]
            fct_ns[flow] = max(fct_ns[flow], fates.receive_ns[row] - first_ns[flow])
        else:
            lost[flow] += 1


class SlowdownFamily(Family):
    """Flow completion time and slowdown."""

    name = "slowdown"
    summary = (
        *quantile_columns("fct", pa.int64(), "ns", "flow completion time"),
        *quantile_columns("slowdown", pa.float64(), "", "flow completion time over that in an empty network"),
    )
    flows = (
        Column(
            "fct_ns", pa.int64(), "of the received packets, first send to last receive; null if there are none", True
        ),
        Column("slowdown", pa.float64(), "`fct_ns` over that in an empty network", True),
    )

    def __init__(self, measured: Measured) -> None:
        """Nothing counted yet."""
        self._measured = measured
        self._ways = ways_of(measured.network, measured.plan)
        self._held: list[tuple[Packets, Fates]] = []
        flows = len(measured.plan.keys)
        completion = Completion(np.zeros(flows, np.int64), np.full(flows, -1, np.int64), np.zeros(flows, np.int64))
        self.counts = Counts(completion, empty_alone(self._ways))

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets, which follow those before."""
        _add_completion(packets, fates, self.counts.completion)
        if self._measured.unloaded_ns is None:
            self._send_alone(packets, fates)
        else:
            self._held.append((packets, fates))

    def finish(self) -> None:
        """Send flows that lost packets alone, if the times of the others are known."""
        lossy = self.counts.completion.lost > 0
        if lossy.any():
            for packets, fates in self._held:
                rows = np.flatnonzero(lossy[packets.flow])
                self._send_alone(Packets._make(c[rows] for c in packets), Fates._make(c[rows] for c in fates))
        self._held.clear()

    def _send_alone(self, packets: Packets, fates: Fates) -> None:
        add_alone(self._ways, self.counts.alone, packets, fates, self._measured.network.minimum_frame_bytes)

    def flow_columns(self, before: FlowColumns) -> FlowColumns:
        """The columns named in `flows`."""
        completion, known_ns = self.counts.completion, self._measured.unloaded_ns
        unloaded_ns = least_times(self._ways, self.counts.alone)
        if known_ns is not None:
            unloaded_ns = np.where(completion.lost > 0, unloaded_ns, known_ns)
        done = completion.fct_ns >= 0
        slowdown = np.full(len(done), -1.0)
        slowdown[done] = completion.fct_ns[done] / np.maximum(unloaded_ns[done], 1)  # a burst may take no time at all
        return {"fct_ns": completion.fct_ns, "slowdown": slowdown}

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`: over flows of which something was received."""
        done = ending.flows["fct_ns"] >= 0
        return completion_quantiles(ending.flows["fct_ns"][done], ending.flows["slowdown"][done])


def completion_quantiles(fct_ns: NDArray[np.int64], slowdown: NDArray[np.float64]) -> dict[str, Any]:
    """Quantiles of both, under the names they have in SUMMARY and SIZES."""
    return {
        **named_quantiles("fct", nearest_ranks(fct_ns, QUANTILES.values()), "ns"),
        **named_quantiles("slowdown", nearest_ranks(slowdown, QUANTILES.values()), ""),
    }
