"""Finds where a damaged capture goes on: the kernels that look for the next good record or block.

A classic pcap or snoop record has nothing to recognise it by, so several plausible ones must follow each other: lengths
within the snap length, not captured more than was on the wire, a fraction below a second, and times within a week. A
pcapng block must be of a known kind, repeat its length at its end, and lead to another. The header of another capture
is good by itself. Each byte offset is looked at once, at a bounded number of headers.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, u32
from segcast.traces.captures.formats.erf import erf_record
from segcast.traces.captures.formats.flat import ERF, SNOOP
from segcast.traces.captures.formats.pcap import pcap_record
from segcast.traces.captures.formats.snoop import snoop_record
from segcast.traces.captures.framing import MAX_BLOCK, MAX_CAPTURED, FrameColumns, file_begins
from segcast.traces.jit import kernel

FOUND: Final = 0
MORE: Final = 1  # whether something good begins at the position needs further bytes
NOTHING: Final = 2  # up to the end

_CHAIN: Final = 3
_WALK: Final = 16  # records that plain reading must find behind an odd one
_WALK_BYTES: Final = 8 << 20  # or so many bytes
_MANY_JUMPS: Final = 3  # of the clock, after which times say nothing
_WEEK_S: Final = 7 * 24 * 3600
_WEEK_NS: Final = _WEEK_S * 1_000_000_000
_MOST_WIRE: Final = 4 * MAX_CAPTURED


@kernel
def record(data: Bytes, at: int, layout: npt.NDArray[Any]) -> tuple[Word, Word, Word, Word, Word]:
    """Seconds, fraction in ns, captured and wire bytes, and length (0: not plausible) of the record at `at`."""
    if layout[0].kind == SNOOP:
        return snoop_record(data, at)
    if layout[0].kind == ERF:
        return erf_record(data, at, min(data.size, at + layout[0].header_bytes))
    return pcap_record(data, at, layout)


@kernel
def _joined(data: Bytes, at: int, layout: npt.NDArray[Any]) -> bool:
    """Whether another capture begins at `at`, behind records of a format whose framing tells it."""
    return bool(layout[0].kind != ERF and file_begins(data, at))


@kernel
def _length(data: Bytes, at: int, layout: npt.NDArray[Any], known: Word, near_s: Word) -> Word:
    """Length of the record at `at` if it is plausible, and within a week of `near_s` if that is known; else 0."""
    seconds, fraction_ns, captured, wire, length = record(data, at, layout)
    if known != 0 and abs(seconds - near_s) > _WEEK_S and layout[0].time_jumps < _MANY_JUMPS:
        return 0
    if layout[0].odd_lengths == 0 and (wire == 0 or captured > wire):
        return 0
    if wire > _MOST_WIRE or captured > layout[0].limit_bytes:
        return 0
    return length if fraction_ns < 1_000_000_000 or layout[0].odd_fractions != 0 else 0


@kernel
def _chain(data: Bytes, at: int, end: int, at_end: bool, layout: npt.NDArray[Any], known: Word, near_s: Word) -> int:
    """Whether plausible records follow each other from `at` on: FOUND, MORE or NOTHING."""
    for number in range(_CHAIN):
        if at >= end and at_end and number > 0:
            return FOUND if at == end or number > 1 else NOTHING
        if end - at < layout[0].header_bytes:
            if not at_end:
                return MORE
            return FOUND if number > 1 else NOTHING
        if number > 0 and _joined(data, at, layout):
            return FOUND
        length = _length(data, at, layout, known, near_s)
        if length == 0:
            return NOTHING
        known, near_s = np.int64(1), record(data, at, layout)[0]
        at += length
    return FOUND


@kernel
def _walk(data: Bytes, at: int, end: int, at_end: bool, layout: npt.NDArray[Any]) -> int:
    """Whether records follow each other from `at` on as plain reading takes them, odd or not: FOUND, MORE or NOTHING.

    Of an undamaged capture they always do, wherever one begins.
    """
    begin, whole = at, 0
    while whole < _WALK and at - begin < _WALK_BYTES:
        if end - at < layout[0].header_bytes:
            if not at_end:
                return MORE
            return FOUND if at == end or whole > 1 else NOTHING
        if file_begins(data, at):
            return FOUND
        seconds, fraction_ns, captured, wire, length = record(data, at, layout)
        if layout[0].kind == SNOOP:
            length = u32(data, at + 8, True)
        if (
            seconds == 0 and fraction_ns == 0 and captured == 0 and wire == 0 and layout[0].kind != ERF
        ):  # zeros: bytes that were never written
            return NOTHING
        if captured > MAX_CAPTURED or length < layout[0].header_bytes + captured or length > MAX_BLOCK:
            return NOTHING
        if end - at < length:
            if not at_end:
                return MORE
            return FOUND if whole > 1 and _length(data, at, layout, np.int64(0), np.int64(0)) != 0 else NOTHING
        at += length
        whole += 1
    return FOUND


@kernel
def next_record(
    data: Bytes, position: int, stop: int, end: int, at_end: bool, layout: npt.NDArray[Any]
) -> tuple[int, int]:
    """The first of `data[position:stop]` where good records or another capture begin, with `data[position:end]` to
    look at; (status, position). `at_end` says that the capture ends at `end`.
    """
    while position < stop:
        if end - position < layout[0].header_bytes:
            return (NOTHING if at_end else MORE), position
        if _joined(data, position, layout):
            return FOUND, position
        if _length(data, position, layout, layout[0].last_known, layout[0].last_s) != 0:
            status = _chain(data, position, end, at_end, layout, layout[0].last_known, layout[0].last_s)
            if status != NOTHING:
                return status, position
        position += 1
    return NOTHING, position


@kernel
def _quiet_rows(row: int, count: int, out: FrameColumns, layout: npt.NDArray[Any]) -> int:
    """The first row from `row` on that is not plausible by its columns alone, none being odd; else `count`."""
    limit, last_ns = layout[0].limit_bytes, layout[0].last_s * 1_000_000_000
    first = row
    while row < count:
        wire, time_ns = np.int64(out.wire[row]), out.time_ns[row]
        if wire == 0 or wire > _MOST_WIRE or np.int64(out.captured[row]) > limit or abs(time_ns - last_ns) > _WEEK_NS:
            break
        last_ns = time_ns
        row += 1
    if row > first:
        layout[0].last_s = last_ns // 1_000_000_000
    return row


@kernel
def good_rows(
    data: Bytes, base: int, end: int, at_end: bool, count: int, out: FrameColumns, layout: npt.NDArray[Any]
) -> tuple[int, int]:
    """How many of the first `count` rows of `out` can be believed, and what the next is: FOUND if there is none, MORE
    or NOTHING.

    An odd record is believed if good ones follow it, or begin with it (the clock was set), or if plain reading goes on
    behind it for a while. The last time, the most captured and what has proved odd but sound are written to `layout`.
    """
    at: Word
    after: Word
    row = 0
    while row < count:
        if layout[0].odd == 0 and layout[0].last_known != 0:
            row = _quiet_rows(row, count, out, layout)
            if row == count:
                break
        at = np.int64(out.file_offset[row]) - base
        seconds, fraction_ns, captured, wire, length = record(data, at, layout)
        if _length(data, at, layout, layout[0].last_known, layout[0].last_s) == 0:
            after = np.int64(out.start[row]) + np.int64(out.captured[row])
            if layout[0].kind == SNOOP:
                after = at + u32(data, at + 8, True)
            elif layout[0].kind == ERF:
                after = at + length
            status = _chain(data, at, end, at_end, layout, np.int64(0), np.int64(0))
            if status == NOTHING:
                status = _chain(data, after, end, at_end, layout, layout[0].last_known, layout[0].last_s)
                if status == FOUND:
                    row += 1
                    continue
            if status == NOTHING:
                status = _walk(data, at, end, at_end, layout)
                if status == FOUND:
                    layout[0].odd_fractions |= fraction_ns >= 1_000_000_000
                    layout[0].odd_lengths |= wire == 0 or captured > wire
                    far = layout[0].last_known != 0 and abs(seconds - layout[0].last_s) > _WEEK_S
                    layout[0].time_jumps += far
            if status != FOUND:
                return row, status
        layout[0].last_known = 1
        layout[0].last_s = seconds
        layout[0].limit_bytes = max(layout[0].limit_bytes, captured)
        row += 1
    return count, FOUND


@kernel
def _block(data: Bytes, at: int, end: int, big: bool) -> Word:
    """Length of the pcapng block whose first 12 bytes are at `at`, if it can be one; else 0."""
    kind = u32(data, at, big)
    if kind == 0x0A0D0D0A:
        magic = u32(data, at + 8, True)
        if magic != 0x1A2B3C4D and magic != 0x4D3C2B1A:
            return 0
        big = magic == 0x1A2B3C4D
    elif not (0 < kind <= 10 or kind == 0xBAD or kind == 0x40000BAD):
        return 0
    length = u32(data, at + 4, big)
    return length if 12 <= length <= MAX_BLOCK and length % 4 == 0 else 0


@kernel
def next_block(data: Bytes, position: int, end: int, at_end: bool, big: bool) -> tuple[int, int]:
    """The first of `data[position:end]` where good pcapng blocks begin, in a section of byte order `big` or at a
    section header, or another capture; (status, position).
    """
    while end - position >= 12:
        length = _block(data, position, end, big)
        if length != 0:
            after = position + length
            if after > end or (end - after < 12 and not at_end):
                if not at_end:
                    return MORE, position
            else:
                same = True
                for i in range(4):
                    same = same and data[after - 4 + i] == data[position + 4 + i]
                section = u32(data, position, big) == 0x0A0D0D0A
                order = u32(data, position + 8, True) == 0x1A2B3C4D if section else big
                if same and (end - after < 12 or _block(data, after, end, order) != 0 or file_begins(data, after)):
                    return FOUND, position
        elif u32(data, position, big) != 0x0A0D0D0A and file_begins(data, position):
            return FOUND, position
        position += 1
    return (NOTHING if at_end else MORE), position
