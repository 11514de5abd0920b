"""When the flows of a list would start if sending took no time: what says how long the list asks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.workload.table import Workload


def earliest_ns(workload: Workload) -> NDArray[np.int64]:
    """Starts, int64[n]: of a flow that waits, its think time after the last that it waits for, or its own if later."""
    found = workload.start_ns.copy()
    left = np.diff(workload.after_first)
    if not left.any():
        return found
    first, waiting = workload.followers()
    ready = np.flatnonzero(left == 0)
    while len(ready):
        counts = first[ready + 1] - first[ready]
        place = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        child = waiting[np.repeat(first[ready], counts) + place]
        np.maximum.at(found, child, np.repeat(found[ready], counts) + workload.think_ns[child])
        np.subtract.at(left, child, 1)
        ready = np.unique(child[left[child] == 0])
    return found
