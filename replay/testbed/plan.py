"""What a scenario's network is in namespaces: nodes, hosts, interfaces, shapers and routes, as plain values.

Nothing here touches the system; `replay.testbed.build` makes it stand. Sources: RFC 8986 sections 4.1 (End), 4.2
(End.X), 4.4 (End.DX6) and 4.5 (End.DX4); RFC 9800 section 4.1 (NEXT-C-SID).
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import networkx as nx

from analyzer.fabric import Attachment, Fabric, adjacencies
from analyzer.network import ETHERNET_HEADER_BYTES, Link
from analyzer.scenario import Scenario
from analyzer.sids import BLOCK_BITS, NODE_BITS, Sids, usids
from analyzer.topologies.graph import GraphSpec
from analyzer.topologies.parallel import ParallelSpec
from traces.errors import InputError
from traces.units import write_rate

DEFAULT_MTU_BYTES: Final = 2000
DEFAULT_BURST_BYTES: Final = 10_000
DEFAULT_MAX_RATE_BPS: Final = 2 * 10**9
UNBOUNDED_BYTES: Final = 1 << 30  # the shaper's limit where the scenario has none

_WIRES6: Final = ipaddress.IPv6Network("fd5e:9ca5::/32")  # addresses of interfaces, a /64 for each wire
_WIRES4: Final = ipaddress.IPv4Network("198.18.0.0/15")  # for tests of devices (RFC 2544 appendix C.2.2)
_HOSTS4: Final = ipaddress.IPv4Network("198.19.0.0/16")
_HOSTS6: Final = ipaddress.IPv6Network("fd5e:9ca5:ffff:ffff::/64")
_MAX_WIRES: Final = 1 << 14
_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,11}")


@dataclass(frozen=True, slots=True)
class Shaper:
    """A token bucket; the queue counts frames with their Ethernet header, the rate `overhead_bytes` more for each."""

    link: str
    rate_bps: int
    limit_bytes: int
    burst_bytes: int
    overhead_bytes: int


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
class Sid:
    """What a node does with packets to a SID of its own: `action` as the kernel calls it, `next_hop` where it has one.

    `identifier_bits`: of a uSID, how many follow the block (RFC 9800 NEXT-C-SID); 0 for a plain SID.
    """

    action: str
    next_hop: str | None = None
    identifier_bits: int = 0


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


class Wire(NamedTuple):
    """A pair of interfaces, each as (namespace, name)."""

    a: tuple[str, str]
    b: tuple[str, str]


@dataclass(slots=True)
class Bed:
    """A whole testbed. `notes` say what of the scenario it does not emulate."""

    name: str
    mtu: int
    spaces: list[Space]
    wires: list[Wire]
    notes: list[str]

    def hosts(self) -> list[Space]:
        """The hosts, in the order of the attachments."""
        return [space for space in self.spaces if space.host]


class _Hop(NamedTuple):
    """A wire between nodes, and the links whose queues stand before it in both directions."""

    ends: tuple[str, str]
    links: tuple[Link | None, Link | None]
    numbers: tuple[int, int] = (-1, -1)
    cost: int = 1


def plan_bed(
    scenario: Scenario,
    name: str,
    *,
    max_rate_bps: int = DEFAULT_MAX_RATE_BPS,
    burst_bytes: int = DEFAULT_BURST_BYTES,
) -> Bed:
    """The testbed of a scenario; namespaces are called `NAME-NODE` and `NAME-host-ATTACHMENT`.

    Raises InputError if namespaces cannot show it: a link faster than `max_rate_bps`, paths that SIDs cannot tell
    apart, one SID for IPv4 and IPv6, too many links, addresses in use here.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"--name {name!r}: give up to 12 small letters and digits, a letter first")
    fabric = scenario.fabric()
    attachments = fabric.attachments
    if len(attachments) < 2:
        raise InputError("attachments: a testbed needs at least two")
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
    draft = _parallel(scenario, fabric, links) if isinstance(scenario.network, ParallelSpec) else None
    draft = draft or _general(scenario, fabric, links)
    mtu = scenario.network.mtu or DEFAULT_MTU_BYTES
    if not 1280 <= mtu <= 65535:
        raise InputError(f"network.mtu: {mtu} bytes is none that interfaces with IPv6 can have: give 1280 to 65535")
    if mtu + ETHERNET_HEADER_BYTES > burst_bytes:
        raise InputError(f"--burst {burst_bytes}B: a frame of {mtu + ETHERNET_HEADER_BYTES} bytes must fit in it")
    return _laid_out(scenario, attachments, draft, name, mtu, burst_bytes)


