"""Metrics of one cell from the fates of its packets; every definition is in docs/model.md (Metrics)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.events import DROPPED, MARKED, NANOSECOND_BITS, RECEIVED, Fates, Packets
from analyzer.network import ETHERNET_HEADER_BYTES, Network
from analyzer.quantiles import nearest_ranks, rank_of
from analyzer.schema import QUANTILES
from traces.jit import int64, kernel

SIZE_BINS: Final = (0, 10_000, 100_000, 1_000_000, 10_000_000)
DISTRIBUTION_QUANTILES: Final = tuple(
    [round(q / 100, 2) for q in range(99)]
    + [round(0.99 + q / 1000, 3) for q in range(9)]
    + [round(0.999 + q / 10000, 4) for q in range(10)]
    + [0.99999, 1.0]
)
_DISPLACED: Final = 3


class FlowFates(NamedTuple):
    """Per flow, int64[flows]; `fct_ns` and `empty_ns` (the time in an empty network) are -1 if nothing was received."""

    bytes: NDArray[np.int64]
    packets: NDArray[np.int64]
    delivered: NDArray[np.int64]
    fct_ns: NDArray[np.int64]
    empty_ns: NDArray[np.int64]
    reordered: NDArray[np.int64]
    flowlets: NDArray[np.int64]
    path_changes: NDArray[np.int64]


class PathLoad(NamedTuple):
    """Per bin and path, int64[bins, paths]: frame bytes sent into the path, and packets of those dropped.

    `bin_ns` int64, the length of a bin, a whole number of intervals. `uneven` and `fair` float64[1] and `weight`
    int64[1]: imbalance and Jain's index summed over intervals and groups, weighted by bytes, and those bytes.
    """

    bytes: NDArray[np.int64]
    dropped: NDArray[np.int64]
    bin_ns: int
    uneven: NDArray[np.float64]
    fair: NDArray[np.float64]
    weight: NDArray[np.int64]


class PathFacts(NamedTuple):
    """What a path adds to a packet: `srv6_bytes` int64[paths], 0 where the policy does not steer.

    `group` int64[groups, 2]: the first path of each group, and the one after its last.
    """

    srv6_bytes: NDArray[np.int64]
    group: NDArray[np.int64]
    minimum_frame_bytes: int


@kernel
def _alone(
    packets: Packets, fates: Fates, hops: NDArray[np.int64], minimum_frame_bytes: int, flow_on: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """First send to last receive of each flow's received packets, alone on one path; `hops` as in `_fastest_paths`."""
    flows = len(flow_on)
    free_ns = np.full((flows, len(hops)), np.iinfo(np.int64).min, np.int64)
    rest = np.zeros((flows, len(hops)), np.int64)
    first_ns = np.full(flows, -1, np.int64)
    took_ns = np.full(flows, -1, np.int64)
    for row in range(len(packets.flow)):
        flow = packets.flow[row]
        if not flow_on[flow] or not fates.state[row] & RECEIVED:
            continue
        now_ns = packets.send_ns[row]
        if took_ns[flow] < 0:
            first_ns[flow] = now_ns
        frame_bytes = max(int64(packets.ip_bytes[row]) + ETHERNET_HEADER_BYTES, minimum_frame_bytes)
        for hop in range(len(hops)):
            rate = hops[hop, 0]
            if now_ns > free_ns[flow, hop]:
                free_ns[flow, hop] = now_ns
                rest[flow, hop] = 0
            bits = (frame_bytes + hops[hop, 2]) * NANOSECOND_BITS + rest[flow, hop]
            free_ns[flow, hop] += bits // rate
            rest[flow, hop] = bits % rate
            now_ns = free_ns[flow, hop] + (rest[flow, hop] > 0) + hops[hop, 1]
        took_ns[flow] = now_ns - first_ns[flow]
    return took_ns


_Hops = tuple[tuple[int, int, int], ...]


def _no_slower(hops: _Hops, others: _Hops) -> bool:
    """Whether every hop is at least as fast as the one in its place."""
    return len(hops) == len(others) and all(
        a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2] for a, b in zip(hops, others, strict=True)
    )


