"""Hypothesis strategies for engine scenarios, frames and captures.

For long runs without Hypothesis, give the same generators a seed: `make_scenario(Seeded(7))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st

from tests.twins.choosing import Seeded
from tests.twins.frames import Frame, make_capture, make_frame, make_mutated_capture, make_pcap, make_pcapng
from tests.twins.scenarios import PLAIN_CELLS, Scenario, make_fabric, make_scenario

__all__ = [
    "Frame",
    "Scenario",
    "Seeded",
    "captures",
    "fabrics",
    "frames",
    "make_capture",
    "make_fabric",
    "make_frame",
    "make_mutated_capture",
    "make_pcap",
    "make_pcapng",
    "make_scenario",
    "mutated_captures",
    "scenarios",
]

T = TypeVar("T")


class Drawn:
    """Numbers from Hypothesis; put the plainest option first, for it shrinks towards that."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        return self.draw(st.sampled_from(options))


@st.composite
def scenarios(draw: st.DrawFn, most_packets: int = 40) -> Scenario:
    """Engine scenarios."""
    return make_scenario(Drawn(draw), most_packets)


@st.composite
def fabrics(
    draw: st.DrawFn,
    most_packets: int = 40,
    cells: Sequence[tuple[str, str]] = PLAIN_CELLS,
    acks: Sequence[str] = ("modelled", "recorded", "timeout"),
) -> Scenario:
    """Engine scenarios with everything: tiers, host links, changes, suspicion, scopes, parameters."""
    return make_fabric(Drawn(draw), most_packets, cells, acks)


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    """Frames, some of them wrong."""
    return make_frame(Drawn(draw))


@st.composite
def captures(draw: st.DrawFn) -> bytes:
    """Whole captures."""
    return make_capture(Drawn(draw))


@st.composite
def mutated_captures(draw: st.DrawFn) -> bytes:
    """Captures with some bytes wrong."""
    return make_mutated_capture(Drawn(draw))
