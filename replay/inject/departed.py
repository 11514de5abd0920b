"""How a schedule was kept: departures as they were captured, against what was planned."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import InputError
from segcast.traces.jit import kernel

_MOST_BYTES: Final = 256  # of a frame that tell it from others; equal ones are told apart by their order


class Kept(NamedTuple):
    """What a capture of departures says of them, null where it says nothing.

    `first_ns`: when the first packet that was seen left, less what the plan asks for; `stretch`: time from first to
    last packet, actual over planned; `shift_p50_ns`, `shift_p99_ns`: how far packets are from where the first one puts
    them.
    """

    first_ns: int | None = None
    stretch: float | None = None
    shift_p50_ns: int | None = None
    shift_p99_ns: int | None = None


def kept(planned: Path, seen: Path, snaplen: int) -> Kept:
    """Compare two captures; `snaplen`: bytes that the second holds of each frame, 0 for all."""
    limit = min(snaplen or _MOST_BYTES, _MOST_BYTES)
    try:
        plan_ns, plan_keys = _read(planned, limit)
        real_ns, real_keys = _read(seen, limit)
    except InputError:
        return Kept()
    _, plan_rows, real_rows = np.intersect1d(plan_keys, real_keys, assume_unique=True, return_indices=True)
    if not len(plan_rows):
        return Kept()
    order = np.argsort(plan_rows)
    return compared(plan_ns[plan_rows[order]], real_ns[real_rows[order]])


def compared(plan_ns: NDArray[np.int64], real_ns: NDArray[np.int64]) -> Kept:
    """Compare times, int64[n], n > 0, of the same packets in order of the plan."""
    plan, real = plan_ns - plan_ns[0], real_ns - real_ns[0]
    p50, p99 = nearest_ranks(np.abs(real - plan), (0.5, 0.99))
    span = int(plan[-1])
    return Kept(int(real_ns[0] - plan_ns[0]), int(real[-1]) / span if span else None, p50, p99)


def _read(path: Path, limit: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Times of a capture's frames, and a key of each: what begins it, its length, and how many like it came before."""
    times, keys = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    with read_frames(path, keep_going=True) as reader:
        for batch in reader:
            key = np.empty(len(batch.start), np.uint64)
            digest_frames(batch.data, batch.start, batch.captured, batch.wire, limit, key)
            times.append(batch.time_ns.astype(np.int64))
            keys.append(key)
    return np.concatenate(times), _told_apart(np.concatenate(keys))


@kernel
def digest_frames(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    captured: NDArray[np.uint32],
    wire: NDArray[np.uint32],
    limit: int,
    out: NDArray[np.uint64],
) -> None:
    """FNV-1a of up to `limit` first bytes of frames, and of their lengths."""
    prime = np.uint64(0x100000001B3)
    for row in range(len(start)):
        found = np.uint64(0xCBF29CE484222325) ^ np.uint64(wire[row])
        for at in range(start[row], start[row] + min(limit, np.int64(captured[row]))):
            found = (found ^ np.uint64(data[at])) * prime
        out[row] = found


def _told_apart(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Keys, uint64[n], of which equal ones are made different by how many of them came before."""
    order = np.argsort(keys, kind="stable")
    begins = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]) != 0)
    before = np.arange(len(keys)) - np.repeat(begins, np.diff(begins, append=len(keys)))
    apart = np.empty_like(keys)
    apart[order] = keys[order] + before.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return apart
