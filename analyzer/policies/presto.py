"""presto: a flow's bytes go round the paths in cells of one size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.policies.choosing import flow_hashes
from segcast.analyzer.policies.registry import Decision, NetworkState, Parameters, Setting, register
from segcast.traces.hashing import reduce_to
from segcast.traces.jit import int64


class PrestoParameters(Parameters):
    """How large a cell is."""

    cell_bytes: int = Field(65536, ge=1, le=1 << 40, description="bytes of a flow that go on one path in a row")


class PrestoState(NamedTuple):
    """`flow_hash` uint64[flows], which says where a flow begins, and `cell_bytes` int64[1]."""

    flow_hash: NDArray[np.uint64]
    cell_bytes: NDArray[np.int64]


def make_state(setting: Setting) -> PrestoState:
    """Hash every flow to its first slot."""
    return PrestoState(flow_hashes(setting), np.array([setting.parameters.cell_bytes], np.int64))


def choose(state: PrestoState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The next slot after every full cell."""
    start = reduce_to(state.flow_hash[decision.flow], decision.path_count)
    return int64((start + decision.sent_bytes // state.cell_bytes[0]) % decision.path_count)


register(
    name="presto",
    summary="a flow's bytes in cells of one size, each to the next path, whatever the gaps",
    source="He et al., Presto: Edge-based Load Balancing for Fast Datacenter Networks, SIGCOMM 2015",
    granularity="asked",
    steered=True,
    counts_inflight=False,
    state=PrestoState,
    make_state=make_state,
    choose=choose,
    parameters=PrestoParameters,
)
