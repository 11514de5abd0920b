"""Endace ERF: records with a time in 2**-32 s, a type, flags, their length, a loss counter and the length on the wire.

A file has no header, so records must follow each other plausibly for it to be taken for one. Layout: Endace's "ERF
types reference"; extension headers of eight bytes each follow the record header while the high bits say so.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be16, le32
from segcast.traces.captures.datalinks import ERF_LINKTYPES
from segcast.traces.captures.formats.flat import ERF, Flat, Need
from segcast.traces.captures.framing import BAD_RECORD_LENGTH, FULL, MORE, FrameColumns, new_layout
from segcast.traces.jit import int64, kernel
from segcast.traces.linktypes import ERF_OTHER

_RECORD_HEADER: Final = 16
_HEAD_BYTES: Final = 1 << 18  # looked at to recognise it, longer than three records
_RECOGNISED: Final = 3  # records in a row
_PAD: Final = 48  # a record that fills room
_META: Final = 27  # a record that tells of the others
_WEEK_S: Final = 7 * 24 * 3600


def _tables() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Of each type: the link type, bytes between the headers and the frame, whether it counts what was lost."""
    linktype = (ERF_OTHER + np.arange(128)).astype(np.uint16)
    before = np.zeros(128, np.uint8)
    for kind, (link, skipped) in ERF_LINKTYPES.items():
        linktype[kind], before[kind] = link, skipped
    counts = np.isin(np.arange(128), (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 18, 21, 22, 23))
    return linktype, before, counts


_LINKTYPE, _BEFORE, _COUNTS = _tables()


def recognise(need: Need) -> Flat | None:
    """The capture, if it begins with plausible records: three of them, or all that there are."""
    head = np.frombuffer(need(_HEAD_BYTES), np.uint8)
    at, number, last_s = 0, 0, None
    while number < _RECOGNISED and at < len(head):
        if len(head) - at < _RECORD_HEADER:
            return None
        seconds, _, captured, wire, length = (int(value) for value in erf_record(head, at, len(head)))
        kind = int(head[at + 8]) & 0x7F
        if length == 0 or not (kind in ERF_LINKTYPES or kind in (_META, _PAD)) or (number == 0 and kind == _PAD):
            return None
        if kind != _PAD:
            if last_s is not None and not -1 <= seconds - last_s <= _WEEK_S:
                return None
            if seconds == 0 or (kind != _META and not 0 < captured <= wire):
                return None
            last_s = seconds
        number += 1
        at += length
    if number == 0 or (at > len(head) and number < 2):
        return None
    layout = new_layout(ERF, unit_ns=1, header_bytes=_RECORD_HEADER)
    return Flat("erf", 0, 0, 1.0, layout, frame_erf)


@kernel
def erf_record(data: Bytes, at: int, end: int) -> tuple[Word, Word, Word, Word, Word]:
    """Seconds, fraction in nanoseconds, captured and wire bytes, and length (0: not plausible) of the record at `at`.

    The headers before the frame are not looked at beyond `end`.
    """
    length, wire = be16(data, at + 10), be16(data, at + 14)
    before = _bytes_before(data, at, end)
    fraction = min(np.int64(999_999_999), _rounded_ns(data, at))
    if length < before:
        return le32(data, at + 4), fraction, np.int64(0), wire, np.int64(0)
    captured = np.int64(length - before)
    kind = data[at + 8] & 0x7F
    if kind in (_META, _PAD):
        wire = captured
    return le32(data, at + 4), fraction, min(captured, np.int64(wire)), wire, length


@kernel
def _rounded_ns(data: Bytes, at: int) -> Word:
    """The fraction of the second of the record at `at`, in nanoseconds."""
    return (le32(data, at) * 1_000_000_000 + (1 << 31)) >> 32


@kernel
def _bytes_before(data: Bytes, at: int, end: int) -> Word:
    """Bytes of a record before its frame: its header, extension headers, and what the type puts there."""
    before = np.int64(_RECORD_HEADER)
    more = data[at + 8] & 0x80
    while more != 0 and at + before < end:
        more = data[at + before] & 0x80
        before += 8
    return before + _BEFORE[data[at + 8] & 0x7F]


@kernel
def frame_erf(
    data: Bytes,
    position: int,
    end: int,
    base: int,
    layout: npt.NDArray[Any],
    out: FrameColumns,
) -> tuple[int, int, int]:
    """Records of an ERF capture in `data[position:end]`; (rows, position reached, status).

    `layout` is one row of LAYOUT, whose `odd` is set where a loss counter is not 0. Records that fill room are no rows.
    """
    row = 0
    while row < out.start.size:
        if end - position < _RECORD_HEADER:
            return row, position, MORE
        length = be16(data, position + 10)
        if length < _RECORD_HEADER:
            return row, position, BAD_RECORD_LENGTH
        if end - position < length:
            return row, position, MORE
        kind = data[position + 8] & 0x7F
        if kind == _PAD:
            position += length
            continue
        seconds, _, captured, wire, whole = erf_record(data, position, position + length)
        if whole == 0:
            return row, position, BAD_RECORD_LENGTH
        if _COUNTS[kind] and be16(data, position + 12) != 0:
            layout[0].odd = 1
        out.time_ns[row] = seconds * 1_000_000_000 + _rounded_ns(data, position)
        out.start[row] = position + _bytes_before(data, position, position + length)
        out.captured[row] = captured
        out.wire[row] = wire
        out.linktype[row] = _LINKTYPE[kind]
        out.file_offset[row] = base + position
        position += length
        row += 1
    return row, position, FULL


@kernel
def count_lost(data: Bytes, base: int, count: int, out: FrameColumns) -> int:
    """Packets lost between these rows and those before them, as their loss counters say."""
    lost: Word = 0
    at: Word
    for row in range(count):
        at = np.int64(out.file_offset[row]) - base
        if _COUNTS[data[at + 8] & 0x7F]:
            lost += be16(data, at + 12)
    return int64(lost)
