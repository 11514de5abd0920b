"""safe: an oracle that starts a flowlet exactly when nothing of the flow is in the network."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.detectors.registry import Gap, register
from segcast.analyzer.policies.registry import Setting


class SafeState(NamedTuple):
    """Empty: the engine knows what is in the network. A state needs an array, so `unused` is int64[1]."""

    unused: NDArray[np.int64]


def make_state(setting: Setting) -> SafeState:
    """The engine keeps what there is to know."""
    return SafeState(np.zeros(1, np.int64))


def starts(state: SafeState, gap: Gap) -> bool:
    """Whether no packet of the flow can be overtaken."""
    return not gap.in_network


register(
    name="safe",
    summary="starts a flowlet whenever none of the flow's packets is in the network: an oracle, never reorders",
    source="the condition of Kandula et al., CCR 2007, with perfect knowledge",
    state=SafeState,
    make_state=make_state,
    starts=starts,
    tracks=True,
)
