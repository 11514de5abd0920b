"""Cells of flow lists as captures: valid packets that say what the senders did, and give the list back."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.workload.recorded.run import workload_of_trace
from segcast.analyzer.workload.source import open_workload
from segcast.analyzer.workload.table import Workload
from segcast.replay.export.run import BEGIN_NS, export_cell
from segcast.traces.errors import InputError
from segcast.traces.ingest.run import ingest
from segcast.traces.protocols import ACK, PSH, SYN
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.twins.srv6 import check_packet, parse_frame

SCENARIO = """
policies = ["ecmp"]
seeds = [1]
[network]
hosts_per_side = 4
paths = [{{ links = [{{ name = "a", rate = "100Mbps", delay = "200us", buffer = "{buffer}" }}] }}]
{network}
[transport]
header = "{header}"
receiver = "dupack"
"""
PAGES = """flow,start_ns,src,dst,bytes,after,think_ns,connection
ask,1000,0,5,400,,,web
page,,5,0,30000,ask,3000000,web
more,,0,5,1500,page,20000000,web
image,,5,0,200001,more,700000,web
bulk,5000,1,6,300000,,,
back,7000,7,2,100000,,,
"""


def forecast_of(folder: Path, text: str, name: str = "f", **choices: str) -> Path:
    values = {"buffer": "30kB", "network": "", "header": "40B"} | choices
    (folder / "s.toml").write_text(SCENARIO.format(**values), "utf-8")
    (folder / "list.csv").write_text(text, "utf-8")
    forecast(open_workload(folder / "list.csv"), read_scenario(folder / "s.toml"), folder / name)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return forecast_of(tmp_path_factory.mktemp("export"), PAGES)


@pytest.fixture(scope="module")
def exported(folder: Path) -> dict[str, Any]:
    return export_cell(folder, "ecmp-s1", folder.parent / "run.pcap")


@pytest.fixture(scope="module")
def trace(folder: Path, exported: dict[str, Any]) -> Trace:
    return ingest([exported["pcap"]], folder.parent / "run.trace")


def frames(file: Path) -> list[tuple[int, bytes]]:
    """Time and whole frame of each record: what was left out is zeros."""
    raw = file.read_bytes()
    found, at = [], 24
    while at < len(raw):
        seconds, rest, kept, length = struct.unpack_from("<IIII", raw, at)
        found.append((seconds * 10**9 + rest, raw[at + 16 : at + 16 + kept] + bytes(length - kept)))
        at += 16 + kept
    return found


def test_every_packet_is_valid_and_leaves_when_it_was_sent(folder: Path, exported: dict[str, Any]) -> None:
    """Lengths and checksums hold by another decoder, over the payload that was left out."""
    sent = pl.read_parquet(folder / "packets" / "ecmp-s1.parquet")
    found = frames(Path(exported["pcap"]))
    assert [time_ns - BEGIN_NS for time_ns, _ in found] == sent["send_ns"].to_list()
    assert exported["packets"] == len(sent) == len(found)
    assert exported["resized"] == 0
    for (_, frame), ip_bytes in zip(found, sent["ip_bytes"], strict=True):
        packet = parse_frame(frame, "none").inner
        assert len(packet) == ip_bytes
        check_packet(packet)


def test_sequence_numbers_are_those_of_the_bytes(folder: Path, trace: Trace) -> None:
    sent = pl.read_parquet(folder / "packets" / "ecmp-s1.parquet")
    packets = trace.packets.collect()
    assert packets.filter(pl.col("tcp_flags") & SYN > 0)["tcp_seq"].unique().to_list() == [0]
    assert (packets["payload_bytes"] == (sent["kind"] == "data") * (sent["ip_bytes"].cast(pl.Int64) - 40)).all()
    for flow in trace.flows["flow_id"]:
        data = packets.filter((pl.col("flow_id") == flow) & (pl.col("payload_bytes") > 0))
        once = sorted({*zip(data["tcp_seq"], data["payload_bytes"], strict=True)})
        ends = [1, *(seq + size for seq, size in once)]
        assert [seq for seq, _ in once] == ends[:-1]
        back = trace.flows["reverse_flow_id"][flow]
        acks = packets.filter((pl.col("flow_id") == back) & (pl.col("tcp_flags") & ACK > 0))["tcp_ack"]
        assert acks.max() == ends[-1]
        assert set(acks) <= {*ends}
    # A response says that its request has come: none of it crosses.
    answers = packets.filter((pl.col("payload_bytes") > 0) & (pl.col("tcp_ack") > 1))
    assert {401, 1901, 30_001} == set(answers["tcp_ack"])


def test_what_was_dropped_and_sent_again_is_in_it(folder: Path, trace: Trace) -> None:
    sent = pl.read_parquet(folder / "packets" / "ecmp-s1.parquet")
    messages = pl.read_parquet(folder / "messages.parquet")
    assert sent["dropped"].sum() > 0
    again = messages["retransmissions"].sum()
    assert trace.flows["retransmissions"].sum() + trace.flows["out_of_order"].sum() >= again > 0


def test_push_ends_messages(trace: Trace) -> None:
    packets = trace.packets.collect()
    pushed = packets.filter(pl.col("tcp_flags") & PSH > 0)
    ends = {(seq + size - 1) for seq, size in zip(pushed["tcp_seq"], pushed["payload_bytes"], strict=True)}
    assert ends == {400, 30_000, 1900, 230_001, 300_000, 100_000}


def rows_of(workload: Workload) -> dict[tuple[str, int], list[Any]]:
    return {
        (workload.host(int(workload.source[row])), int(workload.bytes[row])): [
            int(workload.start_ns[row]),
            int(workload.think_ns[row]),
            bool(workload.waits[row]),
        ]
        for row in range(len(workload))
    }


def test_the_list_comes_back(trace: Trace) -> None:
    workload, rest = workload_of_trace(trace)
    assert workload is not None
    assert not rest.open_loop.any()
    found = rows_of(workload)
    asked = {
        ("10.0.0.1", 400): [0, 0, False],
        ("10.0.1.2", 30_000): [0, 3_000_000, True],
        ("10.0.0.1", 1500): [0, 20_000_000, True],
        ("10.0.1.2", 200_001): [0, 700_000, True],
        ("10.0.0.2", 300_000): [4_000, 0, False],
        ("10.0.1.4", 100_000): [6_000, 0, False],
    }
    assert found.keys() == asked.keys()
    for key, (start_ns, think_ns, waits) in asked.items():
        assert found[key][::2] == [start_ns, waits]
        # What waited in the queue of this one path counts as thinking.
        assert think_ns <= found[key][1] <= think_ns + 30_000 * 80


@pytest.mark.parametrize(("header", "resized"), [("60B", False), ("40B", True), ("120B", True)])
def test_packets_of_ipv6(tmp_path: Path, header: str, resized: bool) -> None:
    prefixes = 'left = { prefixes = ["fd00:a::/64"] }\nright = { prefixes = ["fd00:b::/64"] }'
    folder = forecast_of(tmp_path, PAGES, header=header, network=prefixes)
    made = export_cell(folder, "ecmp-s1", tmp_path / "run.pcap")
    assert (made["resized"] > 0) == resized
    for _, frame in itertools.islice(frames(tmp_path / "run.pcap"), 200):
        check_packet(parse_frame(frame, "none").inner)
    workload, _ = workload_of_trace(ingest([tmp_path / "run.pcap"], tmp_path / "run.trace"))
    assert workload is not None
    assert sorted(workload.bytes.tolist()) == [400, 1500, 30_000, 100_000, 200_001, 300_000]
    assert "fd00:a::1" in workload.addresses


def test_what_cannot_be_exported_is_one_line(folder: Path, cluster: Trace, tmp_path: Path, run: Run) -> None:
    ran = run("export", folder, "--cell", "ecmp-s2", "--out", tmp_path / "a.pcap")
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "no packets of a cell 'ecmp-s2'; kept: ecmp-s1" in ran.err
    with pytest.raises(InputError, match=r"name a file that ends in \.pcap"):
        export_cell(folder, "ecmp-s1", tmp_path / "a.txt")
    forecast(cluster, short_scenario(paths="2x1Gbps", policies=["ecmp"], seeds=[1]), tmp_path / "t")
    with pytest.raises(InputError, match="is the forecast of a trace, which is a capture already"):
        export_cell(tmp_path / "t", "ecmp-s1", tmp_path / "a.pcap")
    changed = forecast_of(tmp_path, PAGES)
    (tmp_path / "list.csv").write_text(PAGES + "\n", "utf-8")
    with pytest.raises(InputError, match=r"list\.csv: is not the list of .* any more; run segcast forecast again"):
        export_cell(changed, "ecmp-s1", tmp_path / "a.pcap")
    assert not (tmp_path / "a.pcap").exists()
