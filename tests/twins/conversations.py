"""Which flow each packet belongs to, by conversations that begin and end: the rules of docs/captures.md."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

from tests.twins.tcp import Segment
from tests.twins.tenants import assign_by_tenant, partners_by_tenant

FIN, SYN, RST, ACK = 1, 2, 4, 16
SECOND = 10**9


@dataclass(frozen=True)
class Sighting:
    """A packet: `end` and `to` are what its flow has in common with others; flags are None where not captured."""

    time_ns: int
    end: Hashable
    to: Hashable
    is_tcp: bool = False
    flags: int | None = None
    seq: int = 0
    ack: int = 0
    tenant: Hashable = None


@dataclass
class Half:
    """One direction of a conversation."""

    flow: int
    last_ns: int
    syn: int | None = None
    sent: bool = False  # something other than a SYN or SYN/ACK
    answered: bool = False  # a SYN/ACK
    ended: bool = False
    reset: bool = False


@dataclass
class Conversation:
    """Both directions, by the end that sends."""

    halves: dict[Hashable, Half] = field(default_factory=dict)

    def silent(self, p: Sighting) -> bool:
        limit = (7440 if p.is_tcp else 300) * SECOND
        return all(p.time_ns - half.last_ns > limit for half in self.halves.values())

    @property
    def over(self) -> bool:
        return any(h.reset for h in self.halves.values()) or all(h.ended for h in self.halves.values())


def assign(packets: Sequence[Sighting]) -> tuple[list[int], dict[int, int | None]]:
    """The flow of each packet, and of each flow the other direction."""
    if any(p.tenant is not None for p in packets):
        return assign_by_tenant(packets)
    return assign_without_tenants(packets)


def partners(packets: Sequence[Sighting]) -> list[int | None]:
    """By packet the other direction of its flow: as known then where tenants may take it away, else at the end."""
    if any(p.tenant is not None for p in packets):
        return partners_by_tenant(packets)
    flows, reverse = assign_without_tenants(packets)
    return [reverse[flow] for flow in flows]


def assign_without_tenants(packets: Sequence[Sighting]) -> tuple[list[int], dict[int, int | None]]:
    """As `assign`, where all packets are of one tenant."""
    known: dict[frozenset[Hashable], list[Conversation]] = {}
    flows: list[int] = []
    count = 0
    for p in packets:
        talks = known.setdefault(frozenset((p.end, p.to)), [])
        mine = next((c for c in reversed(talks) if p.end in c.halves), None)
        talk = chosen(p, talks, mine)
        if talk is None:
            talk = Conversation()
            talks.append(talk)
        if p.end not in talk.halves:
            talk.halves[p.end] = Half(count, p.time_ns)
            count += 1
        half = talk.halves[p.end]
        half.last_ns = max(half.last_ns, p.time_ns)
        if p.is_tcp:
            flags = p.flags or 0
            if flags & SYN and not flags & RST:
                half.syn = p.seq
                half.answered |= bool(flags & ACK)
            half.sent |= not flags & SYN
            half.ended |= bool(flags & FIN)
            half.reset |= bool(flags & RST)
        flows.append(half.flow)
    reverse: dict[int, int | None] = {}
    for talks in known.values():
        for talk in talks:
            ids = [half.flow for half in talk.halves.values()]
            reverse |= {ids[0]: None} if len(ids) == 1 else {ids[0]: ids[1], ids[1]: ids[0]}
    return flows, reverse


def chosen(p: Sighting, talks: list[Conversation], mine: Conversation | None) -> Conversation | None:
    """The conversation that a packet belongs to; None if it begins one."""
    flags = p.flags or 0
    latest = talks[-1] if talks else None
    if p.end == p.to:
        return mine if mine and not begins(p, mine) else None
    if latest is not None and latest is not mine:  # the other direction is ahead
        other = latest.halves[p.to]
        if not latest.silent(p):
            if mine is None and not (other.sent and flags & (SYN | ACK | RST) == SYN):
                return latest
            if mine is not None and (not p.is_tcp or other.sent or other.answered or flags & (SYN | RST)):
                return latest
    return mine if mine and not begins(p, mine) else None


def begins(p: Sighting, mine: Conversation) -> bool:
    """Whether a packet begins another conversation than its direction's last."""
    if mine.silent(p):
        return True
    flags = p.flags or 0
    if not p.is_tcp or not flags & SYN or flags & RST:
        return False
    half = mine.halves[p.end]
    if mine.over:
        return True
    return half.syn != p.seq and (not flags & ACK or any(h.sent for h in mine.halves.values()))


def of_connections(segments: Sequence[Segment]) -> list[Segment]:
    """The segments with numbers of their flows in place of five-tuples."""
    flows, reverse = assign([Sighting(s.time_ns, s.flow, s.to, True, s.flags, s.seq) for s in segments])
    named = []
    for segment, flow in zip(segments, flows, strict=True):
        other = reverse[flow]
        named.append(replace(segment, flow=flow, to=("nobody", flow) if other is None else other))
    return named
