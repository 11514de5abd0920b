"""Changes captures: bytes anywhere, bytes of a frame under true lengths, whole records, and words with a meaning.

In the manner of AFL's havoc stage, which stacks small changes at random.
"""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable
from typing import Final

from tests.fuzz.records import PCAP_MAGICS, SNOOP, Capture, Record, join, split

MOST_BYTES: Final = 1 << 13
_EDGES: Final = {
    1: (0, 1, 4, 15, 16, 20, 32, 40, 63, 64, 0x45, 0x4F, 0x60, 0x7F, 0x80, 0xFE, 0xFF),
    2: (0, 1, 8, 20, 21, 40, 64, 255, 256, 1460, 1500, 1501, 0x1FFF, 0x2000, 0x7FFF, 0x8000, 0xFFF8, 0xFFFF),
    4: (0, 1, 2, 16, 0xFFFF, 1 << 16, 262_144, 262_145, (1 << 24) - 1, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1),
    8: (0, 1, 1 << 32, 1 << 61, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 10**18, 9_223_372_036 * 10**9),
}
_CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}
_ETHERTYPES: Final = (0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x8847, 0x8848, 0x8864, 0x8863, 0x0806, 0x88CC, 0x8809)
_MORE_ETHERTYPES: Final = (0x88F7, 0x88E5, 0x6558, 0x880B, 0x88BE, 0x22EB, 0x05DC, 0x05DD)
_PORTS: Final = (4789, 8472, 6081, 2152, 80, 53)
_PROTOCOLS: Final = (0, 1, 4, 6, 17, 33, 41, 43, 44, 47, 50, 51, 59, 60, 132, 135, 136, 139, 140, 143)
_LINK_TYPES: Final = (
    *(0, 1, 9, 12, 50, 51, 101, 104, 108, 113, 166, 204, 219, 228, 229, 276, 105, 147, 65535),
    *(6, 10, 100, 107, 117, 119, 122, 127, 133, 138, 163, 178, 179, 192, 205, 206, 226, 239, 240, 258, 282, 284),
)
_BLOCK_TYPES: Final = (1, 2, 3, 4, 5, 6, 0xBAD, 0x40000BAD, 0x0A0D0D0A, 10)


def _headers() -> list[bytes]:
    """Whole headers that lead from one to the next."""
    ip4 = struct.pack(">BBHHHBBHII", 0x45, 0, 60, 7, 0, 64, 6, 0, 0x0A000001, 0x0A000002)
    ip6 = struct.pack(">IHBB", 0x60000000, 48, 6, 64) + bytes(15) + b"\x01" + bytes(15) + b"\x02"
    tcp = struct.pack(">HHIIBBHHH", 1024, 80, 1, 2, 0x60, 0x12, 4096, 0, 0) + b"\x02\x04\x05\xb4"
    srh = struct.pack(">BBBBBBH", 6, 4, 4, 1, 1, 0, 0) + ip6[8:40]
    ether = bytes(12) + b"\x08\x00"
    out = [ip4 + tcp, ip6 + tcp, tcp, ip6[:6] + b"\x2b\x40" + ip6[8:] + srh + tcp, srh, ip6[:6] + b"\x2c\x40" + ip6[8:]]
    out += [ip4[:9] + bytes([p]) + ip4[10:] for p in (4, 17, 41, 47, 51, 143)]
    out += [ip6[:6] + bytes([p]) + ip6[7:] for p in (0, 4, 17, 41, 44, 47, 51, 60, 143)]
    out += [struct.pack(">HHHH", 5000, port, 60, 0) for port in _PORTS]
    out += [b"\x08\0\0\0\0\0\x07\0" + ether, b"\0\0\x65\x58\0\0\x07\0" + ether, b"\x30\xff\0\x20\0\0\0\x07"]
    out += [
        struct.pack(">HH", f, k) for f in (0, 0x1000, 0xB000, 0x2001) for k in (0x0800, 0x6558, 0x88BE, 0x22EB, 0x880B)
    ]
    out += [
        b"\xaa\xaa\x03\0\0\0\x08\0",
        b"\x11\0\0\x07\0\x40\0\x21",
        b"\xff\x03\0\x21",
        b"\0\0\x11\x40",
        b"\xc2\4\0\1\0\0",
    ]
    out += [ip4[:6] + struct.pack(">H", o) + ip4[8:] + bytes(16) for o in (0x2000, 0x2001, 1, 0x1FFF)]
    out += [struct.pack(">BBHI", 6, 0, o, 7) for o in (1, 8, 9, 0xFFF8)]
    return out


