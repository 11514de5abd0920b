"""inflight: each flowlet takes the path on which its host has the fewest bytes in flight."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.choosing import lowest
from segcast.analyzer.policies.registry import Decision, NetworkState, Setting, register
from segcast.traces.hashing import seeded_generator


class InflightState(NamedTuple):
    """The generator that breaks ties, uint64[1]."""

    generator: NDArray[np.uint64]


def make_state(setting: Setting) -> InflightState:
    """Seed the generator."""
    return InflightState(seeded_generator(setting.seed))


def choose(state: InflightState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The slot with the lowest counter; among equals, one drawn at random."""
    return lowest(inflight, decision.first_counter, decision.path_count, state.generator)


register(
    name="inflight",
    summary="each flowlet to the path with the fewest in-flight bytes its host knows of; ties at random",
    source="arXiv 2606.27697",
    granularity="flowlet",
    steered=True,
    counts_inflight=True,
    by="counter",
    state=InflightState,
    make_state=make_state,
    choose=choose,
)
