"""two-choices: of two paths drawn at random, the one with fewer bytes in flight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.registry import Decision, NetworkState, Setting, register
from segcast.traces.hashing import draw, seeded_generator


class TwoChoicesState(NamedTuple):
    """The cell's generator, uint64[1]."""

    generator: NDArray[np.uint64]


def make_state(setting: Setting) -> TwoChoicesState:
    """Seed the generator."""
    return TwoChoicesState(seeded_generator(setting.seed))


def choose(state: TwoChoicesState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The lower of two counters, the first drawn among equals."""
    if decision.path_count == 1:
        return 0
    one = draw(state.generator, decision.path_count)
    other = draw(state.generator, decision.path_count - 1)
    if other >= one:
        other += 1
    first = decision.first_counter
    return other if inflight[first + other] < inflight[first + one] else one


register(
    name="two-choices",
    summary="each flowlet to the one with fewer in-flight bytes of two paths drawn at random",
    source="Mitzenmacher, The Power of Two Choices in Randomized Load Balancing, IEEE TPDS 12(10), 2001",
    granularity="flowlet",
    steered=True,
    counts_inflight=True,
    by="counter",
    state=TwoChoicesState,
    make_state=make_state,
    choose=choose,
)
