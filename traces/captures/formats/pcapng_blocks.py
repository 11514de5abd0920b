"""The framing kernel of pcapng, and what it knows of a section."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, u16, u32
from segcast.traces.captures.formats.pcapng_clocks import nanoseconds
from segcast.traces.captures.framing import (
    BAD_BLOCK_LENGTH,
    BAD_CAPTURED,
    BAD_INTERFACE,
    BAD_TRAILER,
    FULL,
    INTERFACE,
    JOINED,
    MAX_BLOCK,
    MAX_CAPTURED,
    MORE,
    SECTION,
    STATISTICS,
    TOO_LONG,
    FrameColumns,
    file_begins,
)
from segcast.traces.jit import kernel

MOST_DROPS: Final = 1 << 62


class Interfaces(NamedTuple):
    """The interfaces of the current pcapng section; a timestamp is exact integers of `10**-n` or `2**-n` seconds.

    mode 0: multiply by `factor` (10**9 / units); mode 1: divide by `factor` (units / 10**9);
    mode 2: units of 2**-`factor` seconds.
    """

    linktype: npt.NDArray[np.uint16]
    snaplen: npt.NDArray[np.int64]
    mode: npt.NDArray[np.uint8]
    factor: npt.NDArray[np.uint64]
    offset_s: npt.NDArray[np.int64]


SECTION_STATE: Final = np.dtype(
    [
        ("big_endian", np.int64),
        ("interfaces", np.int64),  # described so far
        ("skip_bytes", np.int64),  # still to come of a block that is skipped, its trailing length left out
        ("skipped_block_bytes", np.int64),  # length of that block until its trailing length is seen, else 0
        ("skipped_at", np.int64),  # file offset of that block
        ("whole_blocks", np.int64),  # 1: blocks to skip must be whole in the buffer, or of known kinds if too long
        ("packets_lost", np.int64),  # before others, as packet blocks say
        ("odd", np.int64),  # set to 1 where a packet's length on the wire is below the captured
    ]
)
"""What is known of a pcapng section between two calls of `frame_pcapng`."""


@kernel
def frame_pcapng(
    data: Bytes,
    position: int,
    end: int,
    base: int,
    section: npt.NDArray[Any],
    interfaces: Interfaces,
    out: FrameColumns,
) -> tuple[int, int, int]:
    """Blocks of a pcapng section in `data[position:end]`; (rows, position reached, status).

    `section` is one row of SECTION_STATE, kept between calls.
    """
    big = section[0].big_endian != 0
    count = section[0].interfaces
    row = 0
    while row < out.start.size:
        if section[0].skipped_block_bytes != 0:  # inside a block that is skipped
            step = min(section[0].skip_bytes, end - position)
            position += step
            section[0].skip_bytes -= step
            if section[0].skip_bytes > 0 or end - position < 4:
                return row, position, MORE
            if u32(data, position, big) != section[0].skipped_block_bytes:
                return row, position, BAD_TRAILER
            position += 4
            section[0].skipped_block_bytes = 0
        if end - position < 12:
            return row, position, MORE
        kind = u32(data, position, big)
        if kind == 0x0A0D0D0A:
            return row, position, SECTION
        if kind == 1:
            return row, position, INTERFACE
        length = u32(data, position + 4, big)
        if kind > 0x01000000 and file_begins(data, position):
            return row, position, JOINED
        if length < 12 or length % 4 != 0:
            return row, position, BAD_BLOCK_LENGTH
        if kind == 5 and length <= MAX_BLOCK:
            return row, position, STATISTICS
        if kind != 6 and kind != 3 and kind != 2:
            if section[0].whole_blocks != 0:
                if length <= MAX_BLOCK:
                    if end - position < length:
                        return row, position, MORE
                    if u32(data, position + length - 4, big) != length:
                        return row, position, BAD_TRAILER
                    position += length
                    continue
                if (kind == 0 or kind > 10) and kind != 0xBAD and kind != 0x40000BAD:
                    return row, position, BAD_BLOCK_LENGTH
            section[0].skipped_at = base + position
            section[0].skipped_block_bytes = length
            section[0].skip_bytes = length - 12
            position += 8
            continue
        fixed = 16 if kind == 3 else 32
        if length < fixed or length > MAX_BLOCK:
            return row, position, BAD_BLOCK_LENGTH
        if end - position < length:
            return row, position, MORE
        if u32(data, position + length - 4, big) != length:
            return row, position, BAD_TRAILER
        interface: Word = np.int64(0)
        if kind == 6:
            interface = u32(data, position + 8, big)
        elif kind == 2:
            interface = u16(data, position + 8, big)
        if interface >= count:
            return row, position, BAD_INTERFACE
        if kind == 3:  # simple packet block: no interface, no time
            wire = u32(data, position + 8, big)
            captured = wire
            if interfaces.snaplen[0] != 0:
                captured = min(captured, interfaces.snaplen[0])
            out.time_ns[row] = 0
            out.start[row] = position + 12
        else:
            captured = u32(data, position + 20, big)
            wire = u32(data, position + 24, big)
            out.time_ns[row] = nanoseconds(
                u32(data, position + 12, big),
                u32(data, position + 16, big),
                interfaces.mode[interface],
                interfaces.factor[interface],
                interfaces.offset_s[interface],
            )
            out.start[row] = position + 28
        if captured > MAX_CAPTURED:
            return row, position, TOO_LONG
        if captured > length - fixed:
            return row, position, BAD_CAPTURED
        if kind == 2:
            lost = u16(data, position + 10, big)
            if lost != 0xFFFF:
                section[0].packets_lost += lost
        elif kind == 6 and captured + 3 < length - fixed - 4:  # options: code and length, value, padding
            option, stop = position + 28 + (captured + 3) // 4 * 4, position + length - 4
            while stop - option >= 4:
                code, size = u16(data, option, big), u16(data, option + 2, big)
                if code == 0 or stop - option - 4 < size:
                    break
                if code == 4 and size == 8:
                    high, low = u32(data, option + 4 + 4 * (not big), big), u32(data, option + 4 + 4 * big, big)
                    section[0].packets_lost = min(
                        MOST_DROPS, section[0].packets_lost + (min(high, 0x3FFFFFFF) << 32 | low)
                    )
                option += 4 + (size + 3) // 4 * 4
        if captured > wire:
            section[0].odd = 1
        out.captured[row] = captured
        out.wire[row] = wire
        out.linktype[row] = interfaces.linktype[interface]
        out.file_offset[row] = base + position
        position += length
        row += 1
    return row, position, FULL
