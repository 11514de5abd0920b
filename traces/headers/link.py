"""Finds the IP header of a frame behind its link-layer headers: one kernel reads the rows of `captures.linktypes`."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be16, be32
from segcast.traces.captures.linktypes import (
    ETHER_TYPE,
    FAMILY_AS_CAPTURED,
    FIRST_NIBBLE,
    GIVEN_TYPE,
    HDLC,
    LINK_TYPES,
    PPP,
    UNREAD,
)
from segcast.traces.jit import int64, kernel

IP_FOUND: Final = 0
ARP: Final = 1
LLDP: Final = 2
SLOW_PROTOCOLS: Final = 3
PTP: Final = 4
MACSEC: Final = 5
PPPOE_CONTROL: Final = 6
OTHER_ETHERTYPE: Final = 7
LLC: Final = 8
OTHER_MPLS: Final = 9
OTHER_FAMILY: Final = 10
LINK_TYPE: Final = 11
TRUNCATED: Final = 12
MALFORMED: Final = 13
OTHER_PAYLOAD: Final = 14
ENCRYPTED: Final = 15
FILTERED: Final = 16  # set by an ingest, not by decoding

REASONS: Final = (
    "ip",
    "arp",
    "lldp",
    "slow protocols",
    "ptp",
    "macsec",
    "ppp control",
    "other ethertype",
    "802.2 llc",
    "mpls without ip",
    "other address family",
    "unsupported link type",
    "truncated",
    "malformed",
    "other payload",
    "encrypted",
    "left out by the filter",
)
"""Names of the codes above: why a frame has no readable IP header, or is not looked at."""

LLC_FOLLOWS: Final = 64
PPPOE_FOLLOWS: Final = 65

FAMILIES: Final = {2: 4, 10: 6, 23: 6, 24: 6, 28: 6, 30: 6}
"""IP versions of address families: AF_INET, and AF_INET6 as systems number it."""

_ROW: Final = np.dtype(
    [("how", "u1"), ("header_bytes", "u1"), ("type_at", "u1"), ("lengths", "u1"), ("kind", "u2"), ("versions", "u2")]
)


def _rows() -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]]:
    """The link types as rows, the first of which is UNREAD, and the row of each LINKTYPE_ value, uint8[65536]."""
    read = {value: link for value, link in LINK_TYPES.items() if link.how != UNREAD}
    rows, row_of = np.zeros(len(read) + 1, _ROW), np.zeros(1 << 16, np.uint8)
    for number, (value, link) in enumerate(read.items(), start=1):
        rows[number] = tuple(getattr(link, name) for name in _ROW.names or ())
        row_of[value] = number
    return rows, row_of


_ROWS, _ROW_OF = _rows()
_VERSION_OF_FAMILY: Final = np.array([FAMILIES.get(family, 0) for family in range(256)], np.uint8)


@kernel
def _after_protocol(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """As `after_type`, of an uncompressed PPP protocol field (RFC 1661 section 2)."""
    if end - at < 2:
        return -1, 0, TRUNCATED
    protocol = be16(data, at)
    if protocol == 0x0021:
        return at + 2, 4, IP_FOUND
    if protocol == 0x0057:
        return at + 2, 6, IP_FOUND
    return -1, 0, PPPOE_CONTROL


@kernel
def after_ppp(data: Bytes, at: int, end: int) -> tuple[int, int, int]:
    """As `after_type`, of a PPP frame, whose address and control may be compressed away (RFC 1662 section 3.1)."""
    if end - at >= 2 and be16(data, at) == 0xFF03:
        at += 2
    return _after_protocol(data, at, end)


@kernel
def announced(data: Bytes, at: int, end: int, kind: int, ethernet: bool) -> tuple[int, int, int]:
    """What an EtherType `kind` announces at `at`, looking through VLAN tags and MPLS labels.

    (place, IP version, code): code is IP_FOUND, a reason, or LLC_FOLLOWS or PPPOE_FOLLOWS with the place of that
    header; OTHER_MPLS comes with the place after the labels. `ethernet` says that values up to 1500 are 802.3 lengths
    (IEEE 802.3 section 3.2.6).
    """
    while kind == 0x8100 or kind == 0x88A8 or kind == 0x9100:
        if end - at < 4:
            return -1, 0, TRUNCATED
        kind = be16(data, at + 2)
        at += 4
        ethernet = True
    if kind == 0x0800:
        return at, 4, IP_FOUND
    if kind == 0x86DD:
        return at, 6, IP_FOUND
    if kind == 0x8847 or kind == 0x8848:  # RFC 3032: the payload's type shows in its first nibble
        while True:
            if end - at < 4:
                return -1, 0, TRUNCATED
            bottom = be32(data, at) & 0x100
            at += 4
            if bottom != 0:
                break
        if end - at < 1:
            return -1, 0, TRUNCATED
        version: Word = np.int64(data[at]) >> 4
        if version == 4 or version == 6:
            return at, version, IP_FOUND
        return at, 0, OTHER_MPLS
    if kind <= 1500 and ethernet:
        return at, 0, LLC_FOLLOWS
    if kind == 0x8864:
        return at, 0, PPPOE_FOLLOWS
    if kind == 0x0806:
        return -1, 0, ARP
    if kind == 0x88CC:
        return -1, 0, LLDP
    if kind == 0x8809:
        return -1, 0, SLOW_PROTOCOLS
    if kind == 0x88F7:
        return -1, 0, PTP
    if kind == 0x88E5:
        return -1, 0, MACSEC
    if kind == 0x8863:
        return -1, 0, PPPOE_CONTROL
    return -1, 0, OTHER_ETHERTYPE


@kernel
def after_type(data: Bytes, at: int, end: int, kind: int, ethernet: bool) -> tuple[int, int, int]:
    """As `announced`, and behind 802.2 headers with SNAP (IEEE 802; RFC 1042) and PPPoE (RFC 2516 section 4).

    Behind SNAP, OTHER_MPLS comes without a place.
    """
    place, version, code = announced(data, at, end, kind, ethernet)
    while code == LLC_FOLLOWS:
        if end - place < 3:
            return -1, 0, TRUNCATED
        if data[place] != 0xAA or data[place + 1] != 0xAA:
            return -1, 0, LLC
        if end - place < 8:
            return -1, 0, TRUNCATED
        if data[place + 2] != 3 or data[place + 3] != 0 or be16(data, place + 4) != 0:  # UI; EtherTypes
            return -1, 0, LLC
        place, version, code = announced(data, place + 8, end, be16(data, place + 6), False)
        if code == OTHER_MPLS:
            return -1, 0, OTHER_MPLS
    if code == PPPOE_FOLLOWS:
        if end - place < 6:
            return -1, 0, TRUNCATED
        if be16(data, place) != 0x1100:  # version 1, type 1, code 0
            return -1, 0, PPPOE_CONTROL
        return _after_protocol(data, place + 6, end)
    return place, version, code


@kernel
def locate(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    linktype: npt.NDArray[np.uint16],
    place: npt.NDArray[np.int32],
    version: npt.NDArray[np.uint8],
    code: npt.NDArray[np.uint8],
) -> None:
    """For each frame the place of its IP header (from the frame's start) and version, or why there is none.

    Writes `place` int32[n], `version` uint8[n], `code` uint8[n]. With OTHER_MPLS, `place` is that of what the labels
    carry.
    """
    for i in range(start.size):
        begin: Word = start[i]
        end: Word = begin + np.int64(captured[i])
        link = _ROWS[_ROW_OF[linktype[i]]]
        how, after = link["how"], begin + int64(link["header_bytes"])
        at, ip, why = -1, 0, LINK_TYPE
        if how == UNREAD:
            pass
        elif how == PPP:
            at, ip, why = after_ppp(data, after, end)
        elif end < after or (how == FIRST_NIBBLE and end == begin):
            why = TRUNCATED
        elif how == ETHER_TYPE:
            kind = be16(data, begin + int64(link["type_at"]))
            if kind == 0x0800:
                at, ip, why = after, 4, IP_FOUND
            else:
                at, ip, why = after_type(data, after, end, kind, link["lengths"] != 0)
        elif how == FIRST_NIBBLE:
            nibble: Word = np.int64(data[begin]) >> 4
            if int64(link["versions"]) >> nibble & 1:
                at, ip, why = begin, nibble, IP_FOUND
            else:
                why = MALFORMED
        elif how == GIVEN_TYPE:
            at, ip, why = after_type(data, after, end, int64(link["kind"]), False)
        elif how == HDLC:
            if data[begin] == 0x0F or data[begin] == 0x8F:
                at, ip, why = after_type(data, after, end, be16(data, begin + int64(link["type_at"])), False)
            else:
                at, ip, why = after_ppp(data, begin, end)
        else:
            family = be32(data, begin)
            if how == FAMILY_AS_CAPTURED and family & 0xFFFFFF == 0:
                family >>= 24  # the capturing host was little-endian
            ip = int64(_VERSION_OF_FAMILY[family]) if family < 256 else 0
            why = OTHER_FAMILY
            if ip != 0:
                at, why = after, IP_FOUND
        place[i] = at - begin if at >= 0 else -1
        version[i] = ip
        code[i] = why
