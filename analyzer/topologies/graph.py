"""graph: any network of nodes and links, written in the scenario or read from a file of networkx's."""

from __future__ import annotations

import io
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from xml.etree import ElementTree

from pydantic import Field, ValidationError, model_validator

from segcast.analyzer.network.fabric import Edge, Fabric, Routes, full_duplex
from segcast.analyzer.network.numbered import HostCount
from segcast.analyzer.network.shapes import LinkShape, LinkSpec
from segcast.analyzer.toml_keys import Where, WrongKey
from segcast.analyzer.topologies.registry import AttachmentSpec, NetworkBase, attach, common, register
from segcast.analyzer.values import Name, explained
from segcast.traces.disk.bounded import read_bounded, read_bounded_text
from segcast.traces.errors import InputError

_COST: Final = "cost"
_LINK_KEYS: Final = ("name", "rate", "delay", "buffer", "ecn", "overhead", "burst", _COST)


class GraphLinkSpec(LinkSpec):
    """A full-duplex link between two nodes."""

    ends: tuple[Name, Name] = Field(description="the nodes it joins")
    cost: int = Field(
        default=1, ge=1, le=1_000_000, description="what routing counts it as; the shortest paths cost least"
    )


class GraphSpec(NetworkBase):
    """Any connected nodes. A file is read once: what is written of the scenario holds its links."""

    kind: Literal["graph"] = Field(description="any network, from links or from a file")
    file: str | None = Field(
        default=None,
        description="JSON (node-link data) or GraphML as networkx writes them, from the scenario's folder; edges carry "
        "rate, delay, buffer, ecn, overhead, burst, cost and name, and nodes that hosts are attached to `attachment`",
    )
    link: LinkShape | None = Field(default=None, description="what edges of the file do not say")
    links: Annotated[tuple[GraphLinkSpec, ...], Field(max_length=100_000)] = Field(
        default=(), description="instead of a file"
    )
    hosts_per_attachment: HostCount | None = Field(
        default=None,
        description="hosts that flow lists number, attachment by attachment; number A, if it has no prefixes, has "
        "10.0.A.0/24",
    )
    paths: Literal["shortest", "k-shortest"] = Field(
        default="shortest", description="of a pair: all of the least cost, or the `k` that cost least"
    )
    k: int = Field(default=4, ge=1, le=1024, description="how many paths, if `k-shortest`")
    max_paths: int = Field(default=64, ge=1, le=1024, description="refuse pairs with more paths")

    @model_validator(mode="after")
    def _either(self) -> GraphSpec:
        if not self.links:
            raise ValueError("give links or a file")
        return self


def _edge_name(file: Path, ends: Sequence[object]) -> str:
    """What errors call an edge of a graph file."""
    return f"{file}: edge {ends[0]}-{ends[1]}"


def read_files(data: dict[str, Any], folder: Path, where: Where) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A scenario's data with the links of its graph file, so that what is written of it needs no other file.

    And what errors call each of these links. Without a file the data stay as they are. Raises InputError.
    """
    network = dict(data["network"])
    if not isinstance(network.get("file"), str):
        return data, ()
    file = folder / network.pop("file")
    if "links" in network:
        raise InputError(f"{where(('network', 'file'))}: give a file or links, not both")
    shape = network.pop("link", {})
    try:
        LinkShape.model_validate({"rate": "1Gbps", **shape} if isinstance(shape, dict) else shape)
    except ValidationError as error:
        place, message = explained(error, LinkShape)
        raise InputError(f"{where(('network', 'link', *place))}: {message}") from None
    try:
        links, attachments = _read_graph(file, shape)
    except InputError as error:
        raise InputError(f"{where(('network', 'file'))}: {error}") from None
    whole = {**data, "network": {**network, "links": links}}
    if "attachments" not in data and attachments:
        whole["attachments"] = attachments
    return whole, tuple(_edge_name(file, link["ends"]) for link in links)


def _read_graph(file: Path, shape: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Links and attachments of a graph file, as a scenario writes them; `shape` is what edges do not say.

    Raises InputError naming the file, and the edge.
    """
    graph = _load(file)
    if graph.is_directed():
        raise InputError(f"{file}: is a directed graph; links are full duplex, so give an undirected one")
    links = []
    for a, b, carried in graph.edges(data=True):
        unknown = sorted(set(carried) - set(_LINK_KEYS) - {"key", "id"})
        if unknown:
            there = ", ".join(_LINK_KEYS)
            raise InputError(f"{_edge_name(file, (a, b))}: unknown {unknown[0]!r}; edges carry {there}")
        links.append({"name": f"{a}-{b}", **shape, **{key: carried[key] for key in _LINK_KEYS if key in carried}})
        links[-1]["ends"] = [str(a), str(b)]
    several = {name for name, count in Counter(link["name"] for link in links).items() if count > 1}
    numbers: Counter[str] = Counter()
    for link in links:
        if (name := link["name"]) in several:
            link["name"] = f"{name}.{numbers[name]}"
            numbers[name] += 1
    attachments = []
    for node, carried in graph.nodes(data=True):
        if named := carried.get("attachment"):
            attachments.append({"name": str(node) if named is True else str(named), "node": str(node)})
    return links, attachments


