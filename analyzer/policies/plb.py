"""plb: a connection takes a new flow label, and so another hash, after congested rounds, best when it is idle."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.policies.choosing import ROUND, begin_round, ends_round, version_hash
from segcast.analyzer.policies.registry import Decision, Feedback, NetworkState, Parameters, Setting, register
from segcast.traces.hashing import reduce_to


class PlbParameters(Parameters):
    """When a connection moves; the defaults are Linux's."""

    share_permille: int = Field(
        500, ge=0, le=1000, description="a round is congested if at least this share of its acknowledgements is marked"
    )
    idle_rounds: int = Field(
        3, ge=1, le=10**6, description="congested rounds in a row after which an idle connection moves"
    )
    rounds: int = Field(12, ge=1, le=10**6, description="congested rounds in a row after which any connection moves")
    suspend_ns: int = Field(
        60_000_000_000, ge=0, le=10**15, description="time after a loss in which congested rounds move nothing"
    )


class PlbState(NamedTuple):
    """By flow: `key` uint64, `rounds` ROUND, `pending` int64 packets that await feedback, `resumes_ns` int64 if `lost`.

    `seed` uint64[1]; `limits`, one row: the parameters.
    """

    key: NDArray[np.uint64]
    rounds: NDArray[np.void]
    pending: NDArray[np.int64]
    resumes_ns: NDArray[np.int64]
    lost: NDArray[np.bool_]
    seed: NDArray[np.uint64]
    limits: NDArray[np.void]


def make_state(setting: Setting) -> PlbState:
    """No connection has seen anything."""
    flows = len(setting.flow_keys)
    return PlbState(
        setting.flow_keys,
        np.zeros(flows, ROUND),
        np.zeros(flows, np.int64),
        np.zeros(flows, np.int64),
        np.zeros(flows, np.bool_),
        np.array([setting.seed], np.uint64),
        setting.parameters.limits(),
    )


def choose(state: PlbState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """What the connection's key hashes to with its present number, which may grow first."""
    rounds, flow = state.rounds, decision.flow
    if decision.slot < 0:
        begin_round(rounds, flow, decision.time_ns)
    congested, limits = rounds[flow].congested, state.limits[0]
    moves = congested >= limits.rounds or (congested >= limits.idle_rounds and state.pending[flow] == 0)
    if moves and (not state.lost[flow] or decision.time_ns >= state.resumes_ns[flow]):
        rounds[flow].version += np.uint64(1)
        rounds[flow].congested = 0
    state.pending[flow] += 1
    return reduce_to(version_hash(state.key[flow], state.seed[0], rounds[flow].version), decision.path_count)


def learn(state: PlbState, feedback: Feedback) -> None:
    """Count marks by round; a loss moves the connection at once."""
    rounds, flow = state.rounds, feedback.flow
    state.pending[flow] -= 1
    if feedback.lost:
        rounds[flow].version += np.uint64(1)
        rounds[flow].congested = 0
        state.lost[flow] = True
        state.resumes_ns[flow] = feedback.time_ns + state.limits[0].suspend_ns
    elif not ends_round(rounds, feedback):
        return
    elif rounds[flow].marks * 1000 >= state.limits[0].share_permille * rounds[flow].acks:
        rounds[flow].congested += 1
    else:
        rounds[flow].congested = 0
    begin_round(rounds, flow, feedback.time_ns)


register(
    name="plb",
    summary="a connection hashes to another path after congested rounds, sooner if idle, and after a loss",
    source="Qureshi et al., PLB: Congestion Signals are Simple and Effective for Network Load Balancing, SIGCOMM 2022; "
    "constants of Linux",
    granularity="asked",
    steered=False,
    counts_inflight=False,
    state=PlbState,
    make_state=make_state,
    choose=choose,
    learn=learn,
    parameters=PlbParameters,
)