def _fastest_paths(network: Network) -> list[tuple[int, _Hops]]:
    """Of each group the paths that can be fastest, as (group, (rate, delay, overhead) of each hop)."""
    fastest: list[tuple[int, _Hops]] = []
    for path in network.paths:
        links = [network.links[index] for index in path.links]
        mine = (path.group, tuple((x.rate_bps, x.delay_ns, x.overhead_bytes) for x in links))
        if not any(group == mine[0] and _no_slower(hops, mine[1]) for group, hops in fastest):
            fastest = [x for x in fastest if not (x[0] == mine[0] and _no_slower(mine[1], x[1]))] + [mine]
    return fastest


def empty_network_times(
    network: Network, packets: Packets, fates: Fates, group: NDArray[np.int64], ends: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
    """Completion time, int64[flows] ns, of each flow's received packets alone in the network; -1 if there are none.

    The same departures, without SRv6, on the fastest path of the flow's group (`group` int64[flows]), between the links
    of its hosts if they have any (`ends` int64[flows, 2], up and down).
    """
    best_ns = np.full(len(group), -1, np.int64)
    links = np.array([(x.rate_bps, x.delay_ns, x.overhead_bytes) for x in network.links], np.int64)
    shapes, kind = np.zeros((1, 2, 0, 3), np.int64), np.zeros(len(group), np.int64)
    if ends is not None:
        found, kind = np.unique(links[ends].reshape(-1, 6), axis=0, return_inverse=True)
        shapes = found.reshape(-1, 2, 1, 3)
    for which, hops in _fastest_paths(network):
        middle = np.array(hops, np.int64).reshape(-1, 3)
        for number in np.unique(kind[group == which]):
            chosen = (group == which) & (kind == number)
            way = np.concatenate((shapes[number, 0], middle, shapes[number, 1]))
            took_ns = _alone(packets, fates, way, network.minimum_frame_bytes, chosen)
            better = chosen & ((best_ns < 0) | (took_ns < best_ns))
            best_ns[better] = took_ns[better]
    return best_ns


@kernel
def _flow_fates(packets: Packets, fates: Fates, out: FlowFates, flows: int) -> NDArray[np.bool_]:
    """Fill `out`; returns bool[n]: whether a packet was reordered."""
    count = len(packets.flow)
    first_ns = np.zeros(flows, np.int64)
    last_path = np.full(flows, -1, np.int64)
    last_flowlet = np.zeros(flows, np.int64)
    for row in range(count):
        flow = packets.flow[row]
        out.bytes[flow] += packets.ip_bytes[row]
        out.packets[flow] += 1
        path = int64(fates.path[row])
        flowlet = int64(fates.flowlet[row])
        if last_path[flow] < 0 or flowlet != last_flowlet[flow]:
            out.flowlets[flow] += 1
            if last_path[flow] >= 0 and path != last_path[flow]:
                out.path_changes[flow] += 1
            last_flowlet[flow] = flowlet
            last_path[flow] = path
        if not fates.state[row] & RECEIVED:
            continue
        if out.delivered[flow] == 0:
            first_ns[flow] = packets.send_ns[row]
        out.delivered[flow] += 1
        out.fct_ns[flow] = max(out.fct_ns[flow], fates.receive_ns[row] - first_ns[flow])
    # Backwards, the earliest reception of any later packet of the flow decides (RFC 4737 section 3.3).
    earliest_ns = np.full(flows, np.iinfo(np.int64).max, np.int64)
    reordered = np.zeros(count, np.bool_)
    for row in range(count - 1, -1, -1):
        if fates.state[row] & RECEIVED:
            flow = packets.flow[row]
            receive_ns = fates.receive_ns[row]
            if receive_ns > earliest_ns[flow]:
                reordered[row] = True
                out.reordered[flow] += 1
            else:
                earliest_ns[flow] = receive_ns
    return reordered


@kernel
def _extents(
    flow: NDArray[np.int64], sent: NDArray[np.int64], late: NDArray[np.bool_], extents: NDArray[np.int64]
) -> int:
    """Extents of reordered packets; rows by flow, then order of reception; `sent` is the place in send order."""
    found = 0
    start = 0
    count = len(flow)
    highest = np.empty(count, np.int64)
    for row in range(count):
        if row == 0 or flow[row] != flow[row - 1]:
            start = row
            highest[row] = sent[row]
        else:
            highest[row] = max(highest[row - 1], sent[row])
        if late[row]:
            low = start
            high = row
            while low < high:
                middle = (low + high) >> 1
                if highest[middle] > sent[row]:
                    high = middle
                else:
                    low = middle + 1
            extents[found] = row - low
            found += 1
    return found


def flow_fates(
    network: Network, packets: Packets, fates: Fates, group: NDArray[np.int64], ends: NDArray[np.int64] | None = None
) -> tuple[FlowFates, NDArray[np.int64]]:
    """Fates per flow, and the extents of all reordered packets (RFC 4737 section 4.2.1); see `empty_network_times`."""
    flows = len(group)
    out = FlowFates(
        bytes=np.zeros(flows, np.int64),
        packets=np.zeros(flows, np.int64),
        delivered=np.zeros(flows, np.int64),
        fct_ns=np.full(flows, -1, np.int64),
        empty_ns=empty_network_times(network, packets, fates, group, ends),
        reordered=np.zeros(flows, np.int64),
        flowlets=np.zeros(flows, np.int64),
        path_changes=np.zeros(flows, np.int64),
    )
    reordered = _flow_fates(packets, fates, out, flows)
    touched = np.flatnonzero((out.reordered > 0)[packets.flow] & ((fates.state & RECEIVED) > 0))
    order = touched[np.lexsort((touched, fates.receive_ns[touched], packets.flow[touched]))]
    extents = np.empty(int(reordered.sum()), np.int64)
    _extents(packets.flow[order].astype(np.int64), order, reordered[order], extents)
    return out, extents


@kernel
def _path_load(packets: Packets, fates: Fates, facts: PathFacts, interval_ns: int, out: PathLoad) -> None:
    count = len(packets.flow)
    start_ns = packets.send_ns[0]
    merge = out.bin_ns // interval_ns
    sent = np.zeros(len(facts.srv6_bytes), np.int64)
    now = int64(0)
    for row in range(count + 1):
        interval = (packets.send_ns[row] - start_ns) // interval_ns if row < count else int64(-1)
        if interval != now:
            # The interval is over: (max - min) / mean, weighted by the total, is the spread times the number of paths.
            for group in range(len(facts.group)):
                first, stop = facts.group[group, 0], facts.group[group, 1]
                total, squares, least, most = int64(0), 0.0, sent[first], int64(0)
                for path in range(first, stop):
                    total += sent[path]
                    squares += float(sent[path]) ** 2
                    least = min(least, sent[path])
                    most = max(most, sent[path])
                    out.bytes[now // merge, path] += sent[path]
                    sent[path] = 0
                if total > 0:
                    out.uneven[0] += float((most - least) * (stop - first))
                    out.fair[0] += float(total) ** 3 / ((stop - first) * squares)
                    out.weight[0] += total
            now = interval
        if row < count:
            path = int64(fates.path[row])
            size = int64(packets.ip_bytes[row]) + ETHERNET_HEADER_BYTES + facts.srv6_bytes[path]
            sent[path] += max(size, facts.minimum_frame_bytes)
            if fates.state[row] & DROPPED:
                out.dropped[interval // merge, path] += 1


def path_load(
    network: Network, packets: Packets, fates: Fates, *, steered: bool, interval_ns: int, most_bins: int = 400
) -> PathLoad:
    """Bytes into each path over time, from the first packet, in at most `most_bins` bins; balance per interval.

    Memory follows bins and paths, not the time the packets span.
    """
    paths = len(network.paths)
    span_ns = int(packets.send_ns[-1] - packets.send_ns[0]) if len(packets.send_ns) else -1
    intervals = span_ns // interval_ns + 1 if span_ns >= 0 else 0
    merge = max(1, -(-intervals // most_bins))
    shape = (-(-intervals // merge), paths)
    load = PathLoad(
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        merge * interval_ns,
        np.zeros(1, np.float64),
        np.zeros(1, np.float64),
        np.zeros(1, np.int64),
    )
    if intervals:
        overhead = np.array([path.srv6_bytes if steered else 0 for path in network.paths], np.int64)
        bounds = np.array([(group.start, group.stop) for group in network.group_slots()], np.int64)
        _path_load(packets, fates, PathFacts(overhead, bounds, network.minimum_frame_bytes), interval_ns, load)
    return load


def balance(load: PathLoad) -> tuple[float | None, float | None]:
    """Imbalance and Jain's index of path bytes per interval, byte-weighted means; None without bytes."""
    weight = float(load.weight[0])
    if not weight:
        return None, None
    return float(load.uneven[0]) / weight, float(load.fair[0]) / weight


def _quantile_columns(prefix: str, values: NDArray[Any], unit: str) -> dict[str, Any]:
    suffix = f"_{unit}" if unit else ""
    ranks = nearest_ranks(values, QUANTILES.values())
    return {f"{prefix}_{name}{suffix}": rank for name, rank in zip(QUANTILES, ranks, strict=True)}


def received_values(packets: Packets, fates: Fates) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """One-way and queueing delays of received packets, int64 ns each."""
    received = (fates.state & RECEIVED) > 0
    return fates.receive_ns[received] - packets.send_ns[received], fates.queue_ns[received]


def slowdowns(flows: FlowFates) -> NDArray[np.float64]:
    """Slowdown of every flow of which something was received, in their order."""
    done = flows.fct_ns >= 0
    return flows.fct_ns[done] / flows.empty_ns[done]


def packet_summary(packets: Packets, fates: Fates) -> dict[str, Any]:
    """The columns of SUMMARY that come from packets alone."""
    delay_ns, queue_ns = received_values(packets, fates)
    dropped = int(((fates.state & DROPPED) > 0).sum())
    received = fates.state & RECEIVED > 0
    count = len(packets.send_ns)
    return {
        "packets": count,
        "delivered": len(delay_ns),
        "dropped": dropped,
        "drop_ratio": dropped / count if count else 0.0,
        "ecn_marked": int(((fates.state[received] & MARKED) > 0).sum()),
        "retransmissions": None,
        **_quantile_columns("delay", delay_ns, "ns"),
        "delay_mean_ns": float(delay_ns.mean()) if len(delay_ns) else None,
        **_quantile_columns("queue", queue_ns, "ns"),
        "queue_mean_ns": float(queue_ns.mean()) if len(queue_ns) else None,
    }


def flow_summary(flows: FlowFates, extents: NDArray[np.int64]) -> dict[str, Any]:
    """The columns of SUMMARY that come from flows."""
    delivered = int(flows.delivered.sum())
    reordered = int(flows.reordered.sum())
    flowlets = int(flows.flowlets.sum())
    sent = int(flows.packets.sum())
    return {
        **_quantile_columns("fct", flows.fct_ns[flows.fct_ns >= 0], "ns"),
        **_quantile_columns("slowdown", slowdowns(flows), ""),
        "reordered": reordered,
        "reordered_ratio": reordered / delivered if delivered else None,
        "reorder_extent_p99": nearest_ranks(extents, [0.99])[0],
        "reorder_extent_max": int(extents.max()) if len(extents) else None,
        "displaced_3": int((extents >= _DISPLACED).sum()),
        "flowlets": flowlets,
        "flowlet_packets_mean": sent / flowlets if flowlets else None,
        "flowlet_bytes_mean": int(flows.bytes.sum()) / flowlets if flowlets else None,
        "path_changes": int(flows.path_changes.sum()),
    }


def size_rows(flows: FlowFates) -> list[dict[str, Any]]:
    """Rows of SIZES, without the cell's columns: flows by the IP bytes they sent."""
    rows: list[dict[str, Any]] = []
    done = flows.fct_ns >= 0
    sizes, fct_ns, slowdown = flows.bytes[done], flows.fct_ns[done], slowdowns(flows)
    for low, high in zip(SIZE_BINS, (*SIZE_BINS[1:], None), strict=True):
        chosen = (sizes >= low) & (sizes < (np.iinfo(np.int64).max if high is None else high))
        rows.append(
            {
                "min_bytes": low,
                "below_bytes": high,
                "flows": int(chosen.sum()),
                **_quantile_columns("fct", fct_ns[chosen], "ns"),
                **_quantile_columns("slowdown", slowdown[chosen], ""),
            }
        )
    return rows


def distribution(values: NDArray[Any]) -> list[tuple[float, float]]:
    """(quantile, value) pairs over the fixed grid; empty without values."""
    if len(values) == 0:
        return []
    ordered = np.sort(values)
    return [(q, float(ordered[rank_of(q, len(ordered))])) for q in DISTRIBUTION_QUANTILES]
