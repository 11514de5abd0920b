"""What MPLS labels carry, which nothing announces: IP, if all of its header agrees with the frame, or another.

RFC 3032 (labels), RFC 4928 and 8469 (a first nibble of 4 or 6 proves nothing), RFC 4448 (Ethernet pseudowires).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from segcast.traces.byteorder import Bytes, Word, be16, be32
from segcast.traces.jit import int64, kernel
from segcast.traces.reasons import IP_FOUND, OTHER_MPLS, TRUNCATED

ANYWHERE: Final = 1 << 62
"""Where a frame stops that may stop anywhere."""

_TRAILER_BYTES: Final = 32  # padding, a checksum or times of a switch behind a packet

_IPV6_FOLLOWERS: Final = np.zeros(256, np.bool_)
"""Next headers that IPv6 packets have in practice."""
_IPV6_FOLLOWERS[[0, 4, 6, 17, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 88, 89, 97, 103, 108, 112, 115]] = True
_IPV6_FOLLOWERS[[132, 135, 136, 137, 139, 140, 143]] = True


@kernel
def is_ipv4(data: Bytes, at: Word, end: int, stop: int) -> bool:
    """Whether the header at `at` is whole, its checksum is right, and its length fits what is there."""
    size = (int64(data[at]) & 15) * 4
    if end - at < 20 or data[at] >> 4 != 4 or size < 20 or end - at < size:
        return False
    total = be16(data, at + 2)
    if total != 0 and (total < size or at + total > stop):  # 0: a card had yet to cut it
        return False
    added = int64(0)
    for word in range(0, size, 2):
        added += int64(be16(data, at + word))
    while added > 0xFFFF:
        added = (added & 0xFFFF) + (added >> 16)
    return added == 0xFFFF


@kernel
def is_ipv6(data: Bytes, at: Word, end: int, stop: int) -> bool:
    """Whether the header at `at` is whole, its next header likely, and its length what is there, but for a trailer."""
    if end - at < 40 or data[at] >> 4 != 6 or not _IPV6_FOLLOWERS[data[at + 6]]:
        return False
    after = int64(at) + 40 + int64(be16(data, at + 4))
    there = end if stop == ANYWHERE else stop
    return after <= stop and there - after <= _TRAILER_BYTES


@kernel
def is_frame(data: Bytes, at: Word, end: int, stop: int) -> bool:
    """Whether Ethernet at `at` leads, at most over VLAN tags, to an IP header of the right version that fits."""
    at += 12
    while end - at >= 22:
        kind = be16(data, at)
        at += 2
        if kind == 0x0800:
            size, total = (int64(data[at]) & 15) * 4, int64(be16(data, at + 2))
            fits = (total == 0 or total >= size) and int64(at) + total <= stop
            return int64(data[at]) >> 4 == 4 and size >= 20 and fits
        if kind == 0x86DD:
            return int64(data[at]) >> 4 == 6 and int64(at) + 40 + int64(be16(data, at + 4)) <= stop
        if kind != 0x8100 and kind != 0x88A8 and kind != 0x9100:
            break
        at += 2
    return False


@kernel
def wire_place(data: Bytes, at: Word, end: int, stop: int) -> int:
    """Where the Ethernet frame of a pseudowire at `at` begins, after a control word or at once; -1: it is none."""
    if end - at >= 2 and be16(data, at) == 0 and is_frame(data, at + 4, end, stop):
        return int64(at) + 4
    if end - at >= 1 and data[at] >> 4 != 1 and is_frame(data, at, end, stop):  # 1: associated channel (RFC 4385)
        return int64(at)
    return -1


@kernel
def after_labels(data: Bytes, at: Word, end: int, stop: int) -> tuple[int, int, int]:
    """(place, IP version, code) of what the label stack at `at` carries; the place also with OTHER_MPLS."""
    while True:
        if end - at < 4:
            return -1, 0, TRUNCATED
        bottom = be32(data, at) & 0x100
        at += 4
        if bottom != 0:
            break
    if end - at < 1:
        return -1, 0, TRUNCATED
    version = int64(data[at]) >> 4
    if version == 4 or version == 6:
        if end - at < (20 if version == 4 else 40) and stop > end:
            return -1, 0, TRUNCATED
        if version == 4 and is_ipv4(data, at, end, stop):
            return at, 4, IP_FOUND
        if version == 6 and wire_place(data, at, end, stop) < 0 and is_ipv6(data, at, end, stop):
            return at, 6, IP_FOUND
    return at, 0, OTHER_MPLS
