"""rtt: a gap longer than a share of the flow's smoothed round trip."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.detectors.bounds import Bounds, smoothed
from segcast.analyzer.detectors.registry import Gap, register
from segcast.analyzer.policies.registry import Feedback, Setting


class RttParameters(Bounds):
    """Which share of the round trip, and within which bounds."""

    times_permille: int = Field(500, ge=1, le=100_000, description="the timeout, in thousandths of the round trip")
    low_ns: int = Field(10_000, ge=0, le=10**12, description="the shortest timeout")
    high_ns: int = Field(10_000_000, ge=0, le=10**12, description="the longest timeout, and the one without feedback")


class RttState(NamedTuple):
    """Smoothed round trips in ns (-1: unknown), by flow int64[flows] and by first counter int64[counters].

    `limits`, one row: the parameters.
    """

    of_flow: NDArray[np.int64]
    of_counter: NDArray[np.int64]
    limits: NDArray[np.void]


def make_state(setting: Setting) -> RttState:
    """No round trip is known."""
    return RttState(
        np.full(len(setting.flow_keys), -1, np.int64),
        np.full(setting.counters, -1, np.int64),
        setting.parameters.limits(),
    )


def starts(state: RttState, gap: Gap) -> bool:
    """Whether the gap exceeds the share of the flow's round trip, else of its host's."""
    round_trip_ns = state.of_flow[gap.flow]
    if round_trip_ns < 0:
        round_trip_ns = state.of_counter[gap.first_counter]
    if round_trip_ns < 0:
        return bool(gap.gap_ns > state.limits["high_ns"][0])
    timeout_ns = round_trip_ns * state.limits["times_permille"][0] // 1000
    return bool(gap.gap_ns > min(max(timeout_ns, state.limits["low_ns"][0]), state.limits["high_ns"][0]))


def observe(state: RttState, feedback: Feedback) -> None:
    """Smooth the round trips; losses are no samples."""
    if not feedback.lost:
        flow, counter = feedback.flow, feedback.first_counter
        state.of_flow[flow] = smoothed(state.of_flow[flow], feedback.round_trip_ns)
        state.of_counter[counter] = smoothed(state.of_counter[counter], feedback.round_trip_ns)


register(
    name="rtt",
    summary="a share of the flow's smoothed round trip",
    source="Sinha, Kandula and Katabi, Harnessing TCP's Burstiness with Flowlet Switching, HotNets 2004; "
    "smoothing of RFC 6298",
    state=RttState,
    make_state=make_state,
    starts=starts,
    observe=observe,
    parameters=RttParameters,
)
