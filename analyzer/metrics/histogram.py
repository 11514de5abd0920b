"""Log-linear histograms: counts of integers in buckets whose width follows their value, so that any trace fits.

As in HdrHistogram, every power of two from 2**bits on is cut into 2**bits buckets of equal width, and what lies below
is counted exactly. The value reported for a bucket is its lower bound, less than 1 / 2**bits below any value in it.
Sums and the largest value are exact. Histograms of parts add up to that of the whole. There are no more buckets than
the largest value needs, since to clear and to fetch a megabyte of them takes longer than to count a small cell.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.metrics.bit_length import bit_length
from segcast.analyzer.metrics.quantiles import rank_of
from segcast.traces.jit import at, int64, kernel

BITS: Final = 11

# Even an empty histogram has buckets for values of so many digits: up to a millisecond.
_LEAST_DIGITS: Final = 20

# Places in `sums`.
LOW, HIGH, LARGEST = range(3)


class Histogram(NamedTuple):
    """`counts` int64[buckets]; `sums` int64[3]: of the values' low 32 bits, of the rest, and the largest (-1: none).

    The sum is kept in two parts because 2**31 values of 2**62 would leave 64 bits.
    """

    counts: NDArray[np.int64]
    sums: NDArray[np.int64]


def bucket_count(largest: int, bits: int = BITS) -> int:
    """Buckets that hold every integer from 0 to `largest`, and to the last of as many digits."""
    digits = max(largest.bit_length(), _LEAST_DIGITS)
    return (digits - bits + 1) << bits


def empty_histogram() -> Histogram:
    """A histogram of nothing."""
    return Histogram(np.zeros(bucket_count(0), np.int64), np.array([0, 0, -1], np.int64))


def with_buckets(counts: NDArray[np.int64], largest: int, bits: int = BITS) -> NDArray[np.int64]:
    """The same counts, int64[..., buckets], with buckets up to `largest`."""
    missing = bucket_count(largest, bits) - counts.shape[-1]
    if missing <= 0:
        return counts
    return np.concatenate((counts, np.zeros((*counts.shape[:-1], missing), np.int64)), axis=-1)


@kernel
def bucket_of(value: int, bits: int) -> int:
    """The bucket of a value of at least 0."""
    shift = bit_length(value | ((2 << bits) - 1)) - bits - 1
    return (shift << bits) + (value >> shift)


class Sums(NamedTuple):
    """`Histogram.sums` of some values while they are counted, so that a loop need not write them each time."""

    low: int
    high: int
    largest: int


@kernel
def nothing_summed() -> Sums:
    """Sums of no values."""
    return Sums(int64(0), int64(0), int64(-1))


@kernel
def summed(sums: Sums, value: int) -> Sums:
    """Sums with one value more, of at least 0."""
    return Sums(sums.low + (value & 0xFFFF_FFFF), sums.high + (value >> 32), max(sums.largest, value))


@kernel
def note_sums(into: NDArray[np.int64], sums: Sums) -> None:
    """Add the sums of some values to those of a histogram."""
    into[LOW] += sums.low
    into[HIGH] += sums.high
    into[LARGEST] = max(into[LARGEST], sums.largest)


def with_values(histogram: Histogram, values: NDArray[np.int64]) -> Histogram:
    """The histogram with more values, of at least 0, of which there are some."""
    grown = Histogram(with_buckets(histogram.counts, int(values.max())), histogram.sums)
    _record(grown, values)
    return grown


@kernel
def _record(histogram: Histogram, values: NDArray[np.int64]) -> None:
    sums = nothing_summed()
    for value in values:
        histogram.counts[at(bucket_of(int64(value), BITS))] += 1
        sums = summed(sums, int64(value))
    note_sums(histogram.sums, sums)


@kernel
def lower_bound(bucket: int, bits: int = BITS) -> int:
    """The least value of a bucket."""
    shift = max((bucket >> bits) - 1, 0)
    return (bucket - (shift << bits)) << shift


def lower_bounds(buckets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The least value of each bucket."""
    shift = np.maximum((buckets >> BITS) - 1, 0)
    found: NDArray[np.int64] = (buckets - (shift << BITS)) << shift
    return found


def merged(one: Histogram, other: Histogram) -> Histogram:
    """The values of both."""
    sums = one.sums + other.sums
    sums[LARGEST] = max(one.sums[LARGEST], other.sums[LARGEST])
    counts = with_buckets(one.counts, int(sums[LARGEST])).copy()
    counts[: len(other.counts)] += other.counts
    return Histogram(counts, sums)


def _used(histogram: Histogram) -> NDArray[np.int64]:
    """The buckets up to that of the largest value: most of a histogram's memory is never touched."""
    largest = int(histogram.sums[LARGEST])
    return histogram.counts[: bucket_of(largest, BITS) + 1 if largest >= 0 else 0]


def mean(histogram: Histogram) -> float | None:
    """The mean, exact but for its last rounding; None of nothing."""
    count = int(_used(histogram).sum())
    return ((int(histogram.sums[HIGH]) << 32) + int(histogram.sums[LOW])) / count if count else None


@kernel
def _at_ranks(counts: NDArray[np.int64], ranks: NDArray[np.int64], bits: int, found: NDArray[np.int64]) -> None:
    """The lower bounds of the buckets that hold values of these ranks, which ascend."""
    bucket = -1
    up_to = int64(0)
    for place in range(len(ranks)):
        while up_to <= ranks[place]:
            bucket += 1
            up_to += counts[bucket]
        found[place] = lower_bound(bucket, bits)


def bucket_ranks(counts: NDArray[np.int64], quantiles: Collection[float], bits: int = BITS) -> list[Any]:
    """Nearest-rank quantiles, which ascend, as the lower bounds of their buckets; None for each without values."""
    count = int(counts.sum())
    if count == 0:
        return [None] * len(quantiles)
    ranks = np.array([rank_of(quantile, count) for quantile in quantiles], np.int64)
    found = np.empty(len(ranks), np.int64)
    _at_ranks(counts, ranks, bits, found)
    return found.tolist()


def histogram_ranks(histogram: Histogram, quantiles: Collection[float]) -> list[Any]:
    """As `bucket_ranks`, and the exact maximum for the quantile 1."""
    found = bucket_ranks(_used(histogram), quantiles)
    largest = int(histogram.sums[LARGEST])
    return [largest if q == 1 and low is not None else low for q, low in zip(quantiles, found, strict=True)]
