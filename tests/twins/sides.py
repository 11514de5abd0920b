"""Which side of parallel paths each host is at, as docs/model.md says, with sets and without haste."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True)
class Talk:
    """A flow: its two hosts, its bytes, and whether its sender began the conversation."""

    src: str
    dst: str
    bytes: int
    opens: bool


def in_order(host: str) -> tuple[int, int]:
    address = ipaddress.ip_address(host)
    return address.version, int(address)


def sides(flows: list[Talk]) -> dict[str, str]:
    """`left` or `right` by host."""
    hosts = sorted({end for flow in flows for end in (flow.src, flow.dst)}, key=in_order)
    exchanged: dict[frozenset[str], int] = {}
    for flow in flows:
        if flow.src != flow.dst:
            pair = frozenset((flow.src, flow.dst))
            exchanged[pair] = exchanged.get(pair, 0) + flow.bytes
    # Groups, each as two sets of hosts that are across from each other.
    groups: list[tuple[set[str], set[str]]] = [({host}, set()) for host in hosts]

    def of(host: str) -> tuple[set[str], set[str]]:
        return next(group for group in groups if host in group[0] | group[1])

    def join(a: str, b: str, across: bool) -> None:
        one, two = of(a), of(b)
        if one is two:
            return
        mine, theirs = one if a in one[0] else one[::-1]
        same, other = two if b in two[0] else two[::-1]
        groups.remove(one)
        groups.remove(two)
        groups.append((mine | other, theirs | same) if across else (mine | same, theirs | other))

    pairs = [(-size, *sorted(map(in_order, pair)), sorted(pair, key=in_order)) for pair, size in exchanged.items()]
    for *_, (a, b) in sorted(pairs):
        join(a, b, across=True)
    subnets: dict[object, list[str]] = {}
    for host in hosts:
        bits = 24 if "." in host else 64
        subnets.setdefault(ipaddress.ip_network((host, bits), strict=False), []).append(host)
    for members in subnets.values():
        halves = [half for group in groups for half in group if half & set(members)]
        if all(sum(half is one or half is two for half in halves) < 2 for one, two in groups):
            for host in members[1:]:
                join(members[0], host, across=False)
    side = {host: group[1] >= {host} for group in groups for host in group[0] | group[1]}
    if any(side[a] == side[b] for a, b in map(tuple, exchanged)):
        for _ in range(16):
            before = dict(side)
            for host in hosts:
                here = sum(
                    size for pair, size in exchanged.items() if host in pair and len({side[h] for h in pair}) == 1
                )
                there = sum(
                    size for pair, size in exchanged.items() if host in pair and len({side[h] for h in pair}) == 2
                )
                side[host] ^= here > there
            if side == before:
                break
    placed = {}
    for one, two in groups:
        members = one | two
        votes = [
            side[flow.src if flow.opens else flow.dst]
            for flow in flows
            if {flow.src, flow.dst} <= members and side[flow.src] != side[flow.dst]
        ]
        lowest = side[min(members, key=in_order)]
        more = votes.count(True) - votes.count(False)
        left = more > 0 if more else lowest
        placed |= {host: "left" if side[host] == left else "right" for host in members}
    return placed
