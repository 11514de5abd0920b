"""Queues in rings: the frames that links have accepted, and acknowledgements that are looked at only when asked.

A ring is a stretch of one array, its length a power of two. Nothing is taken off until someone asks what has left, so
a frame of a link that is far from full costs one entry written. A ring that is full of what has not left asks for more
room (`Rings.wanted`), which it gets between events.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import at, int64, kernel

ENTRY: Final = np.dtype([("time_ns", np.int64), ("bytes", np.int32), ("index", np.int32)], align=True)
"""`time_ns` is when it leaves; `index` an event of the calendar, or a counter."""

RING: Final = np.dtype([("begin", np.int64), ("mask", np.int64), ("first", np.int64), ("next", np.int64)], align=True)
"""Entries number `first` to `next` - 1 are held, number n at `begin` + (n & `mask`)."""

_FEWEST_ENTRIES: Final = 1 << 3  # of a ring; few where there are many rings, since all that is gone through should stay
_MOST_AT_FIRST: Final = 1 << 6  # in caches
_SPARE_ENTRIES: Final = 1 << 12


class Rings(NamedTuple):
    """`rings` RING[queues], `entries` ENTRY: all of theirs, of which `used` int64[1] belong to one or did.

    `wanted` int64[2]: a link's ring that is full and one of acknowledgements, if the entries do not suffice; or -1.
    """

    rings: NDArray[np.void]
    entries: NDArray[np.void]
    used: NDArray[np.int64]
    wanted: NDArray[np.int64]


def empty_rings(count: int) -> Rings:
    """So many rings without entries."""
    size = _FEWEST_ENTRIES
    while size < _MOST_AT_FIRST and 2 * size * count <= _SPARE_ENTRIES:
        size *= 2
    rings = np.zeros(count, RING)
    rings["begin"] = np.arange(count) * size
    rings["mask"] = size - 1
    used = count * size
    return Rings(rings, np.zeros(2 * used + _SPARE_ENTRIES, ENTRY), np.array([used]), np.full(2, -1, np.int64))


def grown(rings: Rings) -> Rings:
    """With twice as many entries, and room in the rings that wanted it."""
    entries = np.zeros(2 * len(rings.entries), ENTRY).view(type(rings.entries))
    entries[: rings.used[0]] = rings.entries[: rings.used[0]]
    rings = rings._replace(entries=entries)
    for kind, ring in enumerate(rings.wanted.tolist()):
        if ring >= 0:
            make_room(rings, ring, kind)
    return rings


@kernel
def leave(rings: Rings, ring: int, time_ns: int) -> int:
    """Take off what has left at `time_ns`; its bytes."""
    row = rings.rings[at(ring)]
    begin, mask, first, following = int64(row.begin), int64(row.mask), int64(row.first), int64(row.next)
    size = int64(0)
    while first < following and rings.entries[at(begin + (first & mask))].time_ns <= time_ns:
        size += int64(rings.entries[at(begin + (first & mask))].bytes)
        first += 1
    rings.rings[at(ring)].first = first
    return size


@kernel
def release(rings: Rings, ring: int, time_ns: int, inflight: NDArray[np.int64]) -> None:
    """Take what is due at `time_ns` off a ring of acknowledgements and off its counters."""
    row = rings.rings[at(ring)]
    begin, mask, first, following = int64(row.begin), int64(row.mask), int64(row.first), int64(row.next)
    while first < following:
        entry = rings.entries[at(begin + (first & mask))]
        if entry.time_ns > time_ns:
            break
        inflight[at(entry.index)] -= entry.bytes
        first += 1
    rings.rings[at(ring)].first = first


@kernel
def append(rings: Rings, ring: int, time_ns: int, size: int, index: int) -> bool:
    """Add an entry, for which there is room; whether the ring is full then."""
    row = rings.rings[at(ring)]
    following, mask = int64(row.next), int64(row.mask)
    place = int64(row.begin) + (following & mask)
    rings.entries[at(place)].time_ns = time_ns
    rings.entries[at(place)].bytes = size
    rings.entries[at(place)].index = index
    rings.rings[at(ring)].next = following + 1
    return bool(following + 1 - int64(row.first) > mask)


@kernel
def make_room(rings: Rings, ring: int, kind: int) -> None:
    """Give a ring, off which all was taken that has left, twice the room if it is more than half full.

    It moves behind what is used. If there is no room either, `wanted[kind]` says so.
    """
    row = rings.rings[at(ring)]
    begin, mask, first, following = int64(row.begin), int64(row.mask), int64(row.first), int64(row.next)
    if 2 * (following - first) <= mask:
        return
    to = int64(rings.used[0])
    if to + 2 * mask + 2 > rings.entries.size:
        rings.wanted[kind] = ring
        return
    for number in range(first, following):
        rings.entries[to + (number & (2 * mask + 1))] = rings.entries[begin + (number & mask)]
    rings.rings[at(ring)].begin = to
    rings.rings[at(ring)].mask = 2 * mask + 1
    rings.used[0] = to + 2 * mask + 2
    rings.wanted[kind] = -1
