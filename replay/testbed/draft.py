"""Which nodes, wires and SIDs a scenario's network has, and by which wires packets go from node to node.

Sources: RFC 8986 sections 4.1 (End), 4.2 (End.X), 4.4 (End.DX6) and 4.5 (End.DX4); RFC 9800 section 4.1 (NEXT-C-SID).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from segcast.analyzer.network.fabric import Attachment, Fabric, adjacencies, link_names
from segcast.analyzer.network.model import Link
from segcast.analyzer.network.sid_table import chain_node
from segcast.analyzer.network.sids import Layout, Sids
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.errors import InputError


@dataclass(frozen=True, slots=True)
class Sid:
    """What a node does with packets to a SID of its own: `action` as the kernel calls it, `next_hop` where it has one.

    `identifier_bits`: of a uSID, how many follow the block of `block_bits` (RFC 9800 NEXT-C-SID); 0 for a plain SID.
    """

    action: str
    next_hop: str | None = None
    identifier_bits: int = 0
    block_bits: int = 0


class Hop(NamedTuple):
    """A wire between nodes, and the links whose queues stand before it in both directions."""

    ends: tuple[str, str]
    links: tuple[Link | None, Link | None]
    numbers: tuple[int, int] = (-1, -1)
    cost: int = 1


class Draft(NamedTuple):
    """Nodes' wires, the SIDs of each node by prefix, and the neighbours of a node on the way to another."""

    nodes: Sequence[str]
    hops: Sequence[Hop]
    sids: dict[str, dict[str, tuple[Sid, int]]]  # prefix -> the SID, and for End.X the hop it names
    towards: Callable[[str, str], list[int]]  # (node, target) -> hops
    reach: dict[str, list[str]]  # prefixes by which others reach a node's SIDs


def _on_the_way(action: str, identifier_bits: int, layout: Layout) -> Sid:
    """An End or End.X, whose next hop is set when interfaces have addresses."""
    return Sid(action, None, identifier_bits, layout.block_bits if identifier_bits else 0)


def draft_of(scenario: ValidScenario, fabric: Fabric, links: Sequence[Link]) -> Draft:
    """The draft of a fabric; `links` are its links as a network has them. Raises InputError for paths without SIDs."""
    routes = fabric.routes(0, 1)
    if routes.segments is None:
        return _as_it_is(scenario, fabric, links)
    return _chains(scenario, fabric, links, routes.segments)


def _chains(scenario: ValidScenario, fabric: Fabric, links: Sequence[Link], segments: Sequence[Sequence[str]]) -> Draft:
    """Each path, with its SIDs, a chain of nodes of its own between the two attachments.

    It has a node for each SID or inner hop, whichever are more. Hops without a link of the scenario are not shaped.
    """
    layout = scenario.srv6.layout()
    left, right = (attachment.node for attachment in fabric.attachments)
    hops: list[Hop] = []
    sids: dict[str, dict[str, tuple[Sid, int]]] = {left: {}, right: {}}
    chains: list[list[tuple[str, int]]] = []  # (node, the hop behind it) from left to right
    nodes = [left]
    seen: dict[str, int] = {}
    for slot, own in enumerate(segments):
        way = fabric.routes(0, 1).paths[slot]
        back = fabric.routes(1, 0).paths[slot][::-1]
        transit = [f"path{slot}.{n}" for n in range(max(len(way) - 1, 1))]
        if not own and len(segments) > 1:
            raise InputError(f"network.paths[{slot}]: has no segments, so no packet could be steered onto it; give one")
        for number, segment in enumerate(own):
            if seen.setdefault(segment, slot) != slot:
                raise InputError(
                    f"network.paths[{slot}]: {segment} is on path {seen[segment]} too; a SID is one node's"
                )
            prefix, bits = layout.matched(segment)
            sids.setdefault(chain_node(slot, number, len(way)), {})[prefix] = (_on_the_way("End", bits, layout), -1)
        nodes += transit
        chain = [left, *transit, right]
        chains.append([])
        for number, (a, b) in enumerate(itertools.pairwise(chain)):
            shaped = number < len(way)
            # A chain of one link has two hops: the queue stands where packets come from, on the first hop of each way.
            backwards = number == 1 if len(way) == 1 else shaped
            forward_link = links[way[number]] if shaped else None
            back_link = links[back[0 if len(way) == 1 else number]] if backwards else None
            chains[-1].append((a, len(hops)))
            hops.append(Hop((a, b), (forward_link, back_link)))
        chains[-1].append((right, -1))
    nodes.append(right)
    _decapsulation(scenario, fabric.attachments, None, sids)

    def towards(node: str, target: str) -> list[int]:
        found = []
        for chain in chains:
            order = [name for name, _ in chain]
            if node in order and target in order:
                at, to = order.index(node), order.index(target)
                found.append(chain[at][1] if to > at else chain[at - 1][1])
        return found

    return Draft(nodes, hops, sids, towards, {node: list(prefixes) for node, prefixes in sids.items()})


