"""The keys of a bucket's events, and how they are sorted: by insertion where there are few, else by merging runs."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import allocating, at, int64, kernel

KEY: Final = np.dtype([("key", np.int64), ("event", np.int64)], align=True)
"""An event of the present bucket: its time from the bucket's begin times 2**32, plus its source."""

_SORTED_BY_INSERTION: Final = 24


@kernel
def _sort_few(order: NDArray[np.void], begin: int, end: int) -> None:
    """Sort by key, keeping equals in order, by insertion."""
    for place in range(begin + 1, end):
        key, event = int64(order[at(place)].key), int64(order[at(place)].event)
        free = place
        while free > begin and order[at(free - 1)].key > key:
            order[at(free)].key = order[at(free - 1)].key
            order[at(free)].event = order[at(free - 1)].event
            free -= 1
        order[at(free)].key = key
        order[at(free)].event = event


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
