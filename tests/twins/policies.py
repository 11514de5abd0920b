"""The policies of `docs/model.md` for the slow engine, and the form of one that a test brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tests.twins.hashing import mix, scale


@dataclass(frozen=True)
class Choice:
    """What a policy may look at when it chooses a slot for a flowlet that starts now."""

    flow: int
    flow_key: int
    host: int
    group: int
    slots: int
    in_flight_bytes: tuple[int, ...]  # of this host, by slot
    previous_slot: int | None  # of the flow's flowlet before
    send_ns: int
    ip_bytes: int
    seed: int
    draw: Callable[[int], int]


@dataclass(frozen=True)
class Policy:
    """A policy: how often it chooses, whether its packets carry SRv6, and its choice of a slot."""

    granularity: Literal["flow", "flowlet", "packet"]
    steered: bool
    choose: Callable[[Choice], int]


def ecmp(choice: Choice) -> int:
    """A hash of the five-tuple."""
    return scale(mix(choice.flow_key ^ mix(choice.seed)), choice.slots)


def at_random(choice: Choice) -> int:
    """Uniform over the slots."""
    return choice.draw(choice.slots)


def least_in_flight(choice: Choice) -> int:
    """The slot with the fewest bytes in flight, equals by a draw (no draw if there is only one)."""
    lowest = min(choice.in_flight_bytes)
    equals = [slot for slot in range(choice.slots) if choice.in_flight_bytes[slot] == lowest]
    return equals[choice.draw(len(equals))] if len(equals) > 1 else equals[0]


POLICIES = {
    "ecmp": Policy("flow", False, ecmp),
    "random": Policy("flowlet", True, at_random),
    "inflight": Policy("flowlet", True, least_in_flight),
}
