"""Finds the IP header of a frame behind its link-layer headers: one kernel reads the rows of `linktypes`."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces import linktypes as how
from segcast.traces import reasons as r
from segcast.traces.byteorder import Bytes, Word, be16, be32, le32, u16
from segcast.traces.headers import wireless
from segcast.traces.headers.announced import note_tag, stated_end, walk
from segcast.traces.headers.tenants import VLAN, Parts, TenantTable, number_of
from segcast.traces.jit import int64, kernel
from segcast.traces.linktypes import LENGTHS, LINK_TYPES, NO_LENGTHS

FAMILIES: Final = {2: 4, 10: 6, 23: 6, 24: 6, 26: 6, 28: 6, 30: 6}
"""IP versions of address families: AF_INET, and AF_INET6 as systems number it."""

_ROW: Final = np.dtype(
    [
        ("how", "u1"),
        ("header_bytes", "u1"),
        ("type_at", "u1"),
        ("numbers", "u1"),
        ("kind", "u2"),
        ("leads_to", "u1"),
        ("versions", "u2"),
    ]
)
_MOST_WRAPPED: Final = 4

HAS_NUMBER: Final = 1 << 16
"""In `Located.detail`: the rest is a number of 16 bits."""


def _rows() -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]]:
    """The link types as rows, the first of which is UNREAD, and the row of each LINKTYPE_ value, uint8[65536]."""
    read = {value: link for value, link in LINK_TYPES.items() if link.how != how.UNREAD}
    rows, row_of = np.zeros(len(read) + 1, _ROW), np.zeros(1 << 16, np.uint8)
    for number, (value, link) in enumerate(read.items(), start=1):
        rows[number] = tuple(getattr(link, name) for name in _ROW.names or ())
        row_of[value] = number
    return rows, row_of


_ROWS, _ROW_OF = _rows()
_VERSION_OF_FAMILY: Final = np.array([FAMILIES.get(family, 0) for family in range(256)], np.uint8)


class Located(NamedTuple):
    """Where n frames have their IP header: `place` int32 from the frame's start and `version` uint8, or a `code` uint8.

    With OTHER_MPLS, `place` is that of what the labels carry. `detail` uint32, given as zeros, gets HAS_NUMBER and the
    number of the reasons NUMBERED; and where a header on the way says that what is found stops elsewhere than the frame
    on the wire, how many bytes from the frame's start. `tenant` uint32: see `tenants`.
    `parts` uint64[MOST_PARTS + 1], of which the first is 0, is for the kernel's own use.
    """

    place: npt.NDArray[np.int32]
    version: npt.NDArray[np.uint8]
    code: npt.NDArray[np.uint8]
    detail: npt.NDArray[np.uint32]
    tenant: npt.NDArray[np.uint32]
    parts: Parts


@kernel
def _by_family(
    data: Bytes, parts: Parts, at: Word, after: int, end: int, stop: int, little: bool
) -> tuple[int, int, int, int]:
    """An address family of four bytes, in either order if `little`, or (some systems) an EtherType."""
    family = be32(data, at)
    if little and family & 0xFFFF == 0:
        family = le32(data, at)  # the capturing host was little-endian
    version = int64(_VERSION_OF_FAMILY[family]) if family < 256 else 0
    if version != 0:
        return after, version, r.IP_FOUND, stop
    if 1536 <= family < 65536:
        return walk(data, parts, after, end, stop, r.TYPE_FOLLOWS, family, NO_LENGTHS)
    return -1, 0, r.OTHER_FAMILY, 0


@kernel
def _hdlc(data: Bytes, parts: Parts, at: Word, end: int, stop: int) -> tuple[int, int, int, int]:
    """Cisco's HDLC by its addresses (RFC 1547 section 4.3.1), or PPP."""
    if end - at < 4 or (data[at] != 0x0F and data[at] != 0x8F):
        return walk(data, parts, at, end, stop, r.PPP_FOLLOWS, 0, NO_LENGTHS)
    return walk(data, parts, at + 4, end, stop, r.TYPE_FOLLOWS, be16(data, at + 2), NO_LENGTHS)


