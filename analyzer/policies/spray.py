"""spray: each packet takes a path of its own."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.policies.registry import Decision, NetworkState, Parameters, Setting, register
from segcast.traces.hashing import draw, seeded_generator
from segcast.traces.jit import int64


class SprayParameters(Parameters):
    """In which order packets take the paths."""

    order: Literal["random", "round-robin"] = Field(
        "random", description="a path drawn for each packet, or the host's packets to the paths in turn"
    )


class SprayState(NamedTuple):
    """The cell's `generator` uint64[1], choices `made` by first counter int64[counters], and whether they count."""

    generator: NDArray[np.uint64]
    made: NDArray[np.int64]
    in_turn: NDArray[np.bool_]


def make_state(setting: Setting) -> SprayState:
    """Seed the generator; no choice was made yet."""
    in_turn = np.array([setting.parameters.order == "round-robin"])
    return SprayState(seeded_generator(setting.seed), np.zeros(setting.counters, np.int64), in_turn)


def choose(state: SprayState, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    """Any slot, or the next."""
    if not state.in_turn[0]:
        return draw(state.generator, decision.path_count)
    slot = state.made[decision.first_counter] % decision.path_count
    state.made[decision.first_counter] += 1
    return int64(slot)


register(
    name="spray",
    summary="each packet to a path drawn at random or in turn: the best balance and the most reordering",
    source="Dixit et al., On the Impact of Packet Spraying in Data Center Networks, INFOCOM 2013",
    granularity="packet",
    steered=True,
    counts_inflight=False,
    state=SprayState,
    make_state=make_state,
    choose=choose,
    parameters=SprayParameters,
)
