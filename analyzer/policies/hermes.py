"""hermes: hosts sense which paths are good, congested or failed, and move flows only where that is worth it.

Where slots are not usable hosts choose among the others as they are, so the policy is registered by counter.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.policies.choosing import least, lowest, room_for_slots
from segcast.analyzer.policies.registry import (
    PENALTY_BYTES,
    Decision,
    Feedback,
    NetworkState,
    Parameters,
    Setting,
    register,
)
from segcast.traces.errors import InputError
from segcast.traces.hashing import seeded_generator
from segcast.traces.jit import int64, kernel

_ALL_MARKED: Final = 65536
_LOSSES: Final = 3
_FEWER_MARKS: Final = 3277  # 5 %
_NOT_CHOSEN: Final = np.iinfo(np.int64).max

# Classes of a slot; a flow that chooses anew takes the lowest there is.
_GOOD: Final = 0
_GREY: Final = 1
_CONGESTED: Final = 2
_FAILED: Final = 3
_UNUSABLE: Final = 4

SENSE: Final = np.dtype([("round_trip_ns", np.int64), ("marked", np.int64), ("losses", np.int64)], align=True)
"""What is sensed of a slot: smoothed round trip (-1: unknown), smoothed share of marks in 2**-16, losses in a row."""


class HermesParameters(Parameters):
    """When a path is good or congested, and when a flow moves."""

    low_ns: int = Field(
        20_000, ge=0, le=10**12, description="a good path's round trip is less than this above the lowest of the group"
    )
    high_ns: int = Field(
        120_000, ge=0, le=10**12, description="a congested path's round trip is more than this above the lowest"
    )
    ecn_per_65536: int = Field(
        26_214, ge=0, le=65_536, description="share of marks, of 65536, below which a path is good, else congested"
    )
    sent_bytes: int = Field(
        600_000, ge=0, le=1 << 60, description="bytes after which a flow may leave a congested path"
    )
    gain_ns: int = Field(80_000, ge=0, le=10**12, description="round trip that leaving a congested path must save")


class HermesState(NamedTuple):
    """The cell's `generator` uint64[1]; `sensed` SENSE[counters]; room by slot, int64[slots]: `kind` and `order`.

    `limits`, one row: the parameters and `timeout_ns`, that of flowlets.
    """

    generator: NDArray[np.uint64]
    sensed: NDArray[np.void]
    kind: NDArray[np.int64]
    order: NDArray[np.int64]
    limits: NDArray[np.void]


def make_state(setting: Setting) -> HermesState:
    """Nothing is known of any path. Raises InputError without a fixed flowlet timeout."""
    if setting.timeout_ns < 0:
        raise InputError("policy 'hermes' needs a fixed flowlet timeout, such as 100us: its hosts know no other")
    sensed = np.zeros(setting.counters, SENSE)
    sensed["round_trip_ns"] = -1
    return HermesState(
        seeded_generator(setting.seed),
        sensed,
        room_for_slots(setting),
        room_for_slots(setting),
        setting.parameters.limits(timeout_ns=setting.timeout_ns),
    )


@kernel
def _classify(
    sensed: NDArray[np.void],
    inflight: NDArray[np.int64],
    limits: NDArray[np.void],
    first: int,
    kind: NDArray[np.int64],
) -> int:
    """Class of each slot from counter `first` on, into `kind`; the lowest class there is."""
    count = len(kind)
    base_ns = int64(_NOT_CHOSEN)
    for slot in range(count):
        if sensed[first + slot].round_trip_ns >= 0:
            base_ns = min(base_ns, sensed[first + slot].round_trip_ns)
    none_usable = least(inflight, first, count) >= PENALTY_BYTES
    lowest_kind = _UNUSABLE
    for slot in range(count):
        counter = first + slot
        above_ns = sensed[counter].round_trip_ns - base_ns
        known = sensed[counter].round_trip_ns >= 0
        kind[slot] = _GREY
        if inflight[counter] >= PENALTY_BYTES and not none_usable:
            kind[slot] = _UNUSABLE
        elif sensed[counter].losses >= _LOSSES:
            kind[slot] = _FAILED
        elif known and above_ns < limits[0].low_ns and sensed[counter].marked < limits[0].ecn_per_65536:
            kind[slot] = _GOOD
        elif known and above_ns > limits[0].high_ns and sensed[counter].marked >= limits[0].ecn_per_65536:
            kind[slot] = _CONGESTED
        lowest_kind = min(lowest_kind, kind[slot])
    return lowest_kind


def choose(state: HermesState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """A good slot at the start of a flow or flowlet; flows leave failed slots, and congested ones for better ones."""
    first, count, slot = decision.first_counter, decision.path_count, decision.slot
    kind, order, sensed, limits = state.kind[:count], state.order, state.sensed, state.limits
    lowest_kind = _classify(sensed, inflight, limits, first, kind)
    if slot < 0 or kind[slot] >= _FAILED or decision.gap_ns > limits[0].timeout_ns:
        for other in range(count):
            order[other] = inflight[first + other] if kind[other] == lowest_kind else _NOT_CHOSEN
        return lowest(order, 0, count, state.generator)
    if kind[slot] != _CONGESTED or decision.sent_bytes < limits[0].sent_bytes:
        return slot
    round_trip_ns = sensed[first + slot].round_trip_ns
    marked = sensed[first + slot].marked
    for wanted in (_GOOD, _GREY):
        found = False
        for other in range(count):
            there_ns = sensed[first + other].round_trip_ns
            better = there_ns >= 0 and round_trip_ns - there_ns >= limits[0].gain_ns
            better = better and marked - sensed[first + other].marked >= _FEWER_MARKS and kind[other] == wanted
            order[other] = inflight[first + other] if better else _NOT_CHOSEN
            found = found or better
        if found:
            return lowest(order, 0, count, state.generator)
    return slot


def learn(state: HermesState, feedback: Feedback) -> None:
    """Smooth the round trip and the marks of the slot, or count a loss in a row."""
    sensed, counter = state.sensed, feedback.first_counter + feedback.slot
    if feedback.lost:
        sensed[counter].losses += 1
        return
    sensed[counter].losses = 0
    if sensed[counter].round_trip_ns < 0:
        sensed[counter].round_trip_ns = feedback.round_trip_ns
    else:
        sensed[counter].round_trip_ns += (feedback.round_trip_ns - sensed[counter].round_trip_ns) >> 3
    sensed[counter].marked += ((_ALL_MARKED if feedback.marked else 0) - sensed[counter].marked) >> 4


register(
    name="hermes",
    summary="flows leave failed paths at once and congested ones if another is clearly better; flowlets to good paths",
    source="Zhang et al., Resilient Datacenter Load Balancing in the Wild, SIGCOMM 2017",
    granularity="asked",
    steered=True,
    counts_inflight=True,
    by="counter",
    state=HermesState,
    make_state=make_state,
    choose=choose,
    learn=learn,
    timed=True,
    parameters=HermesParameters,
)
