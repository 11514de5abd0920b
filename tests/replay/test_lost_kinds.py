"""Which kinds of packets a measurement says were lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from segcast.replay.measure.kinds import (
    EXPIRING,
    FRAGMENT,
    UNPLANNED,
    kinds_of,
    lost_kinds,
    says_of_itself,
    unplanned_words,
)
from segcast.traces.captures.reader import read_frames
from segcast.traces.headers.decode import decode_batch
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
        {
            "flow_id": pa.array(flow, pa.uint32()),
            "path_id": pa.array(path, pa.uint16()),
            "dropped": dropped,
            "send_ns": pa.array(range(len(rows)), pa.int64()),
        }
    )


def nothing(rows: int) -> npt.NDArray[np.uint8]:
    return np.zeros(rows, np.uint8)


def test_what_no_router_forwards_is_named_by_kind_and_path(trace: Trace) -> None:
    rows = [(0, 0, True), (0, 1, False), (1, 0, True), (1, 2, True), (1, 2, True), (1, 3, False)]
    rows += [(2, 1, True), (3, 1, True), (4, 1, True), (5, 0, True)]
    (said,) = lost_kinds(measured(rows), trace.flows, nothing(10))
    assert said.startswith(
        "of 8 lost packets 4 multicast (path 2: 2, path 0: 1, path 1: 1), 1 broadcast (path 1: 1), "
        "1 IPv6 link-local (path 1: 1): no router forwards those"
    )
    assert "2 are of no such kind" in said


def test_ordinary_losses_and_none_have_no_finding(trace: Trace) -> None:
    assert lost_kinds(measured([(0, 0, True), (5, 0, True), (1, 0, False)]), trace.flows, nothing(3)) == []
    assert lost_kinds(measured([(1, 0, False)]), trace.flows, nothing(1) + EXPIRING) == []


def test_hop_limits_of_1_are_named_by_path(trace: Trace) -> None:
    """Multicast with such a hop limit is counted as multicast; what arrived, not at all."""
    rows = [(0, 0, True), (0, 1, True), (0, 1, True), (5, 0, True), (1, 0, True), (0, 2, False)]
    said = np.array([EXPIRING, EXPIRING | FRAGMENT, EXPIRING, 0, EXPIRING, EXPIRING], np.uint8)
    multicast, expired = lost_kinds(measured(rows), trace.flows, said)
    assert multicast.startswith("of 5 lost packets 1 multicast (path 0: 1): no router forwards those")
    assert expired.startswith(
        "of 5 lost packets 3 with a hop limit of their own of 1 or 0 (path 1: 2, path 0: 1): the router behind SRv6"
    )
    assert multicast.count("1 are of no such kind") == expired.count("1 are of no such kind") == 1


@pytest.mark.parametrize(("lost", "whole", "named"), [(5, 3, True), (5, 30, False), (4, 0, False), (10, 0, True)])
def test_fragments_are_named_where_they_are_lost_more_often(trace: Trace, lost: int, whole: int, named: bool) -> None:
    rows = [(0, 0, n < lost) for n in range(20)] + [(5, 1, n < whole) for n in range(100)]
    said = nothing(120)
    said[:20] = FRAGMENT
    found = lost_kinds(measured(rows), trace.flows, said)
    wanted = f"{lost} of 20 fragments were lost, and {whole} of 100 other packets: something on the way may drop"
    assert [text[: len(wanted)] for text in found] == ([wanted] if named else [])


def test_packets_say_what_they_are() -> None:
    body = writing.udp(payload=bytes(40))
    packets = [
        (0, writing.ipv4(body, 17)),
        (FRAGMENT, writing.ipv4(body, 17, more_fragments=True)),
        (FRAGMENT, writing.ipv4(body, 17, fragment_offset=8)),
        (FRAGMENT, writing.ipv4(body, 17, fragment_offset=8192)),
        (0, writing.ipv6(body, 17)),
        (FRAGMENT, writing.ipv6(writing.fragment_header(17, 0, True, 7) + body, 44)),
        (FRAGMENT, writing.ipv6(writing.extension(44) + writing.fragment_header(17, 8, False, 7) + body, 0)),
        (0, writing.ipv6(bytes(8), 59)),
    ]
    for limit in (64, 2, 1, 0):
        data, at = b"", []
        for _, packet in packets:
            at.append(len(data))
            place = 8 if packet[0] >> 4 == 4 else 7
            data += packet[:place] + bytes([limit]) + packet[place + 1 :]
        version = np.array([data[place] >> 4 for place in at], np.uint8)
        found = says_of_itself(np.frombuffer(data, np.uint8), np.array(at), version)
        assert found.tolist() == [said | (EXPIRING if limit < 2 else 0) for said, _ in packets]


def test_unplanned_packets_are_counted_by_kind(trace: Trace, tmp_path: Path) -> None:
    frames = [writing.ipv4(bytes(40), 1), writing.ipv6(bytes(40), 58), writing.ipv6(bytes(40), 58, src=ENDS[4][0])]
    capture = tmp_path / "more.pcap"
    written = [Captured(n, len(f), f) for n, f in enumerate(frames)]
    capture.write_bytes(writing.pcap(written, 101))
    kinds = []
    for path in (tmp_path / "c.pcap", capture):
        with read_frames(path) as reader:
            kinds += [UNPLANNED[kind] for batch in reader for kind in kinds_of(decode_batch(batch)).tolist()]
    scoped = ["multicast", "broadcast", "IPv6 link-local", "multicast"]
    assert kinds == ["others", *scoped, "others", "ICMP", "loopback", "IPv6 link-local"]
    assert unplanned_words({"ICMP": 2, "others": 1_000}) == "1,000 others, 2 ICMP"
