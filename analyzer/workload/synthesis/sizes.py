"""Flow sizes: fixed, or by a published distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.workload.synthesis.published import PUBLISHED, Distribution
from segcast.traces.errors import InputError

_STEPS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes in bytes: `size` float64[k] at the cumulative probability `share` float64[k], linear between them."""

    name: str
    source: str
    size: NDArray[np.float64]
    share: NDArray[np.float64]

    def of(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        """The sizes, whole bytes and at least one, of numbers from 0 to 1."""
        return np.maximum(1, np.rint(np.interp(uniform, self.share, self.size))).astype(np.int64)

    def mean(self, mss: int) -> tuple[float, float]:
        """The expected bytes of a flow, and its expected segments of at most `mss` bytes.

        By the middles of 2,000 equal parts of each stretch between points, rounded to bytes as drawn sizes are.
        """
        middles = (np.arange(_STEPS) + 0.5) / _STEPS
        size = segments = 0.0
        for low, high, weight in zip(self.size[:-1], self.size[1:], np.diff(self.share), strict=True):
            parts = np.maximum(1, np.rint(low + middles * (high - low)))
            size += weight * float(parts.mean())
            segments += weight * float(np.ceil(parts / mss).mean())
        return size, segments


def fixed(size: int) -> Sizes:
    """All flows of one size."""
    return Sizes(f"{size} bytes", "as asked", np.array([size, size], np.float64), np.array([0.0, 1.0]))


def published(name: str) -> Sizes:
    """A published distribution. Raises InputError if there is none of that name."""
    found: Distribution | None = PUBLISHED.get(name)
    if found is None:
        raise InputError(f"there is no distribution {name!r}; there are {', '.join(PUBLISHED)}")
    size, per_cent = np.array(found.points, np.float64).T
    return Sizes(name, found.source, size, per_cent / 100)
