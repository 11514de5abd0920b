"""The kernels that merge captures by time: which frame is next, in runs of one capture, and the copying of frames."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes
from segcast.traces.captures.reader import FrameBatch
from segcast.traces.jit import allocating, int64, kernel

FULL: Final = -1
DUE: Final = -2


class Windows(NamedTuple):
    """The next frames of k captures, w at most of each.

    `time_ns` int64[k, w], `captured` uint32[k, w]; `at` int64[k, w]: the merged rows they went to. `position`, `end`
    int64[k]: of those that are left; `file` int64[k].
    """

    time_ns: npt.NDArray[np.int64]
    captured: npt.NDArray[np.uint32]
    at: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    file: npt.NDArray[np.int64]


class Merged(NamedTuple):
    """Rows of a merged batch, as those of a `FrameBatch` and a `MergedBatch`; `fill` int64[2]: rows, bytes so far."""

    data: Bytes
    start: npt.NDArray[np.int64]
    captured: npt.NDArray[np.uint32]
    wire: npt.NDArray[np.uint32]
    time_ns: npt.NDArray[np.int64]
    linktype: npt.NDArray[np.uint16]
    file_offset: npt.NDArray[np.uint64]
    file: npt.NDArray[np.uint16]
    frame_number: npt.NDArray[np.uint64]
    fill: npt.NDArray[np.int64]


@kernel
def before(time_ns: npt.NDArray[np.int64], begin: int, limit_ns: int, ties: bool) -> int:
    """The first row from `begin` on that is not before `limit_ns`, or not at it if `ties` come first, too."""
    row = begin
    while row < time_ns.size and (time_ns[row] < limit_ns or (ties and time_ns[row] == limit_ns)):
        row += 1
    return row


@kernel
def _sift(heap: npt.NDArray[np.int64], next_ns: npt.NDArray[np.int64], file: npt.NDArray[np.int64], at: int) -> None:
    """Move what is at `at` of a heap of window numbers down to its place: by time, then by file."""
    moved = heap[at]
    time, number = next_ns[moved], file[moved]
    while True:
        child = 2 * at + 1
        if child >= heap.size:
            break
        least = heap[child]
        if child + 1 < heap.size:
            other = heap[child + 1]
            if next_ns[other] < next_ns[least] or (next_ns[other] == next_ns[least] and file[other] < file[least]):
                child, least = child + 1, other
        if time < next_ns[least] or (time == next_ns[least] and number < file[least]):
            break
        heap[at] = least
        at = child
    heap[at] = moved


@allocating
def interleave(
    w: Windows, heap: npt.NDArray[np.int64], limit_ns: int, limit_file: int, out: Merged, most_rows: int
) -> int:
    """Give the next frames of the windows named in `heap` (none of them empty) their merged rows and bytes.

    Stops where a window is used up: its number; where the rows or bytes are full: FULL; where the next frame is due at
    `limit_ns` or later and its file not before `limit_file` then: DUE. `heap` is left in some order.
    """
    time_ns, captured, place_at, position, files = w.time_ns, w.captured, w.at, w.position, w.file
    start, room = out.start, out.data.size
    next_ns = np.empty(position.size, np.int64)
    for slot in heap:
        next_ns[slot] = time_ns[slot, position[slot]]
    for at in range(heap.size // 2 - 1, -1, -1):
        _sift(heap, next_ns, files, at)
    rows, used = out.fill[0], out.fill[1]
    while True:
        top = heap[0]
        until_ns, until_file = int64(limit_ns), int64(limit_file)
        for child in range(1, min(3, heap.size)):
            other = heap[child]
            if next_ns[other] < until_ns or (next_ns[other] == until_ns and files[other] < until_file):
                until_ns, until_file = next_ns[other], files[other]
        row, end = position[top], w.end[top]
        first = row
        ties = files[top] < until_file
        while row < end and rows < most_rows:
            time = time_ns[top, row]
            size = np.int64(captured[top, row])
            if time > until_ns or (time == until_ns and not ties) or used + size > room:
                break
            place_at[top, row] = rows
            start[rows] = used
            used += size
            rows += 1
            row += 1
        position[top] = row
        out.fill[0], out.fill[1] = rows, used
        if row == end:
            return int64(top)
        if rows == most_rows or used + np.int64(captured[top, row]) > room:
            return FULL
        if row == first:  # not even one: what comes before is not among the windows
            return DUE
        next_ns[top] = time_ns[top, row]
        _sift(heap, next_ns, files, 0)


@kernel
def place(batch: FrameBatch, begin: int, at: npt.NDArray[np.int64], file: int, out: Merged) -> None:
    """Copy the frames of a batch from row `begin` on to the merged rows `at`, whose `start` is set."""
    source, data, out_start = batch.data, out.data, out.start
    starts, captured, wire, time_ns = batch.start, batch.captured, batch.wire, batch.time_ns
    number = np.uint64(batch.frame_number)
    for k in range(at.size):
        i, o = begin + k, at[k]
        size = np.int64(captured[i])
        here, there = starts[i], out_start[o]
        for n in range(size):
            data[there + n] = source[here + n]
        out.captured[o] = captured[i]
        out.wire[o] = wire[i]
        out.time_ns[o] = time_ns[i]
        out.linktype[o] = batch.linktype[i]
        out.file_offset[o] = batch.file_offset[i]
        out.file[o] = file
        out.frame_number[o] = number + np.uint64(i)


def new_windows(slots: int, rows: int) -> Windows:
    """Empty windows of so many captures and rows."""
    i8 = np.int64
    times, captured, at = np.empty((slots, rows), i8), np.empty((slots, rows), np.uint32), np.empty((slots, rows), i8)
    return Windows(times, captured, at, np.zeros(slots, i8), np.zeros(slots, i8), np.zeros(slots, i8))


def new_merged(rows: int, buffer_bytes: int) -> Merged:
    """Room for so many rows and bytes."""
    return Merged(
        data=np.empty(buffer_bytes, np.uint8),
        start=np.empty(rows, np.int64),
        captured=np.empty(rows, np.uint32),
        wire=np.empty(rows, np.uint32),
        time_ns=np.empty(rows, np.int64),
        linktype=np.empty(rows, np.uint16),
        file_offset=np.empty(rows, np.uint64),
        file=np.empty(rows, np.uint16),
        frame_number=np.empty(rows, np.uint64),
        fill=np.zeros(2, np.int64),
    )
