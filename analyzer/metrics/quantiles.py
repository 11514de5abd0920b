"""Nearest-rank quantiles: exact members of the data, so that integers stay integers."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray


def rank_of(quantile: float, count: int) -> int:
    """0-based index, in sorted order, of the smallest value with at least `quantile * count` values not above it."""
    numerator, denominator = _as_written(quantile)
    return max(0, -(-numerator * count // denominator) - 1)


@functools.cache
def _as_written(quantile: float) -> tuple[int, int]:
    # The decimal text of the quantile is meant, not its binary neighbour: 0.999 * 1000 is 999, not 999.0000001.
    return Fraction(str(quantile)).as_integer_ratio()


def nearest_ranks(values: NDArray[Any], quantiles: Iterable[float]) -> list[Any]:
    """Quantiles of `values` as Python numbers; None for each if there are no values."""
    wanted = list(quantiles)
    if len(values) == 0:
        return [None] * len(wanted)
    ranks = [rank_of(quantile, len(values)) for quantile in wanted]
    parted = np.partition(values, sorted(set(ranks)))
    return parted[ranks].tolist()  # type: ignore[no-any-return]
