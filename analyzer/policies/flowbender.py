"""flowbender: a flow hashes anew after rounds in which too much of it was marked, and after a loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.policies.choosing import ROUND, begin_round, ends_round, version_hash
from segcast.analyzer.policies.registry import Decision, Feedback, NetworkState, Parameters, Setting, register
from segcast.traces.hashing import reduce_to


class FlowbenderParameters(Parameters):
    """When a flow has seen congestion."""

    share_permille: int = Field(
        50, ge=0, le=1000, description="a round is congested if more than this share of its acknowledgements is marked"
    )
    rounds: int = Field(1, ge=1, le=10**6, description="congested rounds in a row after which the flow hashes anew")


class FlowbenderState(NamedTuple):
    """By flow `key` uint64 and `rounds` ROUND; `seed` uint64[1]; `limits`, one row: the parameters."""

    key: NDArray[np.uint64]
    rounds: NDArray[np.void]
    seed: NDArray[np.uint64]
    limits: NDArray[np.void]


def make_state(setting: Setting) -> FlowbenderState:
    """No flow has seen anything."""
    return FlowbenderState(
        setting.flow_keys,
        np.zeros(len(setting.flow_keys), ROUND),
        np.array([setting.seed], np.uint64),
        setting.parameters.limits(),
    )


def choose(state: FlowbenderState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """What the flow's key hashes to with its present number."""
    flow = decision.flow
    if decision.slot < 0:
        begin_round(state.rounds, flow, decision.time_ns)
    return reduce_to(version_hash(state.key[flow], state.seed[0], state.rounds[flow].version), decision.path_count)


def learn(state: FlowbenderState, feedback: Feedback) -> None:
    """Count marks by round; the number grows after congested rounds and after a loss."""
    rounds, flow = state.rounds, feedback.flow
    if feedback.lost:
        rounds[flow].version += np.uint64(1)
        rounds[flow].congested = 0
    elif not ends_round(rounds, feedback):
        return
    elif rounds[flow].marks * 1000 <= state.limits[0].share_permille * rounds[flow].acks:
        rounds[flow].congested = 0
    else:
        rounds[flow].congested += 1
        if rounds[flow].congested >= state.limits[0].rounds:
            rounds[flow].version += np.uint64(1)
            rounds[flow].congested = 0
    begin_round(rounds, flow, feedback.time_ns)


register(
    name="flowbender",
    summary="a flow hashes to another path when a round trip of it saw too many marks, or after a loss",
    source="Kabbani et al., FlowBender: Flow-level Adaptive Routing for Improved Latency and Throughput, CoNEXT 2014",
    granularity="asked",
    steered=False,
    counts_inflight=False,
    state=FlowbenderState,
    make_state=make_state,
    choose=choose,
    learn=learn,
    parameters=FlowbenderParameters,
)
