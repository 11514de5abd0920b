"""TCP segments through the flows and marks of Segcast, compared with the twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcast.traces.flows import tcp
from segcast.traces.flows.assign import Flows
from segcast.traces.headers.decode import allocate
from segcast.traces.headers.ip import HAS_IP, HAS_PAYLOAD, HAS_PORTS, HAS_TCP
from tests.twins.conversations import of_connections
from tests.twins.tcp import ACK, Segment, annotate, kept

S = 10**9


def columns(segments: list[Segment]) -> tuple[object, ...]:
    """Headers, times and announced MSS of segments whose flows are (source, source port, destination, port)."""
    headers = allocate(len(segments))
    headers.valid.fill(HAS_IP | HAS_PORTS | HAS_PAYLOAD | HAS_TCP)
    headers.version.fill(4)
    headers.protocol.fill(6)
    names = {"tcp_seq": "seq", "tcp_ack": "ack", "tcp_flags": "flags", "tcp_window": "window"}
    names |= {"payload_bytes": "payload", "ip_bytes": "ip_bytes"}
    for column, name in names.items():
        getattr(headers, column)[:] = [getattr(s, name) for s in segments]
    for at, column in enumerate(("src_low", "src_port", "dst_low", "dst_port")):
        getattr(headers, column)[:] = [s.flow[at] for s in segments]  # type: ignore[index]
    return headers, np.array([s.time_ns for s in segments], np.int64), np.array([s.mss for s in segments], np.uint16)


def run(segments: list[Segment], batch: int = 10**9, keep: Path | None = None) -> tuple[Flows, list[int], list[int]]:
    """Marks and flows; with `keep` the state goes through that file between batches."""
    headers, times, mss = columns(segments)
    flows = Flows(seed=1)
    ids, marks = np.zeros(len(segments), np.uint32), np.zeros(len(segments), np.uint8)
    for begin in range(0, len(segments), batch):
        part = slice(begin, begin + batch)
        view = type(headers)._make(c[part] for c in headers)  # type: ignore[attr-defined]
        flows.add(view, times[part], np.ones(len(times[part]), np.uint32), ids[part], marks[part], mss[part])  # type: ignore[index]
        if keep is not None:
            np.savez(keep, **flows.state())  # type: ignore[arg-type]
            with np.load(keep, allow_pickle=False) as state:
                flows = Flows(seed=1)
                flows.restore({name: state[name] for name in state.files})
    return flows, ids.tolist(), marks.tolist()


def names(mark: int) -> set[str]:
    return {name for name, bit in tcp.MARKS.items() if mark & bit}


def compare(segments: list[Segment], batch: int = 10**9, most_holes: int | None = None) -> Flows:
    flows, ids, marks = run(segments, batch)
    segments = of_connections(segments)
    assert ids == [segment.flow for segment in segments]
    notes, summaries = annotate(segments, most_holes)
    assert [names(mark) for mark in marks] == notes
    pairs = {(segment.flow, flow) for segment, flow in zip(segments, ids, strict=True)}
    assert len(pairs) == len({name for name, _ in pairs}) == len({flow for _, flow in pairs})
    results = flows.pool.results
    sampled, least, median = (column.tolist() for column in flows.round_trips())
    found = {flow: (low, mid) for flow, low, mid in zip(sampled, least, median, strict=True)}
    for name, flow in pairs:
        summary = summaries[name]
        assert results["retransmissions"][flow] == summary.retransmissions
        assert results["out_of_order"][flow] == summary.out_of_order
        assert results["handshake1_ns"][flow] == (0 if summary.handshake_ns is None else summary.handshake_ns + 1)
        assert (flow in found) == bool(summary.samples)
        if summary.samples:
            places = sorted(kept(summary.samples))
            middle = places[(len(places) - 1) // 2 : len(places) // 2 + 1]
            assert found[flow] == (min(summary.samples), sum(middle) // len(middle))
    assert tcp.marked(flows.pool) == {name: sum(name in note for note in notes) for name in tcp.MARKS}
    return flows


A, B = (1, 1000, 2, 80), (2, 80, 1, 1000)


def seg(time_us: int, out: bool, seq: int, ack: int, flags: int = ACK, payload: int = 0, **more: int) -> Segment:
    flow, to = (A, B) if out else (B, A)
    return Segment(time_us * 1000, flow, to, seq, ack, flags, more.pop("window", 9), payload, payload + 40, **more)
