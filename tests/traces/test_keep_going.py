"""Damaged captures read on: what precedes damage is kept, what follows is found again, hostile input stays cheap."""

from __future__ import annotations

import struct
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import Damage, InputError
from tests.support.captures import RELAXED, rows_of
from tests.support.decoding import records
from tests.support.strategies import Seeded, mutated_captures
from tests.twins import captures as twin
from tests.twins import writing
from tests.twins.captures import Record
from tests.twins.writing import Captured

FORMATS = ("pcap", "pcap swapped", "snoop", "pcapng", "pcapng swapped")


def read_on(path: Path, **sizes: int) -> tuple[list[Record], list[Damage]]:
    with read_frames(path, **sizes, keep_going=True) as reader:
        return [record for batch in reader for record in records(batch)], reader.damages


def make(kind: str, seed: int, frames: int = 60) -> tuple[bytes, list[Record]]:
    c = Seeded(seed)
    recorded = []
    for i in range(frames):
        size = c.pick((54, 60, 100, 1500))
        payload = c.pick((c.random.randbytes(size), bytes(size)))  # zeros look like records of nothing
        recorded.append(Captured(1_700_000_000_000_000 + 1000 * i, size + c.pick((0, 900)), payload))
    order = ">" if "swapped" in kind else "<"
    if kind.startswith("pcapng"):
        data = writing.section_block(order) + writing.interface_block(order, 1)
        data += b"".join(writing.enhanced_block(order, 0, captured, 0) for captured in recorded)
    elif kind == "snoop":
        data = writing.snoop(recorded, 4)
    else:
        data = writing.pcap(recorded, 1, order=order)
    return data, twin.read_all(data)[0]


def shape(record: Record) -> tuple[int, int, bytes]:
    return record.file_offset, record.time_ns or 0, record.frame


@pytest.mark.parametrize("kind", FORMATS)
def test_nothing_is_lost_of_a_sound_capture(tmp_path: Path, kind: str) -> None:
    data, wanted = make(kind, 1, 300)
    (tmp_path / "c").write_bytes(data)
    for sizes in ({}, {"buffer_bytes": 70, "batch_frames": 1}, {"batch_frames": 7}):
        assert read_on(tmp_path / "c", **sizes) == (wanted, [])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("way", ["overwritten", "taken out", "put in"])
def test_a_corrupt_record_costs_few(tmp_path: Path, kind: str, way: str) -> None:
    for seed in range(40):
        data, wanted = make(kind, seed)
        c = Seeded(seed + 1000)
        bad = c.integer(2, len(wanted) - 8)
        begin, after = wanted[bad].file_offset, wanted[bad + 1].file_offset
        at = begin + c.integer(0, 27) if c.integer(0, 2) else c.integer(begin, after - 1)
        size = c.integer(1, 12)
        shift = {"overwritten": 0, "taken out": -size, "put in": size}[way]
        stuff = b"" if way == "taken out" else c.random.randbytes(size)
        data = data[:at] + stuff + data[at + (0 if way == "put in" else size) :]
        (tmp_path / "c").write_bytes(data)
        runs = [read_on(tmp_path / "c", buffer_bytes=size) for size in (1 << 20, 500)]
        assert runs[0] == runs[1]
        ours, damages = runs[0]
        # Before: all; after: all but few; between: only what begins where a record did.
        assert [shape(record) for record in ours[:bad]] == [shape(record) for record in wanted[:bad]]
        later = [(offset + shift, when, frame) for offset, when, frame in map(shape, wanted[bad + 4 :])]
        assert [shape(record) for record in ours][-len(later) :] == later
        offsets = {record.file_offset for record in wanted[: bad + 1]}
        offsets |= {record.file_offset + shift for record in wanted[bad:]}
        assert {record.file_offset for record in ours} <= offsets
        for damage in damages:
            assert damage.resumed_at is not None and damage.offset < damage.resumed_at
            assert begin <= damage.offset


def test_a_length_that_is_too_long_swallows_nothing(tmp_path: Path) -> None:
    data, wanted = make("pcap", 5)
    bad = wanted[10].file_offset
    length = wanted[30].file_offset - bad + 5
    data = data[: bad + 8] + struct.pack("<II", length, length) + data[bad + 16 :]
    (tmp_path / "c").write_bytes(data)
    ours, damages = read_on(tmp_path / "c")
    assert [shape(record) for record in ours] == [shape(record) for record in wanted[:10] + wanted[11:]]
    assert [(d.offset, d.resumed_at) for d in damages] == [(bad, wanted[11].file_offset)]


def test_what_is_odd_but_sound_is_kept(tmp_path: Path) -> None:
    """A clock that was set, a packet captured beyond its length, one of length 0: their neighbours vouch for them."""
    start = 1_700_000_000_000_000
    times = [start + n if n < 10 else n for n in range(30)]
    wire = [{15: 3, 20: 0}.get(n, 40) for n in range(30)]
    frames = [Captured(when, size, b"x" * 30 * (size > 0)) for when, size in zip(times, wire, strict=True)]
    data = writing.pcap(frames, 1)
    (tmp_path / "c").write_bytes(data)
    assert read_on(tmp_path / "c") == (twin.read_all(data)[0], [])


def test_truncation_ends_the_capture(tmp_path: Path) -> None:
    for kind in FORMATS:
        data, wanted = make(kind, 2)
        (tmp_path / "c").write_bytes(data[:-7])
        ours, damages = read_on(tmp_path / "c")
        assert ours == wanted[:-1]
        assert [(d.offset, d.resumed_at) for d in damages] == [(wanted[-1].file_offset, None)]


