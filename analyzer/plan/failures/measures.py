"""What is measured of a cell in which something fails: stage by stage, of links, and how long flows were cut off.

A packet belongs to the stage in which it was sent. Bytes are those that a link accepted of packets sent in a stage.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.histogram import bucket_count, bucket_of
from segcast.analyzer.metrics.places import host_links
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network
from segcast.analyzer.packets import AT_DEAD_LINK, DROPPED, RECEIVED, Fates, FlowPlan, Packets
from segcast.traces.jit import int64, kernel

STAGE_BITS: Final = 11
LINK_BITS: Final = 6  # delays of a link are within 1 / 64
LONGEST_NS: Final = (1 << 44) - 1
"""Delays from some hours on share a bucket."""
_MOST_CROSSED: Final = 1 << 28

STAGE: Final = np.dtype(
    [
        ("packets", np.int64),
        ("delivered", np.int64),
        ("full", np.int64),
        ("dead", np.int64),
        ("no_path", np.int64),
        ("bytes", np.int64),
    ],
    align=True,
)
"""Packets sent in a stage, those of them that arrived, and drops by cause: a full queue, a dead link though another
path was there, a dead link where no path was left. `bytes` are IP bytes that arrived.
"""

STALL: Final = np.dtype(
    [("lost_ns", np.int64), ("longest_ns", np.int64), ("hits", np.int64)],
    align=True,
)
"""Of a flow: when the first packet was sent that a dead link took and after which none has arrived (-1: none), the
longest time from such a one to the next that arrived, and all that dead links took.
"""

TOTAL: Final = np.dtype([("resumed_ns", np.int64), ("last_dead_ns", np.int64)], align=True)
"""When the last flow that had lost packets to a dead link got one through, and when the last such loss was sent."""


class Places(NamedTuple):
    """Where packets go: `first_hop` int64[paths + 1] into `hops` int64, `srv6_bytes` int64[paths] (0 if not steered),
    `overhead_bytes` int64[links]; `uplink`, `downlink` int64[flows] (-1: none); `no_path` bool[flows]: every path of
    the flow is down. `minimum_frame_bytes` int64[1].
    """

    first_hop: NDArray[np.int64]
    hops: NDArray[np.int64]
    srv6_bytes: NDArray[np.int64]
    overhead_bytes: NDArray[np.int64]
    uplink: NDArray[np.int64]
    downlink: NDArray[np.int64]
    no_path: NDArray[np.bool_]
    minimum_frame_bytes: NDArray[np.int64]


class Counts(NamedTuple):
    """`stages` STAGE[stages]; `delays`, `queues` int64[stages, buckets]; `link_bytes` int64[stages, links].

    Of the last stage and the links that are tracked: `link_delays` int32[tracked, buckets] of packets that crossed,
    `link_full` int64[tracked], dropped for want of buffer, and `crossed` bool[flows, tracked], empty if large. `stalls`
    STALL[flows], `total` TOTAL[1].
    """

    stages: NDArray[np.void]
    delays: NDArray[np.int64]
    queues: NDArray[np.int64]
    link_bytes: NDArray[np.int64]
    link_delays: NDArray[np.int32]
    link_full: NDArray[np.int64]
    crossed: NDArray[np.bool_]
    stalls: NDArray[np.void]
    total: NDArray[np.void]


def places_of(network: Network, plan: FlowPlan, steered: bool, dead: NDArray[np.bool_]) -> Places:
    """`dead` bool[links]: those that fail."""
    uplink, downlink = host_links(network, plan)
    cut = np.array([all(dead[list(network.paths[p].links)].any() for p in slots) for slots in network.group_slots()])
    no_path = cut[plan.group].astype(np.bool_)
    for links in (uplink, downlink):
        no_path |= (links >= 0) & dead[links]
    return Places(
        np.cumsum([0, *(len(path.links) for path in network.paths)]).astype(np.int64),
        np.array([link for path in network.paths for link in path.links] or [0], np.int64),
        np.array([path.srv6_bytes if steered else 0 for path in network.paths], np.int64),
        np.array([link.overhead_bytes for link in network.links], np.int64),
        uplink,
        downlink,
        no_path,
        np.array([network.minimum_frame_bytes], np.int64),
    )


def empty_counts(stages: int, links: int, flows: int, tracked: int) -> Counts:
    """Nothing counted yet. Delays are kept of the first `tracked` links: those of the fabric, not of its many hosts."""
    stalls = np.zeros(flows, STALL)
    stalls["lost_ns"] = -1
    total = np.zeros(1, TOTAL)
    total["resumed_ns"] = total["last_dead_ns"] = -1
    crossed = (flows, tracked) if flows * tracked <= _MOST_CROSSED else (0, 0)
    return Counts(
        np.zeros(stages, STAGE),
        np.zeros((stages, bucket_count(LONGEST_NS, STAGE_BITS)), np.int64),
        np.zeros((stages, bucket_count(LONGEST_NS, STAGE_BITS)), np.int64),
        np.zeros((stages, links), np.int64),
        np.zeros((tracked, bucket_count(LONGEST_NS, LINK_BITS)), np.int32),
        np.zeros(tracked, np.int64),
        np.zeros(crossed, np.bool_),
        stalls,
        total,
    )


@kernel
def count(
    packets: Packets, fates: Fates, places: Places, begins_ns: NDArray[np.int64], until_ns: int, counts: Counts
) -> None:
    """Count packets, in send order, which follow those before.

    Stage s begins at `begins_ns[s]`, int64[stages], ascending; what was sent before the first is left out. Bytes of
    links are those of packets sent before `until_ns`.
    """
    stages, stalls, total = counts.stages, counts.stalls, counts.total
    last = len(begins_ns) - 1
    longest = int64(LONGEST_NS)
    tracked = len(counts.link_full)
    for row in range(len(packets.flow)):
        send_ns = packets.send_ns[row]
        stage = last
        while stage >= 0 and send_ns < begins_ns[stage]:
            stage -= 1
        if stage < 0:
            continue
        flow = int64(packets.flow[row])
        state = fates.state[row]
        path = int64(fates.path[row])
        up, down = places.uplink[flow], places.downlink[flow]
        first = places.first_hop[path]
        inner = places.first_hop[path + 1] - first
        hops = inner + (up >= 0) + (down >= 0)
        reached = hops
        stages[stage].packets += 1
        delay_ns = int64(0)
        if state & RECEIVED:
            delay_ns = min(fates.receive_ns[row] - send_ns, longest)
            stages[stage].delivered += 1
            stages[stage].bytes += int64(packets.ip_bytes[row])
            counts.delays[stage, bucket_of(delay_ns, STAGE_BITS)] += 1
            counts.queues[stage, bucket_of(min(fates.queue_ns[row], longest), STAGE_BITS)] += 1
            if stalls[flow].lost_ns >= 0:
                waited_ns = fates.receive_ns[row] - stalls[flow].lost_ns
                stalls[flow].longest_ns = max(stalls[flow].longest_ns, waited_ns)
                stalls[flow].lost_ns = -1
                total[0].resumed_ns = max(total[0].resumed_ns, fates.receive_ns[row])
        elif state & DROPPED:
            reached = int64(fates.hop[row])
            if not state & AT_DEAD_LINK:
                stages[stage].full += 1
            elif places.no_path[flow]:
                stages[stage].no_path += 1
            else:
                stages[stage].dead += 1
                stalls[flow].hits += 1
                if stalls[flow].lost_ns < 0:
                    stalls[flow].lost_ns = send_ns
                total[0].last_dead_ns = max(total[0].last_dead_ns, send_ns)
        frame = int64(packets.ip_bytes[row]) + ETHERNET_HEADER_BYTES + places.srv6_bytes[path]
        frame = max(frame, places.minimum_frame_bytes[0])
        for hop in range(min(reached + 1, hops)):
            at = hop - (up >= 0)
            link = up if at < 0 else (down if at >= inner else places.hops[first + at])
            if hop == reached:  # the link that dropped it
                if stage == last and link < tracked and not state & AT_DEAD_LINK:
                    counts.link_full[link] += 1
                continue
            if send_ns < until_ns:
                counts.link_bytes[stage, link] += frame + places.overhead_bytes[link]
            if stage == last and link < tracked:
                if len(counts.crossed):
                    counts.crossed[flow, link] = True
                if state & RECEIVED:
                    counts.link_delays[link, bucket_of(delay_ns, LINK_BITS)] += 1