def _load(file: Path) -> Any:
    import networkx as nx  # here and below: it takes 0.2 s to import, and few scenarios have graphs

    try:
        if file.suffix.lower() in (".graphml", ".xml"):
            content = read_bounded(file)
            tree = ElementTree.ElementTree(ElementTree.fromstring(content))
            nodes = [node.get("id") for node in tree.findall(".//{*}node")]
            _check_ends(file, nodes, [(edge.get("source"), edge.get("target")) for edge in tree.findall(".//{*}edge")])
            return nx.read_graphml(io.BytesIO(content))
        document = json.loads(read_bounded_text(file))
        edges = "edges" if "edges" in document else "links"
        nodes = [node["id"] for node in document["nodes"]]
        _check_ends(file, nodes, [(edge["source"], edge["target"]) for edge in document[edges]])
        return nx.node_link_graph(document, edges=edges)
    except OSError as error:
        raise InputError(f"{file}: cannot read the graph: {error.strerror}") from None
    except RecursionError:
        raise InputError(f"{file}: is no graph: it is nested too deeply") from None
    except (nx.NetworkXError, ValueError, KeyError, TypeError, SyntaxError, AttributeError) as error:
        raise InputError(f"{file}: neither node-link JSON nor GraphML as networkx writes it: {error}") from None


def _check_ends(file: Path, nodes: Sequence[object], edges: Sequence[tuple[object, object]]) -> None:
    """Refuse an edge to no node of the file: networkx would make the node."""
    known = {str(node) for node in nodes}
    for ends in edges:
        for end in ends:
            if str(end) not in known:
                raise InputError(f"{_edge_name(file, ends)}: the file has no node {end!r}; add it, or correct the edge")


def build(spec: GraphSpec, attachments: Sequence[AttachmentSpec]) -> Fabric:
    """Slots of a pair: by cost, then by the order of nodes on the way, then by the number of parallel links."""
    graph = _Graph(spec)
    given = [attachment.node or attachment.name for attachment in attachments]
    unknown = [node for node in given if node not in graph.nodes]
    if unknown:
        raise WrongKey(("attachments", given.index(unknown[0])), f"the network has no node {unknown[0]!r}")
    if not given:
        raise WrongKey(("attachments",), "say where hosts are: [[attachments]] with name and node, or a node attribute")
    places = attach(list(dict.fromkeys(given)), attachments, spec.hosts_per_attachment)

    def routes(a: int, b: int) -> Routes:
        low, high = sorted((a, b))
        ways = graph.ways(places[low].node, places[high].node)
        if a > b:
            ways = [graph.backwards(way) for way in ways]
        return Routes(tuple(ways), (len(ways),))

    return Fabric(
        graph.edges,
        graph.links,
        places,
        routes,
        graph.explicit(),
        per_attachment=spec.hosts_per_attachment,
        **common(spec),
    )