def test_captures_joined_by_cat_are_read_on(tmp_path: Path) -> None:
    first, wanted = make("pcap", 1)
    second, more = make("pcap", 2)
    (tmp_path / "c").write_bytes(first + second)
    ours, damages = read_on(tmp_path / "c")
    assert [r.frame for r in ours] == [r.frame for r in wanted + more]
    assert damages == []


@pytest.mark.parametrize("fraction", [0, 1, 16_711_728])
def test_only_zeros_alone_are_bytes_that_were_never_written(tmp_path: Path, fraction: int) -> None:
    data = writing.pcap([], 1) + struct.pack("<IIII", 0, fraction, 0, 0)
    (tmp_path / "c").write_bytes(data)
    plain, damage = rows_of(tmp_path / "c")
    ours, damages = read_on(tmp_path / "c")
    assert len(plain) == 1 and damage is None
    assert (ours, [d.offset for d in damages]) == ((plain, []) if fraction else ([], [24]))


def joined(tmp_path: Path, first: bytes, second: bytes) -> tuple[list[Record], list[Damage]]:
    """The records of two captures in one file, the same whatever the buffers."""
    (tmp_path / "c").write_bytes(first + second)
    runs = [read_on(tmp_path / "c", buffer_bytes=size) for size in (1 << 20, 70)]
    assert runs[0] == runs[1]
    return runs[0]


@pytest.mark.parametrize("behind", [*FORMATS, "pcap of nanoseconds"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_capture_behind_a_cut_one_is_read_by_its_own_header(tmp_path: Path, kind: str, behind: str) -> None:
    first, wanted = make(kind, 1, 20)
    if behind == "pcap of nanoseconds":
        frames = [Captured(1_700_000_000_000_000_000 + n, 900, b"y" * (20 + n)) for n in range(20)]
        second = writing.pcap(frames, 113, nanoseconds=True)
        more = twin.read_all(second)[0]
    else:
        second, more = make(behind, 2, 20)
    for lost in (1, 9, 17, 30, 55):  # not a header's length: records would follow each other without a seam
        ours, damages = joined(tmp_path, first[:-lost], second)
        told = [(r.time_ns, r.link_type, r.wire_bytes, r.frame) for r in ours]
        assert told[-20:] == [(r.time_ns, r.link_type, r.wire_bytes, r.frame) for r in more]
        assert [r.frame for r in ours[:18]] == [r.frame for r in wanted[:18]] and len(ours) <= 20 + 20
        assert [d.resumed_at for d in damages] == [len(first) - lost]


@pytest.mark.parametrize("kind", ["pcap", "pcap swapped", "snoop", "pcapng"])
def test_the_last_records_before_a_joined_capture_are_found(tmp_path: Path, kind: str) -> None:
    first, wanted = make(kind, 3, 20)
    second, more = make("pcap", 4, 20)
    bad = wanted[17].file_offset
    first = first[: bad + 4] + b"\xff" * 12 + first[bad + 16 :]  # two follow it
    ours, damages = joined(tmp_path, first, second)
    assert [r.frame for r in ours] == [r.frame for r in wanted[:17] + wanted[18:] + more]
    assert [(d.offset, d.resumed_at) for d in damages] == [(bad, wanted[18].file_offset)]


@RELAXED
@given(mutated_captures(), st.sampled_from([64, 1 << 20]))
def test_mutated_captures_keep_what_precedes(tmp_path: Path, data: bytes, buffer_bytes: int) -> None:
    (tmp_path / "c").write_bytes(data)
    try:
        plain, damage = rows_of(tmp_path / "c")
    except InputError:
        return
    ours, damages = read_on(tmp_path / "c", buffer_bytes=buffer_bytes)
    if damage is None and not damages:
        assert ours == plain
    offsets = [record.file_offset for record in ours]
    assert offsets == sorted(set(offsets))
    assert [record.frame_number for record in ours] == list(range(1, len(ours) + 1))


@pytest.mark.parametrize("kind", ["pcap", "pcapng"])
def test_hostile_garbage_takes_linear_time(tmp_path: Path, kind: str) -> None:
    """Headers that each look right and lead nowhere: twice the bytes take about twice as long, however many lie."""
    data, wanted = make(kind, 3)
    lie = struct.pack("<IIII", 1_700_000_000, 0, 250_000, 250_000)
    if kind == "pcapng":
        lie = struct.pack("<III", 6, 15 << 20, 0)
    spent = []
    for count in (1 << 19, 1 << 21):
        (tmp_path / "c").write_bytes(data + b"\xff" * 16 + lie * count)
        begin = time.process_time()
        ours, damages = read_on(tmp_path / "c")
        spent.append(time.process_time() - begin)
        assert [shape(r) for r in ours[: len(wanted)]] == [shape(r) for r in wanted]
        assert len(damages) <= 1000
    assert spent[1] < 4 * 4 * max(spent[0], 0.2)


def test_damages_are_bounded(tmp_path: Path) -> None:
    start = writing.section_block("<") + writing.interface_block("<", 1)
    bad = writing.enhanced_block("<", 7, Captured(1, 3, b"abc"))
    (tmp_path / "c").write_bytes(start + bad * 5000)
    with read_frames(tmp_path / "c", keep_going=True) as reader:
        assert sum(len(batch.start) for batch in reader) == 0
        assert len(reader.damages) == 1001
        assert reader.damages[-1].resumed_at is None
