"""Flowlets of a trace at any list of timeouts, in one pass over the packets.

A gap that exceeds one timeout exceeds every shorter one. So packets are counted only in the flowlet of the shortest
timeout, and a flowlet that closes is added to the one it is part of at the next timeout: the work per packet does not
grow with the number of timeouts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.quantiles import nearest_ranks, rank_of
from segcast.analyzer.schema import PROFILE, QUANTILES
from segcast.traces.errors import InputError
from segcast.traces.jit import allocating, int64, kernel

_AT_ONCE: Final = 1 << 16  # flowlets that have closed


class FlowletState(NamedTuple):
    """Open flowlets of every flow, at timeouts in ascending order; carried from batch to batch.

    `timeouts_ns` int64[k]; `last_ns` int64[flows] and `seen` bool[flows], the last packet; `packets`, `bytes` and
    `first_ns` int64[flows, k].
    """

    timeouts_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    seen: NDArray[np.bool_]
    packets: NDArray[np.int64]
    bytes: NDArray[np.int64]
    first_ns: NDArray[np.int64]


class Closed(NamedTuple):
    """Room for flowlets that closed: `level` uint16 (index of the timeout), `flow` uint32, the rest int64."""

    level: NDArray[np.uint16]
    flow: NDArray[np.uint32]
    first_ns: NDArray[np.int64]
    packets: NDArray[np.int64]
    bytes: NDArray[np.int64]


@allocating
def packet_gaps(flow: NDArray[np.uint32], time_ns: NDArray[np.int64], flows: int) -> NDArray[np.int64]:
    """Gap to the previous packet of the same flow, int64[n] ns; -1 for a flow's first packet."""
    gaps = np.empty(len(flow), np.int64)
    last = np.empty(flows, np.int64)
    seen = np.zeros(flows, np.bool_)
    for row in range(len(flow)):
        which = flow[row]
        gaps[row] = time_ns[row] - last[which] if seen[which] else -1
        seen[which] = True
        last[which] = time_ns[row]
    return gaps


@kernel
def _close(state: FlowletState, flow: int, levels: int, out: Closed, count: int) -> int:
    """Close the flow's flowlets at the first `levels` timeouts; returns the new number of closed ones."""
    for level in range(levels):
        out.level[count] = level
        out.flow[count] = flow
        out.first_ns[count] = state.first_ns[flow, level]
        out.packets[count] = state.packets[flow, level]
        out.bytes[count] = state.bytes[flow, level]
        count += 1
        if level + 1 < state.timeouts_ns.shape[0]:
            if state.packets[flow, level + 1] == 0:
                state.first_ns[flow, level + 1] = state.first_ns[flow, level]
            state.packets[flow, level + 1] += state.packets[flow, level]
            state.bytes[flow, level + 1] += state.bytes[flow, level]
        state.packets[flow, level] = 0
        state.bytes[flow, level] = 0
    return count


@kernel
def _split(
    state: FlowletState,
    flow: NDArray[np.uint32],
    time_ns: NDArray[np.int64],
    size: NDArray[np.uint32],
    out: Closed,
) -> int:
    """Run a batch through `state`; returns how many flowlets closed."""
    count = 0
    timeouts = state.timeouts_ns
    for row in range(len(flow)):
        which = int64(flow[row])
        now_ns = time_ns[row]
        if state.seen[which]:
            gap = now_ns - state.last_ns[which]
            levels = 0
            while levels < timeouts.shape[0] and gap > timeouts[levels]:
                levels += 1
            if levels > 0:
                count = _close(state, which, levels, out, count)
        state.seen[which] = True
        state.last_ns[which] = now_ns
        if state.packets[which, 0] == 0:
            state.first_ns[which, 0] = now_ns
        state.packets[which, 0] += 1
        state.bytes[which, 0] += size[row]
    return count


@kernel
def _close_all(state: FlowletState, out: Closed) -> int:
    """Close every open flowlet."""
    count = 0
    for flow in range(state.seen.shape[0]):
        if state.seen[flow]:
            count = _close(state, flow, state.timeouts_ns.shape[0], out, count)
    return count


def _room(count: int) -> Closed:
    return Closed(
        np.empty(count, np.uint16),
        np.empty(count, np.uint32),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
        np.empty(count, np.int64),
    )


