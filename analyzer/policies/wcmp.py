"""wcmp: a flow stays on the path it hashes to, paths weighted by their rate."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.choosing import flow_hashes, group_sizes
from segcast.analyzer.policies.registry import Decision, NetworkState, Setting, register
from segcast.traces.hashing import reduce_to

_FULL_WEIGHT: Final = 1024


class WcmpState(NamedTuple):
    """`flow_hash` uint64[flows]; by path int64[paths]: `reach`, the weights of its group up to it, and `sizes`."""

    flow_hash: NDArray[np.uint64]
    reach: NDArray[np.int64]
    sizes: NDArray[np.int64]


def make_state(setting: Setting) -> WcmpState:
    """Weights in proportion to the rates, 1024 for the fastest of a group."""
    rate_bps, group = setting.path_rate_bps, setting.path_group
    fastest_bps = np.zeros(int(group.max()) + 1, np.int64)
    np.maximum.at(fastest_bps, group, rate_bps)
    weight = np.maximum(1, rate_bps * _FULL_WEIGHT // fastest_bps[group])
    reach = np.cumsum(weight)
    starts = np.searchsorted(group, group)
    return WcmpState(flow_hashes(setting), reach - (reach - weight)[starts], group_sizes(setting))


def choose(state: WcmpState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """The slot whose share of the weights the hash falls into; while slots are not usable, all weigh the same."""
    first, count = decision.first_path, decision.path_count
    if count != state.sizes[first]:
        return reduce_to(state.flow_hash[decision.flow], count)
    place = reduce_to(state.flow_hash[decision.flow], state.reach[first + count - 1])
    slot = 0
    while state.reach[first + slot] <= place:
        slot += 1
    return slot


register(
    name="wcmp",
    summary="as ecmp, with paths weighted by the rate of their slowest link",
    source="Zhou et al., WCMP: Weighted Cost Multipathing for Improved Fairness in Data Centers, EuroSys 2014",
    granularity="flow",
    steered=False,
    counts_inflight=False,
    state=WcmpState,
    make_state=make_state,
    choose=choose,
)