class _Graph:
    """The links of a scenario as networkx sees them: between two nodes only the cheapest count, all of those."""

    def __init__(self, spec: GraphSpec) -> None:
        import networkx as nx

        self._spec = spec
        self._nx = nx
        edges, self.links = full_duplex([(link.name, link.ends, link) for link in spec.links])
        self.edges = tuple(edge._replace(cost=link.cost) for edge, link in zip(edges, spec.links, strict=True))
        self._graph = nx.Graph()
        self._between: dict[tuple[str, str], list[int]] = {}
        self._back: dict[int, int] = {}
        seen: set[str] = set()
        for number, (edge, link) in enumerate(zip(self.edges, spec.links, strict=True)):
            place = ("network", "links", number)
            if edge.name in seen:
                raise WrongKey((*place, "name"), f"two are called {edge.name}")
            seen.add(edge.name)
            a, b = edge.ends
            if a == b:
                raise WrongKey((*place, "ends"), f"{edge.name} joins {a} to itself")
            self._add(edge, a, b, link.cost)
        self.nodes = list(self._graph)
        self._order = {node: place for place, node in enumerate(self.nodes)}

    def _add(self, edge: Edge, a: str, b: str, cost: int) -> None:
        known = self._graph.get_edge_data(a, b)
        self._back |= {edge.forward: edge.back, edge.back: edge.forward}
        if known is not None and known[_COST] < cost:
            return
        if known is None or known[_COST] > cost:
            self._between[a, b], self._between[b, a] = [], []
            self._graph.add_edge(a, b, cost=cost)
        self._between[a, b].append(edge.forward)
        self._between[b, a].append(edge.back)

    def explicit(self) -> frozenset[int]:
        """Links that the shortest way to their far end does not surely take."""
        uniform = len({link.cost for link in self._spec.links}) == 1
        found = {link for links in self._between.values() if len(links) > 1 for link in links}
        if not uniform:
            for (a, b), links in self._between.items():
                ways = list(itertools.islice(self._nx.all_shortest_paths(self._graph, a, b, weight=_COST), 2))
                if ways != [[a, b]]:
                    found |= set(links)
        return frozenset(found)

    def backwards(self, way: Sequence[int]) -> tuple[int, ...]:
        """The links of the opposite direction, last one first."""
        return tuple(self._back[link] for link in reversed(way))

    def ways(self, a: str, b: str) -> list[tuple[int, ...]]:
        """The paths from a to b in slot order. Raises WrongKey if there are none, or too many."""
        spec = self._spec
        try:
            if spec.paths == "shortest":
                return self._all_shortest(a, b)
            return list(itertools.islice(self._by_cost(a, b), spec.k))
        except self._nx.NetworkXNoPath:
            raise WrongKey(
                ("network",), f"no path leads from {a} to {b}, and the trace has packets between them"
            ) from None

    def _all_shortest(self, a: str, b: str) -> list[tuple[int, ...]]:
        most = self._spec.max_paths
        found = list(itertools.islice(self._nx.all_shortest_paths(self._graph, a, b, weight=_COST), most + 1))
        found.sort(key=lambda nodes: [self._order[node] for node in nodes])
        ways = list(itertools.islice((way for nodes in found for way in self._links(nodes)), most + 1))
        if len(ways) > most:
            raise WrongKey(
                ("network",),
                f"more than {most} paths of the least cost lead from {a} to {b}; raise network.max_paths, or take "
                'some: network.paths = "k-shortest", network.k',
            )
        return ways

    def _by_cost(self, a: str, b: str) -> Iterator[tuple[int, ...]]:
        for nodes in self._nx.shortest_simple_paths(self._graph, a, b, weight=_COST):
            yield from self._links(nodes)

    def _links(self, nodes: Sequence[str]) -> Iterator[tuple[int, ...]]:
        return itertools.product(*(self._between[pair] for pair in itertools.pairwise(nodes)))


register(kind="graph", spec=GraphSpec, build=build, read_files=read_files)
