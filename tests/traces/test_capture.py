"""Reading captures: against the twin, through every way in, and damaged in every way."""

from __future__ import annotations

import gzip
import math
import os
import struct
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import DamagedCapture, InputError
from tests.support.captures import RELAXED, rows_of, some_capture
from tests.support.decoding import LATEST_NS, expected
from tests.support.strategies import Seeded, captures, make_capture, make_mutated_capture, mutated_captures
from tests.twins import captures as twin
from tests.twins import writing
from tests.twins.captures import Record
from tests.twins.writing import Captured


@RELAXED
@given(captures())
def test_drops_like_the_twin(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "c").write_bytes(data)
    with read_frames(tmp_path / "c", buffer_bytes=500) as reader:
        list(reader)
        assert reader.drops == twin.read_drops(data)
        assert reader.damages == []


def test_the_last_statistics_of_each_interface_count(tmp_path: Path) -> None:
    section = writing.section_block("<") + writing.interface_block("<", 1) + writing.interface_block("<", 1)
    first = [writing.statistics_block("<", 0, 5, 1), writing.statistics_block("<", 1, 100, None)]
    second = [writing.statistics_block("<", 0, 7, 1), writing.statistics_block("<", 9, 1000, 1000)]
    packet = writing.enhanced_block("<", 0, Captured(1, 3, b"abc"), 4)
    (tmp_path / "c").write_bytes(section + b"".join(first + second) + packet + section + first[0])
    with read_frames(tmp_path / "c") as reader:
        assert [len(batch.start) for batch in reader] == [1]
        assert reader.drops == {"interface": 7 + 100 + 5, "os": 2, "packet blocks": 4}


def test_snoop_reports_the_drops_of_its_last_record(tmp_path: Path) -> None:
    data = writing.snoop([Captured(i, 60, b"abcde") for i in range(3)], 4, drops=[0, 2, 9])
    (tmp_path / "c").write_bytes(data)
    with read_frames(tmp_path / "c") as reader:
        list(reader)
        assert (reader.format, reader.drops, reader.linktypes) == ("snoop", {"snoop": 9}, {1})


@pytest.mark.parametrize("length", [0, 23, 24, 2**32 - 1])
def test_a_snoop_record_shorter_than_its_packet_is_damage(tmp_path: Path, length: int) -> None:
    data = bytearray(writing.snoop([Captured(i, 60, b"abcde") for i in range(2)], 4))
    data[16 + 32 + 8 : 16 + 32 + 12] = length.to_bytes(4, "big")
    (tmp_path / "c").write_bytes(data)
    with pytest.raises(DamagedCapture, match="damaged at byte 48: a record has an impossible length"):
        list(read_frames(tmp_path / "c"))


@pytest.mark.parametrize("cut", [False, True])
def test_the_digest_is_of_the_whole_file_even_if_it_is_damaged(tmp_path: Path, cut: bool) -> None:
    data = bytearray(some_capture(20_000))
    data[5000:5100] = bytes([255]) * 100
    for stored in (bytes(data), gzip.compress(data), zstd(bytes(data))):
        stored = stored[: len(stored) - 9 * cut]
        (tmp_path / "c").write_bytes(stored)
        with read_frames(tmp_path / "c", buffer_bytes=10_000, digest=True) as reader:
            with pytest.raises(DamagedCapture):
                list(reader)
            assert reader.hexdigest() == xxhash.xxh3_128(stored).hexdigest()
            assert reader.bytes_read == len(stored)


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


def assert_reads_like_twin(path: Path, data: bytes, **sizes: int) -> None:
    path.write_bytes(data)
    theirs, their_damage = twin.read_all(data)
    try:
        ours, our_damage = rows_of(path, **sizes)
    except InputError:  # not even a header; the twin has one word for all of this
        assert their_damage == 0
        return
    assert our_damage == their_damage
    assert len(ours) == len(theirs)
    for comp, ref in zip(ours, theirs, strict=True):
        if ref.time_ns is not None and not -LATEST_NS <= ref.time_ns <= LATEST_NS:
            ref = Record(**(vars(ref) | {"time_ns": comp.time_ns}))
        assert comp == expected(ref)


