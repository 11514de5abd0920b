"""Keeps the segment lists of SRv6 packets: each distinct list once, numbered in order of its first packet.

A list is that of the first segment routing header (RFC 8754 section 2) of the outermost IPv6 header, in order of
travel; a reduced one whose first segment is still ahead (Segments Left = Last Entry + 1, section 4.1.1) begins with the
destination address.
"""

from __future__ import annotations

import secrets
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segcast.traces.addresses import address_texts
from segcast.traces.byteorder import Bytes, Word, be64
from segcast.traces.hashing import finalise
from segcast.traces.headers.ip import HAS_SEGMENTS, HAS_SRH, Headers, any_valid
from segcast.traces.jit import allocating, kernel
from segcast.traces.schema import SEGMENT_LISTS

MOST_SEGMENTS: Final = 1 << 22  # of all distinct lists: 64 MiB; packets with further lists get no id
_LONGEST: Final = 128  # 127 fit a header, and the destination
_FIRST_LISTS: Final = 1 << 8

TRUNCATED_SRH: Final = 0
MALFORMED_SRH: Final = 1
TOO_MANY: Final = 2
SRH_REASONS: Final = ("truncated", "malformed", "too many distinct lists")


class SegmentTable(NamedTuple):
    """c lists: `slots` uint64[2c], upper half of the hash and id + 1, 0 if empty; `first` int64[c + 1]: where each list
    begins in `pool` uint64[p, 2]; `control` uint64[2]: lists in use, seed; `counts` int64[3] by SRH_REASONS.
    """

    slots: npt.NDArray[np.uint64]
    first: npt.NDArray[np.int64]
    pool: npt.NDArray[np.uint64]
    control: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.int64]


@kernel
def _routing_header(data: Bytes, at: Word, end: int) -> Word:
    """Place of the first segment routing header behind the IPv6 header at `at`; there is one."""
    protocol = data[at + 6]
    at += 40
    while end - at >= 3:
        if protocol == 43 and data[at + 2] == 4:
            return at
        units: Word = np.int64(data[at + 1])
        size = (units + 2) * 4 if protocol == 51 else (8 if protocol == 44 else (units + 1) * 8)
        protocol = data[at]
        at += size
    return at


@kernel
def _hash(seed: np.uint64, segments: npt.NDArray[np.uint64], count: int) -> np.uint64:
    h = finalise(seed ^ np.uint64(count))
    for k in range(count):
        h = finalise(finalise(h ^ segments[k, 0]) ^ segments[k, 1])
    return h


@allocating
def intern(
    table: SegmentTable,
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    headers: Headers,
    rows: npt.NDArray[np.int64],
    begin: int,
    most: int,
) -> int:
    """Write `segment_list_id` of `rows` (which have an SRH) from the begin-th on; the one reached.

    It is short of their number if the table or its pool is full: the caller then grows it and goes on from there.
    """
    segments = np.empty((_LONGEST, 2), np.uint64)
    slots, first, pool = table.slots, table.first, table.pool
    mask = np.uint64(slots.size - 1)
    for k in range(begin, rows.size):
        i = rows[k]
        ip = start[i] + np.int64(headers.ip_start[i])
        end = min(start[i] + np.int64(captured[i]), ip + np.int64(headers.ip_bytes[i]))
        at = _routing_header(data, ip, end)
        if end - at < 8:
            table.counts[TRUNCATED_SRH] += 1
            continue
        left, count = np.int64(data[at + 3]), np.int64(data[at + 4]) + 1
        if 2 * count > np.int64(data[at + 1]) or left > count:
            table.counts[MALFORMED_SRH] += 1
            continue
        if end - at < 8 + 16 * count:
            table.counts[TRUNCATED_SRH] += 1
            continue
        size = 0
        if left == count:
            segments[0, 0], segments[0, 1] = headers.dst_high[i], headers.dst_low[i]
            size = 1
        for n in range(count - 1, -1, -1):
            segments[size, 0] = be64(data, at + 8 + 16 * n)
            segments[size, 1] = be64(data, at + 16 + 16 * n)
            size += 1
        h = _hash(table.control[1], segments, size)
        slot = h & mask
        while slots[slot] != 0:
            entry = slots[slot]
            if entry >> np.uint64(32) == h >> np.uint64(32):
                known = np.int64(entry & np.uint64(0xFFFFFFFF)) - 1
                base = first[known]
                same = first[known + 1] - base == size
                n = 0
                while same and n < size:
                    same = pool[base + n, 0] == segments[n, 0] and pool[base + n, 1] == segments[n, 1]
                    n += 1
                if same:
                    break
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == 0:
            new = np.int64(table.control[0])
            base = first[new]
            if base + size > most:
                table.counts[TOO_MANY] += 1
                continue
            if new + 1 == first.size or base + size > pool.shape[0]:
                return k
            for n in range(size):
                pool[base + n, 0], pool[base + n, 1] = segments[n, 0], segments[n, 1]
            first[new + 1] = base + size
            slots[slot] = (h & np.uint64(0xFFFFFFFF00000000)) | np.uint64(new + 1)
            table.control[0] = np.uint64(new + 1)
        headers.segment_list_id[i] = (slots[slot] & np.uint64(0xFFFFFFFF)) - np.uint64(1)
        headers.valid[i] |= HAS_SEGMENTS
    return rows.size


