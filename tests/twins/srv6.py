"""A second reader of rewritten captures, from the RFCs alone: it refuses whatever a strict node would.

RFC 8200 (IPv6), RFC 8754 (SRH, HMAC TLV), RFC 8986 (H.Encaps, H.Encaps.L2 and their reduced forms),
draft-filsfils-spring-srv6-net-pgm-insertion (H.Insert), IEEE 802.1Q, RFC 791, 792, 768, 9293, 3828, 4443, 9260, 1071.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path


class BadPacketError(ValueError):
    """A packet breaks a rule of its RFC."""


def need(holds: bool, rule: str) -> None:
    if not holds:
        raise BadPacketError(rule)


@dataclass(frozen=True)
class Record:
    time_ns: int
    frame: bytes


@dataclass(frozen=True)
class Outer:
    """The outer header, and the segments in the order of travel as a transit node reconstructs them.

    Where an SRH is inserted, the last segment is the packet's own destination.
    """

    traffic_class: int
    flow_label: int
    hop_limit: int
    source: IPv6Address
    segments: tuple[IPv6Address, ...]
    srh_bytes: int


@dataclass(frozen=True)
class Frame:
    destination_mac: bytes
    source_mac: bytes
    outer: Outer | None
    inner: bytes
    tags: bytes = b""
    inside: bytes = b""  # the Ethernet header of a frame inside, its EtherType left out


@dataclass(frozen=True)
class Checked:
    """What a valid packet holds; `checksum`: good, none (not in use), fragment or unknown (protocol)."""

    version: int
    traffic_class: int
    protocol: int
    transport: int
    checksum: str


def read_pcap(path: Path) -> list[Record]:
    """All records of a nanosecond Ethernet pcap of whole frames; anything else is refused."""
    raw = path.read_bytes()
    need(raw[:4] == bytes.fromhex("4d3cb2a1"), "nanosecond magic, little-endian")
    major, minor, zone, sigfigs, snaplen, linktype = struct.unpack_from("<HHiIII", raw, 4)
    need((major, minor, zone, sigfigs, snaplen, linktype) == (2, 4, 0, 0, 262144, 1), "pcap header")
    records, at = [], 24
    while at < len(raw):
        seconds, rest, kept, length = struct.unpack_from("<IIII", raw, at)
        need(rest < 10**9 and kept == length <= 262144, "record header")
        need(at + 16 + kept <= len(raw), "record within the file")
        records.append(Record(seconds * 10**9 + rest, raw[at + 16 : at + 16 + kept]))
        at += 16 + kept
    return records


def parse_frame(frame: bytes, mode: str, *, tag: int = 0, key: tuple[int, bytes, bool] | None = None) -> Frame:
    """Ethernet, SRv6 headers as `mode` has them, and the packet within, unchecked.

    `mode`: encaps, reduced, insert, insert-reduced, l2, l2-reduced, none. `key`: HMAC Key ID, secret, whether Linux's
    flag is set; an HMAC is then demanded, and checked. Inserted SRHs are taken out of the packet again.
    """
    link, packet = _parse_ethernet(frame)
    destination, source, tags = link[:6], link[6:12], link[12:]
    inserted = mode.startswith("insert")
    if mode == "none" or (inserted and not _has_srh(packet)):
        return Frame(destination, source, None, packet, tags)
    need(packet[0] >> 4 == 6, "outer header is IPv6")
    first_word, payload, following, hops = struct.unpack_from("!IHBB", packet)
    need(payload == len(packet) - 40, "outer payload length")
    here, there = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
    segments: tuple[IPv6Address, ...] = (there,)
    before, inner, srh_bytes = b"", packet[40:], 0
    if inserted and following == 0:
        before, inner = inner[: inner[1] * 8 + 8], inner[inner[1] * 8 + 8 :]
        following = before[0]
    if following == 43:
        srh_bytes = 8 + inner[1] * 8
        following, segments = _parse_srh(inner[:srh_bytes], packet[8:40], "reduced" in mode, tag, key)
        inner = inner[srh_bytes:]
    else:
        need(mode in ("reduced", "l2-reduced") and tag == 0 and key is None, "an SRH is needed")
    outer = Outer(first_word >> 20 & 255, first_word & 0xFFFFF, hops, here, segments, srh_bytes)
    if inserted:
        fixed = packet[:4] + (payload - srh_bytes).to_bytes(2, "big")
        next_header = bytes((0 if before else following,))
        options = bytes((following,)) + before[1:] if before else b""
        whole = fixed + next_header + packet[7:24] + segments[-1].packed + options + inner
        return Frame(destination, source, outer, whole, tags)
    if mode.startswith("l2"):
        need(following == 143, "next header is Ethernet")
        inside, packet = _parse_ethernet(inner)
        return Frame(destination, source, outer, packet, tags, inside)
    need(following == {4: 4, 6: 41}.get(inner[0] >> 4), "next header is that of the packet within")
    return Frame(destination, source, outer, inner, tags)


def _parse_ethernet(frame: bytes) -> tuple[bytes, bytes]:
    """Addresses and VLAN tags, and what the EtherType, which must be that of an IP packet, stands before."""
    need(len(frame) >= 34, "room for Ethernet and IP")
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
        at += 4
    packet = frame[at + 2 :]
    kind = int.from_bytes(frame[at : at + 2], "big")
    need(kind == {4: 0x0800, 6: 0x86DD}.get(packet[0] >> 4), "EtherType is that of the packet")
    return frame[:at], packet


def _has_srh(packet: bytes) -> bool:
    """Whether the first routing header, behind hop-by-hop options at most, is an SRH with segments left."""
    if packet[0] >> 4 != 6:
        return False
    at = 40 + (packet[41] * 8 + 8 if packet[6] == 0 else 0)
    following = packet[40] if packet[6] == 0 else packet[6]
    return following == 43 and packet[at + 2] == 4


def _parse_srh(
    srh: bytes, addresses: bytes, reduced: bool, tag: int, key: tuple[int, bytes, bool] | None
) -> tuple[int, tuple[IPv6Address, ...]]:
    """What follows an SRH with all its segments left, and these; `addresses`: source and destination of the packet."""
    number, secret, flag = key or (0, b"", False)
    following, _, routing, left, last, flags, marked = struct.unpack_from("!BBBBBBH", srh)
    need(routing == 4, "routing type 4")
    need(flags == (8 if flag else 0) and marked == tag, "flags and tag are as asked")
    tlvs = srh[8 + 16 * (last + 1) :]
    listed = [srh[8 + 16 * i : 24 + 16 * i] for i in range(last + 1)]
    need(len(listed[-1]) == 16, "Last Entry indexes a SID of the list")
    there = IPv6Address(addresses[16:])
    names = [IPv6Address(sid) for sid in listed]
    left_out = reduced and left > 0
    if left_out:
        need(left == last + 1, "reduced: Segments Left is one beyond the list")
        segments = (there, *reversed(names))
    else:
        need(left == last, "Segments Left indexes the first segment")
        need(names[left] == there, "destination is the active segment")
        segments = tuple(reversed(names))
    if key is None:
        need(tlvs == b"", "no TLVs")
        return following, segments
    kind, length, bits, signer = struct.unpack_from("!BBHI", tlvs)
    need((kind, length, len(tlvs)) == (5, 38, 40), "one TLV, an HMAC of 32 bytes")
    need(bits == (0x8000 if left_out else 0), "flag D: the destination is in no list")
    need(signer == number, "HMAC Key ID")
    text = addresses[:16] + srh[4:6] + number.to_bytes(4, "big") + b"".join(listed)
    need(tlvs[8:] == hmac.new(secret, text, "sha256").digest(), "HMAC")
    return following, segments


def folded_sum(data: bytes) -> int:
    """Ones' complement sum of 16-bit words (RFC 1071); 0xFFFF over data that holds its right checksum."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = total % 0x10000 + total // 0x10000
    return total


