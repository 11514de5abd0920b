"""Classic pcap (draft-ietf-opsawg-pcap), and old dialects whose records have longer headers.

The "modified" magic a1b2cd34 says so; Red Hat 6.1 and Nokia wrote longer headers under the usual magic, SuSE 6.3 still
longer ones under the modified. Those are known by their first records alone.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, u32
from segcast.traces.captures.formats.flat import PCAP, Flat, Need
from segcast.traces.captures.framing import (
    FULL,
    JOINED,
    MAX_CAPTURED,
    MORE,
    TOO_LONG,
    FrameColumns,
    file_begins,
    is_pcap_magic,
    is_pcap_version,
    new_layout,
)
from segcast.traces.jit import kernel

FILE_HEADER: Final = 24
_MAGICS: Final[dict[int, int]] = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1, 0xA1B2CD34: 1000}
"""Nanoseconds of a fraction, by magic."""

_RECORD_HEADERS: Final[dict[int, dict[int, str]]] = {
    0xA1B2C3D4: {16: "pcap", 24: "Red Hat 6.1 pcap", 20: "Nokia pcap"},
    0xA1B23C4D: {16: "pcap"},
    0xA1B2CD34: {24: "modified pcap", 28: "SuSE 6.3 pcap"},
}
"""Bytes of a record header by magic: those of the format, then of dialects that say the same of themselves."""

_LOOKED_AT: Final = 4  # records that tell dialects apart
_WEEK_S: Final = 7 * 24 * 3600


def recognise(need: Need) -> Flat | None:
    """The capture, if it begins with one of the magics and a whole file header (section 4)."""
    head = need(FILE_HEADER)
    for order in ("<", ">"):
        (magic,) = struct.unpack_from(order + "I", head.ljust(4, b"\0"))
        if magic not in _MAGICS or len(head) < FILE_HEADER:
            continue
        unit_ns = _MAGICS[magic]
        major, minor, _, _, snaplen, network = struct.unpack_from(order + "HHiIII", head, 4)
        swapped = 0
        if (major, minor) < (2, 3) or major == 543:
            swapped = 2
        elif (major, minor) == (2, 3):
            swapped = 1
        layout = new_layout(
            PCAP,
            unit_ns=unit_ns,
            header_bytes=next(iter(_RECORD_HEADERS[magic])),
            snaplen=snaplen,
            big_endian=order == ">",
            linktype=network & 0xFFFF,  # above it: the length of a frame check sequence
            swapped_lengths=swapped,
        )
        _choose_dialect(need, layout, _RECORD_HEADERS[magic])
        return Flat("pcap", FILE_HEADER, snaplen, float(unit_ns), layout, frame_pcap)
    return None


def _choose_dialect(need: Need, layout: npt.NDArray[Any], dialects: Mapping[int, str]) -> None:
    """Take another record header than the first of `dialects` if the records contradict that, and fit the other."""
    if len(dialects) == 1:
        return
    for header_bytes in dialects:
        layout[0]["header_bytes"] = header_bytes
        contradicted, fits = _try(need, layout)
        if fits or (not contradicted and header_bytes == next(iter(dialects))):
            return
    layout[0]["header_bytes"] = next(iter(dialects))


def _try(need: Need, layout: npt.NDArray[Any]) -> tuple[bool, bool]:
    """Whether a header among the first records is impossible, and whether several follow each other soundly."""
    at, last_s = FILE_HEADER, None
    header_bytes = int(layout[0]["header_bytes"])
    for number in range(_LOOKED_AT):
        head = need(at + header_bytes)
        if len(head) == at and number > 1:
            return False, True
        if len(head) < at + header_bytes:
            return False, False
        data = np.frombuffer(head, np.uint8)
        seconds, fraction_ns, captured, wire, length = (int(value) for value in pcap_record(data, at, layout))
        if fraction_ns >= 1_000_000_000 or not 0 < captured <= min(wire, MAX_CAPTURED):
            return True, False
        if last_s is not None and abs(seconds - last_s) > _WEEK_S:
            return True, False
        last_s = seconds
        at += length
    return False, True


@kernel
def pcap_record(data: Bytes, at: int, layout: npt.NDArray[Any]) -> tuple[Word, Word, Word, Word, Word]:
    """Seconds, fraction in nanoseconds, captured and wire bytes, and length of the record at `at`."""
    big = layout[0].big_endian != 0
    captured, wire = u32(data, at + 8, big), u32(data, at + 12, big)
    if layout[0].swapped_lengths == 2 or (layout[0].swapped_lengths == 1 and captured > wire):
        captured, wire = wire, captured
    fraction = u32(data, at + 4, big) * layout[0].unit_ns
    return u32(data, at, big), fraction, captured, wire, layout[0].header_bytes + captured


@kernel
def frame_pcap(
    data: Bytes,
    position: int,
    end: int,
    base: int,
    layout: npt.NDArray[Any],
    out: FrameColumns,
) -> tuple[int, int, int]:
    """Records of a classic pcap in `data[position:end]`; (rows, position reached, status).

    `layout` is one row of LAYOUT, `base` the file offset of `data[0]`.
    """
    big = layout[0].big_endian != 0
    unit_ns, header = layout[0].unit_ns, layout[0].header_bytes
    linktype, swapping = layout[0].linktype, layout[0].swapped_lengths
    second = 1_000_000_000 // unit_ns  # in fractions
    row = 0
    while row < out.start.size:
        if end - position < header:
            return row, position, MORE
        seconds, fraction = u32(data, position, big), u32(data, position + 4, big)
        captured = u32(data, position + 8, big)
        wire = u32(data, position + 12, big)
        if swapping == 2 or (swapping == 1 and captured > wire):
            captured, wire = wire, captured
        if captured > MAX_CAPTURED:
            return row, position, JOINED if file_begins(data, position) else TOO_LONG
        if is_pcap_version(fraction) and is_pcap_magic(seconds):
            return row, position, JOINED
        if end - position - header < captured:
            return row, position, MORE
        if captured > wire or fraction >= second:
            if file_begins(data, position):
                return row, position, JOINED
            layout[0].odd = 1
        out.time_ns[row] = seconds * 1_000_000_000 + fraction * unit_ns
        out.start[row] = position + header
        out.captured[row] = captured
        out.wire[row] = wire
        out.linktype[row] = linktype
        out.file_offset[row] = base + position
        position += header + captured
        row += 1
    return row, position, FULL
