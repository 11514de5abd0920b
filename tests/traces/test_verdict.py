"""Whether a trace can be asked: the rates against a plain count, and what makes it fit, usable and unfit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.describe import describe
from segcast.traces.quality.verdict import verdict
from segcast.traces.samples import CLUSTER
from tests.twins import writing
from tests.twins.writing import Captured

FACTS: dict[str, Any] = {
    "layer": "outer",
    "packets": 40_000,
    "flows": 700,
    "duration_ns": 3 * 10**9,
    "findings": [],
    "sources": [{"packets": 40_000, "clock_unit_seen_ns": 1}],
}


def test_rates_are_those_of_a_plain_count() -> None:
    trace = open_trace(CLUSTER)
    facts = describe(trace)
    rows = trace.packets.select("time_ns", "wire_bytes").collect().rows()
    first = min(time for time, _ in rows)
    tenths: dict[int, int] = {}
    for time, size in rows:
        tenths[(time - first) // 100_000_000] = tenths.get((time - first) // 100_000_000, 0) + size
    assert facts["peak_interval_ns"] == 100_000_000
    assert facts["peak_bps"] == max(tenths.values()) * 80
    span = max(time for time, _ in rows) - first + 1
    assert facts["mean_bps"] == sum(size for _, size in rows) * 8 * 10**9 // span
    assert (facts["verdict"], facts["reasons"]) == ("fit", [])


@pytest.mark.parametrize(
    ("changes", "expected", "reason"),
    [
        ({}, "fit", None),
        ({"flows": 99}, "usable", "99 flows: a tail rests on few of them; if they are tunnels"),
        ({"flows": 99, "layer": "inner"}, "usable", "99 flows: a tail rests on few of them"),
        ({"duration_ns": 10**9 - 1}, "usable", "less than a second"),
        (
            {"findings": [{"severity": "warning", "code": "odd_thing", "effect": "it hurts"}]},
            "usable",
            "odd thing: it hurts",
        ),
        ({"findings": [{"severity": "info", "code": "odd_thing", "effect": "it hurts"}]}, "fit", None),
        ({"findings": [{"severity": "warning", "code": "idle_gap", "effect": "no load"}]}, "unfit", "one gap: no load"),
        ({"flows": 0}, "unfit", "no packet of it is IP"),
        ({"flows": 1}, "unfit", "one flow, so there is nothing to balance"),
        ({"packets": 99}, "unfit", "99 packets are too few"),
        ({"duration_ns": None}, "unfit", "no time passes"),
        ({"duration_ns": 0}, "unfit", "no time passes"),
        ({"sources": [{"packets": 9, "clock_unit_seen_ns": 10**9}]}, "unfit", "so coarse"),
        ({"sources": [{"packets": 1, "clock_unit_seen_ns": None}]}, "fit", None),
    ],
)
def test_what_makes_a_trace_unfit(changes: dict[str, Any], expected: str, reason: str | None) -> None:
    found = verdict(FACTS | changes)
    assert found["verdict"] == expected
    if reason is None:
        assert not found["reasons"]
    else:
        assert reason in found["reasons"][0]


def test_years_between_packets_are_counted_in_a_million_intervals(tmp_path: Path) -> None:
    frame = writing.ipv4(writing.udp(7, 8), 17)
    times = (10**15, 10**15 + 5, 2 * 10**17)
    (tmp_path / "t.pcap").write_bytes(
        writing.pcap([Captured(time, len(frame), frame) for time in times], 101, nanoseconds=True)
    )
    facts = describe(ingest([tmp_path / "t.pcap"], tmp_path / "t.trace"))
    interval = -(-(times[2] - times[0] + 1) // 1_000_000)
    assert facts["peak_interval_ns"] == interval
    assert facts["peak_bps"] == 2 * len(frame) * 8 * 10**9 // interval
