"""Reordering (RFC 4737) of packets that come in send order, piece by piece: which are late, and by how much.

What is kept between pieces. Rows are received packets as they come; the *horizon* is the time sent of the last packet
that came, dropped ones included. A row received by the horizon is settled: whatever comes later is received after it
was sent, so after the horizon, and cannot have overtaken it, nor lie between it and one that did. So the rows before
the first one received after the horizon are counted. A counted row may still lie in the extent of a later one, *i*,
between its first overtaker *j* and itself; then it was received no earlier than *j*, so after *i* was sent. So a
counted row stays only while it was received after the first row not counted was sent.

All of that holds flow by flow. So if a row far ahead would keep most others, or some flows' packets come later than
others sent after them (`Awaited`), rows are settled by flow: up to its first row received after the horizon, or after
what is still to come of it was sent.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.extents import find_extents
from segcast.analyzer.metrics.family import Ending, Family, FlowColumns, Measured
from segcast.analyzer.metrics.histogram import LARGEST, Histogram, empty_histogram, histogram_ranks, with_values
from segcast.analyzer.packets import RECEIVED, Awaited, Fates, Packets
from segcast.traces.jit import at, int64, kernel
from segcast.traces.schema import Column

_NEVER_NS: Final = np.iinfo(np.int64).max
_DISPLACED: Final = 3
_FEW: Final = 1 << 10  # rows for which counting by flow does not pay
_BLOCK: Final = 1 << 13  # rows that are counted together: what is kept of them stays in a core's cache

# What `marks` of a row are a sum of: it was received before one sent earlier, takes part in an extent, is late.
_OVERTAKES, _INVOLVED, _LATE, _SETTLED = 1, 2, 4, 8

PROGRESS: Final = np.dtype(
    [
        ("held", np.int64),
        ("counted", np.int64),
        ("left", np.int64),
        ("overtaking", np.int64),
        ("horizon_ns", np.int64),
        ("displaced", np.int64),
        ("mixed", np.int64),
    ],
    align=True,
)


class Reordering(NamedTuple):
    """Rows kept: `flow` uint32, `send_ns` and `receive_ns` int64, `marks` uint8, the first `held`; behind them is room.

    `progress` PROGRESS[1]: rows held, how many of them (the first) are counted and only context, how many the last
    count left, how many overtake, the horizon, packets displaced by three or more, and whether rows may not be in order
    of sending. `late` int64[flows], reordered packets; `extents`; `latest_ns` int64[flows], the last reception so far;
    `earliest_ns` int64[flows] is scratch, and so is `settled_ns` int64[flows], which is empty until it is needed.
    """

    flow: NDArray[np.uint32]
    send_ns: NDArray[np.int64]
    receive_ns: NDArray[np.int64]
    marks: NDArray[np.uint8]
    progress: NDArray[np.void]
    late: NDArray[np.int64]
    extents: Histogram
    earliest_ns: NDArray[np.int64]
    latest_ns: NDArray[np.int64]
    settled_ns: NDArray[np.int64]
    awaited: Awaited


class Involved(NamedTuple):
    """Rows of which extents are made, `size[0]` of them, each flow's in send order: `run` int64 (rows of one flow that
    were counted together), `receive_ns` int64, `late` bool; `size[1]` is how many times rows were counted, and
    `size[2]` whether they must now be counted by flow.
    """

    run: NDArray[np.int64]
    receive_ns: NDArray[np.int64]
    late: NDArray[np.bool_]
    size: NDArray[np.int64]


def empty_reordering(flows: int) -> Reordering:
    """Flows before their first packet."""
    progress = np.zeros(1, PROGRESS)
    progress["horizon_ns"] = np.iinfo(np.int64).min
    return Reordering(
        np.zeros(0, np.uint32),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        np.zeros(0, np.uint8),
        progress,
        np.zeros(flows, np.int64),
        empty_histogram(),
        np.full(flows, _NEVER_NS, np.int64),
        np.full(flows, -_NEVER_NS, np.int64),
        np.empty(0, np.int64),
        Awaited.nothing(),
    )


def awaiting(kept: Reordering, awaited: Awaited) -> Reordering:
    """The same while some flows' packets come later than others."""
    if len(awaited.flow):
        kept.progress["mixed"] = 1
    return kept._replace(awaited=awaited)


