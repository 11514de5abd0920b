"""Bytes into each path over time, in bounded memory: bins merge two by two as the time grows."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.family import Ending, Family, Measured
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network
from segcast.analyzer.packets import DROPPED, Fates, Packets
from segcast.traces.jit import int64, kernel
from segcast.traces.schema import Column

MOST_BINS: Final = 400
_MOST_ROWS: Final = 400_000  # of SERIES: bins x paths

# Places in `scalars`.
START_NS, INTERVAL_NS, NOW, MERGED, TOUCHED, WEIGHT = range(6)
# Places in `sums`.
UNEVEN, FAIR = range(2)


class PathFacts(NamedTuple):
    """What a path adds to a packet: `srv6_bytes` int64[paths], 0 where the policy does not steer.

    `group` int64[paths]; `bounds` int64[groups, 2]: the first path of each group, and the one after its last.
    """

    srv6_bytes: NDArray[np.int64]
    group: NDArray[np.int64]
    bounds: NDArray[np.int64]
    minimum_frame_bytes: int


class PathLoad(NamedTuple):
    """Per bin and path, int64[bins, paths]: frame bytes sent into the path, and packets of those dropped.

    Of the present interval: `sent` int64[paths], `totals` int64[groups], and the groups in `touched` that have any.
    `scalars` int64: start, length of an interval, the present one (-1: nothing came), intervals per bin, groups
    touched, and the bytes that weigh `sums` float64: imbalance and Jain's index of intervals and groups, times bytes.
    """

    bytes: NDArray[np.int64]
    dropped: NDArray[np.int64]
    sent: NDArray[np.int64]
    totals: NDArray[np.int64]
    touched: NDArray[np.int64]
    scalars: NDArray[np.int64]
    sums: NDArray[np.float64]


def path_facts(network: Network, *, steered: bool) -> PathFacts:
    """What the kernels need of a network."""
    bounds = [(slots.start, slots.stop) for slots in network.group_slots()]
    return PathFacts(
        np.array([path.srv6_bytes if steered else 0 for path in network.paths], np.int64),
        np.array([path.group for path in network.paths], np.int64),
        np.array(bounds, np.int64),
        network.minimum_frame_bytes,
    )


def empty_load(facts: PathFacts, interval_ns: int) -> PathLoad:
    """Paths before the first packet. There are at most 400 bins, fewer (at least 16) with more than 1000 paths."""
    paths, groups = len(facts.group), len(facts.bounds)
    bins = min(MOST_BINS, max(16, _MOST_ROWS // paths & ~1))
    return PathLoad(
        np.zeros((bins, paths), np.int64),
        np.zeros((bins, paths), np.int64),
        np.zeros(paths, np.int64),
        np.zeros(groups, np.int64),
        np.zeros(groups, np.int64),
        np.array([0, interval_ns, -1, 1, 0, 0], np.int64),
        np.zeros(2, np.float64),
    )


@kernel
def close_interval(load: PathLoad, bounds: NDArray[np.int64]) -> None:
    """The present interval is over: note how even its bytes were, and add them to their bin."""
    scalars, sums = load.scalars, load.sums
    time_bin = scalars[NOW] // scalars[MERGED]
    for place in range(scalars[TOUCHED]):
        group = load.touched[place]
        first, stop = bounds[group, 0], bounds[group, 1]
        squares, least, most = 0.0, load.sent[first], int64(0)
        for path in range(first, stop):
            size = load.sent[path]
            squares += float(size) ** 2
            least = min(least, size)
            most = max(most, size)
            load.bytes[time_bin, path] += size
            load.sent[path] = 0
        total = load.totals[group]
        # (max - min) / mean, weighted by the total, is the spread times the number of paths.
        sums[UNEVEN] += float((most - least) * (stop - first))
        sums[FAIR] += float(total) ** 3 / ((stop - first) * squares)
        scalars[WEIGHT] += total
        load.totals[group] = 0
    scalars[TOUCHED] = 0


@kernel
def _fold(bins: NDArray[np.int64]) -> None:
    half = len(bins) // 2
    for place in range(half):
        for path in range(bins.shape[1]):
            bins[place, path] = bins[2 * place, path] + bins[2 * place + 1, path]
    bins[half:] = 0


@kernel
def add_load(packets: Packets, on_path: NDArray[np.uint16], facts: PathFacts, load: PathLoad) -> None:
    """Take packets as they are sent, which follow those before in send order."""
    scalars, sent, totals = load.scalars, load.sent, load.totals
    interval_ns = scalars[INTERVAL_NS]
    if scalars[NOW] < 0 and len(packets.flow) > 0:
        scalars[START_NS] = packets.send_ns[0]
        scalars[NOW] = 0
    start_ns, now = scalars[START_NS], scalars[NOW]
    ends_ns = start_ns + (now + 1) * interval_ns
    for row in range(len(packets.flow)):
        if packets.send_ns[row] >= ends_ns:
            close_interval(load, facts.bounds)
            now = (packets.send_ns[row] - start_ns) // interval_ns
            ends_ns = start_ns + (now + 1) * interval_ns
            scalars[NOW] = now
            while now // scalars[MERGED] >= len(load.bytes):
                _fold(load.bytes)
                _fold(load.dropped)
                scalars[MERGED] *= 2
        path = int64(on_path[row])
        group = facts.group[path]
        size = max(
            int64(packets.ip_bytes[row]) + ETHERNET_HEADER_BYTES + facts.srv6_bytes[path], facts.minimum_frame_bytes
        )
        if totals[group] == 0:
            load.touched[scalars[TOUCHED]] = group
            scalars[TOUCHED] += 1
        sent[path] += size
        totals[group] += size


@kernel
def add_drops(packets: Packets, fates: Fates, load: PathLoad) -> None:
    """Take those of the packets that were dropped, in any order."""
    length_ns = load.scalars[MERGED] * load.scalars[INTERVAL_NS]
    for row in range(len(packets.flow)):
        if fates.state[row] & DROPPED:
            load.dropped[(packets.send_ns[row] - load.scalars[START_NS]) // length_ns, fates.path[row]] += 1


def bins_used(load: PathLoad) -> int:
    """How many bins there are up to the present."""
    return int(load.scalars[NOW] // load.scalars[MERGED]) + 1


def bin_ns(load: PathLoad) -> int:
    """The length of a bin: a whole number of intervals, a power of two."""
    return int(load.scalars[MERGED] * load.scalars[INTERVAL_NS])


def balance(load: PathLoad) -> tuple[float | None, float | None]:
    """Imbalance and Jain's index of path bytes per interval, byte-weighted means; None without bytes."""
    weight = float(load.scalars[WEIGHT])
    if not weight:
        return None, None
    return float(load.sums[UNEVEN]) / weight, float(load.sums[FAIR]) / weight


class PathLoadFamily(Family):
    """How evenly bytes are spread over the paths of a group."""

    name = "path_load"
    summary = (
        Column("imbalance", pa.float64(), "(max - min) / mean of path bytes per interval, byte-weighted mean", True),
        Column("jain", pa.float64(), "Jain's index of path bytes per interval, byte-weighted mean", True),
    )
    counts: PathLoad

    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""
        self._facts = path_facts(measured.network, steered=measured.steered)
        self.counts = empty_load(self._facts, measured.interval_ns)

    def sent(self, packets: Packets, path: NDArray[np.uint16]) -> None:
        """Count packets as they are sent, which follow those before."""
        add_load(packets, path, self._facts, self.counts)

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count those dropped of packets that are finished."""
        add_drops(packets, fates, self.counts)

    def finish(self) -> None:
        """Close the present interval, after the last packets have been added."""
        close_interval(self.counts, self._facts.bounds)

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`."""
        imbalance, jain = balance(self.counts)
        return {"imbalance": imbalance, "jain": jain}
