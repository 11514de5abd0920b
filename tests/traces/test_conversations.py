"""Which packets are one flow: five-tuples that are used again, and silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.traces.ingest.run import ingest
from segcast.traces.trace import Trace
from tests.support.ingesting import assert_like_twin
from tests.support.strategies import Drawn, Seeded
from tests.twins import writing
from tests.twins.choosing import Chooser
from tests.twins.writing import Captured

RAW = 101
US, MS, S = 1000, 10**6, 10**9
ONE, TWO = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
Step = tuple[int, bool, bytes]  # time, whether the client sends, packet


def tcp(client: bool, flags: int, seq: int = 0, ack: int = 0, payload: int = 0) -> bytes:
    ports = (1000, 80) if client else (80, 1000)
    segment = writing.tcp(*ports, seq=seq % 2**32, ack=ack % 2**32, flags=flags, payload=bytes(payload))
    return writing.ipv4(
        segment, 6, src=ONE if client else TWO, dst=TWO if client else ONE, identification=seq % 60_000 + 1
    )


def udp(client: bool) -> bytes:
    ports = (1000, 53) if client else (53, 1000)
    datagram = writing.udp(*ports, payload=b"poll")
    return writing.ipv4(datagram, 17, src=ONE if client else TWO, dst=TWO if client else ONE)


def connection(at_ns: int, isn: int, *, end: int = FIN, data: int = 3) -> list[tuple[int, bytes]]:
    """A handshake, data from the server, and an end, within a millisecond."""
    steps = [(True, SYN, isn, 0, 0), (False, SYN | ACK, isn + 9, isn + 1, 0), (True, ACK, isn + 1, isn + 10, 0)]
    steps += [(False, ACK | PSH, isn + 10 + 100 * n, isn + 1, 100) for n in range(data)]
    last = isn + 10 + 100 * data
    if end == FIN:
        steps += [
            (False, FIN | ACK, last, isn + 1, 0),
            (True, FIN | ACK, isn + 1, last + 1, 0),
            (False, ACK, last + 1, isn + 2, 0),
        ]
    elif end == RST:
        steps += [(True, RST, isn + 1, 0, 0)]
    return [
        (at_ns + n * 50 * US, tcp(client, flags, seq, ack, size))
        for n, (client, flags, seq, ack, size) in enumerate(steps)
    ]


def capture_of(packets: list[tuple[int, bytes]]) -> bytes:
    return writing.pcap([Captured(10**18 + t, len(p), p) for t, p in packets], RAW, nanoseconds=True)


def traced(folder: Path, packets: list[tuple[int, bytes]]) -> Trace:
    data = capture_of(packets)
    (folder / "c.pcap").write_bytes(data)
    trace = ingest([folder / "c.pcap"], folder / "t.trace")
    assert_like_twin(trace, [data])
    return trace


def found(trace: Trace) -> dict[str, dict[str, Any]]:
    return {f["code"]: f for f in trace.info["findings"]}


@pytest.mark.parametrize("end", [FIN, RST, 0])
@pytest.mark.parametrize("gap", [5 * MS, 3600 * S])
def test_ports_used_again_are_another_connection(tmp_path: Path, end: int, gap: int) -> None:
    """After FINs, after a reset, or with nothing seen but a new SYN of another number."""
    trace = traced(tmp_path, connection(0, 1000, end=end) + connection(gap, 70_000, end=end))
    flows = trace.flows
    assert flows["reverse_flow_id"].to_list() == [1, 0, 3, 2]
    assert (flows["last_ns"] - flows["first_ns"]).max() < MS
    assert flows["retransmissions"].sum() == flows["out_of_order"].sum() == 0
    assert "unseen_data_acknowledged" not in found(trace)
    assert found(trace)["five_tuples_used_again"]["count"] == 2
    forecast(trace, short_scenario(paths="4x10Gbps", seeds=[1, 2]), tmp_path / "f")
    fct = pl.read_parquet(tmp_path / "f" / "summary.parquet")["fct_p99_ns"]
    assert fct.max() < MS  # type: ignore[operator]


def test_the_same_connection_played_again_is_another(tmp_path: Path) -> None:
    """As a replay in a loop does it: even the sequence numbers are the same."""
    packets = [p for n in range(3) for p in connection(n * 20 * MS, 1000)]
    assert traced(tmp_path, packets).flows["reverse_flow_id"].to_list() == [1, 0, 3, 2, 5, 4]


def test_what_comes_late_stays_with_its_connection(tmp_path: Path) -> None:
    """A SYN sent again, and acknowledgements of the old connection between the new one's SYN and its answer."""
    first = connection(0, 1000)
    late = [(10 * MS, tcp(True, SYN, 70_000)), (10 * MS + 10, first[-1][1]), (11 * MS, tcp(True, SYN, 70_000))]
    again = [(t + 12 * MS, p) for t, p in connection(0, 70_000)[1:]]
    trace = traced(tmp_path, [*first, *late, *again])
    assert trace.packet_table()["flow_id"].to_pylist()[len(first) :][:4] == [2, 1, 2, 3]
    assert trace.flows["reverse_flow_id"].to_list() == [1, 0, 3, 2]