def crc32c(data: bytes) -> int:
    """CRC32c bit by bit (RFC 9260 appendix A)."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 * (value & 1))
    return value ^ 0xFFFFFFFF


def check_packet(packet: bytes) -> Checked:
    """Check an IP packet: lengths, options, header chain, checksums; an error names the rule broken."""
    if packet[0] >> 4 == 4:
        return _check_ipv4(packet)
    need(packet[0] >> 4 == 6, "IP version")
    return _check_ipv6(packet)


def _check_ipv4(packet: bytes) -> Checked:
    header = packet[0] % 16 * 4
    need(20 <= header <= len(packet), "IPv4 header length")
    need(int.from_bytes(packet[2:4], "big") == len(packet), "IPv4 total length")
    need(folded_sum(packet[:header]) == 0xFFFF, "IPv4 header checksum")
    final = packet[16:20]
    for kind, value in _options(packet[20:header], (0,), (1,), 2):
        if kind in (131, 137) and value[0] <= len(value) - 1:
            final = value[-4:]
    fragment = int.from_bytes(packet[6:8], "big")
    if fragment & 0x3FFF:
        return Checked(4, packet[1], packet[9], header, "fragment")
    if packet[9] == 51:
        need(len(packet) >= header + 12, "authentication header")
        return _check_transport(packet, header + packet[header + 1] * 4 + 8, packet[header], packet[12:16], final)
    return _check_transport(packet, header, packet[9], packet[12:16], final)


def _check_ipv6(packet: bytes) -> Checked:
    need(int.from_bytes(packet[4:6], "big") == len(packet) - 40, "IPv6 payload length")
    at, following, final = 40, packet[6], packet[24:40]
    while following in (0, 43, 44, 51, 60):
        need(at + 8 <= len(packet), "extension header")
        size = 8 if following == 44 else packet[at + 1] * 4 + 8 if following == 51 else packet[at + 1] * 8 + 8
        body = packet[at : at + size]
        need(len(body) == size and size % 8 == 0, "extension header length")
        if following in (0, 60):
            list(_options(body[2:], (), (0,), 0))
        elif following == 43 and body[3] > 0:
            if body[2] in (0, 2):
                final = body[-16:]
            elif body[2] == 4:
                final = body[8:24]
        elif following == 44 and int.from_bytes(body[2:4], "big") & 0xFFF9:
            return Checked(6, _ipv6_class(packet), body[0], at + 8, "fragment")
        following, at = body[0], at + size
    return _check_transport(packet, at, following, packet[8:24], final)


def _ipv6_class(packet: bytes) -> int:
    return int.from_bytes(packet[:2], "big") >> 4 & 255


def _options(data: bytes, ends: tuple[int, ...], alone: tuple[int, ...], whole: int) -> Iterator[tuple[int, bytes]]:
    """Options as (kind, value): `ends` end the list, `alone` are single; a length counts `whole` bytes more."""
    at = 0
    while at < len(data) and data[at] not in ends:
        if data[at] in alone:
            at += 1
            continue
        need(at + 1 < len(data), "option has a length")
        size = data[at + 1] + 2 - whole
        need(size >= 2 and at + size <= len(data), "option length")
        yield data[at], data[at + 2 : at + size]
        at += size


def _pseudo_tail(version: int, length: int, protocol: int) -> bytes:
    if version == 6:
        return struct.pack("!I3xB", length, protocol)
    return struct.pack("!BBH", 0, protocol, length)


def _check_transport(packet: bytes, at: int, protocol: int, source: bytes, final: bytes) -> Checked:
    version = packet[0] >> 4
    body = packet[at:]
    length = len(body)
    checksum = "good"
    pseudo = source + final
    tail = _pseudo_tail(version, length, protocol)
    if protocol == 6:
        need(length >= 20, "TCP header")
        offset = (body[12] >> 4) * 4
        need(20 <= offset <= length, "TCP data offset")
        list(_options(body[20:offset], (0,), (1,), 2))
        need(folded_sum(pseudo + tail + body) == 0xFFFF, "TCP checksum")
    elif protocol == 17:
        need(length >= 8, "UDP header")
        size = int.from_bytes(body[4:6], "big")
        need(8 <= size <= length, "UDP length")
        if body[6:8] == b"\0\0":
            need(version == 4, "UDP over IPv6 has a checksum")
            checksum = "none"
        else:
            words = _pseudo_tail(version, size, protocol)
            need(folded_sum(pseudo + words + body[:size]) == 0xFFFF, "UDP checksum")
    elif protocol == 136:
        need(length >= 8, "UDP-Lite header")
        covered = int.from_bytes(body[4:6], "big") or length
        need(8 <= covered <= length, "UDP-Lite coverage")
        need(body[6:8] != b"\0\0", "UDP-Lite has a checksum")
        need(folded_sum(pseudo + tail + body[:covered]) == 0xFFFF, "UDP-Lite checksum")
    elif protocol in (1, 2) and version == 4:
        need(length >= 8, "ICMP header")
        need(folded_sum(body) == 0xFFFF, "ICMP checksum")
    elif protocol == 58 and version == 6:
        need(length >= 8, "ICMPv6 header")
        need(folded_sum(pseudo + tail + body) == 0xFFFF, "ICMPv6 checksum")
    elif protocol == 132:
        need(length >= 12, "SCTP header")
        need(int.from_bytes(body[8:12], "little") == crc32c(body[:8] + bytes(4) + body[12:]), "SCTP checksum")
        chunk = 12
        while chunk < length:
            need(chunk + 4 <= length, "SCTP chunk header")
            size = int.from_bytes(body[chunk + 2 : chunk + 4], "big")
            need(size >= 4 and chunk + size <= length, "SCTP chunk length")
            chunk += -(-size // 4) * 4
    else:
        checksum = "unknown"
    traffic_class = packet[1] if version == 4 else _ipv6_class(packet)
    return Checked(version, traffic_class, protocol, at, checksum)
