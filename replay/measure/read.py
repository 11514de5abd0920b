"""Reads a run's captures into arrays: when each packet was seen, and which packet it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.replay.measure.identity import (
    CUT,
    IDENTITY_BYTES,
    LEAST_BYTES,
    NO_IP,
    Identity,
    Marks,
    identify,
    no_identities,
)
from segcast.replay.measure.kinds import kinds_of, says_of_itself
from segcast.traces.captures.reader import BATCH_FRAMES, FrameBatch, read_frames
from segcast.traces.errors import InputError
from segcast.traces.headers.decode import Decoder, allocate, decode_batch

_RAW_IP = 101


class Seen(NamedTuple):
    """Packets of a capture, in its order: `time_ns` int64, `wire_bytes` uint32 (of the frame), the rest as `Identity`.

    `flow` uint32: the packet's flow, numbered by first appearance, if flows were asked for (else empty), of which
    `words` uint64[flows, 5] are the five-tuples as `segcast.traces.hashing.flow_keys` takes them. `kind` uint8: what
    packets say of themselves if flows were asked for, else of which kind they are (see `kinds`).
    """

    time_ns: NDArray[np.int64]
    wire_bytes: NDArray[np.uint32]
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    segments: NDArray[np.uint64]
    ecn: NDArray[np.uint8]
    state: NDArray[np.uint8]
    flow: NDArray[np.uint32]
    kind: NDArray[np.uint8]
    words: NDArray[np.uint64]


@dataclass(slots=True)
class Reading:
    """What was found on the way: `least_kept`, the fewest bytes captured of a packet that is not whole."""

    frames: int = 0
    without_ip: int = 0
    cut: int = 0
    least_kept: int = 1 << 30
    findings: list[str] = field(default_factory=list)


def read_capture(
    path: Path, marks: Marks, limit: int = IDENTITY_BYTES, *, layer: str | None = None, reading: Reading | None = None
) -> Seen:
    """The packets of a capture whose identity over `limit` bytes can be told; `layer`: also their flows, see `Decoder`.

    Damage ends a capture or leaves a hole in it, and is noted in `reading`. Raises InputError if it is no capture.
    """
    reading = Reading() if reading is None else reading
    parts: list[tuple[NDArray[np.generic], ...]] = []
    headers, identities = allocate(BATCH_FRAMES), no_identities(BATCH_FRAMES)
    flows = None if layer is None else _Flows(layer)
    with read_frames(path, keep_going=True) as reader:
        for batch in reader:
            count = len(batch.start)
            decoded = decode_batch(batch, headers)
            out = Identity._make(column[:count] for column in identities)
            identify(batch.data, batch.start, batch.captured, decoded.ip_start, decoded.version, marks, limit, out)
            known = np.flatnonzero((out.state != NO_IP) & (out.state != CUT))
            _note(out, reading)
            if flows is None:
                flow, kind = np.empty(0, np.uint32), kinds_of(decoded)[known]
            else:
                flow = flows.of(batch, out, known)
                kind = says_of_itself(batch.data, batch.start[known] + out.place[known], out.version[known])
            columns = (out.high, out.low, out.segments, out.ecn, out.state)
            parts.append((batch.time_ns[known], batch.wire[known], *(column[known] for column in columns), flow, kind))
        reading.findings += [f"{path.name}: damaged at byte {d.offset}: {d.reason}" for d in reader.damages]
    if not parts:
        kinds = (np.int64, np.uint32, np.uint64, np.uint64, np.uint64, np.uint8, np.uint8, np.uint32, np.uint8)
        parts.append(tuple(np.empty(0, kind) for kind in kinds))
    words = np.zeros((0, 5), np.uint64) if flows is None else flows.words()
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Seen._make([*joined, words])


def _note(out: Identity, reading: Reading) -> None:
    reading.frames += len(out.state)
    reading.without_ip += int((out.state == NO_IP).sum())
    reading.cut += int((out.state == CUT).sum())
    missing = (out.state != NO_IP) & (out.kept < out.total)
    if missing.any():
        reading.least_kept = min(reading.least_kept, int(out.kept[missing].min()))


class _Flows:
    """Numbers the flows of packets within frames, the way an ingest finds them."""

    def __init__(self, layer: str) -> None:
        self._decoder = Decoder(layer)
        self._numbers: dict[bytes, int] = {}

    def of(self, batch: FrameBatch, out: Identity, known: NDArray[np.int64]) -> NDArray[np.uint32]:
        within = batch._replace(
            start=batch.start[known] + out.place[known],
            captured=(batch.captured[known] - out.place[known]).astype(np.uint32),
            wire=(batch.wire[known] - out.place[known]).astype(np.uint32),
            time_ns=batch.time_ns[known],
            linktype=np.full(len(known), _RAW_IP, np.uint16),
            file_offset=batch.file_offset[known],
        )
        headers = self._decoder.decode(within)
        words = np.empty((len(known), 5), np.uint64)
        for column, name in enumerate(("src_high", "src_low", "dst_high", "dst_low")):
            words[:, column] = getattr(headers, name)
        ports = headers.src_port.astype(np.uint64) << np.uint64(16) | headers.dst_port.astype(np.uint64)
        words[:, 4] = headers.protocol.astype(np.uint64) << np.uint64(32) | ports
        distinct, place = np.unique(words, axis=0, return_inverse=True)
        numbers = [self._numbers.setdefault(row.tobytes(), len(self._numbers)) for row in distinct]
        return np.array(numbers, np.uint32)[place.reshape(-1)]

    def words(self) -> NDArray[np.uint64]:
        return np.frombuffer(b"".join(self._numbers), np.uint64).reshape(-1, 5)


def common_limit(read: Callable[[int], list[Reading]]) -> int:
    """The bytes that a digest may cover so that all captures hold them; `read` reads them all with a limit.

    Raises InputError if they hold too little to tell packets apart.
    """
    least = min(reading.least_kept for reading in read(IDENTITY_BYTES))
    if least >= IDENTITY_BYTES:
        return IDENTITY_BYTES
    if least < LEAST_BYTES:
        raise InputError(
            f"a capture holds only {least} bytes of a packet; {LEAST_BYTES} are needed to tell packets apart: "
            "capture with a larger snaplen"
        )
    read(least)
    return least
