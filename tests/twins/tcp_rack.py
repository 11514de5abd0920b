"""RACK-TLP (RFC 8985): losses told by time, and probes of the tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.twins.tcp_sender import LOSS, OPEN, PROBE, RECOVERY, REORDER, RTO
from tests.twins.tcp_settings import Carried, Taken

if TYPE_CHECKING:
    from tests.twins.tcp_rfc import RfcSender


class Rack:
    """What a sender with `receiver = "rack"` keeps besides."""

    def __init__(self, sender: RfcSender) -> None:
        self.sender = sender
        self.run = sender.run
        self.half = sender.half
        self.min_rtt: int | None = None
        self.latest: tuple[int, int] | None = None  # time of sending and number of the delivered segment sent last
        self.rtt = 0
        self.highest = -1  # delivered
        self.reordered = False
        self.mult = 1
        self.round_end: int | None = None
        self.persist = 16
        self.probe_end: int | None = None
        self.probe_again: int | None = None  # the segment that the probe repeated

    def sampled(self, round_trip_ns: int) -> None:
        """A sample."""
        self.min_rtt = round_trip_ns if self.min_rtt is None else min(self.min_rtt, round_trip_ns)

    def acknowledged(self, said: Carried, taken: Taken, least_ns: int, now_ns: int) -> int:
        """After the scoreboard: what is lost, and how much becomes so; `least_ns` is the least sample before."""
        highest = max(self.highest, taken.old - 1)
        for segment in sorted(taken.newly, key=lambda segment: segment.number):
            rtt = now_ns - segment.sent_ns
            if segment.times == 1 or rtt >= least_ns:
                key = (segment.sent_ns, segment.number)
                if self.latest is None or key > self.latest:
                    self.latest = key
                    self.rtt = rtt
            if segment.number < highest and segment.times == 1:
                self.reordered = True
            self.highest = max(self.highest, segment.number)
        self.adapt(said)
        return self.find_lost(now_ns)

    def hear(self, said: Carried) -> bool:
        """What a D-SACK says; whether the window for reordering grows, as it does once a round."""
        sender = self.sender
        if said.repeated is None:
            return False
        if sender.episode is not None:
            sender.episode.told(said.repeated)
        if self.round_end is not None and sender.una < self.round_end:
            return False
        self.round_end = sender.nxt
        self.mult += 1
        self.persist = 16
        return True

    def adapt(self, said: Carried) -> None:
        """The window grows with needless retransmissions, and shrinks without."""
        sender = self.sender
        ends = sender.state in (RECOVERY, LOSS) and sender.una >= sender.recover
        grows = self.hear(said)
        if ends and not grows:
            self.persist -= 1
            if self.persist == 0:
                self.mult = 1
                self.persist = 16

    def window_ns(self) -> int:
        """How long a segment may be overtaken before it counts as lost."""
        sender = self.sender
        sacked = sum(segment.sacked for segment in sender.segments())
        if not self.reordered and (sender.state in (RECOVERY, LOSS) or sacked >= 3):
            return 0
        if self.min_rtt is None or sender.srtt is None:
            return 0
        return min(self.mult * self.min_rtt // 4, sender.srtt)

    def find_lost(self, now_ns: int) -> int:
        """Segments sent so long before one that was delivered; how many are lost, again or at last."""
        latest_ns = None
        found = 0
        window_ns = self.window_ns()
        for segment in self.sender.segments():
            if segment.sacked or (segment.lost and not segment.retransmitted):
                continue
            if self.latest is None or (segment.sent_ns, segment.number) >= self.latest:
                continue
            due_ns = segment.sent_ns + self.rtt + window_ns
            if due_ns <= now_ns:
                self.sender.lose(segment, now_ns)
                segment.retransmitted = False
                found += 1
            else:
                latest_ns = due_ns if latest_ns is None else max(latest_ns, due_ns)
        if latest_ns is None:
            self.run.stop_timer(self.half, REORDER)
        else:
            self.run.set_timer(self.half, REORDER, latest_ns)
        return found

    # Tail loss probes.

    def arm_probe(self, now_ns: int) -> None:
        """A segment was sent, una advanced, or the state changed."""
        sender = self.sender
        sacked = any(segment.sacked for segment in sender.segments())
        if sender.una == sender.nxt or sender.state != OPEN or sacked:
            self.run.stop_timer(self.half, PROBE)
            return
        if self.probe_end is not None:
            return
        wait_ns = 10**9 if sender.srtt is None else 2 * sender.srtt
        if sender.nxt - sender.una == 1:
            wait_ns += sender.settings.ack_delay_ns
        self.run.set_timer(self.half, PROBE, min(now_ns + wait_ns, self.run.timer_ns(self.half, RTO)))

    def arm_after(self, taken: Taken, now_ns: int) -> None:
        """An acknowledgement did what it does."""
        if self.probe_end is not None and self.sender.una >= self.probe_end:
            self.probe_end = self.probe_again = None
        if self.sender.una > taken.old or self.sender.state != OPEN:
            self.arm_probe(now_ns)
        elif any(segment.sacked for segment in self.sender.segments()):
            self.run.stop_timer(self.half, PROBE)

    def probe(self, now_ns: int) -> None:
        """Send a new segment, or the last one again."""
        sender = self.sender
        number = sender.lowest_new()
        self.probe_again = sender.nxt - 1 if number is None else None
        self.probe_end = sender.nxt if number is None else sender.nxt + 1
        sender.transmit(sender.nxt - 1 if number is None else number, now_ns)
        sender.start_rto(now_ns)
        sender.send(now_ns)

    def judge_probe(self, said: Carried, now_ns: int) -> None:
        """A probe that repeated a segment repaired a loss, unless a D-SACK says that it was not needed."""
        if self.probe_again is not None and self.probe_end is not None and self.sender.una >= self.probe_end:
            if said.repeated != self.probe_again:
                self.sender.reduce_for_echo(now_ns)
            self.probe_again = None
