"""letflow: switches draw a path for each flowlet, which they tell apart in a table of limited size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.policies.choosing import flow_hashes
from segcast.analyzer.policies.registry import Decision, NetworkState, Parameters, Setting, register
from segcast.traces.errors import InputError
from segcast.traces.hashing import draw, seeded_generator
from segcast.traces.jit import int64


class LetflowParameters(Parameters):
    """How large a switch's table is."""

    entries: int = Field(
        65536, ge=1, le=1 << 24, description="entries of each switch's flowlet table; flows that meet in one share it"
    )


class LetflowState(NamedTuple):
    """The cell's `generator` uint64[1] and `timeout_ns` int64[1]; `entry` int64[flows]; by entry `last_ns` and `slot`.

    Only entries that a flow hashes to are kept. A slot of -1: never used.
    """

    generator: NDArray[np.uint64]
    timeout_ns: NDArray[np.int64]
    entry: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    slot: NDArray[np.int64]


def make_state(setting: Setting) -> LetflowState:
    """Place every flow in the table of its attachment. Raises InputError without a fixed flowlet timeout."""
    if setting.timeout_ns < 0:
        raise InputError("policy 'letflow' needs a fixed flowlet timeout, such as 100us: its switches know no other")
    entries = setting.parameters.entries
    half = np.uint64(32)
    place = (((flow_hashes(setting) >> half) * np.uint64(entries)) >> half).astype(np.int64)
    used, entry = np.unique(setting.flow_attachment * entries + place, return_inverse=True)
    return LetflowState(
        seeded_generator(setting.seed),
        np.array([setting.timeout_ns], np.int64),
        entry.astype(np.int64),
        np.zeros(len(used), np.int64),
        np.full(len(used), -1, np.int64),
    )


def choose(state: LetflowState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The slot of the flow's entry, drawn anew after a gap in the entry's packets."""
    entry = state.entry[decision.flow]
    if state.slot[entry] < 0 or decision.time_ns - state.last_ns[entry] > state.timeout_ns[0]:
        state.slot[entry] = draw(state.generator, decision.path_count)
    state.last_ns[entry] = decision.time_ns
    return int64(state.slot[entry] % decision.path_count)


register(
    name="letflow",
    summary="a path drawn uniformly at each flowlet, by switches whose flowlet tables are limited in size",
    source="Vanini et al., Let It Flow: Resilient Asymmetric Load Balancing with Flowlet Switching, NSDI 2017",
    granularity="asked",
    steered=False,
    counts_inflight=False,
    state=LetflowState,
    make_state=make_state,
    choose=choose,
    timed=True,
    parameters=LetflowParameters,
)
