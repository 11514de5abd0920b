"""Writes link headers, byte for byte as their documents say."""

from __future__ import annotations

import struct

from tests.twins.writing import MACS


def summed(packet: bytes) -> bytes:
    """An IPv4 packet with the checksum of its header (RFC 791); another as it is."""
    size = (packet[0] & 15) * 4 if packet else 0
    if size < 20 or packet[0] >> 4 != 4 or len(packet) < size:
        return packet
    header = packet[:10] + bytes(2) + packet[12:size]
    total = sum(int.from_bytes(header[n : n + 2], "big") for n in range(0, size, 2))
    while total > 0xFFFF:
        total = total % 65536 + total // 65536
    return header[:10] + (0xFFFF - total).to_bytes(2, "big") + header[12:] + packet[size:]


def tag(ether_type: int, value: bytes, following: int, carried: bytes) -> tuple[int, bytes]:
    """A tag of an EtherType: its value, then the EtherType of what follows."""
    return ether_type, value + following.to_bytes(2, "big") + carried


def frame(ether_type: int, carried: bytes) -> bytes:
    """An Ethernet frame."""
    return MACS + ether_type.to_bytes(2, "big") + carried


def in_frame(outer: int, value: bytes, ether_type: int, carried: bytes) -> tuple[int, bytes]:
    """A header, and a whole Ethernet frame within."""
    return outer, value + frame(ether_type, carried)


def trill(ether_type: int, carried: bytes, options: int = 0) -> tuple[int, bytes]:
    """RFC 6325 section 3, with `options` words of options."""
    return in_frame(0x22F3, struct.pack(">HHH", options << 6 | 9, 1, 2) + bytes(4 * options), ether_type, carried)


def arista(ether_type: int, carried: bytes, version: int = 0x10, subtype: int = 1) -> tuple[int, bytes]:
    """A time of 64 (versions 0x1.) or 48 bits (0x2.)."""
    time = bytes(8 if version >> 4 == 1 else 6)
    return tag(0xD28B, struct.pack(">HH", subtype, version) + time, ether_type, carried)


def metadata(ether_type: int, carried: bytes, words: int = 1) -> tuple[int, bytes]:
    """Cisco's, with a security group."""
    return tag(0x8909, bytes([1, words]) + b"\0\1\0\7" * words, ether_type, carried)


def macsec(ether_type: int, carried: bytes, control: int = 0, check: int = 16) -> tuple[int, bytes]:
    """802.1AE: what its E and C bits leave readable is."""
    named = bytes(8) if control & 0x20 else b""
    return 0x88E5, bytes([control, 0]) + bytes(4) + named + ether_type.to_bytes(2, "big") + carried + bytes(check)


def llc_ip(carried: bytes, version: int, sap: bool = False) -> bytes:
    """IP of 802.2 itself, or by a network layer identifier."""
    return (b"\x06\x06\x03" if sap else b"\xfe\xfe\x03" + (b"\xcc" if version == 4 else b"\x8e")) + carried


# Wireless.


def data_frame(
    carried: bytes,
    *,
    quality: int | None = None,
    ends: int = 1,
    order: bool = False,
    protected: bool = False,
    fragment: int = 0,
    more: bool = False,
    kind: int = 8,
    pad: int = 0,
) -> bytes:
    """An 802.11 frame; `quality` is the QoS control, `ends` the To DS and From DS bits, `kind` type and subtype."""
    first = kind | (0x80 if quality is not None else 0)
    flags = ends | (4 if more else 0) | (0x40 if protected else 0) | (0x80 if order else 0)
    head = bytes([first, flags, 0, 0]) + b"\2" * 18 + (fragment | 0x50).to_bytes(2, "little")
    head += b"\4" * 6 if ends == 3 else b""
    if quality is not None:
        head += quality.to_bytes(2, "little") + (bytes(4) if order else b"")
    return head + bytes(pad) + carried


def subframe(carried: bytes, last: bool = False) -> bytes:
    """A packet of an aggregate."""
    whole = MACS + len(carried).to_bytes(2, "big") + carried
    return whole if last else whole + bytes(-len(whole) % 4)


