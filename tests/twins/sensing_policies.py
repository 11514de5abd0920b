"""The policies of `docs/model.md` that sense load: switches that measure it, hosts that learn of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Any, ClassVar

from tests.twins.balancing import Balancer, Choice, Feedback, Setup, one_of, smoothed

Counter = tuple[Hashable, int]


class Conga(Balancer):
    """The lower of what was heard of a path's load, and what its first link sees now."""

    steered = False
    by = "counter"
    learns = True

    def __init__(self, setup: Setup, **parameters: Any) -> None:
        super().__init__(setup, **parameters)
        self.heard: dict[int, tuple[int, int]] = {}  # by path: when, and which level

    def metric(self, choice: Choice, slot: int) -> int:
        """The load of a slot, as far as its attachment knows."""
        path_id = choice.paths[slot]
        heard_ns, remote = self.heard.get(path_id, (0, 0))
        if choice.send_ns - heard_ns > 10_000_000:
            remote = 0
        links = self.setup.paths[path_id].links
        return max(remote, choice.live[links[0]].level(choice.send_ns) if links else 0)

    def choose(self, choice: Choice) -> int:
        metrics = {slot: self.metric(choice, slot) for slot in choice.usable}
        equals = [slot for slot in choice.usable if metrics[slot] == min(metrics.values())]
        if choice.previous_slot in equals:
            return choice.previous_slot
        return one_of(equals, choice.draw)

    def learn(self, feedback: Feedback) -> None:
        if not feedback.lost:
            self.heard[feedback.paths[feedback.slot]] = feedback.time_ns, feedback.level


class CloveEcn(Balancer):
    """A weighted round robin, of which marks move the weights."""

    OPTIONS: ClassVar = {"relay": (50_000, 0, 1, 1000)}
    by = "counter"
    learns = True

    def __init__(self, setup: Setup, **parameters: Any) -> None:
        super().__init__(setup, **parameters)
        self.weight: dict[Counter, int] = defaultdict(lambda: 65_536)
        self.credit: dict[Counter, int] = defaultdict(int)
        self.counted_ns: dict[Counter, int] = {}

    def choose(self, choice: Choice) -> int:
        counters = [(choice.sharers, slot) for slot in choice.usable]
        for counter in counters:
            self.credit[counter] += self.weight[counter]
        highest = max(self.credit[counter] for counter in counters)
        winner = next(counter for counter in counters if self.credit[counter] == highest)
        self.credit[winner] -= sum(self.weight[counter] for counter in counters)
        return winner[1]

    def learn(self, feedback: Feedback) -> None:
        if not (feedback.marked or feedback.lost):
            return
        now_ns, relay = feedback.time_ns, self.values["relay"]
        mine = feedback.sharers, feedback.slot
        if mine in self.counted_ns and now_ns - self.counted_ns[mine] < relay:
            return
        self.counted_ns[mine] = now_ns
        others = [(feedback.sharers, slot) for slot in range(len(feedback.paths)) if slot != feedback.slot]
        if not others:
            return
        quiet = [o for o in others if o not in self.counted_ns or now_ns - self.counted_ns[o] > relay]
        takers = quiet or others
        moved = self.weight[mine] // 3
        self.weight[mine] -= moved
        for taker in takers:
            self.weight[taker] += moved // len(takers)
        self.weight[takers[0]] += moved % len(takers)


class Hermes(Balancer):
    """Paths that the host has sensed to be good, grey, congested or failed, and careful moves between them."""

    OPTIONS: ClassVar = {
        "low": (20_000, 0, 1000, 1_000_000),
        "high": (120_000, 0, 10_000, 1_000_000),
        "ecn": (26_214, 0, 1, 4000),
        "gain": (80_000, 0, 1, 10_000),
        "sent": (600_000, 0, 1500, 20_000),
    }
    granularity = "asked"
    by = "counter"
    learns = True

    def __init__(self, setup: Setup, **parameters: Any) -> None:
        super().__init__(setup, **parameters)
        self.round_trip_ns: dict[Counter, int] = {}
        self.marks: dict[Counter, int] = defaultdict(int)
        self.losses: dict[Counter, int] = defaultdict(int)

    def learn(self, feedback: Feedback) -> None:
        counter = feedback.sharers, feedback.slot
        if feedback.lost:
            self.losses[counter] += 1
            return
        self.losses[counter] = 0
        self.round_trip_ns[counter] = smoothed(self.round_trip_ns.get(counter), feedback.round_trip_ns)
        self.marks[counter] += ((65_536 if feedback.marked else 0) - self.marks[counter]) >> 4

    def sensed(self, choice: Choice, slot: int) -> str:
        """What the host thinks of a slot."""
        counter = choice.sharers, slot
        if self.losses[counter] >= 3:
            return "failed"
        if counter in self.round_trip_ns:
            counters = [(choice.sharers, other) for other in range(len(choice.paths))]
            lowest = min(self.round_trip_ns[c] for c in counters if c in self.round_trip_ns)
            above_ns = self.round_trip_ns[counter] - lowest
            if above_ns < self.values["low"] and self.marks[counter] < self.values["ecn"]:
                return "good"
            if above_ns > self.values["high"] and self.marks[counter] >= self.values["ecn"]:
                return "congested"
        return "grey"

    def choose(self, choice: Choice) -> int:
        mine = choice.previous_slot
        if mine is None or choice.gap_ns is None or choice.gap_ns > self.setup.timeout_ns:
            return self.anew(choice)
        if mine not in choice.usable or self.sensed(choice, mine) == "failed":
            return self.anew(choice)
        if self.sensed(choice, mine) == "congested" and choice.sent_bytes >= self.values["sent"]:
            better = [slot for slot in choice.usable if self.notably_better(choice, slot, mine)]
            for wanted in ("good", "grey"):
                candidates = [slot for slot in better if self.sensed(choice, slot) == wanted]
                if candidates:
                    return self.emptiest(choice, candidates)
        return mine

    def anew(self, choice: Choice) -> int:
        """A slot of the best kind there is."""
        kinds = {slot: self.sensed(choice, slot) for slot in choice.usable}
        for wanted in (("good",), ("grey",), ("good", "grey", "congested")):
            candidates = [slot for slot in choice.usable if kinds[slot] in wanted]
            if candidates:
                return self.emptiest(choice, candidates)
        return self.emptiest(choice, list(choice.usable))

    def emptiest(self, choice: Choice, slots: list[int]) -> int:
        """The one with the fewest bytes in flight."""
        lowest = min(choice.in_flight_bytes[slot] for slot in slots)
        return one_of([slot for slot in slots if choice.in_flight_bytes[slot] == lowest], choice.draw)

    def notably_better(self, choice: Choice, slot: int, mine: int) -> bool:
        """Whether a slot is worth a move."""
        there, here = (choice.sharers, slot), (choice.sharers, mine)
        if there not in self.round_trip_ns:
            return False
        gain_ns = self.round_trip_ns[here] - self.round_trip_ns[there]
        return gain_ns >= self.values["gain"] and self.marks[here] - self.marks[there] >= 3277