def _open(flows: int, timeouts_ns: Sequence[int]) -> FlowletState:
    """Nothing was sent yet. Raises InputError for an empty list or a negative timeout."""
    levels = sorted(set(timeouts_ns))
    if not levels or levels[0] < 0:
        raise InputError("give at least one flowlet timeout, none below 0 ns")
    if len(levels) > 1000:
        raise InputError(f"{len(levels)} flowlet timeouts; at most 1000 are supported")
    shape = (flows, len(levels))
    return FlowletState(
        np.array(levels, np.int64),
        np.zeros(flows, np.int64),
        np.zeros(flows, np.bool_),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
        np.zeros(shape, np.int64),
    )


def _first(closed: Closed, count: int) -> Closed:
    """A copy of the first `count`."""
    return Closed._make(column[:count].copy() for column in closed)


def split_flowlets(
    flow: NDArray[np.uint32],
    time_ns: NDArray[np.int64],
    ip_bytes: NDArray[np.uint32],
    flows: int,
    timeouts_ns: Sequence[int],
    batch_packets: int = 1 << 18,
) -> Closed:
    """All flowlets at every timeout, in order of closing; `level` indexes the sorted, distinct timeouts.

    `flow` uint32[n], `time_ns` int64[n] ascending per flow, `ip_bytes` uint32[n]. A gap strictly greater than the
    timeout starts a flowlet. Raises InputError for an empty list or a negative timeout.
    """
    state = _open(flows, timeouts_ns)
    levels = state.timeouts_ns
    pieces: list[Closed] = []
    for start in range(0, len(flow), batch_packets):
        stop = min(len(flow), start + batch_packets)
        out = _room((stop - start) * len(levels))
        count = _split(state, flow[start:stop], time_ns[start:stop], ip_bytes[start:stop], out)
        pieces.append(_first(out, count))
    out = _room(flows * len(levels))
    count = _close_all(state, out)
    pieces.append(_first(out, count))
    return Closed._make(np.concatenate(columns) for columns in zip(*pieces, strict=True))


def profile(closed: Closed, timeouts_ns: Sequence[int], flows: int) -> pa.Table:
    """The PROFILE table: a row per timeout, in ascending order."""
    rows: list[dict[str, object]] = []
    order = np.argsort(closed.level, kind="stable")
    levels = sorted(set(timeouts_ns))
    ends = np.cumsum(np.bincount(closed.level, minlength=len(levels)))
    for timeout_ns, start, stop in zip(levels, [0, *ends.tolist()], ends.tolist(), strict=False):
        chosen = order[start:stop]
        sizes = {"packets": closed.packets[chosen], "bytes": closed.bytes[chosen]}
        per_flow = np.bincount(closed.flow[chosen], minlength=flows)
        row: dict[str, object] = {
            "timeout_ns": timeout_ns,
            "flowlets": len(chosen),
            "flows": flows,
            "never_split": int((per_flow == 1).sum()),
        }
        for what, values in sizes.items():
            ranks = nearest_ranks(values, QUANTILES.values())
            row |= {f"{what}_{name}": rank for name, rank in zip(QUANTILES, ranks, strict=True)}
            row[f"{what}_mean"] = int(values.sum()) / len(values) if len(values) else None
        rows.append(row)
    return pa.Table.from_pylist(rows, schema=PROFILE.arrow_schema())


class HeldByProfile(NamedTuple):
    """What a StreamedProfile holds: open flowlets, closed ones by timeout and flow, and the sizes of closed ones.

    `per_flow` int64[k, flows]; `packets` and `bytes` int64[2, n]: a size and how many have it, timeout after timeout,
    of which there are `counts` int64[2, k].
    """

    state: FlowletState
    per_flow: NDArray[np.int64]
    packets: NDArray[np.int64]
    bytes: NDArray[np.int64]
    counts: NDArray[np.int64]


