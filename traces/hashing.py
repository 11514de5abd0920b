"""Hashing and drawing: the mix behind hash tables, and the generator behind every random choice (docs/model.md)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.jit import allocating, int64, kernel

_GAMMA: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)


@kernel
def finalise(x: np.uint64) -> np.uint64:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def mix(value: np.uint64) -> np.uint64:
    """SplitMix64 of `value` (uint64 to uint64): add the golden gamma, then the finalizer."""
    return finalise(np.uint64(value + _GAMMA))


@kernel
def reduce_to(value: np.uint64, count: int) -> int:
    """Scale the high half of a hash to [0, count), count < 2**32."""
    return int64(((value >> _HALF) * np.uint64(count)) >> _HALF)


@kernel
def draw(generator: NDArray[np.uint64], count: int) -> int:
    """Next number in [0, count) of the generator held in `generator[0]`, which advances."""
    state = generator[0]
    generator[0] = np.uint64(state + _GAMMA)
    return reduce_to(mix(state), count)


@kernel
def _fold(words: NDArray[np.uint64], keys: NDArray[np.uint64]) -> None:
    for row in range(words.shape[0]):
        key = np.uint64(0)
        for column in range(words.shape[1]):
            key = mix(key ^ words[row, column])
        keys[row] = key


def flow_keys(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Flow keys, uint64[n], of five-tuples as uint64[n, 5]: source high and low, destination high and low, rest."""
    keys = np.empty(len(words), np.uint64)
    _fold(np.ascontiguousarray(words, np.uint64), keys)
    return keys


@allocating
def mix_each(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """mix() of every element, uint64[n]."""
    mixed = np.empty_like(values)
    for row in range(len(values)):
        mixed[row] = mix(values[row])
    return mixed


def seeded_generator(seed: int) -> NDArray[np.uint64]:
    """A fresh generator, uint64[1], for one policy of one cell."""
    return np.array([mix(np.uint64(seed))], np.uint64)
