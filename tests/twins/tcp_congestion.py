"""Congestion control by the RFCs: NewReno, DCTCP and CUBIC."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.twins.tcp_rfc import RfcSender


class NewReno:
    """RFC 5681, with bytes counted as RFC 3465 has it."""

    def __init__(self, sender: RfcSender) -> None:
        self.sender = sender
        self.mss = sender.mss
        self.count = 0

    def grow(self, acked: int, now_ns: int) -> None:
        """Acknowledged bytes open the window."""
        if self.sender.cwnd < self.sender.ssthresh:
            opened = min(acked, self.sender.ssthresh - self.sender.cwnd)
            self.sender.cwnd += opened
            acked -= opened
        if acked > 0:
            self.avoid(acked, now_ns)

    def avoid(self, acked: int, now_ns: int) -> None:
        """Congestion avoidance."""
        self.count += acked
        if self.count >= self.sender.cwnd:
            self.count -= self.sender.cwnd
            self.sender.cwnd += self.mss

    def reduced(self, echo: bool) -> int:
        """The window after a reduction, which begins now."""
        return (self.sender.cwnd if echo else self.sender.flight()) // 2

    def reduced_by_timeout(self) -> int:
        """The same for a timeout."""
        return self.reduced(False)

    def counted(self, acked: int, echo: bool) -> None:
        """An acknowledgement came."""

    def sampled(self, round_trip_ns: int, now_ns: int) -> None:
        """A round trip was measured."""

    def greeted(self, round_trip_ns: int) -> None:
        """The initiator has measured the handshake."""

    def timed_out(self, now_ns: int) -> None:
        """The retransmission timer has fired."""

    def memory(self) -> tuple[Any, ...]:
        """What a reduction changes, besides the sender's windows."""
        return ()

    def remember(self, memory: tuple[Any, ...]) -> None:
        """A reduction is undone."""


