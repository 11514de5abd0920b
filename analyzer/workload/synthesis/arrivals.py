"""When flows or jobs arrive: gaps of a stated mean, Poisson or bursty."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import LATEST_NS
from segcast.traces.errors import InputError

ARRIVALS: Final = ("poisson", "lognormal")


def arrivals_ns(draws: np.random.Generator, kind: str, sigma: float, mean_ns: float, count: int) -> NDArray[np.int64]:
    """Times of arrivals, int64[count], in order: gaps are exponential, or lognormal with `sigma`. Raises InputError.

    A lognormal gap is exp(sigma z - sigma^2 / 2) times the mean, for z normal: its mean is the same for every sigma.
    """
    if kind == "poisson":
        gaps = draws.standard_exponential(count)
    else:
        gaps = np.exp(sigma * draws.standard_normal(count) - sigma * sigma / 2)
    times = np.cumsum(gaps * mean_ns)
    if not times[-1] < LATEST_NS / 4:
        raise InputError("the list would last for longer than 36 years; give a higher --load, or fewer --flows")
    return np.rint(times).astype(np.int64)
