"""Reads capture files the slow and obvious way: pcap, pcapng and snoop from bytes, record by record.

A capture that breaks off or contradicts itself gives the records before that, then raises `DamagedError`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

PCAP_MAGICS = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),  # byte order, nanoseconds of one unit
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
MODIFIED_MAGICS = {b"\x34\xcd\xb2\xa1": ("<", 1000), b"\xa1\xb2\xcd\x34": (">", 1000)}
SNOOP_MAGIC = b"snoop\0\0\0"
# RFC 1761, and types that Sun added; what is not here has no link type
SNOOP_ETHERNETS, SNOOP_OTHERS = (0, 4, 22, 24, 25), {2: 6, 8: 10, 12: 8, 16: 224, 17: 123, 18: 123, 23: 6, 26: 242}
SECTION_HEADER, INTERFACE, OLD_PACKET, SIMPLE_PACKET, STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
OPTION_END, OPTION_TSRESOL, OPTION_TSOFFSET, OPTION_DROPCOUNT = 0, 9, 14, 4
OPTION_INTERFACE_DROPS, OPTION_SYSTEM_DROPS = 5, 7


class DamagedError(Exception):
    """The capture is broken at `offset`, where a record or block begins."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"damaged at byte {offset}: {reason}")
        self.offset = offset


class JoinedError(Exception):
    """At `offset`, where a record or block would begin, the header of another capture does."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"joined at byte {offset}")
        self.offset = offset


@dataclass(frozen=True)
class Record:
    """A frame as recorded; a pcapng Simple Packet Block has no time."""

    frame_number: int
    file_offset: int
    time_ns: int | None
    captured_bytes: int
    wire_bytes: int
    link_type: int
    frame: bytes


@dataclass(frozen=True)
class Interface:
    """A pcapng interface: its link type, snap length (0: none), ticks per second, and offset of its clock."""

    link_type: int
    snap_bytes: int
    ticks_per_s: Fraction
    offset_s: int


def file_begins(data: bytes, at: int) -> bool:
    """Whether another file's header begins at `at`: `cat a b`."""
    if data[at : at + 4] in (*PCAP_MAGICS, *MODIFIED_MAGICS):
        return data[at + 4 : at + 8] in (b"\2\0\4\0", b"\0\2\0\4")
    if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
        return data[at + 8 : at + 12] in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d")
    return data[at : at + 12] == SNOOP_MAGIC + b"\0\0\0\2"


def read_capture(data: bytes) -> Iterator[Record]:
    """The records of a pcap, pcapng or snoop file, and of those that follow it in the same file."""
    begin = count = 0
    while True:
        place = begin
        try:
            for record in read_one(data[begin:]):
                count += 1
                yield replace(record, frame_number=count, file_offset=record.file_offset + begin)
            return
        except JoinedError as joined:
            begin += joined.offset
        except DamagedError as damage:
            raise DamagedError(place + damage.offset, str(damage)) from None


def read_one(data: bytes) -> Iterator[Record]:
    """The records of a pcap, pcapng or snoop file."""
    if data[:8] == SNOOP_MAGIC:
        return read_snoop(data)
    if data[:4] in PCAP_MAGICS or data[:4] in MODIFIED_MAGICS:
        return read_pcap(data)
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        return read_pcapng(data)
    raise DamagedError(0, "no capture")


def read_all(data: bytes) -> tuple[list[Record], int | None]:
    """The records before any damage, and the offset of the damage."""
    records: list[Record] = []
    try:
        records.extend(read_capture(data))  # keeps what came before an error
    except DamagedError as damage:
        return records, damage.offset
    return records, None


def pcap_header_bytes(data: bytes, order: str, unit_ns: int) -> int:
    """Bytes of a record header: the first of its magic's that four records fit, or two and more up to the end.

    That of the format itself is left only if one of these records cannot be.
    """
    sizes = {1: (16,), 1000: (24, 28) if data[:4] in MODIFIED_MAGICS else (16, 24, 20)}[unit_ns]
    for size in sizes:
        at, seen, possible = 24, [], True
        while len(seen) < 4 and possible and at + size <= len(data):
            seconds, fraction, captured, wire = struct.unpack_from(order + "IIII", data, at)
            possible = fraction * unit_ns < 10**9 and 0 < captured <= wire and captured <= 262144
            possible = possible and (not seen or abs(seconds - seen[-1]) <= 7 * 24 * 3600)
            seen.append(seconds)
            at += size + captured
        if possible and (len(seen) == 4 or (len(seen) > 1 and at == len(data)) or size == sizes[0]):
            return size
    return sizes[0]