class _Draft(NamedTuple):
    """Nodes' wires, the SIDs of each node by prefix, and the neighbours of a node on the way to another."""

    nodes: Sequence[str]
    hops: Sequence[_Hop]
    sids: dict[str, dict[str, tuple[Sid, int]]]  # prefix -> the SID, and for End.X the hop it names
    towards: Callable[[str, str], list[int]]  # (node, target) -> hops
    reach: dict[str, list[str]]  # prefixes by which others reach a node's SIDs


def _sid_prefix(sid: str, scenario: Scenario) -> tuple[str, int]:
    """The prefix that matches a SID, and the bits of its identifiers if it is a uSID."""
    if scenario.srv6.mode != "usid":
        return f"{sid}/128", 0
    bits = NODE_BITS * len(usids(sid, scenario.srv6.block))
    return str(ipaddress.IPv6Network((sid, BLOCK_BITS + bits), strict=False)), bits


def _parallel(scenario: Scenario, fabric: Fabric, links: Sequence[Link]) -> _Draft:
    """Each path a chain of nodes of its own between left and right: one for each SID or inner hop, whichever are more.

    Hops without a link of the scenario are not shaped.
    """
    hops: list[_Hop] = []
    sids: dict[str, dict[str, tuple[Sid, int]]] = {"left": {}, "right": {}}
    chains: list[list[tuple[str, int]]] = []  # (node, the hop behind it) from left to right
    nodes = ["left"]
    seen: dict[str, int] = {}
    for slot, path in enumerate(scenario.network.paths):
        way = fabric.routes(0, 1).paths[slot]
        back = fabric.routes(1, 0).paths[slot][::-1]
        transit = [f"path{slot}.{n}" for n in range(max(len(way) - 1, 1))]
        if not path.segments and len(scenario.network.paths) > 1:
            raise InputError(f"network.paths[{slot}]: has no segments, so no packet could be steered onto it; give one")
        for number, segment in enumerate(path.segments):
            if seen.setdefault(segment, slot) != slot:
                raise InputError(
                    f"network.paths[{slot}]: {segment} is on path {seen[segment]} too; a SID is one node's"
                )
            prefix, bits = _sid_prefix(segment, scenario)
            sids.setdefault(transit[min(number, len(transit) - 1)], {})[prefix] = (Sid("End", None, bits), -1)
        nodes += transit
        chain = ["left", *transit, "right"]
        chains.append([])
        for number, (a, b) in enumerate(itertools.pairwise(chain)):
            shaped = number < len(way)
            # A chain of one link has two hops: the queue stands where packets come from, on the first hop of each way.
            backwards = number == 1 if len(way) == 1 else shaped
            forward_link = links[way[number]] if shaped else None
            back_link = links[back[0 if len(way) == 1 else number]] if backwards else None
            chains[-1].append((a, len(hops)))
            hops.append(_Hop((a, b), (forward_link, back_link)))
        chains[-1].append(("right", -1))
    nodes.append("right")
    _decapsulation(scenario, fabric.attachments, None, sids)

    def towards(node: str, target: str) -> list[int]:
        found = []
        for chain in chains:
            order = [name for name, _ in chain]
            if node in order and target in order:
                at, to = order.index(node), order.index(target)
                found.append(chain[at][1] if to > at else chain[at - 1][1])
        return found

    return _Draft(nodes, hops, sids, towards, {node: list(own) for node, own in sids.items()})


