"""How a sender by the RFCs repairs losses: no faster than data are delivered, and back if there were none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.twins.tcp_sender import OPEN

if TYPE_CHECKING:
    from tests.twins.tcp_rfc import RfcSender


class Reduction:
    """Proportional rate reduction, from the begin of RECOVERY to its end."""

    def __init__(self, sender: RfcSender, delivered: int) -> None:
        self.sender = sender
        self.flight = delivered + sum(segment.size for segment in sender.segments() if not segment.sacked)
        self.delivered: list[int] = []  # at each event
        self.sent: list[int] = []  # sizes

    def window(self, delivered: int, safe: bool) -> int:
        """The window after an event that delivered so much."""
        self.delivered.append(delivered)
        got, out = sum(self.delivered), sum(self.sent)
        pipe, target = self.sender.pipe(), self.sender.ssthresh
        if pipe > target:
            room = -(-got * target // self.flight) - out
        else:
            room = min(max(got - out, delivered) + (self.sender.mss if safe else 0), target - pipe)
        if not self.sent or pipe == 0:
            room = max(room, self.sender.mss)
        return pipe + max(room, 0)


class Episode:
    """What a sender was before it began to repair losses, and how much of what it repeated is known to be needless."""

    def __init__(self, sender: RfcSender) -> None:
        self.sender = sender
        self.cwnd, self.ssthresh = sender.cwnd, sender.ssthresh
        self.control = sender.control.memory()
        self.first = sender.una
        self.repeated = sum(segment.retransmitted and not segment.sacked for segment in sender.segments())
        self.needless = 0

    def told(self, number: int) -> None:
        """A D-SACK names a segment."""
        if number < self.first or self.needless == self.repeated:
            return
        self.needless += 1
        if self.needless == self.repeated:
            self.undo()

    def undo(self) -> None:
        """Nothing was lost."""
        sender = self.sender
        for segment in sender.segments():
            segment.lost = False
        sender.state = OPEN
        if sender.cwnd < self.cwnd:
            sender.cwnd = self.cwnd
            sender.control.remember(self.control)
        sender.ssthresh = max(sender.ssthresh, self.ssthresh)
        sender.counts.undone += 1
        sender.episode = None
