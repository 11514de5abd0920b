"""Which event comes first of several at one instant (docs/model.md, Order of events)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.hashing import mix
from segcast.traces.jit import inlined, int64

_LINK_RANKS: Final = 1 << 30


def break_ties(row: NDArray[np.void], seed: int) -> None:
    """From now on events of links come in order of a hash of the seed, not of the links' numbers; `row` CALENDAR[1]."""
    row["hashes"] = 1
    row["tie_key"] = mix(np.uint64(seed % (1 << 63)))


@inlined
def rank_of(row: NDArray[np.void], time_ns: int, source: int) -> int:
    """The place of an event among those of its time: by source, or links by a hash and others after them by source."""
    if row[0].hashes == 0:
        return source
    if source >= row[0].links:
        return _LINK_RANKS + source - int64(row[0].links)
    key = mix(np.uint64(time_ns - row[0].tie_from_ns)) ^ row[0].tie_key ^ np.uint64(source)
    return int64(mix(key) >> np.uint64(34))