def _words() -> list[bytes]:
    out = [*PCAP_MAGICS, SNOOP, b"\x0a\x0d\x0d\x0a", b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"]
    out += [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh9", b"\x04\x22\x4d\x18"]
    out += [struct.pack(">H", k) for k in (*_ETHERTYPES, *_MORE_ETHERTYPES, *_PORTS)]
    out += [bytes([p]) for p in _PROTOCOLS]
    for order in "<>":
        out += [struct.pack(order + "I", k) for k in (*_LINK_TYPES, *_BLOCK_TYPES)]
        out += [struct.pack(order + "HH", *option) for option in ((9, 1), (14, 8), (0, 0), (2, 4), (4, 8), (5, 8))]
    return out


HEADERS: Final = _headers()
WORDS: Final = _words()


@functools.lru_cache(1 << 13)
def _split(data: bytes) -> Capture | None:
    return split(data)


def _parts(data: bytes) -> Capture | None:
    """The parts of an input that will be asked for again; the list of records is the caller's."""
    capture = _split(data)
    return None if capture is None else capture._replace(records=capture.records.copy())


class Mutator:
    """Makes captures of captures, by a seed; `other` gives a further one to take pieces from."""

    def __init__(self, seed: int, other: Callable[[], bytes]) -> None:
        self.random = random.Random(seed)
        self._other = other

    def mutate(self, data: bytes) -> bytes:
        """A changed copy of at most MOST_BYTES."""
        r = self.random
        capture = _parts(data) if r.random() < 0.8 else None
        if capture is None or not capture.records:
            return bytes(self._havoc(bytearray(data), 1 << r.randrange(5)))[:MOST_BYTES]
        for _ in range(1 << r.randrange(4)):
            self._change(capture)
        made = join(capture)
        if r.random() < 0.1:
            made = bytes(self._havoc(bytearray(made), 1 + r.randrange(2)))
        return made[:MOST_BYTES]

    def _change(self, capture: Capture) -> None:
        """One change of records, in place."""
        r, records = self.random, capture.records
        if not records:
            return
        at = r.randrange(len(records))
        record = records[at]
        kind = r.randrange(20)
        if kind < 9:
            frame = bytearray(record.frame)
            records[at] = record._replace(frame=bytes(self._havoc(frame, 1 << r.randrange(4))))
        elif kind == 9:
            records[at] = record._replace(head=self._head(capture, record.head))
        elif kind == 10:
            records[at] = record._replace(frame=record.frame[: r.randrange(len(record.frame) + 1)])
        elif kind == 11:
            records[at] = record._replace(options=bytes(self._havoc(bytearray(record.options), 2)))
        elif kind == 12:
            del records[at]
        elif kind == 13:
            records.insert(r.randrange(len(records) + 1), records.pop(at))
        elif kind == 14:
            records.insert(r.randrange(len(records) + 1), record)
        elif kind == 15:
            self._repeat(records, at)
        elif kind == 16:
            records[at] = record._replace(frame=self._wrapped(record.frame))
        elif kind == 17 and capture.head:
            head = bytearray(capture.head)
            place, code = (16, ">I") if capture.kind == "snoop" else (20, capture.order + "I")
            if len(head) >= place + 4:
                struct.pack_into(code, head, place, r.choice(_LINK_TYPES))
                records[at] = record._replace(frame=r.choice(HEADERS) + record.frame)
                capture.records[:] = split(bytes(head) + join(capture)[len(head) :]).records  # type: ignore[union-attr]
        else:
            self._take(capture, at)

    def _head(self, capture: Capture, head: bytes) -> bytes:
        """A record's header with another time, original length or, in pcapng, kind or interface."""
        r, changed = self.random, bytearray(head)
        place = r.randrange(0, len(head), 4)
        if r.random() < 0.5 and len(head) >= place + 4:
            (value,) = struct.unpack_from(capture.order + "I", changed, place)
            value += r.choice((1, -1, 1000, -1000, 10**6, r.randrange(-(10**9), 10**9)))
            struct.pack_into(capture.order + "I", changed, place, value & 0xFFFFFFFF)
            return bytes(changed)
        return bytes(self._havoc(changed, 1))[: len(head)].ljust(len(head), b"\0")

    def _repeat(self, records: list[Record], at: int) -> None:
        """A record many times over, with a number in its frame that counts."""
        r, record = self.random, records[at]
        times, size = r.choice((3, 8, 20)), r.choice((1, 2, 4))
        if len(record.frame) < size or len(record.frame) * times > MOST_BYTES // 2:
            return
        place, step = r.randrange(len(record.frame) - size + 1), r.choice((0, 1, -1, 8, 1448))
        value = int.from_bytes(record.frame[place : place + size], "big")
        made = []
        for n in range(1, times):
            middle = ((value + n * step) % (1 << 8 * size)).to_bytes(size, "big")
            made.append(record._replace(frame=record.frame[:place] + middle + record.frame[place + size :]))
        records[at + 1 : at + 1] = made

    def _wrapped(self, frame: bytes) -> bytes:
        """A header put somewhere into the frame, near its beginning as a rule."""
        r = self.random
        place = r.choice((0, 12, 14, 34, 42, 54, r.randrange(len(frame) + 1)))
        return frame[:place] + r.choice(HEADERS) + frame[place:]

    def _take(self, capture: Capture, at: int) -> None:
        """A record of another capture, or its frame."""
        r = self.random
        other = _parts(self._other())
        if other is None or not other.records:
            return
        theirs = r.choice(other.records)
        if (other.kind, other.order, len(other.head)) == (capture.kind, capture.order, len(capture.head)):
            capture.records.insert(at, theirs)
        else:
            capture.records[at] = capture.records[at]._replace(frame=theirs.frame)

    def _havoc(self, data: bytearray, times: int) -> bytearray:
        """`times` changes of bytes."""
        r = self.random
        for _ in range(times):
            size = len(data)
            if size == 0:
                data[:] = r.choice(HEADERS)
                continue
            kind, at = r.randrange(12), r.randrange(size)
            if r.random() < 0.5:
                at = min(at, r.randrange(64))  # headers are in front
            if kind == 0:
                data[at] ^= 1 << r.randrange(8)
            elif kind == 1:
                data[at] = r.randrange(256)
            elif kind <= 4:
                width = r.choice((1, 2, 2, 4, 4, 8))
                if at + width > size:
                    continue
                code = r.choice("<>>") + _CODES[width]
                value = r.choice(_EDGES[width])
                if kind == 4:
                    value = struct.unpack_from(code, data, at)[0] + r.choice((1, -1, 2, -2, 4, 8, r.randrange(-40, 40)))
                struct.pack_into(code, data, at, value & ((1 << 8 * width) - 1))
            elif kind <= 6:
                word = r.choice(WORDS)
                data[at : at + (len(word) if kind == 5 else 0)] = word
            elif kind == 7:
                del data[at : at + (1 << r.randrange(7))]
            elif kind == 8:
                length = 1 << r.randrange(7)
                data[at:at] = data[r.randrange(size) :][:length] if r.random() < 0.7 else bytes(length)
            elif kind == 9:
                length, source = 1 << r.randrange(6), r.randrange(size)
                piece = data[source : source + length]
                data[at : at + len(piece)] = piece
            elif kind == 10:
                word = r.choice(HEADERS)
                data[at : at + (len(word) if r.random() < 0.5 else 0)] = word
            else:
                other = self._other()
                begin = r.randrange(len(other) + 1)
                piece = other[begin : begin + (1 << r.randrange(8))]
                data[at : at + (len(piece) if r.random() < 0.5 else 0)] = piece
        return data
