"""drained: a flowlet starts when all that the flow sent has been acknowledged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.detectors.registry import Gap, register
from segcast.analyzer.policies.registry import Parameters, Setting


class DrainedParameters(Parameters):
    """After which gap a flowlet starts whatever is awaited."""

    gap_ns: int = Field(10**12, ge=0, le=10**12, description="a longer gap starts a flowlet as well")


class DrainedState(NamedTuple):
    """`limits`, one row: the parameters. The engine knows what hosts await."""

    limits: NDArray[np.void]


def make_state(setting: Setting) -> DrainedState:
    """The cell's parameters."""
    return DrainedState(setting.parameters.limits())


def starts(state: DrainedState, gap: Gap) -> bool:
    """Whether the host awaits nothing of the flow, or the gap is long."""
    return bool(not gap.awaited or gap.gap_ns > state.limits["gap_ns"][0])


register(
    name="drained",
    summary="starts a flowlet whenever all that the flow sent is acknowledged: what a host can know of safe",
    source="the condition of Kandula et al., CCR 2007, as the sender's acknowledgements tell it",
    state=DrainedState,
    make_state=make_state,
    starts=starts,
    awaits=True,
    parameters=DrainedParameters,
)
