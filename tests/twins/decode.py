"""Decodes frames the slow and obvious way, to the columns of a trace: outer- or innermost IP, and transport."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from tests.twins import linking as links
from tests.twins.captures import Record, read_capture
from tests.twins.ip import (
    AH,
    EIGHT_OCTET_HEADERS,
    FRAGMENT,
    NOT_IP,
    ROUTING,
    Decoded,
    ShortError,
    decode_ip,
    number,
)
from tests.twins.tunnels import ETHERNET as ETHERNET_IN
from tests.twins.tunnels import PPP as PPP_IN
from tests.twins.tunnels import WIFI as WIFI_IN
from tests.twins.tunnels import opened

MOST_TAGS = 16  # in a frame, and in each tunnel of it
RAW = {12: (4, 6), 14: (4, 6), 101: (4, 6), 228: (4,), 229: (6,)}  # link type: IP versions it may carry
IPV4_FAMILIES = {2}
IPV6_FAMILIES = {10, 23, 24, 26, 28, 30}  # Linux, Windows, NetBSD and OpenBSD, Solaris, FreeBSD, Darwin
JUNIPER = {*range(130, 138), 164, 167, 168, 174, *range(178, 182), 183, 194, 200, 232, 233, 234, 238}
AT_ONCE = {  # link type: the header's length, and what follows it
    50: (0, links.hdlc),
    9: (0, links.hdlc),
    166: (2, links.hdlc),
    204: (1, links.hdlc),
    51: (0, lambda frame, at, stop: links.typed(0x8864, frame, at, stop)),
    100: (0, links.llc),
    105: (0, links.wifi),
    107: (0, links.frame_relay),
    119: (0, links.prism),
    122: (16, links.llc),
    127: (0, links.radiotap),
    163: (0, links.prism),
    206: (1, links.frame_relay),
    219: (0, links.labelled),
    240: (4, links.ethernet),
    241: (12, links.ethernet),
    259: (8, links.ethernet),
    282: (4, links.ethernet),
}
TYPE_AT = {  # link type: the header's length, the place of an EtherType, what small numbers are there
    1: (14, 12, "802.3"),
    113: (16, 14, "cooked"),
    138: (18, 16, ""),
    276: (20, 0, "cooked"),
    281: (18, 16, "802.3"),
    284: (18, 16, "802.3"),
    285: (14, 12, "802.3"),
}


def decode_capture(data: bytes) -> Iterator[tuple[Record, Decoded]]:
    """Every record of a capture with its decoded columns."""
    for record in read_capture(data):
        yield record, decode(record.link_type, record.frame, record.wire_bytes)


def decode(link_type: int, frame: bytes, wire_bytes: int, *, inner: bool = False) -> Decoded:
    """The columns of one frame, of its outermost IP header or of the innermost that tunnels lead to."""
    if inner:
        found = layers(link_type, frame, wire_bytes)
        return found[-1].columns if found else NOT_IP
    found = layers(link_type, frame, wire_bytes, inner=False)
    return found[0].columns if found else NOT_IP


@dataclass(frozen=True)
class Layer:
    """An IP packet within a frame: its captured bytes, its columns, and its bytes with padding that it claims."""

    packet: bytes
    columns: Decoded
    claimed: bytes


def layers(link_type: int, frame: bytes, wire_bytes: int, *, inner: bool = True) -> list[Layer]:
    """The IP packets in a frame, outermost first, each within the one before, at most 65; the first unless `inner`."""
    try:
        link = find_ip(link_type, frame, wire_bytes)
        stop = wire_bytes if link.stop is None else link.stop
        claimed, frame = frame, frame if link.stop is None else frame[:stop]
        if inner:
            link = links.unlabelled(link, frame, max(stop, len(frame)))
        columns = decode_ip(link.version, frame[link.at :], stop - link.at)
    except ShortError:
        return []
    if link.stop is not None and columns.payload_bytes and columns.ip_bytes is not None:  # the rest is padding
        beyond = max(0, link.at + columns.ip_bytes - stop)
        columns = dataclasses.replace(columns, payload_bytes=max(0, columns.payload_bytes - beyond))
    at = link.at
    tenant = link.tags[:MOST_TAGS]
    found: list[Layer] = []
    rest, packet, wire = claimed[at:], frame[at:], stop - at
    there = 2**32  # how much of a packet the fragment around it has
    while columns != NOT_IP:
        assert columns.ip_bytes is not None
        columns = dataclasses.replace(columns, ip_bytes=min(columns.ip_bytes, there))
        assert columns.ip_bytes is not None
        packet = packet[: columns.ip_bytes]
        columns = dataclasses.replace(columns, tenant=", ".join(tenant) or None)
        found.append(Layer(packet, columns, rest[: columns.ip_bytes]))
        if len(found) > 64 or not inner:
            break
        try:
            version, at, tags = tunnelled(packet, columns)
            tenant += tags[:MOST_TAGS]
            rest, packet, wire = rest[at:], packet[at:], columns.ip_bytes - at
            there -= at
            if columns.fragment_offset is not None:
                there = min(there, wire)
            columns = decode_ip(version, packet, wire)
        except ShortError:
            break
    return found


# Tunnels.


def tunnelled(packet: bytes, ip: Decoded) -> tuple[int, int, tuple[str, ...]]:
    """The version (0: none) and place in `packet` of the IP header that it carries, and the tags before it.

    `ip` are the columns of the packet.
    """
    at = transport_place(packet, ip)
    carried = None if at is None or ip.fragment_offset else opened(packet, ip, at)
    if carried is None:
        return 0, 0, ()
    tags = tuple(carried.tag.split(", ")) if carried.tag else ()
    if carried.kind == "version":
        return carried.version or 0, carried.at, tags
    inside = None
    if carried.kind == ETHERNET_IN:
        inside = links.ethernet(packet, carried.at, None)
    elif carried.kind == PPP_IN:
        inside = links.ppp(packet, carried.at, None)
    elif carried.kind == WIFI_IN:
        control = packet[carried.at : carried.at + 2]
        if len(control) == 2 and control[0] & 15 != 8 and control[1] & 15 == 8:  # its bytes are swapped
            packet = packet[: carried.at] + control[::-1] + packet[carried.at + 2 :]
        inside = links.wifi(packet, carried.at, None)
    elif carried.ether_type is not None:
        inside = links.typed(carried.ether_type, packet, carried.at, None)
    if inside is not None:
        inside = links.unlabelled(inside, packet, None)
        return inside.version, inside.at, tags + inside.tags
    return number(packet, carried.at, 1) >> 4, carried.at, tags


def transport_place(packet: bytes, ip: Decoded) -> int | None:
    """Where the extension headers end; None if they do not within what was captured."""
    at, header = ((packet[0] & 15) * 4, packet[9]) if ip.ip_version == 4 else (40, packet[6])
    try:
        while header == AH or (ip.ip_version == 6 and header in EIGHT_OCTET_HEADERS | {FRAGMENT}):
            following = number(packet, at, 1)
            if header == FRAGMENT:
                number(packet, at, 8)
                at += 8
            else:
                units = number(packet, at + 1, 1)
                at += (units + 2) * 4 if header == AH else (units + 1) * 8
            header = following
    except ShortError:
        return None
    return at


def segments_of(link_type: int, frame: bytes, wire_bytes: int, *, inner: bool = False) -> tuple[str, ...] | None:
    """The SRv6 segment list (RFC 8754) of the outermost IP header, in order of travel; None without a valid one."""
    found = layers(link_type, frame, wire_bytes, inner=inner)  # a pseudowire is opened for the inner layer alone
    if not found or found[0].columns.ip_version != 6:
        return None
    packet = found[0].packet
    header, at = packet[6], 40
    try:
        while not (header == ROUTING and number(packet, at + 2, 1) == 4):
            if header not in EIGHT_OCTET_HEADERS | {FRAGMENT, AH}:
                return None
            if header == FRAGMENT and number(packet, at + 2, 2) & 0xFFF8:
                return None
            units = 0 if header == FRAGMENT else number(packet, at + 1, 1)
            size = (units + 2) * 4 if header == AH else (units + 1) * 8
            header, at = number(packet, at, 1), at + size
        units, left, last = number(packet, at + 1, 1), number(packet, at + 3, 1), number(packet, at + 4, 1)
        if last + 1 > units // 2 or left > last + 1:
            return None
        listed = [number(packet, at + 8 + 16 * n, 16) for n in range(last + 1)]
    except ShortError:
        return None
    if left == last + 1:
        listed.append(number(packet, 24, 16))
    return tuple(str(ipaddress.IPv6Address(segment)) for segment in reversed(listed))


def find_ip(link_type: int, frame: bytes, wire_bytes: int) -> links.Found:
    """The IP header that the link headers lead to; `stop` is None unless they say that it stops elsewhere."""
    stop = max(wire_bytes, len(frame))
    begin = 0
    options: dict[str, bool] = {}
    for _ in range(4):
        if link_type == 192:
            begin, link_type, options = of_ppi(frame, begin)
        elif link_type == 258:
            number(frame, begin, 12)
            link_type = int.from_bytes(frame[begin + 8 : begin + 12], "little")
            begin += int.from_bytes(frame[begin : begin + 4], "little")
        else:
            break
        if begin > len(frame):
            raise ShortError
    found = by_link(link_type, frame[begin:], stop - begin, options)
    there = None if found.stop in (None, stop - begin) else found.stop
    return dataclasses.replace(found, at=found.at + begin, stop=None if there is None else max(1, there + begin))


def of_ppi(frame: bytes, at: int) -> tuple[int, int, dict[str, bool]]:
    """Where the frame begins behind a per-packet information header, its link type, and what is known of its FCS."""
    number(frame, at, 8)
    size, link_type = (int.from_bytes(frame[at + n : at + n + k], "little") for n, k in ((2, 2), (4, 4)))
    field, flags = at + 8, 0
    while field + 4 <= at + size and field + 14 <= len(frame):
        kind, length = (int.from_bytes(frame[field + n : field + n + 2], "little") for n in (0, 2))
        if kind == 2:
            flags = frame[field + 12]
        field += 4 + length
    return at + size, link_type, {"fcs": flags & 1 != 0, "bad": flags & 4 != 0}


def by_link(link_type: int, frame: bytes, stop: int, options: dict[str, bool]) -> links.Found:
    """What a frame of a link type holds."""
    if link_type in RAW or link_type == 226:
        at = 24 if link_type == 226 else 0
        version = number(frame, at, 1) >> 4
        return links.Found(version if version in RAW.get(link_type, (4, 6)) else 0, at, stop)
    if link_type in TYPE_AT:
        size, at, numbers = TYPE_AT[link_type]
        number(frame, 0, size)
        return links.typed(number(frame, at, 2), frame, size, stop, numbers)
    if link_type == 105 and options:
        return links.wifi(frame, 0, stop, **options)
    if link_type in AT_ONCE:
        size, reader = AT_ONCE[link_type]
        number(frame, 0, size)
        return reader(frame, size, stop)
    if link_type in (104, 205):
        at = link_type - 104 and 1
        number(frame, at, 4)
        if frame[:2] == b"\xff\x03":
            return links.ppp(frame, 0, stop)
        return links.typed(number(frame, at + 2, 2), frame, at + 4, stop)
    if link_type in (0, 108, 109):
        return by_family(frame, 12 if link_type == 109 else 4, stop, either_order=link_type != 108)
    if link_type == 117:
        size = (number(frame, 0, 4) >> 24) + 3 & ~3
        version = 4 if frame[1] in IPV4_FAMILIES else 6 if frame[1] in IPV6_FAMILIES else 0
        return links.Found(version, size, stop)
    if link_type == 239:
        return links.nflog(frame, stop)
    if link_type in (6, 10):
        return links.ring(frame, stop, token=link_type == 6)
    return links.juniper(link_type, frame, stop) if link_type in JUNIPER else links.NOTHING


def by_family(frame: bytes, at: int, stop: int, *, either_order: bool) -> links.Found:
    """By an address family in the first four bytes, or an EtherType there."""
    number(frame, 0, at)
    family = number(frame, 0, 4)
    if either_order and family % 65536 == 0:
        family = int.from_bytes(frame[:4], "little")
    if family in IPV4_FAMILIES | IPV6_FAMILIES:
        return links.Found(4 if family in IPV4_FAMILIES else 6, at, stop)
    return links.typed(family, frame, at, stop) if 1536 <= family < 65536 else links.NOTHING
