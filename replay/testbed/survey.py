"""What of a planned testbed is there, seen from within its namespaces: interfaces, shapers with their counters, routes.

Layouts: linux/if_link.h, linux/rtnetlink.h, linux/pkt_sched.h, linux/gen_stats.h.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from segcast.replay.testbed.draft import Sid
from segcast.replay.testbed.netlink import BLACK_HOLE_PRIORITY, Requests, local_sid
from segcast.replay.testbed.spaces import within

_LINKS, _ROUTES, _RULES, _QDISCS = 18, 26, 34, 38
_UP: Final = 1
_NAME, _MTU = 3, 4
_KIND, _OPTIONS, _STATS = 1, 2, 3
_PARMS, _RATE64 = 1, 4
_DST, _OIF, _GATEWAY, _MULTIPATH, _ENCAP = 1, 4, 5, 9, 22
_IIFNAME, _PRIORITY = 3, 6
_MAIN_TABLE: Final = 254
_CLONED: Final = 0x200  # what was learned of a route, such as a smaller MTU
_TICK_NS: Final = 64
_NEAR_TICKS: Final = 2  # the kernel divides by a multiplication

_Attributes = dict[int, bytes]
_Ways = frozenset[tuple[int, bytes]]  # index of the interface, next hop


class TestbedSurvey(NamedTuple):
    """Lines that say what is not as planned; and (packets, drops, bytes sent) of shapers by interface."""

    missing: list[str]
    counters: dict[str, tuple[int, int, int]]


def survey(space: Mapping[str, Any], mtu: int) -> TestbedSurvey:
    """One namespace of a saved plan (`Space` as JSON values). Raises OSError if it cannot be entered."""
    return within(space["namespace"], partial(_survey, space, mtu))


def _survey(space: Mapping[str, Any], mtu: int) -> TestbedSurvey:
    missing: list[str] = []
    counters: dict[str, tuple[int, int, int]] = {}
    where = space["namespace"]
    with Requests() as requests:
        places = _interfaces(requests)
        shapers, delays = _shapers(requests)
        routes = _routes(requests)
        missing += [f"{where}: drops what comes over {name}" for name in _black_holes(requests)]
    for interface in space["interfaces"]:
        name, shaper = interface["name"], interface["shaper"]
        index, up, mtu_found = places.get(name, (-1, False, 0))
        if not up or mtu_found != mtu:
            missing.append(f"{where}: interface {name} is gone, down or of another MTU")
        if shaper is not None:
            bucket, *counted = shapers.get(index, (b"", 0, 0, 0))
            if not _as_planned(_attributes(bucket), shaper):
                missing.append(f"{where}: shaper of {shaper['link']}")
            elif (index in delays) != bool(shaper.get("delay_ns")):
                missing.append(f"{where}: delay of {shaper['link']}")
            counters[name] = counted[0], counted[1], counted[2]
    lost = [route for route in space["routes"] if not _leads(route, routes, {n: row[0] for n, row in places.items()})]
    if lost:
        missing.append(f"{where}: {len(lost)} of {len(space['routes'])} routes, such as {lost[0]['prefix']}")
    return TestbedSurvey(missing, counters)


def carried(requests: Requests) -> dict[int, tuple[int, int]]:
    """Packets and bytes that token buckets have sent, by the index of their interface."""
    shapers, _ = _shapers(requests)
    return {index: (packets, size) for index, (_, packets, _, size) in shapers.items()}


def _black_holes(requests: Requests) -> Iterator[str]:
    """Interfaces that a link's failure was put at, and nobody has taken it away again."""
    for message in requests.dump(_RULES, bytes(12)):
        own = _attributes(message[12:])
        if own.get(_PRIORITY) == struct.pack("=I", BLACK_HOLE_PRIORITY) and message[0] == socket.AF_INET:
            yield own.get(_IIFNAME, b"").rstrip(b"\0").decode()