class Dctcp(NewReno):
    """RFC 8257."""

    def __init__(self, sender: RfcSender) -> None:
        super().__init__(sender)
        self.alpha = 2**20
        self.bytes = self.marked = 0
        self.window_end = 0

    def counted(self, acked: int, echo: bool) -> None:
        self.bytes += acked
        self.marked += acked if echo else 0
        if self.sender.una > self.window_end:
            if self.bytes > 0:
                self.alpha += ((self.marked << 20) // self.bytes - self.alpha) >> 4
            self.bytes = self.marked = 0
            self.window_end = self.sender.nxt

    def reduced(self, echo: bool) -> int:
        if echo:
            return self.sender.cwnd - (self.sender.cwnd * self.alpha >> 21)
        return self.sender.flight() // 2


def cbrt(x: float) -> float:
    """The cube root of a number that is not negative, by Newton's method from above."""
    y = max(x, 1.0)
    while True:
        lower = y - (y * y * y - x) / (3 * y * y)
        if lower >= y:
            return y
        y = lower


@dataclass
class Round:
    """Of HyStart: from when on, and the segment that must be passed for the next."""

    start_ns: int
    end: int
    last_ack_ns: int
    round_trips: list[int] = field(default_factory=list)


class HyStart:
    """Looks at all round trips since it began."""

    def __init__(self, sender: RfcSender) -> None:
        self.sender = sender
        self.rounds = [Round(-(10**18), 0, -(10**18))]
        self.shortest: int | None = None
        self.found = False

    def sampled(self, round_trip_ns: int, now_ns: int) -> None:
        """A round trip, which may be looked at."""
        sender = self.sender
        if self.found:
            return
        self.shortest = round_trip_ns if self.shortest is None else min(self.shortest, round_trip_ns)
        if sender.cwnd >= sender.ssthresh or sender.cwnd < 16 * sender.mss:
            return
        if sender.una > self.rounds[-1].end:
            self.rounds.append(Round(now_ns, sender.nxt, now_ns))
        if self.long_train(self.rounds[-1], now_ns) | self.delayed(self.rounds[-1], round_trip_ns):
            self.found = True
            sender.ssthresh = sender.cwnd

    def long_train(self, now: Round, now_ns: int) -> bool:
        """Acknowledgements have followed each other for as long as half a round trip, or all of it if paced."""
        if now_ns - now.last_ack_ns > 2_000_000:
            return False
        now.last_ack_ns = now_ns
        srtt = self.sender.srtt
        assert srtt is not None and self.shortest is not None
        limit = self.shortest + min(10**6, 262_144 * srtt // (2 * self.sender.cwnd))
        return now_ns - now.start_ns > (limit if self.sender.settings.pacing else limit // 2)

    def delayed(self, now: Round, round_trip_ns: int) -> bool:
        """All round trips of the round, more than 8, were longer than the shortest by an eighth."""
        now.round_trips.append(round_trip_ns)
        assert self.shortest is not None
        more = min(max(self.shortest // 8, 4_000_000), 16_000_000)
        return len(now.round_trips) > 8 and min(now.round_trips) > self.shortest + more


class Cubic(NewReno):
    """RFC 9438, in double precision; windows in segments."""

    def __init__(self, sender: RfcSender) -> None:
        super().__init__(sender)
        self.exact: tuple[int, float] | None = None  # after how many changes of the window, and it before flooring
        self.w_max = self.w_prior = 0.0
        self.start_ns: int | None = None
        self.w_est = self.k = 0.0
        self.hystart = HyStart(sender) if sender.settings.slow_start == "hystart" else None

    def sampled(self, round_trip_ns: int, now_ns: int) -> None:
        young = self.start_ns is not None and now_ns - self.start_ns < 10**9
        if self.hystart and not young and self.sender.state in ("OPEN", "LOSS"):
            self.hystart.sampled(round_trip_ns, now_ns)

    def greeted(self, round_trip_ns: int) -> None:
        if self.hystart:
            self.hystart.shortest = round_trip_ns

    def timed_out(self, now_ns: int) -> None:
        if self.hystart:
            self.hystart = HyStart(self.sender)
            self.hystart.rounds.append(Round(now_ns, self.sender.nxt, now_ns))

    def w(self) -> float:
        """The window in segments, not floored unless something else changed it."""
        if self.exact is not None and self.exact[0] == len(self.sender.cwnds):
            return self.exact[1]
        return self.sender.cwnd / self.mss

    def avoid(self, acked: int, now_ns: int) -> None:
        w = self.w()
        if self.start_ns is None:
            self.start_ns = now_ns
            self.w_est = w
            if w >= self.w_max:
                self.w_max = w
                self.k = 0.0
            else:
                self.k = cbrt((self.w_max - w) / 0.4)
        s = acked / self.mss
        t = (now_ns - self.start_ns) / 1e9
        srtt = 1.0 if self.sender.srtt is None else self.sender.srtt / 1e9
        d = t + srtt - self.k
        target = min(max(0.4 * (d * d * d) + self.w_max, w), 1.5 * w)
        a = 0.9 / 1.7 if self.w_est < self.w_prior else 1.0
        self.w_est += a * s / w
        d = t - self.k
        if 0.4 * (d * d * d) + self.w_max < self.w_est:
            w = max(w, self.w_est)
        else:
            w += (target - w) / w * s
        self.sender.cwnd = math.floor(w * self.mss)
        self.exact = (len(self.sender.cwnds), w)

    def reduced(self, echo: bool) -> int:
        w = self.w()
        self.w_max = w * 0.85 if w < self.w_max else w
        self.w_prior = w
        self.start_ns = None
        return math.floor((self.sender.cwnd if echo else self.sender.flight()) * 0.7)

    def reduced_by_timeout(self) -> int:
        self.w_prior = self.w()
        self.w_max = 0.0
        self.start_ns = None
        return math.floor(self.sender.flight() * 0.7)

    def memory(self) -> tuple[Any, ...]:
        return self.w_max, self.w_prior, self.w_est, self.k, self.start_ns

    def remember(self, memory: tuple[Any, ...]) -> None:
        self.w_max, self.w_prior, self.w_est, self.k, self.start_ns = memory


CONTROLS: dict[str, type[NewReno]] = {"newreno": NewReno, "dctcp": Dctcp, "cubic": Cubic}
