"""clove-ecn: hosts send flowlets round the paths by weights, and take weight from a path that is marked.

Where slots are not usable the others share the turns by their own weights, so the policy is registered by counter.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.policies.choosing import least
from segcast.analyzer.policies.registry import (
    PENALTY_BYTES,
    Decision,
    Feedback,
    NetworkState,
    Parameters,
    Setting,
    register,
)
from segcast.traces.jit import int64, kernel

_FIRST_WEIGHT: Final = 65536


class CloveParameters(Parameters):
    """How often marks count."""

    relay_ns: int = Field(
        50_000,
        ge=0,
        le=10**12,
        description="a path's marks count at most once in this time, as ECN is relayed to hosts",
    )


class CloveState(NamedTuple):
    """By counter int64[counters]: `weight`, `credit`, and `marked_ns` of the last mark that counted if `marked` bool.

    `relay_ns` int64[1].
    """

    weight: NDArray[np.int64]
    credit: NDArray[np.int64]
    marked_ns: NDArray[np.int64]
    marked: NDArray[np.bool_]
    relay_ns: NDArray[np.int64]


def make_state(setting: Setting) -> CloveState:
    """All paths weigh the same."""
    counters = setting.counters
    return CloveState(
        np.full(counters, _FIRST_WEIGHT, np.int64),
        np.zeros(counters, np.int64),
        np.zeros(counters, np.int64),
        np.zeros(counters, np.bool_),
        np.array([setting.parameters.relay_ns], np.int64),
    )


def choose(state: CloveState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """Smooth weighted round robin: every credit rises by its weight, the highest wins and pays for all."""
    first, count = decision.first_counter, decision.path_count
    none_usable = least(inflight, first, count) >= PENALTY_BYTES
    best = -1
    total = int64(0)
    for slot in range(count):
        counter = first + slot
        if none_usable or inflight[counter] < PENALTY_BYTES:
            total += state.weight[counter]
            state.credit[counter] += state.weight[counter]
            if best < 0 or state.credit[counter] > state.credit[first + best]:
                best = slot
    state.credit[first + best] -= total
    return best


@kernel
def _clear(marked: NDArray[np.bool_], marked_ns: NDArray[np.int64], counter: int, before_ns: int) -> bool:
    """Whether the last mark that counted for a counter lies before `before_ns`, or there was none."""
    return not marked[counter] or marked_ns[counter] < before_ns


def learn(state: CloveState, feedback: Feedback) -> None:
    """A mark or a loss moves a third of the path's weight to paths without recent marks, else to all others."""
    first, count, now_ns = feedback.first_counter, feedback.path_count, feedback.time_ns
    mine = first + feedback.slot
    marked, marked_ns, weight = state.marked, state.marked_ns, state.weight
    before_ns = now_ns - state.relay_ns[0]
    if not (feedback.marked or feedback.lost) or not _clear(marked, marked_ns, mine, before_ns + 1):
        return
    marked[mine] = True
    marked_ns[mine] = now_ns
    if count == 1:
        return
    clear = 0
    for counter in range(first, first + count):
        clear += counter != mine and _clear(marked, marked_ns, counter, before_ns)
    takers = clear if clear > 0 else count - 1
    moved = weight[mine] // 3
    share = moved // takers
    rest = moved - share * takers
    weight[mine] -= moved
    for counter in range(first, first + count):
        if counter != mine and (clear == 0 or _clear(marked, marked_ns, counter, before_ns)):
            weight[counter] += share + rest
            rest = int64(0)


register(
    name="clove-ecn",
    summary="flowlets in turn by weights, which marks and losses move away from a path",
    source="Katta et al., Clove: Congestion-Aware Load Balancing at the Virtual Edge, CoNEXT 2017",
    granularity="flowlet",
    steered=True,
    counts_inflight=False,
    by="counter",
    state=CloveState,
    make_state=make_state,
    choose=choose,
    learn=learn,
    parameters=CloveParameters,
)
