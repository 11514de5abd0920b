"""frr: the configuration of FRRouting: addresses, static routes, the locator, and static SIDs.

By FRR's documentation of zebra and staticd. Static SIDs are those of FRR 10.3 and later (uN, uA, uDT4, uDT6, uDT46).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from segcast.analyzer.network.sid_table import SidEntry
from segcast.replay.testbed.formats.registry import BedPlan, Format, Rendering, label_of, not_said, register
from segcast.replay.testbed.plan import Space

_STATIC = ("uN", "uA", "uDT4", "uDT6", "uDT46")
_NODE_BITS = 24  # what FRR takes where nothing is said; releases before 9 have no words for lengths
_NONE = "staticd has uSIDs only; the lines of --format ip --node with seg6local go beside FRR"


def node(plan: BedPlan, space: Space) -> Rendering:
    """What `vtysh -f` loads."""
    rows = plan.sids_of(space)
    said = [row for row in rows if row.behavior in _STATIC]
    lines = ["frr defaults traditional", f"hostname {label_of(plan.bed, space)}"]
    lines += ["ip forwarding", "ipv6 forwarding", "!"]
    for interface in space.interfaces:
        lines += [f"interface {interface.name}", f" description {plan.behind(space, interface)}"]
        lines += [f" ip address {interface.ipv4}/30", f" ipv6 address {interface.ipv6}/64", "exit", "!"]
    for route in plan.plain_routes(space):
        word = "ipv6" if ":" in route.prefix else "ip"
        lines += [f"{word} route {route.prefix} {gateway} {name}" for name, gateway in route.ways]
    lines.append("!")
    lines += _segment_routing(plan, space, said)
    return Rendering(lines, not_said(space, [row for row in rows if row not in said], _NONE))


def _segment_routing(plan: BedPlan, space: Space, rows: list[SidEntry]) -> Iterator[str]:
    locator = next((entry.prefix for entry in plan.sids.locators if entry.node == space.place), None)
    if locator is None:
        return
    length = ipaddress.IPv6Network(locator).prefixlen
    block = min(plan.layout.block_bits, length - 1)
    compressed = plan.layout.mode.compressed
    function = plan.layout.node_bits if compressed else plan.layout.function_bits
    yield from ("segment-routing", " srv6", "  locators", "   locator main")
    words = "" if length - block == _NODE_BITS else f" block-len {block} node-len {length - block}"
    words += "" if function is None else f" func-bits {function}"
    yield f"    prefix {locator}{words}"
    if compressed:
        yield "    behavior usid"
    yield from ("   exit", "   !", "  exit", "  !")
    if rows:
        yield "  static-sids"
        for row in rows:
            yield f"   sid {plan.layout.matched(row.sid)[0]} locator main behavior {_behavior(plan, space, row)}"
        yield from ("  exit", "  !")
    yield from (" exit", " !", "exit", "!")


def _behavior(plan: BedPlan, space: Space, row: SidEntry) -> str:
    if row.behavior == "uA":
        interface, next_hop = plan.way_of(space, row)
        return f"uA interface {interface} nexthop {next_hop}"
    return row.behavior + (" vrf default" if row.attachment else "")


register(
    Format(
        name="frr", summary="FRRouting, for `vtysh -f`; static SIDs take FRR 10.3", node=node, heading="! ---- {} ----"
    )
)
