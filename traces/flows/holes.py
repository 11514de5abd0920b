"""The holes of a direction of a TCP connection: bytes below its next that were neither captured nor acknowledged.

A direction's holes are a list in order of their bytes, whose links are rows of the pool's `holes`. There are MOST_HOLES
at most: with one more the lowest is forgotten, and what lies below its end counts as captured from then on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.jit import int64, kernel

MOST_HOLES: Final = 64

# Links are row numbers plus 1, so that 0 leads nowhere.
HOLE: Final = np.dtype(
    [
        ("begin", np.int64),  # as a direction's `next`
        ("end", np.int64),
        ("since_ns", np.int64),  # when a later byte was seen first
        ("later1", np.int64),  # the next higher hole of the direction, or the next free row
    ]
)

Holes = npt.NDArray[np.void]


@kernel
def _new_hole(holes: Holes, tally: Any, begin: int, end: int, since_ns: int, later1: int) -> int:
    """A row, plus 1, that holds these; the caller has made sure that there is one."""
    hole1 = tally.free_hole1
    if hole1 > 0:
        tally.free_hole1 = holes[hole1 - 1].later1
    else:
        tally.holes_used += 1
        hole1 = tally.holes_used
    hole = holes[hole1 - 1]
    hole.begin, hole.end, hole.since_ns, hole.later1 = begin, end, since_ns, later1
    return int64(hole1)


@kernel
def _drop_lowest(holes: Holes, tally: Any, mine: Any) -> None:
    hole1 = mine.lowest_hole1
    mine.lowest_hole1 = holes[hole1 - 1].later1
    if mine.lowest_hole1 == 0:
        mine.highest_hole1 = 0
    mine.holes -= 1
    holes[hole1 - 1].later1 = tally.free_hole1
    tally.free_hole1 = hole1


@kernel
def _forget(holes: Holes, tally: Any, mine: Any) -> None:
    """Forget the lowest hole if there is one too many."""
    if mine.holes > MOST_HOLES:
        mine.first = holes[mine.lowest_hole1 - 1].end
        mine.forgetful = True
        tally.holes_forgotten += 1
        _drop_lowest(holes, tally, mine)


@kernel
def release(holes: Holes, tally: Any, mine: Any) -> None:
    """Give all holes of a direction back."""
    if mine.lowest_hole1 > 0:
        holes[mine.highest_hole1 - 1].later1 = tally.free_hole1
        tally.free_hole1 = mine.lowest_hole1
        mine.lowest_hole1, mine.highest_hole1, mine.holes = 0, 0, 0


@kernel
def open_above(holes: Holes, tally: Any, mine: Any, begin: int, end: int, now: int) -> None:
    """Bytes from the direction's next on were skipped; `begin` may be higher, if some of them were acknowledged."""
    if begin >= end:
        return
    hole1 = _new_hole(holes, tally, begin, end, now, 0)
    if mine.highest_hole1 > 0:
        holes[mine.highest_hole1 - 1].later1 = hole1
    else:
        mine.lowest_hole1 = hole1
    mine.highest_hole1 = hole1
    mine.holes += 1
    _forget(holes, tally, mine)


@kernel
def open_below(holes: Holes, tally: Any, mine: Any, begin: int, end: int) -> None:
    """Bytes below the first one known were skipped, before the direction's first packet was seen."""
    if begin >= end:
        return
    hole1 = _new_hole(holes, tally, begin, end, mine.first_ns, mine.lowest_hole1)
    if mine.highest_hole1 == 0:
        mine.highest_hole1 = hole1
    mine.lowest_hole1 = hole1
    mine.holes += 1
    _forget(holes, tally, mine)


@kernel
def fill(holes: Holes, tally: Any, mine: Any, begin: int, end: int) -> tuple[int, int]:
    """Bytes from `begin` to `end` were seen: how many of them were missing, and since when the first of these was."""
    filled, since_ns = int64(0), int64(0)
    before1, hole1 = int64(0), int64(mine.lowest_hole1)
    while hole1 > 0:
        hole = holes[hole1 - 1]
        later1 = int64(hole.later1)
        if hole.begin >= end:
            break
        low, high = max(int64(hole.begin), begin), min(int64(hole.end), end)
        if low < high:
            since_ns = int64(hole.since_ns) if filled == 0 else since_ns
            filled += high - low
            if hole.begin < low and high < hole.end:
                rest1 = _new_hole(holes, tally, high, hole.end, hole.since_ns, later1)
                hole.end, hole.later1 = low, rest1
                if later1 == 0:
                    mine.highest_hole1 = rest1
                mine.holes += 1
                _forget(holes, tally, mine)
                break
            if hole.begin < low:
                hole.end = low
            elif high < hole.end:
                hole.begin = high
            elif before1 == 0:
                _drop_lowest(holes, tally, mine)
                hole1 = later1
                continue
            else:
                holes[before1 - 1].later1 = later1
                if later1 == 0:
                    mine.highest_hole1 = before1
                mine.holes -= 1
                hole.later1 = tally.free_hole1
                tally.free_hole1 = hole1
                hole1 = later1
                continue
        before1, hole1 = hole1, later1
    return filled, since_ns


@kernel
def acknowledged(holes: Holes, tally: Any, mine: Any, upto: int) -> bool:
    """The peer has all bytes below `upto`; whether any of them was missing."""
    found = False
    while mine.lowest_hole1 > 0 and holes[mine.lowest_hole1 - 1].begin < upto:
        found = True
        hole = holes[mine.lowest_hole1 - 1]
        if hole.end > upto:
            hole.begin = upto
        else:
            _drop_lowest(holes, tally, mine)
    return found
