"""Decodes IP packets the slow and obvious way: both versions, extension headers, and the transport."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

HOP_BY_HOP, ROUTING, FRAGMENT, AH, NO_NEXT, DESTINATION = 0, 43, 44, 51, 59, 60
MOBILITY, HIP, SHIM6 = 135, 139, 140
# Extension headers whose length is in units of 8 octets, less one.
EIGHT_OCTET_HEADERS = {HOP_BY_HOP, ROUTING, DESTINATION, MOBILITY, HIP, SHIM6}
JUMBO_OPTION = 0xC2
TCP, UDP, DCCP, SCTP, UDP_LITE = 6, 17, 33, 132, 136
FIXED_HEADER_BYTES = {UDP: 8, UDP_LITE: 8, SCTP: 12}
DATA_OFFSET_AT = {TCP: 12, DCCP: 4}  # place of the header length: TCP in its upper four bits, DCCP in eight


@dataclass(frozen=True)
class Decoded:
    """The columns that a frame's bytes decide, and its flow's; all None without a readable IP header."""

    ip_version: int | None = None
    protocol: int | None = None
    src: str | None = None
    dst: str | None = None
    src_port: int | None = None
    dst_port: int | None = None
    ip_bytes: int | None = None
    payload_bytes: int | None = None
    tcp_seq: int | None = None
    tcp_ack: int | None = None
    tcp_flags: int | None = None
    tcp_window: int | None = None
    ip_id: int | None = None
    tos: int | None = None
    fragment_offset: int | None = None
    tenant: str | None = None


NOT_IP = Decoded()


class ShortError(Exception):
    """The bytes wanted were not captured."""


def number(data: bytes, at: int, size: int) -> int:
    """The big-endian number in `size` bytes at `at`."""
    if at + size > len(data):
        raise ShortError
    return int.from_bytes(data[at : at + size], "big")


def decode_ip(version: int, captured: bytes, wire_bytes: int) -> Decoded:
    """The columns of the IP packet of that version which `captured` begins with, if it does."""
    if version not in (4, 6) or number(captured, 0, 1) >> 4 != version:
        return NOT_IP
    return decode_ipv4(captured, wire_bytes) if version == 4 else decode_ipv6(captured, wire_bytes)


def decode_ipv4(captured: bytes, wire_bytes: int) -> Decoded:
    """The columns of an IPv4 packet; `wire_bytes` are its bytes on the wire, with any padding."""
    if len(captured) < 20:
        return NOT_IP
    header_bytes = (captured[0] & 15) * 4
    ip_bytes = number(captured, 2, 2)
    if ip_bytes == 0:  # a segment captured before the network card cut it
        ip_bytes = wire_bytes
    if header_bytes < 20 or ip_bytes < header_bytes:
        return NOT_IP
    packet = captured[:ip_bytes]
    flags_and_offset = number(packet, 6, 2)
    offset = (flags_and_offset & 0x1FFF) * 8
    is_fragment = flags_and_offset & 0x2000 != 0 or offset > 0
    return decode_rest(
        packet,
        Decoded(
            ip_version=4,
            protocol=packet[9],
            src=str(ipaddress.IPv4Address(packet[12:16])),
            dst=str(ipaddress.IPv4Address(packet[16:20])),
            ip_bytes=ip_bytes,
            ip_id=number(packet, 4, 2),
            tos=packet[1],
            fragment_offset=offset if is_fragment else None,
        ),
        header_bytes,
    )


def decode_ipv6(captured: bytes, wire_bytes: int) -> Decoded:
    """The columns of an IPv6 packet; `wire_bytes` are its bytes on the wire, with any padding."""
    if len(captured) < 40:
        return NOT_IP
    next_header = captured[6]
    ip_bytes = 40 + number(captured, 4, 2)
    if ip_bytes == 40 and next_header != NO_NEXT:
        jumbo_bytes = jumbo_payload_bytes(captured) if next_header == HOP_BY_HOP else None
        ip_bytes = wire_bytes if jumbo_bytes is None else min(40 + jumbo_bytes, 2**32 - 1)  # what the column holds
    if ip_bytes < 40:
        return NOT_IP
    packet = captured[:ip_bytes]
    return decode_rest(
        packet,
        Decoded(
            ip_version=6,
            protocol=next_header,
            src=str(ipaddress.IPv6Address(packet[8:24])),
            dst=str(ipaddress.IPv6Address(packet[24:40])),
            ip_bytes=ip_bytes,
            tos=number(packet, 0, 2) >> 4 & 0xFF,
        ),
        40,
    )


def jumbo_payload_bytes(captured: bytes) -> int | None:
    """The Jumbo Payload option (RFC 2675) of the hop-by-hop header after an IPv6 header, if captured."""
    try:
        end = 40 + (number(captured, 41, 1) + 1) * 8
        at = 42
        while at < end:
            option = number(captured, at, 1)
            if option == 0:  # Pad1, the one option without a length
                at += 1
                continue
            length = number(captured, at + 1, 1)
            if option == JUMBO_OPTION and length == 4:
                return number(captured, at + 2, 4)
            at += 2 + length
    except ShortError:
        pass
    return None


def decode_rest(packet: bytes, ip: Decoded, at: int) -> Decoded:
    """Add what follows the IP header at `at`: extension headers (of IPv4: AH alone), then the transport.

    `packet` holds the captured bytes that the IP length covers.
    """
    columns = dict(vars(ip))
    try:
        while columns["fragment_offset"] in (None, 0):
            header = columns["protocol"]
            if header == AH:
                columns["protocol"], size = number(packet, at, 1), (number(packet, at + 1, 1) + 2) * 4
            elif header in EIGHT_OCTET_HEADERS and ip.ip_version == 6:
                columns["protocol"], size = number(packet, at, 1), (number(packet, at + 1, 1) + 1) * 8
            elif header == FRAGMENT and ip.ip_version == 6:
                columns["ip_id"] = number(packet, at + 4, 4)
                columns["protocol"], size = number(packet, at, 1), 8
                offset_and_flags = number(packet, at + 2, 2)
                if offset_and_flags & 0xFFF9 != 0:
                    columns["fragment_offset"] = offset_and_flags & 0xFFF8
            else:
                break
            at += size
    except ShortError:  # the chain is not all there: which transport, and how long, stays unknown
        return Decoded(**columns)
    rest = transport(packet, at, columns["protocol"], columns["ip_bytes"], columns["fragment_offset"])
    columns.update(rest)
    return Decoded(**columns)


def transport(packet: bytes, at: int, protocol: int, ip_bytes: int, fragment_offset: int | None) -> dict[str, int]:
    """The columns of the transport header at `at`, those that can be read."""
    left = ip_bytes - at
    if fragment_offset:
        return {"payload_bytes": max(0, left)}
    columns: dict[str, int] = {}
    header_bytes: int | None = FIXED_HEADER_BYTES.get(protocol, 0)
    if protocol in DATA_OFFSET_AT:
        header_bytes = None
        if at + DATA_OFFSET_AT[protocol] < len(packet):
            data_offset = packet[at + DATA_OFFSET_AT[protocol]]
            header_bytes = 4 * (data_offset >> 4 if protocol == TCP else data_offset)
    if header_bytes is not None:
        columns["payload_bytes"] = max(0, left - header_bytes)
    if protocol in (TCP, UDP, DCCP, SCTP, UDP_LITE) and at + 4 <= len(packet):
        columns["src_port"] = number(packet, at, 2)
        columns["dst_port"] = number(packet, at + 2, 2)
    if protocol == TCP and at + 16 <= len(packet):
        columns["tcp_seq"] = number(packet, at + 4, 4)
        columns["tcp_ack"] = number(packet, at + 8, 4)
        columns["tcp_flags"] = packet[at + 13]
        columns["tcp_window"] = number(packet, at + 14, 2)
    return columns
