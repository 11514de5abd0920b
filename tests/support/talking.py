"""Applications that talk over a small TCP, and what a capture point between them sees: captures of known vectors.

The TCP has what matters for telling applications from networks: slow start, delayed acknowledgements, selective
recovery, tail loss probes and retransmission timeouts (200 ms at least). Packets are lost before or behind the capture
point, in proportion to its place.
"""

from __future__ import annotations

import heapq
import itertools
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MS = 1_000_000
MSS = 1448
BYTE_NS = 8  # at 1 Gbit/s


@dataclass(frozen=True)
class Turn:
    """Side 0 or 1 sends `size` bytes `think_ns` after it has all that the other side sent before.

    After a turn of its own it sends `think_ns` after it wrote that.
    """

    side: int
    size: int
    think_ns: int


@dataclass(frozen=True)
class Way:
    """A network: its round trip, its loss, where between side 0 (0.0) and side 1 (1.0) packets are captured."""

    rtt_ns: int = 1 * MS
    loss: float = 0.0
    vantage: float = 0.0
    seed: int = 1
    delayed_ack_ns: int = 40 * MS
    pushes: bool = True


@dataclass(frozen=True)
class Seen:
    """A packet that passed the capture point."""

    time_ns: int
    connection: int
    side: int
    seq: int
    ack: int
    flags: int
    payload: int
    window: int = 500
    ip_id: int = 0


class Loop:
    """Events in order of time."""

    def __init__(self) -> None:
        self.now = 0
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, time_ns: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time_ns, next(self._count), what))

    def run(self) -> None:
        while self._events:
            self.now, _, what = heapq.heappop(self._events)
            what()


@dataclass
class Piece:
    """A segment in flight."""

    begin: int
    end: int
    flags: int
    sent_ns: int
    sacked: bool = False
    lost: bool = False


