"""What a measurement itself says of the machine, whatever the links: packets that met nothing, and those held up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.packets import LOST
from segcast.replay.validate.fates import Fate

_LEAST_PAUSE_NS: Final = 1_000_000
_PAUSE_FRAMES: Final = 4
_LEAST_ALIKE: Final = 20
_LATE_NS: Final = 200_000


class Evidence(NamedTuple):
    """By packet, bool[n]: `lone` met no other on its links; `held_up` was underway while a lone one, or a sender, was.

    `stalls` lone packets were held up, by up to `longest_ns`; `late` times a sender was.
    """

    lone: NDArray[np.bool_]
    held_up: NDArray[np.bool_]
    stalls: int
    longest_ns: int
    late: int


def evidence(
    measured: Fate,
    known: NDArray[np.bool_],
    frame_bytes: NDArray[np.int64],
    ways: Sequence[Sequence[int]],
    pauses_ns: Sequence[int],
    late_ns: tuple[NDArray[np.int64], NDArray[np.int64]],
    tolerated_ns: float,
) -> Evidence:
    """Find lone packets and stalls in packets, in order of `send_ns`, that take `ways[path]`, links by number.

    A packet is lone if every earlier packet on each of its links had arrived `pauses_ns[link]` before it was sent: it
    cannot have queued there. What it took longer than lone packets of its path and size do, beyond `tolerated_ns`, was
    the machine: a stall, from its departure to its arrival. Only what was measured is looked at. `known`: packets that
    are surely themselves; others are not taken for lone. `late_ns`: begins and ends of `late_departures`.
    """
    lone = lone_packets(measured, ways, pauses_ns) & known
    delay = measured.receive_ns - measured.send_ns
    good = lone & (measured.receive_ns != LOST)
    stalled = np.zeros(len(lone), np.bool_)
    longest = 0
    for path in np.unique(measured.path[good]).tolist():
        mine = np.flatnonzero(good & (measured.path == path))
        excess = delay[mine] - _usual(frame_bytes[mine], delay[mine])
        stalled[mine] = excess > tolerated_ns
        longest = max(longest, int(excess.max(where=excess > tolerated_ns, initial=0)))
    begins = np.concatenate((measured.send_ns[stalled], late_ns[0]))
    ends = np.concatenate((measured.receive_ns[stalled], late_ns[1]))
    order = np.argsort(begins, kind="stable")
    held_up = _overlap(measured, begins[order], np.maximum.accumulate(ends[order]))
    return Evidence(lone, held_up, int(stalled.sum()), longest, len(late_ns[0]))


def late_departures(
    planned_ns: NDArray[np.int64], send_ns: NDArray[np.int64], sender: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Begins and ends, int64, of the times in which a sender fell behind its schedule all at once.

    Packets are in order of `send_ns`. A sender stalls before a packet that leaves later than planned by 0.2 ms more
    than the packet before it did. What the network would have made of the packets does not enter.
    """
    begins, ends = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number in np.unique(sender):
        mine = sender == number
        offset = send_ns[mine] - planned_ns[mine]
        more = np.diff(offset, prepend=offset[:1])
        ends.append(send_ns[mine][more > _LATE_NS])
        begins.append(ends[-1] - more[more > _LATE_NS])
    return np.concatenate(begins), np.concatenate(ends)


def pauses(rates_bps: Sequence[int], largest_bytes: int) -> list[int]:
    """After how long an idle link of these rates lets any packet pass at once, with room to spare for wrong rates."""
    return [
        max(_LEAST_PAUSE_NS, _PAUSE_FRAMES * largest_bytes * 8 * 1_000_000_000 // rate_bps) for rate_bps in rates_bps
    ]


def lone_packets(measured: Fate, ways: Sequence[Sequence[int]], pauses_ns: Sequence[int]) -> NDArray[np.bool_]:
    """Packets, in order of `send_ns`, that no earlier one on their links was underway with, nor shortly before."""
    lone = np.ones(len(measured.path), np.bool_)
    ends = np.where(measured.receive_ns == LOST, measured.send_ns, measured.receive_ns)
    for link in sorted({link for way in ways for link in way}):
        uses = np.array([link in way for way in ways], np.bool_)
        rows = np.flatnonzero(uses[measured.path])
        if len(rows) > 1:
            before = np.maximum.accumulate(ends[rows])[:-1]
            lone[rows[1:]] &= measured.send_ns[rows[1:]] - before >= pauses_ns[link]
    return lone


def _usual(frame_bytes: NDArray[np.int64], delay_ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """What packets of these sizes take: the median of those of one size, between such sizes on the line."""
    sizes, place, counts = np.unique(frame_bytes, return_inverse=True, return_counts=True)
    order = np.argsort(place.reshape(-1), kind="stable")
    groups = np.split(delay_ns[order], np.cumsum(counts)[:-1])
    known = counts >= _LEAST_ALIKE
    if not known.any():
        return np.full(len(delay_ns), float(np.median(delay_ns)))
    medians = [float(np.median(group)) for group, enough in zip(groups, known, strict=True) if enough]
    usual: NDArray[np.float64] = np.interp(frame_bytes, sizes[known], medians)
    return usual


def _overlap(measured: Fate, begins_ns: NDArray[np.int64], ends_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Packets underway at some time from `begins_ns` to `ends_ns`, both ascending; lost ones when they were sent."""
    until = np.where(measured.receive_ns == LOST, measured.send_ns, measured.receive_ns)
    # The last interval that begins before the packet has arrived ends, of all those, the latest.
    last = np.searchsorted(begins_ns, until, side="right") - 1
    found: NDArray[np.bool_] = last >= 0
    found[found] = ends_ns[last[found]] >= measured.send_ns[found]
    return found
