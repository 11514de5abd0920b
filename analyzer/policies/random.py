"""random: a uniform draw at each flowlet."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.registry import Decision, NetworkState, Setting, register
from segcast.traces.hashing import draw, seeded_generator


class RandomState(NamedTuple):
    """The cell's generator, uint64[1]."""

    generator: NDArray[np.uint64]


def make_state(setting: Setting) -> RandomState:
    """Seed the generator."""
    return RandomState(seeded_generator(setting.seed))


def choose(state: RandomState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """Any slot, with equal probability."""
    return draw(state.generator, decision.path_count)


register(
    name="random",
    summary="a path drawn uniformly at each flowlet (LetFlow), by the sending host",
    source="Vanini et al., Let It Flow, NSDI 2017",
    granularity="flowlet",
    steered=True,
    counts_inflight=False,
    state=RandomState,
    make_state=make_state,
    choose=choose,
)
