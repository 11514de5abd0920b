"""Formats of captures: ERF, old dialects of pcap, captures joined end to end, and the names of what is not read."""

from __future__ import annotations

import gzip
import shutil
import struct
import subprocess
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import Damage, DamagedCapture, InputError
from tests.support.captures import rows_of
from tests.support.decoding import records
from tests.support.strategies import Seeded
from tests.twins import captures as twin
from tests.twins import writing
from tests.twins.captures import Record
from tests.twins.writing import Captured

START_S = 1_700_000_000


def some(count: int, seed: int = 1, per_second: int = 10**6) -> list[Captured]:
    """Packets a millisecond apart."""
    c = Seeded(seed)
    sizes = [c.integer(20, 200) for _ in range(count)]
    step = per_second // 1000
    return [
        Captured(START_S * per_second + n * step + n, size + n % 3, c.random.randbytes(size))
        for n, size in enumerate(sizes)
    ]


def read_both(path: Path, **sizes: int) -> tuple[list[Record], list[Damage]]:
    """What plain reading and reading with `keep_going` both give."""
    runs = []
    for keep_going in (False, True):
        with read_frames(path, keep_going=keep_going, **sizes) as reader:
            runs.append(([record for batch in reader for record in records(batch)], reader.damages))
    assert runs[0] == runs[1]
    return runs[0]


@pytest.mark.parametrize(("kind", "extensions"), [(2, 0), (2, 1), (2, 3), (1, 0), (16, 1), (22, 0), (23, 2)])
def test_reads_erf_like_the_twin(tmp_path: Path, kind: int, extensions: int) -> None:
    frames = some(40, per_second=2**32)
    data = writing.erf(frames, kind=kind, extensions=extensions)
    (tmp_path / "c").write_bytes(data)
    for sizes in ({}, {"buffer_bytes": 100, "batch_frames": 3}):
        ours, damages = read_both(tmp_path / "c", **sizes)
        assert ours == list(twin.read_erf(data))
        assert [r.wire_bytes for r in ours] == [captured.wire_bytes for captured in frames]
        assert damages == []
    (tmp_path / "c").write_bytes(gzip.compress(data))
    assert read_both(tmp_path / "c")[0] == list(twin.read_erf(data))


@pytest.mark.parametrize("keep_going", [False, True])
def test_erf_counts_what_was_lost(tmp_path: Path, keep_going: bool) -> None:
    frames = some(20, per_second=2**32)
    pad = writing.erf([Captured(0, 0, b"")], kind=48)
    lost = [0, 0, 7, 0, 65535, *[1] * 15]
    whole = writing.erf(frames, lost=lost)
    (tmp_path / "c").write_bytes(whole[: len(whole)] + pad)
    with read_frames(tmp_path / "c", buffer_bytes=300, batch_frames=2, keep_going=keep_going) as reader:
        assert sum(len(batch.start) for batch in reader) == 20
        assert (reader.format, reader.drops) == ("erf", {"erf": 7 + 65535 + 15})
    (tmp_path / "c").write_bytes(writing.erf(frames, kind=11, lost=lost))  # a colour, not a count
    with read_frames(tmp_path / "c", keep_going=keep_going) as reader:
        assert sum(len(batch.start) for batch in reader) == 20
        assert reader.drops == {}


def test_erf_cut_short_keeps_what_precedes(tmp_path: Path) -> None:
    data = writing.erf(some(30, per_second=2**32))
    wanted = list(twin.read_erf(data))
    (tmp_path / "c").write_bytes(data[:-3])
    assert rows_of(tmp_path / "c") == (wanted[:-1], wanted[-1].file_offset)


def test_what_only_resembles_erf_is_no_capture(tmp_path: Path) -> None:
    for seed in range(300):
        c = Seeded(seed)
        noise = bytearray(c.random.randbytes(c.integer(16, 4000)))
        noise[8] = c.pick((2, 1, 11, 22))
        (tmp_path / "c").write_bytes(bytes(noise))
        with pytest.raises(InputError, match="not a capture"):
            read_frames(tmp_path / "c")


