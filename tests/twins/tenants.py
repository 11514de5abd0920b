"""Which flow each packet belongs to where tenants share a wire: flows in a list, searched from end to end."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

FIN, SYN, RST, ACK = 1, 2, 4, 16
SECOND = 10**9


class Seen(Protocol):
    """A packet: see `conversations.Sighting`."""

    @property
    def time_ns(self) -> int: ...
    @property
    def end(self) -> Hashable: ...
    @property
    def to(self) -> Hashable: ...
    @property
    def is_tcp(self) -> bool: ...
    @property
    def flags(self) -> int | None: ...
    @property
    def seq(self) -> int: ...
    @property
    def ack(self) -> int: ...
    @property
    def tenant(self) -> Hashable: ...


@dataclass(eq=False)
class Flow:
    """One direction of a connection; `partner` is the other, `beside` the latest of the other direction's flows."""

    number: int
    tenant: Hashable
    end: Hashable
    to: Hashable
    last_ns: int
    partner: Flow | None = None
    beside: Flow | None = None
    syn: int | None = None
    sent: bool = False
    answered: bool = False
    ended: bool = False
    reset: bool = False


def assign_by_tenant(packets: Sequence[Seen]) -> tuple[list[int], dict[int, int | None]]:
    """The flow of each packet, and of each flow the other direction at the end."""
    flows, owners, _ = followed(packets)
    return [flow.number for flow in owners], {f.number: f.partner.number if f.partner else None for f in flows}


def partners_by_tenant(packets: Sequence[Seen]) -> list[int | None]:
    """The other direction of each packet's flow as it was known then; if none was, the next that it had."""
    _, owners, then = followed(packets)
    coming = {flow.number: flow.partner for flow in owners}
    known: list[int | None] = []
    for owner, partner in zip(reversed(owners), reversed(then), strict=True):
        coming[owner.number] = partner or coming[owner.number]
        if partner is not None:
            coming[partner.number] = owner
        other = coming[owner.number]
        known.append(None if other is None else other.number)
    return known[::-1]


def followed(packets: Sequence[Seen]) -> tuple[list[Flow], list[Flow], list[Flow | None]]:
    """All flows; by packet its flow, and the other direction that this had then."""
    flows: list[Flow] = []
    owners: list[Flow] = []
    then: list[Flow | None] = []
    for p in packets:
        flow = flow_of(p, flows)
        flow.last_ns = max(flow.last_ns, p.time_ns)
        if p.is_tcp:
            flags = p.flags or 0
            if flags & SYN and not flags & RST:
                flow.syn = p.seq
                flow.answered |= flags & ACK != 0
            flow.sent |= flags & SYN == 0
            flow.ended |= flags & FIN != 0
            flow.reset |= flags & RST != 0
        owners.append(flow)
        then.append(flow.partner)
    return flows, owners, then


def flow_of(p: Seen, flows: list[Flow]) -> Flow:
    """The flow of a packet, which may be a new one."""
    mine = latest(flows, p.tenant, p.end, p.to)
    back, joins = None, False
    if mine is None:
        back = None if p.end == p.to else latest(flows, p.tenant, p.to, p.end)
        joins = back is not None and answers(p, back)
        if back is None:
            back = waiting_alone(p, flows)
            joins = back is not None
    else:
        back = mine.beside
        joins = back is not None and back.number > mine.number and back.partner is None and continues(p, back)
        if not joins and not begins(p, mine):
            return mine
    new = Flow(len(flows), p.tenant, p.end, p.to, p.time_ns, beside=back)
    flows.append(new)
    if back is not None:
        if joins:
            if back.partner is not None:  # it was of another tenant
                back.partner.partner = back.partner.beside = None
            new.partner, back.partner = back, new
        back.beside = new
    return new


def latest(flows: list[Flow], tenant: Hashable, end: Hashable, to: Hashable) -> Flow | None:
    """The last flow of a tenant between two ends, in this direction."""
    return next((f for f in reversed(flows) if (f.tenant, f.end, f.to) == (tenant, end, to)), None)


def waiting_alone(p: Seen, flows: list[Flow]) -> Flow | None:
    """The other direction in another tenant, if just one waits there: each tenant's last flow counts."""
    if p.end == p.to:
        return None
    tenants = {f.tenant for f in flows if (f.end, f.to) == (p.to, p.end)}
    lasts = [latest(flows, tenant, p.to, p.end) for tenant in tenants]
    alone = [flow for flow in lasts if flow is not None and flow.partner is None]
    if len(alone) != 1 or not answers(p, alone[0]):
        return None
    syn, flags = alone[0].syn, p.flags or 0
    is_answer = flags & (SYN | ACK | RST) == SYN | ACK
    return None if is_answer and syn is not None and (syn + 1) % 2**32 != p.ack else alone[0]


def silence(p: Seen) -> int:
    return (7440 if p.is_tcp else 300) * SECOND


def answers(p: Seen, back: Flow) -> bool:
    """Whether the first packet of a direction belongs to a flow of the other."""
    opens = (p.flags or 0) & (SYN | ACK | RST) == SYN
    return p.time_ns - back.last_ns <= silence(p) and not (back.sent and opens)


def continues(p: Seen, back: Flow) -> bool:
    """Whether a packet belongs to a new flow of the other direction, and not to what was before."""
    if p.time_ns - back.last_ns > silence(p):
        return False
    return not p.is_tcp or back.sent or back.answered or (p.flags or 0) & (SYN | RST) != 0


def begins(p: Seen, mine: Flow) -> bool:
    """Whether a packet begins another connection than its direction's last."""
    pair = [mine] if mine.partner is None else [mine, mine.partner]
    if all(p.time_ns - flow.last_ns > silence(p) for flow in pair):
        return True
    flags = p.flags or 0
    if not p.is_tcp or not flags & SYN or flags & RST:
        return False
    if any(flow.reset for flow in pair) or all(flow.ended for flow in pair):
        return True
    return mine.syn != p.seq and (not flags & ACK or any(flow.sent for flow in pair))
