"""quantile: a gap longer than most of the host's recent gaps."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.detectors.bounds import Bounds
from segcast.analyzer.detectors.registry import Gap, register
from segcast.analyzer.policies.registry import Setting

_STEP_SHIFT: Final = 18


class QuantileParameters(Bounds):
    """Which quantile, where it begins, and within which bounds."""

    share_permille: int = Field(900, ge=0, le=1000, description="share of the gaps that shall lie below the timeout")
    start_ns: int = Field(100_000, ge=0, le=10**12, description="the timeout before any gap was seen")
    low_ns: int = Field(1_000, ge=0, le=10**12, description="the shortest timeout")
    high_ns: int = Field(100_000_000, ge=0, le=10**12, description="the longest timeout")


class QuantileState(NamedTuple):
    """The running quantile in ns by first counter, int64[counters]; `limits`, one row: the parameters."""

    quantile_ns: NDArray[np.int64]
    limits: NDArray[np.void]


def make_state(setting: Setting) -> QuantileState:
    """Every host begins with the same."""
    chosen = setting.parameters
    return QuantileState(np.full(setting.counters, chosen.start_ns, np.int64), chosen.limits())


def starts(state: QuantileState, gap: Gap) -> bool:
    """Whether the gap exceeds the quantile, which it then moves."""
    timeout_ns = state.quantile_ns[gap.first_counter]
    exceeds = bool(gap.gap_ns > timeout_ns)
    if exceeds:
        moved_ns = timeout_ns + max(1, (timeout_ns * state.limits["share_permille"][0]) >> _STEP_SHIFT)
    else:
        moved_ns = timeout_ns - max(1, (timeout_ns * (1000 - state.limits["share_permille"][0])) >> _STEP_SHIFT)
    state.quantile_ns[gap.first_counter] = min(max(moved_ns, state.limits["low_ns"][0]), state.limits["high_ns"][0])
    return exceeds


register(
    name="quantile",
    summary="a running quantile of the host's gaps",
    source="a multiplicative form of Ma, Muthukrishnan and Sandler, Frugal Streaming for Estimating Quantiles, 2013",
    state=QuantileState,
    make_state=make_state,
    starts=starts,
    parameters=QuantileParameters,
)
