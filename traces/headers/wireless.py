"""Reads 802.11 data frames, and the headers that capturing systems put before them, up to the 802.2 header.

IEEE 802.11-2020 section 9; radiotap.org; PPI and Prism as their makers describe them.
"""

from __future__ import annotations

from typing import Final

from segcast.traces import reasons as r
from segcast.traces.byteorder import Bytes, Word, be16, be32, le32, u16
from segcast.traces.headers.announced import stated_end, walk
from segcast.traces.headers.mpls import ANYWHERE
from segcast.traces.headers.tenants import Parts
from segcast.traces.jit import int64, kernel
from segcast.traces.linktypes import LENGTHS

FCS: Final = 1  # the frame ends with its checksum
BAD: Final = 2  # the checksum is wrong
PADDED: Final = 4  # the header is filled up to a multiple of 4

_SNAP_0: Final = 0xAAAA0300  # what nearly all data begins with
_MOST_SUBFRAMES: Final = 512


@kernel
def radiotap(data: Bytes, at: Word, end: int) -> tuple[int, int]:
    """(place of the 802.11 frame, its flags) behind a radiotap header; a place of -1 if it is not whole."""
    if end - at < 8:
        return -1, 0
    field = at + 4
    words = le32(data, field)
    timed = words & 1  # a time of 8 bytes comes first
    flagged = words & 2
    while words & 1 << 31:
        field += 4
        if end - field < 4:
            return -1, 0
        words = le32(data, field)
    field += 4
    flags = int64(0)
    if flagged:
        if timed:
            field += (at - field) % 8 + 8
        if field >= end:
            return -1, 0
        said = int64(data[field])
        flags = (FCS if said & 0x10 else 0) | (BAD if said & 0x40 else 0) | (PADDED if said & 0x20 else 0)
    return at + u16(data, at + 2, False), flags


@kernel
def ppi(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """(place of the frame, its flags, its link type) behind a per-packet information header; place -1 if not whole."""
    if end - at < 8:
        return -1, 0, 0
    after = at + u16(data, at + 2, False)
    flags = int64(0)
    field = at + 8
    while after - field >= 4 and end - field >= 14:
        if u16(data, field, False) == 2:  # 802.11 common: a time of 8 bytes, then flags
            said = u16(data, field + 12, False)
            flags = (FCS if said & 1 else 0) | (BAD if said & 4 else 0)
        field += 4 + u16(data, field + 2, False)
    return after, flags, le32(data, at + 4)


@kernel
def prism(data: Bytes, at: Word, end: int) -> int:
    """The place of the 802.11 frame behind a Prism header, or an AVS one (whose version is 0x8021100 and a digit)."""
    if end - at < 8:
        return -1
    if be32(data, at) >> 4 == 0x8021100:
        return at + be32(data, at + 4)  # type: ignore[no-any-return]
    little = le32(data, at + 4)
    return at + (little if little < 1 << 16 else be32(data, at + 4))  # type: ignore[no-any-return]


@kernel
def _begins_data(data: Bytes, at: Word, end: int) -> bool:
    return end - at >= 8 and int64(be32(data, at)) == _SNAP_0 and int64(data[at + 4]) == 0


@kernel
def header(data: Bytes, at: Word, end: int, flags: int, swapped: bool) -> tuple[int, int, bool]:
    """(place of what a data frame carries, LLC_FOLLOWS or a reason, whether it is an aggregate of several).

    `swapped` says that the two bytes of the frame control are, as in some tunnels.
    """
    if flags & BAD:
        return -1, r.WIFI_DAMAGED, False
    if end - at < 2:
        return -1, r.TRUNCATED, False
    kind, control = int64(data[at]), int64(data[at + 1])
    if swapped:
        kind, control = control, kind
    if kind & 3:
        return -1, r.MALFORMED, False  # another version
    if kind & 0x0C == 0:
        return -1, r.WIFI_MANAGEMENT, False
    if kind & 0x0C != 8:
        return -1, r.WIFI_CONTROL, False
    if kind & 0x40:
        return -1, r.WIFI_EMPTY, False
    size = 30 if control & 3 == 3 else 24  # between access points there are four addresses
    quality = kind & 0x80 != 0
    if end - at < size + (2 if quality else 0):
        return -1, r.TRUNCATED, False
    if data[at + 22] & 15:
        return -1, r.WIFI_FRAGMENT, False
    aggregate = False
    mesh = False
    if quality:
        aggregate = data[at + size] & 0x80 != 0
        mesh = data[at + size + 1] & 1 != 0
        size += 2
        if control & 0x80:  # HT control
            size += 4
    if flags & PADDED:
        size += -size % 4
    place = at + size
    if aggregate:
        return place, (r.WIFI_PROTECTED if control & 0x40 else r.LLC_FOLLOWS), True
    if not _begins_data(data, place, end):
        if _begins_data(data, place + 2, end):  # filled up all the same
            return place + 2, r.LLC_FOLLOWS, False
        if control & 0x40:
            if _begins_data(data, place + 8, end):  # decrypted by the card, which left the key's numbers
                return place + 8, r.LLC_FOLLOWS, False
            return -1, r.WIFI_PROTECTED, False
        if mesh and end - place >= 6:
            beyond = place + 6 + 6 * (int64(data[place]) & 3)
            if _begins_data(data, beyond, end):
                return beyond, r.LLC_FOLLOWS, False
    return place, r.LLC_FOLLOWS, False


@kernel
def find(
    data: Bytes, parts: Parts, at: Word, end: int, stop: int, flags: int, swapped: bool
) -> tuple[int, int, int, int]:
    """As `announced.walk`, of an 802.11 frame: of an aggregate (A-MSDU) the first packet."""
    place, what, aggregate = header(data, at, end, flags, swapped)
    if what != r.LLC_FOLLOWS:
        return -1, 0, what, 0
    if flags & FCS and stop != ANYWHERE:
        stop -= 4
        end = min(end, stop)
    if aggregate:
        if end - place < 14:
            return -1, 0, r.TRUNCATED, 0
        stop = min(stop, place + 14 + be16(data, place + 12))
        end = min(end, stop)
        place += 14
    place, version, code, detail = walk(data, parts, place, end, stop, r.LLC_FOLLOWS, 0, LENGTHS)
    if code == r.IP_FOUND and data[at + (0 if swapped else 1)] & 4:  # other frames have the rest
        detail = max(detail, stated_end(data, place, end, version))
    return place, version, code, detail


@kernel
def subframes_after_first(data: Bytes, at: Word, end: int, flags: int, swapped: bool) -> int:
    """How many packets an aggregate holds behind its first, as far as it was captured; 0 of any other frame."""
    place, what, aggregate = header(data, at, end, flags, swapped)
    if not aggregate or what != r.LLC_FOLLOWS:
        return 0
    count = -1
    while end - place >= 14 + (4 if flags & FCS else 0) and count < _MOST_SUBFRAMES:
        size = 14 + be16(data, place + 12)
        count += 1
        place += size + -size % 4
    return max(count, 0)


@kernel
def after_wifi(data: Bytes, parts: Parts, at: Word, end: int, swapped: bool) -> tuple[int, int, int]:
    """(place, IP version, code) of an 802.11 frame in a tunnel, as `announced.after_type`."""
    place, version, code, _ = find(data, parts, at, end, ANYWHERE, 0, swapped)
    return place, version, code