def read_pcap(data: bytes) -> Iterator[Record]:
    """The records of a pcap file; the upper half of the link type field (FCS length) is ignored."""
    order, unit_ns = (PCAP_MAGICS | MODIFIED_MAGICS)[data[:4]]
    if len(data) < 24:
        raise DamagedError(0, "file header cut short")
    size = pcap_header_bytes(data, order, unit_ns)
    (link_type,) = struct.unpack_from(order + "I", data, 20)
    at = 24
    frame_number = 1
    while at < len(data):
        if at + size > len(data):
            raise DamagedError(at, "record header cut short")
        if file_begins(data, at):
            raise JoinedError(at)
        seconds, fraction, captured, wire = struct.unpack_from(order + "IIII", data, at)
        frame = data[at + size : at + size + captured]
        if len(frame) < captured:
            raise DamagedError(at, "record cut short")
        time_ns = seconds * 10**9 + fraction * unit_ns
        yield Record(frame_number, at, time_ns, captured, wire, link_type & 0xFFFF, frame)
        frame_number += 1
        at += size + captured


def read_snoop(data: bytes) -> Iterator[Record]:
    """The records of a snoop file, version 2."""
    if len(data) < 16 or data[8:12] != b"\0\0\0\2":
        raise DamagedError(0, "file header cut short, or of another version")
    datalink = int.from_bytes(data[12:16], "big")
    link_type = 1 if datalink in SNOOP_ETHERNETS else SNOOP_OTHERS.get(datalink, 0xFF00 | min(datalink, 255))
    at = 16
    frame_number = 1
    while at < len(data):
        if at + 24 <= len(data) and file_begins(data, at):
            raise JoinedError(at)
        wire, captured, length = struct.unpack(">III", data[at : at + 12].ljust(12, b"\0"))
        if at + 24 > len(data) or length < 24 + captured or at + length > len(data):
            raise DamagedError(at, "record cut short, or shorter than what it holds")
        seconds, microseconds = struct.unpack_from(">II", data, at + 16)
        frame = data[at + 24 : at + 24 + captured]
        yield Record(frame_number, at, seconds * 10**9 + microseconds * 1000, captured, wire, link_type, frame)
        frame_number += 1
        at += length


def read_erf(data: bytes) -> Iterator[Record]:
    """The records of an ERF file of Ethernet, HDLC, IPv4 or IPv6; those of type 48 only fill room."""
    link_types = {1: 50, 2: 1, 10: 50, 11: 1, 16: 1, 20: 1, 22: 228, 23: 229}
    at = 0
    frame_number = 1
    while at < len(data):
        kind = data[at + 8] & 0x7F if at + 16 <= len(data) else 0
        length, wire = int.from_bytes(data[at + 10 : at + 12], "big"), int.from_bytes(data[at + 14 : at + 16], "big")
        if at + 16 > len(data) or length < 16 or at + length > len(data):
            raise DamagedError(at, "record cut short")
        begin = at + 16
        more = data[at + 8] >= 0x80
        while more:
            more = data[begin] >= 0x80
            begin += 8
        begin += 2 if link_types.get(kind) == 1 else 0
        if kind != 48:
            frame = data[begin : min(at + length, begin + wire)]
            time_ns = round(Fraction(int.from_bytes(data[at : at + 8], "little"), 2**32) * 10**9)
            yield Record(frame_number, at, time_ns, len(frame), wire, link_types[kind], frame)
            frame_number += 1
        at += length


def read_drops(data: bytes) -> dict[str, int]:
    """Packets lost while a whole capture was made, by who says so."""
    if data[:8] == SNOOP_MAGIC:
        lost = {"snoop": 0}
        for record in read_snoop(data):
            lost["snoop"] = int.from_bytes(data[record.file_offset + 12 : record.file_offset + 16], "big")
    elif data[:4] == b"\x0a\x0d\x0d\x0a":
        lost = {"packet blocks": 0, "interface": 0, "os": 0}
        latest: dict[tuple[int, int], dict[str, int]] = {}  # by section and interface
        order, section, at = "<", 0, 0
        while at < len(data):
            if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
                order, section = section_order(data, at), at
            kind, length = struct.unpack_from(order + "II", data, at)
            body = data[at + 8 : at + length - 4]
            if kind == STATISTICS:
                said = dict(read_options(body[12:], order))
                (number,) = struct.unpack_from(order + "I", body)
                values = [said.get(code, b"") for code in (OPTION_INTERFACE_DROPS, OPTION_SYSTEM_DROPS)]
                latest[section, number] = {
                    who: int.from_bytes(value, "little" if order == "<" else "big")
                    for who, value in zip(("interface", "os"), values, strict=True)
                }
            elif kind == ENHANCED_PACKET:
                (captured,) = struct.unpack_from(order + "I", body, 12)
                for code, value in read_options(body[20 + captured + -captured % 4 :], order):
                    if code == OPTION_DROPCOUNT:
                        lost["packet blocks"] += int.from_bytes(value, "little" if order == "<" else "big")
            elif kind == OLD_PACKET:
                (drops,) = struct.unpack_from(order + "H", body, 2)
                lost["packet blocks"] += drops if drops != 0xFFFF else 0
            at += length
        for said_last in latest.values():
            for who, count in said_last.items():
                lost[who] += count
    else:
        lost = {}
    return {who: count for who, count in lost.items() if count}