class StreamedFlowlets(ABC):
    """Counts flowlets of packets that come batch by batch in send order."""

    def __init__(self, flows: int, timeouts_ns: Sequence[int]) -> None:
        """Raises InputError for an empty list or a negative timeout."""
        self._state = _open(flows, timeouts_ns)
        self._waiting: list[Closed] = []  # not counted yet
        self._waiting_count = 0

    def add(self, flow: NDArray[np.uint32], time_ns: NDArray[np.int64], ip_bytes: NDArray[np.uint32]) -> None:
        """Take packets, which follow those before."""
        batch = 1 << 15
        for start in range(0, len(flow), batch):
            piece = slice(start, start + batch)
            out = _room(len(flow[piece]) * len(self._state.timeouts_ns))
            self._keep(out, _split(self._state, flow[piece], time_ns[piece], ip_bytes[piece], out))

    @abstractmethod
    def _count(self, closed: Closed) -> None:
        """Count flowlets, at least one; those of a flow at a timeout come in order of time, across calls, too."""

    def _close(self) -> None:
        """Close the last flowlets, and count all that wait."""
        self._take()
        out = _room(self._state.first_ns.size)
        self._keep(out, _close_all(self._state, out))
        self._take()

    def _keep(self, out: Closed, count: int) -> None:
        """Keep the first `count` until there are so many that going through all flows for them does not matter."""
        self._waiting.append(_first(out, count))
        self._waiting_count += count
        if self._waiting_count >= _AT_ONCE:
            self._take()

    def _take(self) -> None:
        """Count what waits."""
        if not self._waiting:
            return
        closed = self._waiting[0]
        if len(self._waiting) > 1:
            closed = Closed._make(np.concatenate(columns) for columns in zip(*self._waiting, strict=True))
        self._waiting, self._waiting_count = [], 0
        if len(closed.flow):
            self._count(closed)


class StreamedProfile(StreamedFlowlets):
    """PROFILE of packets that come batch by batch in send order; memory follows flows and the distinct sizes seen."""

    def __init__(self, flows: int, timeouts_ns: Sequence[int]) -> None:
        """Raises InputError for an empty list or a negative timeout."""
        super().__init__(flows, timeouts_ns)
        levels = len(self._state.timeouts_ns)
        self._per_flow = np.zeros((levels, flows), np.int64)
        nothing = np.zeros((2, 0), np.int64)
        self._sizes = {what: [nothing] * levels for what in ("packets", "bytes")}  # values, and how many of each

    @property
    def identity(self) -> str:
        """What it watches."""
        return f"{self._state.timeouts_ns.tolist()} {len(self._state.seen)}"

    @property
    def held(self) -> HeldByProfile:
        """All that it holds between batches; a new one of the same identity may be given it."""
        self._take()
        packets, sizes = (np.concatenate(of_levels, axis=1) for of_levels in self._sizes.values())
        counts = [[sizes.shape[1] for sizes in of_levels] for of_levels in self._sizes.values()]
        return HeldByProfile(self._state, self._per_flow, packets, sizes, np.array(counts, np.int64))

    @held.setter
    def held(self, held: HeldByProfile) -> None:
        self._state, self._per_flow = held.state, held.per_flow
        for what, sizes, counts in zip(self._sizes, (held.packets, held.bytes), held.counts, strict=True):
            self._sizes[what] = np.split(sizes, np.cumsum(counts)[:-1], axis=1)
        self._waiting, self._waiting_count = [], 0

    def finish(self) -> pa.Table:
        """Close the last flowlets and return the table, as `profile` makes it."""
        self._close()
        rows: list[dict[str, object]] = []
        for level, timeout_ns in enumerate(self._state.timeouts_ns.tolist()):
            count = int(self._per_flow[level].sum())
            row: dict[str, object] = {
                "timeout_ns": timeout_ns,
                "flowlets": count,
                "flows": int(self._state.seen.sum()),
                "never_split": int((self._per_flow[level] == 1).sum()),
            }
            for what, of_levels in self._sizes.items():
                values, counts = of_levels[level]
                up_to = np.cumsum(counts)
                for name, quantile in QUANTILES.items():
                    at = np.searchsorted(up_to, rank_of(quantile, count), side="right")
                    row[f"{what}_{name}"] = int(values[at]) if count else None
                row[f"{what}_mean"] = int((values * counts).sum()) / count if count else None
            rows.append(row)
        return pa.Table.from_pylist(rows, schema=PROFILE.arrow_schema())

    def _count(self, closed: Closed) -> None:
        for level in np.unique(closed.level).tolist():
            mine = closed.level == level
            self._per_flow[level] += np.bincount(closed.flow[mine], minlength=self._per_flow.shape[1])
            for what, values in (("packets", closed.packets[mine]), ("bytes", closed.bytes[mine])):
                came, counts = np.unique(values, return_counts=True)
                known = self._sizes[what][level]
                distinct, place = np.unique(np.concatenate((known[0], came)), return_inverse=True)
                total = np.zeros(len(distinct), np.int64)
                np.add.at(total, place, np.concatenate((known[1], counts)))
                self._sizes[what][level] = np.stack((distinct, total))