def swaps_lengths(data: bytes) -> bool:
    """Whether a mutation made a pcap of a version before 2.4, which the twin does not know."""
    return data[:4] in twin.PCAP_MAGICS and data[4:8] not in (b"\x02\0\x04\0", b"\0\x02\0\x04")


@RELAXED
@given(captures(), st.sampled_from([64, 1000, 1 << 20]), st.sampled_from([1, 3, 100]))
def test_reads_like_the_twin(tmp_path: Path, data: bytes, buffer_bytes: int, batch_frames: int) -> None:
    assert_reads_like_twin(tmp_path / "c", data, buffer_bytes=buffer_bytes, batch_frames=batch_frames)


@RELAXED
@given(mutated_captures())
def test_reads_mutated_captures_like_the_twin(tmp_path: Path, data: bytes) -> None:
    if not swaps_lengths(data):
        assert_reads_like_twin(tmp_path / "c", data, buffer_bytes=128)


@pytest.mark.parametrize("mutate", [False, True])
def test_reads_seeded_captures_like_the_twin(tmp_path: Path, mutate: bool) -> None:
    for seed in range(300):
        data = (make_mutated_capture if mutate else make_capture)(Seeded(seed))
        if not swaps_lengths(data):
            assert_reads_like_twin(tmp_path / "c", data, buffer_bytes=256, batch_frames=4)


def test_reads_every_prefix_like_the_twin(tmp_path: Path) -> None:
    for data in (make_capture(Seeded(3)), make_capture(Seeded(4)), make_capture(Seeded(5))):
        for length in range(0, min(len(data), 700), 3):
            assert_reads_like_twin(tmp_path / "c", data[:length], buffer_bytes=100)


@pytest.mark.parametrize("buffer_bytes", [50, 4096, 1 << 22])
def test_compressed_in_any_number_of_members(tmp_path: Path, buffer_bytes: int) -> None:
    data = some_capture()
    half = len(data) // 2
    packed = {
        "plain": data,
        "gzip": gzip.compress(data),
        "gzip members": gzip.compress(data[:half]) + gzip.compress(b"") + gzip.compress(data[half:]),
        "gzip padded": gzip.compress(data) + bytes(1000),
        "zstd": zstd(data),
        "zstd frames": zstd(data[:half]) + zstd(data[half:]),
    }
    wanted, _ = twin.read_all(data)
    for name, stored in packed.items():
        (tmp_path / "c").write_bytes(stored)
        assert rows_of(tmp_path / "c", buffer_bytes=buffer_bytes) == (wanted, None), name
        with read_frames(tmp_path / "c") as reader:
            assert sum(len(batch.start) for batch in reader) == 500
            assert reader.compression == name.split()[0].replace("plain", "none")
            assert reader.bytes_read == reader.total_bytes == len(stored)


def test_reads_a_pipe(tmp_path: Path) -> None:
    data = some_capture()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for stored in (data, gzip.compress(data), zstd(data)):
        writer = threading.Thread(target=fifo.write_bytes, args=(stored,))
        writer.start()
        assert rows_of(fifo) == (twin.read_all(data)[0], None)
        writer.join()


