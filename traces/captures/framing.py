"""Finds the records of a capture in a buffer: the framing kernels of classic pcap, pcapng and snoop.

Formats: draft-ietf-opsawg-pcap (classic pcap, with the record layout of the "modified" magic a1b2cd34),
draft-ietf-opsawg-pcapng and RFC 1761 (snoop). A kernel stops where it needs more bytes, where the rows are full, at a
block that Python parses (sections, interfaces, statistics), or at damage; it never allocates by a size it read.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be32, u16, u32
from segcast.traces.jit import kernel

MAX_CAPTURED: Final = 262_144  # as Wireshark: WTAP_MAX_PACKET_SIZE_STANDARD
MAX_BLOCK: Final = 16 << 20  # as Wireshark; blocks that are only skipped may be longer

MORE: Final = 0  # the rest of the buffer is the beginning of a record
FULL: Final = 1  # no row is left
SECTION: Final = 2  # a section header block begins at the position
INTERFACE: Final = 3  # an interface description block begins at the position
TOO_LONG: Final = 4  # a record captured more than MAX_CAPTURED bytes
BAD_BLOCK_LENGTH: Final = 5
BAD_TRAILER: Final = 6
BAD_INTERFACE: Final = 7
BAD_CAPTURED: Final = 8  # more captured bytes than the block holds
STATISTICS: Final = 9  # an interface statistics block begins at the position
BAD_RECORD_LENGTH: Final = 10

MOST_DROPS: Final = 1 << 62

DAMAGE: Final[dict[int, str]] = {
    TOO_LONG: f"a packet claims more than {MAX_CAPTURED} captured bytes",
    BAD_BLOCK_LENGTH: "a block has an impossible length",
    BAD_TRAILER: "a block ends with another length than it begins with",
    BAD_INTERFACE: "a packet names an interface that was not described",
    BAD_CAPTURED: "a packet claims more captured bytes than its block holds",
    BAD_RECORD_LENGTH: "a record has an impossible length",
}


class FrameColumns(NamedTuple):
    """Preallocated rows of a batch, written by the framing kernels."""

    start: npt.NDArray[np.int64]
    captured: npt.NDArray[np.uint32]
    wire: npt.NDArray[np.uint32]
    time_ns: npt.NDArray[np.int64]
    linktype: npt.NDArray[np.uint16]
    file_offset: npt.NDArray[np.uint64]


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


@kernel
def frame_pcap(
    data: Bytes,
    position: int,
    end: int,
    base: int,
    layout: npt.NDArray[np.int64],
    out: FrameColumns,
) -> tuple[int, int, int]:
    """Records of a classic pcap in `data[position:end]`; (rows, position reached, status).

    layout int64[5]: big-endian, nanoseconds per fraction, record header bytes, link type, whether the two lengths
    may be (1) or are (2) swapped (versions 2.3 and before 2.3). `base` is the file offset of `data[0]`.
    """
    big = layout[0] != 0
    unit_ns, header, linktype, swapping = layout[1], layout[2], layout[3], layout[4]
    row = 0
    while row < out.start.size:
        if end - position < header:
            return row, position, MORE
        captured = u32(data, position + 8, big)
        wire = u32(data, position + 12, big)
        if swapping == 2 or (swapping == 1 and captured > wire):
            captured, wire = wire, captured
        if captured > MAX_CAPTURED:
            return row, position, TOO_LONG
        if end - position - header < captured:
            return row, position, MORE
        out.time_ns[row] = u32(data, position, big) * 1_000_000_000 + u32(data, position + 4, big) * unit_ns
        out.start[row] = position + header
        out.captured[row] = captured
        out.wire[row] = wire
        out.linktype[row] = linktype
        out.file_offset[row] = base + position
        position += header + captured
        row += 1
    return row, position, FULL


@kernel
def frame_snoop(
    data: Bytes,
    position: int,
    end: int,
    base: int,
    layout: npt.NDArray[np.int64],
    out: FrameColumns,
) -> tuple[int, int, int]:
    """Records of a snoop capture in `data[position:end]`; (rows, position reached, status).

    layout int64[2]: link type, and the cumulative drops of the last record, which is written.
    """
    row = 0
    while row < out.start.size:
        if end - position < 24:
            return row, position, MORE
        wire = be32(data, position)
        captured = be32(data, position + 4)
        length = be32(data, position + 8)
        if captured > MAX_CAPTURED:
            return row, position, TOO_LONG
        if length < 24 + captured or length > MAX_BLOCK:
            return row, position, BAD_RECORD_LENGTH
        if end - position < length:
            return row, position, MORE
        layout[1] = be32(data, position + 12)
        out.time_ns[row] = be32(data, position + 16) * 1_000_000_000 + be32(data, position + 20) * 1000
        out.start[row] = position + 24
        out.captured[row] = captured
        out.wire[row] = wire
        out.linktype[row] = layout[0]
        out.file_offset[row] = base + position
        position += length
        row += 1
    return row, position, FULL


@kernel
def _nanoseconds(high: int, low: int, mode: Word, factor: Word, offset_s: Word) -> Word:
    """Floor of a pcapng timestamp in nanoseconds, in 128 bits where needed; held at the ends of int64.

    In units of a nanosecond or coarser (powers of 10), 2**63 ticks or more do not fit and are read as negative: times
    before 1970, as some recorders write them.
    """
    billion = np.uint64(1_000_000_000)
    ticks = np.uint64(high) << np.uint64(32) | np.uint64(low)
    if mode == 1:  # finer than or equal to nanoseconds, powers of 10
        ticks //= factor
        seconds, rest = ticks // billion, ticks % billion
    elif mode == 0:
        units = billion // factor
        if ticks >> np.uint64(63):
            before = ~ticks  # ticks are -(before + 1)
            seconds, rest = before // units, before % units * factor + factor
            offset_s -= np.int64(seconds) + 1
            seconds, rest = np.uint64(0), billion - rest
        else:
            seconds, rest = ticks // units, ticks % units * factor
    else:
        if factor >= np.uint64(64):
            seconds, fraction = np.uint64(0), ticks
        else:
            seconds = ticks >> factor
            fraction = ticks & ((np.uint64(1) << factor) - np.uint64(1))
        # fraction * 10**9 as two 64-bit halves, then shifted right by `factor`
        mask = np.uint64(0xFFFFFFFF)
        low_product = (fraction & mask) * billion
        middle = (fraction >> np.uint64(32)) * billion + (low_product >> np.uint64(32))
        upper = middle >> np.uint64(32)
        lower = (middle & mask) << np.uint64(32) | (low_product & mask)
        if factor == np.uint64(0):
            rest = np.uint64(0)
        elif factor < np.uint64(64):
            rest = lower >> factor | upper << (np.uint64(64) - factor)
        elif factor < np.uint64(128):
            rest = upper >> (factor - np.uint64(64))
        else:
            rest = np.uint64(0)
    most = 9_223_372_036
    if seconds > np.uint64(1 << 62) or offset_s > (1 << 61) or np.int64(seconds) + offset_s >= most:
        return np.int64(9_223_372_036_854_775_807)
    if np.int64(seconds) + offset_s < -most:
        return np.int64(-9_223_372_036_854_775_807)
    return (np.int64(seconds) + offset_s) * 1_000_000_000 + np.int64(rest)


SECTION_STATE: Final = np.dtype(
    [
        ("big_endian", np.int64),
        ("interfaces", np.int64),  # described so far
        ("skip_bytes", np.int64),  # still to come of a block that is skipped, its trailing length left out
        ("skipped_block_bytes", np.int64),  # length of that block until its trailing length is seen, else 0
        ("skipped_at", np.int64),  # file offset of that block
        ("whole_blocks", np.int64),  # 1: blocks to skip must be whole in the buffer, or of known kinds if too long
        ("packets_lost", np.int64),  # before others, as packet blocks say
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
        if end - position < 8:
            return row, position, MORE
        kind = u32(data, position, big)
        if kind == 0x0A0D0D0A:
            return row, position, SECTION
        if kind == 1:
            return row, position, INTERFACE
        length = u32(data, position + 4, big)
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
            out.time_ns[row] = _nanoseconds(
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
        out.captured[row] = captured
        out.wire[row] = wire
        out.linktype[row] = interfaces.linktype[interface]
        out.file_offset[row] = base + position
        position += length
        row += 1
    return row, position, FULL
