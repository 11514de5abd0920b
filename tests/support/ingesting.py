"""What the ingest tests share: a flow table by dictionaries, and captures that exercise it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from segcast.traces.schema import FLOWS, PACKETS
from segcast.traces.trace import Trace
from tests.support.decoding import expected
from tests.support.strategies import Seeded
from tests.twins import writing
from tests.twins.captures import Record
from tests.twins.conversations import Sighting, assign, partners
from tests.twins.decode import Decoded
from tests.twins.decode import segments_of as segment_list_of
from tests.twins.fragments import decode_trace
from tests.twins.frames import make_frame
from tests.twins.tcp import Segment, Summary, annotate, kept
from tests.twins.writing import Captured

Row = tuple[Record, Decoded]


def flow_key(d: Decoded) -> tuple[Any, ...]:
    return d.ip_version, d.protocol, d.src, d.dst, d.src_port, d.dst_port


def reverse_key(d: tuple[Any, ...]) -> tuple[Any, ...]:
    return d[0], d[1], d[3], d[2], d[5], d[4]


def sightings_of(rows: Sequence[Row]) -> list[Sighting]:
    """The rows with IP headers as the twin of flows sees them."""
    return [
        Sighting(
            record.time_ns or 0,
            flow_key(d),
            reverse_key(flow_key(d)),
            d.protocol == 6,
            d.tcp_flags,
            d.tcp_seq or 0,
            d.tcp_ack or 0,
            d.tenant,
        )
        for record, d in rows
        if d.ip_bytes is not None
    ]


def twin_ids(rows: Sequence[Row]) -> tuple[list[int | None], dict[int, int | None]]:
    """The flow of each row, and of each flow the other direction."""
    ids, reverse = assign(sightings_of(rows))
    numbers = iter(ids)
    return [None if d.ip_bytes is None else next(numbers) for _, d in rows], reverse


def twin_flows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The flows table, by a dictionary."""
    flows: dict[int, dict[str, Any]] = {}
    ids, reverse = twin_ids(rows)
    for (record, d), number in zip(rows, ids, strict=True):
        if number is None:
            continue
        now = record.time_ns or 0
        names = ("ip_version", "protocol", "src", "dst", "src_port", "dst_port")
        row = {"flow_id": number, **dict(zip(names, flow_key(d), strict=True)), "tenant": d.tenant}
        flow = flows.setdefault(number, row | {"first_ns": now, "last_ns": now, "packets": 0, "bytes": 0})
        flow["first_ns"], flow["last_ns"] = min(flow["first_ns"], now), max(flow["last_ns"], now)
        flow["packets"] += 1
        flow["bytes"] += record.wire_bytes
    _, summaries = annotate([segment for segment in segments_of(rows) if segment is not None])
    for number, row in flows.items():
        tcp = summaries.get(number, Summary())
        row["reverse_flow_id"] = reverse[number]
        row["rtt_min_ns"] = min(tcp.samples, default=None)
        samples = sorted(kept(tcp.samples))
        middle = samples[(len(samples) - 1) // 2 : len(samples) // 2 + 1]
        row["rtt_median_ns"] = sum(middle) // len(middle) if samples else None
        row["handshake_rtt_ns"] = tcp.handshake_ns
        row["retransmissions"], row["out_of_order"] = tcp.retransmissions, tcp.out_of_order
    return [flows[number] for number in sorted(flows)]


def segments_of(rows: Sequence[Row]) -> list[Segment | None]:
    """The TCP packets among the rows; they announce no segment size."""
    ids, _ = twin_ids(rows)
    others = iter(partners(sightings_of(rows)))
    found: list[Segment | None] = []
    for (record, d), number in zip(rows, ids, strict=True):
        other = None if number is None else next(others)
        if number is None or d.tcp_seq is None or d.tcp_ack is None or d.tcp_flags is None:
            found.append(None)
            continue
        to = ("nobody", number) if other is None else other
        sizes = (d.tcp_window or 0, d.payload_bytes or 0, d.ip_bytes or 0)
        found.append(Segment(record.time_ns or 0, number, to, d.tcp_seq, d.tcp_ack, d.tcp_flags, *sizes))
    return found


def marks_of(rows: Sequence[Row]) -> list[int | None]:
    """The column `tcp_marks`."""
    bits = {"retransmission": 1, "out_of_order": 2, "keep_alive": 4, "duplicate_ack": 8, "ack_of_unseen": 16}
    bits |= {"after_gap": 32, "super_frame": 64}
    segments = segments_of(rows)
    notes = iter(annotate([segment for segment in segments if segment is not None])[0])
    return [None if segment is None else sum(bits[name] for name in next(notes)) for segment in segments]


def twin_packets(rows: Sequence[Row], files: Sequence[int]) -> list[dict[str, Any]]:
    """The packets table, without flow ids; `files` says where each row was captured."""
    names = [c.name for c in PACKETS.columns if c.name in Decoded.__dataclass_fields__]
    return [
        {
            "file": file,
            "frame_number": r.frame_number,
            "file_offset": r.file_offset,
            "time_ns": r.time_ns,
            "wire_bytes": r.wire_bytes,
            "captured_bytes": r.captured_bytes,
            **{name: getattr(d, name) for name in names},
            "split": 0,
        }
        for (r, d), file in zip(rows, files, strict=True)
    ]


def assert_like_twin(trace: Trace, captures: Sequence[bytes]) -> None:
    """The tables of `trace` are what the twins make of `captures`."""
    rows, files = rows_of_trace(captures, trace.layer)
    table = trace.packet_table()
    assert table.schema.equals(PACKETS.arrow_schema())
    flow_ids = table["flow_id"].to_pylist()
    assert table.drop_columns(["flow_id", "segment_list_id", "tcp_marks"]).to_pylist() == twin_packets(rows, files)
    ids, lists = twin_segment_lists(rows, trace.layer)
    assert table["segment_list_id"].to_pylist() == ids
    assert trace.segment_list_table().to_pylist() == [
        {"segment_list_id": n, "segments": s} for n, s in enumerate(lists)
    ]
    assert table["tcp_marks"].to_pylist() == marks_of(rows)
    flows = twin_flows(rows)
    assert trace.flow_table().schema.equals(FLOWS.arrow_schema())
    assert trace.flow_table().to_pylist() == flows
    assert flow_ids == twin_ids(rows)[0]


def rows_of(data: bytes) -> list[Row]:
    return rows_of_trace([data])[0]


def rows_of_trace(captures: Sequence[bytes], layer: str = "outer") -> tuple[list[Row], list[int]]:
    """The decoded frames of a trace in order, and the file of each; later fragments have the flow of their first."""
    found = list(decode_trace(captures, inner=layer == "inner"))
    return [(expected(r), d) for _, r, d in found], [file for file, _, _ in found]


def twin_segment_lists(rows: Sequence[Row], layer: str = "outer") -> tuple[list[int | None], list[list[str]]]:
    """The `segment_list_id` of every frame, and the lists."""
    known: dict[tuple[str, ...], int] = {}
    found = [segment_list_of(r.link_type, r.frame, r.wire_bytes, inner=layer == "inner") for r, _ in rows]
    ids = [None if segments is None else known.setdefault(segments, len(known)) for segments in found]
    return ids, [list(segments) for segments in known]


def in_range(data: bytes) -> bool:
    """Whether every number fits its column; the twin's are unbounded."""
    rows = rows_of(data)
    return all(abs(r.time_ns or 0) < 2**63 and (d.ip_bytes or 0) < 2**32 for r, d in rows)


# Captures.


def conversations(
    seed: int, packets: int = 400, clients: int = 6, *, port: int = 1000, start_ns: int = 10**18
) -> bytes:
    """TCP between a few hosts: wrapping sequence numbers, losses, retransmissions, reuse of ports, time steps back."""
    c = Seeded(seed)
    ends = [[c.pick((0, 2**32 - 3000, 2**31)) for _ in range(2)] for _ in range(clients)]
    out, now = [], start_ns
    for _ in range(packets):
        now += c.pick((0, 1, 1000, 10**6, -500))
        client, side = c.integer(0, clients - 1), c.integer(0, 1)
        state = ends[client]
        size, flags = c.pick((0, 0, 1, 500, 1448)), c.pick((16, 16, 16, 16, 24, 2, 18, 17, 4, 0))
        seq = (state[side] - c.pick((0, 0, 0, 0, 1, 500, 1448))) % 2**32
        ack = (state[1 - side] - c.pick((0, 0, 0, 1, 500, 5000))) % 2**32
        state[side] = max(state[side], seq + size) if c.integer(0, 30) else c.integer(0, 2**32 - 1)
        ports = (port + client, 80) if side == 0 else (80, port + client)
        segment = writing.tcp(*ports, seq=seq, ack=ack, data_offset=5, flags=flags, window=9, payload=bytes(size))
        hosts = [bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])]
        packet = writing.ipv4(segment, 6, src=hosts[side])
        packet = packet[:16] + hosts[1 - side] + packet[20:]
        out.append(Captured(now, len(packet), packet[: c.pick((40, 40, 100, 36))]))
    return writing.pcap(out, 101, nanoseconds=True)


def mixture(seed: int, frames: int = 300) -> bytes:
    c = Seeded(seed)
    made = [make_frame(c, 1) for _ in range(frames)]
    return writing.pcap([Captured(10**15 + i, f.wire_bytes, f.captured) for i, f in enumerate(made)], 1)
