"""The messages of a TCP connection, told from everything that was seen of it so far, again at each packet.

Written from docs/workloads.md, "From a trace".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MS = 1_000_000
FAR = 2**30


@dataclass(frozen=True)
class Packet:
    """A packet of a connection; numbers are None where they were not captured."""

    time_ns: int
    side: int
    seq: int | None
    ack: int | None
    flags: int | None
    payload: int
    window: int = 500
    ip_id: int = 0


@dataclass
class Message:
    """Bytes of one side. `after` is the message that it answers; `start_ns` is of those that answer none."""

    side: int
    size: int
    start_ns: int
    after: Message | None
    think_ns: int
    alone: bool = True  # begins a message also if the other direction is not looked at


@dataclass
class Sent:
    """Data of a side as it passed by."""

    time_ns: int
    end: int
    new: bool
    pushed: bool = False
    payload: int = 0
    unseen: bool = False  # it was not captured, but acknowledged
    counts: bool = False  # a repeat that the peer may have waited for


@dataclass
class Side:
    """All that was seen of one direction; sequence numbers are unwrapped."""

    base: int | None = None
    syn_ns: int | None = None
    sent: list[Sent] = field(default_factory=list)
    acks: list[tuple[int, int, int]] = field(default_factory=list)  # by the peer: time, number, what was sent then
    shut: bool = False  # the peer's window is 0
    open_ns: int | None = None  # when it last opened again
    fin: bool = False
    pushes: bool = False
    messages: list[Message] = field(default_factory=list)
    seen: list[Packet] = field(default_factory=list)

    def skips(self, p: Packet) -> bool:
        """Whether packets of this side are missing before this one, by its IP identification; it is noted."""
        steps = [
            (b.ip_id - a.ip_id) % 2**16
            for a, b in pairwise([*self.seen, p])
            if not (a.flags or 0) & SYN and a.payload <= 1460
        ]
        here = bool(self.seen) and not (self.seen[-1].flags or 0) & SYN and self.seen[-1].payload <= 1460
        self.seen.append(p)
        before = steps[:-1]
        in_turn, out_of_turn = before.count(1), sum(step > 1 for step in before)
        return here and steps[-1] in (2, 3, 4) and in_turn >= 2 and 8 * out_of_turn <= in_turn

    @property
    def next(self) -> int:
        assert self.base is not None
        return max([self.base, *(sent.end for sent in self.sent)])

    def acked(self) -> int:
        assert self.base is not None
        return max([self.base, *(min(number, then) for _, number, then in self.acks)])

    def last(self) -> int:
        """The place of the last new data in what was sent."""
        return max(n for n, sent in enumerate(self.sent) if sent.new)

    def sent_ns(self) -> int:
        """When data was last seen; a time is of the last new data, or of what came after it."""
        return max(sent.time_ns for sent in self.sent[self.last() :])

    def all_acked_ns(self) -> int | None:
        """When all data was first acknowledged."""
        if not self.messages:
            return None
        covering = [time_ns for time_ns, number, then in self.acks if number >= self.next and then == self.next]
        return covering[0] if covering else None

    def arrival_ns(self, path_ns: int) -> int | None:
        """When that passed by with which the peer had all data so far, or its SYN."""
        if not self.messages:
            return self.syn_ns
        last = self.last()
        found = self.sent[last].time_ns
        acked_ns = self.all_acked_ns()
        if acked_ns is None:
            return found
        repeats = [sent for sent in self.sent[last + 1 :] if sent.counts]
        whole = [sent.time_ns for sent in repeats if sent.end == self.next]
        parts = [sent.time_ns for sent in repeats if sent.end < self.next]
        for times_ns in (whole[-1:], parts[-2:]):
            in_time = [time_ns for time_ns in times_ns if time_ns + path_ns - path_ns // 8 <= acked_ns]
            found = max([found, *in_time[-1:]])
        return found


def near(number: int, reference: int) -> int:
    ahead = (number - reference) % 2**32
    return reference + (ahead if ahead < 2**31 else ahead - 2**32)


class Talk:
    """A connection; `path_ns` by side is from the capture point to who receives that side's data, and back."""

    def __init__(self, path_ns: tuple[int, int]) -> None:
        self.path_ns = path_ns
        self.sides = (Side(), Side())
        self.opened_ns: int | None = None
        self.shift_ns = 0
        self.talker: int | None = None
        self.crossing = False
        self.fault: str | None = None

    def see(self, p: Packet) -> None:
        if p.seq is None or p.ack is None or p.flags is None:
            self.fault = "cut"
            return
        if p.flags & RST:
            return
        me, peer = self.sides[p.side], self.sides[1 - p.side]
        seq = p.seq
        if p.flags & SYN:
            if me.messages:
                return
            seq = (seq + 1) % 2**32
            me.base, me.sent, me.acks, me.syn_ns = seq, [], [], p.time_ns
            if not p.flags & ACK and self.opened_ns is None:
                self.opened_ns = p.time_ns
        elif me.base is None:
            me.base = seq
        begin = near(seq, me.next)
        if abs(begin - me.next) >= FAR:
            self.fault = "jump"
            return
        lost = me.skips(p) and begin == me.next
        late = lost and bool(peer.messages) and peer.all_acked_ns() is not None
        if p.flags & ACK:
            if lost and p.payload == 0:
                for sent in peer.sent:
                    sent.counts = sent.counts and sent.end < peer.next
            self.acknowledge(p, peer)
        me.fin = me.fin or bool(p.flags & FIN)
        if p.payload == 0:
            return
        end = begin + p.payload
        if end > me.next:
            if p.flags & ACK and peer.messages and near(p.ack, peer.next) < peer.next:
                self.crossing = True
            self.say(p.side, end, p.time_ns, bool(p.flags & PSH), p.payload, lost, late)
            me.pushes = me.pushes or bool(p.flags & PSH)
        elif me.messages and (p.payload > 1 or end < me.next):
            probe = end == me.next and p.time_ns - me.sent_ns() < 100 * MS
            me.sent.append(Sent(p.time_ns, end, False, counts=end > me.acked() and not probe))

    def acknowledge(self, p: Packet, peer: Side) -> None:
        assert p.ack is not None
        assert p.flags is not None
        if peer.base is None:
            peer.base = p.ack
        elif abs(near(p.ack, peer.next) - peer.next) < FAR:
            number = near(p.ack, peer.next)
            if number > peer.next + 1:
                path_ns = self.path_ns[1 - p.side]
                self.say(1 - p.side, number - peer.fin, p.time_ns - path_ns, False, 0, False, False)
            peer.acks.append((p.time_ns, number, peer.next))
        if p.window == 0 and not p.flags & SYN:
            peer.shut = True
        elif peer.shut:
            peer.shut, peer.open_ns = False, p.time_ns

    def quiet(self, side: int, now: int, pushed: bool) -> bool:
        """Whether this side could have sent long before, and had nothing to send."""
        me, path_ns = self.sides[side], self.path_ns[1 - side]
        acked_ns = me.all_acked_ns()
        if not me.messages or acked_ns is None or me.shut:
            return False
        fresh = [sent for sent in me.sent if sent.new]
        largest = max((sent.payload for sent in fresh[:-1]), default=0)
        ended = fresh[-1].pushed or fresh[-1].payload < largest or fresh[-1].unseen
        if not ended and (me.pushes or pushed):
            return False
        opened_ns = acked_ns if me.open_ns is None else me.open_ns
        since_ns = me.sent_ns() if me.open_ns is None else max(me.sent_ns(), me.open_ns)
        return now - since_ns >= 100 * MS and now - max(acked_ns, opened_ns) - path_ns >= MS + path_ns // 4

    def say(self, side: int, end: int, now: int, pushed: bool, payload: int, again: bool, late: bool) -> None:
        """New data of a side, up to `end`; `again` and `late`: it, or the answer that it is, was lost before."""
        me, peer = self.sides[side], self.sides[1 - side]
        quiet = self.quiet(side, now, pushed) and not again
        turns = not self.crossing and self.talker != side
        if not me.messages or quiet or turns:
            had_ns = peer.arrival_ns(self.path_ns[1 - side])
            think_ns = 0 if had_ns is None else max(0, now - had_ns - self.path_ns[1 - side])
            if late and think_ns >= 200 * MS + sum(self.path_ns):
                think_ns -= 200 * MS + sum(self.path_ns)
            if self.talker is None and self.opened_ns is not None:
                self.shift_ns = max(0, now - self.opened_ns - think_ns)
            after = peer.messages[-1] if peer.messages else None
            alone = quiet or not me.messages
            me.messages.append(Message(side, 0, now - self.shift_ns, after, think_ns if after else 0, alone))
            self.talker = side
        me.messages[-1].size += end - me.next
        me.sent.append(Sent(now, end, True, pushed, payload, unseen=payload == 0))


def exchange(packets: Sequence[Packet], path_ns: tuple[int, int]) -> list[list[Message]] | None:
    """The messages of both sides; of two streams if data crosses. None if they cannot be told."""
    talk = Talk(path_ns)
    for packet in packets:
        talk.see(packet)
        if talk.fault:
            return None
    if not talk.crossing:
        return [side.messages for side in talk.sides]
    streams: list[list[Message]] = []
    for side in talk.sides:
        stream: list[Message] = []
        for message in side.messages:
            if message.alone:
                stream.append(Message(message.side, message.size, message.start_ns, None, 0))
            else:
                stream[-1].size += message.size
        streams.append(stream)
    return streams
