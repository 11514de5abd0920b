"""Writes packets, frames and capture files as bytes, right or deliberately wrong, for tests to read back."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.twins.captures import ENHANCED_PACKET, INTERFACE, OLD_PACKET, SIMPLE_PACKET, STATISTICS

PCAP_MAGIC_US, PCAP_MAGIC_NS = 0xA1B2C3D4, 0xA1B23C4D
MACS = bytes.fromhex("020000000002020000000001")


def tcp(
    src_port: int = 1024,
    dst_port: int = 80,
    *,
    seq: int = 1,
    ack: int = 2,
    data_offset: int = 5,
    flags: int = 0x10,
    window: int = 4096,
    payload: bytes = b"",
) -> bytes:
    """A TCP segment; options are zeros; `data_offset` may lie."""
    fixed = struct.pack(">HHIIBBHHH", src_port, dst_port, seq, ack, data_offset << 4, flags & 0xFF, window, 0, 0)
    return fixed + bytes(max(0, data_offset * 4 - 20)) + payload


def udp(src_port: int = 1024, dst_port: int = 53, *, payload: bytes = b"") -> bytes:
    """A UDP datagram."""
    return struct.pack(">HHHH", src_port, dst_port, 8 + len(payload), 0) + payload


def ipv4(
    payload: bytes,
    protocol: int,
    *,
    src: bytes = b"\x0a\x00\x00\x01",
    dst: bytes = b"\x0a\x00\x00\x02",
    tos: int = 0,
    identification: int = 0,
    more_fragments: bool = False,
    fragment_offset: int = 0,
    option_words: int = 0,
    total_length: int | None = None,
    version: int = 4,
    header_words: int | None = None,
) -> bytes:
    """An IPv4 packet; lengths and version may lie; `fragment_offset` is in bytes, a multiple of 8."""
    words = 5 + option_words
    flags_and_offset = (0x2000 if more_fragments else 0) | fragment_offset // 8
    length = words * 4 + len(payload) if total_length is None else total_length
    fixed = struct.pack(
        ">BBHHHBBH4s4s",
        (version << 4) | (words if header_words is None else header_words),
        tos,
        length & 0xFFFF,
        identification,
        flags_and_offset,
        64,
        protocol,
        0,
        src,
        dst,
    )
    return fixed + b"\x01" * (option_words * 4) + payload


def ipv6(
    payload: bytes,
    next_header: int,
    *,
    src: bytes = bytes(15) + b"\x01",
    dst: bytes = bytes(15) + b"\x02",
    tos: int = 0,
    payload_length: int | None = None,
    version: int = 6,
) -> bytes:
    """An IPv6 packet; the payload begins with any extension headers; the length and version may lie."""
    length = len(payload) if payload_length is None else payload_length
    first_word = (version << 28) | (tos << 20) | 0xABCDE
    return struct.pack(">IHBB16s16s", first_word, length & 0xFFFF, next_header, 64, src, dst) + payload


def extension(next_header: int, units: int = 0, content: bytes = b"") -> bytes:
    """An IPv6 extension header of `8 * (units + 1)` bytes; its content is cut or filled with Pad1 options."""
    size = 8 * (units + 1) - 2
    return bytes([next_header, units]) + content[:size].ljust(size, b"\x00")


def fragment_header(next_header: int, offset: int, more: bool, identification: int) -> bytes:
    """An IPv6 fragment header; the offset is in bytes, a multiple of 8."""
    return struct.pack(">BBHI", next_header, 0, offset | (1 if more else 0), identification)


def authentication(next_header: int, words: int = 4) -> bytes:
    """An authentication header of `4 * (words + 2)` bytes."""
    return bytes([next_header, words]) + bytes(4 * (words + 2) - 2)


def ethernet(payload: bytes, ethertype: int, tags: Sequence[tuple[int, int]] = ()) -> bytes:
    """An Ethernet frame; `tags` are (EtherType, tag control) from the outside in."""
    return MACS + tagged(ethertype, tags) + payload


def tagged(ethertype: int, tags: Sequence[tuple[int, int]]) -> bytes:
    """VLAN tags and the EtherType after them."""
    return b"".join(struct.pack(">HH", kind, control) for kind, control in tags) + struct.pack(">H", ethertype)


def mpls(payload: bytes, labels: Sequence[int]) -> bytes:
    """A label stack; the last entry carries the bottom-of-stack bit."""
    entries = [(label << 12) | 0x40 | (0x100 if n == len(labels) - 1 else 0) for n, label in enumerate(labels)]
    return b"".join(struct.pack(">I", entry) for entry in entries) + payload


def pppoe(payload: bytes, ppp_protocol: int, code: int = 0) -> bytes:
    """A PPPoE session packet."""
    return struct.pack(">BBHHH", 0x11, code, 7, len(payload) + 2, ppp_protocol) + payload


def snap(payload: bytes, ethertype: int) -> bytes:
    """LLC and SNAP headers."""
    return bytes.fromhex("aaaa03000000") + struct.pack(">H", ethertype) + payload


def vxlan(payload: bytes, flags: int = 8, port: int = 4789) -> bytes:
    """A UDP datagram of VXLAN."""
    return udp(50_000, port, payload=bytes([flags, 0, 0, 0, 0, 0, 7, 0]) + payload)


def geneve(payload: bytes, kind: int, options: int = 0, version: int = 0) -> bytes:
    """A UDP datagram of Geneve with `options` words of options."""
    head = struct.pack(">BBHI", version << 6 | options, 0, kind, 0x700)
    return udp(50_000, 6081, payload=head + b"\x01" * (4 * options) + payload)


def gre(payload: bytes, kind: int, flags: int = 0) -> bytes:
    """A GRE packet with the optional words that `flags` (with the version) announce."""
    words = sum(flags & bit != 0 for bit in (0x8000, 0x2000, 0x1000)) + (flags & 0x81 == 0x81)
    return struct.pack(">HH", flags, kind) + b"\x08" * (4 * words) + payload


def erspan(payload: bytes, kind: int, frame_type: int = 0, subheader: bool = False) -> bytes:
    """A GRE packet of ERSPAN type 1, 2 or 3."""
    if kind == 1:
        return gre(payload, 0x88BE)
    if kind == 2:
        return gre(b"\x10" + bytes(7) + payload, 0x88BE, 0x1000)
    head = b"\x20" + bytes(9) + struct.pack(">H", frame_type << 10 | subheader) + bytes(8 * subheader)
    return gre(head + payload, 0x22EB, 0x1000)


def gtp_u(payload: bytes, flags: int = 0x30, message: int = 255, extensions: Sequence[int] = ()) -> bytes:
    """A UDP datagram of GTP-U; `extensions` are the lengths in words of extension headers."""
    optional = b""
    if flags & 7:
        optional = bytes([0, 1, 2, 0x85 if extensions else 0])
        for n, words in enumerate(extensions):
            following = 0x85 if n + 1 < len(extensions) else 0
            optional += bytes([words]) + bytes(max(0, 4 * words - 2)) + bytes([following])
    head = struct.pack(">BBHI", flags, message, len(optional) + len(payload), 1)
    return udp(2152, 2152, payload=head + optional + payload)


def srh(next_header: int, segments: Sequence[bytes], left: int, last: int | None = None, tlv_units: int = 0) -> bytes:
    """A segment routing header; `segments` in the order of the header, from the last of the path."""
    units = 2 * len(segments) + tlv_units
    head = bytes([next_header, units, 4, left, (len(segments) - 1 if last is None else last) & 0xFF, 0, 0, 0])
    return head + b"".join(segments) + bytes(8 * tlv_units)


def sll(payload: bytes, ethertype: int) -> bytes:
    """A Linux cooked frame, version 1."""
    return struct.pack(">HHH8sH", 0, 1, 6, b"\x02\x00\x00\x00\x00\x01", ethertype) + payload


def sll2(payload: bytes, ethertype: int) -> bytes:
    """A Linux cooked frame, version 2."""
    return struct.pack(">HHIHBB8s", ethertype, 0, 2, 1, 0, 6, b"\x02\x00\x00\x00\x00\x01") + payload


@dataclass(frozen=True)
class Captured:
    """A frame to record: clock ticks since the epoch, its wire length and what was captured of it."""

    ticks: int
    wire_bytes: int
    frame: bytes


def pcap(frames: Sequence[Captured], link_type: int, *, order: str = "<", nanoseconds: bool = False) -> bytes:
    """A pcap file; ticks are micro- or nanoseconds."""
    magic = PCAP_MAGIC_NS if nanoseconds else PCAP_MAGIC_US
    per_second = 10**9 if nanoseconds else 10**6
    out = bytearray(struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link_type))
    for captured in frames:
        seconds, fraction = divmod(captured.ticks, per_second)
        lengths = (len(captured.frame), captured.wire_bytes)
        out += struct.pack(order + "IIII", seconds, fraction, *lengths) + captured.frame
    return bytes(out)


def snoop(frames: Sequence[Captured], datalink: int, *, drops: Sequence[int] = (), padding: int = 0) -> bytes:
    """A snoop file; ticks are microseconds, drops the cumulative ones of each record, padding is beyond that to 4."""
    out = bytearray(b"snoop\0\0\0" + struct.pack(">II", 2, datalink))
    for number, captured in enumerate(frames):
        seconds, fraction = divmod(captured.ticks, 10**6)
        pad = -len(captured.frame) % 4 + padding
        size, lost = len(captured.frame), drops[number] if number < len(drops) else 0
        out += struct.pack(">IIIIII", captured.wire_bytes, size, 24 + size + pad, lost, seconds, fraction)
        out += captured.frame + bytes(pad)
    return bytes(out)


def erf(frames: Sequence[Captured], *, kind: int = 2, extensions: int = 0, lost: Sequence[int] = ()) -> bytes:
    """An Endace ERF file; ticks are 2**-32 s. Records are filled to multiples of 8 bytes with 0xee."""
    out = bytearray()
    for number, captured in enumerate(frames):
        more = b"".join(bytes([3 | (0x80 if n + 1 < extensions else 0)]) + bytes(7) for n in range(extensions))
        body = more + (bytes(2) if kind in (2, 11, 16, 20) else b"") + captured.frame
        body += b"\xee" * (-(16 + len(body)) % 8)
        counted = lost[number] if number < len(lost) else 0
        out += struct.pack("<Q", captured.ticks) + bytes([kind | (0x80 if extensions else 0), 4])
        out += struct.pack(">HHH", 16 + len(body), counted, captured.wire_bytes) + body
    return bytes(out)


def block(kind: int, body: bytes, order: str) -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def option(code: int, value: bytes, order: str) -> bytes:
    """A pcapng option."""
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section_block(order: str) -> bytes:
    """A Section Header Block of unknown section length."""
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface_block(
    order: str,
    link_type: int,
    snap_bytes: int = 0,
    *,
    tsresol: int | None = None,
    tsoffset_s: int | None = None,
) -> bytes:
    """An Interface Description Block."""
    body = struct.pack(order + "HHI", link_type, 0, snap_bytes)
    if tsresol is not None:
        body += option(9, bytes([tsresol]), order)
    if tsoffset_s is not None:
        body += option(14, struct.pack(order + "q", tsoffset_s), order)
    if tsresol is not None or tsoffset_s is not None:
        body += option(0, b"", order)
    return block(INTERFACE, body, order)


def statistics_block(order: str, interface: int, interface_drops: int | None, system_drops: int | None) -> bytes:
    """An Interface Statistics Block."""
    body = struct.pack(order + "III", interface, 0, 0) + option(2, bytes(8), order)
    for code, count in ((5, interface_drops), (7, system_drops)):
        if count is not None:
            body += option(code, struct.pack(order + "Q", count), order)
    return block(STATISTICS, body + option(0, b"", order), order)


def enhanced_block(order: str, interface: int, captured: Captured, drops: int | None = None) -> bytes:
    """An Enhanced Packet Block."""
    high, low = divmod(captured.ticks, 2**32)
    fixed = struct.pack(order + "IIIII", interface, high, low, len(captured.frame), captured.wire_bytes)
    options = b""
    if drops is not None:
        options = option(1, b"a comment", order) + option(4, struct.pack(order + "Q", drops), order)
        options = bytes(-len(captured.frame) % 4) + options + option(0, b"", order)
    return block(ENHANCED_PACKET, fixed + captured.frame + options, order)


def old_block(order: str, interface: int, captured: Captured, drops: int = 0xFFFF) -> bytes:
    """An obsolete Packet Block."""
    high, low = divmod(captured.ticks, 2**32)
    lengths = (len(captured.frame), captured.wire_bytes)
    fixed = struct.pack(order + "HHIIII", interface, drops, high, low, *lengths)
    return block(OLD_PACKET, fixed + captured.frame, order)


def simple_block(order: str, captured: Captured) -> bytes:
    """A Simple Packet Block; the reader works out the captured length from interface 0."""
    return block(SIMPLE_PACKET, struct.pack(order + "I", captured.wire_bytes) + captured.frame, order)
