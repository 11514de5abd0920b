"""Changes seed by seed, the slow way: products and roots, and Student's t by adding up its density."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence


@functools.cache
def t_bound(tail: float, degrees: int) -> float:
    """What Student's t exceeds with this probability, found by halving; the tail by Simpson's rule."""
    low, high = 0.0, 1.0
    while _beyond(high, degrees) > tail:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _beyond(middle, degrees) > tail else (low, middle)
    return (low + high) / 2


def _beyond(value: float, degrees: int) -> float:
    """One half less the density from 0 to the value."""
    scale = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    steps = 2000
    width = value / steps
    total = 0.0
    for step in range(steps + 1):
        weight = 1 if step in (0, steps) else 4 if step % 2 else 2
        total += weight * (1 + (step * width) ** 2 / degrees) ** (-(degrees + 1) / 2)
    return 0.5 - scale * total * width / 3


def paired(
    first: Sequence[float], second: Sequence[float], comparisons: int
) -> tuple[float | None, float | None, float | None, str]:
    """The change from the first to the second, logarithms of its bounds plus 1, and the verdict; of the same seeds."""
    count = len(first)
    mean = sum(first) / count
    change = (sum(second) / count) / mean - 1 if mean else None
    low = high = None
    if min(*first, *second) > 0:
        product = 1.0
        for a, b in zip(first, second, strict=True):
            product *= b / a
        change = product ** (1 / count) - 1
        bounds = _bounds([math.log(b) - math.log(a) for a, b in zip(first, second, strict=True)], comparisons)
        if bounds is not None:
            low, high = bounds
    if all(a == b for a, b in zip(first, second, strict=True)):
        return change, low, high, "equal"
    told = (low, high) if low is not None and high is not None else None
    if told is None:
        told = _bounds([b - a for a, b in zip(first, second, strict=True)], comparisons)
    if told is None or told[0] <= 0 <= told[1]:
        return change, low, high, "unclear"
    return change, low, high, "lower" if told[1] < 0 else "higher"


def _bounds(values: Sequence[float], comparisons: int) -> tuple[float, float] | None:
    count = len(values)
    if count < 2:
        return None
    mean = sum(values) / count
    squares = sum((value - mean) ** 2 for value in values) / (count - 1)
    half = t_bound(0.025 / comparisons, count - 1) * math.sqrt(squares / count)
    return mean - half, mean + half