def add_rows(kept: Reordering, packets: Packets, fates: Fates) -> Reordering:
    """Take packets whose fates are known, each flow's in send order; what is kept from then on."""
    row = 0
    while row < len(packets.flow):
        kept = _with_room(kept)
        involved = _none_involved(kept)
        row = _add(kept, packets, fates, row, involved)
        if involved.size[2]:
            kept = _counted_by_flow(kept, involved)
        kept = _with_extents(kept, involved)
    return kept


def last_rows(kept: Reordering) -> Reordering:
    """Count what still waits, after the last packets have been added."""
    kept.progress["horizon_ns"] = _NEVER_NS
    kept = awaiting(kept, Awaited.nothing())
    involved = _none_involved(kept)
    if not _count(kept, involved):
        kept = _counted_by_flow(kept, involved)
    return _with_extents(kept, involved)


def _none_involved(kept: Reordering) -> Involved:
    """Room for some blocks, or all that may be held."""
    room = max(8 * _BLOCK, len(kept.flow))
    return Involved(np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.bool_), np.zeros(3, np.int64))


def _with_room(kept: Reordering) -> Reordering:
    """The same with room until it is counted next."""
    held, needed = int(kept.progress["held"][0]), int(_counted_at(kept.progress))
    if needed <= len(kept.flow):
        return kept

    def longer(column: NDArray[Any]) -> NDArray[Any]:
        more = np.zeros(needed, column.dtype)
        more[:held] = column[:held]
        return more

    return kept._replace(
        flow=longer(kept.flow),
        send_ns=longer(kept.send_ns),
        receive_ns=longer(kept.receive_ns),
        marks=longer(kept.marks),
    )


@kernel
def _counted_at(progress: NDArray[np.void]) -> int:
    """How many rows are held when they are counted: twice what the last count left, so that its cost stays in
    proportion, and a block more.
    """
    return 2 * int64(progress[0].left) + _BLOCK


@kernel
def _add(kept: Reordering, packets: Packets, fates: Fates, begin: int, involved: Involved) -> int:
    """Take packets from `begin` on, and count rows whenever there are enough; the packet at which room is missing."""
    progress, latest_ns = kept.progress, kept.latest_ns
    held, overtaking = int64(progress[0].held), int64(progress[0].overtaking)
    full = _counted_at(progress)
    for row in range(begin, len(packets.flow)):
        if held == full:
            progress[0].held, progress[0].overtaking = held, overtaking
            if row > begin:
                progress[0].horizon_ns = max(int64(progress[0].horizon_ns), packets.send_ns[at(row - 1)])
            if involved.size[0] + held > len(involved.run) or not _count(kept, involved):
                return row
            held, overtaking = int64(progress[0].held), int64(progress[0].overtaking)
            full = _counted_at(progress)
            if full > len(kept.flow):
                return row
        if fates.state[at(row)] & RECEIVED:
            flow = packets.flow[at(row)]
            receive_ns = fates.receive_ns[at(row)]
            overtakes = receive_ns < latest_ns[flow]
            if not overtakes:
                latest_ns[flow] = receive_ns
            kept.flow[at(held)] = flow
            kept.send_ns[at(held)] = packets.send_ns[at(row)]
            kept.receive_ns[at(held)] = receive_ns
            kept.marks[at(held)] = _OVERTAKES if overtakes else 0
            overtaking += overtakes
            held += 1
    progress[0].held, progress[0].overtaking = held, overtaking
    progress[0].horizon_ns = max(int64(progress[0].horizon_ns), packets.send_ns[len(packets.flow) - 1])
    if held >= 2 * progress[0].left and involved.size[0] + held <= len(involved.run):
        _count(kept, involved)
    return len(packets.flow)


