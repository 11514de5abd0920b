"""Records that cannot be true and clocks that leap: kept, told, and no reason for `keep_going` to leave packets out."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import DamagedCapture
from segcast.traces.ingest.run import ingest
from tests.support.captures import RELAXED
from tests.support.decoding import records
from tests.support.strategies import Seeded
from tests.twins import writing
from tests.twins.captures import Record

DAY_S = 24 * 3600
START_S = 1_700_000_000


def write(
    path: Path, rows: list[tuple[int, int, int, int]], *, snaplen: int = 65535, order: str = "<", kind: str = "pcap"
) -> None:
    """A capture of rows of seconds, fraction, captured and wire bytes."""
    random = Seeded(len(rows)).random
    if kind == "snoop":
        data = b"snoop\0\0\0" + struct.pack(">II", 2, 4)
        for seconds, fraction, captured, wire in rows:
            data += struct.pack(">IIIIII", wire, captured, 24 + captured, 0, seconds, fraction)
            data += random.randbytes(captured)
    else:
        data = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snaplen, 101)
        for row in rows:
            data += struct.pack(order + "IIII", *row) + random.randbytes(row[2])
    path.write_bytes(data)


def read(path: Path, *, keep_going: bool = False, **sizes: int) -> tuple[list[Record], dict[str, int], bool]:
    """The records, what was odd, and whether there was damage."""
    rows: list[Record] = []
    damaged = False
    with read_frames(path, keep_going=keep_going, **sizes) as reader:
        try:
            for batch in reader:
                rows += records(batch)
        except DamagedCapture:
            damaged = True
        return rows, reader.odd_records, damaged or bool(reader.damages)


def odd_rows(name: str) -> list[tuple[int, int, int, int]]:
    """Captures in which every record is odd, in one way or in several."""
    rows = []
    for n in range(60):
        seconds, fraction, captured, wire = START_S + n, n * 1000, 60, 60
        if "week" in name:
            seconds = (START_S + n * 8 * DAY_S) % 2**32
        if "random" in name:
            seconds = Seeded(n).random.getrandbits(32)
        if "fraction" in name:
            fraction = 5_000_000 + n * 3_000_000
        if "no wire" in name:
            wire = 0
        if "short wire" in name:
            wire = 20 + n % 30
        if "long" in name:
            captured = 3000 + 50 * n
            wire = wire if "wire" in name else captured
        if "empty" in name:
            captured = wire = 0
        rows.append((seconds, fraction, captured, wire))
    return rows


WAYS = ["week", "random times", "fraction", "no wire", "short wire", "long", "empty", "week long", "random fraction"]
WAYS += ["random no wire fraction long", "week short wire", "random empty"]


@pytest.mark.parametrize("kind", ["pcap", "swapped", "snoop"])
@pytest.mark.parametrize("way", WAYS)
def test_an_undamaged_capture_reads_alike_with_keep_going(tmp_path: Path, way: str, kind: str) -> None:
    write(tmp_path / "c", odd_rows(way), snaplen=96, order=">" if kind == "swapped" else "<", kind=kind)
    plain = read(tmp_path / "c")
    assert (len(plain[0]), plain[2]) == (60, False)
    for sizes in ({}, {"buffer_bytes": 100}, {"batch_frames": 7}):
        assert read(tmp_path / "c", keep_going=True, **sizes) == plain
    lengths = 60 * ("wire" in way)
    fractions = 60 * ("fraction" in way)
    assert plain[1].get("wire_below_captured", 0) == lengths
    assert plain[1].get("fraction_of_a_second_or_more", 0) == fractions


@RELAXED
@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([80, 1 << 20]))
def test_any_headers_that_plain_reading_takes_are_kept(tmp_path: Path, seed: int, count: int, size: int) -> None:
    c = Seeded(seed)
    rows = [
        (
            c.random.getrandbits(32),
            c.random.getrandbits(c.pick((19, 32))),
            c.integer(1, 300),
            c.random.getrandbits(c.pick((9, 32))),
        )
        for _ in range(count)
    ]
    write(tmp_path / "c", rows, snaplen=c.pick((0, 20, 65535)))
    plain = read(tmp_path / "c")
    assert (len(plain[0]), plain[2]) == (count, False)
    assert read(tmp_path / "c", keep_going=True, buffer_bytes=size) == plain


@pytest.mark.parametrize("way", WAYS)
def test_damage_costs_no_odd_record_far_before_it(tmp_path: Path, way: str) -> None:
    write(tmp_path / "c", odd_rows(way))
    whole = (tmp_path / "c").read_bytes()
    rows = read(tmp_path / "c")[0]
    at = rows[40].file_offset
    (tmp_path / "c").write_bytes(whole[:at] + b"\xff" * 40 + whole[at:])
    assert read(tmp_path / "c")[0] == rows[:40]
    ours, _, damaged = read(tmp_path / "c", keep_going=True)
    assert damaged
    assert ours[:40] == rows[:40]


def findings_of(tmp_path: Path, rows: list[list[tuple[int, int, int, int]]]) -> dict[str, dict[str, Any]]:
    paths = []
    for number, one in enumerate(rows):
        paths.append(tmp_path / f"{number}.pcap")
        write(paths[-1], one)
    trace = ingest(paths, tmp_path / "t.trace")
    return {found["code"]: found for found in trace.info["findings"]}


def test_fractions_beyond_a_second_are_an_error(tmp_path: Path) -> None:
    found = findings_of(tmp_path, [[(START_S + n // 10, n % 10 * 100_000_000, 40, 40) for n in range(30)]])
    finding = found["fractions_of_a_second_or_more"]
    assert (finding["severity"], finding["count"]) == ("error", 27)
    assert "nanoseconds, it seems" in finding["detail"]
    found = findings_of(tmp_path, [[(START_S, 2**32 - 1 - n, 40, 40) for n in range(3)]])
    assert "damaged" in found["fractions_of_a_second_or_more"]["detail"]


def test_lengths_on_the_wire_below_the_captured_are_told(tmp_path: Path) -> None:
    found = findings_of(tmp_path, [[(START_S + n, 0, 40, n % 2 * 41) for n in range(9)]])
    assert (found["wire_below_captured"]["severity"], found["wire_below_captured"]["count"]) == ("warning", 5)
    assert "fractions_of_a_second_or_more" not in found


@pytest.mark.parametrize(
    ("seconds", "leaps", "unset"),
    [
        ([5, 6, START_S, START_S + 1], 1, True),  # the clock of the boot, then the true time
        ([START_S, START_S + 1, START_S + 2, START_S + 700 * DAY_S], 1, False),  # one packet of the future
        ([START_S, START_S + 2 * DAY_S, START_S + 4 * DAY_S, START_S + 9 * DAY_S], 3, False),
        ([START_S, START_S + 700 * DAY_S, START_S + 1, START_S + 2], 1, False),
        ([START_S, START_S + DAY_S, START_S + 2 * DAY_S, START_S + 3 * DAY_S], 0, False),
    ],
)
def test_leaps_of_the_clock_are_told(tmp_path: Path, seconds: list[int], leaps: int, unset: bool) -> None:
    found = findings_of(tmp_path, [[(second, 0, 40, 40) for second in seconds]])
    if not leaps:
        assert "long_silence" not in found
        return
    finding = found["long_silence"]
    assert (finding["severity"], finding["count"]) == ("warning", leaps)
    assert "completes only after it" in finding["effect"]
    assert ("not set yet" in finding["detail"]) == unset


def test_silence_between_captures_is_told(tmp_path: Path) -> None:
    rows = [[(START_S + k * 3 * DAY_S + n, 0, 40, 40) for n in range(5)] for k in range(3)]
    assert findings_of(tmp_path, rows)["long_silence"]["count"] == 2
    rows.append([(START_S, 0, 40, 40), (START_S + 6 * DAY_S, 0, 40, 40)])  # one that spans them
    assert findings_of(tmp_path, rows)["long_silence"]["count"] == 1


@pytest.mark.parametrize(
    ("captures", "idle"),
    [
        ([[0, 1, 2, 200, 201]], "198 s of 201 s pass"),  # two parts in one capture
        ([[0, 1, 2], [200, 201, 202]], "198 s of 202 s pass"),  # and in two
        ([[0, 1, 2], [5 * 365 * DAY_S, 5 * 365 * DAY_S + 1]], "157,679,998 s of 157,680,001 s pass"),
        ([[0, 1, 2, 200, 201], [100, 101]], None),  # another capture is within the gap
        ([[0, 100, 200]], None),  # none is more than half
        ([[0, 1, 2, 50, 51]], None),  # less than a minute
    ],
)
def test_a_gap_that_is_most_of_the_time_is_told(tmp_path: Path, captures: list[list[int]], idle: str | None) -> None:
    found = findings_of(tmp_path, [[(START_S + second, 0, 40, 40) for second in capture] for capture in captures])
    assert ("idle_gap" in found) == (idle is not None)
    if idle is not None:
        assert found["idle_gap"]["detail"].startswith(idle)
        assert "mean nothing" in found["idle_gap"]["effect"]


def test_joined_captures_are_told(tmp_path: Path) -> None:
    write(tmp_path / "a", [(START_S, 0, 40, 40)])
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "c.pcap").write_bytes(data + data + data)
    trace = ingest([tmp_path / "c.pcap"], tmp_path / "t.trace")
    (found,) = (f for f in trace.info["findings"] if f["code"] == "joined_captures")
    assert (found["severity"], found["count"], trace.packet_count) == ("info", 2, 3)


def test_packets_of_pcapng_longer_than_on_the_wire_are_told(tmp_path: Path) -> None:
    data = writing.section_block("<") + writing.interface_block("<", 1)
    data += b"".join(writing.enhanced_block("<", 0, writing.Captured(n, n, b"abcde")) for n in range(9))
    (tmp_path / "c").write_bytes(data)
    for keep_going in (False, True):
        assert read(tmp_path / "c", keep_going=keep_going)[1] == {"wire_below_captured": 5}
