"""Captures merged by time: against plain Python and mergecap, in any batches, and on to a forecast and a rewrite."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.traces.captures.reader import CaptureReader
from segcast.traces.errors import InputError
from segcast.traces.ingest.inputs import AT_ONCE, Head, list_inputs
from segcast.traces.ingest.merge import Ended, Merge
from segcast.traces.ingest.run import ingest
from tests.support.ingesting import assert_like_twin, conversations, mixture
from tests.support.strategies import Seeded
from tests.twins import captures as twin
from tests.twins import writing
from tests.twins.choosing import Seeded as Choice
from tests.twins.merging import merge as slowly_merged
from tests.twins.writing import Captured

Row = tuple[int, int, int, int, bytes]


def capture_of(times: Sequence[int], seed: int = 0) -> bytes:
    """A nanosecond pcap of frames at these times; each is told apart by what it holds."""
    c = Seeded(seed)
    frames = [bytes([seed % 256]) + n.to_bytes(4, "big") + bytes(c.pick((0, 1, 50, 900))) for n, _ in enumerate(times)]
    return writing.pcap([Captured(t, len(f) + 7, f) for t, f in zip(times, frames, strict=True)], 1, nanoseconds=True)


def heads_of(folder: Path, captures: Sequence[bytes]) -> list[Head]:
    paths = [folder / f"{n}.pcap" for n in range(len(captures))]
    for path, data in zip(paths, captures, strict=True):
        path.write_bytes(data)
    return list_inputs(paths).heads if paths else []


def merged(heads: Sequence[Head], **sizes: int) -> tuple[list[Row], list[int], int]:
    """(file, frame number, offset, time, bytes) of every frame; the files in order of their ends; most open at once."""
    buffer_bytes, batch_frames = sizes.pop("reader_bytes", 4000), sizes.pop("reader_frames", 50)
    rows: list[Row] = []
    ended: list[int] = []
    open_now = most = 0

    def opened(file: int, *_: int) -> CaptureReader:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        return CaptureReader(heads[file].path, buffer_bytes, batch_frames, False)

    with Merge(heads, opened, **sizes) as merge:
        for step in merge:
            if isinstance(step, Ended):
                ended.append(step.file)
                open_now -= 1
                assert step.alone == (open_now == 0)
                continue
            f = step.frames
            assert set(step.files) == set(step.file.tolist())
            for i, start in enumerate(f.start.tolist()):
                content = f.data[start : start + int(f.captured[i])].tobytes()
                assert (f.wire[i], f.linktype[i]) == (len(content) + 7, 1)
                place = int(step.file[i]), int(step.frame_number[i]), int(f.file_offset[i])
                rows.append((*place, int(f.time_ns[i]), content))
        assert merge.bytes_read == sum(head.total_bytes for head in heads)
    return rows, ended, most


def wanted(captures: Sequence[bytes]) -> list[Row]:
    found = slowly_merged([twin.read_all(data)[0] for data in captures])
    return [(file, r.frame_number, r.file_offset, r.time_ns or 0, r.frame) for file, r in found]


@settings(max_examples=60, deadline=None)
@given(
    times=st.lists(st.lists(st.integers(0, 30), max_size=25), min_size=1, max_size=6),
    window_rows=st.integers(1, 9),
    rows=st.integers(1, 40),
    buffer_bytes=st.sampled_from([1, 100, 2000, 100_000]),
    reader_frames=st.integers(1, 30),
)
def test_any_captures_in_any_batches(
    tmp_path_factory: pytest.TempPathFactory,
    times: list[list[int]],
    window_rows: int,
    rows: int,
    buffer_bytes: int,
    reader_frames: int,
) -> None:
    captures = [capture_of(clock, seed) for seed, clock in enumerate(times)]
    heads = heads_of(tmp_path_factory.mktemp("merge"), captures)
    sizes = {"window_rows": window_rows, "rows": rows, "buffer_bytes": buffer_bytes, "reader_frames": reader_frames}
    found, ended, _ = merged(heads, **sizes)
    assert found == wanted(captures)
    assert sorted(ended) == list(range(len(captures)))


@pytest.mark.parametrize("seed", range(6))
def test_many_captures_that_overlap(tmp_path: Path, seed: int) -> None:
    c = Choice(seed)
    captures = []
    for n in range(40):
        steps = [c.pick((0, 1, 1, 5, 100, -3)) for _ in range(c.integer(0, 200))]
        captures.append(capture_of(np.cumsum([1000 + c.integer(0, 2000), *steps]).tolist(), n))
    heads = heads_of(tmp_path, captures)
    first, ended, _ = merged(heads)
    assert first == wanted(captures)
    assert len(ended) == 40
    assert merged(heads, window_rows=7, rows=64, buffer_bytes=3000)[0] == first


def test_of_a_rotation_set_one_is_open_at_a_time(tmp_path: Path) -> None:
    captures = [capture_of(range(n * 100, n * 100 + 100), n) for n in range(1, 30)]
    rows, ended, most = merged(heads_of(tmp_path, captures[::-1]))
    assert [row[3] for row in rows] == list(range(100, 3000))
    assert ended == list(range(28, -1, -1))
    assert most == 1
    touching = [capture_of(range(n * 100, n * 100 + 102), n) for n in range(1, 30)]
    rows, _, most = merged(heads_of(tmp_path, touching))
    assert rows == wanted(touching)
    assert most == 2


def test_too_many_that_overlap_are_named(tmp_path: Path) -> None:
    heads = heads_of(tmp_path, [capture_of([5, 9], n) for n in range(4)])
    assert len(merged(heads, most_open=4)[0]) == 8
    with pytest.raises(InputError, match=r"3\.pcap: more than 3 captures overlap in time here; merge some of them"):
        merged(heads, most_open=3)


def test_heads_know_the_first_time(tmp_path: Path) -> None:
    empty, late = heads_of(tmp_path, [capture_of([]), capture_of([7, 3])])
    assert (empty.first_ns, late.first_ns) == (AT_ONCE, 7)


def test_a_capture_is_due_at_the_first_frame_that_is_believed(tmp_path: Path) -> None:
    second = 10**9
    times = [100 * second, *(n * second for n in range(1, 6))]
    damaged = bytearray(capture_of(times))
    damaged[24 + 8 : 24 + 16] = b"\x09\0\0\0\x01\0\0\0"  # the first record: a wrong length, more than was on the wire
    heads_of(tmp_path, [bytes(damaged), capture_of([50 * second], 1)])
    paths = [tmp_path / "0.pcap", tmp_path / "1.pcap"]
    assert [head.first_ns for head in list_inputs(paths).heads] == [100 * second, 50 * second]
    trace = ingest(paths, tmp_path / "t.trace", keep_going=True)
    assert trace.packet_table()["time_ns"].to_pylist() == [*times[1:], 50 * second]


@pytest.mark.parametrize("seed", range(3))
def test_overlapping_captures_make_the_twins_trace(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    captures = [
        conversations(seed, 300),
        conversations(seed + 50, 300, port=2000, start_ns=10**18 + 10**6),
        mixture(seed, 200),
        conversations(seed + 70, 100, port=3000, start_ns=10**18 + 10**8),
    ]
    heads = heads_of(tmp_path, captures)
    trace = ingest([head.path for head in heads], tmp_path / "t.trace")
    assert_like_twin(trace, captures)
    for file, source in enumerate(trace.info["sources"]):
        alone = ingest([heads[file].path], tmp_path / "a.trace").info["sources"][0]
        assert source == alone
    monkeypatch.setattr("segcast.traces.ingest.merge.BATCH_FRAMES", 37)
    monkeypatch.setattr("segcast.traces.ingest.merge.BUFFER_BYTES", 3000)
    monkeypatch.setattr("segcast.traces.ingest.merge.WINDOW_ROWS", 11)
    again = ingest([head.path for head in heads], tmp_path / "b.trace")
    assert again.packet_table().equals(trace.packet_table())
    assert again.flow_table().equals(trace.flow_table())
    assert again.info | {"parts": 0} == trace.info | {"parts": 0}


@pytest.mark.skipif(shutil.which("mergecap") is None, reason="mergecap is not installed (wireshark-common)")
def test_the_order_is_that_of_mergecap(tmp_path: Path) -> None:
    """Of equal times it takes the last file's first, so it is given the files the other way round."""
    for seed in range(5):
        c = Choice(seed)
        captures = []
        for n in range(6):
            steps = [c.pick((0, 0, 1, 2, 9)) for _ in range(150)]
            captures.append(capture_of(np.cumsum([10**18 + c.integer(0, 200), *steps]).tolist(), n))
        heads = heads_of(tmp_path, captures)
        out = tmp_path / "merged.pcap"
        command = ["mergecap", "-F", "nsecpcap", "-w", str(out), *(head.path for head in heads[::-1])]
        subprocess.run(command, check=True, capture_output=True)
        theirs = [(r.time_ns, r.frame) for r in twin.read_all(out.read_bytes())[0]]
        assert [row[3:] for row in merged(heads)[0]] == theirs