@kernel
def _rehash(table: SegmentTable, slots: npt.NDArray[np.uint64]) -> None:
    """Fill empty `slots` with the lists of `table`."""
    mask = np.uint64(slots.size - 1)
    for known in range(np.int64(table.control[0])):
        base, stop = table.first[known], table.first[known + 1]
        h = _hash(table.control[1], table.pool[base:stop], stop - base)
        slot = h & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = (h & np.uint64(0xFFFFFFFF00000000)) | np.uint64(known + 1)


class SegmentLists:
    """The distinct segment lists of a trace so far."""

    def __init__(self, most: int = MOST_SEGMENTS, seed: int | None = None) -> None:
        """None yet; at most `most` segments in all. The seed is drawn unless given; it changes nothing visible."""
        self._most = most
        self.table_now = SegmentTable(
            np.zeros(2 * _FIRST_LISTS, np.uint64),
            np.zeros(_FIRST_LISTS + 1, np.int64),
            np.zeros((_FIRST_LISTS * 4, 2), np.uint64),
            np.array([0, secrets.randbits(64) if seed is None else seed], np.uint64),
            np.zeros(len(SRH_REASONS), np.int64),
        )

    def __len__(self) -> int:
        """Number of lists."""
        return int(self.table_now.control[0])

    def add(
        self, data: Bytes, start: npt.NDArray[np.int64], captured: npt.NDArray[np.uint32], headers: Headers
    ) -> None:
        """Take frames whose outermost headers were decoded: writes `segment_list_id`, 0 where there is none."""
        headers.segment_list_id.fill(0)
        if not any_valid(headers.valid) & HAS_SRH:
            return
        rows = np.flatnonzero(headers.valid & HAS_SRH)
        reached = 0
        while reached < len(rows):
            reached = intern(self.table_now, data, start, captured, headers, rows, reached, self._most)
            if reached < len(rows):
                self._grow()

    def counts(self) -> dict[str, int]:
        """Headers whose list was not kept, by reason."""
        return {name: int(n) for name, n in zip(SRH_REASONS, self.table_now.counts, strict=True) if n}

    def _grow(self) -> None:
        old = self.table_now
        lists = len(old.first) - 1
        slots = np.zeros(4 * lists, np.uint64)
        _rehash(old, slots)
        first, pool = np.zeros(2 * lists + 1, np.int64), np.zeros((2 * len(old.pool) + _LONGEST, 2), np.uint64)
        first[: lists + 1], pool[: len(old.pool)] = old.first, old.pool
        self.table_now = SegmentTable(slots, first, pool, old.control, old.counts)

    def table(self) -> pa.Table:
        """The `segment_lists` table."""
        count = len(self)
        first = self.table_now.first[: count + 1]
        pool = self.table_now.pool[: first[-1]]
        texts = address_texts(np.full(len(pool), 6, np.uint8), pool[:, 0], pool[:, 1])
        lists = pa.ListArray.from_arrays(pa.array(first.astype(np.int32)), texts)
        ids = pa.array(np.arange(count, dtype=np.uint32))
        columns = [ids, lists.cast(SEGMENT_LISTS.columns[1].type)]
        return pa.table(columns, schema=SEGMENT_LISTS.arrow_schema())
