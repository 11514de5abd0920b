"""The policies of `docs/model.md` for the slow engine: the plain ones, and the table of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Any, ClassVar

from tests.twins.balancing import Balancer, Choice, Feedback, Policy, Setup, one_of, smoothed
from tests.twins.hashing_policies import Ecmp, FlowBender, HostEcmp, LetFlow, Plb, Presto, Wcmp
from tests.twins.sensing_policies import CloveEcn, Conga, Hermes

__all__ = ["POLICIES", "Choice", "Feedback", "Policy", "Setup", "smoothed"]


class AtRandom(Balancer):
    """Uniform over the slots."""

    def choose(self, choice: Choice) -> int:
        return choice.draw(choice.slots)


class LeastInFlight(Balancer):
    """The slot with the fewest bytes in flight."""

    by = "counter"

    def choose(self, choice: Choice) -> int:
        lowest = min(choice.in_flight_bytes)
        equals = [slot for slot in range(choice.slots) if choice.in_flight_bytes[slot] == lowest]
        return one_of(equals, choice.draw)


class RoundRobin(Balancer):
    """The slots in turn, for those who share counters."""

    def __init__(self, setup: Setup, **parameters: Any) -> None:
        super().__init__(setup, **parameters)
        self.choices: dict[Hashable, int] = defaultdict(int)

    def choose(self, choice: Choice) -> int:
        n = self.choices[choice.sharers]
        self.choices[choice.sharers] += 1
        return n % choice.slots


class TwoChoices(Balancer):
    """The emptier of two slots."""

    by = "counter"

    def choose(self, choice: Choice) -> int:
        if choice.slots == 1:
            return 0
        a = choice.draw(choice.slots)
        b = choice.draw(choice.slots - 1)
        if b >= a:
            b += 1
        return b if choice.in_flight_bytes[b] < choice.in_flight_bytes[a] else a


class Spray(RoundRobin):
    """A slot for every packet."""

    OPTIONS: ClassVar = {"order": ("random", "round-robin")}
    granularity = "packet"

    def choose(self, choice: Choice) -> int:
        if self.values["order"] == "random":
            return choice.draw(choice.slots)
        return super().choose(choice)


class LeastQueue(Balancer):
    """The path with the shortest queues, by an oracle."""

    by = "counter"

    def choose(self, choice: Choice) -> int:
        waits = []
        for slot, path_id in enumerate(choice.paths):
            wait = sum(choice.live[link].waiting_ns(choice.send_ns) for link in self.setup.paths[path_id].links)
            waits.append(wait if slot in choice.usable else wait + 2**50)
        return one_of([slot for slot, wait in enumerate(waits) if wait == min(waits)], choice.draw)


POLICIES: dict[str, type[Balancer]] = {
    "ecmp": Ecmp,
    "host-ecmp": HostEcmp,
    "wcmp": Wcmp,
    "random": AtRandom,
    "inflight": LeastInFlight,
    "round-robin": RoundRobin,
    "two-choices": TwoChoices,
    "presto": Presto,
    "spray": Spray,
    "least-queue": LeastQueue,
    "letflow": LetFlow,
    "conga": Conga,
    "clove-ecn": CloveEcn,
    "flowbender": FlowBender,
    "plb": Plb,
    "hermes": Hermes,
}
