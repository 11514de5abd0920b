"""host-ecmp: a flow stays on the path that its host hashes it to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.choosing import flow_hashes
from segcast.analyzer.policies.registry import Decision, NetworkState, Setting, register
from segcast.traces.hashing import reduce_to


class HostEcmpState(NamedTuple):
    """The hash of each flow, uint64[flows]."""

    hashes: NDArray[np.uint64]


def make_state(setting: Setting) -> HostEcmpState:
    """Hash every flow."""
    return HostEcmpState(flow_hashes(setting))


def choose(state: HostEcmpState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The slot that the flow's hash scales to."""
    return reduce_to(state.hashes[decision.flow], decision.path_count)


register(
    name="host-ecmp",
    summary="hash of the five-tuple as ecmp, but by the host and with a segment list: what SRv6 itself costs",
    source="RFC 2992; between ecmp and flowlets it parts the cost of headers from the gain of moving",
    granularity="flow",
    steered=True,
    counts_inflight=False,
    state=HostEcmpState,
    make_state=make_state,
    choose=choose,
)
