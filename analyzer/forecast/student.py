"""Student's t distribution: how far a mean may be off, in standard errors."""

from __future__ import annotations

import functools
import math
import statistics


@functools.cache
def student_bound(tail: float, degrees: int) -> float:
    """The value that Student's t exceeds with probability `tail`, of more than 0 and less than a half."""
    # The normal distribution's bound lies below it, and the tail is convex: Newton's steps come up from there and never
    # go past it.
    bound = -statistics.NormalDist().inv_cdf(tail)
    step = bound
    while step > 1e-14 * bound:
        step = (_upper_tail(bound, degrees) - tail) / _density(bound, degrees)
        bound += step
    return bound


def _upper_tail(value: float, degrees: int) -> float:
    """The probability that Student's t exceeds a value above 0: I_x(degrees / 2, 1 / 2) / 2, x as below.

    The regularised incomplete beta function as the series of DLMF 8.17.8. No term is negative, so nothing cancels.
    """
    a, x = degrees / 2, degrees / (degrees + value * value)
    term, total, count = 1.0, 0.0, 0
    while term > 1e-17 * total:
        total += term
        term *= x * (a + 0.5 + count) / (a + 1 + count)
        count += 1
    return value * _density(value, degrees) / degrees * total


def _density(value: float, degrees: int) -> float:
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    return math.exp(log_scale - (degrees + 1) / 2 * math.log1p(value * value / degrees))
