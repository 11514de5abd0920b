"""Compressed captures: every kind in any number of members, damaged in every way, and hostile."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import struct
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import lz4.frame
import pytest

from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import Damage
from tests.support.captures import rows_of, some_capture
from tests.support.strategies import Seeded
from tests.twins import captures as twin
from tests.twins import writing
from tests.twins.writing import Captured

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Pack = Callable[[bytes], bytes]


def lz4_small(data: bytes) -> bytes:
    return bytes(lz4.frame.compress(data, block_size=lz4.frame.BLOCKSIZE_MAX64KB, content_checksum=True))


def lz4_checked(data: bytes) -> bytes:
    return bytes(lz4.frame.compress(data, block_linked=False, block_checksum=True, store_size=True))


def zstd_checked(data: bytes) -> bytes:
    return bytes(zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1}))


PACKS: dict[str, Pack] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "zstd checked": zstd_checked,
    "lz4": lz4.frame.compress,
    "lz4 small": lz4_small,
    "lz4 checked": lz4_checked,
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lzma.compress,
}
SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"aside"


def capture_of(seed: int, frames: int = 1000, size: int = 300) -> bytes:
    random = Seeded(seed).random
    return writing.pcap([Captured(10**15 + i, 1500, random.randbytes(size)) for i in range(frames)], 101)


@pytest.mark.parametrize("buffer_bytes", [50, 4096, 1 << 22])
@pytest.mark.parametrize("name", PACKS)
def test_every_compression_in_any_number_of_members(tmp_path: Path, name: str, buffer_bytes: int) -> None:
    pack, data = PACKS[name], some_capture()
    half = len(data) // 2
    packed = [pack(data), pack(data[:half]) + pack(b"") + pack(data[half:]), pack(data) + bytes(1000)]
    if name.startswith(("zstd", "lz4")):
        packed += [pack(data[:half]) + SKIPPABLE + pack(data[half:])]
    for stored in packed:
        (tmp_path / "c").write_bytes(stored)
        assert rows_of(tmp_path / "c", buffer_bytes=buffer_bytes) == (twin.read_all(data)[0], None)
        with read_frames(tmp_path / "c") as reader:
            assert sum(len(batch.start) for batch in reader) == 500
            assert reader.compression == name.split()[0]
            assert reader.bytes_read == reader.total_bytes == len(stored)


def test_a_skippable_frame_may_come_first(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(SKIPPABLE + zstd.compress(some_capture()))
    assert len(rows_of(tmp_path / "c")[0]) == 500


@pytest.mark.parametrize("name", PACKS)
def test_a_stream_cut_anywhere_keeps_what_precedes(tmp_path: Path, name: str) -> None:
    data = capture_of(1, 300, 40)
    stored, wanted = PACKS[name](data), twin.read_all(data)[0]
    for cut in range(20, len(stored), len(stored) // 15):
        (tmp_path / "c").write_bytes(stored[:cut])
        try:
            ours, damage = rows_of(tmp_path / "c")
        except Exception as error:  # not even a header
            assert "nothing can be read" in str(error) and "cut short" in str(error)
            continue
        assert ours == wanted[: len(ours)]
        assert damage is not None


def exactly_before(kind: str, stored: bytes) -> bytes:
    """What a library gives before the damage, asked for a byte at a time."""
    if kind == "gzip":
        out, gz = bytearray(), zlib.decompressobj(wbits=31)
        with suppress(zlib.error):
            while piece := gz.decompress(stored, 1):
                out += piece
                stored = gz.unconsumed_tail
        return bytes(out)
    new = {"bzip2": bz2.BZ2Decompressor, "xz": lzma.LZMADecompressor}[kind]
    out, member, given = bytearray(), new(), stored
    with suppress(OSError, lzma.LZMAError):
        while not member.eof:
            out += member.decompress(given, 1)
            given = b""
    return bytes(out)


@pytest.mark.parametrize("name", PACKS)
@pytest.mark.parametrize("at", [0.4, 0.8, 1.0])
def test_a_corrupt_stream_keeps_what_precedes_whatever_the_buffers(tmp_path: Path, name: str, at: float) -> None:
    data = writing.pcap([Captured(i, 1500, Seeded(i).random.randbytes(40) * 4) for i in range(1800)], 101)
    stored = bytearray(PACKS[name](data))
    place = min(int(len(stored) * at), len(stored) - 9)
    stored[place : place + 4] = b"\xff" * 4
    (tmp_path / "c").write_bytes(stored)
    if name.startswith("zstd") and at < 0.8:
        return  # the first block is corrupt
    runs = [rows_of(tmp_path / "c", buffer_bytes=size) for size in (1 << 22, 1000)]
    for run in runs:
        assert run == runs[0]
    ours, damage = runs[0]
    wanted = twin.read_all(data)[0]
    assert damage is not None or name in ("zstd", "lz4")  # without checksums a changed literal is not noticed
    if name in ("gzip", "bzip2", "xz"):
        assert ours == twin.read_all(exactly_before(name, bytes(stored)))[0]
    elif name == "lz4 checked":  # the others give a block before they check it
        assert ours == wanted[: len(ours)] and len(ours) > 300


def test_a_wrong_checksum_leaves_all_records(tmp_path: Path) -> None:
    data = capture_of(3)
    for name in ("gzip", "zstd checked", "lz4 small"):
        stored = bytearray(PACKS[name](data))
        stored[-8 if name == "gzip" else -2] ^= 1
        (tmp_path / "c").write_bytes(stored)
        ours, damage = rows_of(tmp_path / "c")
        assert (len(ours), damage) == (1000, len(data)), name


@pytest.mark.parametrize("name", ["gzip", "bzip2", "xz"])
def test_corrupt_pipes(tmp_path: Path, name: str) -> None:
    stored = bytearray(PACKS[name](capture_of(4)))
    stored[len(stored) // 2] ^= 0xFF
    (tmp_path / "c").write_bytes(stored)
    os.mkfifo(tmp_path / "fifo")
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(bytes(stored),))
    writer.start()
    ours, damage = rows_of(tmp_path / "fifo")
    writer.join()
    theirs, their_damage = rows_of(tmp_path / "c")
    if name == "gzip":
        assert (ours, damage) == (theirs, their_damage)
    assert ours == theirs[: len(ours)] and len(theirs) - len(ours) < 14  # 4 KiB at most


def test_an_xz_stream_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 29}]
    stored = lzma.compress(some_capture(), filters=filters)
    (tmp_path / "c").write_bytes(stored)
    with pytest.raises(Exception, match=r"xz stream is corrupt \(it needs more than 192 MiB of memory") as raised:
        list(read_frames(tmp_path / "c"))
    assert "\n" not in str(raised.value)


def test_an_lz4_block_that_claims_gigabytes_allocates_nothing(tmp_path: Path) -> None:
    header = lz4.frame.compress(b"")[:7]
    (tmp_path / "c").write_bytes(header + struct.pack("<I", 0x7FFFFFFF) + bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(Exception, match="a block longer than its frame allows"):
        list(read_frames(tmp_path / "c"))
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["gzip", "zstd checked", "lz4 checked"])
def test_keep_going_at_the_next_member(tmp_path: Path, name: str) -> None:
    parts = [capture_of(seed, 400) for seed in range(5)]
    members = [bytearray(PACKS[name](part if n == 0 else part[24:])) for n, part in enumerate(parts)]
    for n in (1, 3):
        place = len(members[n]) // 2
        members[n][place : place + 9] = b"\xff" * 9
    (tmp_path / "c").write_bytes(b"".join(members))
    for buffer_bytes in (1000, 1 << 22):
        with read_frames(tmp_path / "c", buffer_bytes, keep_going=True) as reader:
            frames = [
                batch.data[at : at + size].tobytes()
                for batch in reader
                for at, size in zip(batch.start.tolist(), batch.captured.tolist(), strict=True)
            ]
        wanted = [record.frame for part in parts for record in twin.read_all(part)[0]]
        # Of a frame whose length or bytes come from the corrupt stretch nothing is promised.
        found = [wanted.index(frame) for frame in frames if frame in wanted]
        assert found == sorted(found) and len(frames) - len(found) <= 4
        assert set(range(400)) | set(range(800, 1200)) | set(range(1600, 2000)) <= set(found)
        assert [damage.resumed_at is not None for damage in reader.damages] == [True] * len(reader.damages)
        assert len(reader.damages) >= 2


def kept_frames(path: Path, buffer_bytes: int) -> tuple[list[bytes], list[Damage]]:
    """The frames that reading on behind damage gives, and the damage."""
    with read_frames(path, buffer_bytes, keep_going=True) as reader:
        frames = [
            batch.data[at : at + size].tobytes()
            for batch in reader
            for at, size in zip(batch.start.tolist(), batch.captured.tolist(), strict=True)
        ]
        return frames, reader.damages


def frames_of(data: bytes) -> list[bytes]:
    return [record.frame for record in twin.read_all(data)[0]]


@pytest.mark.parametrize("name", ["gzip", "zstd checked", "lz4 checked"])
@pytest.mark.parametrize("lost", range(10))
def test_the_member_behind_one_that_ends_wrongly_is_found(tmp_path: Path, name: str, lost: int) -> None:
    one, two = capture_of(1, 5, 9), capture_of(2, 20, 30)
    wrong = bytearray(PACKS[name](one[24:]))
    if lost:
        del wrong[-lost:]
    else:
        wrong[-8 if name == "gzip" else -2] ^= 1
    (tmp_path / "c").write_bytes(PACKS[name](one) + wrong + PACKS[name](two[24:]))
    runs = [kept_frames(tmp_path / "c", size) for size in (50, 64, 136, len(one), 1 << 22)]
    for run in runs:
        assert run == runs[0]
    frames, damages = runs[0]
    assert damages and damages[-1].resumed_at is not None
    assert frames[-20:] == frames_of(two)


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("before", [-2, 0, 40_000])
def test_the_member_behind_a_cut_one_is_found_whatever_was_read_as_the_rest_of_it(
    tmp_path: Path, before: int, piped: bool
) -> None:
    one, two = capture_of(1, 1200), capture_of(2, 400)  # bytes that do not compress: blocks as they are, of a length
    cut = (1 << 18) + before  # about where a piece of the stored bytes ends
    stored = gzip.compress(one)[:cut] + gzip.compress(two[24:])
    (tmp_path / "c").write_bytes(stored)
    os.mkfifo(tmp_path / "fifo")
    for buffer_bytes in (1000, 1 << 16, 1 << 22):
        path = tmp_path / "c"
        if piped:
            path = tmp_path / "fifo"
            writer = threading.Thread(target=path.write_bytes, args=(stored,))
            writer.start()
        frames, damages = kept_frames(path, buffer_bytes)
        if piped:
            writer.join()
        assert frames[-400:] == frames_of(two)
        assert frames[: cut // 316 - 2] == frames_of(one)[: cut // 316 - 2]
        assert damages and damages[-1].resumed_at is not None


def test_a_capture_in_the_member_behind_a_broken_one_is_read_by_its_own_header(tmp_path: Path) -> None:
    one, two = bytearray(gzip.compress(capture_of(1, 20))), capture_of(2, 20)
    one[len(one) // 2] ^= 0xFF
    two = two[:20] + struct.pack("<I", 113) + two[24:]
    (tmp_path / "c").write_bytes(one + gzip.compress(two))
    for buffer_bytes in (64, 1 << 22):
        with read_frames(tmp_path / "c", buffer_bytes, keep_going=True) as reader:
            linktypes = [linktype for batch in reader for linktype in batch.linktype.tolist()]
        assert linktypes[-20:] == [113] * 20 and set(linktypes[:-20]) == {101}
        assert reader.further_headers == 1
