"""What a scenario's network is in namespaces: nodes, hosts, interfaces, shapers and routes, as plain values.

Nothing here touches the system; `segcast.replay.testbed.build` makes it stand.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from segcast.analyzer.network.fabric import Attachment
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Link
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.testbed.draft import Draft, Sid, draft_of
from segcast.traces.errors import InputError
from segcast.traces.units import write_rate, write_size

DEFAULT_MTU_BYTES: Final = 2000
DEFAULT_BURST_BYTES: Final = 10_000
DEFAULT_MAX_RATE_BPS: Final = 2 * 10**9
NO_EVENTS: Final = "events of links do not happen"
UNBOUNDED_BYTES: Final = 1 << 30  # the shaper's limit where the scenario has none

_WIRES6: Final = ipaddress.IPv6Network("fd5e:9ca5::/32")  # addresses of interfaces, a /64 for each wire
_WIRES4: Final = ipaddress.IPv4Network("198.18.0.0/15")  # for tests of devices (RFC 2544 appendix C.2.2)
_HOSTS4: Final = ipaddress.IPv4Network("198.19.0.0/16")
_HOSTS6: Final = ipaddress.IPv6Network("fd5e:9ca5:ffff:ffff::/64")
_MAX_WIRES: Final = 1 << 14
_EVERYWHERE: Final = {
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/all/accept_dad": "0",
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/router_solicitations": "0",
    "ipv6/conf/default/accept_ra": "0",
    # Memberships of multicast groups are told at once, and then no more.
    "ipv6/conf/default/mldv2_unsolicited_report_interval": "1",
    "ipv6/conf/all/seg6_enabled": "1",
    "ipv6/conf/default/seg6_enabled": "1",
}
_NODES: Final = {
    "ipv4/ip_forward": "1",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
    "ipv4/fib_multipath_hash_policy": "1",  # by five-tuple, as ECMP does
    "ipv6/fib_multipath_hash_policy": "1",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(frozen=True, slots=True)
class Shaper:
    """A token bucket; the queue counts frames with their Ethernet header, the rate `overhead_bytes` more for each.

    `delay_ns`: by which frames are held back before it, 0 for none. A queue that serves in order of arrival gives the
    same times whether a constant delay is before or behind it.
    """

    link: str
    rate_bps: int
    limit_bytes: int
    burst_bytes: int
    overhead_bytes: int
    delay_ns: int = 0


@dataclass(frozen=True, slots=True)
class Interface:
    """One end of a wire: its addresses, and those of the other end."""

    name: str
    mac: str
    ipv4: str
    ipv6: str
    peer_mac: str
    peer_ipv4: str
    peer_ipv6: str
    shaper: Shaper | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Where packets to a prefix go: to interfaces and next hops, several of equal cost; or into a SID, by `sid`."""

    prefix: str
    ways: tuple[tuple[str, str], ...]
    sid: Sid | None = None


@dataclass(slots=True)
class Space:
    """A namespace: a node of the scenario, or the host of an attachment. `place` is its name in the scenario.

    `prefixes`: of a host, those behind its attachment that no earlier attachment has; `addresses`: its own ones, IPv4
    and IPv6, besides those of its wire.
    """

    namespace: str
    place: str
    host: bool
    interfaces: list[Interface] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    addresses: tuple[str, ...] = ()


def settings_of(space: Space) -> dict[str, str]:
    """What is written below /proc/sys/net of a namespace, before it has interfaces."""
    return _EVERYWHERE if space.host else _EVERYWHERE | _NODES


class Wire(NamedTuple):
    """A pair of interfaces, each as (namespace, name)."""

    a: tuple[str, str]
    b: tuple[str, str]


@dataclass(slots=True)
class Bed:
    """A whole testbed. `notes` say what of the scenario it does not emulate.

    `burst_bytes`: of the buckets of links that have no burst themselves; None if all have one.
    """

    name: str
    mtu: int
    spaces: list[Space]
    wires: list[Wire]
    notes: list[str]
    burst_bytes: int | None = None

    def hosts(self) -> list[Space]:
        """The hosts, in the order of the attachments."""
        return [space for space in self.spaces if space.host]


