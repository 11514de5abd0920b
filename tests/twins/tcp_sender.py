"""The sender of a half, whatever the rules: messages cut into segments, the scoreboard, what may be sent, the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.twins.tcp_settings import Carried, Segment, Taken

if TYPE_CHECKING:
    from tests.twins.transport import Transport

REORDER, PROBE, RTO, PACE = 2, 3, 4, 5  # kinds of timers
OPEN, DISORDER, RECOVERY, LOSS, CWR = "OPEN", "DISORDER", "RECOVERY", "LOSS", "CWR"


class Sender:
    """The end from which the data of half `half` come."""

    def __init__(self, run: Transport, half: int) -> None:
        self.run = run
        self.half = half
        self.settings = run.settings
        self.counts = run.counts[half]
        self.mss = run.settings.mss

        self.sizes: list[int] = []  # of all segments of the messages asked so far
        self.message_of: list[int] = []
        self.last_of: dict[int, int] = {}  # by message, its last segment
        self.una = self.nxt = 0
        self.board: dict[int, Segment] = {}  # the segments of [una, nxt)

        self.state = OPEN
        self.cwnds = [run.settings.initial_window * self.mss]  # the windows there were, each unlike the one before
        self.ssthresh = 2**62
        self.recover = 0
        self.limited = False
        self.says_reduced = False
        self.next_ns = 0
        self.last_sent_ns: int | None = None

        self.srtt: int | None = None
        self.rttvar = 0

    @property
    def cwnd(self) -> int:
        """The congestion window."""
        return self.cwnds[-1]

    @cwnd.setter
    def cwnd(self, value: int) -> None:
        if value != self.cwnds[-1]:
            self.cwnds.append(value)

    # Messages.

    def ask(self, row: int, size: int, now_ns: int) -> None:
        """A message is to be sent after those asked before."""
        while size > 0:
            self.sizes.append(min(size, self.mss))
            self.message_of.append(row)
            size -= self.sizes[-1]
        self.last_of[row] = len(self.sizes) - 1

    def is_open(self) -> bool:
        """Whether this end may send data."""
        handshake = self.run.handshakes[self.half // 2]
        return handshake.open[self.half] and not handshake.failed

    # The scoreboard.

    def segments(self) -> list[Segment]:
        """Those of [una, nxt), in order."""
        return [self.board[number] for number in range(self.una, self.nxt)]

    def pipe(self) -> int:
        """Bytes thought to be in the network (RFC 6675, SetPipe)."""
        pipe = 0
        for segment in self.segments():
            if not segment.sacked and not segment.lost:
                pipe += segment.size
            if segment.retransmitted and (not segment.sacked or self.settings.rules == "ns-3"):
                pipe += segment.size
        return pipe

    def flight(self) -> int:
        """Bytes of [una, nxt)."""
        return sum(segment.size for segment in self.segments())

    def highest_sacked(self) -> int:
        """The highest sacked segment, -1 if there is none."""
        return max((segment.number for segment in self.segments() if segment.sacked), default=-1)

    def take(self, said: Carried, now_ns: int) -> Taken:
        """Note what an acknowledgement says; what it delivers is no longer in flight."""
        assert self.una <= said.number <= self.nxt
        taken = Taken(self.una)
        for number in range(self.una, said.number):
            segment = self.board.pop(number)
            taken.acked += segment.size
            taken.passed.append(segment)
            if not segment.sacked:
                taken.newly.append(segment)
        self.una = said.number
        sacked = {number for begin, end in said.blocks for number in range(begin, end)}
        for segment in self.segments():
            if segment.number in sacked and not segment.sacked:
                segment.sacked = True
                taken.sacks = True
                taken.newly.append(segment)
        taken.delivered = sum(segment.size for segment in taken.newly)
        probed = [segment for segment in taken.passed if segment not in taken.newly]  # again, though sacked
        for segment in sorted([*probed, *taken.newly], key=lambda segment: segment.number):
            if segment.counted:
                segment.counted = False
                self.run.spoke(segment.packet)
                self.run.release(segment.packet, now_ns, said)
        return taken

    def lose(self, segment: Segment, now_ns: int) -> None:
        """A segment becomes lost."""
        segment.lost = True
        if segment.counted:
            segment.counted = False
            self.run.release(segment.packet, now_ns, None)

    def lose_below_sacked(self, now_ns: int) -> int:
        """Three sacked segments above one say that it is lost; how many are found so."""
        found = 0
        for segment in self.segments():
            above = sum(other.sacked for other in self.segments() if other.number > segment.number)
            if not segment.sacked and not segment.lost and above >= 3:
                self.lose(segment, now_ns)
                found += 1
        return found

    # What may be sent.

    def lowest_lost(self) -> int | None:
        """Rule 1."""
        for segment in self.segments():
            if segment.lost and not segment.retransmitted and not segment.sacked:
                return segment.number
        return None

    def lowest_new(self) -> int | None:
        """Rule 2."""
        if self.nxt < len(self.sizes) and self.flight() + self.sizes[self.nxt] <= self.settings.receive_window:
            return self.nxt
        return None

    def lowest_rescued(self) -> int | None:
        """Rule 3."""
        for segment in self.segments():
            if self.settings.rules == "rfc" and segment.number > self.highest_sacked():
                return None
            if not segment.sacked and not segment.retransmitted:
                return segment.number
        return None

    def candidate(self) -> int | None:
        """What would be sent next."""
        for rule in (self.lowest_lost, self.lowest_new):
            number = rule()
            if number is not None:
                return number
        return self.lowest_rescued() if self.state == RECOVERY else None

    def burst(self) -> int:
        """How many segments the burst has that begins with the next new one."""
        if self.settings.tso == 0 or self.settings.rules == "ns-3":
            return 1
        left = self.last_of[self.message_of[self.nxt]] + 1 - self.nxt
        return min(max(1, self.settings.tso // self.mss), left)

    def fits(self, number: int) -> bool:
        """Whether the window lets a segment go."""
        room = self.cwnd - self.pipe()
        if self.sizes[number] > room:
            return False
        if number == self.nxt and self.pipe() > 0:
            return sum(self.sizes[number : number + self.burst()]) <= room
        return True

    def send(self, now_ns: int, forced: bool = False) -> None:
        """Send what may be sent; the first whatever the window and the pace, if it is `forced`."""
        if not self.is_open():
            return
        self.run.stop_timer(self.half, PACE)
        self.limited = False
        while True:
            number = self.candidate()
            if number is None:
                return
            if not forced and not self.fits(number):
                self.limited = True
                return
            if not forced and self.paced() and self.next_ns > now_ns:
                self.run.set_timer(self.half, PACE, self.next_ns)
                return
            if number < self.nxt:
                self.transmit(number, now_ns)
                assert forced or self.pipe() <= self.cwnd
                forced = False
                continue
            assert not forced, "it is a lost segment that goes whatever the window"
            first = None
            for _ in range(self.burst()):
                if first is not None and (self.lowest_new() is None or self.sizes[self.nxt] > self.cwnd - self.pipe()):
                    break
                packet = self.transmit(self.nxt, now_ns, first)
                assert self.pipe() <= self.cwnd
                first = packet if first is None else first

    def paced(self) -> bool:
        """Whether segments wait for the pace."""
        return self.settings.pacing and self.settings.rules == "rfc" and self.srtt is not None

    def transmit(self, number: int, now_ns: int, follows: int | None = None) -> int:
        """Send a segment, new or again."""
        says_reduced = False
        if number == self.nxt:
            self.board[number] = Segment(number, self.sizes[number])
            self.nxt += 1
            says_reduced, self.says_reduced = self.says_reduced, False
        segment = self.board[number]
        if segment.times > 0:
            segment.retransmitted = True
            segment.samples = False
            self.counts.retransmissions += 1
            if segment.counted:
                segment.counted = False
                self.run.release(segment.packet, now_ns, None)
        self.counts.data += 1
        said = Carried("data", self.half, number, says_reduced)
        segment.packet = self.run.hand_down(self.half, said, self.settings.header + segment.size, now_ns, follows)
        segment.counted = True
        segment.times += 1
        segment.sent_ns = now_ns
        self.last_sent_ns = now_ns
        if self.paced():
            assert self.srtt is not None
            begin_ns = max(now_ns, self.next_ns)
            if self.cwnd < self.ssthresh:
                self.next_ns = begin_ns + segment.size * self.srtt // (self.cwnd * 2)
            else:
                self.next_ns = begin_ns + segment.size * self.srtt * 5 // (self.cwnd * 6)
        self.sent(segment, now_ns)
        return segment.packet

    def give_up(self, now_ns: int) -> None:
        """The connection fails: nothing is in flight any more."""
        for segment in self.segments():
            self.lose(segment, now_ns)

    # What the rules fill in.

    def acknowledged(self, said: Carried, now_ns: int) -> None:
        """An acknowledgement comes; what may then be sent is sent by the caller."""
        raise NotImplementedError

    def sample(self, round_trip_ns: int, now_ns: int) -> None:
        """A round trip was measured."""
        raise NotImplementedError

    def greeted(self, round_trip_ns: int) -> None:
        """The initiator has measured the handshake."""

    def sent(self, segment: Segment, now_ns: int) -> None:
        """A segment was sent."""
        raise NotImplementedError

    def timeout(self, now_ns: int) -> None:
        """The retransmission timer fires."""
        raise NotImplementedError

    def reorder_timer(self, now_ns: int) -> None:
        """RACK's timer fires."""
        raise NotImplementedError

    def probe_timer(self, now_ns: int) -> None:
        """TLP's timer fires."""
        raise NotImplementedError
