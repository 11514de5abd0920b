"""The sender as ns-3 3.37 has it: `rules = "ns-3"`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.twins.tcp_ns3_congestion import CONTROLS
from tests.twins.tcp_sender import CWR, DISORDER, LOSS, OPEN, RECOVERY, RTO, Sender
from tests.twins.tcp_settings import Carried, Segment, Taken

if TYPE_CHECKING:
    from tests.twins.transport import Transport


class Ns3Sender(Sender):
    """A half's sender; names are those of the text."""

    def __init__(self, run: Transport, half: int) -> None:
        super().__init__(run, half)
        self.rttvar = 0
        self.rto = run.settings.initial_rto_ns
        self.timeouts_in_row = 0
        self.dupacks = 0
        self.armed = False
        self.rest = 0
        self.first = True
        self.prr_out = self.prr_delivered = self.prr_flight = 0
        self.next_sent = 0
        self.echo = "IDLE"
        self.echo_number = self.cwr_number = 0
        self.delivered = 0  # by the present acknowledgement
        self.repaired = False  # "retransmitted" of the text
        self.control = CONTROLS[run.settings.control](self)

    # The clock.

    def sample(self, round_trip_ns: int, now_ns: int) -> None:
        if self.srtt is None:
            self.srtt, self.rttvar = round_trip_ns, round_trip_ns // 2
        else:
            d = round_trip_ns - self.srtt
            self.srtt = ((self.srtt << 3) + d) >> 3
            self.rttvar = ((self.rttvar << 2) + abs(d) - self.rttvar) >> 2
        self.rto = self.rto_anew()

    def smoothed_ns(self) -> int:
        """The smoothed round trip; a second without a sample."""
        return 10**9 if self.srtt is None else self.srtt

    def rto_anew(self) -> int:
        """The timeout that the samples ask for."""
        above = max(self.settings.granularity_ns, 4 * self.rttvar)
        return max(self.smoothed_ns() + above, self.settings.min_rto_ns)

    def restart(self, now_ns: int) -> None:
        """The timer begins anew."""
        self.rto = self.rto_anew()
        self.timeouts_in_row = 0
        self.run.set_timer(self.half, RTO, now_ns + self.rto)

    def sent(self, segment: Segment, now_ns: int) -> None:
        self.next_sent = segment.number + 1
        if self.state in (RECOVERY, CWR):
            self.prr_out += segment.size
        if segment.times == 1 and self.echo == "RECEIVED" and self.echo_number > self.cwr_number:
            self.cwr_number = segment.number
            self.echo = "CWR_SENT"
        if not self.run.timer_runs(self.half, RTO):
            self.run.set_timer(self.half, RTO, now_ns + self.rto)

    def candidate(self) -> int | None:
        """Nothing, once all was sent and nothing is wrong."""
        if self.state == OPEN and self.run.all_sent(self.half) is not None:
            return None
        return super().candidate()

    def resend(self, now_ns: int) -> None:
        """A segment goes whatever the window."""
        number = self.lowest_lost()
        if number is None:
            number = self.lowest_new()
        if number is None:
            number = self.una
        self.transmit(number, now_ns)
        self.next_sent = number

    # Acknowledgements.

    def acknowledged(self, said: Carried, now_ns: int) -> None:
        if said.number < self.una:
            return
        self.handle(said, now_ns)
        if self.una == self.nxt:
            self.run.stop_timer(self.half, RTO)
        self.send(now_ns)

    def handle(self, said: Carried, now_ns: int) -> None:
        """What the text has, in its order."""
        old, ack = self.una, said.number
        before_una = self.board.get(old)
        if ack > old and before_una is not None and before_una.samples:
            self.sample(now_ns - before_una.sent_ns, now_ns)
        taken = self.take(said, now_ns)
        dup = taken.sacks
        if dup:
            self.lose_below_sacked(now_ns)
        again = any(segment.retransmitted and not segment.sacked for segment in taken.passed)
        self.repaired = self.state == RECOVERY and ack < self.recover and again
        self.delivered = taken.delivered
        if self.state == CWR and ack > self.recover:
            self.state = OPEN
            self.cwnd = self.ssthresh
        if self.settings.control == "dctcp":
            self.see_echo(said, old)
        before = self.dupacks
        if dup and self.state != LOSS:
            self.duplicate(ack, now_ns)
        if ack == old:
            if old < self.nxt:
                self.control.counted(1, now_ns)
            return
        self.advance(taken, dup, before, ack, now_ns)

    def see_echo(self, said: Carried, old: int) -> None:
        """An echo, or none, reaches the sender."""
        if said.number > old and said.echo:
            self.echo = "RECEIVED"
            self.echo_number = said.number
            if self.state != CWR:
                self.enter(CWR)
        elif self.echo == "RECEIVED" and not said.echo:
            self.echo = "IDLE"

    def duplicate(self, ack: int, now_ns: int) -> None:
        """An acknowledgement that newly sacks."""
        if self.state != RECOVERY:
            self.dupacks += 1
        if self.state == OPEN:
            self.state = DISORDER
        if self.state == RECOVERY:
            self.prr(self.delivered)
        elif self.state == DISORDER:
            three = self.dupacks == 3 and (ack >= self.recover or not self.armed)
            if three or self.next_is_lost():
                first = self.board[self.una]
                if not first.lost:
                    self.lose(first, now_ns)
                    first.retransmitted = False
                self.armed = True
                self.enter(RECOVERY)
                self.counts.recoveries += 1
                self.resend(now_ns)

    def next_is_lost(self) -> bool:
        """The first of una + 1, una + 2, ... that is lost or sacked is lost and below the highest sacked."""
        for segment in self.segments()[1:]:
            if segment.sacked:
                return False
            if segment.lost:
                return segment.number < self.highest_sacked()
        return False

    def advance(self, taken: Taken, dup: bool, before: int, ack: int, now_ns: int) -> None:
        """The rest, if una advanced."""
        seg = self.mss
        segs = taken.acked // seg
        self.rest += taken.acked % seg
        if self.rest >= seg:
            segs += 1
            self.rest -= seg
        if not dup:
            self.dupacks = 0
        if self.state == RECOVERY and ack < self.recover:
            if segs >= 1:
                self.prr(self.delivered)
            first = self.board[self.una]
            if not (first.retransmitted and not first.sacked):
                self.resend(now_ns)
            self.control.counted(1, now_ns)
            if self.first:
                self.restart(now_ns)
            self.first = False
        elif self.state == LOSS and ack < self.recover:
            self.control.counted(segs, now_ns)
            self.control.grow(segs, now_ns)
            self.restart(now_ns)
        elif self.state == CWR:
            self.control.counted(segs, now_ns)
            if segs >= 1:
                self.prr(self.delivered)
            self.restart(now_ns)
        else:
            self.settle(taken, dup, before, segs, now_ns)

    def settle(self, taken: Taken, dup: bool, before: int, segs: int, now_ns: int) -> None:
        """Open, in disorder, or what was to be repaired is."""
        left = self.state == RECOVERY
        if self.state == OPEN:
            self.control.counted(segs, now_ns)
        elif self.state == DISORDER:
            if segs >= before:
                self.control.counted(segs - before, now_ns)
            if not dup:
                self.state = OPEN
        elif self.state == RECOVERY:
            self.first = True
            segs = taken.acked // self.mss
            self.control.counted(segs, now_ns)
            self.state = OPEN
            self.dupacks = 0
        else:
            self.first = True
            segs = sum(segment.size for segment in taken.passed if segment.number >= self.recover) // self.mss
            self.control.counted(segs, now_ns)
            self.state = OPEN
        if self.una >= self.recover:
            self.armed = False
        if left:
            self.restart(now_ns)
            self.cwnd = self.ssthresh
        if self.state == OPEN:
            self.control.grow(segs, now_ns)
            self.restart(now_ns)

    # Reductions.

    def enter(self, state: str) -> None:
        """RECOVERY or CWR begins."""
        self.state = state
        self.recover = self.nxt
        self.ssthresh = self.control.reduced(self.pipe())
        self.prr_out = self.prr_delivered = 0
        self.prr_flight = self.flight()
        self.prr(self.delivered)

    def prr(self, d: int) -> None:
        """Proportional rate reduction."""
        self.prr_delivered += d
        pipe = self.pipe()
        if pipe > self.ssthresh:
            n = -(-(self.prr_delivered * self.ssthresh % 2**32) // self.prr_flight) - self.prr_out
        else:
            limit = max((self.prr_delivered - self.prr_out) % 2**32, d) + self.mss if self.repaired else d
            n = min(self.ssthresh - pipe, limit)
        self.cwnd = pipe + max(n, 0 if self.prr_out > 0 else self.mss)

    def timeout(self, now_ns: int) -> None:
        self.counts.timeouts += 1
        self.run.stayed_silent(self.board[self.una].packet, now_ns)
        if self.timeouts_in_row == self.settings.retries:
            self.run.fail(self.half // 2, now_ns)
            return
        self.timeouts_in_row += 1
        self.dupacks = 0
        flight = self.pipe()
        for segment in self.segments():
            segment.retransmitted = False
            segment.samples = False
            if not segment.sacked:
                self.lose(segment, now_ns)
        self.recover = self.nxt
        self.armed = True
        self.rto = min(2 * self.rto, self.settings.max_rto_ns)
        self.ssthresh = self.control.reduced(flight)
        self.control.start_anew(now_ns)
        self.state = LOSS
        self.cwnd = self.mss
        self.send(now_ns)
