"""The pool in which TCP connections are followed: their state, and the round trips and counts of each flow.

Both directions of a five-tuple share a slot. The slot of a connection that has retired (docs/captures.md) serves
another, so memory follows the connections alive at one time. Whether a connection has retired depends on the packets
alone, never on when slots are reclaimed.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.flows.holes import HOLE, release
from segcast.traces.hashing import finalise
from segcast.traces.jit import int64, kernel

SAMPLES: Final = 128  # round trips of a flow kept for its median
_LEAST_ROOM: Final = 4  # a flow's block of samples doubles from here to SAMPLES
_SIZES: Final = 8  # so there are so many sizes at most
_FIRST_SLOTS: Final = 1 << 10
_FIRST_SAMPLES: Final = 1 << 12
_FIRST_HOLES: Final = 1 << 8
_MARKS: Final = 128
_NEVER_NS: Final = -(1 << 63)

# Packed, the widest first: a file of arrays gives exactly these types back, so kernels need no second compilation.
# Sequence numbers of 64 bits have those of the packets in their lower half, and never wrap.
DIRECTION: Final = np.dtype(
    [
        ("next", np.int64),  # the sequence number after the highest byte so far
        ("first", np.int64),  # the lowest sequence number known
        ("first_ns", np.int64),  # when the first packet was seen
        ("covered", np.int64),  # the highest acknowledgement by the peer, if `is_covered`
        ("timed_end", np.int64),  # of the segment whose acknowledgement is awaited
        ("timed_ns", np.int64),
        ("acked_ns", np.int64),
        ("handshake1_ns", np.int64),  # plus 1; 0 if not known
        ("acked", np.uint32),  # the latest acknowledgement that it sent, if `has_acked`
        ("syn", np.uint32),  # the sequence number of its SYN, if `has_syn`
        ("window", np.uint32),
        ("repeats", np.uint32),  # duplicates of the latest acknowledgement
        ("lowest_hole1", np.uint32),
        ("highest_hole1", np.uint32),
        ("holes", np.uint32),
        ("mss", np.uint32),  # that it announced, 0 if none
        ("timed", np.uint8),  # NOT_TIMED, TIMED or TIMED_SYN
        ("has_packets", np.bool_),
        ("has_data", np.bool_),
        ("has_acked", np.bool_),
        ("has_syn", np.bool_),
        ("is_covered", np.bool_),
        ("forgetful", np.bool_),  # a hole was forgotten: nothing is known to be missing below `first`
        ("kept_alive", np.bool_),  # its latest segment was a keep-alive
    ]
)
NOT_TIMED, TIMED, TIMED_SYN = 0, 1, 2

CONNECTION: Final = np.dtype(
    [
        ("retires_ns", np.int64),
        ("owner", np.int64),  # the lower flow id; -1 if the slot is free
        ("closed", np.int64),  # sum of 1 and 2 for each side that has sent a FIN, and RESET
    ]
)
BOTH_SIDES, RESET = 3, 4

RESULT: Final = np.dtype(
    [
        ("retransmissions", np.int64),
        ("out_of_order", np.int64),
        ("handshake1_ns", np.int64),  # plus 1; 0 if not known
        ("samples", np.int64),
        ("least_ns", np.int64),
        ("has_data", np.int64),
        ("block", np.int64),  # where the flow's round trips begin in `samples`
        ("room", np.int64),  # and how many find place there
    ]
)

TALLY: Final = np.dtype(
    [
        ("free_slots", np.int64),
        ("clock_ns", np.int64),  # the latest time so far
        ("samples_used", np.int64),
        ("holes_used", np.int64),
        ("free_hole1", np.int64),  # the first row of `holes` that was given back, plus 1
        ("holes_forgotten", np.int64),
    ]
)


class Connections(NamedTuple):
    """The pool: p slots; f flows.

    `slot` int64[f]: the slot of the connection whose lower flow id this is, -1 if none. `state` DIRECTION[2 p]: rows
    2 s and 2 s + 1 are the directions of slot s, that of the lower flow id first. `life` CONNECTION[p]. `free`
    int64[p]: a stack of free slots. `tally` TALLY[1]. `results` RESULT[f]. `samples` int64[s]: round trips by blocks.
    `free_blocks` int64[8]: the first free block of each size plus 1; its first word leads on. `totals` int64[128]:
    packets by marks. `holes` HOLE[h], see `holes`.
    """

    slot: npt.NDArray[np.int64]
    state: npt.NDArray[np.void]
    life: npt.NDArray[np.void]
    free: npt.NDArray[np.int64]
    tally: npt.NDArray[np.void]
    results: npt.NDArray[np.void]
    samples: npt.NDArray[np.int64]
    free_blocks: npt.NDArray[np.int64]
    totals: npt.NDArray[np.int64]
    holes: npt.NDArray[np.void]


@kernel
def _widen(result: Any, samples: npt.NDArray[np.int64], free_blocks: npt.NDArray[np.int64], tally: Any) -> None:
    """Give a flow a block of samples twice as large; the caller has made sure that there is room for one."""
    old, room = result.block, result.room
    wider = 2 * room if room > 0 else _LEAST_ROOM
    size = 0
    while _LEAST_ROOM << size < wider:
        size += 1
    if free_blocks[size] > 0:
        block = free_blocks[size] - 1
        free_blocks[size] = samples[block]
    else:
        block = tally.samples_used
        tally.samples_used += wider
    for n in range(room):
        samples[block + n] = samples[old + n]
    if room > 0:
        samples[old] = free_blocks[size - 1]
        free_blocks[size - 1] = old + 1
    result.block, result.room = block, wider


@kernel
def keep_round_trip(
    result: Any,
    samples: npt.NDArray[np.int64],
    free_blocks: npt.NDArray[np.int64],
    tally: Any,
    elapsed_ns: int,
    of_syn: bool,
) -> None:
    """Keep a round trip of a flow: the first SAMPLES, of later ones a fair share (Vitter's algorithm R).

    The n-th (from 0) goes to place `(finalise(n + 1) >> 32) * (n + 1) >> 32`, if that is below SAMPLES.
    """
    if of_syn and result.handshake1_ns == 0:
        result.handshake1_ns = elapsed_ns + 1
    n = result.samples
    result.samples = n + 1
    if n == 0 or elapsed_ns < result.least_ns:
        result.least_ns = elapsed_ns
    place = np.uint64(n)
    if n >= SAMPLES:
        x = finalise(np.uint64(n + 1) * np.uint64(0x9E3779B97F4A7C15))
        place = ((x >> np.uint64(32)) * np.uint64(n + 1)) >> np.uint64(32)
        if place >= np.uint64(SAMPLES):
            return
    if np.int64(place) >= result.room:
        _widen(result, samples, free_blocks, tally)
    samples[result.block + np.int64(place)] = elapsed_ns


@kernel
def _sort(values: npt.NDArray[np.int64], count: int) -> None:
    """Sort the first `count` values, at most SAMPLES: Shell's way, by gaps that Ciura found (2001)."""
    for gap in (57, 23, 10, 4, 1):
        for i in range(gap, count):
            value, place = values[i], i
            while place >= gap and values[place - gap] > value:
                values[place] = values[place - gap]
                place -= gap
            values[place] = value


@kernel
def medians(pool: Connections, group: npt.NDArray[np.int64], median: npt.NDArray[np.int64]) -> None:
    """Write the median of each flow's samples (of two, floor of the mean); flows without samples stay as they are.

    `group` int64[SAMPLES] is for the kernel's own use.
    """
    for flow in range(median.size):
        count = min(pool.results[flow].samples, SAMPLES)
        if count > 0:
            block = pool.results[flow].block
            for n in range(count):
                group[n] = pool.samples[block + n]
            _sort(group, count)
            low = group[(count - 1) // 2]
            median[flow] = low + (group[count // 2] - low) // 2


@kernel
def reclaim(pool: Connections) -> int:
    """Free the slots of retired connections; how many are free now."""
    tally = pool.tally[0]
    for slot in range(pool.life.size):
        life = pool.life[slot]
        if life.owner >= 0 and tally.clock_ns > life.retires_ns:
            release(pool.holes, tally, pool.state[2 * slot])
            release(pool.holes, tally, pool.state[2 * slot + 1])
            pool.slot[life.owner] = -1
            life.owner = -1
            pool.free[tally.free_slots] = slot
            tally.free_slots += 1
    return int64(tally.free_slots)


def new_pool(flows: int, slots: int = _FIRST_SLOTS) -> Connections:
    """An empty pool for `flows` flows."""
    life = np.zeros(slots, CONNECTION)
    life["owner"] = -1
    tally = np.zeros(1, TALLY)
    tally["free_slots"], tally["clock_ns"] = slots, _NEVER_NS
    return Connections(
        slot=np.full(flows, -1, np.int64),
        state=np.zeros(2 * slots, DIRECTION),
        life=life,
        free=np.arange(slots, dtype=np.int64)[::-1].copy(),
        tally=tally,
        results=np.zeros(flows, RESULT),
        samples=np.zeros(_FIRST_SAMPLES, np.int64),
        free_blocks=np.zeros(_SIZES, np.int64),
        totals=np.zeros(_MARKS, np.int64),
        holes=np.zeros(_FIRST_HOLES, HOLE),
    )


def with_flows(pool: Connections, flows: int) -> Connections:
    """A pool with room for more flows, holding what this one holds."""
    more = np.full(flows - len(pool.slot), -1, np.int64)
    return pool._replace(slot=np.append(pool.slot, more), results=_widened(pool.results, flows))


def with_room(pool: Connections) -> Connections:
    """The same pool with room: a free slot (the pool doubles if few have retired), samples, a hole."""
    tally = pool.tally[0]
    if tally["samples_used"] + SAMPLES > len(pool.samples):
        pool = pool._replace(samples=np.append(pool.samples, np.zeros_like(pool.samples)))
    if tally["free_hole1"] == 0 and tally["holes_used"] == len(pool.holes):
        pool = pool._replace(holes=_widened(pool.holes, 2 * len(pool.holes)))
    slots = len(pool.life)
    if tally["free_slots"] > 0 or reclaim(pool) * 4 >= slots:
        return pool
    free = int(tally["free_slots"])
    life, stack = _widened(pool.life, 2 * slots), np.empty(2 * slots, np.int64)
    life["owner"][slots:] = -1
    stack[:free] = pool.free[:free]
    stack[free : free + slots] = np.arange(2 * slots - 1, slots - 1, -1)
    tally["free_slots"] = free + slots
    return pool._replace(state=_widened(pool.state, 4 * slots), life=life, free=stack)


def _widened(rows: npt.NDArray[np.void], count: int) -> npt.NDArray[np.void]:
    """The same rows and more, all zero. NumPy copies rows field by field, bytes several times as fast."""
    wider = np.zeros(count, rows.dtype)
    wider.view(np.uint8)[: rows.nbytes] = rows.view(np.uint8)
    return wider
