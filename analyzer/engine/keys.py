"""The keys of a bucket's events, and how they are sorted: by insertion where there are few, else by merging runs."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import allocating, at, int64, kernel

KEY: Final = np.dtype([("key", np.int64), ("event", np.int64)], align=True)
"""An event of the present bucket: its time from the bucket's begin times 2**32, plus the rank of its source."""

_SORTED_BY_INSERTION: Final = 24


@kernel
def insert_by_key(order: NDArray[np.void], begin: int, end: int, key: int, event: int) -> None:
    """Insert into the sorted `order[begin:end]`, behind all keys that are not greater; its last moves to `end`."""
    place = end
    while place > begin and order[at(place - 1)].key > key:
        order[at(place)].key = order[at(place - 1)].key
        order[at(place)].event = order[at(place - 1)].event
        place -= 1
    order[at(place)].key = key
    order[at(place)].event = event


@kernel
def _sort_few(order: NDArray[np.void], begin: int, end: int) -> None:
    """Sort by key, keeping equals in order, by insertion."""
    for place in range(begin + 1, end):
        insert_by_key(order, begin, place, int64(order[at(place)].key), int64(order[at(place)].event))


@allocating
def _sort_many(order: NDArray[np.void], count: int) -> None:
    """Sort by key, keeping equals in order, by merging runs."""
    run = int64(_SORTED_BY_INSERTION)
    for begin in range(0, count, run):
        _sort_few(order, begin, min(begin + run, count))
    aside = np.empty(count, KEY)
    while run < count:
        for begin in range(0, count, 2 * run):
            middle, end = min(begin + run, count), min(begin + 2 * run, count)
            left, right = begin, middle
            for place in range(begin, end):
                if left < middle and (right == end or order[left].key <= order[right].key):
                    aside[place] = order[left]
                    left += 1
                else:
                    aside[place] = order[right]
                    right += 1
        for place in range(count):
            order[place] = aside[place]
        run *= 2


@kernel
def sort_by_key(order: NDArray[np.void], count: int) -> None:
    """Sort the first `count` by key, keeping equals in order."""
    if count <= _SORTED_BY_INSERTION:
        _sort_few(order, int64(0), count)
    else:
        _sort_many(order, count)
