"""What a policy of the slow engine is: what it is asked, what it learns, and the form of one that a test brings."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from tests.twins.hashing import mix, scale
from tests.twins.links import LiveLink
from tests.twins.network import Link, Path

Granularity = Literal["flow", "flowlet", "packet", "asked"]


@dataclass(frozen=True)
class Setup:
    """What a policy is made from: once per run."""

    seed: int
    timeout_ns: int
    links: Sequence[Link]
    paths: Sequence[Path]
    paths_of_group: Mapping[int, Sequence[int]]
    tiers: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Choice:
    """What a policy may look at when it chooses a slot.

    `slots` is k, how many it chooses among; `usable` are the slots that may be chosen, of all of `paths`. The answer of
    a policy by slot is a place in `usable`, that of one by counter a slot. `in_flight_bytes` is by slot.
    """

    flow: int
    flow_key: int
    words: tuple[int, ...]
    host: int
    group: int
    attachment: int
    sharers: Hashable
    paths: tuple[int, ...]
    usable: tuple[int, ...]
    slots: int
    in_flight_bytes: tuple[int, ...]
    previous_slot: int | None  # of the flow's flowlet before
    send_ns: int
    gap_ns: int | None
    sent_bytes: int
    seed: int
    draw: Callable[[int], int]
    live: Sequence[LiveLink]
    awaited: bool = True  # whether feedback will tell of the packet

    @property
    def all_usable(self) -> bool:
        """Whether every slot may be chosen."""
        return len(self.usable) == len(self.paths)


@dataclass(frozen=True)
class Feedback:
    """What a host learns of a packet; one that was lost has no delay."""

    time_ns: int
    flow: int
    sharers: Hashable
    paths: tuple[int, ...]
    slot: int
    marked: bool
    delay_ns: int | None
    round_trip_ns: int
    level: int

    @property
    def lost(self) -> bool:
        """Whether it is a timeout that tells."""
        return self.delay_ns is None


@dataclass(frozen=True)
class Policy:
    """A policy as a test brings it: how often it chooses, whether its packets carry SRv6, and its choice of a slot."""

    granularity: Granularity
    steered: bool
    choose: Callable[[Choice], int]
    by: Literal["slot", "counter"] = "slot"
    learn: Callable[[Feedback], None] | None = None


class Balancer:
    """A policy of the table; `OPTIONS` are its parameters, for each values to try, the default first."""

    OPTIONS: ClassVar[dict[str, tuple[Any, ...]]] = {}
    granularity: Granularity = "flowlet"
    steered = True
    by: Literal["slot", "counter"] = "slot"
    learns = False

    def __init__(self, setup: Setup, **parameters: Any) -> None:
        self.setup = setup
        self.seed = setup.seed
        self.values = {name: options[0] for name, options in self.OPTIONS.items()} | parameters
        assert set(self.values) == set(self.OPTIONS)

    def choose(self, choice: Choice) -> int:
        """The slot, or its place among the usable."""
        raise NotImplementedError

    def learn(self, feedback: Feedback) -> None:
        """A host learned of a packet."""


def smoothed(before: int | None, sample: int) -> int:
    """An eighth of the way to the sample; the first sample itself."""
    return sample if before is None else before + ((sample - before) >> 3)


def one_of(equals: Sequence[int], draw: Callable[[int], int]) -> int:
    """One of several by a draw, a single one without."""
    return equals[draw(len(equals))] if len(equals) > 1 else equals[0]


def hashed(flow_key: int, seed: int, k: int) -> int:
    """The hash that most policies use, scaled to k."""
    return scale(mix(flow_key ^ mix(seed % 2**64)), k)
