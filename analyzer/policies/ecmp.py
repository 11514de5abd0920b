"""ecmp: a flow stays on the path its five-tuple hashes to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.hashing import mix, mix_each, reduce_to
from analyzer.policies.registry import Decision, Fabric, Setting, register


class EcmpState(NamedTuple):
    """Hash of each flow under the cell's seed, uint64[flows]."""

    flow_hash: NDArray[np.uint64]


def make_state(setting: Setting) -> EcmpState:
    """Hash every flow: mix(flow_key ^ mix(seed))."""
    return EcmpState(mix_each(setting.flow_keys ^ mix(np.uint64(setting.seed))))


def choose(state: EcmpState, decision: Decision, inflight: NDArray[np.int64], fabric: Fabric) -> int:
    """The slot the flow hashes to."""
    return reduce_to(state.flow_hash[decision.flow], decision.path_count)


register(
    name="ecmp",
    summary="hash of the five-tuple: one path per flow, by the switches, without SRv6",
    source="RFC 2992; hash and seed as in docs/model.md",
    granularity="flow",
    steered=False,
    counts_inflight=False,
    state=EcmpState,
    make_state=make_state,
    choose=choose,
)