@kernel
def _nflog(data: Bytes, parts: Parts, at: Word, end: int, stop: int) -> tuple[int, int, int, int]:
    """Linux's netfilter log: a family, then fields (length, type) in the order of the capturing host.

    The payload (type 9) may be the beginning of a packet only, so it says nothing about how long that is.
    """
    version = int64(_VERSION_OF_FAMILY[data[at]])
    kind = 0  # an EtherType, of type 1
    field = at + 4
    code = r.OTHER_FAMILY
    while True:
        if end - field < 4:
            code = r.TRUNCATED
            break
        big = data[field + 2] == 0
        size = u16(data, field, big)
        what = u16(data, field + 2, big) & 0x3FFF
        if size < 4:
            code = r.MALFORMED
            break
        if what == 1 and size >= 6 and end - field >= 6:
            kind = be16(data, field + 4)
        elif what == 9:
            place = field + 4
            end = min(end, field + size)
            if version == 0:
                if kind == 0 or data[at] == 3:  # ARP has a family of its own
                    break
                return walk(data, parts, place, end, end, r.TYPE_FOLLOWS, kind, NO_LENGTHS)
            return place, version, r.IP_FOUND, max(end, stated_end(data, place, end, version))
        field += size + -size % 4
    return -1, 0, code, 0


@kernel
def _ring(data: Bytes, parts: Parts, at: Word, end: int, stop: int, token: bool) -> tuple[int, int, int, int]:
    """FDDI and token ring: 802.2 behind frame control and addresses, and of token rings a route."""
    after = at + (14 if token else 13)
    if end < after:
        return -1, 0, r.TRUNCATED, 0
    if token:
        if data[at + 1] & 0xC0 != 0x40:
            return -1, 0, r.OTHER_PAYLOAD, 0
        if data[at + 8] & 0x80:
            if end == after:
                return -1, 0, r.TRUNCATED, 0
            after += int64(data[after]) & 31
    elif data[at] & 0x30 != 0x10:
        return -1, 0, r.OTHER_PAYLOAD, 0
    return walk(data, parts, after, end, stop, r.LLC_FOLLOWS, 0, NO_LENGTHS)


@kernel
def _frame_relay(data: Bytes, parts: Parts, at: Word, end: int, stop: int) -> tuple[int, int, int, int]:
    """Frame relay: RFC 2427's encapsulation, or Cisco's EtherTypes."""
    last = at + 4
    while at < min(end, last) and data[at] & 1 == 0:  # an address of two to four bytes, of which the last is odd
        at += 1
    at += 1
    if end - at < 3:
        return -1, 0, r.TRUNCATED, 0
    if data[at] != 3:
        return walk(data, parts, at + 2, end, stop, r.TYPE_FOLLOWS, be16(data, at), NO_LENGTHS)
    at += 1
    if data[at] == 0:
        at += 1
    kind = data[at]
    if kind == 0xCC or kind == 0x8E:
        return at + 1, (4 if kind == 0xCC else 6), r.IP_FOUND, stop
    if kind == 0x80:
        if end - at < 6:
            return -1, 0, r.TRUNCATED, 0
        if be16(data, at + 1) == 0 and data[at + 3] == 0:
            return walk(data, parts, at + 6, end, stop, r.TYPE_FOLLOWS, be16(data, at + 4), NO_LENGTHS)
        if be32(data, at + 1) >> 8 == 0x0080C2 and (data[at + 5] == 1 or data[at + 5] == 7):  # bridged Ethernet
            return walk(data, parts, at + 6, end, stop, r.FRAME_FOLLOWS, 0, LENGTHS)
    return -1, 0, r.OTHER_PAYLOAD, 0