def read_pcapng(data: bytes) -> Iterator[Record]:
    """The records of a pcapng file: sections of either byte order; blocks of other kinds are skipped."""
    order = "<"
    interfaces: list[Interface] = []
    frame_number = 1
    at = 0
    while at < len(data):
        if at + 12 > len(data):
            raise DamagedError(at, "block cut short")
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = section_order(data, at)
            interfaces = []
        elif file_begins(data, at):
            raise JoinedError(at)
        kind, length = struct.unpack_from(order + "II", data, at)
        if length < 12 or length % 4 != 0:
            raise DamagedError(at, f"block length {length}")
        if at + length > len(data):
            raise DamagedError(at, "block cut short")
        (length_again,) = struct.unpack_from(order + "I", data, at + length - 4)
        if length_again != length:
            raise DamagedError(at, f"block lengths {length} and {length_again} differ")
        body = data[at + 8 : at + length - 4]
        if kind == INTERFACE:
            interfaces.append(read_interface(body, order, at))
        elif kind in (ENHANCED_PACKET, OLD_PACKET, SIMPLE_PACKET):
            yield read_packet(kind, body, order, interfaces, frame_number, at)
            frame_number += 1
        at += length


def section_order(data: bytes, at: int) -> str:
    """The byte order of the section whose header is at `at`."""
    magic = data[at + 8 : at + 12]
    if magic not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
        raise DamagedError(at, "no byte-order magic")
    order = "<" if magic == b"\x4d\x3c\x2b\x1a" else ">"
    if at + 28 > len(data):
        raise DamagedError(at, "section header cut short")
    length, _, major = struct.unpack_from(order + "IIH", data, at + 4)
    if length < 28 or major != 1:
        raise DamagedError(at, f"section header of {length} bytes, version {major}")
    return order


def read_interface(body: bytes, order: str, at: int) -> Interface:
    """An Interface Description Block."""
    if len(body) < 8:
        raise DamagedError(at, "interface block cut short")
    link_type, _, snap_bytes = struct.unpack_from(order + "HHI", body)
    ticks_per_s = Fraction(10**6)
    offset_s = 0
    for code, value in read_options(body[8:], order):
        if code == OPTION_TSRESOL and len(value) == 1:
            base = 2 if value[0] & 0x80 else 10
            ticks_per_s = Fraction(base ** (value[0] & 0x7F))
        if code == OPTION_TSOFFSET and len(value) == 8:
            (offset_s,) = struct.unpack(order + "q", value)
    return Interface(link_type, snap_bytes, ticks_per_s, offset_s)


def read_options(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The options of a block; one that runs past the block ends them."""
    at = 0
    while at + 4 <= len(data):
        code, length = struct.unpack_from(order + "HH", data, at)
        value = data[at + 4 : at + 4 + length]
        if code == OPTION_END or len(value) < length:
            return
        yield code, value
        at += 4 + (length + 3) // 4 * 4


def read_packet(kind: int, body: bytes, order: str, interfaces: list[Interface], frame_number: int, at: int) -> Record:
    """An Enhanced, obsolete or Simple Packet Block."""
    fixed_bytes = 4 if kind == SIMPLE_PACKET else 20
    if len(body) < fixed_bytes:
        raise DamagedError(at, "packet block cut short")
    high = low = 0
    if kind == ENHANCED_PACKET:
        number, high, low, captured, wire = struct.unpack_from(order + "IIIII", body)
    elif kind == OLD_PACKET:
        number, _, high, low, captured, wire = struct.unpack_from(order + "HHIIII", body)
    else:
        number, captured = 0, 0
        (wire,) = struct.unpack_from(order + "I", body)
    if number >= len(interfaces):
        raise DamagedError(at, f"no interface {number}")
    interface = interfaces[number]
    time_ns: int | None = None
    if kind == SIMPLE_PACKET:
        captured = min(wire, interface.snap_bytes) if interface.snap_bytes else wire
    else:
        ticks = (high << 32) | low
        time_ns = math.floor(ticks / interface.ticks_per_s * 10**9) + interface.offset_s * 10**9
    frame = body[fixed_bytes : fixed_bytes + captured]
    if len(frame) < captured:
        raise DamagedError(at, "packet longer than its block")
    return Record(frame_number, at, time_ns, captured, wire, interface.link_type, frame)