def test_what_begins_with_the_magic_of_another_format_is_no_erf(tmp_path: Path) -> None:
    sound = writing.erf(some(30, per_second=2**32))
    for magic, why in (
        (b"\x0a\x0d\x0d\x0a", "a capture cut off within its header"),
        (b"RTSS", "a NetMon capture"),
        (b"PAR1", "a Parquet file"),
    ):
        (tmp_path / "c").write_bytes(magic + sound[4:])  # a fraction of a second, as far as ERF is concerned
        with pytest.raises(InputError, match=why):
            read_frames(tmp_path / "c")


DIALECTS = {"Red Hat": (0xA1B2C3D4, 24), "Nokia": (0xA1B2C3D4, 20), "modified": (0xA1B2CD34, 24)}
DIALECTS["SuSE"] = (0xA1B2CD34, 28)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", DIALECTS)
def test_old_dialects_of_pcap(tmp_path: Path, name: str, order: str) -> None:
    magic, header = DIALECTS[name]
    for seed in range(30):
        frames = some(2 + seed % 5, seed)
        if seed % 2:
            frames = [replace(captured, frame=bytes(len(captured.frame))) for captured in frames]
        data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
        for captured in frames:
            seconds, micros = divmod(captured.ticks, 10**6)
            data += struct.pack(order + "IIII", seconds, micros, len(captured.frame), captured.wire_bytes)
            more = struct.pack(order + "IHBB", 2, 0x800, 0, 0) if header == 24 else bytes(header - 16)
            data += more + captured.frame
        (tmp_path / "c").write_bytes(data)
        ours, damages = read_both(tmp_path / "c", buffer_bytes=100)
        assert [(r.frame, r.time_ns) for r in ours] == [(c.frame, c.ticks * 1000) for c in frames]
        assert ours == list(twin.read_capture(data))
        assert damages == []


def test_an_odd_pcap_is_no_dialect(tmp_path: Path) -> None:
    """Fractions and lengths that cannot be, and damage at once, leave the record headers of the format."""
    for seed in range(100):
        c = Seeded(seed)
        data = bytearray(writing.pcap(some(6, seed), 1))
        for at in (28, 36):  # the fraction and the length on the wire of the first record
            if c.integer(0, 1):
                struct.pack_into("<I", data, at, c.random.getrandbits(32) % 5_000_000)
        (tmp_path / "c").write_bytes(bytes(data))
        assert [r.frame for r in read_both(tmp_path / "c")[0]] == [captured.frame for captured in some(6, seed)]


def halves(kind: str) -> list[tuple[bytes, list[Captured], int]]:
    """Captures to be joined: their bytes, packets and nanoseconds of a tick."""
    made = []
    for number, name in enumerate(kind.split("+")):
        frames = some(25, number)
        order = ">" if "swapped" in name else "<"
        if "pcapng" in name:
            data = writing.section_block(order) + writing.interface_block(order, 1)
            data += b"".join(writing.enhanced_block(order, 0, captured) for captured in frames)
        elif "snoop" in name:
            data = writing.snoop(frames, 4)
        else:
            nano = "nano" in name
            scaled = [replace(captured, ticks=captured.ticks * (1000 if nano else 1)) for captured in frames]
            data = writing.pcap(scaled, 1, order=order, nanoseconds=nano)
        made.append((data, frames, 1000))
    return made


JOINED = ["pcap+pcap", "pcap+swapped", "swapped+pcap", "pcap+nano", "swapped nano+pcap+nano", "snoop+snoop"]
JOINED += ["pcap+pcapng", "pcapng+pcap", "pcapng+swapped", "pcapng swapped+swapped", "snoop+pcap", "snoop+swapped"]
JOINED += ["pcap+snoop", "pcapng+snoop", "snoop+pcapng", "pcapng+pcapng swapped"]


