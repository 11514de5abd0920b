"""The kernels that merge captures by time: which frame is next, in runs of one capture, and the copying of frames."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from traces.capture import FrameBatch
from traces.jit import int64, kernel
from traces.loads import Bytes

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
def _earlier(w: Windows, a: int, b: int) -> bool:
    x, y = w.time_ns[a, w.position[a]], w.time_ns[b, w.position[b]]
    return bool(x < y or (x == y and w.file[a] < w.file[b]))


@kernel
def _sift(w: Windows, heap: npt.NDArray[np.int64], at: int) -> None:
    """Move what is at `at` of a heap of window numbers down to its place."""
    while True:
        child = 2 * at + 1
        if child >= heap.size:
            return
        if child + 1 < heap.size and _earlier(w, heap[child + 1], heap[child]):
            child += 1
        if not _earlier(w, heap[child], heap[at]):
            return
        heap[at], heap[child] = heap[child], heap[at]
        at = child


@kernel
def interleave(
    w: Windows, heap: npt.NDArray[np.int64], limit_ns: int, limit_file: int, out: Merged, most_rows: int
) -> int:
    """Give the next frames of the windows named in `heap` (none of them empty) their merged rows and bytes.

    Stops where a window is used up: its number; where the rows or bytes are full: FULL; where the next frame is due at
    `limit_ns` or later and its file not before `limit_file` then: DUE. `heap` is left in some order.
    """
    for at in range(heap.size // 2 - 1, -1, -1):
        _sift(w, heap, at)
    rows, used = out.fill[0], out.fill[1]
    while True:
        top = heap[0]
        until_ns, until_file = limit_ns, limit_file
        for child in range(1, min(3, heap.size)):
            other = heap[child]
            time = w.time_ns[other, w.position[other]]
            if time < until_ns or (time == until_ns and w.file[other] < until_file):
                until_ns, until_file = time, w.file[other]
        row, end = w.position[top], w.end[top]
        first = row
        while row < end and rows < most_rows:
            time = w.time_ns[top, row]
            size = np.int64(w.captured[top, row])
            if time > until_ns or (time == until_ns and w.file[top] > until_file) or used + size > out.data.size:
                break
            w.at[top, row] = rows
            out.start[rows] = used
            used += size
            rows += 1
            row += 1
        w.position[top] = row
        out.fill[0], out.fill[1] = rows, used
        if row == end:
            return int64(top)
        if rows == most_rows or used + np.int64(w.captured[top, row]) > out.data.size:
            return FULL
        if row == first:  # not even one: what comes before is not among the windows
            return DUE
        _sift(w, heap, 0)


@kernel
def place(batch: FrameBatch, begin: int, at: npt.NDArray[np.int64], file: int, out: Merged) -> None:
    """Copy the frames of a batch from row `begin` on to the merged rows `at`, whose `start` is set."""
    for k in range(at.size):
        i, o = begin + k, at[k]
        size = np.int64(batch.captured[i])
        source, target = batch.start[i], out.start[o]
        for n in range(size):
            out.data[target + n] = batch.data[source + n]
        out.captured[o] = batch.captured[i]
        out.wire[o] = batch.wire[i]
        out.time_ns[o] = batch.time_ns[i]
        out.linktype[o] = batch.linktype[i]
        out.file_offset[o] = batch.file_offset[i]
        out.file[o] = file
        out.frame_number[o] = np.uint64(batch.frame_number) + np.uint64(i)


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
