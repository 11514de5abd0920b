"""The ingest benchmark runs, and its captures are what it says of them. No test asserts a time."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import dpkt
import pytest

from benchmarks import streaming, synthesis
from benchmarks.measuring import FailedError, run
from segcast.traces.ingest.run import ingest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", synthesis.MIXES)
def test_a_capture_goes_on_where_its_block_ends(kind: str, tmp_path: Path) -> None:
    mix = synthesis.MIXES[kind]._replace(block_packets=1_000)
    path = tmp_path / "c.pcap"
    assert synthesis.write(path, mix, packets=2_500) == 2_500
    trace = ingest([path], tmp_path / "t")
    columns = trace.packet_table(["time_ns", "wire_bytes", "captured_bytes", "tcp_marks"]).to_pydict()
    assert len(columns["time_ns"]) == 2_500
    assert columns["time_ns"] == sorted(columns["time_ns"])
    assert (columns["captured_bytes"] == columns["wire_bytes"]) == mix.whole
    assert set(columns["tcp_marks"]) == {None, 0}  # nothing is lost, sent again or out of order
    records = [frame for _, frame in dpkt.pcap.Reader(io.BytesIO(path.read_bytes()))]
    assert len(records) == 2_500
    assert all(isinstance(dpkt.ethernet.Ethernet(frame).data, dpkt.ip.IP) for frame in records)


@pytest.mark.parametrize(("size", "packets"), [(24, 0), (93, 0), (106, 1), (200_000, 2_700)])
def test_a_capture_has_the_size_asked_for_at_most(size: int, packets: int, tmp_path: Path) -> None:
    path = tmp_path / "c.pcap"
    assert packets <= synthesis.write(path, synthesis.MIXES["headers"], size=size) <= packets * 1.1
    assert size - 82 < path.stat().st_size <= size


def test_the_quick_run_measures_every_program() -> None:
    command = [sys.executable, "-m", "benchmarks.ingest", "--quick", "--json", "--no-compression"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = json.loads(ran.stdout)
    assert [capture["kind"] for capture in found["captures"]] == ["headers", "frames"]
    for capture in found["captures"]:
        rows = {row["what"]: row for row in capture["rows"]}
        assert rows["PcapPlusPlus"]["missing"] == "not at hand"
        assert not any("failed" in row.get("missing", "") for row in rows.values())
        assert rows["ingest, steady"]["peak_bytes"] > 0 < rows["dpkt"]["packets_per_s"]


def test_a_stream_arrives_whole() -> None:
    count = "import sys; print(len(sys.stdin.buffer.read()))"
    ran = streaming.through_pipe("headers", 300_000, [sys.executable, "-c", count])
    assert 299_000 < int(ran.out) <= 300_000


def test_a_command_that_fails_says_why() -> None:
    with pytest.raises(FailedError, match="no such thing"):
        run([sys.executable, "-c", "raise SystemExit('no such thing')"])
