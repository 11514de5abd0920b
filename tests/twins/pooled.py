"""Quantiles of several seeds' values together, with their jackknife: a slow second implementation.

Written from docs/statistics.md: every value is laid out, one after the other, and all is done anew without each seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

T_975 = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 5: 2.57058, 6: 2.44691}
"""Published bounds of Student's t: exceeded with probability 0.025, by degrees of freedom."""


def quantile(values: Sequence[int], share: Fraction) -> int:
    """The smallest value with at least `share` of all not above it."""
    ordered = sorted(values)
    for place, value in enumerate(ordered, start=1):
        if place >= share * len(ordered):
            return value
    raise AssertionError("there are values")


def pooled(seeds: Sequence[Sequence[int]], share: Fraction) -> tuple[int, float | None, float | None]:
    """The quantile of all seeds' values, and the bounds of its interval."""
    seeds = [seed for seed in seeds if seed]
    value = quantile([x for seed in seeds for x in seed], share)
    beyond = [Fraction(sum(x > value for x in seed)) for seed in seeds]
    # So many seeds with as many values each would be as uneven as these.
    alike = sum(beyond) ** 2 / sum(x * x for x in beyond) if any(beyond) else Fraction(len(seeds))
    if alike < 2 or 0 < sum(beyond) < 30:
        return value, None, None
    logs = []
    for left_out in range(len(seeds)):
        rest = quantile([x for place, seed in enumerate(seeds) for x in seed if place != left_out], share)
        if rest == 0 or value == 0:
            return value, None, None
        logs.append(math.log(rest))
    mean = sum(logs) / len(logs)
    error = math.sqrt((len(logs) - 1) / len(logs) * sum((log - mean) ** 2 for log in logs))
    half = T_975[math.floor(alike) - 1] * error
    return value, math.exp(math.log(value) - half), math.exp(math.log(value) + half)