def _as_it_is(scenario: ValidScenario, fabric: Fabric, links: Sequence[Link]) -> Draft:
    """The nodes and links of the fabric as they are; routes by the least cost."""
    import networkx as nx  # here: it takes 0.2 s to import

    hops = [
        Hop(edge.ends, (links[edge.forward], links[edge.back]), (edge.forward, edge.back), edge.cost)
        for edge in fabric.edges
    ]
    layout = scenario.srv6.layout()
    allocated = Sids(fabric.nodes(), link_names(fabric.edges), layout)
    sids: dict[str, dict[str, tuple[Sid, int]]] = {node: {} for node in fabric.nodes()}
    reach = {
        node: [str(allocated.locator(node)), *(layout.matched(sid)[0] for sid in allocated.outside(node))]
        for node in fabric.nodes()
    }
    for node, own in sids.items():
        prefix, bits = layout.matched(allocated.end(node))
        own[prefix] = (_on_the_way("End", bits, layout), -1)
    hop_of = {number: place for place, hop in enumerate(hops) for number in hop.numbers}
    for link, (node, number) in adjacencies(fabric.edges).items():
        prefix, bits = layout.matched(allocated.adjacency(node, number))
        sids[node][prefix] = (_on_the_way("End.X", bits, layout), hop_of[link])
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

    return Draft(list(sids), hops, sids, towards, reach)


def _other(hop: Hop, node: str) -> str:
    return hop.ends[1] if hop.ends[0] == node else hop.ends[0]


def _decapsulation(
    scenario: ValidScenario,
    attachments: Sequence[Attachment],
    allocated: Sids | None,
    sids: dict[str, dict[str, tuple[Sid, int]]],
) -> dict[str, list[str]]:
    """Add the SIDs that unpack at each attachment; returns their prefixes by node.

    The kernel refuses End.DT4 and End.DT46 where no VRF is built in, so all hand over to the host (End.DX4, End.DX6).
    The next hop is set when hosts have addresses: here it is the attachment's number.
    """
    layout = scenario.srv6.layout()
    found: dict[str, list[str]] = {}
    for number, place in enumerate(attachments):
        given = place.decapsulate
        if not given:
            assert allocated is not None
            given = allocated.decapsulate(place.node, 4), allocated.decapsulate(place.node, 6)
        for sid, action in zip(given[:2], ("End.DX4", "End.DX6"), strict=True):
            prefix, _ = layout.matched(sid)
            if prefix in sids[place.node]:
                raise InputError(
                    f"attachments: {sid} at {place.name} would unpack for two hosts or for IPv4 and IPv6 alike, which "
                    "namespaces cannot (End.DT46 needs a VRF): give decapsulate_ipv4 and decapsulate_ipv6 of its own"
                )
            sids[place.node][prefix] = (Sid(action, str(number)), -1)
            found.setdefault(place.node, []).append(prefix)
    return found
