"""vpp: commands of FD.io VPP: addresses, routes, local SIDs; for hosts, the policies that write their segment lists.

By VPP's documentation of SRv6 and of the commands `sr localsid` and `sr policy`; uN as its tests type it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Final

from segcast.analyzer.network.sid_table import SidEntry
from segcast.replay.testbed.formats.registry import BedPlan, Format, Rendering, not_said, register
from segcast.replay.testbed.plan import Space

_BRACES: Final = {ord("{"): "(", ord("}"): ")"}  # they end a comment
_NONE: Final = "VPP documents no command for it"
_UNPACKING: Final = {"End.DT4": "end.dx4", "End.DT6": "end.dx6", "uDT4": "end.dx4", "uDT6": "end.dx6"}
_BINDING: Final = ipaddress.IPv6Address("fd5e:9ca5:ffff:fffe::")  # binding SIDs, beside the addresses of hosts


def node(plan: BedPlan, space: Space) -> Rendering:
    """What `vppctl exec FILE` takes."""
    lines: list[str] = []
    for interface in space.interfaces:
        lines += [
            f"comment {{ {interface.name}: {plan.behind(space, interface).translate(_BRACES)} }}",
            f"set interface mtu {plan.bed.mtu} {interface.name}",
            f"set interface ip address {interface.name} {interface.ipv4}/30",
            f"set interface ip address {interface.name} {interface.ipv6}/64",
            f"set interface state {interface.name} up",
        ]
    for route in plan.plain_routes(space):
        lines += [f"ip route add {route.prefix} via {gateway} {name}" for name, gateway in route.ways]
    if space.host:
        return Rendering([*lines, *_policies(plan, space)], [])
    left_out = []
    for row in plan.sids_of(space):
        behavior = _behavior(plan, space, row)
        if behavior is None:
            left_out.append(row)
        else:
            lines.append(f"sr localsid {behavior}")
    return Rendering(lines, not_said(space, left_out, _NONE))


def _behavior(plan: BedPlan, space: Space, row: SidEntry) -> str | None:
    psp = " psp" if "psp" in plan.flavors else ""
    if row.behavior == "End":
        return f"address {row.sid} behavior end{psp}"
    if row.behavior == "uN":
        prefix, bits = plan.layout.matched(row.sid)
        return f"prefix {prefix} behavior un {bits}"
    if row.behavior == "End.X":
        interface, next_hop = plan.way_of(space, row)
        return f"address {row.sid} behavior end.x {interface} {next_hop}{psp}"
    if row.behavior in _UNPACKING:
        interface, next_hop = plan.way_of(space, row)
        return f"address {row.sid} behavior {_UNPACKING[row.behavior]} {interface} {next_hop}"
    return None


def _policies(plan: BedPlan, space: Space) -> Iterator[str]:
    """A policy for each path from the attachment, by IP version where the last SIDs differ: `sr steer` takes them."""
    how = "insert" if plan.layout.mode.inserts else "encap"
    for path in plan.sids.lists:
        if path.a != space.place:
            continue
        lists = {tuple(path.ipv6): 6, tuple(path.ipv4): 4} if not plan.layout.mode.inserts else {tuple(path.ipv6): 6}
        for addresses, version in lists.items():
            binding = _BINDING + (path.path_id << 8 | version)
            words = " ".join(f"next {address}" for address in addresses)
            yield f"comment {{ path {path.path_id}, IPv{version} }}"
            yield f"sr policy add bsid {binding} {words} {how}"


register(
    Format(
        name="vpp",
        summary="commands of FD.io VPP, for `vppctl exec`",
        node=node,
        heading="comment {{ ---- {} ---- }}",
        hosts=True,
    )
)
