"""What a live host decides, from docs/model.md and docs/steer.md alone: one host, one target, everything in lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.twins.hashing import Draws, mix, scale

HALF = 2**31
PENALTY_BYTES = 2**50


@dataclass(frozen=True)
class Options:
    """How the host steers; times in ns. `header_bytes` is by slot."""

    policy: str
    header_bytes: Sequence[int]
    timeout_ns: int
    rtt: bool
    drained: bool
    low_ns: int
    high_ns: int
    times_permille: int
    loss_timeout_ns: int
    suspect_after: int
    suspect_for_ns: int
    seed: int
    reads_sack: bool
    counts_bare: bool


@dataclass
class Outstanding:
    """A packet in flight. `end`: None where TCP says nothing of it; `wants`: somebody has to acknowledge it."""

    sent_ns: int
    flow: int
    slot: int
    frame_bytes: int
    start: int
    end: int | None
    wants: bool
    again: bool


@dataclass
class HostFlow:
    """What the host knows of a flow."""

    key: int
    slot: int | None = None
    flowlet: int = 0
    last_ns: int = 0
    round_trip_ns: int | None = None
    reset: bool = False


@dataclass
class Host:
    """The host."""

    options: Options
    flows: dict[int, HostFlow] = field(default_factory=dict)
    outstanding: list[Outstanding] = field(default_factory=list)
    flowlets: int = 0
    made: int = 0
    round_trip_ns: int | None = None

    def __post_init__(self) -> None:
        slots = len(self.options.header_bytes)
        self.inflight = [0] * slots
        self.silent = [0] * slots
        self.suspected_until_ns = [0] * slots
        self.draws = Draws(self.options.seed)

    def send(
        self, now_ns: int, number: int, key: int, ip_bytes: int, start: int, length: int | None, wants: bool
    ) -> tuple[int, int]:
        """A packet leaves; `length`: of what it carries of TCP's sequence, None if it is not TCP. Slot and flowlet."""
        self.expire(now_ns)
        flow = self.flows.setdefault(number, HostFlow(key))
        if flow.slot is None or self.starts(now_ns, number, flow):
            flow.slot = self.choose(now_ns, flow)
            flow.flowlet = self.flowlets
            self.flowlets += 1
        flow.last_ns = now_ns
        if length is None or wants or self.options.counts_bare:
            frame_bytes = max(60, 14 + ip_bytes + self.options.header_bytes[flow.slot])
            end = None if length is None else (start + max(length, 1)) % 2**32
            again = end is not None and not self.in_order(number, end)
            self.outstanding.append(Outstanding(now_ns, number, flow.slot, frame_bytes, start, end, wants, again))
            self.inflight[flow.slot] += frame_bytes
        return flow.slot, flow.flowlet

    def in_order(self, number: int, end: int) -> bool:
        """Whether a segment comes behind all of its flow's that are in order, and less than half a circle from them."""
        before = [o.end for o in self.outstanding if o.flow == number and o.end is not None and not o.again]
        if not before:
            return True
        beyond = (end - before[-1]) % 2**32
        return beyond < HALF and (before[-1] - before[0]) % 2**32 + beyond < HALF

    def starts(self, now_ns: int, number: int, flow: HostFlow) -> bool:
        """The boundary rule."""
        if self.options.policy == "spray":
            return True
        if self.options.policy == "host-ecmp":
            return False
        if self.options.drained and not any(o.flow == number for o in self.outstanding):
            return True
        timeout_ns = self.options.timeout_ns
        if self.options.rtt:
            known = self.round_trip_ns if flow.round_trip_ns is None else flow.round_trip_ns
            timeout_ns = self.options.high_ns
            if known is not None:
                timeout_ns = known * self.options.times_permille // 1000
                timeout_ns = min(max(timeout_ns, self.options.low_ns), self.options.high_ns)
        return now_ns - flow.last_ns > timeout_ns

    def choose(self, now_ns: int, flow: HostFlow) -> int:
        """The slot of a new flowlet."""
        slots = range(len(self.inflight))
        usable = [slot for slot in slots if self.suspected_until_ns[slot] <= now_ns] or list(slots)
        policy = self.options.policy
        if policy in ("inflight", "two-choices"):
            seen = [self.inflight[slot] + (0 if slot in usable else PENALTY_BYTES) for slot in slots]
            if policy == "inflight":
                lowest = [slot for slot in slots if seen[slot] == min(seen)]
                return lowest[self.draws.draw(len(lowest))] if len(lowest) > 1 else lowest[0]
            if len(seen) == 1:
                return 0
            one, other = self.draws.draw(len(seen)), self.draws.draw(len(seen) - 1)
            other += other >= one
            return other if seen[other] < seen[one] else one
        if policy == "host-ecmp":
            return usable[scale(mix(flow.key ^ mix(self.options.seed)), len(usable))]
        if policy == "round-robin":
            self.made += 1
            return usable[(self.made - 1) % len(usable)]
        return usable[self.draws.draw(len(usable))]

    def expire(self, now_ns: int) -> None:
        """What has timed out by now leaves the count, in the order in which it was sent."""
        while self.outstanding and self.outstanding[0].sent_ns + self.options.loss_timeout_ns <= now_ns:
            gone = self.outstanding.pop(0)
            self.inflight[gone.slot] -= gone.frame_bytes
            at_ns = gone.sent_ns + self.options.loss_timeout_ns
            unsuspected = self.suspected_until_ns[gone.slot] <= at_ns
            if gone.wants and not self.flows[gone.flow].reset and self.options.suspect_after and unsuspected:
                self.silent[gone.slot] += 1
                if self.silent[gone.slot] >= self.options.suspect_after:
                    self.silent[gone.slot] = 0
                    self.suspected_until_ns[gone.slot] = at_ns + self.options.suspect_for_ns

    def hear(self, now_ns: int, number: int, ack: int | None, blocks: Sequence[tuple[int, int]], reset: bool) -> None:
        """A segment arrives that answers a flow: with an acknowledgement, perhaps with SACK blocks, or a reset."""
        self.expire(now_ns)
        if number not in self.flows:
            return
        flow = self.flows[number]
        mine = [o for o in self.outstanding if o.flow == number and o.end is not None]
        measures = not any(o.again for o in mine)
        for o in mine:
            if ack is None or not self.covers(o, ack, blocks if self.options.reads_sack else ()):
                continue
            self.outstanding.remove(o)
            self.inflight[o.slot] -= o.frame_bytes
            self.silent[o.slot] = 0
            if measures:
                sample = now_ns - o.sent_ns
                flow.round_trip_ns = smoothed(flow.round_trip_ns, sample)
                self.round_trip_ns = smoothed(self.round_trip_ns, sample)
        flow.reset = flow.reset or reset

    @staticmethod
    def covers(o: Outstanding, ack: int, blocks: Sequence[tuple[int, int]]) -> bool:
        """Whether a segment is acknowledged, by the number or a block."""
        assert o.end is not None
        if (ack - o.end) % 2**32 < HALF:
            return True
        return any((o.start - a) % 2**32 < HALF and (b - o.end) % 2**32 < HALF for a, b in blocks)


def smoothed(value: int | None, sample: int) -> int:
    """The next smoothed round trip."""
    return sample if value is None else value + (sample - value >> 3)
