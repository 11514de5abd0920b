"""Nearest-rank quantiles: exact members of the data, so that integers stay integers."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray


def rank_of(quantile: float, count: int) -> int:
    """0-based index, in sorted order, of the smallest value with at least `quantile * count` values not above it."""
    # The decimal text of the quantile is meant, not its binary neighbour: 0.999 * 1000 is 999, not 999.0000001.
    exact = Fraction(str(quantile)) * count
    return max(0, -(-exact.numerator // exact.denominator) - 1)


def nearest_ranks(values: NDArray[Any], quantiles: Iterable[float]) -> list[Any]:
    """Quantiles of `values` as Python numbers; None for each if there are no values."""
    wanted = list(quantiles)
    if len(values) == 0:
        return [None] * len(wanted)
    ranks = [rank_of(quantile, len(values)) for quantile in wanted]
    parted = np.partition(values, sorted(set(ranks)))
    return [parted[rank].item() for rank in ranks]