def radiotap(frame_: bytes, flags: int | None = 0, timed: bool = False, words: int = 1, pad: int = 0) -> bytes:
    """A radiotap header with flags (None: none), at times a time before them and more words that say what there is."""
    present = (0 if flags is None else 2) | (1 if timed else 0)
    says = b"".join(
        struct.pack("<I", (present if n == 0 else 0) | (1 << 31 if n < words - 1 else 0)) for n in range(words)
    )
    body = b""
    if timed:
        body += bytes(-(4 + len(says)) % 8 + 8)
    body += b"" if flags is None else bytes([flags])
    body += bytes(pad)
    return struct.pack("<BBH", 0, 0, 4 + len(says) + len(body)) + says + body + frame_


def prism(frame_: bytes) -> bytes:
    """144 bytes."""
    return struct.pack("<II", 0x44, 144) + bytes(136) + frame_


def avs(frame_: bytes) -> bytes:
    """An AVS header of 64 bytes."""
    return struct.pack(">II", 0x80211001, 64) + bytes(56) + frame_


def ppi(frame_: bytes, link_type: int = 105, flags: int | None = None) -> bytes:
    """Per-packet information, with an 802.11 field if there are `flags`, behind another."""
    fields = struct.pack("<HHI", 3, 4, 0)
    if flags is not None:
        fields += struct.pack("<HHQH", 2, 20, 0, flags) + bytes(10)
    return struct.pack("<BBHI", 0, 0, 8 + len(fields), link_type) + fields + frame_


def pktap(frame_: bytes, link_type: int, size: int = 108) -> bytes:
    """Apple's."""
    return struct.pack("<III", size, 1, link_type) + bytes(size - 12) + frame_


# Others.


def nflog(carried: bytes, family: int, ether_type: int = 0, order: str = "<", payload: int = 9) -> bytes:
    """A log entry: a packet header, a prefix, and the payload."""

    def field(kind: int, value: bytes) -> bytes:
        return struct.pack(order + "HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)

    said = field(1, struct.pack(">HBB", ether_type, 3, 0)) + field(10, b"x\0")
    return struct.pack(">BBH", family, 0, 5) + said + field(payload, carried)


def fddi(carried: bytes, control: int = 0x50) -> bytes:
    """Frame control and addresses."""
    return bytes([control]) + MACS + carried


def token_ring(carried: bytes, control: int = 0x40, route: int = 0) -> bytes:
    """Access and frame control, addresses, and `route` bytes of a route."""
    macs = MACS[:6] + bytes([MACS[6] | (0x80 if route else 0)]) + MACS[7:]
    return bytes([0x10, control]) + macs + (bytes([route]) + bytes(route - 1) if route else b"") + carried


def frame_relay(carried: bytes, version: int, how: str, address: bytes = b"\x18\x41") -> bytes:
    """RFC 2427 by identifier or SNAP, or Cisco's."""
    kind = b"\x08\x00" if version == 4 else b"\x86\xdd"
    heads = {
        "id": b"\x03" + (b"\xcc" if version == 4 else b"\x8e"),
        "snap": b"\x03\x00\x80\0\0\0" + kind,
        "bridged": b"\x03\x00\x80\x00\x80\xc2\x00\x07" + MACS + kind,
        "cisco": kind,
        "other": b"\x03\x81",
    }
    return address + heads[how] + carried


def juniper(carried: bytes, flags: int = 0, extension: bytes | None = None, protocol: int | None = None) -> bytes:
    """MGC; with `protocol` there is no link layer."""
    flags |= 0x80 if extension is not None else 0
    flags |= 2 if protocol is not None else 0
    more = b"" if extension is None else len(extension).to_bytes(2, "big") + extension
    named = b"" if protocol is None else struct.pack("<I", protocol)
    return b"MGC" + bytes([flags]) + more + named + carried


def pflog(carried: bytes, family: int, size: int = 61) -> bytes:
    """A header of `size` bytes, filled up to a multiple of 4."""
    return bytes([size, family]) + bytes(size - 2 + -size % 4) + carried
