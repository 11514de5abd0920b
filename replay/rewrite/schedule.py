"""Joins a schedule, which is in send order, with its captures, which are read once, front to back."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segcast.traces.captures.reader import FrameBatch, read_frames
from segcast.traces.errors import InputError

_BUFFER_BYTES = 16 << 20  # so that a batch holds many packets of each of many hosts

COLUMNS = ("file", "frame_number", "flow_id", "path_id", "send_ns")


class Rows(NamedTuple):
    """Columns of a schedule, int64, in the order of file and frame; `rank` is the place in send order."""

    file: NDArray[np.int64]
    frame_number: NDArray[np.int64]
    flow: NDArray[np.int64]
    path: NDArray[np.int64]
    send_ns: NDArray[np.int64]
    rank: NDArray[np.int64]

    def part(self, first: int, stop: int) -> Rows:
        """Rows [first, stop)."""
        return Rows(*(column[first:stop] for column in self))


def read_order(schedule: pa.Table) -> Rows:
    """The schedule in the order of its captures; packets sent at one time keep the schedule's order.

    Raises InputError if a column is missing or holds nulls.
    """
    for name in COLUMNS:
        if name not in schedule.column_names:
            raise InputError(f"the schedule has no column {name}: give the packets of a forecast")
        if schedule.column(name).null_count:
            raise InputError(f"column {name} of the schedule holds nulls: give the packets of a forecast")
    file, frame, flow, path, send = (pc.cast(schedule.column(name), pa.int64()).to_numpy() for name in COLUMNS)
    order = np.lexsort((frame, file))
    rank = np.arange(len(send), dtype=np.int64)
    if np.any(send[1:] < send[:-1]):
        rank[np.argsort(send, kind="stable")] = np.arange(len(send))
    return Rows(*(np.ascontiguousarray(column[order]) for column in (file, frame, flow, path, send, rank)))


def unordered(rows: Rows, host: NDArray[np.int64], hosts: int) -> NDArray[np.bool_]:
    """Which hosts, bool[hosts], have packets read in another order than sent; `host` int64: by row."""
    order = np.argsort(host, kind="stable")
    sender, rank = host[order], rows.rank[order]
    late = (sender[1:] == sender[:-1]) & (rank[1:] < rank[:-1])
    found = np.zeros(hosts, np.bool_)
    found[sender[1:][late]] = True
    return found


def joined(
    rows: Rows, sources: Sequence[Path | str], resumed: Collection[int] = ()
) -> Iterator[tuple[Path | str, FrameBatch, Rows, NDArray[np.int64]]]:
    """Batches of frames with the rows that name their frames, and each row's place in the batch.

    A capture is read no further than its last frame wanted. `resumed` names those that the trace went on with after
    damage: so they are read again, since frames are numbered by what is read. Raises InputError if one ends before.
    """
    for file in np.unique(rows.file).tolist():
        if not 0 <= file < len(sources):
            raise InputError(f"the schedule names source file {file}, but the trace has {len(sources)}")
        first, stop = np.searchsorted(rows.file, [file, file + 1])
        mine = rows.part(int(first), int(stop))
        path = sources[file]
        at = 0
        if mine.frame_number[0] < 1:
            raise InputError(f"{path}: the schedule sends frame {mine.frame_number[0]}, but frames count from 1")
        with read_frames(path, _BUFFER_BYTES, keep_going=file in resumed) as batches:
            for batch in batches:
                number = batch.frame_number
                upto = int(np.searchsorted(mine.frame_number, number + len(batch.start)))
                if upto > at:
                    part = mine.part(at, upto)
                    yield path, batch, part, part.frame_number - number
                    at = upto
                if at == len(mine.frame_number):
                    break
        if at < len(mine.frame_number):
            raise InputError(
                f"{path}: has no frame {mine.frame_number[at]}, which the schedule sends: "
                "give the captures that the trace was made from"
            )