def _general(scenario: Scenario, fabric: Fabric, links: Sequence[Link]) -> _Draft:
    """The nodes and links of the fabric as they are; routes by the least cost."""
    spec = scenario.network
    costs = [link.cost for link in spec.links] if isinstance(spec, GraphSpec) else [1] * len(fabric.edges)
    hops = [
        _Hop(edge.ends, (links[edge.forward], links[edge.back]), (edge.forward, edge.back), cost)
        for edge, cost in zip(fabric.edges, costs, strict=True)
    ]
    allocated = Sids(fabric.nodes(), scenario.srv6.mode, scenario.srv6.block, scenario.srv6.locators)
    sids: dict[str, dict[str, tuple[Sid, int]]] = {node: {} for node in fabric.nodes()}
    reach = {node: [str(allocated.locator(node))] for node in fabric.nodes()}
    for node, own in sids.items():
        prefix, bits = _sid_prefix(allocated.end(node), scenario)
        own[prefix] = (Sid("End", None, bits), -1)
    hop_of = {number: place for place, hop in enumerate(hops) for number in hop.numbers}
    for link, (node, number) in adjacencies(fabric.edges).items():
        prefix, bits = _sid_prefix(allocated.adjacency(node, number), scenario)
        sids[node][prefix] = (Sid("End.X", None, bits), hop_of[link])
    for node, prefixes in _decapsulation(scenario, fabric.attachments, allocated, sids).items():
        reach[node] += prefixes
    graph = nx.Graph()
    graph.add_nodes_from(sids)
    around: dict[str, list[int]] = {node: [] for node in sids}
    for place, hop in enumerate(hops):
        a, b = hop.ends
        known = graph.get_edge_data(a, b, {"cost": hop.cost})["cost"]
        graph.add_edge(a, b, cost=min(known, hop.cost))
        around[a].append(place)
        around[b].append(place)
    distance = dict(nx.all_pairs_dijkstra_path_length(graph, weight="cost"))

    def towards(node: str, target: str) -> list[int]:
        if target not in distance[node]:
            return []
        left = distance[node][target]
        return [
            place for place in around[node] if hops[place].cost + distance[_other(hops[place], node)][target] == left
        ]

    return _Draft(list(sids), hops, sids, towards, reach)


def _other(hop: _Hop, node: str) -> str:
    return hop.ends[1] if hop.ends[0] == node else hop.ends[0]


def _decapsulation(
    scenario: Scenario,
    attachments: Sequence[Attachment],
    allocated: Sids | None,
    sids: dict[str, dict[str, tuple[Sid, int]]],
) -> dict[str, list[str]]:
    """Add the SIDs that unpack at each attachment; returns their prefixes by node.

    The kernel refuses End.DT4 and End.DT46 where no VRF is built in, so all hand over to the host (End.DX4, End.DX6).
    The next hop is set when hosts have addresses: here it is the attachment's number.
    """
    found: dict[str, list[str]] = {}
    for number, place in enumerate(attachments):
        given = place.decapsulate
        if not given:
            assert allocated is not None
            given = allocated.decapsulate(place.node, 4), allocated.decapsulate(place.node, 6)
        for sid, action in zip(given, ("End.DX4", "End.DX6"), strict=True):
            prefix, bits = _sid_prefix(sid, scenario)
            if prefix in sids[place.node]:
                raise InputError(
                    f"attachments: {sid} at {place.name} would unpack for two hosts or for IPv4 and IPv6 alike, which "
                    "namespaces cannot (End.DT46 needs a VRF): give decapsulate_ipv4 and decapsulate_ipv6 of its own"
                )
            sids[place.node][prefix] = (Sid(action, str(number), bits), -1)
            found.setdefault(place.node, []).append(prefix)
    return found


def _laid_out(
    scenario: Scenario, attachments: Sequence[Attachment], draft: _Draft, name: str, mtu: int, burst_bytes: int
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
        shapers = tuple(None if link is None else _shaper(link, burst_bytes) for link in hop.links)
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
    bed = Bed(name, mtu, [*spaces.values(), *hosts], wires, [])
    bed.notes += _notes(scenario, draft)
    return bed


def _routes(
    space: Space,
    draft: _Draft,
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
            yield Route(prefix, ((mine.name, ""),), Sid(sid.action, mine.peer_ipv6, sid.identifier_bits))
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


def _shaper(link: Link, burst_bytes: int) -> Shaper:
    limit = UNBOUNDED_BYTES if link.buffer_bytes is None else link.buffer_bytes
    return Shaper(link.name, link.rate_bps, limit, burst_bytes, link.overhead_bytes)


def _notes(scenario: Scenario, draft: _Draft) -> Iterable[str]:
    shaped = [link for hop in draft.hops for link in hop.links if link is not None]
    if any(link.delay_ns for link in shaped):
        yield "the propagation delay of links is not emulated: compare with a forecast that has the delay measured"
    if any(link.ecn_bytes is not None for link in shaped):
        yield "links do not mark (ECN)"
    if scenario.network.host_links is not None:
        yield "the links of hosts are not shaped: an attachment has one host for all its addresses"
    if scenario.events:
        yield "events of links do not happen"


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def _mac(number: int) -> str:
    return (0x02_5E_9C_00_00_00 + number).to_bytes(6, "big").hex(":")
