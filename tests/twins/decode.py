"""Decodes frames the slow and obvious way, to the columns of a trace: outer- or innermost IP, and transport."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

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
from tests.twins.tunnels import opened

ETHERNET, PPP, SLL, SLL2 = 1, 9, 113, 276
PPP_HDLC, PPP_ETHER, CISCO_HDLC, PPPD, PPP_DIRECTION, MPLS = 50, 51, 104, 166, 204, 219
NULL, LOOP = 0, 108
RAW = {12: (4, 6), 14: (4, 6), 101: (4, 6), 228: (4,), 229: (6,)}  # link type: IP versions it may carry
IPV4_FAMILIES = {2}
IPV6_FAMILIES = {10, 23, 24, 28, 30}  # Linux, Windows, NetBSD and OpenBSD, FreeBSD, Darwin

IPV4_TYPE, IPV6_TYPE = 0x0800, 0x86DD
VLAN_TYPES = {0x8100, 0x88A8, 0x9100}
MPLS_TYPES = {0x8847, 0x8848}
PPPOE_TYPE = 0x8864
HIGHEST_802_3_LENGTH = 1500
SNAP = 0xAAAA03000000  # LLC of SNAP, and the organisation whose types are EtherTypes
PPP_PROTOCOLS = {0x0021: 4, 0x0057: 6}


def decode_capture(data: bytes) -> Iterator[tuple[Record, Decoded]]:
    """Every record of a capture with its decoded columns."""
    for record in read_capture(data):
        yield record, decode(record.link_type, record.frame, record.wire_bytes)


def decode(link_type: int, frame: bytes, wire_bytes: int, *, inner: bool = False) -> Decoded:
    """The columns of one frame, of its outermost IP header or of the innermost that tunnels lead to."""
    if inner:
        found = layers(link_type, frame, wire_bytes)
        return found[-1].columns if found else NOT_IP
    try:
        version, at = find_ip(link_type, frame)
        return decode_ip(version, frame[at:], wire_bytes - at)
    except ShortError:
        return NOT_IP


@dataclass(frozen=True)
class Layer:
    """An IP packet within a frame: its captured bytes, and its columns."""

    packet: bytes
    columns: Decoded


def layers(link_type: int, frame: bytes, wire_bytes: int, *, inner: bool = True) -> list[Layer]:
    """The IP packets in a frame, outermost first, each within the one before, at most 65; the first unless `inner`."""
    try:
        version, at = find_ip(link_type, frame)
        if version not in (4, 6) and inner:
            version, at = pseudowire(link_type, frame)
        columns = decode_ip(version, frame[at:], wire_bytes - at)
    except ShortError:
        return []
    found: list[Layer] = []
    packet, wire = frame[at:], wire_bytes - at
    there = 2**32  # how much of a packet the fragment around it has
    while columns != NOT_IP:
        assert columns.ip_bytes is not None
        columns = dataclasses.replace(columns, ip_bytes=min(columns.ip_bytes, there))
        assert columns.ip_bytes is not None
        packet = packet[: columns.ip_bytes]
        found.append(Layer(packet, columns))
        if len(found) > 64 or not inner:
            break
        try:
            version, at = tunnelled(packet, columns)
            packet, wire = packet[at:], columns.ip_bytes - at
            there -= at
            if columns.fragment_offset is not None:
                there = min(there, wire)
            columns = decode_ip(version, packet, wire)
        except ShortError:
            break
    return found


def pseudowire(link_type: int, frame: bytes) -> tuple[int, int]:
    """As `find_ip`, of the Ethernet that an MPLS label stack directly on the link may carry (RFC 4448)."""
    labelled = MPLS_AT.get(link_type)
    if labelled is None:
        return 0, 0
    kind_at, at = labelled
    kind = number(frame, kind_at, 2) if kind_at is not None else 0x8847
    while kind in VLAN_TYPES:
        kind, at = number(frame, at + 2, 2), at + 4
    return wired(frame, after_labels(frame, at)) if kind in MPLS_TYPES else (0, 0)


# Link types whose frames can carry MPLS: where the type stands, and where what it announces begins.
MPLS_AT: dict[int, tuple[int | None, int]] = {
    ETHERNET: (12, 14),
    SLL: (14, 16),
    SLL2: (0, 20),
    CISCO_HDLC: (2, 4),
    MPLS: (None, 0),
}


def wired(packet: bytes, at: int) -> tuple[int, int]:
    """Where Ethernet at `at`, or after a control word there, leads, if that looks like an IP header."""
    places = [at + 4] if packet[at : at + 2] == b"\0\0" else []
    if len(packet) - at >= 2 and packet[at] >> 4 != 1:
        places.append(at)
    for place in places:
        try:
            version, ip = after_ethernet(packet, place + 12, plain=True)
            first = number(packet, ip, 1)
        except ShortError:
            continue
        if version in (4, 6) and (0x45 <= first < 0x50 if version == 4 else first >> 4 == 6):
            return version, ip
    return 0, 0


# Tunnels.


def tunnelled(packet: bytes, ip: Decoded) -> tuple[int, int]:
    """The version (0: none) and place in `packet` of the IP header that it carries, from its columns `ip`."""
    at = transport_place(packet, ip)
    carried = None if at is None or ip.fragment_offset else opened(packet, ip, at)
    if carried is None:
        return 0, 0
    if carried.kind == "version":
        return carried.version or 0, carried.at
    if carried.kind == ETHERNET_IN:
        return bridged(packet, carried.at)
    if carried.kind == PPP_IN:
        return compressed(packet, carried.at)
    if carried.ether_type is not None:
        return typed(carried.ether_type, packet, carried.at)
    return number(packet, carried.at, 1) >> 4, carried.at


def compressed(packet: bytes, at: int) -> tuple[int, int]:
    """As `tunnelled`, from a PPP frame whose fields may be compressed (RFC 1661 section 6.5 and 6.6)."""
    if packet[at : at + 2] == b"\xff\x03":
        at += 2
    size = 1 if number(packet, at, 1) & 1 else 2
    protocol, at = number(packet, at, size), at + size
    return typed(0x8847, packet, at) if protocol in (0x281, 0x283) else (PPP_PROTOCOLS.get(protocol, 0), at)


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


def bridged(packet: bytes, at: int) -> tuple[int, int]:
    """As `tunnelled`, from an Ethernet header at `at`."""
    number(packet, at, 14)
    kind, after = number(packet, at + 12, 2), at + 14
    while kind in VLAN_TYPES:
        kind, after = number(packet, after + 2, 2), after + 4
    if kind in MPLS_TYPES:
        return typed(kind, packet, after)
    return after_ethernet(packet, at + 12)


def typed(kind: int, packet: bytes, at: int) -> tuple[int, int]:
    """As `after_type`, but with pseudowires."""
    if kind in MPLS_TYPES:
        place = after_labels(packet, at)
        version = number(packet, place, 1) >> 4
        return (version, place) if version in (4, 6) else wired(packet, place)
    return after_type(kind, packet, at)


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


def find_ip(link_type: int, frame: bytes) -> tuple[int, int]:
    """The IP version that the link headers announce (0: not IP), and where its header should be."""
    if link_type in RAW:
        version = number(frame, 0, 1) >> 4
        return (version if version in RAW[link_type] else 0), 0
    if link_type == ETHERNET:
        return after_ethernet(frame, 12)
    if link_type == SLL:
        return after_type(number(frame, 14, 2), frame, 16)
    if link_type == SLL2:
        return after_type(number(frame, 0, 2), frame, 20)
    if link_type == CISCO_HDLC or (link_type == PPP_HDLC and frame[:1] in (b"\x0f", b"\x8f")):
        return after_type(number(frame, 2, 2), frame, 4)
    if link_type in (PPP, PPP_HDLC, PPPD, PPP_DIRECTION):
        at = {PPPD: 2, PPP_DIRECTION: 1}.get(link_type, 0)
        at += 2 if frame[at : at + 2] == b"\xff\x03" else 0
        return PPP_PROTOCOLS.get(number(frame, at, 2), 0), at + 2
    if link_type == PPP_ETHER:
        return after_type(PPPOE_TYPE, frame, 0)
    if link_type == MPLS:
        return after_type(0x8847, frame, 0)
    if link_type in (NULL, LOOP):
        families = {number(frame, 0, 4)}
        if link_type == NULL:  # in the byte order of whoever captured
            families.add(int.from_bytes(frame[:4], "little"))
        if families & IPV4_FAMILIES:
            return 4, 4
        return (6 if families & IPV6_FAMILIES else 0), 4
    return 0, 0


def after_ethernet(frame: bytes, at: int, *, plain: bool = False) -> tuple[int, int]:
    """As `find_ip`, from a type-or-length field at `at`, which VLAN tags may precede."""
    kind = number(frame, at, 2)
    while kind in VLAN_TYPES:
        at += 4
        kind = number(frame, at, 2)
    if plain and kind == PPPOE_TYPE:
        return 0, 0
    if kind > HIGHEST_802_3_LENGTH:
        return after_type(kind, frame, at + 2)
    if not plain and number(frame, at + 2, 6) == SNAP:
        return after_type(number(frame, at + 8, 2), frame, at + 10)
    return 0, 0


def after_type(kind: int, frame: bytes, at: int) -> tuple[int, int]:
    """As `find_ip`, from an EtherType and the place of what it announces."""
    if kind == IPV4_TYPE:
        return 4, at
    if kind == IPV6_TYPE:
        return 6, at
    if kind in VLAN_TYPES:
        return after_ethernet(frame, at + 2)
    if kind in MPLS_TYPES:
        at = after_labels(frame, at)
        return number(frame, at, 1) >> 4, at
    if kind == PPPOE_TYPE:
        if number(frame, at, 2) != 0x1100:  # version 1, type 1, code 0: session data
            return 0, 0
        return PPP_PROTOCOLS.get(number(frame, at + 6, 2), 0), at + 8
    return 0, 0


def after_labels(frame: bytes, at: int) -> int:
    """Where an MPLS label stack at `at` ends."""
    while number(frame, at, 4) & 0x100 == 0:
        at += 4
    return at + 4