@kernel
def _juniper(data: Bytes, parts: Parts, at: Word, end: int, stop: int, leads_to: int) -> tuple[int, int, int, int]:
    """Juniper's captures: flags, extensions, then the link layer, or none but a protocol's number."""
    if end - at < 6:
        return -1, 0, r.TRUNCATED, 0
    if be16(data, at) != 0x4D47 or data[at + 2] != 0x43:
        return -1, 0, r.MALFORMED, 0
    flags = data[at + 3]
    at += 6 + be16(data, at + 4) if flags & 0x80 else 4
    if flags & 2:  # no link layer
        if end - at < 4:
            return -1, 0, r.TRUNCATED, 0
        protocol = le32(data, at)
        at += 4
        if protocol == 2 or protocol == 3:
            return at, 4, r.IP_FOUND, stop
        if protocol == 6 or protocol == 7:
            return at, 6, r.IP_FOUND, stop
        if protocol == 4 or protocol == 5 or protocol == 8:
            return walk(data, parts, at, end, stop, r.LABELS_FOLLOW, 0, NO_LENGTHS)
        if protocol == 204:
            return walk(data, parts, at, end, stop, r.FRAME_FOLLOWS, 0, LENGTHS)
        if protocol == 202 or protocol == 203:
            return walk(data, parts, at, end, stop, r.LLC_FOLLOWS, 0, NO_LENGTHS)
        if protocol == 200:
            return walk(data, parts, at, end, stop, r.PPP_FOLLOWS, 0, NO_LENGTHS)
        return _hdlc(data, parts, at, end, stop) if protocol == 208 else (-1, 0, r.OTHER_PAYLOAD, 0)
    if leads_to == 0:
        return -1, 0, r.OTHER_PAYLOAD, 0
    if leads_to == r.PPP_FOLLOWS:
        return _hdlc(data, parts, at, end, stop)
    return walk(data, parts, at, end, stop, leads_to, 0, LENGTHS)


@kernel
def _unwrapped(data: Bytes, begin: Word, end: int, linktype: int) -> tuple[int, int, int]:
    """(place, link type, flags of 802.11) of a frame within headers that name a link type; place -1: not whole."""
    flags = int64(0)
    for _ in range(_MOST_WRAPPED):
        kind = _ROWS[_ROW_OF[linktype]]["how"]
        if kind == how.PPI:
            begin, flags, inside = wireless.ppi(data, begin, end)
        elif kind == how.PKTAP:
            if end - begin < 12:
                return -1, linktype, flags
            begin, inside = begin + le32(data, begin), le32(data, begin + 8)
        else:
            break
        if begin < 0 or begin > end:
            return -1, linktype, flags
        linktype = inside if inside < 1 << 16 else 0xFFFF
    return begin, linktype, flags


@kernel
def _find(
    data: Bytes, parts: Parts, begin: Word, end: int, stop: int, link: npt.NDArray[np.void], flags: int
) -> tuple[int, int, int, int]:
    """As `announced.walk`, of a frame that begins as `link` says."""
    kind = link["how"]
    after = begin + int64(link["header_bytes"])
    if kind == how.UNREAD:
        return -1, 0, r.LINK_TYPE, 0
    if kind == how.RADIOTAP:
        after, flags = wireless.radiotap(data, begin, end)
    elif kind == how.PRISM:
        after = wireless.prism(data, begin, end)
    if after < begin or end < after:
        return -1, 0, r.TRUNCATED, 0
    if kind == how.WIFI or kind == how.RADIOTAP or kind == how.PRISM:
        return wireless.find(data, parts, after, end, stop, flags, False)
    if kind == how.PPP:
        return _hdlc(data, parts, after, end, stop)
    if kind == how.FOLLOWS:
        return walk(data, parts, after, end, stop, int64(link["leads_to"]), int64(link["kind"]), LENGTHS)
    if kind == how.ETHER_TYPE:
        announced = be16(data, begin + int64(link["type_at"]))
        return walk(data, parts, after, end, stop, r.TYPE_FOLLOWS, announced, int64(link["numbers"]))
    if kind == how.FIRST_NIBBLE:
        if end == after:
            return -1, 0, r.TRUNCATED, 0
        nibble = int64(data[after]) >> 4
        if int64(link["versions"]) >> nibble & 1:
            return after, nibble, r.IP_FOUND, stop
        return -1, 0, r.MALFORMED, 0
    if kind == how.FAMILY or kind == how.FAMILY_AS_CAPTURED:
        return _by_family(data, parts, begin, after, end, stop, kind == how.FAMILY_AS_CAPTURED)
    if kind == how.CISCO_HDLC:
        if be16(data, begin) == 0xFF03:
            return walk(data, parts, begin, end, stop, r.PPP_FOLLOWS, 0, NO_LENGTHS)
        return walk(data, parts, after, end, stop, r.TYPE_FOLLOWS, be16(data, after - 2), NO_LENGTHS)
    if kind == how.NFLOG:
        return _nflog(data, parts, begin, end, stop)
    if kind == how.FDDI or kind == how.TOKEN_RING:
        return _ring(data, parts, begin, end, stop, kind == how.TOKEN_RING)
    if kind == how.FRAME_RELAY:
        return _frame_relay(data, parts, after, end, stop)
    if kind == how.JUNIPER:
        return _juniper(data, parts, begin, end, stop, int64(link["leads_to"]))
    if kind == how.PFLOG:
        size = int64(data[begin])
        version = int64(_VERSION_OF_FAMILY[data[begin + 1]])
        return (begin + size + -size % 4, version, r.IP_FOUND, stop) if version else (-1, 0, r.OTHER_FAMILY, 0)
    return -1, 0, r.TRUNCATED, 0


