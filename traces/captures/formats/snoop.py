"""Snoop captures of version 2 (RFC 1761)."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be32
from segcast.traces.captures.datalinks import SNOOP_LINKTYPES
from segcast.traces.captures.formats.flat import SNOOP, Flat, Need
from segcast.traces.captures.framing import (
    BAD_RECORD_LENGTH,
    FULL,
    JOINED,
    MAX_BLOCK,
    MAX_CAPTURED,
    MORE,
    TOO_LONG,
    FrameColumns,
    file_begins,
    new_layout,
)
from segcast.traces.jit import kernel
from segcast.traces.linktypes import SNOOP_OTHER

FILE_HEADER: Final = 16
_RECORD_HEADER: Final = 24
_MOST_PADDING: Final = 255


def recognise(need: Need) -> Flat | None:
    """The capture, if it begins with the header of version 2."""
    head = need(FILE_HEADER)
    if not head.startswith(b"snoop\0\0\0\0\0\0\2") or len(head) < FILE_HEADER:
        return None
    (datalink,) = struct.unpack_from(">I", head, 12)
    linktype = SNOOP_LINKTYPES.get(datalink, SNOOP_OTHER + min(datalink, 0xFF))
    layout = new_layout(SNOOP, unit_ns=1000, header_bytes=_RECORD_HEADER, big_endian=1, linktype=linktype)
    return Flat("snoop", FILE_HEADER, 0, 1000.0, layout, frame_snoop)


@kernel
def snoop_record(data: Bytes, at: int) -> tuple[Word, Word, Word, Word, Word]:
    """Seconds, fraction in ns, captured and wire bytes, and length (0: not plausible) of the record at `at`."""
    wire, captured, length = be32(data, at), be32(data, at + 4), be32(data, at + 8)
    if length < _RECORD_HEADER + captured or length > _RECORD_HEADER + captured + _MOST_PADDING:
        length = np.int64(0)
    return be32(data, at + 16), be32(data, at + 20) * 1000, captured, wire, length


@kernel
def frame_snoop(
    data: Bytes,
    position: int,
    end: int,
    base: int,
    layout: npt.NDArray[Any],
    out: FrameColumns,
) -> tuple[int, int, int]:
    """Records of a snoop capture in `data[position:end]`; (rows, position reached, status).

    `layout` is one row of LAYOUT; the drops there become those of the last record, which are cumulative.
    """
    row = 0
    while row < out.start.size:
        if end - position < 24:
            return row, position, MORE
        wire = be32(data, position)
        captured = be32(data, position + 4)
        length = be32(data, position + 8)
        if captured > MAX_CAPTURED:
            return row, position, JOINED if file_begins(data, position) else TOO_LONG
        if length < 24 + captured or length > MAX_BLOCK:
            return row, position, JOINED if file_begins(data, position) else BAD_RECORD_LENGTH
        if end - position < length:
            return row, position, MORE
        layout[0].drops = be32(data, position + 12)
        fraction = be32(data, position + 20)
        if captured > wire or fraction >= 1_000_000:
            layout[0].odd = 1
        out.time_ns[row] = be32(data, position + 16) * 1_000_000_000 + fraction * 1000
        out.start[row] = position + 24
        out.captured[row] = captured
        out.wire[row] = wire
        out.linktype[row] = layout[0].linktype
        out.file_offset[row] = base + position
        position += length
        row += 1
    return row, position, FULL
