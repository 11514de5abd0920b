"""The main job's last step on the bundled capture: every packet written is read again by two other decoders."""

from __future__ import annotations

import shutil
import struct
import subprocess
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.rewrite.of_forecast import encapsulation, rewrite_forecast
from segcast.replay.rewrite.summary import RewriteSummary
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.support.networks import both_ways
from tests.twins.srv6 import check_packet, parse_frame, read_pcap

FAULTS = "_ws.malformed || " + " || ".join(
    f"{name}.checksum.status == 0" for name in ("ip", "tcp", "udp", "icmp", "icmpv6")
)


def written(cluster: Trace, folder: Path, policy: str, mode: str) -> tuple[ValidScenario, RewriteSummary]:
    scenario = short_scenario(paths="4x300Mbps", seeds=[1], policies=[policy], srv6={"mode": mode})
    forecast(cluster, scenario, folder / "f")
    return scenario, rewrite_forecast(folder / "f", folder / "srv6", policy=policy)


def keys(packets: pl.DataFrame) -> dict[tuple[int, str], list[dict[str, Any]]]:
    """What the schedule holds, by send time and source address."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for row in packets.iter_rows(named=True):
        found.setdefault((row["send_ns"], row["src"]), []).append(row)
    return found


@pytest.mark.parametrize(("policy", "mode"), [("inflight", "encaps"), ("random", "reduced"), ("ecmp", "encaps")])
def test_every_packet_is_the_schedules(cluster: Trace, tmp_path: Path, policy: str, mode: str) -> None:
    scenario, summary = written(cluster, tmp_path, policy, mode)
    assert summary.skipped == {}
    cell = next((tmp_path / "f" / "packets").iterdir())
    facts = cluster.packets.select("frame_number", "ip_bytes").collect()
    packets = pl.read_parquet(cell).join(facts, on="frame_number").join(cluster.flows, on="flow_id")
    expected = keys(packets)
    steered = policy != "ecmp"
    plan = encapsulation(scenario, both_ways(scenario), len(summary.files), steered=steered)
    labels: dict[int, set[int]] = {}
    sources: dict[str, set[IPv6Address]] = {}
    count = 0
    for file in summary.files:
        records = read_pcap(Path(file.path))
        assert [r.time_ns for r in records] == sorted(r.time_ns for r in records)
        for record in records:
            frame = parse_frame(record.frame, mode if steered else "none")
            checked = check_packet(frame.inner)
            rows = expected[record.time_ns, file.host]
            size = len(frame.inner)
            row = next(r for r in rows if r["ip_bytes"] == size and r["protocol"] == checked.protocol)
            rows.remove(row)
            count += 1
            assert checked.checksum == "good"
            if row["src_port"] is not None:
                ports = struct.unpack_from("!HH", frame.inner, checked.transport)
                assert ports == (row["src_port"], row["dst_port"])
            if steered:
                assert frame.outer is not None
                lists = plan.segments4 if checked.version == 4 else plan.segments6
                assert [s.packed for s in frame.outer.segments] == list(lists[row["path_id"]])
                assert frame.outer.hop_limit == scenario.srv6.hop_limit
                assert frame.outer.traffic_class == checked.traffic_class
                assert frame.outer.source in IPv6Network("fd00:0:100::/64")
                sources.setdefault(file.host, set()).add(frame.outer.source)
                labels.setdefault(row["flow_id"], set()).add(frame.outer.flow_label)
    assert count == len(packets)
    assert len(set.union(set(), *sources.values())) == len(sources) == (len(summary.files) if steered else 0)
    assert all(len(of_flow) == 1 and 0 not in of_flow for of_flow in labels.values())


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("mode", ["encaps", "reduced"])
def test_tshark_finds_no_fault_with_all_its_dissectors(cluster: Trace, tmp_path: Path, mode: str) -> None:
    _, summary = written(cluster, tmp_path, "inflight", mode)
    options = [f"{name}.check_checksum:TRUE" for name in ("ip", "tcp", "udp")]
    preferences = [part for option in options for part in ("-o", option)]
    total = 0
    for file in summary.files:
        # Packets of which all that is asked for holds: one at fault, or without its header, would be missing.
        command = ["tshark", "-n", "-r", file.path, *preferences, "-T", "fields", "-e", "frame.number"]
        sound = [*command, "-Y", f"ipv6.routing.type == 4 && !({FAULTS})"]
        total += len(subprocess.run(sound, capture_output=True, text=True, check=True).stdout.split())
    assert total == summary.packets == 38_976


def test_a_source_prefix_too_small_is_refused() -> None:
    scenario = short_scenario(paths="1Gbps", srv6={"source_prefix": "fd00::/126"})
    with pytest.raises(InputError, match="no room for 4 hosts"):
        encapsulation(scenario, both_ways(scenario), 4, steered=True)
    assert len(encapsulation(scenario, both_ways(scenario), 3, steered=True).source) == 3