def test_a_forecast_and_its_rewrite_are_those_of_one_capture(tmp_path: Path) -> None:
    """Both directions of a link captured apart, split anew by time: the same packets leave in the same order."""
    whole = twin.read_all(conversations(5, 600))[0]
    whole = [replace(r, time_ns=10**18 + n * 1000) for n, r in enumerate(whole)]

    def written(name: str, records: Sequence[twin.Record]) -> Path:
        frames = [Captured(r.time_ns or 0, r.wire_bytes, r.frame) for r in records]
        (tmp_path / name).write_bytes(writing.pcap(frames, 101, nanoseconds=True))
        return tmp_path / name

    one = [written("whole.pcap", whole)]
    sides = [[r for r in whole if (r.frame[15] == 1) == side] for side in (True, False)]
    middle = len(sides[0]) // 2
    parts = [sides[0][:middle], sides[1], sides[0][middle:]]
    several = [written(f"part{n}.pcap", records) for n, records in enumerate(parts)]
    scenario = short_scenario(paths="2x10Mbps", seeds=[1], policies=["inflight"])
    sent = []
    for name, captures in (("one", one), ("several", several)):
        trace = ingest(captures, tmp_path / f"{name}.trace")
        folder, out = tmp_path / f"{name}.forecast", tmp_path / f"{name}.srv6"
        forecast(trace, scenario, folder)
        done = rewrite_forecast(folder, out, policy="inflight")
        assert done.packets > 500
        (cell,) = (folder / "packets").iterdir()
        fates = pq.read_table(cell).drop_columns(["file", "frame_number"])
        frames = {
            file.name: [(r.time_ns, r.wire_bytes, r.frame[:54]) for r in twin.read_all(file.read_bytes())[0]]
            for file in out.glob("*.pcap")
        }
        counts = json.loads((out / "rewrite.json").read_text())["packets"]
        sent.append((trace.flow_table(), fates, {n: sorted(f) for n, f in frames.items()}, counts))
        for times in frames.values():
            assert [t for t, *_ in times] == sorted(t for t, *_ in times if t is not None)
    assert sent[0] == sent[1]