@kernel
def _count(kept: Reordering, involved: Involved) -> bool:
    """Count the rows that are settled, and let go of those that no extent can need.

    They are those from `counted` to the first that was received after the horizon. False, and nothing is counted, if
    that says too little: rows are not in order, or most of those after it would be settled by flow.
    """
    progress = kept.progress
    held = int64(progress[0].held)
    stop = int64(progress[0].counted)
    while stop < held and kept.receive_ns[at(stop)] <= progress[0].horizon_ns:
        stop += 1
    settled = int64(0)
    for row in range(stop, held):
        settled += kept.receive_ns[at(row)] <= progress[0].horizon_ns
    if progress[0].mixed or settled > max(_FEW, held - stop - settled):
        involved.size[2] = 1
        return False
    overtaken = progress[0].overtaking > 0
    if overtaken:
        _mark(kept, int64(progress[0].counted), stop)
    since_ns = kept.send_ns[at(stop)] if stop < held else int64(_NEVER_NS)
    left, counted, overtaking, size = int64(0), int64(0), int64(0), int64(involved.size[0])
    for row in range(held):
        flow, marks, receive_ns = kept.flow[at(row)], kept.marks[at(row)], kept.receive_ns[at(row)]
        if overtaken:
            kept.earliest_ns[flow] = _NEVER_NS
            if marks != 0:
                involved.run[at(size)] = involved.size[1] * len(kept.late) + int64(flow)
                involved.receive_ns[at(size)] = receive_ns
                involved.late[at(size)] = marks & _LATE != 0
                size += 1
        if row >= stop or receive_ns > since_ns:
            kept.flow[at(left)] = flow
            kept.send_ns[at(left)] = kept.send_ns[at(row)]
            kept.receive_ns[at(left)] = receive_ns
            kept.marks[at(left)] = marks & _OVERTAKES
            left += 1
            counted += row < stop
            overtaking += marks & _OVERTAKES
    involved.size[0] = size
    involved.size[1] += 1
    progress[0].held = left
    progress[0].left = left
    progress[0].counted = counted
    progress[0].overtaking = overtaking
    return True


def _counted_by_flow(kept: Reordering, involved: Involved) -> Reordering:
    """The same once the rows of each flow up to its first that is not settled are counted.

    Counted ones that extents may need come first from then on, then the others, both as they came.
    """
    if len(kept.settled_ns) == 0:
        kept = kept._replace(settled_ns=np.full(len(kept.late), _NEVER_NS, np.int64))
    involved.size[2] = 0
    needed, waiting = np.zeros((2, int(kept.progress["held"][0])), np.bool_)
    _count_by_flow(kept, involved, needed, waiting)
    rows = np.concatenate((np.flatnonzero(needed), np.flatnonzero(waiting)))
    for column in (kept.flow, kept.send_ns, kept.receive_ns, kept.marks):
        column[: len(rows)] = column[rows]
    waiting_ns = kept.send_ns[len(rows) - np.count_nonzero(waiting) : len(rows)]
    progress = kept.progress
    progress["held"] = progress["left"] = len(rows)
    progress["counted"] = len(rows) - len(waiting_ns)
    progress["overtaking"] = np.count_nonzero(kept.marks[: len(rows)])
    progress["mixed"] = len(kept.awaited.flow) > 0 or bool((waiting_ns[1:] < waiting_ns[:-1]).any())
    return kept


@kernel
def _count_by_flow(kept: Reordering, involved: Involved, needed: NDArray[np.bool_], waiting: NDArray[np.bool_]) -> None:
    """Count the rows that are settled of each flow; `needed` are those counted that extents may need, `waiting` the
    rows that are not settled.
    """
    progress, settled_ns, awaited = kept.progress, kept.settled_ns, kept.awaited
    held, counted, horizon_ns = int64(progress[0].held), int64(progress[0].counted), int64(progress[0].horizon_ns)
    for place in range(len(awaited.flow)):
        settled_ns[awaited.flow[place]] = awaited.send_ns[place]
    for row in range(counted, held):
        flow = kept.flow[row]
        if kept.receive_ns[row] <= min(horizon_ns, settled_ns[flow]):
            kept.marks[row] |= _SETTLED
        else:  # nor is anything behind it
            settled_ns[flow] = min(settled_ns[flow], kept.send_ns[row] - 1)
            waiting[row] = True
    overtaken = progress[0].overtaking > 0
    if overtaken:
        _mark(kept, int64(0), int64(0))
    size = int64(involved.size[0])
    for row in range(held):
        flow, marks, receive_ns = kept.flow[row], kept.marks[row], kept.receive_ns[row]
        if overtaken:
            kept.earliest_ns[flow] = _NEVER_NS
            if marks & (_OVERTAKES | _INVOLVED | _LATE):
                involved.run[size] = involved.size[1] * len(kept.late) + int64(flow)
                involved.receive_ns[size] = receive_ns
                involved.late[size] = marks & _LATE != 0
                size += 1
        kept.marks[row] = marks & _OVERTAKES
        needed[row] = not waiting[row] and receive_ns > settled_ns[flow]
    involved.size[0] = size
    involved.size[1] += 1
    for row in range(counted, held):
        settled_ns[kept.flow[row]] = _NEVER_NS
    for place in range(len(awaited.flow)):
        settled_ns[awaited.flow[place]] = _NEVER_NS


