"""Reordering (RFC 4737) of packets that come in send order, piece by piece: which are late, and by how much.

What is kept between pieces. Rows are received packets in send order; the *horizon* is the time sent of the last packet
that came, dropped ones included. A row received by the horizon is settled: whatever comes later is received after it
was sent, so after the horizon, and cannot have overtaken it, nor lie between it and one that did. So the rows before
the first one received after the horizon are counted. A counted row may still lie in the extent of a later one, *i*,
between its first overtaker *j* and itself; then it was received no earlier than *j*, so after *i* was sent. So a
counted row stays only while it was received after the first row not counted was sent.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.family import Ending, Family, FlowColumns, Measured
from segcast.analyzer.metrics.histogram import BITS, LARGEST, Histogram, empty_histogram, histogram_ranks, record_all
from segcast.analyzer.packets import RECEIVED, Fates, Packets
from segcast.traces.jit import allocating, int64, kernel
from segcast.traces.schema import Column

_NEVER_NS: Final = np.iinfo(np.int64).max
_DISPLACED: Final = 3

PROGRESS: Final = np.dtype(
    [
        ("held", np.int64),
        ("counted", np.int64),
        ("left", np.int64),
        ("horizon_ns", np.int64),
        ("displaced", np.int64),
    ],
    align=True,
)


class Reordering(NamedTuple):
    """Rows kept: `flow` uint32, `send_ns` and `receive_ns` int64, the first `held` of them; behind them is room.

    `progress` PROGRESS[1]: rows held, how many of them (the first) are counted and only context, how many the last
    count left, the horizon, and packets displaced by three or more. `late` int64[flows], reordered packets; `extents`;
    `earliest_ns` and `latest_ns` int64[flows] are scratch.
    """

    flow: NDArray[np.uint32]
    send_ns: NDArray[np.int64]
    receive_ns: NDArray[np.int64]
    progress: NDArray[np.void]
    late: NDArray[np.int64]
    extents: Histogram
    earliest_ns: NDArray[np.int64]
    latest_ns: NDArray[np.int64]


def empty_reordering(flows: int) -> Reordering:
    """Flows before their first packet."""
    progress = np.zeros(1, PROGRESS)
    progress["horizon_ns"] = np.iinfo(np.int64).min
    return Reordering(
        np.zeros(0, np.uint32),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        progress,
        np.zeros(flows, np.int64),
        empty_histogram(),
        np.full(flows, _NEVER_NS, np.int64),
        np.full(flows, -_NEVER_NS, np.int64),
    )


def add_rows(kept: Reordering, packets: Packets, fates: Fates) -> Reordering:
    """Take packets whose fates are known, which follow those before in send order; what is kept from then on."""
    if len(packets.flow) == 0:
        return kept
    progress = kept.progress[0]
    kept = _with_room(kept, int(progress["held"]) + len(packets.flow))
    _append(kept, packets, fates)
    progress["horizon_ns"] = packets.send_ns[-1]
    # Counting looks at all rows kept, so it waits until they have doubled: its cost stays in proportion.
    if progress["held"] >= 2 * progress["left"]:
        _count(kept)
    return kept


def last_rows(kept: Reordering) -> Reordering:
    """Count what still waits, after the last packets have been added."""
    kept.progress["horizon_ns"] = _NEVER_NS
    _count(kept)
    return kept


def _with_room(kept: Reordering, rows: int) -> Reordering:
    """The same with room for so many rows, at least twice as much as before if there was too little."""
    room = len(kept.flow)
    if rows <= room:
        return kept
    more = max(rows, 2 * room) - room
    return kept._replace(
        flow=np.append(kept.flow, np.zeros(more, np.uint32)),
        send_ns=np.append(kept.send_ns, np.zeros(more, np.int64)),
        receive_ns=np.append(kept.receive_ns, np.zeros(more, np.int64)),
    )


@kernel
def _append(kept: Reordering, packets: Packets, fates: Fates) -> None:
    """Put the received packets behind the rows held."""
    held = int64(kept.progress[0].held)
    for row in range(len(packets.flow)):
        if fates.state[row] & RECEIVED:
            kept.flow[held] = packets.flow[row]
            kept.send_ns[held] = packets.send_ns[row]
            kept.receive_ns[held] = fates.receive_ns[row]
            held += 1
    kept.progress[0].held = held


@kernel
def _settled(receive_ns: NDArray[np.int64], begin: int, held: int, horizon_ns: int) -> int:
    """The first row from `begin` on that was received after the horizon."""
    row = begin
    while row < held and receive_ns[row] <= horizon_ns:
        row += 1
    return row


@kernel
def _involved(kept: Reordering, begin: int, stop: int, late: NDArray[np.bool_], involved: NDArray[np.bool_]) -> int:
    """Rows that are late (of `begin` to `stop`), and those that are late, overtake or lie between; how many are late.

    A row that neither is late nor overtakes has no place between an overtaker and the overtaken: were it received
    before the overtaken, it would overtake it or have been sent before it, and then be late itself.
    """
    flow, receive_ns, earliest_ns, latest_ns = kept.flow, kept.receive_ns, kept.earliest_ns, kept.latest_ns
    found = 0
    held = len(late)
    for row in range(held):
        own = flow[row]
        if receive_ns[row] < latest_ns[own]:
            involved[row] = True
        else:
            latest_ns[own] = receive_ns[row]
    # Backwards, the earliest reception of any later packet of the flow decides (RFC 4737 section 3.3).
    for row in range(held - 1, -1, -1):
        own = flow[row]
        if receive_ns[row] > earliest_ns[own]:
            involved[row] = True
            if begin <= row < stop:
                late[row] = True
                kept.late[own] += 1
                found += 1
        else:
            earliest_ns[own] = receive_ns[row]
    for row in range(held):
        earliest_ns[flow[row]] = _NEVER_NS
        latest_ns[flow[row]] = -_NEVER_NS
    return found


@allocating
def _extents(
    flow: NDArray[np.uint32], sent: NDArray[np.int64], late: NDArray[np.bool_], extents: NDArray[np.int64]
) -> None:
    """Extents of late rows (RFC 4737 section 4.2.1); rows by flow, then reception; `sent` is the place in send order.

    Of each flow only rows that are involved need be there: extents begin and end within a run of them.
    """
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
            low = int64(start)
            high = int64(row)
            while low < high:
                middle = (low + high) >> 1
                if highest[middle] > sent[row]:
                    high = middle
                else:
                    low = middle + 1
            extents[found] = row - low
            found += 1


@kernel
def _drop_counted(kept: Reordering, stop: int) -> None:
    """Keep the rows from `stop` on, and of those before only what lies within an extent that may still come."""
    progress = kept.progress[0]
    held = int64(progress.held)
    since_ns = kept.send_ns[stop] if stop < held else int64(_NEVER_NS)
    left = int64(0)
    counted = int64(0)
    for row in range(held):
        if row >= stop or kept.receive_ns[row] > since_ns:
            kept.flow[left] = kept.flow[row]
            kept.send_ns[left] = kept.send_ns[row]
            kept.receive_ns[left] = kept.receive_ns[row]
            left += 1
            counted += row < stop
    kept.progress[0].held = left
    kept.progress[0].left = left
    kept.progress[0].counted = counted


def _count(kept: Reordering) -> None:
    """Count the rows that are settled, and let go of those that no extent can need."""
    progress = kept.progress[0]
    held, counted = int(progress["held"]), int(progress["counted"])
    stop = _settled(kept.receive_ns, counted, held, int(progress["horizon_ns"]))
    late, involved = np.zeros(held, np.bool_), np.zeros(held, np.bool_)
    found = _involved(kept, counted, stop, late, involved)
    if found:
        rows = np.flatnonzero(involved)
        rows = rows[np.lexsort((kept.receive_ns[rows], kept.flow[rows]))]  # stable: equals stay in send order
        extents = np.empty(found, np.int64)
        _extents(kept.flow[rows], rows, late[rows], extents)
        record_all(kept.extents.counts, kept.extents.sums, extents, BITS)
        progress["displaced"] += int((extents >= _DISPLACED).sum())
    _drop_counted(kept, stop)


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
