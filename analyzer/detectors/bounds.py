"""What several detectors share: the bounds of what a rule may ask for, and smoothing."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from segcast.analyzer.policies.registry import Parameters
from segcast.traces.jit import kernel


class Bounds(Parameters):
    """Parameters with a shortest and a longest timeout."""

    low_ns: int
    high_ns: int

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_ns > self.high_ns:
            raise ValueError(f"low_ns {self.low_ns} is above high_ns {self.high_ns}")
        return self


@kernel
def smoothed(value: int, sample: int) -> int:
    """The next of an exponentially smoothed value with gain 1/8; the first sample as it is if `value` is negative."""
    return sample if value < 0 else value + ((sample - value) >> 3)
