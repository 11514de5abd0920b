"""Where fuzzing begins: the bundled capture, generated ones, and a folder of others where there is one."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from tests.fuzz.packers import PACKERS
from tests.fuzz.records import cut, split
from tests.twins import writing
from tests.twins.choosing import Seeded
from tests.twins.frames import LINK_TYPES, make_capture, make_frame
from tests.twins.writing import Captured

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(os.environ.get("SEGCAST_CAPTURES", ROOT.parent / "shared" / "captures"))
_CLUSTER: Final = ROOT / "segcast" / "traces" / "samples" / "cluster.pcap.gz"
_MOST_BYTES: Final = 8192
_SHORT_BYTES: Final = 1200


def seeds(generated: int = 150, folder: Path | None = FOLDER) -> Iterator[bytes]:
    """Captures: first the bundled one's frames, then made ones, then pieces of those in `folder`."""
    with gzip.open(_CLUSTER) as file:
        yield from _pieces(file.read(1 << 20))
    for number in range(generated):
        yield make_capture(Seeded(number))
    for link_type in LINK_TYPES:
        c = Seeded(link_type)
        frames = [make_frame(c, link_type, sound=True) for _ in range(4)]
        yield writing.pcap([Captured(10**15 + i, f.wire_bytes, f.captured) for i, f in enumerate(frames)], link_type)
    yield conversation()
    yield snoop(conversation())
    for datalink, link_type in ((4, 1), (8, 10), (12, 8), (26, 242)):
        c = Seeded(datalink)
        frames = [make_frame(c, link_type if link_type in LINK_TYPES else 1, sound=True) for _ in range(8)]
        yield writing.snoop([Captured(10**15 + i, f.wire_bytes, f.captured) for i, f in enumerate(frames)], datalink)
    yield conversation() + snoop(conversation())
    yield snoop(conversation())[:900] + conversation()
    yield from erfs()
    yield from odd()
    for pack in PACKERS.values():
        yield pack(cut(conversation(), 900))
        yield pack(conversation())
    yield b""
    for path in sorted(folder.rglob("*.*")) if folder is not None and folder.is_dir() else ():
        if path.is_file():
            yield from _pieces(_plain(path))


def _pieces(data: bytes) -> Iterator[bytes]:
    """A capture's beginning, and shorter pieces of it."""
    yield cut(data, _MOST_BYTES)
    if len(data) > _SHORT_BYTES:
        for skip in (0.0, 0.3, 0.6, 0.9):
            yield cut(data, _SHORT_BYTES, skip)


def _plain(path: Path) -> bytes:
    """A file's bytes, without gzip or zstd around them; at most the first 2 MiB."""
    stored = path.read_bytes()
    try:
        if stored[:2] == b"\x1f\x8b":
            return gzip.decompress(stored)[: 2 << 20]
        if stored[:4] == b"\x28\xb5\x2f\xfd":
            with pa.CompressedInputStream(pa.BufferReader(stored), "zstd") as stream:
                return bytes(stream.read(2 << 20))
    except (OSError, EOFError):
        pass
    return stored[: 2 << 20]


def conversation() -> bytes:
    """TCP between two hosts: a handshake that announces segment sizes, data, repeats, a super-frame and an end."""
    ends, frames, now = (b"\x0a\0\0\x01", b"\x0a\0\0\x02"), [], 10**15

    def say(side: int, seq: int, ack: int, flags: int, size: int = 0, options: bytes = b"") -> None:
        nonlocal now
        now += 70
        ports = ((1024, 80), (80, 1024))[side]
        segment = writing.tcp(*ports, seq=seq, ack=ack, flags=flags, data_offset=5 + len(options) // 4)
        segment = segment[:20] + options
        packet = writing.ipv4(
            segment,
            6,
            src=ends[side],
            dst=ends[1 - side],
            identification=now % 60_000,
            total_length=20 + len(segment) + size,
        )
        frames.append(Captured(now, len(packet) + size, packet))

    mss = b"\x02\x04" + struct.pack(">H", 536)
    say(0, 99, 0, 2, options=mss)
    say(1, 499, 100, 0x12, options=mss)
    for n in range(6):
        say(0, 100 + 536 * n, 500, 0x18, 536)
        say(1, 500, 100 + 536 * (n - n % 3), 0x10)
        say(1, 500, 100 + 536 * (n - n % 3), 0x10)
    say(0, 100, 500, 0x10, 536)
    say(0, 3315, 500, 0x10, 1)
    say(0, 3316, 500, 0x19, 5000)
    say(1, 500, 9000, 0x14)
    return writing.pcap(frames, 101)


def odd() -> Iterator[bytes]:
    """Captures whose records cannot be true, undamaged and damaged: what reads them is compiled with the rest."""
    for made, fraction_at, wire_at in ((conversation(), 28, 36), (snoop(conversation()), 36, 16)):
        data = bytearray(made)
        data[fraction_at : fraction_at + 4] = b"\x7f" * 4
        data[wire_at : wire_at + 4] = bytes(4)
        yield bytes(data)
        yield bytes(data[:1000]) + b"\xff" * 40 + bytes(data[1000:])


def erfs() -> Iterator[bytes]:
    """ERF captures of several types, with extension headers and losses."""
    for kind, link_type in ((2, 1), (1, 50), (16, 1), (22, 228)):
        c = Seeded(kind)
        frames = [make_frame(c, link_type, sound=True) for _ in range(8)]
        packed = [Captured((10**9 << 32) + (i << 20), len(f.captured) + 4, f.captured) for i, f in enumerate(frames)]
        yield writing.erf(packed, kind=kind, extensions=kind % 3, lost=[0, 3])


def snoop(pcap: bytes) -> bytes:
    """A classic pcap of this machine's order as a snoop file (RFC 1761) of Ethernet."""
    capture = split(pcap)
    assert capture is not None
    frames = []
    for record in capture.records:
        seconds, micros, _, wire = struct.unpack(capture.order + "IIII", record.head)
        frame = writing.MACS + b"\x08\0" + record.frame
        frames.append(Captured(seconds * 10**6 + micros, wire + 14, frame))
    return writing.snoop(frames, 4)
