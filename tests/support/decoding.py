"""What the capture tests share: rows of our decoder in the words of the twin."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segcast.traces.captures.reader import FrameBatch, read_frames
from segcast.traces.errors import DamagedCapture
from segcast.traces.headers.decode import (
    HAS_FRAGMENT,
    HAS_ID,
    HAS_IP,
    HAS_PAYLOAD,
    HAS_PORTS,
    HAS_TCP,
    Decoder,
    Headers,
    decode_batch,
)
from segcast.traces.headers.tenants import Tenants
from tests.twins.captures import Record
from tests.twins.decode import NOT_IP, Decoded

LATEST_NS = 2**63 - 1


def read_all(path: Path | str, layer: str = "outer", **sizes: int) -> tuple[list[tuple[Record, Decoded]], int | None]:
    """Every frame and its decoded columns, and the offset of the damage if there is any."""
    rows: list[tuple[Record, Decoded]] = []
    try:
        with read_frames(path, **sizes) as reader:
            for batch in reader:
                rows += zip(records(batch), decoded_batch(batch, layer=layer), strict=True)
    except DamagedCapture as damage:
        return rows, damage.offset
    return rows, None


def records(batch: FrameBatch) -> list[Record]:
    """The frames of a batch as the twin gives them; frames without a time have time 0."""
    return [
        Record(
            batch.frame_number + i,
            int(batch.file_offset[i]),
            int(batch.time_ns[i]),
            int(batch.captured[i]),
            int(batch.wire[i]),
            int(batch.linktype[i]),
            batch.data[int(batch.start[i]) : int(batch.start[i]) + int(batch.captured[i])].tobytes(),
        )
        for i in range(len(batch.start))
    ]


def expected(record: Record) -> Record:
    """The twin's record as our reader gives it: no time is 0."""
    fields = vars(record) | {"time_ns": record.time_ns or 0}
    return Record(**fields)


def decoded_batch(batch: FrameBatch, into: Headers | None = None, layer: str = "outer") -> list[Decoded]:
    """What `decode_batch` makes of a batch, as the twin gives it."""
    tenants = Tenants()
    return decoded(decode_batch(batch, into, layer, tenants), tenants)


def decoded_by(decoder: Decoder, frames: Sequence[tuple[int, int, bytes]]) -> list[Decoded]:
    """What a decoder makes of frames given as for `batch_of`, as the twin gives it."""
    return decoded(decoder.decode(batch_of(frames)), decoder.tenants)


def decoded(headers: Headers, tenants: Tenants) -> list[Decoded]:
    """Rows of `headers` as the twin gives them."""
    names = tenants.names()
    return [_row(headers, i, names) for i in range(len(headers.valid))]


def _row(h: Headers, i: int, names: list[str | None]) -> Decoded:
    valid = int(h.valid[i])
    if not valid & HAS_IP:
        assert valid == 0 and h.ip_start[i] == -1 and h.reason[i] != 0
        return NOT_IP
    assert h.ip_start[i] >= 0 and h.reason[i] == 0

    def field(bit: int, column: Any) -> int | None:
        if not valid & bit:
            assert column[i] == 0
            return None
        return int(column[i])

    return Decoded(
        int(h.version[i]),
        int(h.protocol[i]),
        _address(h.version[i], h.src_high[i], h.src_low[i]),
        _address(h.version[i], h.dst_high[i], h.dst_low[i]),
        field(HAS_PORTS, h.src_port),
        field(HAS_PORTS, h.dst_port),
        int(h.ip_bytes[i]),
        field(HAS_PAYLOAD, h.payload_bytes),
        field(HAS_TCP, h.tcp_seq),
        field(HAS_TCP, h.tcp_ack),
        field(HAS_TCP, h.tcp_flags),
        field(HAS_TCP, h.tcp_window),
        field(HAS_ID, h.ip_id),
        int(h.tos[i]),
        field(HAS_FRAGMENT, h.fragment_offset),
        names[h.tenant[i]],
    )


def _address(version: int, high: np.uint64, low: np.uint64) -> str:
    if version == 4:
        assert high == 0
        return str(ipaddress.IPv4Address(int(low)))
    return str(ipaddress.IPv6Address(int(high) << 64 | int(low)))


def batch_of(frames: Sequence[tuple[int, int, bytes]]) -> FrameBatch:
    """A batch of frames given as (link type, bytes on the wire, captured bytes), packed closely."""
    captured = np.array([len(frame) for _, _, frame in frames], np.uint32)
    end = np.cumsum(captured, dtype=np.int64)
    return FrameBatch(
        np.frombuffer(b"".join(frame for *_, frame in frames) or b"\0", np.uint8).copy(),
        end - captured,
        captured,
        np.array([wire for _, wire, _ in frames], np.uint32),
        np.zeros(len(frames), np.int64),
        np.array([link for link, *_ in frames], np.uint16),
        1,
        np.zeros(len(frames), np.uint64),
    )
