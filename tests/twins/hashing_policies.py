"""The policies of `docs/model.md` that hash flows, and those that hash anew when a flow sees congestion."""

from __future__ import annotations

import zlib
from collections import defaultdict
from typing import Any, ClassVar

from tests.twins.balancing import Balancer, Choice, Feedback, Setup, hashed
from tests.twins.hashing import fold, mix, scale


def xor_of_words(words: list[int]) -> int:
    """All words xored, and the four 16-bit parts of the result."""
    whole = 0
    for word in words:
        whole ^= word
    return (whole >> 48) ^ (whole >> 32 & 0xFFFF) ^ (whole >> 16 & 0xFFFF) ^ (whole & 0xFFFF)


class Ecmp(Balancer):
    """Switches that hash, one after the other."""

    OPTIONS: ClassVar = {
        "hash": ("splitmix", "crc32", "xor"),
        "seeds": ("different", "same"),
        "fields": ("five-tuple", "addresses", "flow-label"),
    }
    granularity = "flow"
    steered = False

    def choose(self, choice: Choice) -> int:
        tiers = self.setup.tiers[choice.group] if choice.all_usable else (choice.slots,)
        key, words = choice.flow_key, list(choice.words)
        if self.values["fields"] == "addresses":
            words[4] = 0
            key = fold(words)
        elif self.values["fields"] == "flow-label":
            words[4] = mix(choice.flow_key) & 0xFFFFF
            key = fold(words)
        slot = 0
        for tier, n in enumerate(tiers):
            s = mix(self.seed if self.values["seeds"] == "same" else (self.seed + tier) % 2**64)
            if self.values["hash"] == "splitmix":
                digit = scale(mix(key ^ s), n)
            elif self.values["hash"] == "crc32":
                octets = b"".join(word.to_bytes(8, "big") for word in words)
                digit = zlib.crc32(octets, s & 0xFFFFFFFF) % n
            else:
                digit = xor_of_words([*words, s]) % n
            slot = slot * n + digit
        return slot


class HostEcmp(Balancer):
    """Hosts that hash."""

    granularity = "flow"

    def choose(self, choice: Choice) -> int:
        return hashed(choice.flow_key, self.seed, choice.slots)


