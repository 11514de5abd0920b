"""What `inspect` prints: whole, short, and right where a capture is odd."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from segcast.reports.trace.facts import moment, print_facts
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.describe import describe
from segcast.traces.trace import Trace
from tests.twins import writing
from tests.twins.writing import Captured


def printed(trace: Trace) -> str:
    out = io.StringIO()
    print_facts(describe(trace), Console(file=out, soft_wrap=True, highlight=False))
    return out.getvalue()


def test_the_bundled_capture(cluster: Trace) -> None:
    text = printed(cluster)
    assert text.startswith("39,036 packets of 667 flows, ")
    lines = text.splitlines()
    assert len(lines) < 50
    assert any(line.startswith("tcp ") for line in lines)
    assert "link types: ethernet 39,036" in lines
    assert "not IP: arp" in text


def test_an_odd_trace(tmp_path: Path) -> None:
    frames = [Captured(n, 60, writing.ipv4(writing.udp(), 17)) for n in range(3)]
    paths = []
    for n in range(12):
        paths.append(tmp_path / f"{n}.pcap")
        data = writing.pcap(frames, 101 if n % 2 else 12)
        paths[-1].write_bytes(data[:-5] if n == 11 else data)
    lines = printed(ingest(paths, tmp_path / "t.trace", keep_going=True)).splitlines()
    assert lines[0].endswith(" of 12 captures")
    assert "link types: raw ip 35" in lines
    assert "... and 2 more captures, listed by --json" in lines
    assert not any(line.startswith("TCP:") for line in lines)
    (first,) = [line for line in lines if line.startswith(str(tmp_path)) and "damaged" in line]
    assert lines.index(first) == lines.index(next(line for line in lines if line.startswith("capture "))) + 1


def test_the_line_on_tcp_is_of_tcp_and_one_is_singular(tmp_path: Path) -> None:
    datagram, segment = writing.ipv4(writing.udp(), 17), writing.ipv4(writing.tcp(), 6)
    data = writing.pcap([Captured(n, 60, packet) for n, packet in enumerate((datagram, datagram, segment))], 101)
    paths = [tmp_path / f"{n}.pcap" for n in range(11)]
    for path in paths:
        path.write_bytes(data)
    trace = ingest(paths, tmp_path / "t.trace")
    facts = describe(trace)
    assert (facts["one_sided_flows"], facts["one_sided_tcp_flows"]) == (2, 1)
    lines = printed(trace).splitlines()
    (line,) = [line for line in lines if line.startswith("TCP: ")]
    assert line.endswith("; 1 flow without the other direction")
    assert "... and 1 more capture, listed by --json" in lines


def test_a_trace_without_packets(tmp_path: Path) -> None:
    (tmp_path / "c.pcap").write_bytes(writing.pcap([], 1))
    assert printed(ingest([tmp_path / "c.pcap"], tmp_path / "t.trace")).startswith("0 packets of 0 flows")


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01 00:00:00.000000000"),
        (-1, "1969-12-31 23:59:59.999999999"),
        (1_700_000_000_123_456_789, "2023-11-14 22:13:20.123456789"),
        (2**63 - 1, "2262-04-11 23:47:16.854775807"),
    ],
)
def test_moments(time_ns: int, text: str) -> None:
    assert moment(time_ns) == text
