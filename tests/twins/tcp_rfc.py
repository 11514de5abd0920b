"""The sender by the RFCs: states, retransmission timer, and what an acknowledgement does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.twins.tcp_congestion import CONTROLS
from tests.twins.tcp_rack import Rack
from tests.twins.tcp_recovery import Episode, Reduction
from tests.twins.tcp_sender import CWR, LOSS, OPEN, PROBE, RECOVERY, REORDER, RTO, Sender
from tests.twins.tcp_settings import Carried, Segment, Taken

if TYPE_CHECKING:
    from tests.twins.transport import Transport


class RfcSender(Sender):
    """`rules = "rfc"`."""

    def __init__(self, run: Transport, half: int) -> None:
        super().__init__(run, half)
        self.backoff = 0
        self.control = CONTROLS[run.settings.control](self)
        self.rack = Rack(self) if run.settings.receiver == "rack" else None
        self.reduction: Reduction | None = None
        self.episode: Episode | None = None  # that can still be undone

    # The clock.

    def rto_ns(self) -> int:
        """The retransmission timeout without backing off."""
        if self.srtt is None:
            return self.settings.initial_rto_ns
        rto_ns = self.srtt + max(self.settings.granularity_ns, 4 * self.rttvar)
        return min(max(rto_ns, self.settings.min_rto_ns), self.settings.max_rto_ns)

    def sample(self, round_trip_ns: int, now_ns: int) -> None:
        """RFC 6298 section 2."""
        if self.rack:
            self.rack.sampled(round_trip_ns)
        if self.srtt is None:
            self.srtt, self.rttvar = round_trip_ns, round_trip_ns // 2
            return
        self.rttvar += (abs(self.srtt - round_trip_ns) - self.rttvar) >> 2
        self.srtt += (round_trip_ns - self.srtt) >> 3

    def greeted(self, round_trip_ns: int) -> None:
        self.control.greeted(round_trip_ns)

    def start_rto(self, now_ns: int) -> None:
        """Set the timer."""
        wait_ns = min(self.rto_ns() << self.backoff, self.settings.max_rto_ns)
        self.run.set_timer(self.half, RTO, now_ns + wait_ns)

    def sent(self, segment: Segment, now_ns: int) -> None:
        if self.state == RECOVERY:
            assert self.reduction
            self.reduction.sent.append(segment.size)
        if self.episode and segment.times > 1:
            self.episode.repeated += 1
        if not self.run.timer_runs(self.half, RTO):
            self.start_rto(now_ns)
        if self.rack:
            self.rack.arm_probe(now_ns)

    # Messages.

    def ask(self, row: int, size: int, now_ns: int) -> None:
        if self.una == self.nxt and self.last_sent_ns is not None and now_ns - self.last_sent_ns > self.rto_ns():
            self.cwnd = min(self.cwnd, self.settings.initial_window * self.mss)
        super().ask(row, size, now_ns)

    # Acknowledgements.

    def acknowledged(self, said: Carried, now_ns: int) -> None:
        if said.number < self.una:
            if said.repeated is not None:
                assert self.rack
                self.rack.hear(said)
                self.send(now_ns)
            return
        before_ns = self.rack.min_rtt if self.rack else None
        taken = self.take(said, now_ns)
        self.measure(taken, now_ns)
        if self.una > taken.old:
            self.backoff = 0
            if self.una < self.nxt:
                self.start_rto(now_ns)
            else:
                self.run.stop_timer(self.half, RTO)
        lost = 0
        if self.rack:
            lost = self.rack.acknowledged(said, taken, before_ns or 0, now_ns)
        elif taken.sacks:
            lost = self.lose_below_sacked(now_ns)
        forced = self.react(said, taken, self.una > taken.old and lost == 0, now_ns)
        if self.rack:
            self.rack.arm_after(taken, now_ns)
        self.send(now_ns, forced)

    def measure(self, taken: Taken, now_ns: int) -> None:
        """Of the delivered the segment sent last gives a sample, if it was sent once."""
        if taken.newly:
            last = max(taken.newly, key=lambda segment: (segment.sent_ns, segment.number))
            if last.times == 1:
                self.sample(now_ns - last.sent_ns, now_ns)
                self.control.sampled(now_ns - last.sent_ns, now_ns)

    def react(self, said: Carried, taken: Taken, safe: bool, now_ns: int) -> bool:
        """What an acknowledgement does to state and window; whether the first segment may go whatever the pace."""
        if self.una >= self.recover:
            if self.state == RECOVERY:
                self.cwnd = self.ssthresh
            self.state = OPEN
        if self.settings.uses_ecn:
            self.control.counted(taken.acked, said.echo)
            if said.echo:
                self.reduce_for_echo(now_ns)
        if self.rack:
            self.rack.judge_probe(said, now_ns)
        if self.repair(taken.delivered, safe):
            return True
        if taken.acked > 0 and (self.state == LOSS or (self.state == OPEN and self.limited)):
            self.control.grow(taken.acked, now_ns)
        return False

    def reduce_for_echo(self, now_ns: int) -> None:
        """The window shrinks, once a round trip."""
        if self.state == OPEN:
            self.ssthresh = self.cwnd = max(self.control.reduced(True), 2 * self.mss)
            self.recover = self.nxt
            self.state = CWR
            self.says_reduced = True
            self.episode = None

    def repair(self, delivered: int, safe: bool) -> bool:
        """What is delivered lets losses be repaired; whether that begins now."""
        begins = self.lowest_lost() is not None and self.state in (OPEN, CWR)
        if begins:
            self.episode = Episode(self)
            self.recover = self.nxt
            self.ssthresh = max(self.control.reduced(False), 2 * self.mss)
            self.state = RECOVERY
            self.counts.recoveries += 1
            self.reduction = Reduction(self, delivered)
        if self.state == RECOVERY:
            assert self.reduction
            self.cwnd = self.reduction.window(delivered, safe)
        return begins

    # Timers.

    def timeout(self, now_ns: int) -> None:
        self.counts.timeouts += 1
        self.run.stayed_silent(self.board[self.una].packet, now_ns)
        if self.state in (OPEN, CWR):
            self.episode = Episode(self)
        if self.state != LOSS:
            self.ssthresh = max(self.control.reduced_by_timeout(), 2 * self.mss)
        self.control.timed_out(now_ns)
        self.state = LOSS
        self.recover = self.nxt
        self.cwnd = self.mss
        for segment in self.segments():
            if not segment.sacked:
                self.lose(segment, now_ns)
                segment.retransmitted = False
        self.backoff += 1
        self.next_ns = 0
        self.run.stop_timer(self.half, REORDER)
        self.run.stop_timer(self.half, PROBE)
        if self.backoff == self.settings.retries:
            self.run.fail(self.half // 2, now_ns)
            return
        self.send(now_ns)

    def reorder_timer(self, now_ns: int) -> None:
        assert self.rack
        self.rack.find_lost(now_ns)
        forced = self.repair(0, False)
        if forced:
            self.rack.arm_probe(now_ns)
        self.send(now_ns, forced)

    def probe_timer(self, now_ns: int) -> None:
        assert self.rack
        self.rack.probe(now_ns)