def test_reads_standard_input(tmp_path: Path) -> None:
    code = "from segcast.traces.captures.reader import read_frames\n"
    code += "print(sum(len(batch.start) for batch in read_frames('-')))"
    for stored in (some_capture(), zstd(some_capture())):
        done = subprocess.run([sys.executable, "-c", code], input=stored, capture_output=True, check=True)
        assert done.stdout == b"500\n"


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_compressed_stream_cut_short(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    random = Seeded(1).random
    data = writing.pcap([Captured(i, 1500, random.randbytes(300)) for i in range(1000)], 101)
    stored = pack(data)
    wanted, _ = twin.read_all(data)
    (tmp_path / "c").write_bytes(stored[: len(stored) * 2 // 3])
    ours, damage = rows_of(tmp_path / "c")
    assert 400 < len(ours) < 700  # zstd gives whole blocks of 128 KiB
    assert ours == wanted[: len(ours)]
    assert damage == wanted[len(ours)].file_offset
    with pytest.raises(DamagedCapture, match="stream is cut short"):
        list(read_frames(tmp_path / "c"))
    assert rows_of(tmp_path / "c", buffer_bytes=1000) == (ours, damage)


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_compressed_stream_corrupt(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    stored = pack(some_capture()) + b"what is this"
    (tmp_path / "c").write_bytes(stored)
    ours, damage = rows_of(tmp_path / "c")
    assert len(ours) == 500
    assert damage == len(some_capture())
    (tmp_path / "c").write_bytes(pack(some_capture())[:12])
    with pytest.raises(InputError, match=r"nothing can be read: the .* stream is cut short"):
        read_frames(tmp_path / "c")


@pytest.mark.parametrize("damage_at", [0.3, 0.7, 1.0])
def test_corrupt_gzip_keeps_what_precedes_whatever_the_buffers(tmp_path: Path, damage_at: float) -> None:
    random = Seeded(2).random
    data = writing.pcap([Captured(i, 1500, random.randbytes(40) * 4) for i in range(2000)], 101)
    stored = bytearray(gzip.compress(data))
    at = min(int(len(stored) * damage_at), len(stored) - 6)  # of the last: the checksum
    stored[at : at + 4] = b"\xff" * 4
    (tmp_path / "c").write_bytes(stored)
    wanted, _ = twin.read_all(data)
    runs = [rows_of(tmp_path / "c", buffer_bytes=size) for size in (1 << 22, 1 << 16, 1000, 64)]
    for ours, damage in runs:
        assert (ours, damage) == runs[0]
    ours, damage = runs[0]
    assert len(ours) > (damage_at - 0.1) * len(wanted)
    assert damage is not None
    if damage_at == 1:
        assert ours == wanted


RESOLUTIONS = [*range(31), 40, 127, *(0x80 | n for n in (0, 1, 10, 20, 29, 30, 31, 32, 62, 63, 64, 65, 90, 127))]


@pytest.mark.parametrize("order", ["<", ">"])
def test_every_clock_exactly(tmp_path: Path, order: str) -> None:
    ticks = [0, 1, 999, 10**9 + 1, 2**32 - 1, 2**32, 2**53 + 1, 10**18 + 7, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
    blocks, wanted = [writing.section_block(order)], []
    for number, resolution in enumerate(RESOLUTIONS):
        offset_s = (0, 1_600_000_000, -5)[number % 3]
        blocks.append(writing.interface_block(order, 1, tsresol=resolution, tsoffset_s=offset_s))
        units = Fraction((2 if resolution & 0x80 else 10) ** (resolution & 0x7F))
        for tick in ticks:
            blocks.append(writing.enhanced_block(order, number, Captured(tick, 1, b"")))
            signed = tick - 2**64 if resolution <= 9 and tick >= 2**63 else tick
            wanted.append(math.floor(signed / units * 10**9) + offset_s * 10**9)
    path = tmp_path / "c"
    path.write_bytes(b"".join(blocks))
    ours = [record.time_ns for record in rows_of(path)[0]]
    assert len(ours) == len(wanted)
    for comp, ref in zip(ours, wanted, strict=True):
        assert comp == max(-LATEST_NS, min(ref, LATEST_NS))


@pytest.mark.parametrize("order", ["<", ">"])
def test_times_are_exact_up_to_the_ends_of_64_bits(tmp_path: Path, order: str) -> None:
    ends = [2**63 - 100, 2**63 - 99, 2**63 - 1, 2**63 - 854_775_808, 9_223_372_036 * 10**9 + 1]
    early = [2**64 - tick for tick in (1, 10**9, 2**63 - 1, 2**63 - 145_224_193)]  # below 0: before 1970
    blocks = [writing.section_block(order), writing.interface_block(order, 1, tsresol=9)]
    blocks += [writing.enhanced_block(order, 0, Captured(tick, 1, b"")) for tick in ends + early]
    (tmp_path / "c").write_bytes(b"".join(blocks))
    ours = [record.time_ns for record in rows_of(tmp_path / "c")[0]]
    assert ours == ends + [tick - 2**64 for tick in early]


def test_unknown_blocks_of_any_length_are_skipped(tmp_path: Path) -> None:
    start = writing.section_block("<") + writing.interface_block("<", 1)
    packet = writing.enhanced_block("<", 0, Captured(5_000_000, 3, b"abc"))
    (tmp_path / "c").write_bytes(start + writing.block(0x7777, bytes(20 << 20), "<") + packet)
    ours, damage = rows_of(tmp_path / "c", buffer_bytes=1 << 20)
    assert (len(ours), damage) == (1, None)
    endless = struct.pack("<II", 0x7777, 2**32 - 4) + bytes(100)
    (tmp_path / "c").write_bytes(start + packet + endless)
    ours, damage = rows_of(tmp_path / "c")
    assert (len(ours), damage) == (1, len(start + packet))


def test_hostile_lengths_are_damage(tmp_path: Path) -> None:
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    good = struct.pack("<IIII", 1, 0, 2, 2) + b"ab"
    (tmp_path / "c").write_bytes(header + good + struct.pack("<IIII", 1, 0, 2**32 - 1, 2**32 - 1) + bytes(1000))
    with pytest.raises(DamagedCapture, match="damaged at byte 42: a packet claims more than 262144 captured bytes"):
        list(read_frames(tmp_path / "c"))
    start = writing.section_block("<") + writing.interface_block("<", 1)
    (tmp_path / "c").write_bytes(start + struct.pack("<IIIIIII", 6, 2**31, 0, 0, 0, 2**31 - 32, 5) + bytes(1000))
    with pytest.raises(DamagedCapture, match=f"damaged at byte {len(start)}: a block has an impossible length"):
        list(read_frames(tmp_path / "c"))


def test_records_of_old_and_modified_pcaps(tmp_path: Path) -> None:
    for version, captured_first in ((4, True), (3, True), (3, False), (2, False)):
        lengths = (2, 9) if captured_first else (9, 2)
        head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, version, 0, 0, 65535, 1)
        (tmp_path / "c").write_bytes(head + struct.pack("<IIII", 1, 5, *lengths) + b"ab")
        ours, _ = rows_of(tmp_path / "c")
        assert ours == [Record(1, 24, 1_000_005_000, 2, 9, 1, b"ab")]
    for order in "<>":
        head = struct.pack(order + "IHHiIII", 0xA1B2CD34, 2, 4, 0, 0, 65535, 1)
        records = [struct.pack(order + "IIIIIHBB", 1, 5 + i, 2, 9, 7, 8, 1, 0) + b"ab" for i in range(2)]
        (tmp_path / "c").write_bytes(head + b"".join(records))
        wanted = [Record(1 + i, 24 + 26 * i, 1_000_005_000 + i * 1000, 2, 9, 1, b"ab") for i in range(2)]
        assert rows_of(tmp_path / "c")[0] == wanted


def test_a_capture_without_packets_is_valid(tmp_path: Path) -> None:
    for data in (writing.pcap([], 1), writing.section_block("<")):
        (tmp_path / "c").write_bytes(data)
        assert rows_of(tmp_path / "c") == ([], None)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "empty; record it again or check the copy"),
        (b"hello, world, this is text", "not a capture; a pcap, pcapng, snoop or ERF file is needed"),
        (
            b"snoop\0\0\0" + bytes(100),
            "a snoop capture of another version than 2, or cut off, which is not read; convert it with: editcap",
        ),
        (b"\xfd7zXZ\0" + bytes(100), "nothing can be read: the xz stream is corrupt"),
        (b"\xd4\xc3\xb2\xa1\x02\0", "a capture cut off within its header"),
        (gzip.compress(b"hello", mtime=0), "not a capture"),
    ],
)
def test_what_is_no_capture_is_named(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "c").write_bytes(content)
    with pytest.raises(InputError, match=text) as raised:
        read_frames(tmp_path / "c")
    assert "\n" not in str(raised.value)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a directory, not a capture"):
        read_frames(tmp_path)
    with pytest.raises(InputError, match="no such file; check the path"):
        read_frames(tmp_path / "absent")
    (tmp_path / "secret").write_bytes(some_capture())
    (tmp_path / "secret").chmod(0)
    if not os.access(tmp_path / "secret", os.R_OK):
        with pytest.raises(InputError, match="not readable by this user"):
            read_frames(tmp_path / "secret")


def test_a_reader_left_early_stops_its_thread(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(some_capture(20_000))
    before = threading.active_count()
    with read_frames(tmp_path / "c", buffer_bytes=1000) as reader:
        next(reader)
    assert threading.active_count() == before
