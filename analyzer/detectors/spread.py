"""spread: a gap longer than the paths' delays differ, so that a move cannot overtake."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.detectors.bounds import Bounds, smoothed
from segcast.analyzer.detectors.registry import Gap, register
from segcast.analyzer.policies.registry import Feedback, Setting
from segcast.traces.jit import int64


class SpreadParameters(Bounds):
    """How much longer than the spread, and within which bounds."""

    margin_ns: int = Field(1_000, ge=0, le=10**12, description="added to the spread of the paths' delays")
    low_ns: int = Field(1_000, ge=0, le=10**12, description="the shortest timeout")
    high_ns: int = Field(
        1_000_000, ge=0, le=10**12, description="the longest timeout, and the one while fewer than two paths are known"
    )


class SpreadState(NamedTuple):
    """Smoothed one-way delays in ns (-1: unknown), by counter int64[counters]; `limits`, one row: the parameters."""

    delay_ns: NDArray[np.int64]
    limits: NDArray[np.void]


def make_state(setting: Setting) -> SpreadState:
    """No delay is known."""
    return SpreadState(np.full(setting.counters, -1, np.int64), setting.parameters.limits())


def starts(state: SpreadState, gap: Gap) -> bool:
    """Whether the gap exceeds the spread of the delays of the flow's slots."""
    known = 0
    lowest_ns = int64(0)
    highest_ns = int64(0)
    for counter in range(gap.first_counter, gap.first_counter + gap.path_count):
        delay_ns = state.delay_ns[counter]
        if delay_ns >= 0:
            lowest_ns = delay_ns if known == 0 else min(lowest_ns, delay_ns)
            highest_ns = max(highest_ns, delay_ns)
            known += 1
    if known < 2:
        return bool(gap.gap_ns > state.limits["high_ns"][0])
    timeout_ns = highest_ns - lowest_ns + state.limits["margin_ns"][0]
    return bool(gap.gap_ns > min(max(timeout_ns, state.limits["low_ns"][0]), state.limits["high_ns"][0]))


def observe(state: SpreadState, feedback: Feedback) -> None:
    """Smooth the slot's delay; losses are no samples."""
    if not feedback.lost:
        counter = feedback.first_counter + feedback.slot
        state.delay_ns[counter] = smoothed(state.delay_ns[counter], feedback.delay_ns)


register(
    name="spread",
    summary="the present spread of the paths' delays: a move cannot overtake, as far as the host can know",
    source="the condition of Kandula et al., CCR 2007, a gap above the difference of the paths' delays; measured here",
    state=SpreadState,
    make_state=make_state,
    starts=starts,
    observe=observe,
    parameters=SpreadParameters,
)
