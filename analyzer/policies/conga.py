"""conga: switches measure load, tell each other, and send each flowlet to the path whose worst link is loaded least.

Where slots are not usable they look at the others as they are, so the policy is registered by counter.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.choosing import least, lowest, room_for_slots
from segcast.analyzer.policies.link_load import load_bytes, load_level
from segcast.analyzer.policies.registry import PENALTY_BYTES, Decision, Feedback, NetworkState, Setting, register
from segcast.traces.hashing import seeded_generator
from segcast.traces.jit import int64

_FRESH_NS: Final = 10_000_000  # section 3.3: metrics age


class CongaState(NamedTuple):
    """The cell's `generator` uint64[1]; by path int64 the last `level` and when it was heard; room by slot int64."""

    generator: NDArray[np.uint64]
    level: NDArray[np.int64]
    heard_ns: NDArray[np.int64]
    metric: NDArray[np.int64]


def make_state(setting: Setting) -> CongaState:
    """Start with no feedback from any path."""
    paths = len(setting.path_group)
    return CongaState(
        seeded_generator(setting.seed), np.zeros(paths, np.int64), np.zeros(paths, np.int64), room_for_slots(setting)
    )


def choose(state: CongaState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The slot with the lowest metric: the flow's present one among equals, else one drawn at random."""
    now_ns = decision.time_ns
    for slot in range(decision.path_count):
        path = decision.first_path + slot
        metric = int64(0)
        if state.level[path] > 0 and now_ns - state.heard_ns[path] <= _FRESH_NS:
            metric = state.level[path]
        if fabric.paths[path].hops > 0:
            link = int64(fabric.hops[fabric.paths[path].first_hop])
            metric = max(metric, load_level(fabric.links, link, load_bytes(fabric.links, link, now_ns)))
        if inflight[decision.first_counter + slot] >= PENALTY_BYTES:
            metric += PENALTY_BYTES
        state.metric[slot] = metric
    if decision.slot >= 0 and state.metric[decision.slot] == least(state.metric, 0, decision.path_count):
        return decision.slot
    return lowest(state.metric, 0, decision.path_count, state.generator)


def learn(state: CongaState, feedback: Feedback) -> None:
    """Note the level that an acknowledgement brings back."""
    if not feedback.lost:
        path = feedback.first_path + feedback.slot
        state.level[path] = feedback.congestion
        state.heard_ns[path] = feedback.time_ns


register(
    name="conga",
    summary="each flowlet to the path whose most loaded link is loaded least, by switches that measure",
    source="Alizadeh et al., CONGA: Distributed Congestion-Aware Load Balancing for Datacenters, SIGCOMM 2014",
    granularity="flowlet",
    steered=False,
    counts_inflight=False,
    by="counter",
    measures=True,
    state=CongaState,
    make_state=make_state,
    choose=choose,
    learn=learn,
)
