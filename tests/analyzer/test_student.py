"""Bounds of Student's t against closed forms, published tables and an integration of its own."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from segcast.analyzer.forecast.compare import interval
from segcast.analyzer.forecast.student import student_bound

# The levels of intervals that hold together with so many others, as comparisons ask for them.
TAILS = [0.025 / comparisons for comparisons in (1, 2, 6, 10, 60, 200, 1000)]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(400)


def area(degrees: int, angle: float) -> float:
    """The integral of sin(x) ** (degrees - 1) from 0 to an angle, by Gauss and Legendre."""
    return float(angle / 2 * (WEIGHTS * np.sin(angle / 2 * (NODES + 1)) ** (degrees - 1)).sum())


def upper_tail(value: float, degrees: int) -> float:
    """The probability that Student's t exceeds a value: with t = sqrt(degrees) / tan(x), dt's density is that of x."""
    return area(degrees, math.atan2(math.sqrt(degrees), value)) / area(degrees, math.pi)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 7, 9, 19, 30, 31, 99, 999])
@pytest.mark.parametrize("tail", TAILS)
def test_a_bound_has_the_tail_it_was_asked_for(tail: float, degrees: int) -> None:
    """Within 1e-9 of the bound, which is far tighter than anything a table shows."""
    bound = student_bound(tail, degrees)
    assert upper_tail(bound * (1 + 1e-9), degrees) < tail < upper_tail(bound * (1 - 1e-9), degrees)


@pytest.mark.parametrize("tail", [*TAILS, 0.25, 0.4, 1e-9])
def test_bounds_of_one_and_two_degrees_are_the_closed_forms(tail: float) -> None:
    assert student_bound(tail, 1) == pytest.approx(1 / math.tan(math.pi * tail), rel=1e-12)
    assert student_bound(tail, 2) == pytest.approx((1 - 2 * tail) / math.sqrt(2 * tail * (1 - tail)), rel=1e-12)


@pytest.mark.parametrize(
    ("tail", "degrees", "bound"),
    [
        (0.025, 3, 3.182),
        (0.005, 3, 5.841),
        (0.0005, 3, 12.92),
        (0.025, 9, 2.262),
        (0.0005, 9, 4.781),
        (0.025, 30, 2.042),
        (0.0005, 30, 3.646),
        (0.025, 1000, 1.962),
    ],
)
def test_bounds_of_the_tables(tail: float, degrees: int, bound: float) -> None:
    """NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2."""
    assert student_bound(tail, degrees) == pytest.approx(bound, abs=0.001 if bound < 10 else 0.01)


@pytest.mark.parametrize("comparisons", [60, 100, 200])
def test_intervals_of_four_seeds_and_many_comparisons_are_as_wide_as_they_must_be(comparisons: int) -> None:
    """Four terms of the expansion about the normal distribution are 4.6 to 8.1 % too narrow here."""
    values = [1.0, 2.0, 3.0, 4.0]
    got = interval(values, comparisons)
    assert got.high is not None
    half = (got.high - got.mean) / (statistics.stdev(values) / 2)
    assert upper_tail(half, 3) == pytest.approx(0.025 / comparisons, rel=1e-9)


def test_the_normal_distribution_is_the_limit() -> None:
    assert student_bound(0.025, 100_000) == pytest.approx(statistics.NormalDist().inv_cdf(0.975), rel=3e-5)