def test_one_direction_alone_is_told_apart_by_its_syn(tmp_path: Path) -> None:
    packets = [p for n in range(3) for p in connection(n * S, 1000 * (n + 1), end=0) if p[1][12:16] == TWO]
    assert trace_lengths(traced(tmp_path, packets)) == [4, 4, 4]


def trace_lengths(trace: Trace) -> list[int]:
    return trace.flows["packets"].to_list()


@pytest.mark.parametrize(
    ("gap", "made", "flows"),
    [
        (300 * S, udp, 2),
        (300 * S + 1, udp, 6),
        (7440 * S, lambda client: tcp(client, ACK, 5, 5), 2),
        (7440 * S + 1, lambda client: tcp(client, ACK, 5, 5), 6),
    ],
)
def test_silence_ends_a_flow(tmp_path: Path, gap: int, made: Any, flows: int) -> None:
    packets = [(n * (gap + 1) + k, made(k == 0)) for n in range(3) for k in (0, 1)]
    assert traced(tmp_path, packets).flow_count == flows


def test_a_direction_alone_may_be_silent_while_the_other_talks(tmp_path: Path) -> None:
    packets = [(0, udp(True)), *((n * 60 * S, udp(False)) for n in range(1, 100)), (5941 * S, udp(True))]
    assert traced(tmp_path, packets).flow_count == 2


def test_polls_of_a_month_do_not_last_a_month_unsaid(tmp_path: Path) -> None:
    day = 86_400 * S
    sparse = [(n * 600 * S + k * MS, udp(k == 0)) for n in range(6 * 24 * 30) for k in (0, 1)]
    trace = traced(tmp_path, sparse)
    assert trace.flow_count == len(sparse)
    assert "waiting_flows" not in found(trace)
    steady = [(n * 240 * S + k * MS, udp(k == 0)) for n in range(15 * 24 * 30) for k in (0, 1)]
    trace = traced(tmp_path, steady)
    assert (trace.flows["last_ns"] - trace.flows["first_ns"]).min() > 29 * day  # type: ignore[operator]
    word = found(trace)["waiting_flows"]
    assert (word["severity"], word["count"]) == ("warning", 2) and "for up to 2,591,760 s" in word["detail"]


def some_talk(c: Chooser, count: int) -> list[tuple[int, bytes]]:
    """Few five-tuples, used again in every way, with times that step back."""
    now, packets = 0, []
    for _ in range(count):
        now += c.pick((0, 1, MS, 100 * S, 300 * S + 1, 3600 * S, 7440 * S, 7440 * S + 1, -S))
        client = c.pick((True, False))
        if c.integer(0, 4) == 0:
            packets.append((now, udp(client)))
            continue
        flags = c.pick((SYN, SYN | ACK, ACK, ACK, FIN | ACK, RST, RST | ACK, SYN | RST, PSH | ACK))
        packet = tcp(client, flags, c.pick((1, 1, 2)), 1, c.pick((0, 5)))
        if c.integer(0, 9) == 0:
            packet = packet[:12] + ONE + ONE + packet[20:22] + packet[20:22] + packet[24:]  # to itself
        packets.append((now, packet[: c.pick((99, 99, 99, 32, 22))]))
    return packets


@pytest.mark.parametrize("seed", range(8))
def test_any_talk_is_split_as_by_the_twin(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BATCH_FRAMES", "WINDOW_ROWS"):
        monkeypatch.setattr(f"segcast.traces.ingest.merge.{name}", 7)
    monkeypatch.setattr("segcast.traces.flows.assign._FIRST_CAPACITY", 16)
    assert traced(tmp_path, some_talk(Seeded(seed), 1500)).flow_count > 50


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_drawn_talk_is_split_as_by_the_twin(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    traced(tmp_path_factory.mktemp("talk"), some_talk(Drawn(data.draw), 25))
