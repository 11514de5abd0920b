"""What the ingest tests share: a flow table and a round-trip meter by dictionaries, and captures that exercise them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.decoding import expected
from tests.strategies import Seeded
from tests.twins import writing
from tests.twins.captures import Record
from tests.twins.decode import Decoded, segments_of
from tests.twins.fragments import decode_trace
from tests.twins.frames import make_frame
from tests.twins.writing import Captured
from traces.schema import PACKETS

Row = tuple[Record, Decoded]


@dataclass
class Conversation:
    """What the naive round-trip meter knows of one flow."""

    highest: int | None = None  # sequence number after the last byte sent, never wrapped
    awaited: tuple[int, int] | None = None  # end of the outstanding segment, when it was sent
    samples: list[int] = field(default_factory=list)


def near(number: int, reference: int) -> int:
    """The unwrapped sequence number that looks like `number` and is nearest to `reference`."""
    base = reference - reference % 2**32 + number
    return min((base - 2**32, base, base + 2**32), key=lambda n: (abs(n - reference), n != base))


def flow_key(d: Decoded) -> tuple[Any, ...]:
    return d.ip_version, d.protocol, d.src, d.dst, d.src_port, d.dst_port


def reverse_key(d: tuple[Any, ...]) -> tuple[Any, ...]:
    return d[0], d[1], d[3], d[2], d[5], d[4]


def twin_flows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The flows table, by a dictionary."""
    flows: dict[tuple[Any, ...], dict[str, Any]] = {}
    trips: dict[tuple[Any, ...], Conversation] = {}
    for record, d in rows:
        if d.ip_bytes is None:
            continue
        key, now = flow_key(d), record.time_ns or 0
        flow = flows.setdefault(key, {"first_ns": now, "last_ns": now, "packets": 0, "bytes": 0})
        flow["first_ns"], flow["last_ns"] = min(flow["first_ns"], now), max(flow["last_ns"], now)
        flow["packets"] += 1
        flow["bytes"] += record.wire_bytes
        if d.tcp_seq is None or d.tcp_flags is None or d.tcp_ack is None:
            continue
        back = trips.get(reverse_key(key)) if reverse_key(key) != key else None
        if d.tcp_flags & 0x10 and back is not None and back.awaited is not None:
            end, sent_ns = back.awaited
            if near(d.tcp_ack, end) >= end:
                back.awaited = None
                back.samples += [now - sent_ns] if now >= sent_ns else []
        length = (d.payload_bytes or 0) + bool(d.tcp_flags & 2) + bool(d.tcp_flags & 1)
        if length == 0 or d.tcp_flags & 4:
            continue
        own = trips.setdefault(key, Conversation())
        if own.highest is None or (d.tcp_flags & 2 and (d.tcp_seq + length - own.highest) % 2**32 != 0):
            own.highest = d.tcp_seq + length
            own.awaited = (own.highest, now)
            continue
        begin = near(d.tcp_seq, own.highest)
        if begin >= own.highest:
            own.awaited = own.awaited or (begin + length, now)
        elif own.awaited is not None and begin < own.awaited[0]:
            own.awaited = None
        own.highest = max(own.highest, begin + length)
    ids = {key: number for number, key in enumerate(flows)}
    table = []
    for key, flow in flows.items():
        samples = sorted(trips[key].samples) if key in trips else []
        other = ids.get(reverse_key(key))
        names = ("ip_version", "protocol", "src", "dst", "src_port", "dst_port")
        row = {"flow_id": ids[key], **dict(zip(names, key, strict=True)), **flow}
        row["reverse_flow_id"] = None if other == ids[key] else other
        row["rtt_min_ns"] = samples[0] if samples else None
        middle = samples[(len(samples) - 1) // 2 : len(samples) // 2 + 1]
        row["rtt_median_ns"] = sum(middle) // len(middle) if samples else None
        table.append(row)
    return table


def twin_packets(rows: Sequence[Row], file: int = 0) -> list[dict[str, Any]]:
    """The packets table of one capture, without flow ids."""
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
        }
        for r, d in rows
    ]


def rows_of(data: bytes) -> list[Row]:
    return rows_of_trace([data])[0]


def rows_of_trace(captures: Sequence[bytes], layer: str = "outer") -> list[list[Row]]:
    """The decoded frames of each capture of a trace; later fragments have the flow of their first."""
    return [[(expected(r), d) for r, d in rows] for rows in decode_trace(captures, inner=layer == "inner")]


def twin_segment_lists(rows: Sequence[Row], layer: str = "outer") -> tuple[list[int | None], list[list[str]]]:
    """The `segment_list_id` of every frame, and the lists."""
    known: dict[tuple[str, ...], int] = {}
    found = [segments_of(r.link_type, r.frame, r.wire_bytes, inner=layer == "inner") for r, _ in rows]
    ids = [None if segments is None else known.setdefault(segments, len(known)) for segments in found]
    return ids, [list(segments) for segments in known]


def in_range(data: bytes) -> bool:
    """Whether every number fits its column; the twin's are unbounded."""
    rows = rows_of(data)
    return all(abs(r.time_ns or 0) < 2**63 and (d.ip_bytes or 0) < 2**32 for r, d in rows)


# Captures.


def conversations(seed: int, packets: int = 400, clients: int = 6) -> bytes:
    """TCP between a few hosts: wrapping sequence numbers, losses, retransmissions, reuse of ports, time steps back."""
    c = Seeded(seed)
    ends = [[c.pick((0, 2**32 - 3000, 2**31)) for _ in range(2)] for _ in range(clients)]
    out, now = [], 10**18
    for _ in range(packets):
        now += c.pick((0, 1, 1000, 10**6, -500))
        client, side = c.integer(0, clients - 1), c.integer(0, 1)
        state = ends[client]
        size, flags = c.pick((0, 0, 1, 500, 1448)), c.pick((16, 16, 16, 16, 24, 2, 18, 17, 4, 0))
        seq = (state[side] - c.pick((0, 0, 0, 0, 1, 500, 1448))) % 2**32
        ack = (state[1 - side] - c.pick((0, 0, 0, 1, 500, 5000))) % 2**32
        state[side] = max(state[side], seq + size) if c.integer(0, 30) else c.integer(0, 2**32 - 1)
        ports = (1000 + client, 80) if side == 0 else (80, 1000 + client)
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
