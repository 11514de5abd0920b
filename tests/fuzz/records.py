"""Takes captures apart into records and puts them together again with true lengths, for mutations inside them."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

PCAP_MAGICS: Final = {
    b"\xd4\xc3\xb2\xa1": ("<", 16),  # byte order, bytes of a record's header
    b"\xa1\xb2\xc3\xd4": (">", 16),
    b"\x4d\x3c\xb2\xa1": ("<", 16),
    b"\xa1\xb2\x3c\x4d": (">", 16),
    b"\x34\xcd\xb2\xa1": ("<", 24),
    b"\xa1\xb2\xcd\x34": (">", 24),
}
SNOOP: Final = b"snoop\0\0\0"
SECTION: Final = 0x0A0D0D0A
_FIXED: Final = {6: 28, 2: 28, 3: 12}  # bytes of a packet block before the frame
_OTHER: Final = 8  # of other blocks, before their body


class Record(NamedTuple):
    """A record or block: what stands before its frame, the frame, and the options after it (pcapng)."""

    head: bytes
    frame: bytes
    options: bytes = b""


class Capture(NamedTuple):
    """A capture: "pcap", "pcapng" or "snoop"; what precedes the records, and what follows the last whole one."""

    kind: str
    order: str
    head: bytes
    records: list[Record]
    rest: bytes


def split(data: bytes) -> Capture | None:
    """The parts of a capture, as far as its records go; None if it is none."""
    if data[:4] in PCAP_MAGICS and len(data) >= 24:
        order, size = PCAP_MAGICS[data[:4]]
        return _flat("pcap", order, data, 24, size)
    if data[:8] == SNOOP and len(data) >= 16:
        return _flat("snoop", ">", data, 16, 24)
    if data[:4] == b"\x0a\x0d\x0d\x0a":
        return _blocks(data)
    return None


def _flat(kind: str, order: str, data: bytes, at: int, size: int) -> Capture:
    head, records = data[:at], []
    while at + size <= len(data):
        place = at + (8 if kind == "pcap" else 4)
        (captured,) = struct.unpack_from(order + "I", data, place)
        padded = captured
        if kind == "snoop":
            padded = struct.unpack_from(">I", data, at + 8)[0] - size
        if padded < captured or at + size + padded > len(data):
            break
        records.append(Record(data[at : at + size], data[at + size : at + size + captured]))
        at += size + padded
    return Capture(kind, order, head, records, data[at:])


def _blocks(data: bytes) -> Capture:
    order, first, at, records = "<", "<", 0, []
    while at + 12 <= len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = ">" if data[at + 8 : at + 12] == b"\x1a\x2b\x3c\x4d" else "<"
            first = first if records else order
        kind, length = struct.unpack_from(order + "II", data, at)
        fixed = _FIXED.get(kind, _OTHER)
        if length < fixed + 4 or length % 4 or at + length > len(data):
            break
        body = data[at + fixed : at + length - 4]
        captured = len(body)
        if fixed == 28:
            captured = min(captured, struct.unpack_from(order + "I", data, at + 20)[0])
        padded = (captured + 3) // 4 * 4
        records.append(Record(data[at : at + fixed], body[:captured], body[padded:]))
        at += length
    return Capture("pcapng", first, b"", records, data[at:])


def join(capture: Capture) -> bytes:
    """The capture as bytes; captured and block lengths are those of the parts, and the original ones follow them."""
    order, out = capture.order, [capture.head]
    for record in capture.records:
        head, size = bytearray(record.head), len(record.frame)
        if capture.kind == "pcap":
            _set_lengths(head, order, 8, 12, size)
            out += (head, record.frame)
        elif capture.kind == "snoop":
            _set_lengths(head, order, 4, 0, size)
            struct.pack_into(">I", head, 8, len(head) + (size + 3) // 4 * 4)
            out += (head, record.frame, bytes(-size % 4))
        else:
            if head[:4] == b"\x0a\x0d\x0d\x0a":
                order = ">" if record.frame[:4] == b"\x1a\x2b\x3c\x4d" else "<"
            length = len(head) + (size + 3) // 4 * 4 + len(record.options) // 4 * 4 + 4
            struct.pack_into(order + "I", head, 4, length)
            if len(head) == 28:
                _set_lengths(head, order, 20, 24, size)
            options = record.options[: len(record.options) // 4 * 4]
            out += (head, record.frame, bytes(-size % 4), options, struct.pack(order + "I", length))
    return b"".join((*out, capture.rest))


def _set_lengths(head: bytearray, order: str, captured_at: int, wire_at: int, size: int) -> None:
    (captured,) = struct.unpack_from(order + "I", head, captured_at)
    (wire,) = struct.unpack_from(order + "I", head, wire_at)
    struct.pack_into(order + "I", head, captured_at, size)
    struct.pack_into(order + "I", head, wire_at, max(0, wire + size - captured) & 0xFFFFFFFF)


def spread(capture: Capture, files: list[int]) -> list[Capture]:
    """Captures that `files` numbers for each record; blocks that are no packets go to every one of them."""
    parts = [capture._replace(records=[], rest=b"") for _ in range(max(files) + 1)]
    for record, file in zip(capture.records, files, strict=True):
        for number, part in enumerate(parts):
            if number == file or (capture.kind == "pcapng" and len(record.head) == _OTHER):
                part.records.append(record)
    return parts


def cut(data: bytes, most_bytes: int, skip: float = 0.0) -> bytes:
    """At most `most_bytes` of a capture, whole records, from a share of its records on; its headers stay."""
    capture = split(data)
    if capture is None:
        return data[:most_bytes]
    begin = int(len(capture.records) * skip)
    kept, size = [], len(capture.head)
    for number, record in enumerate(capture.records):
        packet = capture.kind != "pcapng" or len(record.head) > _OTHER
        if packet and number < begin:
            continue
        size += len(record.head) + len(record.frame) + len(record.options) + 8
        if size > most_bytes:
            break
        kept.append(record)
    return join(capture._replace(records=kept, rest=b""))