@kernel
def _mark(kept: Reordering, begin: int, stop: int) -> None:
    """Mark the rows that are late (of `begin` to `stop`, and settled ones), and those that are late or lie between.

    A row that neither is late nor overtakes has no place between an overtaker and the overtaken: were it received
    before the overtaken, it would overtake it or have been sent before it, and then be late itself.
    """
    # Backwards, the earliest reception of any later packet of the flow decides (RFC 4737 section 3.3).
    for row in range(int64(kept.progress[0].held) - 1, -1, -1):
        flow, receive_ns = kept.flow[at(row)], kept.receive_ns[at(row)]
        if receive_ns > kept.earliest_ns[flow]:
            kept.marks[at(row)] |= _INVOLVED
            if begin <= row < stop or kept.marks[at(row)] & _SETTLED:
                kept.marks[at(row)] |= _LATE
                kept.late[flow] += 1
        else:
            kept.earliest_ns[flow] = receive_ns


def _with_extents(kept: Reordering, involved: Involved) -> Reordering:
    """The same with the extents of rows that are late."""
    size = int(involved.size[0])
    late = involved.late[:size]
    extents = np.empty(np.count_nonzero(late), np.int64)
    if len(extents) == 0:
        return kept
    rows = np.lexsort((involved.receive_ns[:size], involved.run[:size]))  # stable: equals stay in send order
    find_extents(involved.run[rows], rows, late[rows], extents)
    kept.progress["displaced"] += np.count_nonzero(extents >= _DISPLACED)
    return kept._replace(extents=with_values(kept.extents, extents))


class ReorderingFamily(Family):
    """Packets received later than some that their flow sent after them."""

    name = "reordering"
    summary = (
        Column("reordered", pa.uint64(), "reordered packets (RFC 4737)"),
        Column("reordered_ratio", pa.float64(), "reordered / delivered", True),
        Column("reorder_extent_p99", pa.uint64(), "p99 extent of reordered packets (RFC 4737 section 4.2.1)", True),
        Column("reorder_extent_max", pa.uint64(), "largest extent", True),
        Column("displaced_3", pa.uint64(), "reordered packets with an extent of 3 or more"),
    )
    flows = (Column("reordered", pa.uint64(), "reordered packets"),)
    counts: Reordering

    def __init__(self, measured: Measured) -> None:
        """Start with empty counts."""
        self.counts = empty_reordering(len(measured.plan.keys))

    def add(self, packets: Packets, fates: Fates) -> None:
        """Count packets, which follow those before."""
        self.counts = add_rows(self.counts, packets, fates)

    def awaits(self, awaited: Awaited) -> None:
        """Note flows whose packets come later than others, while the next ones are added."""
        self.counts = awaiting(self.counts, awaited)

    def finish(self) -> None:
        """Count what waited for later packets, after the last have been added."""
        self.counts = last_rows(self.counts)

    def flow_columns(self, before: FlowColumns) -> FlowColumns:
        """The columns named in `flows`."""
        return {"reordered": self.counts.late}

    def columns(self, before: dict[str, Any], ending: Ending) -> dict[str, Any]:
        """The columns named in `summary`."""
        reordered, extents = int(self.counts.late.sum()), self.counts.extents
        return {
            "reordered": reordered,
            "reordered_ratio": reordered / before["delivered"] if before["delivered"] else None,
            "reorder_extent_p99": histogram_ranks(extents, [0.99])[0],
            "reorder_extent_max": int(extents.sums[LARGEST]) if reordered else None,
            "displaced_3": int(self.counts.progress["displaced"][0]),
        }