def _interfaces(requests: Requests) -> dict[str, tuple[int, bool, int]]:
    """Index, whether it is up, and MTU, by name."""
    found = {}
    for message in requests.dump(_LINKS, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)):
        index, flags = struct.unpack_from("=iI", message, 4)
        own = _attributes(message[16:])
        name = own[_NAME].rstrip(b"\0").decode()
        found[name] = index, bool(flags & _UP), int.from_bytes(own[_MTU], "little")
    return found


def _shapers(requests: Requests) -> tuple[dict[int, tuple[bytes, int, int, int]], set[int]]:
    """Options, packets, drops and bytes of token buckets, by the index of their interface; and which hold back."""
    found, delays = {}, set()
    for message in requests.dump(_QDISCS, struct.pack("=BxHiIII", socket.AF_UNSPEC, 0, 0, 0, 0, 0)):
        own = _attributes(message[20:])
        if own[_KIND] == b"tbf\0":
            carried, packets, drops = struct.unpack_from("=QII", own[_STATS])
            found[struct.unpack_from("=i", message, 4)[0]] = own[_OPTIONS], packets, drops, carried
        elif own[_KIND] == b"netem\0":
            delays.add(struct.unpack_from("=i", message, 4)[0])
    return found, delays


def _as_planned(bucket: _Attributes, shaper: Mapping[str, Any]) -> bool:
    """Whether a token bucket has the rate, the overhead, the limit and the burst (kept as a time) of the plan."""
    if _PARMS not in bucket:
        return False
    rate = shaper["rate_bps"] // 8
    overhead, rate32 = struct.unpack_from("=2xH4xI", bucket[_PARMS])
    limit, ticks = struct.unpack_from("=II", bucket[_PARMS], 24)
    if _RATE64 in bucket:
        rate32 = int.from_bytes(bucket[_RATE64][:8], "little")
    wanted = (shaper["burst_bytes"] + overhead) * 10**9 // rate // _TICK_NS
    same = (rate32, overhead, limit) == (rate, shaper["overhead_bytes"], shaper["limit_bytes"])
    return same and abs(ticks - wanted) <= _NEAR_TICKS


def _routes(requests: Requests) -> dict[tuple[int, bytes, int], tuple[_Ways, _Attributes]]:
    """Ways and SID's attributes of the main table's routes, by family, prefix and its length."""
    found = {}
    for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        for message in requests.dump(_ROUTES, struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)):
            (flags,) = struct.unpack_from("=I", message, 8)
            if message[4] == _MAIN_TABLE and not flags & _CLONED:
                own = _attributes(message[12:])
                key = (int(family), own.get(_DST, bytes(size)), message[1])
                found[key] = frozenset(_ways(own)), _attributes(own.get(_ENCAP, b""))
    return found


def _ways(route: _Attributes) -> Iterator[tuple[int, bytes]]:
    if _OIF in route:
        yield int.from_bytes(route[_OIF], "little"), route.get(_GATEWAY, b"")
    rest = route.get(_MULTIPATH, b"")
    while len(rest) >= 8:
        size, index = struct.unpack_from("=HxxI", rest)
        yield index, _attributes(rest[8:size]).get(_GATEWAY, b"")
        rest = rest[size + 3 & ~3 :]


def _leads(
    route: Mapping[str, Any],
    routes: Mapping[tuple[int, bytes, int], tuple[_Ways, _Attributes]],
    places: Mapping[str, int],
) -> bool:
    """Whether a planned route is there: by the same ways, into the same SID."""
    network = ipaddress.ip_network(route["prefix"])
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    ways, sid = routes.get((int(family), network.network_address.packed, network.prefixlen), (frozenset(), {}))
    wanted = {
        (places.get(name, -1), ipaddress.ip_address(gateway).packed if gateway else b"")
        for name, gateway in route["ways"]
    }
    local = _attributes(local_sid(Sid(**route["sid"]))) if route["sid"] else {}
    return ways == wanted and all(sid.get(kind) == value for kind, value in local.items())


def _attributes(data: bytes) -> _Attributes:
    """Netlink attributes by kind, without the flag of nested ones."""
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[4:size]
        data = data[size + 3 & ~3 :]
    return found
