"""How far packets are reordered, of rows that are sorted by reception (RFC 4737 section 4.2.1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import allocating, int64


@allocating
def find_extents(
    run: NDArray[np.int64], sent: NDArray[np.int64], late: NDArray[np.bool_], extents: NDArray[np.int64]
) -> None:
    """Extents of late rows (RFC 4737 section 4.2.1); rows by run, then reception; `sent` is the place in send order.

    Of each flow only rows that are involved are there: extents begin and end within a run of them.
    """
    found = 0
    start = 0
    count = len(run)
    highest = np.empty(count, np.int64)
    for row in range(count):
        if row == 0 or run[row] != run[row - 1]:
            start = row
            highest[row] = sent[row]
        else:
            highest[row] = max(highest[row - 1], sent[row])
        if late[row]:
            low = int64(start)
            high = int64(row)
            while low < high:
                middle = (low + high) >> 1
                if highest[middle] > sent[row]:
                    high = middle
                else:
                    low = middle + 1
            extents[found] = row - low
            found += 1
