"""Congestion control as ns-3 3.37 has it: NewReno, DCTCP and CUBIC."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tests.twins.tcp_congestion import cbrt

if TYPE_CHECKING:
    from tests.twins.tcp_ns3 import Ns3Sender

MS = 1_000_000
LONG_AGO_NS = -(2**62)


class NewReno:
    """As RFC 5681, in whole segments."""

    def __init__(self, sender: Ns3Sender) -> None:
        self.sender = sender
        self.seg = sender.mss

    def grow(self, n: int, now_ns: int) -> None:
        """So many segments open the window."""
        sender = self.sender
        if sender.cwnd < sender.ssthresh and n >= 1:
            sender.cwnd += self.seg
            n -= 1
        if sender.cwnd >= sender.ssthresh and n > 0:
            sender.cwnd += max(1, self.seg * self.seg // sender.cwnd)

    def reduced(self, pipe: int) -> int:
        """The new ssthresh."""
        return max(2 * self.seg, pipe // 2)

    def counted(self, n: int, now_ns: int) -> None:
        """So many segments were acknowledged."""

    def start_anew(self, now_ns: int) -> None:
        """After a timeout."""


class Dctcp(NewReno):
    """RFC 8257."""

    def __init__(self, sender: Ns3Sender) -> None:
        super().__init__(sender)
        self.count = 0
        self.total = self.marked = 0
        self.boundary: int | None = None
        self.alpha = 1.0

    def grow(self, n: int, now_ns: int) -> None:
        sender = self.sender
        if sender.cwnd < sender.ssthresh:
            sender.cwnd = min(sender.cwnd + n * self.seg, sender.ssthresh)
            return
        w = max(sender.cwnd // self.seg, 1)
        if self.count >= w:
            self.count = 0
            sender.cwnd += self.seg
        self.count += n
        if self.count >= w:
            sender.cwnd += self.count // w * self.seg
            self.count %= w

    def counted(self, n: int, now_ns: int) -> None:
        self.total += n * self.seg
        if self.sender.echo == "RECEIVED":
            self.marked += n * self.seg
        if self.boundary is None:
            self.boundary = self.sender.next_sent
        if self.sender.una >= self.boundary:
            share = self.marked / self.total if self.total else 0.0
            self.alpha = (1 - 1 / 16) * self.alpha + 1 / 16 * share
            self.boundary = self.sender.next_sent
            self.total = self.marked = 0

    def reduced(self, pipe: int) -> int:
        return math.floor((1 - self.alpha / 2) * self.sender.cwnd)


class Cubic(NewReno):
    """With hystart."""

    def __init__(self, sender: Ns3Sender) -> None:
        super().__init__(sender)
        self.count = 0
        self.w_last = self.origin = 0
        self.k = 0.0
        self.start_ns: int | None = None  # of the epoch that runs
        self.delay_min: int | None = None
        self.found = False
        self.round_start = self.last_ack = LONG_AGO_NS
        self.round_end = 0
        self.round_rtt: int | None = None
        self.samples = 0

    def w(self) -> int:
        """The window in whole segments."""
        return self.sender.cwnd // self.seg

    def counted(self, n: int, now_ns: int) -> None:
        if self.start_ns is not None and now_ns - self.start_ns < 10 * MS:
            return
        srtt = self.sender.smoothed_ns()
        self.delay_min = srtt if self.delay_min is None else min(self.delay_min, srtt)
        if 16 * self.seg <= self.sender.cwnd <= self.sender.ssthresh:
            self.hystart(self.delay_min, srtt, now_ns)

    def hystart(self, delay_min: int, srtt: int, now_ns: int) -> None:
        """Whether slow start should end."""
        if self.found:
            return
        if now_ns - self.last_ack <= 2 * MS:
            self.last_ack = now_ns
            if now_ns - self.round_start > delay_min:
                self.found = True
        if self.samples < 8:
            self.round_rtt = srtt if self.round_rtt is None else min(self.round_rtt, srtt)
            self.samples += 1
        else:
            assert self.round_rtt is not None
            if self.round_rtt > delay_min + max(4 * MS, min(1000 * MS, delay_min)):
                self.found = True
        if self.found:
            self.sender.ssthresh = self.sender.cwnd

    def begin_round(self, now_ns: int) -> None:
        """A round begins."""
        self.round_start = self.last_ack = now_ns
        self.round_end = self.sender.nxt
        self.round_rtt = None
        self.samples = 0

    def grow(self, n: int, now_ns: int) -> None:
        sender = self.sender
        if sender.cwnd < sender.ssthresh:
            if sender.una > self.round_end:
                self.begin_round(now_ns)
            sender.cwnd += n * self.seg
            n = 0
        if sender.cwnd >= sender.ssthresh and n > 0:
            self.count += n
            c = self.update(now_ns)
            if self.count >= c:
                sender.cwnd += self.seg
                self.count -= c

    def update(self, now_ns: int) -> int:
        """After how many acknowledged segments the window grows by one."""
        w = self.w()
        if self.start_ns is None:
            self.start_ns = now_ns
            if self.w_last > w:
                self.k = cbrt((self.w_last - w) / 0.4)
                self.origin = self.w_last
            else:
                self.k = 0.0
                self.origin = w
        t = (now_ns + (self.delay_min or 0) - self.start_ns) / 1e9
        distance = abs(t - self.k)
        d = math.trunc(0.4 * (distance * distance * distance))
        target = self.origin - d if t < self.k else self.origin + d
        c = w // (target - w) if target > w else 100 * w
        if self.w_last == 0:
            c = min(c, 20)
        return max(c, 2)

    def reduced(self, pipe: int) -> int:
        w = self.w()
        self.w_last = math.trunc(w * 1.7 / 2) if w < self.w_last else w
        self.start_ns = None
        return max(math.trunc(w * 0.7), 2) * self.seg

    def start_anew(self, now_ns: int) -> None:
        self.w_last = self.origin = 0
        self.k = 0.0
        self.delay_min = None
        self.found = False
        self.begin_round(now_ns)


CONTROLS: dict[str, type[NewReno]] = {"newreno": NewReno, "dctcp": Dctcp, "cubic": Cubic}
