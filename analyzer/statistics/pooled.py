"""Quantiles of the values of several seeds together, with a delete-one jackknife over the seeds.

The mean of the seeds' own quantiles is too low where a seed has few values beyond them: of a skewed distribution the
few largest values are mostly missed, and now and then overdone. Thrown together, all seeds have many.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.forecast.student import student_bound
from segcast.analyzer.metrics.histogram import Histogram, lower_bounds
from segcast.analyzer.metrics.quantiles import rank_of

_TAIL: Final = 0.025


# Of fewer values beyond a quantile, chance decides between two of them that lie far apart.
FEWEST_BEYOND: Final = 30


class Sample(NamedTuple):
    """The values of one seed, int64, ascending and each once; `upto` int64: how many are at most that."""

    values: NDArray[np.int64]
    upto: NDArray[np.int64]

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.upto[-1]) if len(self.upto) else 0

    def at_most(self, value: int) -> int:
        """How many are at most `value`."""
        place = int(np.searchsorted(self.values, value, side="right"))
        return int(self.upto[place - 1]) if place else 0


class Pooled(NamedTuple):
    """A quantile of all seeds' values together, and its 95 % interval.

    There are no bounds where few values are beyond it, or one seed's.

    `seeds` are those that have values, `total` is how many values they have.
    """

    value: int
    low: float | None
    high: float | None
    seeds: int
    total: int


def sample_of(values: NDArray[np.int64]) -> Sample:
    """A sample of values that are known exactly."""
    found, counts = np.unique(values, return_counts=True)
    return Sample(found.astype(np.int64), np.cumsum(counts))


def sample_of_histogram(histogram: Histogram) -> Sample:
    """A sample of a histogram's values, each as the lower bound of its bucket."""
    used = np.flatnonzero(histogram.counts)
    return Sample(lower_bounds(used), np.cumsum(histogram.counts[used]))


def pooled_quantile(samples: Iterable[Sample], quantile: float) -> Pooled | None:
    """The quantile of all values, by nearest rank; None of nothing.

    Its interval is that of its logarithm: Student's t, by the spread of what the quantile would be without each seed
    (Quenouille and Tukey's jackknife). Degrees of freedom are one less than the seeds among which the values beyond the
    quantile are spread (`_spread`): where a few seeds have most of them the others tell nothing of the error, and with
    a degree for each seed intervals of p99.9 would cover 77 to 88 %. A quantile of 0 has no interval, nor has one
    beyond which there are fewer than FEWEST_BEYOND values, unless there is none.
    """
    known = [sample for sample in samples if sample.size]
    if not known:
        return None
    values = np.unique(np.concatenate([sample.values for sample in known]))
    total = np.zeros(len(values), np.int64)
    for sample in known:
        total[np.searchsorted(values, sample.values)] += np.diff(sample.upto, prepend=0)
    upto = np.cumsum(total)
    count = int(upto[-1])
    value = int(values[np.searchsorted(upto, rank_of(quantile, count) + 1)])
    beyond = [sample.size - sample.at_most(value) for sample in known]
    degrees = _spread(beyond) - 1
    if degrees < 1 or 0 < sum(beyond) < FEWEST_BEYOND:
        return Pooled(value, None, None, len(known), count)
    without = [_without(values, upto, sample, quantile) for sample in known]
    return Pooled(value, *_jackknife(value, without, degrees), len(known), count)


def _without(values: NDArray[np.int64], upto: NDArray[np.int64], left_out: Sample, quantile: float) -> int:
    """The quantile of all values but those of one sample: the first at which enough of the others are at most it."""
    wanted = rank_of(quantile, int(upto[-1]) - left_out.size) + 1
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if int(upto[middle]) - left_out.at_most(int(values[middle])) >= wanted:
            high = middle
        else:
            low = middle + 1
    return int(values[low])


def _spread(beyond: Sequence[int]) -> int:
    """Among how many seeds values are spread, if each has so many: of n with as many each, n; all in one, 1."""
    total = sum(beyond)
    return total**2 // sum(number**2 for number in beyond) if total else len(beyond)


def _jackknife(value: int, without: Sequence[int], degrees: int) -> tuple[float | None, float | None]:
    """The interval of a value by what it is without each part."""
    if value <= 0 or min(without) <= 0:
        return None, None
    logs = np.log(np.array(without, np.float64))
    parts = len(logs)
    error = math.sqrt((parts - 1) / parts * float(((logs - logs.mean()) ** 2).sum()))
    reach = math.exp(student_bound(_TAIL, degrees) * error)
    return value / reach, value * reach
