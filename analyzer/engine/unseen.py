"""What a steering host fails to see of its traffic (docs/model.md, Errors of the count)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.hashing import mix
from segcast.traces.jit import allocating, int64, kernel

SHARES: Final = 1_000_000
"""Shares are whole millionths."""

_POSITIVE: Final = (1 << 63) - 1


def threshold(millionths: int) -> int:
    """What `unseen` compares with for a share of packets, 0 to 2**32."""
    return (millionths << 32) // SHARES


@kernel
def unseen(limit: int, seed: int, send_ns: int, flow: int) -> bool:
    """Whether a packet is of the share that is not seen: a hash, so that no order and no batch decides."""
    key = mix(np.uint64(send_ns & _POSITIVE) ^ mix(np.uint64(flow)))
    return int64(mix(key ^ np.uint64(seed)) >> np.uint64(32)) < limit


@allocating
def all_unseen(limit: int, seed: int, send_ns: NDArray[np.int64], flow: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """`unseen` of many packets, bool[n]."""
    found = np.empty(len(send_ns), np.bool_)
    for row in range(len(send_ns)):
        found[row] = unseen(limit, seed, send_ns[row], int64(flow[row]))
    return found
