"""A slow forwarder: follows a packet through planned routes, by longest prefix and by what the RFCs say of each SID."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_network
from typing import Any


def travel(bed: Any, namespace: str, segments: Sequence[str]) -> tuple[str, list[str]]:
    """Where a packet with these addresses in its segment list ends, and the shaped links it passed.

    The result is the namespace whose SID unpacks it. Equal ways: the first is taken.
    """
    spaces = {space.namespace: space for space in bed.spaces}
    far = {wire.a: wire.b for wire in bed.wires} | {wire.b: wire.a for wire in bed.wires}
    shapers = {
        (space.namespace, interface.name): interface.shaper.link
        for space in bed.spaces
        for interface in space.interfaces
        if interface.shaper is not None
    }
    left = [IPv6Address(segment) for segment in segments]
    target = left.pop(0)
    passed: list[str] = []
    for _ in range(100):
        routes = [
            route for route in spaces[namespace].routes if ":" in route.prefix and target in ip_network(route.prefix)
        ]
        route = max(routes, key=lambda route: ip_network(route.prefix).prefixlen)
        out = route.ways[0][0]
        if route.sid is not None:
            if route.sid.action.startswith("End.D"):
                assert not left
                return namespace, passed
            target = after(target, route.sid.identifier_bits, route.sid.block_bits)
            if target is None:
                target = left.pop(0)
            if route.sid.action == "End":
                continue
        if (namespace, out) in shapers:
            passed.append(shapers[namespace, out])
        namespace = far[namespace, out][0]
    raise AssertionError("a loop")


def after(target: IPv6Address, bits: int, block_bits: int) -> Any:
    """The address once a uSID of so many bits behind the block is shifted out (RFC 9800 section 4.1.1).

    None if none follows.
    """
    if bits == 0:
        return None
    rest = int(target) & (1 << 128 - block_bits - bits) - 1
    if rest == 0:
        return None
    block = int(target) >> 128 - block_bits << 128 - block_bits
    return IPv6Address(block | rest << bits)
