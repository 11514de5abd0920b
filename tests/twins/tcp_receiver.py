"""The receiver of a half: what it has, what it says of that, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.twins.tcp_settings import Carried

if TYPE_CHECKING:
    from tests.twins.transport import Transport

DELAYED_ACK = 1


class Receiver:
    """The end at which the data of half `half` arrive."""

    def __init__(self, run: Transport, half: int) -> None:
        self.run = run
        self.half = half
        self.settings = run.settings
        self.next = 0
        self.above: set[int] = set()
        self.blocks: list[tuple[int, int]] = []  # most recently changed first
        self.waiting = 0  # segments that came since the last acknowledgement
        self.ce = False
        self.highest_marked = -1
        self.last: int | None = None  # the packet of the data segment that came last

    def has(self, number: int) -> bool:
        """Whether it has got a segment."""
        return number < self.next or number in self.above

    def arrive(self, packet: int, now_ns: int) -> None:
        """A data segment."""
        segment = self.run.carried[packet]
        self.congestion_experienced(packet, segment, now_ns)
        self.last = packet
        number = segment.number
        duplicate = self.has(number)
        at_once = duplicate or number != self.next or bool(self.above) or self.settings.rules == "ns-3"
        at_once = at_once or number < self.settings.quick_acks
        if duplicate:
            self.run.counts[self.half].needless += 1
        elif number == self.next:
            self.next += 1
            while self.next in self.above:
                self.above.remove(self.next)
                self.next += 1
            self.blocks = [block for block in self.blocks if block[1] > self.next]
        else:
            self.above.add(number)
            self.note_run(number)
        self.waiting += 1
        self.run.delivered_up_to(self.half, self.next, now_ns)
        if at_once or self.waiting >= self.settings.ack_every:
            repeated = number if duplicate and self.settings.receiver == "rack" else None
            self.acknowledge(now_ns, repeated)
            in_place = not duplicate and number + 1 == self.next
            if self.settings.rules == "ns-3" and in_place and self.run.all_sent(self.half) == self.next:
                self.acknowledge(now_ns)
        elif not self.run.timer_runs(self.half, DELAYED_ACK):
            self.run.set_timer(self.half, DELAYED_ACK, now_ns + self.settings.ack_delay_ns)

    def note_run(self, number: int) -> None:
        """The run around a segment goes to the front."""
        begin, end = number, number + 1
        while begin - 1 in self.above:
            begin -= 1
        while end in self.above:
            end += 1
        others = [block for block in self.blocks if not (begin <= block[0] and block[1] <= end)]
        self.blocks = [(begin, end), *others][:4]

    def congestion_experienced(self, packet: int, segment: Carried, now_ns: int) -> None:
        """What the mark of a data segment does to `ce`, before the segment itself counts."""
        marked = self.run.marked[packet]
        if not self.settings.uses_ecn:
            return
        if self.settings.control != "dctcp":
            self.ce = marked or (self.ce and not segment.reduced)
        elif self.settings.rules == "ns-3":
            self.ce = marked and segment.number > self.highest_marked
            if marked:
                self.highest_marked = max(self.highest_marked, segment.number)
        else:
            if marked != self.ce and self.waiting > 0:
                self.acknowledge(now_ns, None)
            self.ce = marked

    def acknowledge(self, now_ns: int, repeated: int | None = None) -> None:
        """Send an acknowledgement."""
        self.run.stop_timer(self.half, DELAYED_ACK)
        self.waiting = 0
        blocks = tuple(self.blocks if repeated is None else self.blocks[:3])
        self.run.counts[self.half].marks += self.ce
        said = Carried("ack", self.half, self.next, False, blocks, self.ce, self.last, repeated)
        self.run.send_acknowledgement(said, now_ns)
