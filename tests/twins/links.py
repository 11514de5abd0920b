"""A link of `docs/model.md` while it works: its queue in exact fractions, its changes, and the register of its load."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

from tests.twins.network import Link

REGISTER_PERIOD_NS = 20_000


@dataclass
class Passage:
    """A frame that a link accepted: when it came, its rate, and the exact time at which its last bit leaves.

    `tokens` are the bytes that the link, if it is a token bucket, then still holds.
    `rounded` says that the rate changed while it was in transmission, which ended it at a whole nanosecond.
    """

    packet: int
    hop: int
    enter_ns: int
    frame_bytes: int
    rate_bps: int
    departs_ns: Fraction
    tokens: Fraction = Fraction(0)
    rounded: bool = False

    @property
    def leaves_ns(self) -> int:
        """Its departure."""
        return math.ceil(self.departs_ns)


class LiveLink:
    """A link that is up or down, and the frames that it carried or carries, in order."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.rate_bps = link.rate_bps
        self.passages: list[Passage] = []
        self.register = 0
        self.register_ns = 0  # when the last frame was added to it

    def backlog_bytes(self, now_ns: int) -> int:
        """Bytes of the frames accepted so far whose last bit has not left; what departs now is gone."""
        waiting = itertools.takewhile(lambda p: p.departs_ns > now_ns, reversed(self.passages))
        return sum(p.frame_bytes for p in waiting)

    def backlog_frames(self, now_ns: int) -> int:
        """How many frames that is."""
        return sum(1 for _ in itertools.takewhile(lambda p: p.departs_ns > now_ns, reversed(self.passages)))

    def waiting_ns(self, now_ns: int) -> int:
        """How long a frame that came now would wait."""
        if not self.passages:
            return 0
        last = self.passages[-1]
        if last.tokens:  # the bucket would have been as full at this time, had it been empty before
            return max(0, math.ceil(last.departs_ns - last.tokens * 8 * 10**9 / self.rate_bps) - now_ns)
        return max(0, last.leaves_ns - now_ns)

    def bucket_bytes(self) -> Fraction:
        """What the token bucket holds when full: whole nanoseconds of its rate."""
        return Fraction(self.link.burst_bytes * 8 * 10**9 // self.link.rate_bps * self.link.rate_bps, 8 * 10**9)

    def serialisation_ns(self, frame_bytes: int) -> Fraction:
        """The time that a frame takes at the present rate."""
        return Fraction((frame_bytes + self.link.overhead_bytes) * 8 * 10**9, self.rate_bps)

    def fits(self, frame_bytes: int, now_ns: int) -> bool:
        """Whether a frame that comes now is accepted."""
        if self.rate_bps == 0:
            return False
        limit, most = self.link.buffer_bytes, self.link.buffer_packets
        fits = limit is None or self.backlog_bytes(now_ns) + frame_bytes <= limit
        return fits and (most is None or self.backlog_frames(now_ns) + 1 <= most)

    def marks(self, now_ns: int) -> bool:
        """Whether a frame that is accepted now is marked."""
        threshold, count = self.link.ecn_bytes, self.link.ecn_packets
        marks = threshold is not None and self.backlog_bytes(now_ns) >= threshold
        return marks or (count is not None and self.backlog_frames(now_ns) >= count)

    def accept(self, packet: int, hop: int, frame_bytes: int, now_ns: int) -> Passage:
        """Queue a frame that fits, and add it to the register."""
        starts_ns = Fraction(now_ns)
        if self.passages:
            starts_ns = max(starts_ns, self.passages[-1].departs_ns)
        if self.link.is_bucket:
            passage = self.shaped(Passage(packet, hop, now_ns, frame_bytes, self.rate_bps, starts_ns))
        else:
            departs_ns = starts_ns + self.serialisation_ns(frame_bytes)
            passage = Passage(packet, hop, now_ns, frame_bytes, self.rate_bps, departs_ns)
        self.passages.append(passage)
        self.register = self.decayed(now_ns) + frame_bytes + self.link.overhead_bytes
        self.register_ns = now_ns
        return passage

    def shaped(self, passage: Passage) -> Passage:
        """A frame that is first in the queue at its `departs_ns`: it leaves once there are tokens for it."""
        full = self.bucket_bytes()
        tokens = full
        if self.passages:
            since_ns = passage.departs_ns - self.passages[-1].departs_ns
            tokens = min(full, self.passages[-1].tokens + since_ns * self.rate_bps / (8 * 10**9))
        missing = max(Fraction(0), passage.frame_bytes + self.link.overhead_bytes - tokens)
        passage.departs_ns += missing * 8 * 10**9 / self.rate_bps
        passage.tokens = tokens + missing - passage.frame_bytes - self.link.overhead_bytes
        return passage

    def decayed(self, now_ns: int) -> int:
        """The register as it is now."""
        periods = now_ns // REGISTER_PERIOD_NS - self.register_ns // REGISTER_PERIOD_NS
        if periods >= 400:
            return 0
        register = self.register
        for _ in range(periods):
            register -= register >> 3
        return register

    def level(self, now_ns: int) -> int:
        """The load as CONGA's switches tell it, 0 to 7."""
        return min(7, self.decayed(now_ns) * 64 // max(1, self.rate_bps * 160_000 // 10**9))

    def fail(self, now_ns: int) -> list[Passage]:
        """The link goes down; the frames that have not left it are lost."""
        lost = [p for p in self.passages if p.leaves_ns > now_ns]
        self.passages = [p for p in self.passages if p.leaves_ns <= now_ns]
        self.rate_bps = 0
        return lost

    def turn_to(self, rate_bps: int, now_ns: int) -> list[tuple[Passage, int]]:
        """Up or down, go on at another rate; frames that then depart at other times, and how much longer they wait."""
        moved: list[tuple[Passage, int]] = []
        unfinished = [p for p in self.passages if p.leaves_ns > now_ns]
        self.rate_bps = rate_bps
        if not unfinished:
            return moved
        previous = unfinished[0]
        before_ns = previous.leaves_ns
        previous.departs_ns = Fraction(before_ns)
        previous.rounded = True
        for passage in unfinished[1:]:
            waits_longer_ns = previous.leaves_ns - before_ns
            before_ns = passage.leaves_ns
            passage.departs_ns = previous.departs_ns + self.serialisation_ns(passage.frame_bytes)
            passage.rate_bps = rate_bps
            moved.append((passage, waits_longer_ns))
            previous = passage
        return moved
