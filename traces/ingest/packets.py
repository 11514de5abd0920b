"""Packets on their way to disk: gathered in reused arrays, followed by a thread, written by another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from segcast.traces.captures.reader import BATCH_FRAMES
from segcast.traces.headers.ip import (
    HAS_FRAGMENT,
    HAS_ID,
    HAS_IP,
    HAS_PAYLOAD,
    HAS_SEGMENTS,
    HAS_TCP,
    Headers,
    allocate,
)
from segcast.traces.ingest.merge import MergedBatch
from segcast.traces.schema import PACKETS

GROUP_ROWS: Final = 1 << 17
PART_ROWS: Final = 1 << 24
_CHUNKS: Final = 4
_PLAIN: Final = (  # differences of these cost more time than they save room; the other columns pack well, and quickly
    "tcp_seq",
    "tcp_ack",
    "flow_id",
    "wire_bytes",
    "captured_bytes",
    "ip_bytes",
    "payload_bytes",
)
_REPETITIVE: Final = (  # of these a general compression is as small, and quicker than differences
    "file",
    "tcp_flags",
    "tcp_window",
    "tos",
    "tcp_marks",
    "split",
)
_DIFFERENCES: Final = "DELTA_BINARY_PACKED"
_WHOLE_GROUP_BYTES: Final = 8 << 20  # a column of a row group is one page, written at once

_DTYPES: Final = {  # by hand: pyarrow before 26 needs pandas to say so
    pa.uint8(): np.uint8,
    pa.uint16(): np.uint16,
    pa.uint32(): np.uint32,
    pa.uint64(): np.uint64,
    pa.int64(): np.int64,
}

_VALIDITY: Final = {
    "flow_id": HAS_IP,
    "ip_bytes": HAS_IP,
    "payload_bytes": HAS_PAYLOAD,
    "tcp_seq": HAS_TCP,
    "tcp_ack": HAS_TCP,
    "tcp_flags": HAS_TCP,
    "tcp_window": HAS_TCP,
    "ip_id": HAS_ID,
    "tos": HAS_IP,
    "fragment_offset": HAS_FRAGMENT,
    "segment_list_id": HAS_SEGMENTS,
    "tcp_marks": HAS_TCP,
}


class Chunk:
    """Arrays for at least GROUP_ROWS rows of the packets table; `rows` of them are filled.

    Of these the first `followed` have their flows. `mss` is what the packets announce, as `tcp.announced_mss` read it.
    """

    def __init__(self) -> None:
        """Allocate; nothing is filled."""
        capacity = GROUP_ROWS + BATCH_FRAMES
        self.rows = self.followed = 0
        self.mss = np.zeros(capacity, np.uint16)
        self.headers = allocate(capacity)
        self.columns: dict[str, npt.NDArray[Any]] = {
            c.name: getattr(self.headers, c.name) if c.name in Headers._fields else np.zeros(capacity, _DTYPES[c.type])
            for c in PACKETS.columns
        }

    @property
    def full(self) -> bool:
        """Whether the rows make a row group; until then there is room for one more batch."""
        return self.rows >= GROUP_ROWS

    @property
    def room(self) -> int:
        """Rows that can still be filled."""
        return len(self.headers.valid) - self.rows

    def reserve(self, rows: int) -> ReservedRows:
        """The next `rows` rows, to be filled and committed before others are reserved."""
        headers = Headers._make(column[self.rows : self.rows + rows] for column in self.headers)
        return ReservedRows(self, self.rows, headers)

    def arrow(self) -> pa.RecordBatch:
        """The filled rows; the arrays are shared, so they must stay as they are while the result lives."""
        valid = self.headers.valid[: self.rows]
        bitmaps: dict[int, pa.Buffer | None] = {}
        for bit in set(_VALIDITY.values()):
            present = (valid & bit) != 0
            bitmaps[bit] = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
        arrays = [
            pa.Array.from_buffers(
                column.type,
                self.rows,
                [
                    bitmaps[_VALIDITY[column.name]] if column.nullable else None,
                    pa.py_buffer(self.columns[column.name][: self.rows]),
                ],
            )
            for column in PACKETS.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=PACKETS.arrow_schema())


@dataclass
class ReservedRows:
    """Rows of `chunk` from `begin` on: first their `headers`, views of it, are filled, then the rows are committed."""

    chunk: Chunk
    begin: int
    headers: Headers

    def keep(self, kept: npt.NDArray[np.int64]) -> None:
        """Move the rows `kept`, which ascend, to the front, and give the others back."""
        for column in self.headers:
            column[: len(kept)] = column[kept]
        self.headers = Headers._make(column[: len(kept)] for column in self.headers)

    def commit(self, batch: MergedBatch) -> dict[str, npt.NDArray[Any]]:
        """Count the rows as filled, with what the captures say about their frames; views of their columns by name."""
        frames, chunk = batch.frames, self.chunk
        assert chunk.rows == self.begin and len(frames.start) == len(self.headers.valid)
        chunk.rows += len(frames.start)
        columns = {name: column[self.begin : chunk.rows] for name, column in chunk.columns.items()}
        columns["file"][:] = batch.file
        columns["frame_number"][:] = batch.frame_number
        columns["file_offset"][:] = frames.file_offset
        columns["time_ns"][:] = frames.time_ns
        columns["wire_bytes"][:] = frames.wire
        columns["captured_bytes"][:] = frames.captured
        columns["split"][:] = 0
        return columns

    def withdraw(self) -> None:
        """Count the rows, which were the last committed, as free again."""
        assert self.chunk.rows == self.begin + len(self.headers.valid)
        self.chunk.rows = self.begin


class PacketWriter:
    """Writes chunks to `folder/part-NNNNN.parquet`, in order, after `follow` has given them what is still missing.

    Each of the two has a thread, so that this goes on while further chunks are filled.
    """

    def __init__(self, folder: Path, follow: Callable[[Chunk], None], parts: Iterable[dict[str, Any]] = ()) -> None:
        """Start the threads; `folder` exists, and holds `parts`, which are whole."""
        self.parts: list[dict[str, Any]] = list(parts)
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        self._error: BaseException | None = None
        self._free: queue.Queue[Chunk] = queue.Queue()
        self._follow = follow
        self._filled: queue.Queue[Chunk | threading.Event | None] = queue.Queue()
        self._full: queue.Queue[Chunk | threading.Event | None] = queue.Queue()
        for _ in range(_CHUNKS):
            self._free.put(Chunk())
        self._threads = [
            threading.Thread(target=self._follow_all, name="segcast-follow", daemon=True),
            threading.Thread(target=self._work, name="segcast-write", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def chunk(self) -> Chunk:
        """An empty chunk, once one is free; raises what a thread ran into."""
        chunk = self._free.get()
        if self._error is not None:
            raise self._error
        chunk.rows = chunk.followed = 0
        return chunk

    def put(self, chunk: Chunk) -> None:
        """Have a chunk followed and written; it comes back by `chunk`."""
        self._filled.put(chunk)

    def settle(self) -> None:
        """Wait until every chunk put is followed; raises what a thread ran into."""
        self._filled.join()
        if self._error is not None:
            raise self._error

    def end_part(self) -> None:
        """Wait until everything is written and the part is whole; raises what a thread ran into."""
        whole = threading.Event()
        self._filled.put(whole)
        whole.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Wait until everything is written; raises what a thread ran into."""
        self._filled.put(None)
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _follow_all(self) -> None:
        while (item := self._filled.get()) is not None:
            if isinstance(item, Chunk) and self._error is None:
                try:
                    self._follow(item)
                except BaseException as error:
                    self._error = error
            self._full.put(item)
            self._filled.task_done()
        self._full.put(None)

    def _work(self) -> None:
        try:
            while (item := self._full.get()) is not None:
                if self._error is None:
                    try:
                        if isinstance(item, Chunk):
                            self._write(item)
                        else:
                            self._end()
                    except BaseException as error:
                        self._error = error
                if isinstance(item, Chunk):
                    self._free.put(item)
                else:
                    item.set()
            if self._error is None and not self.parts:
                self._open()
        finally:
            if self._writer is not None:
                self._writer.close()

    def _write(self, chunk: Chunk) -> None:
        if chunk.rows == 0:
            return
        if self._writer is None or self.parts[-1]["rows"] >= PART_ROWS:
            self._open()
        assert self._writer is not None
        self._writer.write_batch(chunk.arrow())
        self.parts[-1]["rows"] += chunk.rows

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None

    def _open(self) -> None:
        self._end()
        names = PACKETS.names()
        name = f"part-{len(self.parts):05}.parquet"
        self.parts.append({"name": name, "rows": 0})
        self._writer = pq.ParquetWriter(
            self._folder / name,
            PACKETS.arrow_schema(),
            use_dictionary=False,
            column_encoding={name: "PLAIN" if name in _PLAIN + _REPETITIVE else _DIFFERENCES for name in names},
            compression={name: "zstd" if name in _REPETITIVE else "none" for name in names},
            compression_level=dict.fromkeys(_REPETITIVE, 1),
            write_statistics=["time_ns"],
            write_batch_size=GROUP_ROWS + BATCH_FRAMES,
            data_page_size=_WHOLE_GROUP_BYTES,
        )