def test_a_trace_that_went_on_after_damage_is_rewritten(tmp_path: Path) -> None:
    """Frames are numbered by what is read, so the rewrite must read as the ingest did."""
    packets = [writing.ipv4(writing.udp(1000 + n % 3, 9, payload=bytes([n]) * 40), 17) for n in range(40)]
    data = bytearray(writing.pcap([Captured(10**15 + n, len(p), p) for n, p in enumerate(packets)], 101))
    record = 16 + len(packets[0])
    data[24 + 10 * record + 8 : 24 + 10 * record + 12] = b"\xff\xff\xff\x7f"
    (tmp_path / "c.pcap").write_bytes(data)
    trace = ingest([tmp_path / "c.pcap"], tmp_path / "t.trace", keep_going=True)
    assert trace.packet_count == 39
    assert trace.resumed_files == {0}
    forecast(trace, short_scenario(paths="2x1Gbps", seeds=[1]), tmp_path / "f")
    done = rewrite_forecast(tmp_path / "f", tmp_path / "out", policy="ecmp")
    assert done.packets == 39
    sent = [frame for file in done.files for frame in frames_of(file.path)]
    assert sorted(frame[-40:] for frame in sent) == sorted(p[-40:] for n, p in enumerate(packets) if n != 10)


def frames_of(path: str) -> list[bytes]:
    return [record.frame for record in twin.read_all(Path(path).read_bytes())[0]]