class Wcmp(Balancer):
    """A hash weighted by the rates of the paths as configured."""

    granularity = "flow"
    steered = False

    def choose(self, choice: Choice) -> int:
        if not choice.all_usable:
            return hashed(choice.flow_key, self.seed, choice.slots)
        links = [self.setup.paths[path_id].links for path_id in choice.paths]
        rates = [min((self.setup.links[link].rate_bps for link in of), default=1) for of in links]
        weights = [max(1, rate * 1024 // max(rates)) for rate in rates]
        x = hashed(choice.flow_key, self.seed, sum(weights))
        for slot in range(len(weights)):
            if sum(weights[: slot + 1]) > x:
                return slot
        raise AssertionError("x is below the sum")


class Presto(Balancer):
    """Cells of equal size in turn."""

    OPTIONS: ClassVar = {"cell": (65_536, 1000, 3000, 1)}
    granularity = "asked"

    def choose(self, choice: Choice) -> int:
        start = hashed(choice.flow_key, self.seed, choice.slots)
        return (start + choice.sent_bytes // self.values["cell"]) % choice.slots


class LetFlow(Balancer):
    """A table of flowlets at each attachment, in which flows may meet."""

    OPTIONS: ClassVar = {"entries": (65_536, 1, 2, 5)}
    granularity = "asked"
    steered = False

    def __init__(self, setup: Setup, **parameters: Any) -> None:
        super().__init__(setup, **parameters)
        self.table: dict[tuple[int, int], tuple[int, int]] = {}  # last time and slot

    def choose(self, choice: Choice) -> int:
        place = choice.attachment, hashed(choice.flow_key, self.seed, self.values["entries"])
        if place not in self.table or choice.send_ns - self.table[place][0] > self.setup.timeout_ns:
            slot = choice.draw(choice.slots)
        else:
            slot = self.table[place][1]
        self.table[place] = choice.send_ns, slot
        return slot % choice.slots


class FlowBender(Balancer):
    """A new hash after congested rounds, and after a loss."""

    OPTIONS: ClassVar = {"share": (50, 0, 500, 1000), "rounds": (1, 2, 3)}
    granularity = "asked"
    steered = False
    learns = True

    def __init__(self, setup: Setup, **parameters: Any) -> None:
        super().__init__(setup, **parameters)
        self.v: dict[int, int] = defaultdict(int)
        self.acks: dict[int, int] = defaultdict(int)
        self.marks: dict[int, int] = defaultdict(int)
        self.congested: dict[int, int] = defaultdict(int)
        self.round_start_ns: dict[int, int] = {}

    def choose(self, choice: Choice) -> int:
        self.round_start_ns.setdefault(choice.flow, choice.send_ns)
        self.about_to_send(choice)
        return hashed(choice.flow_key, self.seed + self.v[choice.flow], choice.slots)

    def learn(self, feedback: Feedback) -> None:
        flow, now_ns = feedback.flow, feedback.time_ns
        if feedback.lost:
            self.v[flow] += 1
            self.congested[flow] = 0
            self.start_round(flow, now_ns)
            return
        self.acks[flow] += 1
        self.marks[flow] += feedback.marked
        if now_ns - feedback.round_trip_ns >= self.round_start_ns.get(flow, 0):  # a pinned flow never asked
            self.congested[flow] = self.congested[flow] + 1 if self.was_congested(flow) else 0
            self.start_round(flow, now_ns)
            self.ended(flow)

    def start_round(self, flow: int, now_ns: int) -> None:
        """Nothing is counted yet."""
        self.acks[flow] = self.marks[flow] = 0
        self.round_start_ns[flow] = now_ns

    def was_congested(self, flow: int) -> bool:
        """Whether the round saw too many marks."""
        return self.marks[flow] * 1000 > self.values["share"] * self.acks[flow]

    def ended(self, flow: int) -> None:
        """A round ended: after enough congested ones another hash, and they are counted anew."""
        if self.congested[flow] >= self.values["rounds"]:
            self.v[flow] += 1
            self.congested[flow] = 0

    def about_to_send(self, choice: Choice) -> None:
        """A packet will be sent."""


class Plb(FlowBender):
    """As FlowBender, but rather when the flow is idle, and not soon after a loss."""

    OPTIONS: ClassVar = {
        "share": (500, 0, 50, 1000),
        "idle_rounds": (3, 1, 2),
        "rounds": (12, 1, 2, 4),
        "suspend": (60_000_000_000, 0, 1000, 1_000_000),
    }

    def __init__(self, setup: Setup, **parameters: Any) -> None:
        super().__init__(setup, **parameters)
        self.awaiting: dict[int, int] = defaultdict(int)
        self.suspended_until_ns: dict[int, int] = {}

    def was_congested(self, flow: int) -> bool:
        return self.marks[flow] * 1000 >= self.values["share"] * self.acks[flow]

    def ended(self, flow: int) -> None:
        """Nothing; a change waits for a packet."""

    def learn(self, feedback: Feedback) -> None:
        self.awaiting[feedback.flow] -= 1
        super().learn(feedback)
        if feedback.lost:
            self.suspended_until_ns[feedback.flow] = feedback.time_ns + self.values["suspend"]

    def about_to_send(self, choice: Choice) -> None:
        flow = choice.flow
        idle = self.awaiting[flow] == 0
        enough = self.congested[flow] >= self.values["rounds"]
        enough = enough or (idle and self.congested[flow] >= self.values["idle_rounds"])
        suspended = flow in self.suspended_until_ns and choice.send_ns < self.suspended_until_ns[flow]
        if enough and not suspended:
            self.v[flow] += 1
            self.congested[flow] = 0
        self.awaiting[flow] += choice.awaited
