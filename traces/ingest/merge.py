"""Merges captures by time while they stream: one table in order of time, however many files it was captured to.

Each capture keeps its own order, steps back of its clock included; among captures the frame with the smallest time goes
first, of equal times that of the first file (mergecap: of the last). A capture is opened when its first time is reached
and closed at its end, so that of a rotation set about two are open at a time. Where one is alone its batches pass
through uncopied; where several overlap their frames are copied to a buffer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.captures.reader import BATCH_FRAMES, BUFFER_BYTES, CaptureReader, FrameBatch
from segcast.traces.errors import DamagedCapture, InputError
from segcast.traces.ingest.inputs import Head
from segcast.traces.ingest.interleave import DUE, Merged, Windows, before, interleave, new_merged, new_windows, place

MOST_OPEN: Final = 256
WINDOW_ROWS: Final = 1 << 12
MERGED_ROWS: Final = 1 << 16
MERGED_BYTES: Final = 8 << 20
_LEAST_BUFFER_BYTES: Final = 256 << 10
_NEVER: Final = (1 << 63) - 1

OpenCapture = Callable[[int, int, int], CaptureReader]
"""Opens the capture with this `file`, with buffers of so many bytes and batches of so many frames."""


class MergedBatch(NamedTuple):
    """Frames in the order of the trace; `frames.frame_number` counts only where `files` is one.

    `file` uint16[n] and `frame_number` uint64[n] say where each was captured; `files` are those that occur.
    """

    frames: FrameBatch
    file: npt.NDArray[np.uint16]
    frame_number: npt.NDArray[np.uint64]
    files: tuple[int, ...]


class Ended(NamedTuple):
    """A capture has ended, and all its frames were handed out; `alone` if no other one is open."""

    file: int
    reader: CaptureReader
    alone: bool


class _Open:
    """A capture that is being read. Of its `batch` the rows from `row` on are still to come, or in its window `slot`.

    The first `copied` rows of that window are in the merged buffer.
    """

    def __init__(self, file: int, reader: CaptureReader) -> None:
        self.file = file
        self.reader = reader
        self.batch: FrameBatch | None = None
        self.row = 0
        self.slot = -1
        self.copied = 0

    def refill(self) -> bool:
        """Take the next batch; False at the end, or where the capture breaks off."""
        self.batch, self.row = None, 0
        with suppress(DamagedCapture):  # the reader keeps it
            self.batch = next(self.reader, None)
        return self.batch is not None

    @property
    def rows_left(self) -> int:
        """Rows of the batch from `row` on."""
        return 0 if self.batch is None else len(self.batch.start) - self.row


class Merge:
    """Iterates over the frames of captures in order of time; says when each has ended. A context manager."""

    def __init__(
        self,
        heads: Sequence[Head],
        open_capture: OpenCapture,
        *,
        done: Collection[int] = (),
        rows: int = MERGED_ROWS,
        buffer_bytes: int = MERGED_BYTES,
        window_rows: int = WINDOW_ROWS,
        most_open: int = MOST_OPEN,
    ) -> None:
        """Merge `heads`, which `file` numbers, but for those in `done`. Merged batches have at most `rows` rows."""
        self._heads = heads
        self._open_capture = open_capture
        self._waiting = deque(sorted((head.first_ns, n) for n, head in enumerate(heads) if n not in done))
        self._open: list[_Open] = []
        self._ended: list[_Open] = []
        self._ended_bytes = 0
        self._rows = rows
        self._buffer_bytes = buffer_bytes
        self._most_open = most_open
        self._windows = new_windows(0, window_rows)
        self._free_slots: list[int] = []
        self._merged: Merged | None = None
        self._steps = self._iterate()

    def __iter__(self) -> Iterator[MergedBatch | Ended]:
        """The merge is its own iterator."""
        return self

    def __next__(self) -> MergedBatch | Ended:
        """The next batch, or the end of a capture; the arrays of the batch before are overwritten."""
        return next(self._steps)

    def __enter__(self) -> Merge:
        """As a context manager every capture is closed on the way out."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close what is open."""
        self._steps.close()
        for one in self._open:
            one.reader.close()

    @property
    def bytes_read(self) -> int:
        """Bytes read of all captures as stored."""
        return self._ended_bytes + sum(one.reader.bytes_read for one in self._open)

    def _iterate(self) -> Generator[MergedBatch | Ended, None, None]:
        while self._open or self._waiting:
            if not self._open:
                self._start_next()
            elif len(self._open) == 1:
                yield from self._alone()
            else:
                yield from self._together()
            if len(self._open) < 2:
                yield from self._tell_ended()

    def _limit(self) -> tuple[int, int]:
        """The time at which the next capture is due, and its `file`."""
        return self._waiting[0] if self._waiting else (_NEVER, len(self._heads))

    def _start_next(self) -> _Open | None:
        """Open the capture that is due; None if it ends at once."""
        _, file = self._waiting.popleft()
        count = len(self._open) + 1
        if count > self._most_open:
            raise InputError(
                f"{self._heads[file].path}: more than {self._most_open} captures overlap in time here; merge some of "
                "them first (mergecap), or make several traces"
            )
        buffer_bytes = max(BUFFER_BYTES // count, _LEAST_BUFFER_BYTES)
        batch_frames = max(BATCH_FRAMES // count, WINDOW_ROWS)
        one = _Open(file, self._open_capture(file, buffer_bytes, batch_frames))
        self._open.append(one)
        if one.refill():
            return one
        self._end(one)
        return None

    def _end(self, one: _Open) -> None:
        one.reader.close()
        self._open.remove(one)
        self._ended.append(one)
        self._ended_bytes += one.reader.bytes_read
        if one.slot >= 0:
            self._free_slots.append(one.slot)

    def _tell_ended(self) -> Iterator[Ended]:
        """All frames of what has ended are handed out now."""
        while self._ended:
            one = self._ended.pop(0)
            yield Ended(one.file, one.reader, not self._open and not self._ended)

    def _alone(self) -> Iterator[MergedBatch]:
        """Hand out what the open capture's batch holds before the next capture is due; then take a step."""
        (one,) = self._open
        assert one.batch is not None
        limit_ns, limit_file = self._limit()
        begin = one.row
        one.row = before(one.batch.time_ns, begin, limit_ns, one.file < limit_file)
        if one.row > begin:
            yield _part(one.batch, one.file, begin, one.row)
        if one.rows_left:
            self._start_next()
        elif not one.refill():
            self._end(one)

    def _together(self) -> Iterator[MergedBatch | Ended]:
        """Merge until at most one capture is open."""
        if self._merged is None:
            self._merged = new_merged(self._rows, self._buffer_bytes)
        for one in self._open:
            if one.slot < 0:
                self._load(one)
        while len(self._open) > 1:
            slots = np.array([one.slot for one in self._open], np.int64)
            status = interleave(self._windows, slots, *self._limit(), self._merged, self._rows)
            if status >= 0:
                one = next(one for one in self._open if one.slot == status)
                self._copy(one)
                one.row += one.copied
                if one.rows_left or one.refill():
                    self._load(one)
                else:
                    self._end(one)
            elif status == DUE:
                new = self._start_next()
                if new is not None:
                    self._load(new)
            elif self._merged.fill[0]:
                yield from self._flush()
            else:  # a frame larger than the buffer
                windows = self._windows
                most = max(int(windows.captured[slot, windows.position[slot]]) for slot in slots)
                self._merged = self._merged._replace(data=np.empty(most, np.uint8))
        yield from self._flush()
        for one in self._open:
            one.row += int(self._windows.position[one.slot])
            self._free_slots.append(one.slot)
            one.slot = -1

    def _load(self, one: _Open) -> None:
        """Fill a capture's window with the next rows of its batch."""
        if one.slot < 0:
            if not self._free_slots:
                old = self._windows
                slots, rows = old.time_ns.shape
                self._windows = new_windows(2 * slots + 2, rows)
                for name in Windows._fields:
                    getattr(self._windows, name)[:slots] = getattr(old, name)
                self._free_slots = list(range(2 * slots + 1, slots - 1, -1))
            one.slot = self._free_slots.pop()
        batch, windows = one.batch, self._windows
        assert batch is not None
        count = min(one.rows_left, windows.time_ns.shape[1])
        windows.time_ns[one.slot, :count] = batch.time_ns[one.row : one.row + count]
        windows.captured[one.slot, :count] = batch.captured[one.row : one.row + count]
        windows.position[one.slot], windows.end[one.slot], windows.file[one.slot] = 0, count, one.file
        one.copied = 0

    def _copy(self, one: _Open) -> None:
        """Copy the frames of a capture's window that have merged rows and were not copied yet."""
        stop = int(self._windows.position[one.slot])
        assert one.batch is not None and self._merged is not None
        if stop > one.copied:
            at = self._windows.at[one.slot, one.copied : stop]
            place(one.batch, one.row + one.copied, at, one.file, self._merged)
            one.copied = stop

    def _flush(self) -> Iterator[MergedBatch | Ended]:
        """Hand out the merged rows, and say what has ended."""
        for one in self._open:
            self._copy(one)
        m = self._merged
        assert m is not None
        count = int(m.fill[0])
        m.fill[:] = 0
        if count:
            names = ("start", "captured", "wire", "time_ns", "linktype", "file_offset")
            frames = FrameBatch(data=m.data, frame_number=0, **{name: getattr(m, name)[:count] for name in names})
            files = tuple(np.flatnonzero(np.bincount(m.file[:count])).tolist())
            yield MergedBatch(frames, m.file[:count], m.frame_number[:count], files)
        yield from self._tell_ended()


def _part(batch: FrameBatch, file: int, begin: int, end: int) -> MergedBatch:
    """Rows [begin, end) of one capture's batch."""
    first = batch.frame_number + begin
    if end - begin < len(batch.start):
        names = ("start", "captured", "wire", "time_ns", "linktype", "file_offset")
        batch = batch._replace(frame_number=first, **{name: getattr(batch, name)[begin:end] for name in names})
    count = end - begin
    numbers = np.arange(first, first + count, dtype=np.uint64)
    return MergedBatch(batch, np.broadcast_to(np.uint16(file), count), numbers, (file,))
