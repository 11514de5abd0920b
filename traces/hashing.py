"""Mixing of keys for hash tables whose seed no capture knows."""

from __future__ import annotations

import numpy as np

from segcast.traces.jit import kernel


@kernel
def mix(x: np.uint64) -> np.uint64:
    """SplitMix64's finaliser (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
