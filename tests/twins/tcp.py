"""TCP as a careful reader of a capture would annotate it: dictionaries, unwrapped sequence numbers, no state reclaimed.

Written from docs/captures.md. Sequence numbers are unwrapped to the value nearest the number they are compared with.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

FIN, SYN, RST, ACK = 1, 2, 4, 16
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


@dataclass
class Side:
    """One direction of a connection."""

    next: int | None = None
    next_ns: int = 0
    timed: tuple[int, int, bool] | None = None  # end, sent when, whether it is a SYN
    acked: int | None = None
    acked_ns: int = 0
    window: int = 0
    repeats: int = 0
    kept_alive: bool = False
    syn: int | None = None
    handshake: int | None = None
    unseen: int | None = None
    mss: int = 0


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


def annotate(segments: Sequence[Segment]) -> tuple[list[set[str]], dict[Hashable, Summary]]:
    """The marks of each segment, and a summary per flow."""
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
        if s.flags & SYN and not s.flags & RST and sides[s.flow].syn != s.seq:
            sides[s.flow], closing[pair] = Side(syn=s.seq), set()
        me, peer = sides[s.flow], sides[s.to] if s.to != s.flow else Side()
        if s.flags & SYN and s.mss >= 64:
            me.mss = s.mss
        if s.flags & FIN:
            closing[pair].add(s.flow)
        if s.flags & RST:
            closing[pair] = {"both", "sides"}
        ends[pair] = clock + (10 if len(closing[pair]) >= 2 else 120) * 10**9
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
        summary.retransmissions += "retransmission" in notes[-1]
        summary.out_of_order += "out_of_order" in notes[-1]
    return notes, summaries


def _note(s: Segment, me: Side, peer: Side) -> set[str]:
    """The marks of one segment that is no reset; both sides learn of it."""
    found: set[str] = set()
    length = s.payload + bool(s.flags & SYN) + bool(s.flags & FIN)
    first = me.next is None
    before = s.seq if me.next is None else me.next
    begin = near(s.seq, before)
    end = begin + length
    if begin == before - 1 and s.payload <= 1 and not s.flags & (SYN | FIN):
        found.add("keep_alive")
    elif begin < before and length:
        found |= _again(s, me, peer, begin, end)
    elif begin > before:
        found.add("after_gap")
    if length:
        if begin >= before:
            me.timed = me.timed or (end, s.time_ns, bool(s.flags & SYN) and first)
        elif me.timed and begin < near(me.timed[0], before):
            me.timed = None
    if first or end > before:
        me.next, me.next_ns = end, s.time_ns
    if s.flags & ACK:
        if me.acked != s.ack:
            me.repeats = 0
        elif length == 0 and begin == before and s.window == me.window and s.window and not peer.kept_alive:
            found.add("duplicate_ack")
            me.repeats += 1
        if peer.next is not None:
            acked = near(s.ack, peer.next)
            if acked > peer.next and (peer.unseen is None or near(s.ack, peer.unseen) > peer.unseen):
                found.add("ack_of_unseen")
                peer.unseen = s.ack
        me.acked, me.acked_ns, me.window = s.ack, s.time_ns, s.window
    me.kept_alive = "keep_alive" in found
    largest = peer.mss or me.mss
    if s.payload and (s.payload > largest if largest else s.ip_bytes > 1500):
        found.add("super_frame")
    return found


def _again(s: Segment, me: Side, peer: Side, begin: int, end: int) -> set[str]:
    """The mark of a segment that begins before the highest byte sent."""
    assert me.next is not None
    patience = 3_000_000
    if me.handshake is not None and peer.handshake is not None:
        patience = (me.handshake + peer.handshake) or patience
    if s.payload and peer.acked is not None and near(peer.acked, end) >= end:
        return {"retransmission"}
    if begin == me.next - 1 and s.payload > 1:
        return set()
    if peer.repeats >= 2 and peer.acked == s.seq and 0 <= s.time_ns - peer.acked_ns < 20_000_000:
        return {"retransmission"}
    if end != me.next and 0 <= s.time_ns - me.next_ns < patience:
        return {"out_of_order"}
    return {"retransmission"}


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
