"""Constant-rate traffic over two leaves and two spines, whose failures can be reckoned by hand."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from segcast.analyzer.plan.failures.run import AskedFailures, study_failures
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.slo import parse_slo
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace

FLOWS, GAP_NS, ROUNDS, IP_BYTES = 20, 200_000, 500, 986
FRAME_BITS = (14 + IP_BYTES + 24) * 8
TOTAL_SHARE = FLOWS * FRAME_BITS / GAP_NS  # of a link of 1 Gbit/s
DETECTION_NS = 1_000_000

FABRIC = """\
seeds = [1, 2]
detection = "1ms"
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
hosts_per_leaf = 20
links = { rate = "1Gbps", delay = "1us", buffer = "512KiB" }
"""


def constant_rate(folder: Path) -> Trace:
    """UDP flows from hosts of leaf 0 to hosts of leaf 1, a packet each every 200 us, 1 us apart, for 100 ms."""
    records = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)]
    for turn in range(ROUNDS):
        for flow in range(FLOWS):
            time_ns = 10**18 + turn * GAP_NS + flow * 1000
            fixed = struct.pack(">BBHHHBBH", 0x45, 0, IP_BYTES, 0, 0, 64, 17, 0)
            ends = bytes([10, 0, 0, 1 + flow, 10, 0, 1, 1 + flow])
            udp = struct.pack(">HHHH", 4000 + flow, 5001, IP_BYTES - 20, 0)
            frame = bytes(12) + b"\x08\x00" + fixed + ends + udp
            records.append(struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(frame), 14 + IP_BYTES) + frame)
    (folder / "constant.pcap").write_bytes(b"".join(records))
    return ingest([folder / "constant.pcap"], folder / "constant.trace")


def studied(source: Trace | WorkloadFile, folder: Path, text: str, kind: Any, **options: Any) -> dict[str, Any]:
    """The document of a study in `folder / "study"`; `text` comes before the fabric, or is all there is."""
    whole = text if "[network]" in text else text + FABRIC
    (folder / "s.toml").write_text(whole, "utf-8")
    store = options.pop("store", None)
    slo = options.pop("slo", None)
    asked = AskedFailures(kind, slo=None if slo is None else parse_slo(slo), **options)
    opened = CellStore(folder / "cells.sqlite") if store is None else store
    return study_failures(source, read_scenario(folder / "s.toml"), asked, folder / "study", store=opened)
