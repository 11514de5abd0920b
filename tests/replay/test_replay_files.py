"""What is put together for sending: kernels against their twins, and captures that are not as they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.inject import files
from segcast.replay.inject.files import compensated, least_snaplen, load_of, open_records, shared_out, write_records
from segcast.replay.rewrite.of_forecast import Wanted, rewrite_forecast
from segcast.replay.rewrite.pcap import FILE_HEADER
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.support.beds import rewritten
from tests.twins import injecting
from tests.twins.srv6 import parse_frame, read_pcap

MAC = "02:aa:bb:cc:dd:ee"
RAW = bytes.fromhex("02aabbccddee")
times = st.lists(st.integers(0, 3_000_000_000), min_size=1, max_size=20).map(sorted)
frames = st.binary(min_size=14, max_size=80)
captures = st.lists(
    st.lists(st.tuples(st.integers(0, 10**10), frames), max_size=12).map(sorted), min_size=1, max_size=4
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(captures, st.sampled_from([None, MAC]), st.sampled_from([None, MAC]), st.sampled_from([1, 100, 1 << 20]))
def test_captures_are_merged_as_the_twin_does(
    tmp_path_factory: pytest.TempPathFactory,
    content: list[list[tuple[int, bytes]]],
    source: str | None,
    next_hop: str | None,
    chunk: int,
) -> None:
    folder = rewritten(tmp_path_factory.mktemp("m") / "r", {f"10.0.0.{n + 1}": rows for n, rows in enumerate(content)})
    records = open_records(sorted(folder.glob("*.pcap")))
    with pytest.MonkeyPatch.context() as small:
        small.setattr(files, "_CHUNK_BYTES", chunk)
        write_records(records, folder / "out", source_mac=source, next_hop_mac=next_hop)
    found = injecting.read((folder / "out").read_bytes())
    assert found == injecting.merged(content, RAW if source else None, RAW if next_hop else None)
    if found:
        load = load_of(records)
        assert (load.packets, load.bytes) == (len(found), sum(len(data) for _, data in found))
        assert (load.first_ns, load.last_ns, load.longest_bytes) == (
            found[0][0],
            found[-1][0],
            max(len(data) for _, data in found),
        )
        windows: dict[int, int] = {}
        for time, data in found:
            window = (time - found[0][0]) // 10**8
            windows[window] = windows.get(window, 0) + len(data)
        assert load.busiest_bps == max(windows.values()) * 80


@given(times, st.integers(0, 200_000))
def test_compensated_gaps_are_the_best_a_late_sender_can_do(wanted: list[int], cost: int) -> None:
    asked = compensated(np.array(wanted, np.int64), cost).tolist()
    assert asked == sorted(asked)
    assert injecting.sends_at(asked, cost) == injecting.best(wanted, cost)


def test_compensation_goes_into_the_capture(tmp_path: Path) -> None:
    folder = rewritten(tmp_path / "r", {"10.0.0.1": [(n * 10_000, bytes(60)) for n in range(5)]})
    write_records(open_records([folder / "10.0.0.1.pcap"]), tmp_path / "out", cost_ns=2_000)
    assert [time for time, _ in injecting.read((tmp_path / "out").read_bytes())] == [0, 8_000, 16_000, 24_000, 32_000]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "cannot be read"),
        (b"\xd4\xc3\xb2\xa1" + FILE_HEADER[4:], "no capture as segcast rewrite writes them"),
        (FILE_HEADER[:20] + b"\x65\0\0\0", "no capture as segcast rewrite writes them"),
        (FILE_HEADER + bytes(15), "cut off"),
        (FILE_HEADER + bytes(8) + b"\x01\0\0\0\x01\0\0\0", "cut off"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "x.pcap"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=words):
        open_records([file])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"\x86\xdd", b"\x08\x00", b"\x81\x00\x00\x05\x86\xdd", b"\x88\xcc"]),
            st.binary(min_size=8, max_size=60),
        ),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 5),
)
def test_flows_are_shared_out_whole(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[bytes, bytes]], shares: int
) -> None:
    rows = [(n * 1000, bytes(12) + kind + rest) for n, (kind, rest) in enumerate(kinds)]
    folder = rewritten(tmp_path_factory.mktemp("s") / "r", {"10.0.0.1": rows[::2], "10.0.0.2": rows[1::2]})
    parts = shared_out(open_records(sorted(folder.glob("*.pcap"))), shares)
    assert len(parts) == shares
    found = []
    for number, part in enumerate(parts):
        write_records(part, folder / "part")
        of_part = injecting.read((folder / "part").read_bytes())
        assert of_part == sorted(of_part, key=lambda row: row[0])
        assert all(injecting.share_of_flow(frame, shares) == number or shares == 1 for _, frame in of_part)
        found += of_part
    assert sorted(found) == sorted(rows)


def test_nothing_to_send_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pcap").write_bytes(FILE_HEADER)
    with pytest.raises(InputError, match="no packets to send"):
        load_of(open_records([tmp_path / "x.pcap"]))


@pytest.mark.parametrize("mode", ["encaps", "reduced", "insert", "l2"])
def test_the_least_snaplen_holds_enough_of_every_packet(cluster: Trace, tmp_path: Path, mode: str) -> None:
    made = short_scenario(paths="2x300Mbps", policies=["inflight"], seeds=[1], srv6={"mode": mode})
    forecast(cluster, made, tmp_path / "f")
    summary = rewrite_forecast(tmp_path / "f", tmp_path / "r", policy="inflight", wanted=Wanted(vlan="5"))
    assert summary.files
    for file in summary.files[:3]:
        records = open_records([Path(file.path)])
        needs = []
        for record in read_pcap(Path(file.path)):
            inner = parse_frame(record.frame, summary.mode).inner
            needs.append(min(len(record.frame), len(record.frame) - len(inner) + 60))
        assert least_snaplen(records.data[0], records.first, records.size, 60) == max(needs)