def plan_bed(
    scenario: ValidScenario,
    name: str,
    *,
    max_rate_bps: int = DEFAULT_MAX_RATE_BPS,
    burst_bytes: int = DEFAULT_BURST_BYTES,
    delays: bool = False,
) -> Bed:
    """The testbed of a scenario; namespaces are called `NAME-NODE` and `NAME-host-ATTACHMENT`.

    `burst_bytes`: of the shapers of links that have no burst themselves; `delays`: whether links have their
    propagation delay, which takes a kernel with netem.
    Raises InputError if namespaces cannot show it: a link faster than `max_rate_bps`, paths that SIDs cannot tell
    apart, one SID for IPv4 and IPv6, too many links, addresses in use here, inserted SRHs without prefixes.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"--name {name!r}: give up to 12 small letters and digits, a letter first")
    if scenario.srv6.mode.layer_2:
        raise InputError(
            f"srv6.mode {scenario.srv6.mode}: a testbed's attachments unpack IP packets, not Ethernet frames"
        )
    fabric = scenario.fabric()
    attachments = fabric.attachments
    if len(attachments) < 2:
        raise InputError("attachments: a testbed needs at least two")
    if scenario.srv6.mode.inserts and (fabric.by_conversation or scenario.unassigned == "spread"):
        # Without an outer header, packets go by their own destination from the last segment on.
        for place in attachments:
            if not any(":" in prefix for prefix in place.prefixes):
                raise InputError(
                    f"srv6.mode {scenario.srv6.mode}: packets would be routed to {place.name} by their own addresses: "
                    "give all attachments their IPv6 prefixes"
                )
    links = scenario.assembled(((0, 1), (1, 0))).network.links
    for link in links:
        if link.rate_bps > max_rate_bps:
            raise InputError(
                f"link {link.name}: {write_rate(link.rate_bps)} is more than a testbed of namespaces is built for "
                f"({write_rate(max_rate_bps)}; about 1.8Gbps pass through a whole one): forecast a scenario with "
                "slower links and a load to match, or raise --max-rate"
            )
    if ipaddress.IPv6Network(scenario.srv6.block).overlaps(_WIRES6):
        raise InputError(
            f"srv6.block {scenario.srv6.block} overlaps {_WIRES6}, which a testbed's wires have; change it"
        )
    draft = draft_of(scenario, fabric, links)
    mtu = scenario.network.mtu or DEFAULT_MTU_BYTES
    if not 1280 <= mtu <= 65535:
        raise InputError(f"network.mtu: {mtu} bytes is none that interfaces with IPv6 can have: give 1280 to 65535")
    for link in links:
        burst, where = (link.burst_bytes, f"link {link.name}: burst") if link.burst_bytes else (burst_bytes, "--burst")
        if mtu + ETHERNET_HEADER_BYTES > burst:
            raise InputError(f"{where} {burst}B: a frame of {mtu + ETHERNET_HEADER_BYTES} bytes must fit in it")
    return _laid_out(scenario, attachments, draft, name, mtu, burst_bytes, delays=delays)


def _laid_out(
    scenario: ValidScenario,
    attachments: Sequence[Attachment],
    draft: Draft,
    name: str,
    mtu: int,
    burst_bytes: int,
    *,
    delays: bool,
) -> Bed:
    """Give wires addresses and names, and nodes their routes."""
    spaces = {node: Space(f"{name}-{_clean(node)}", node, False) for node in draft.nodes}
    hosts = [
        Space(
            f"{name}-host-{_clean(place.name)}",
            place.name,
            True,
            addresses=(str(_HOSTS4[number + 1]), str(_HOSTS6[number + 1])),
        )
        for number, place in enumerate(attachments)
    ]
    names = [space.namespace for space in (*spaces.values(), *hosts)]
    if twice := {text for text in names if names.count(text) > 1}:
        raise InputError(f"network: two nodes would share the namespace {min(twice)}; rename one")
    if len(draft.hops) + len(hosts) > _MAX_WIRES:
        raise InputError(f"network: {len(draft.hops)} links are more than a testbed has addresses for ({_MAX_WIRES})")
    wires: list[Wire] = []

    def wire(a: Space, b: Space, shapers: tuple[Shaper | None, Shaper | None], macs: tuple[str, str] | None) -> None:
        number = len(wires)
        macs = macs or (_mac(2 * number), _mac(2 * number + 1))
        v4 = [str(_WIRES4[4 * number + side]) for side in (1, 2)]
        v6 = [str(_WIRES6[(number << 64) + side]) for side in (1, 2)]
        labels = (f"e{len(a.interfaces)}", f"e{len(b.interfaces)}")
        for side, space in enumerate((a, b)):
            space.interfaces.append(
                Interface(
                    labels[side],
                    macs[side],
                    v4[side],
                    v6[side],
                    macs[1 - side],
                    v4[1 - side],
                    v6[1 - side],
                    shapers[side],
                )
            )
        wires.append(Wire((a.namespace, labels[0]), (b.namespace, labels[1])))

    ends: list[dict[str, Interface]] = []
    for hop in draft.hops:
        a, b = (spaces[node] for node in hop.ends)
        shapers = tuple(None if link is None else _shaper(link, burst_bytes, delays=delays) for link in hop.links)
        wire(a, b, (shapers[0], shapers[1]), None)
        ends.append({a.place: a.interfaces[-1], b.place: b.interfaces[-1]})
    doors: list[Interface] = []  # of nodes, towards the hosts
    # Frames as a rewrite addresses them are those of every host's wire: each is a segment of its own.
    macs = (scenario.srv6.source_mac, scenario.srv6.destination_mac)
    for host, place in zip(hosts, attachments, strict=True):
        wire(host, spaces[place.node], (None, None), macs)
        doors.append(spaces[place.node].interfaces[-1])
        # All addresses, but in halves: an interface with the default route is one that a replay refuses to use.
        for prefix in ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"):
            host.routes.append(Route(prefix, (("e0", doors[-1].ipv6 if ":" in prefix else doors[-1].ipv4),)))
    claimed: set[str] = set()
    for host, place in zip(hosts, attachments, strict=True):
        host.prefixes += [prefix for prefix in place.prefixes if prefix not in claimed]
        claimed |= set(place.prefixes)
    for space in spaces.values():
        space.routes += _routes(space, draft, ends, attachments, hosts, doors)
    shaped = [link for hop in draft.hops for link in hop.links if link is not None]
    bare = any(link.burst_bytes == 0 for link in shaped)
    bed = Bed(name, mtu, [*spaces.values(), *hosts], wires, [], burst_bytes if bare else None)
    bed.notes += _notes(scenario, shaped, bed.burst_bytes, delays=delays)
    return bed


def _routes(
    space: Space,
    draft: Draft,
    ends: Sequence[dict[str, Interface]],
    attachments: Sequence[Attachment],
    hosts: Sequence[Space],
    doors: Sequence[Interface],
) -> Iterator[Route]:
    """SIDs of the node, then the ways to all others' SIDs, to the hosts, and to the prefixes behind them.

    What is unpacked goes to the host's own address, which is behind the one of its wire: the next hop of a route
    without a gateway would be whatever the inner packet is addressed to.
    """
    node = space.place
    for prefix, (sid, hop) in draft.sids.get(node, {}).items():
        if sid.action == "End":
            yield Route(prefix, ((space.interfaces[0].name, ""),), sid)
        elif sid.action == "End.X":
            mine = ends[hop][node]
            yield Route(prefix, ((mine.name, ""),), replace(sid, next_hop=mine.peer_ipv6))
        else:
            assert sid.next_hop is not None
            number = int(sid.next_hop)
            next_hop = hosts[number].addresses[0 if sid.action == "End.DX4" else 1]
            yield Route(prefix, ((doors[number].name, ""),), Sid(sid.action, next_hop))
    for target in draft.nodes:
        if target != node and (hops := draft.towards(node, target)):
            ways = [ends[hop][node] for hop in hops]
            for prefix in draft.reach.get(target, []):
                yield Route(prefix, tuple((way.name, way.peer_ipv6) for way in ways))
    claimed: set[str] = set()
    for place, host, door in zip(attachments, hosts, doors, strict=True):
        ways = [door] if place.node == node else [ends[hop][node] for hop in draft.towards(node, place.node)]
        own = (f"{host.addresses[0]}/32", f"{host.addresses[1]}/128")
        for prefix in (*own, *place.prefixes):
            if ways and prefix not in claimed:
                claimed.add(prefix)
                v6 = ":" in prefix
                yield Route(prefix, tuple((way.name, way.peer_ipv6 if v6 else way.peer_ipv4) for way in ways))


def _shaper(link: Link, burst_bytes: int, *, delays: bool) -> Shaper:
    limit = UNBOUNDED_BYTES if link.buffer_bytes is None else link.buffer_bytes
    delay_ns = link.delay_ns if delays else 0
    return Shaper(link.name, link.rate_bps, limit, link.burst_bytes or burst_bytes, link.overhead_bytes, delay_ns)


def _notes(scenario: ValidScenario, shaped: Sequence[Link], burst_bytes: int | None, *, delays: bool) -> Iterable[str]:
    if burst_bytes is not None:
        yield (
            f"links without a burst get token buckets of {write_size(burst_bytes)}, which runs record and validate "
            f'takes; a forecast knows them only if the scenario says burst = "{write_size(burst_bytes)}"'
        )
    if not delays and any(link.delay_ns for link in shaped):
        yield (
            "the propagation delay of links is not emulated, as this kernel has no netem: compare with a forecast that "
            "has the delay measured"
        )
    if any(link.ecn_bytes is not None for link in shaped):
        yield "links do not mark (ECN)"
    if scenario.network.host_links is not None:
        yield "the links of hosts are not shaped: an attachment has one host for all its addresses"
    if scenario.events:
        yield NO_EVENTS


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _mac(number: int) -> str:
    return (0x02_5E_9C_00_00_00 + number).to_bytes(6, "big").hex(":")