@dataclass
class Host:
    """One end of a connection. Offsets count from its initial sequence number, which its SYN takes."""

    talk: Connection
    side: int
    origin: int
    next: int = 0
    una: int = 0
    queue: list[int] = field(default_factory=list)  # ends of messages that are not yet sent whole
    written: int = 1
    flight: list[Piece] = field(default_factory=list)
    cwnd: int = 10
    recovers: int = 0
    backoff: int = 0
    timer: int = 0
    probed: bool = False
    got: int = 0  # in order
    early: list[tuple[int, int]] = field(default_factory=list)
    owed: int = 0
    owed_since: int = 0
    open: bool = False
    fin: bool = False
    ids: int = 0

    def send(self, begin: int, end: int, flags: int, sacks: tuple[tuple[int, int], ...] = ()) -> None:
        self.owed, self.owed_since = 0, self.owed_since + 1
        if self.got or self.side == 1:
            flags |= ACK
        self.talk.carry(self.side, begin, end, flags, self.got, sacks or tuple(self.early))

    def open_up(self) -> None:
        piece = Piece(0, 1, SYN, self.talk.loop.now)
        self.next = 1
        self.flight.append(piece)
        self.send(0, 1, SYN)
        self.arm()

    def write(self, size: int) -> None:
        self.written += size
        self.queue.append(self.written)
        self.push()

    def close(self) -> None:
        self.fin = True
        self.push()

    def push(self) -> None:
        """Send what the window allows, lost pieces first."""
        now = self.talk.loop.now
        for piece in self.flight:
            if piece.lost and self.in_flight() < self.cwnd:
                piece.lost, piece.sent_ns = False, now
                self.send(piece.begin, piece.end, piece.flags)
        while self.open and self.queue and self.in_flight() < self.cwnd:
            end = min(self.next + MSS, self.queue[0])
            flags = PSH if end == self.queue[0] and self.talk.way.pushes else 0
            if end == self.queue[0]:
                self.queue.pop(0)
            self.flight.append(Piece(self.next, end, flags, now))
            self.send(self.next, end, flags)
            self.next = end
            self.arm()
        if self.fin and self.open and not self.queue and self.next == self.written:
            self.flight.append(Piece(self.next, self.next + 1, FIN, now))
            self.send(self.next, self.next + 1, FIN)
            self.next += 1
            self.arm()

    def in_flight(self) -> int:
        return sum(not (piece.sacked or piece.lost) for piece in self.flight)

    def arm(self) -> None:
        """A probe after two round trips, a timeout later (RFC 8985, RFC 6298)."""
        self.timer += 1
        if not self.flight:
            return
        rtt = self.talk.way.rtt_ns
        number = self.timer
        after = (200 * MS + rtt << self.backoff) if self.open else 1000 * MS << self.backoff
        if self.open and not self.probed and not self.backoff:
            probe = 2 * rtt + (200 * MS if len(self.flight) == 1 else 2 * MS)
            after = min(after, probe)
        self.talk.loop.at(self.talk.loop.now + after, lambda: self.expire(number))

    def expire(self, number: int) -> None:
        if number != self.timer or not self.flight:
            return
        last = self.flight[-1]
        if self.open and len(self.flight) > 1 and not self.probed and not self.backoff:
            self.probed = True
            last.sent_ns, last.lost = self.talk.loop.now, False
            self.send(last.begin, last.end, last.flags)
        else:
            self.backoff += 1
            self.cwnd = 1
            for piece in self.flight:
                piece.lost = not piece.sacked
            self.push()
        self.arm()

    def receive(
        self, begin: int, end: int, flags: int, ack: int, sacks: tuple[tuple[int, int], ...], sent_ns: int
    ) -> None:
        if flags & ACK:
            self.acknowledged(ack, sacks, sent_ns)
        if end > begin:
            old, early = end <= self.got, begin > self.got
            if end > self.got:
                self.early.append((begin, end))
                self.early.sort()
            while self.early and self.early[0][0] <= self.got:
                self.got = max(self.got, self.early.pop(0)[1])
            self.owed += 1
            if not self.open and flags & SYN:
                if self.side == 1:
                    if not self.flight:
                        self.open_up()
                    else:
                        self.send(0, 1, SYN)
                else:
                    self.open = True
                    self.send(self.next, self.next, 0)
                    self.talk.opened()
            elif old or early or self.early or self.owed >= 2 or flags & FIN:
                self.send(self.next, self.next, 0)
            else:
                since = self.owed_since
                self.talk.loop.at(self.talk.loop.now + self.talk.way.delayed_ack_ns, lambda: self.owe(since))
            self.talk.delivered(self.side, self.got - 1)
        self.push()

    def owe(self, since: int) -> None:
        if since == self.owed_since and self.owed:
            self.send(self.next, self.next, 0)

    def acknowledged(self, ack: int, sacks: tuple[tuple[int, int], ...], sent_ns: int) -> None:
        before = len(self.flight)
        if ack > self.una:
            self.una = ack
            self.flight = [piece for piece in self.flight if piece.end > ack]
            self.cwnd += (before - len(self.flight)) if ack > self.recovers else 0
            self.backoff, self.probed = 0, False
            if self.side == 1 and not self.open:
                self.open = True
            self.arm()
        for piece in self.flight:
            piece.sacked = piece.sacked or any(b <= piece.begin and piece.end <= e for b, e in sacks)
        # A piece is lost when one behind it, which was not sent before it, has arrived (RFC 8985).
        latest_ns = max((piece.sent_ns for piece in self.flight if piece.sacked), default=-1)
        highest = max((end for _, end in sacks), default=0)
        for piece in self.flight:
            if not (piece.sacked or piece.lost) and piece.begin < highest and piece.sent_ns <= latest_ns:
                piece.lost = True
                if ack >= self.recovers:
                    self.recovers, self.cwnd = self.next, max(2, self.cwnd // 2)


class Connection:
    """Two hosts, the way between them and the script of their applications."""

    def __init__(
        self, loop: Loop, way: Way, number: int, script: Sequence[Turn], start_ns: int, seen: list[Seen]
    ) -> None:
        self.loop, self.way, self.number, self.script, self.seen = loop, way, number, list(script), seen
        self.draws = random.Random(f"{way.seed} {number}")
        self.hosts = [Host(self, side, (0xFFFF_F000, 77_000)[side] + number) for side in (0, 1)]
        self.free_ns = [0, 0]
        self.step, self.ready, self.thinks = 0, False, False
        self.had, self.due = [0, 0], [0, 0]
        loop.at(start_ns, self.hosts[0].open_up)

    def carry(self, side: int, begin: int, end: int, flags: int, ack: int, sacks: tuple[tuple[int, int], ...]) -> None:
        """A packet from one host to the other, past the capture point."""
        payload = end - begin - bool(flags & SYN) - bool(flags & FIN)
        host, peer = self.hosts[side], self.hosts[1 - side]
        host.ids += 1
        left_ns = max(self.loop.now, self.free_ns[side])
        self.free_ns[side] = left_ns + (payload + 66) * BYTE_NS
        near = self.way.vantage if side == 0 else 1 - self.way.vantage
        lost, first = self.draws.random() < self.way.loss, self.draws.random() < near
        if not (lost and first):
            captured_ns = left_ns + round(near * self.way.rtt_ns / 2)
            numbers = (host.origin + begin) % 2**32, (peer.origin + ack) % 2**32 if flags & ACK else 0
            self.seen.append(Seen(captured_ns, self.number, side, *numbers, flags, payload, 500, host.ids))
        if not lost:
            sent_ns = self.loop.now
            self.loop.at(left_ns + self.way.rtt_ns // 2, lambda: peer.receive(begin, end, flags, ack, sacks, sent_ns))

    def opened(self) -> None:
        self.ready = True
        self.advance()

    def delivered(self, side: int, count: int) -> None:
        self.had[side] = count
        self.advance()

    def advance(self) -> None:
        """Let the application whose turn it is think, once it has what it waits for."""
        if self.thinks or not self.ready or self.step == len(self.script):
            return
        turn = self.script[self.step]
        own = self.step > 0 and self.script[self.step - 1].side == turn.side
        if own or self.had[turn.side] >= self.due[1 - turn.side]:
            self.thinks = True
            self.loop.at(self.loop.now + turn.think_ns, lambda: self.speak(turn))

    def speak(self, turn: Turn) -> None:
        self.thinks, self.step = False, self.step + 1
        self.due[turn.side] += turn.size
        self.hosts[turn.side].write(turn.size)
        if self.step == len(self.script):
            self.hosts[turn.side].close()
        self.advance()


def talk(scripts: Sequence[Sequence[Turn]], way: Way, apart_ns: int = 3 * MS) -> list[Seen]:
    """What is captured of connections with these scripts, each begun so long after the one before."""
    loop, seen = Loop(), list[Seen]()
    for number, script in enumerate(scripts):
        Connection(loop, way, number, script, number * apart_ns, seen)
    loop.run()
    return sorted(seen, key=lambda packet: packet.time_ns)


def pcap_of(seen: Sequence[Seen], first_ns: int = 10**18) -> bytes:
    """A pcap of the headers; hosts are 10.0.0.1 and 10.0.1.1, ports count connections."""
    out = [struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 54, 1)]
    for packet in seen:
        ends = bytes([10, 0, 0, 1]), bytes([10, 0, 1, 1])
        ports = 10_000 + packet.connection, 80
        turned = packet.side == 1
        source, target = ends[::-1] if turned else ends
        length = 40 + packet.payload
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, length, packet.ip_id % 65536, 0x4000, 64, 6, 0, source, target)
        tcp = struct.pack(
            ">HHIIBBHHH", *(ports[::-1] if turned else ports), packet.seq, packet.ack, 0x50, packet.flags,
            packet.window, 0, 0,
        )  # fmt: skip
        frame = bytes(12) + b"\x08\x00" + ip + tcp
        time_ns = first_ns + packet.time_ns
        out.append(struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, 54, 14 + length) + frame)
    return b"".join(out)
