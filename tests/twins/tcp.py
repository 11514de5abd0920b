"""TCP as a careful reader of a capture would annotate it: all bytes seen are kept as intervals, nothing is forgotten.

Written from docs/captures.md. Sequence numbers are unwrapped to the value nearest the number they are compared with.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

FIN, SYN, RST, ACK = 1, 2, 4, 16
FAR = 2**30
GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64 - 1


@dataclass(frozen=True)
class Segment:
    """A TCP packet as captured; `mss` 0 if it announces none. `to` is the five-tuple of the other direction."""

    time_ns: int
    flow: Hashable
    to: Hashable
    seq: int
    ack: int
    flags: int
    window: int
    payload: int
    ip_bytes: int = 0
    mss: int = 0


class Intervals:
    """A set of whole numbers, as disjoint intervals that do not touch."""

    def __init__(self) -> None:
        self.begins: list[float] = []
        self.ends: list[float] = []

    def add(self, begin: float, end: float) -> None:
        if begin >= end:
            return
        low, high = bisect_left(self.ends, begin), bisect_right(self.begins, end)
        if low < high:
            begin, end = min(begin, self.begins[low]), max(end, self.ends[high - 1])
        self.begins[low:high], self.ends[low:high] = [begin], [end]

    def gaps(self, begin: int, end: int) -> list[tuple[int, int]]:
        """What of [begin, end) is not in the set."""
        found, at = [], float(begin) if begin >= end else begin
        for low, high in zip(self.begins[(n := bisect_right(self.ends, begin)) :], self.ends[n:], strict=True):
            if low >= end:
                break
            if low > at:
                found.append((int(at), int(low)))
            at = max(at, high)
        if at < end:
            found.append((int(at), end))
        return found


@dataclass
class Side:
    """One direction of a connection."""

    next: int | None = None
    first: int = 0
    origin: int = 0  # where the first packet began
    rises: list[tuple[int, int]] = field(default_factory=list)  # each next, and when it was reached
    known: Intervals = field(default_factory=Intervals)  # captured or acknowledged
    covered: int | None = None  # the highest acknowledgement by the peer
    forgetful: bool = False
    timed: tuple[int, int, bool] | None = None  # end, sent when, whether it is a SYN
    acked: int | None = None
    acked_ns: int = 0
    window: int = 0
    repeats: int = 0
    kept_alive: bool = False
    syn: int | None = None
    handshake: int | None = None
    mss: int = 0

    def begin_at(self, number: int, now: int, acked: int | None) -> None:
        """Know nothing but that a segment begins here, and what the peer acknowledged last."""
        self.next = self.first = self.origin = number
        self.rises, self.known, self.forgetful, self.timed = [(number, now)], Intervals(), False, None
        self.covered = None
        if acked is not None and abs(near(acked, number) - number) < FAR:
            self.cover(near(acked, number))

    def cover(self, number: int) -> None:
        self.covered = number
        self.known.add(float("-inf"), number)

    def holes(self) -> list[tuple[int, int]]:
        """The bytes between the first one known and next that are neither captured nor acknowledged."""
        return [] if self.next is None else self.known.gaps(self.first, self.next)

    def rise_of(self, byte: int) -> int:
        """The number of the rise of next that left a byte behind; those before the first packet rose with it."""
        if byte < self.origin:
            return -1
        return bisect_right(self.rises, byte, key=lambda rise: rise[0])

    def since(self, byte: int) -> int:
        return self.rises[max(self.rise_of(byte), 0)][1]

    def forget(self, most: int) -> None:
        """Keep no more holes than `most`; bytes that rises of next left behind one after the other are two."""
        parts = []
        for begin, end in self.holes():
            cuts = {r for r in (self.origin, *(r for r, _ in self.rises)) if begin < r < end}
            parts += list(pairwise([begin, *sorted(cuts), end]))
        if len(parts) > most:
            self.first, self.forgetful = parts[len(parts) - most - 1][1], True


@dataclass
class Summary:
    """What the flows table says of one direction."""

    retransmissions: int = 0
    out_of_order: int = 0
    handshake_ns: int | None = None
    samples: list[int] = field(default_factory=list)


def near(number: int, reference: int) -> int:
    """The unwrapped sequence number that looks like `number` and is nearest to `reference`, above it if two are."""
    ahead = (number - reference) % 2**32
    return reference + (ahead if ahead < 2**31 else ahead - 2**32)


def annotate(
    segments: Sequence[Segment], most_holes: int | None = None
) -> tuple[list[set[str]], dict[Hashable, Summary]]:
    """The marks of each segment, and a summary per flow; without `most_holes` no hole is forgotten."""
    notes: list[set[str]] = []
    summaries: dict[Hashable, Summary] = {}
    sides: dict[Hashable, Side] = {}
    ends: dict[frozenset[Hashable], int] = {}
    closing: dict[frozenset[Hashable], set[Hashable]] = {}
    clock: int | None = None
    for s in segments:
        summary = summaries.setdefault(s.flow, Summary())
        clock = s.time_ns if clock is None else max(clock, s.time_ns)
        pair = frozenset((s.flow, s.to))
        if pair not in ends or clock > ends[pair]:
            sides[s.flow], sides[s.to], closing[pair] = Side(), Side(), set()
        over = len(closing[pair] - {"reset"}) == 2
        if s.flags & SYN and not s.flags & RST and (sides[s.flow].syn != s.seq or over):
            if not _goes_on(sides[s.to], s):
                sides[s.to] = Side()
            sides[s.flow], closing[pair] = Side(syn=s.seq), set()
        me, peer = sides[s.flow], sides[s.to] if s.to != s.flow else Side()
        if s.flags & SYN and s.mss >= 64:
            me.mss = s.mss
        if s.flags & FIN:
            closing[pair].add(s.flow)
        if s.flags & RST:
            closing[pair].add("reset")
        if s.flags & ACK and peer.timed and near(s.ack, peer.timed[0]) >= peer.timed[0]:
            elapsed = s.time_ns - peer.timed[1]
            if elapsed >= 0:
                other = summaries[s.to]
                other.samples.append(elapsed)
                if peer.timed[2]:
                    peer.handshake = elapsed
                    if other.handshake_ns is None:
                        other.handshake_ns = elapsed
            peer.timed = None
        notes.append(_note(s, me, peer) if not s.flags & RST else set())
        if most_holes is not None:
            me.forget(most_holes)
        closed = "reset" in closing[pair] or len(closing[pair]) == 2
        only_syn = me.syn is not None and me.next == me.first + 1 and peer.next is None
        ends[pair] = clock + (240 if closed or only_syn else 7440) * 10**9
        summary.retransmissions += "retransmission" in notes[-1]
        summary.out_of_order += "out_of_order" in notes[-1]
    return notes, summaries


def _goes_on(peer: Side, s: Segment) -> bool:
    """Whether what the peer has sent belongs to the connection that this SYN is part of."""
    if s.flags & ACK:
        data = 0 if peer.next is None or peer.acked is not None else peer.next - peer.first - 1
        return peer.syn is not None and (s.ack - peer.syn - 1) % 2**32 <= data
    if peer.acked is not None:
        return peer.acked == (s.seq + 1) % 2**32
    return peer.syn is not None and peer.next == peer.first + 1


def _note(s: Segment, me: Side, peer: Side) -> set[str]:
    """The marks of one segment that is no reset; both sides learn of it."""
    found: set[str] = set()
    length = s.payload + bool(s.flags & SYN) + bool(s.flags & FIN)
    first = me.next is None
    begin = s.seq if me.next is None else near(s.seq, me.next)
    in_place = first or begin == me.next
    if me.next is None or abs(begin - me.next) >= FAR:
        if not first:
            found.add("after_gap")
        begin = s.seq
        me.begin_at(begin, s.time_ns, peer.acked)
    before = me.next
    assert before is not None
    end = begin + length
    holes = [hole for hole in me.holes() if max(hole[0], begin) < min(hole[1], end, before)]
    repeats_last = begin == before - 1 and not holes and not s.flags & (SYN | FIN)
    if repeats_last and s.payload <= 1:
        found.add("keep_alive")
    elif begin < before and length and not repeats_last:
        found.add(_again(s, me, peer, begin, min(end, before)))
    elif begin > before:
        found.add("after_gap")
    if length:
        if begin >= before:
            me.timed = me.timed or (end, s.time_ns, bool(s.flags & SYN) and first)
        elif me.timed and begin < me.timed[0]:
            me.timed = None
    if "keep_alive" not in found and length:
        me.known.add(begin, end)
        if begin < me.first and not me.forgetful:
            me.first = begin
    if end > before:
        me.next = end
        me.rises += [(r, s.time_ns) for r in (begin, end) if r > me.rises[-1][0]]
    if s.flags & ACK:
        if me.acked != s.ack:
            me.repeats = 0
        elif length == 0 and in_place and s.window == me.window and s.window and not peer.kept_alive:
            found.add("duplicate_ack")
            me.repeats += 1
        if peer.next is not None and _covers_unseen(s, me, peer, peer.next):
            found.add("ack_of_unseen")
        me.acked, me.acked_ns, me.window = s.ack, s.time_ns, s.window
    me.kept_alive = "keep_alive" in found
    largest = peer.mss or me.mss
    if s.payload and (s.payload > largest if largest else s.ip_bytes > 1500):
        found.add("super_frame")
    return found


def _covers_unseen(s: Segment, me: Side, peer: Side, peer_next: int) -> bool:
    """Whether an acknowledgement is the first to cover a byte that was not captured."""
    reference = peer_next if peer.covered is None else peer.covered
    upto = near(s.ack, reference)
    if abs(upto - reference) >= FAR:
        return upto > reference and me.acked != s.ack
    if peer.covered is not None and upto <= peer.covered:
        return False
    unseen = upto > peer_next or any(begin < upto for begin, _ in peer.holes())
    peer.cover(upto)
    return unseen


def _again(s: Segment, me: Side, peer: Side, begin: int, upto: int) -> str:
    """The mark of a segment whose bytes from `begin` to `upto` lie below next."""
    missing = me.known.gaps(max(begin, me.first) if me.forgetful else begin, upto)
    if missing != [(begin, upto)]:
        return "retransmission"
    patience = 3_000_000
    if me.handshake is not None and peer.handshake is not None:
        patience = (me.handshake + peer.handshake) or patience
    if peer.repeats >= 2 and peer.acked == s.seq and 0 <= s.time_ns - peer.acked_ns < 20_000_000:
        return "retransmission"
    if 0 <= s.time_ns - me.since(begin) < patience:
        return "out_of_order"
    return "retransmission"


def kept(samples: Sequence[int], most: int = 128) -> list[int]:
    """The samples that the median is taken of: all, or of more than `most` those that algorithm R keeps."""
    places = list(samples[:most])
    for n in range(most, len(samples)):
        x = (n + 1) * GOLDEN & WORD
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD
        x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD
        x ^= x >> 31
        place = (x >> 32) * (n + 1) >> 32
        if place < most:
            places[place] = samples[n]
    return places
