"""A cell that advances piece by piece, and its packets on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell
from segcast.analyzer.engine.window import Window
from segcast.analyzer.metrics.accumulator import Accumulator
from segcast.analyzer.packets import DROPPED, MARKED, RECEIVED, Fates, Packets
from segcast.analyzer.schema import PACKET_FATES
from segcast.analyzer.traffic.streamed import Piece

PACKETS_WRITTEN: Final[dict[str, Any]] = {
    "use_dictionary": False,
    "column_encoding": {"send_ns": "DELTA_BINARY_PACKED", "frame_number": "DELTA_BINARY_PACKED"},
    "compression": "zstd",
}


def packet_table(
    packets: Packets, fates: Fates, file: NDArray[np.uint16], frame_number: NDArray[np.uint64]
) -> pa.Table:
    """PACKET_FATES of finished packets."""
    columns = {
        "file": file,
        "frame_number": frame_number,
        "flow_id": packets.flow,
        **fate_columns(packets, fates),
    }
    return pa.table(columns, schema=PACKET_FATES.arrow_schema())


def fate_columns(packets: Packets, fates: Fates) -> dict[str, Any]:
    """What became of finished packets, as columns of PACKET_FATES and of SENT_PACKETS."""
    return {
        "flowlet_id": fates.flowlet,
        "path_id": fates.path,
        "send_ns": packets.send_ns,
        "receive_ns": pa.array(fates.receive_ns, mask=(fates.state & RECEIVED) == 0),
        "queue_ns": fates.queue_ns,
        "ecn_marked": (fates.state & MARKED) > 0,
        "dropped": (fates.state & DROPPED) > 0,
    }


class HeldByParts(NamedTuple):
    """How many parts of a table are whole."""

    parts: int


class PartedTable:
    """A Parquet file that is written in parts where whoever writes it may be interrupted.

    In the end they are one, the same as if it had been written at once.
    """

    def __init__(self, file: Path, schema: pa.Schema, beside: Path | None) -> None:
        """`beside` is how names of parts begin; None: there are none."""
        self._file = file
        self._schema = schema
        self._beside = beside
        self._whole = 0
        self._writer: pq.ParquetWriter | None = None

    @property
    def identity(self) -> str:
        """Of its columns."""
        return str(self._schema)

    @property
    def held(self) -> HeldByParts:
        """What is written so far: ends a part."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._whole += 1
        return HeldByParts(self._whole)

    @held.setter
    def held(self, held: HeldByParts) -> None:
        self._whole = held.parts

    def write(self, table: pa.Table) -> None:
        """Write rows, which are a group of their own."""
        if self._writer is None:
            self._writer = self._new(self._part(self._whole))
        self._writer.write_table(table)

    def close(self) -> None:
        """Have the whole in one file."""
        if self._writer is None and not self._whole:
            self._writer = self._new(self._part(0))
        whole = self.held.parts
        if self._beside is not None and whole == 1:
            self._part(0).replace(self._file)
        elif self._beside is not None:
            with self._new(self._file) as joined:
                for number in range(whole):
                    part = pq.ParquetFile(self._part(number))
                    for group in range(part.num_row_groups):
                        joined.write_table(part.read_row_group(group).combine_chunks())
            for number in range(whole):
                self._part(number).unlink()

    def _new(self, file: Path) -> pq.ParquetWriter:
        return pq.ParquetWriter(file, self._schema, **PACKETS_WRITTEN)

    def _part(self, number: int) -> Path:
        return self._file if self._beside is None else self._beside.with_name(f"{self._beside.name}.{number}.packets")


class Running:
    """A cell that advances piece by piece: its window, its metrics, and its packets if they are kept in `file`.

    They are kept in send order, so those that finish early wait for the others in memory.
    """

    def __init__(self, cell: Cell, metrics: Accumulator, file: Path | None) -> None:
        self.window = Window(cell, in_order=file is not None)
        self.metrics = metrics
        schema = PACKET_FATES.arrow_schema()
        self._writer = None if file is None else pq.ParquetWriter(file, schema, **PACKETS_WRITTEN)
        self._file, self._frame_number = np.empty(0, np.uint16), np.empty(0, np.uint64)

    def feed(self, piece: Piece) -> None:
        """Send a piece."""
        if self._writer is not None:
            self._file = np.concatenate((self._file, piece.file))
            self._frame_number = np.concatenate((self._frame_number, piece.frame_number))
        finished = self.window.feed(piece.packets)
        self.metrics.sent(piece.packets, self.window.paths)
        self._take(*finished)

    def drain(self) -> None:
        """Run the cell to its end, after the last piece has been fed."""
        self._take(*self.window.drain())
        if self._writer is not None:
            self._writer.close()

    def _take(self, packets: Packets, fates: Fates) -> None:
        self.metrics.finished(packets, fates, self.window.awaited)
        count = len(packets.flow)
        if self._writer is not None and count:
            self._writer.write_table(packet_table(packets, fates, self._file[:count], self._frame_number[:count]))
            self._file, self._frame_number = self._file[count:], self._frame_number[count:]