@pytest.mark.parametrize("kind", JOINED)
def test_captures_joined_by_cat_are_read_each_by_its_header(tmp_path: Path, kind: str) -> None:
    parts = halves(kind)
    whole = b"".join(data for data, _, _ in parts)
    packed = b"".join(gzip.compress(data) for data, _, _ in parts)
    wanted = [(c.frame, c.wire_bytes, c.ticks * ns) for _, frames, ns in parts for c in frames]
    for stored in (whole, packed):
        (tmp_path / "c").write_bytes(stored)
        for sizes in ({}, {"buffer_bytes": 70, "batch_frames": 4}):
            ours, damages = read_both(tmp_path / "c", **sizes)
            assert [(r.frame, r.wire_bytes, r.time_ns) for r in ours] == wanted
            assert damages == []
    assert ours == list(twin.read_capture(whole))
    with read_frames(tmp_path / "c") as reader:
        assert sum(len(batch.start) for batch in reader) == len(wanted)
        sections = sum("pcapng" in one and "pcapng" in other for one, other in pairwise(kind.split("+")))
        assert reader.further_headers == len(parts) - 1 - sections


def test_a_second_header_that_is_cut_off_is_damage_there(tmp_path: Path) -> None:
    (first, frames, _), _ = halves("pcap+pcap")
    (tmp_path / "c").write_bytes(first + first[:18])
    with pytest.raises(DamagedCapture, match=f"damaged at byte {len(first)}: the header of another capture begins"):
        list(read_frames(tmp_path / "c"))
    with read_frames(tmp_path / "c", keep_going=True) as reader:
        assert sum(len(batch.start) for batch in reader) == len(frames)
        assert [damage.offset for damage in reader.damages] == [len(first)]


@pytest.mark.parametrize(
    ("begin", "name"),
    [
        (b"RTSS\0\1", "a NetMon capture"),
        (b"GMBU\0\2", "a NetMon capture"),
        (b"TRSNIFF data    \x1a", "a Sniffer capture"),
        (b"XCP\0\0\0", "a Sniffer capture"),
        (b"\xaa\xaa\xaa\xaa\0\0", "a 5Views capture"),
        (b"\x01\x10\x4c\0\1\5", "a LANalyzer capture"),
        (b" COMMUNICATIONS TRACE", "an iSeries communications trace"),
        (b"btsnoop\0\0\0\0\1", r"a Bluetooth capture \(BTSnoop\)"),
        (b"ObserverPktBufferVersion=15.00", "a capture of Network Instruments Observer"),
        (b"\x7fver\0\0", "an EtherPeek or OmniPeek capture"),
        (b"snoop\0\0\0\0\0\0\3", "a snoop capture of another version"),
    ],
)
def test_formats_not_read_are_named_with_the_way_to_convert_them(tmp_path: Path, begin: bytes, name: str) -> None:
    (tmp_path / "c").write_bytes(begin + bytes(200))
    with pytest.raises(InputError, match=f"{name}.*; convert it with: editcap -F pcapng CAPTURE OUT") as raised:
        read_frames(tmp_path / "c")
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("extensions", [0, 2])
def test_tshark_reads_erf_alike(tmp_path: Path, extensions: int) -> None:
    packet = writing.MACS + b"\x08\0" + writing.ipv4(writing.udp(1, 2), 17)
    frames = [Captured((START_S << 32) + (n << 20) + n, len(packet), packet) for n in range(20)]
    (tmp_path / "c.erf").write_bytes(writing.erf(frames, extensions=extensions))
    fields = [part for name in ("frame.time_epoch", "frame.cap_len", "frame.len") for part in ("-e", name)]
    command = ["tshark", "-r", str(tmp_path / "c.erf"), "-T", "fields", *fields]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == 20
    ours, _ = read_both(tmp_path / "c.erf")
    assert [(r.captured_bytes, r.wire_bytes) for r in ours] == [(int(line[1]), int(line[2])) for line in lines]
    times = [line[0].partition(".") for line in lines]
    assert [r.time_ns for r in ours] == [int(s) * 10**9 + int(ns.ljust(9, "0")) for s, _, ns in times]
