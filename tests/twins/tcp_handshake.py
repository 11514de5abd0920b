"""How a connection opens: SYN, SYN/ACK and their two timers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.twins.tcp_settings import Carried

if TYPE_CHECKING:
    from tests.twins.transport import Transport

TIMER = 0  # of its kinds


class Handshake:
    """A connection; `opened` is the half whose end the present event opened."""

    def __init__(self, run: Transport, connection: int) -> None:
        self.run = run
        self.halves = 2 * connection, 2 * connection + 1
        self.begun = self.failed = False
        self.open = dict.fromkeys(self.halves, False)
        self.opened: int | None = None
        self.sent_at: dict[int, list[int]] = {half: [] for half in self.halves}  # times of SYN, of SYN/ACK
        self.fired = dict.fromkeys(self.halves, 0)

    def begin(self, now_ns: int) -> None:
        """The first message is asked."""
        if not self.begun:
            self.begun = True
            self.transmit(self.halves[0], now_ns)
            self.wait(self.halves[0], now_ns)

    def wait(self, half: int, now_ns: int) -> None:
        """Set the timer of an end that opens."""
        settings = self.run.settings
        self.run.set_timer(
            half, TIMER, now_ns + min(settings.initial_rto_ns * 2 ** self.fired[half], settings.max_rto_ns)
        )

    def transmit(self, half: int, now_ns: int) -> None:
        """Send a SYN or SYN/ACK, perhaps again."""
        said = Carried("syn" if half == self.halves[0] else "syn-ack", half, 0)
        self.sent_at[half].append(now_ns)
        self.run.hand_down(half, said, self.run.settings.header + 8, now_ns)

    def fire(self, half: int, now_ns: int) -> None:
        """Nothing answered in time."""
        settings = self.run.settings
        if half == self.halves[0] and self.fired[half] == settings.syn_retries:
            self.run.fail(half // 2, now_ns)
            return
        self.fired[half] += 1
        self.transmit(half, now_ns)
        if half == self.halves[0] or self.fired[half] < settings.syn_retries:
            self.wait(half, now_ns)

    def answered(self, half: int, now_ns: int) -> None:
        """Something came that answers what an end sent last."""
        if not self.open[half]:
            self.open[half] = True
            self.opened = half
            self.run.stop_timer(half, TIMER)
            if len(self.sent_at[half]) == 1:
                self.run.senders[half].sample(now_ns - self.sent_at[half][0], now_ns)
                if half == self.halves[0]:
                    self.run.senders[half].greeted(now_ns - self.sent_at[half][0])

    def arrive(self, said: Carried, now_ns: int) -> None:
        """A packet of the connection, of whatever kind."""
        initiator, responder = self.halves
        if said.kind == "syn":
            first = not self.sent_at[responder]
            self.transmit(responder, now_ns)
            if first and self.run.settings.syn_retries > 0:
                self.wait(responder, now_ns)
        elif said.kind == "syn-ack":
            self.answered(initiator, now_ns)
            self.run.send_acknowledgement(Carried("ack", responder, 0), now_ns)
        elif (said.kind == "data") == (said.half == initiator):  # it comes to the responder
            self.answered(responder, now_ns)
