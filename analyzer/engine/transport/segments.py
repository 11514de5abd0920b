"""Rings of segments: room for what a half has outstanding, out of one pool that all halves share."""

from __future__ import annotations

from typing import Final

from segcast.analyzer.engine.transport.state import Connections
from segcast.traces.jit import at, inlined, int64, kernel

_FEWEST: Final = 4  # log2 of the places of a half's first ring


@kernel
def make_place(connections: Connections, half: int) -> None:
    """See that the half's ring has room for one more segment; the pool has room for it to double (`is_short`)."""
    row = connections.halves[at(half)]
    if row.nxt - row.una > row.mask:
        power = int64(_FEWEST)
        while row.mask >= 0 and (int64(1) << power) <= row.mask + 1:
            power += 1
        _move(connections, half, power)


@inlined
def is_short(connections: Connections) -> bool:
    """Whether the pool, or the list of what leaves the in-flight count, might not suffice for one event."""
    lot = connections.lot
    return bool(
        lot[0].used + 2 * lot[0].largest > connections.segments.size or 8 * lot[0].largest > connections.gone.size
    )


@kernel
def _move(connections: Connections, half: int, power: int) -> None:
    """Move what is outstanding into a ring of 2**`power` places."""
    halves, segments, lot = connections.halves, connections.segments, connections.lot
    size = int64(1) << power
    to = int64(connections.free_rings[power])
    if to >= 0:
        connections.free_rings[power] = segments[at(to)].sent_ns
    else:
        to = int64(lot[0].used)
        lot[0].used += size
        lot[0].largest = max(int64(lot[0].largest), size)
    begin, mask = int64(halves[at(half)].first_place), int64(halves[at(half)].mask)
    for number in range(halves[at(half)].una, halves[at(half)].nxt):
        old, new = begin + (number & mask), to + (number & (size - 1))
        segments[at(new)] = segments[at(old)]
        connections.flags[at(new)] = connections.flags[at(old)]
        connections.have[at(new)] = connections.have[at(old)]
    give_back(connections, half)
    halves[at(half)].first_place = to
    halves[at(half)].mask = size - 1


@kernel
def give_back(connections: Connections, half: int) -> None:
    """The half's ring is free for others, if it has one."""
    halves = connections.halves
    mask, begin = int64(halves[at(half)].mask), int64(halves[at(half)].first_place)
    if mask < 0:
        return
    power = int64(0)
    while (int64(1) << power) <= mask:
        power += 1
    connections.segments[at(begin)].sent_ns = connections.free_rings[power]
    connections.free_rings[power] = begin
    halves[at(half)].mask = -1


@inlined
def place_of(connections: Connections, half: int, number: int) -> int:
    """Where the half's segment of that number is, if it is outstanding."""
    row = connections.halves[at(half)]
    return int64(row.first_place) + (number & int64(row.mask))
