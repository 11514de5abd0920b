"""Which kinds of packets a measurement says were lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from segcast.replay.measure.kinds import lost_kinds
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.twins import writing
from tests.twins.writing import Captured

ENDS = (  # flow by flow
    (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])),
    (bytes([10, 0, 0, 1]), bytes([239, 255, 255, 250])),
    (bytes(4), bytes([255] * 4)),
    (bytes([0xFE, 0x80, *bytes(13), 1]), bytes([0x20, 1, 13, 0xB8, *bytes(12)])),
    (bytes([0xFE, 0x80, *bytes(13), 1]), bytes([255, 2, *bytes(13), 1])),
    (bytes([0x20, 1, 13, 0xB8, *bytes(12)]), bytes([0x20, 1, 13, 0xB8, *bytes(11), 1])),
)


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    frames = []
    for src, dst in ENDS:
        make = writing.ipv4 if len(src) == 4 else writing.ipv6
        frames.append(make(writing.udp(), 17, src=src, dst=dst))
    capture = tmp_path / "c.pcap"
    capture.write_bytes(writing.pcap([Captured(10**15 + n, len(f), f) for n, f in enumerate(frames)], 101))
    return ingest([capture], tmp_path / "t.trace")


def measured(rows: list[tuple[int, int, bool]]) -> pa.Table:
    flow, path, dropped = zip(*rows, strict=True)
    return pa.table(
        {"flow_id": pa.array(flow, pa.uint32()), "path_id": pa.array(path, pa.uint16()), "dropped": dropped}
    )


def test_what_no_router_forwards_is_named_by_kind_and_path(trace: Trace) -> None:
    rows = [(0, 0, True), (0, 1, False), (1, 0, True), (1, 2, True), (1, 2, True), (1, 3, False)]
    rows += [(2, 1, True), (3, 1, True), (4, 1, True), (5, 0, True)]
    (said,) = lost_kinds(measured(rows), trace.flows)
    assert said.startswith(
        "of 8 lost packets 4 multicast (path 2: 2, path 0: 1, path 1: 1), 1 broadcast (path 1: 1), "
        "1 IPv6 link-local (path 1: 1): no router forwards those"
    )
    assert "2 are of no such kind" in said


def test_ordinary_losses_and_none_have_no_finding(trace: Trace) -> None:
    assert lost_kinds(measured([(0, 0, True), (5, 0, True), (1, 0, False)]), trace.flows) == []
    assert lost_kinds(measured([(1, 0, False)]), trace.flows, hop_limit_1=5) == []


def test_hop_limits_of_1_are_said_where_packets_were_lost(trace: Trace) -> None:
    (said,) = lost_kinds(measured([(0, 0, True)]), trace.flows, hop_limit_1=59)
    assert said.startswith("59 packets were written with a hop limit of their own of 1 or 0")
