"""fixed: a gap strictly greater than a constant."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.detectors.registry import Gap, register
from segcast.analyzer.policies.registry import Setting


class FixedState(NamedTuple):
    """The timeout, int64[1] ns."""

    timeout_ns: NDArray[np.int64]


def make_state(setting: Setting) -> FixedState:
    """The cell's timeout."""
    return FixedState(np.array([setting.timeout_ns], np.int64))


def starts(state: FixedState, gap: Gap) -> bool:
    """Whether the gap exceeds it."""
    return bool(gap.gap_ns > state.timeout_ns[0])


register(
    name="fixed",
    summary="a constant",
    source="Kandula et al., Dynamic load balancing without packet reordering, CCR 2007",
    state=FixedState,
    make_state=make_state,
    starts=starts,
)
