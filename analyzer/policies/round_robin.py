"""round-robin: each flowlet of a host takes the next path."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.registry import Decision, NetworkState, Setting, register
from segcast.traces.jit import int64


class RoundRobinState(NamedTuple):
    """Choices made, by first counter, int64[counters]."""

    made: NDArray[np.int64]


def make_state(setting: Setting) -> RoundRobinState:
    """No choice was made yet."""
    return RoundRobinState(np.zeros(setting.counters, np.int64))


def choose(state: RoundRobinState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """One after the other."""
    slot = state.made[decision.first_counter] % decision.path_count
    state.made[decision.first_counter] += 1
    return int64(slot)


register(
    name="round-robin",
    summary="each flowlet of a host to the next path in turn",
    source="Cao, Wang and Zegura, Performance of hashing-based schemes for Internet load balancing, INFOCOM 2000",
    granularity="flowlet",
    steered=True,
    counts_inflight=False,
    state=RoundRobinState,
    make_state=make_state,
    choose=choose,
)
