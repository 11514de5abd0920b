"""least-queue: an oracle that knows how long every queue of every path is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.choosing import lowest, room_for_slots
from segcast.analyzer.policies.registry import PENALTY_BYTES, Decision, NetworkState, Setting, register
from segcast.traces.hashing import seeded_generator


class LeastQueueState(NamedTuple):
    """The generator that breaks ties, uint64[1], and room for the wait of each slot, int64[slots]."""

    generator: NDArray[np.uint64]
    wait_ns: NDArray[np.int64]


def make_state(setting: Setting) -> LeastQueueState:
    """Seed the generator."""
    return LeastQueueState(seeded_generator(setting.seed), room_for_slots(setting))


def choose(state: LeastQueueState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The slot on whose links frames wait the shortest in all at this instant; among equals, one drawn at random."""
    now_ns = decision.time_ns
    for slot in range(decision.path_count):
        path = decision.first_path + slot
        wait_ns = 0
        first_hop = fabric.paths[path].first_hop
        for hop in range(first_hop, first_hop + fabric.paths[path].hops):
            link = fabric.hops[hop]
            free_ns = fabric.links[link].free_ns
            if free_ns >= now_ns:  # of an unused link it lies so far back that a difference would overflow
                wait_ns += free_ns + (fabric.links[link].free_rest > 0) - now_ns
        if inflight[decision.first_counter + slot] >= PENALTY_BYTES:
            wait_ns += PENALTY_BYTES
        state.wait_ns[slot] = wait_ns
    return lowest(state.wait_ns, 0, decision.path_count, state.generator)


register(
    name="least-queue",
    summary="each flowlet to the path whose queues are shortest at that instant: an oracle, no host can know them",
    source="Ghorbani et al., DRILL: Micro Load Balancing, SIGCOMM 2017; taken to whole paths and perfect knowledge",
    granularity="flowlet",
    steered=True,
    counts_inflight=False,
    by="counter",
    state=LeastQueueState,
    make_state=make_state,
    choose=choose,
)
