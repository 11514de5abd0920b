"""Log-linear histograms: counts of integers in buckets whose width follows their value, so that any trace fits.

As in HdrHistogram, every power of two from 2**bits on is cut into 2**bits buckets of equal width, and what lies below
is counted exactly. The value reported for a bucket is its lower bound, less than 1 / 2**bits below any value in it.
Sums and the largest value are exact. Histograms of parts add up to that of the whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.quantiles import rank_of
from segcast.traces.jit import int64, kernel

BITS: Final = 11

# Places in `sums`.
LOW, HIGH, LARGEST = range(3)


class Histogram(NamedTuple):
    """`counts` int64[buckets]; `sums` int64[3]: of the values' low 32 bits, of the rest, and the largest (-1: none).

    The sum is kept in two parts because 2**31 values of 2**62 would leave 64 bits.
    """

    counts: NDArray[np.int64]
    sums: NDArray[np.int64]


def bucket_count(bits: int = BITS) -> int:
    """Buckets that hold every int64 from 0 on."""
    return (64 - bits) << bits


def empty_histogram(bits: int = BITS) -> Histogram:
    """A histogram of nothing."""
    return Histogram(np.zeros(bucket_count(bits), np.int64), np.array([0, 0, -1], np.int64))


@kernel
def bucket_of(value: int, bits: int) -> int:
    """The bucket of a value of at least 0."""
    shift = 0
    while value >> shift >= 2 << bits:
        shift += 1
    return (shift << bits) + (value >> shift)


@kernel
def record(counts: NDArray[np.int64], sums: NDArray[np.int64], value: int, bits: int) -> None:
    """Count a value of at least 0."""
    counts[bucket_of(value, bits)] += 1
    sums[LOW] += value & 0xFFFF_FFFF
    sums[HIGH] += value >> 32
    sums[LARGEST] = max(sums[LARGEST], value)


@kernel
def record_all(counts: NDArray[np.int64], sums: NDArray[np.int64], values: NDArray[np.int64], bits: int) -> None:
    """Count values of at least 0."""
    for value in values:
        record(counts, sums, int64(value), bits)


def lower_bound(bucket: int, bits: int = BITS) -> int:
    """The least value of a bucket."""
    shift = max((bucket >> bits) - 1, 0)
    return (bucket - (shift << bits)) << shift


def merge(into: Histogram, other: Histogram) -> None:
    """Add the values of another histogram of the same buckets."""
    np.add(into.counts, other.counts, out=into.counts)
    into.sums[:LARGEST] += other.sums[:LARGEST]
    into.sums[LARGEST] = max(into.sums[LARGEST], other.sums[LARGEST])


def mean(histogram: Histogram) -> float | None:
    """The mean, exact but for its last rounding; None of nothing."""
    count = int(histogram.counts.sum())
    return ((int(histogram.sums[HIGH]) << 32) + int(histogram.sums[LOW])) / count if count else None


def bucket_ranks(counts: NDArray[np.int64], quantiles: Iterable[float], bits: int = BITS) -> list[Any]:
    """Nearest-rank quantiles as the lower bounds of their buckets; None for each if there are no values."""
    wanted = list(quantiles)
    used = np.flatnonzero(counts)
    if len(used) == 0:
        return [None] * len(wanted)
    up_to = np.cumsum(counts[used])
    ranks = [rank_of(quantile, int(up_to[-1])) for quantile in wanted]
    return [lower_bound(int(used[np.searchsorted(up_to, rank, side="right")]), bits) for rank in ranks]


def histogram_ranks(histogram: Histogram, quantiles: Iterable[float]) -> list[Any]:
    """As `bucket_ranks`, and the exact maximum for the quantile 1."""
    wanted = list(quantiles)
    found = bucket_ranks(histogram.counts, wanted)
    largest = int(histogram.sums[LARGEST])
    return [largest if q == 1 and low is not None else low for q, low in zip(wanted, found, strict=True)]