@kernel
def locate(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    wire: npt.NDArray[np.uint32],
    linktype: npt.NDArray[np.uint16],
    tenants: TenantTable,
    out: Located,
) -> tuple[int, int]:
    """Find the IP header of each frame, or why there is none, and write `out`.

    Returns how many rows have a detail, and how many packets were found behind the first in aggregates of 802.11.
    """
    detailed = 0
    further = 0
    parts = out.parts
    for i in range(start.size):
        begin: Word = start[i]
        end: Word = begin + np.int64(captured[i])
        link = _ROWS[_ROW_OF[linktype[i]]]
        after = int64(link["header_bytes"])
        if link["how"] == how.ETHER_TYPE and end - begin >= after:
            kind = be16(data, begin + int64(link["type_at"]))
            while (kind == 0x8100 or kind == 0x88A8) and end - begin >= after + 4:
                note_tag(data, parts, begin + after, VLAN)
                kind = be16(data, begin + after + 2)
                after += 4
            if kind == 0x0800 or kind == 0x86DD:
                out.place[i] = after
                out.version[i] = 4 if kind == 0x0800 else 6
                out.code[i] = r.IP_FOUND
                out.tenant[i] = number_of(tenants, 0, parts) if parts[0] else 0
                continue
            parts[0] = 0
        stop = max(begin + int64(wire[i]), end)
        frame, named, flags = _unwrapped(data, begin, end, int64(linktype[i]))
        if frame < 0:
            at, version, code, detail = -1, 0, r.TRUNCATED, 0
        else:
            row = _ROWS[_ROW_OF[named]]
            at, version, code, detail = _find(data, parts, frame, end, stop, row, flags)
            if code == r.IP_FOUND:
                if row["how"] == how.RADIOTAP:
                    frame, flags = wireless.radiotap(data, frame, end)
                elif row["how"] == how.PRISM:
                    frame = wireless.prism(data, frame, end)
                if row["how"] >= how.WIFI:
                    further += wireless.subframes_after_first(data, frame, end, flags, False)
            if code == r.IP_FOUND or code == r.OTHER_MPLS:
                detail = 0 if detail == stop else max(detail - begin, 1)
            elif code == r.OTHER_ETHERTYPE or code == r.OTHER_PPP:
                detail |= HAS_NUMBER
            else:
                detail = 0
        out.place[i] = at - begin if at >= 0 else -1
        out.version[i] = version
        out.code[i] = code
        out.tenant[i] = number_of(tenants, 0, parts)
        out.detail[i] = min(detail, 0xFFFFFFFF)
        if detail != 0:
            detailed += 1
    return detailed, further
