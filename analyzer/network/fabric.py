"""A fabric: nodes, full-duplex links and attachments, and how the network of a forecast is assembled from it.

A topology (analyzer/topologies) makes a `Fabric`; `assemble` builds of it the groups that the trace uses.
"""

from __future__ import annotations

import fnmatch
import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from segcast.analyzer.network.model import MAX_PATHS, Link, Network, Path
from segcast.analyzer.network.shapes import LinkShape, Override
from segcast.analyzer.network.sids import Flavor, Layout, Sids, srv6_bytes
from segcast.analyzer.network.srv6_modes import Mode
from segcast.analyzer.toml_keys import Place, WrongKey
from segcast.traces.errors import InputError
from segcast.traces.refusals import meant

BACK: Final = "-back"
_MAX_HOPS: Final = 250

Pair = tuple[int, int]
"""Where a group's flows enter and leave: two attachments, by number."""


class Edge(NamedTuple):
    """A full-duplex link: `forward` and `back` are its directions' places in the fabric's links, `ends` its nodes.

    `cost` is what routing counts it as: the shortest ways cost least.
    """

    name: str
    ends: tuple[str, str]
    forward: int
    back: int
    cost: int = 1


class Attachment(NamedTuple):
    """A point where hosts are attached: its name, its node, and what the scenario says of it.

    `decapsulate` are the SIDs that unpack IPv4 and IPv6 there, empty to have them allocated; `decapsulate_l2` the one
    that unpacks Ethernet. `place` is where the scenario says it.
    """

    name: str
    node: str
    prefixes: tuple[str, ...] = ()
    decapsulate: tuple[str, ...] = ()
    decapsulate_l2: str | None = None
    place: Place = ()


class Routes(NamedTuple):
    """The paths of one group in slot order, each as links by number, and the choices that lead to a slot.

    `segments` are the transit SIDs of each path if the scenario gives them. Such a path is a chain of nodes that the
    fabric does not name.
    """

    paths: tuple[tuple[int, ...], ...]
    tiers: tuple[int, ...]
    segments: tuple[tuple[str, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Fabric:
    """What a topology makes. `routes(a, b)` are the paths from attachment a to b; slot s of (b, a) is its way back.

    `explicit` are the links that a packet takes only if an End.X tells it to: the shortest way to the node behind is
    another one, or as good. `hosts` is the shape of hosts' links, if they are modelled, and `uplinks` that of the
    direction from hosts, if it is another. The groups of `always` are
    there whether the trace uses them or not. `deals` says whether hosts in no prefix may be dealt to attachments in
    turn. With `by_conversation` there are two attachments, and who talks with whom says where hosts are.
    `per_attachment` is how many hosts each attachment has where flow lists number them; None if they cannot.
    """

    edges: tuple[Edge, ...]
    links: tuple[Link, ...]
    attachments: tuple[Attachment, ...]
    routes: Callable[[int, int], Routes]
    explicit: frozenset[int] = frozenset()
    hosts: LinkShape | None = None
    uplinks: LinkShape | None = None
    minimum_frame_bytes: int = 60
    overrides: tuple[Override, ...] = ()
    always: tuple[Pair, ...] = ()
    deals: bool = True
    by_conversation: bool = False
    per_attachment: int | None = None

    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes, in the order in which links name them."""
        named = [node for edge in self.edges for node in edge.ends]
        return tuple(dict.fromkeys([*named, *(attachment.node for attachment in self.attachments)]))

    def names_its_sids(self) -> bool:
        """Whether the scenario gives the SIDs of each path, so that none are allocated to nodes and links."""
        return len(self.attachments) > 1 and self.routes(0, 1).segments is not None


def full_duplex(edges: Sequence[tuple[str, tuple[str, str], LinkShape]]) -> tuple[tuple[Edge, ...], tuple[Link, ...]]:
    """Edges of (name, ends, shape), and their links: all forward ones, then all others in the same order."""
    count = len(edges)
    made = tuple(Edge(name, ends, place, count + place) for place, (name, ends, _) in enumerate(edges))
    links = [shape.link(name) for name, _, shape in edges]
    return made, (*links, *(shape.link(name + BACK) for name, _, shape in edges))


def pairs_named(fabric: Fabric, groups: Sequence[tuple[str, str]]) -> list[Pair]:
    """The groups of a forecast, which name attachments, as pairs of them by number. Raises InputError."""
    numbers = {attachment.name: number for number, attachment in enumerate(fabric.attachments)}
    if missing := [name for pair in groups for name in pair if name not in numbers]:
        raise InputError(f"scenario.toml: has no attachment {missing[0]!r}, which the forecast names; forecast again")
    return [(numbers[a], numbers[b]) for a, b in groups]


def adjacencies(edges: Sequence[Edge]) -> dict[int, tuple[str, int]]:
    """For each direction of a link the node that sends on it, and its number among that node's, as in its End.X."""
    found: dict[int, tuple[str, int]] = {}
    ways: Counter[str] = Counter()
    for edge in edges:
        for link, node in zip((edge.forward, edge.back), edge.ends, strict=True):
            found[link] = (node, ways[node])
            ways[node] += 1
    return found


def link_names(edges: Sequence[Edge]) -> dict[str, list[str]]:
    """The names of the links of each node, in the order of their numbers among that node's."""
    found: dict[str, list[str]] = {}
    for edge in edges:
        for node in edge.ends:
            found.setdefault(node, []).append(edge.name)
    return found


def matching(edges: Sequence[Edge], pattern: str, key: Place, what: str = "link") -> list[int]:
    """The places of the edges whose name fits the pattern of a key. Raises WrongKey if there are none.

    `what` the pattern may be is said in errors.
    """
    names = [edge.name for edge in edges]
    found = [place for place, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise WrongKey(key, f"no {what} is called {pattern!r}{_hint(edges, pattern, key)}; there are {some_of(names)}")
    return found


def some_of(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _hint(edges: Sequence[Edge], pattern: str, key: Place) -> str:
    """What may have been meant by a pattern that fits no link: a node's links, or a link of nearly that name."""
    links = [edge.name for edge in edges if pattern in edge.ends]
    if links:
        fits = (f"*-{pattern}", f"{pattern}-*", f"*{pattern}*")
        names = [edge.name for edge in edges]
        way = next((fit for fit in fits if fnmatch.filter(names, fit) == links), None)
        ways = [f'node = "{pattern}"'] * (key[0] == "events") + ([f'link = "{way}"'] if way else [])
        return f", but a node is: write {' or '.join(ways)}" if ways else ", but a node is"
    return intended(pattern, [edge.name for edge in edges])


def intended(pattern: str, names: Sequence[str]) -> str:
    """The name that a pattern without wildcards nearly is, as a question; empty if there is none."""
    return "" if set(pattern) & set("*?[") else meant(pattern, names)


@dataclass(frozen=True, slots=True)
class Assembly:
    """How packets are to be steered over a fabric: the layout of SIDs; `max_sids` on the wire, None for no bound.

    `source_prefix` holds the hosts' own addresses, so no locator may. `tag` and `signed` (an HMAC) cost bytes.
    `flavors` are those of every node's End and End.X (RFC 8986 section 4.16).
    """

    layout: Layout
    source_prefix: str
    max_sids: int | None = None
    tag: int = 0
    signed: bool = False
    flavors: tuple[Flavor, ...] = ()

    @property
    def mode(self) -> Mode:
        """How packets are given their segment lists."""
        return self.layout.mode


class Assembled(NamedTuple):
    """A network, its edges with those of hosts, and for each group the SIDs that decapsulate (IPv4, IPv6).

    In layer 2 modes both are the one that unpacks Ethernet. Where SRHs are inserted nothing is unpacked. `groups` names
    the attachments between which the paths of each group lead.
    """

    network: Network
    edges: tuple[Edge, ...]
    groups: tuple[tuple[str, str], ...]
    decapsulate: tuple[tuple[str, str], ...]


def assemble(
    fabric: Fabric, assembly: Assembly, pairs: Sequence[Pair], hosts: Sequence[tuple[str, int]] = ()
) -> Assembled:
    """The network of these groups, one per pair, with an edge for each of the `hosts` (name, attachment) behind them.

    Raises InputError, WrongKey if of a key, if it cannot be built: too many paths or SIDs, ends not connected.
    """
    edges, links = _with_hosts(fabric, hosts)
    links = _overridden(edges, links, fabric.overrides)
    steering = Segments(fabric, assembly)
    paths: list[Path] = []
    tiers: list[tuple[int, ...]] = []
    for group, (a, b) in enumerate(pairs):
        if a == b:
            paths.append(Path(group, (), 0, 0))
            tiers.append((1,))
            continue
        routes, back = fabric.routes(a, b), fabric.routes(b, a)
        if len(paths) + len(routes.paths) > MAX_PATHS:
            raise WrongKey(
                ("network",),
                f"the trace uses {len(pairs)} pairs of attachments, and they have more than {MAX_PATHS} paths in all; "
                "bound the paths of a pair (network.paths, network.max_paths), or give fewer attachments",
            )
        for slot, way in enumerate(routes.paths):
            segments = steering.of(way) if routes.segments is None else routes.segments[slot]
            delay_ns = sum(links[link].delay_ns for link in back.paths[slot])
            paths.append(Path(group, way, steering.bytes(segments, b), delay_ns, segments))
        tiers.append(routes.tiers)
    network = Network(
        links,
        tuple(paths),
        fabric.minimum_frame_bytes,
        tiers=tuple(tiers),
        host_links=fabric.hosts is not None,
    )
    names = [attachment.name for attachment in fabric.attachments]
    groups = tuple((names[a], names[b]) for a, b in pairs)
    return Assembled(network, edges, groups, tuple(steering.decapsulate(b) for _, b in pairs))


def _with_hosts(fabric: Fabric, hosts: Sequence[tuple[str, int]]) -> tuple[tuple[Edge, ...], tuple[Link, ...]]:
    if fabric.hosts is None:
        return fabric.edges, fabric.links
    names = [name for name, _ in hosts]
    edges, links = list(fabric.edges), list(fabric.links)
    for name, attachment in hosts:
        node = fabric.attachments[attachment].node
        full = f"host-{name}" + (f"@{fabric.attachments[attachment].name}" if names.count(name) > 1 else "")
        edges.append(Edge(full, (name, node), len(links), len(links) + 1))
        links += [(fabric.uplinks or fabric.hosts).link(full), fabric.hosts.link(full + BACK)]
    return tuple(edges), tuple(links)


def _overridden(edges: Sequence[Edge], links: Sequence[Link], overrides: Sequence[Override]) -> tuple[Link, ...]:
    changed = list(links)
    for number, override in enumerate(overrides):
        for place in matching(edges, override.link, ("network", "overrides", number, "link")):
            for link in (edges[place].forward, edges[place].back):
                changed[link] = replace(changed[link], **override.changes())
    return tuple(changed)


class Segments:
    """The SIDs of a fabric's paths and attachments, and what they cost."""

    def __init__(self, fabric: Fabric, assembly: Assembly) -> None:
        self._fabric = fabric
        self._assembly = assembly
        self.mode = assembly.mode
        self._named = fabric.names_its_sids()
        links = {} if self._named else link_names(fabric.edges)
        self.sids = Sids(fabric.nodes(), links, assembly.layout)
        self._sources = ipaddress.IPv6Network(assembly.source_prefix)
        self._plain = {self.sids.end(node) for node in fabric.nodes()}
        self.ways = adjacencies(fabric.edges)
        if assembly.layout.given:
            self._check_given()

    def _check_given(self) -> None:
        """Raise WrongKey if a SID that is given belongs to something else, too, or is an address of hosts."""
        if self._named:
            raise WrongKey(("srv6", "sids"), "parallel paths name their SIDs themselves: give network.paths[].segments")
        for sid, owner in self.sids.owners.items():
            if owner.place and ipaddress.IPv6Address(sid) in self._sources:
                raise WrongKey(owner.place, f"{sid} lies in srv6.source_prefix {self._sources}, among hosts")
        for number in range(len(self._fabric.attachments)):
            self.decapsulate(number)

    def of(self, links: Sequence[int]) -> tuple[str, ...]:
        """The transit nodes in order; a node before a link that must be named gives its End.X instead of its End."""
        if len(links) > _MAX_HOPS:
            raise WrongKey(("network",), f"a path of {len(links)} links; at most {_MAX_HOPS} are supported")
        found: list[str] = []
        for hop, link in enumerate(links):
            node, place = self.ways[link]
            if (locator := self.sids.locator(node)).overlaps(self._sources):
                raise WrongKey(("srv6", "source_prefix"), f"{self._sources} lies in {locator} of {node}; give another")
            if link in self._fabric.explicit:
                found.append(self.sids.adjacency(node, place))
            elif hop:
                found.append(self.sids.end(node))
        return tuple(found)

    def decapsulate(self, attachment: int) -> tuple[str, str]:
        """The SIDs that unpack IPv4 and IPv6 at an attachment. Raises InputError if they could not."""
        place = self._fabric.attachments[attachment]
        if self._assembly.mode.layer_2:
            found = (place.decapsulate_l2 or self.sids.decapsulate(place.node, 2),) * 2
        elif place.decapsulate:
            found = place.decapsulate[0], place.decapsulate[1]
        else:
            found = self.sids.decapsulate(place.node, 4), self.sids.decapsulate(place.node, 6)
        if not self._assembly.mode.inserts:
            for sid in found:
                self._check_owner(place, sid)
                self._check_end(place, sid)
        return found

    def _check_owner(self, at: Attachment, sid: str) -> None:
        """Raise WrongKey if a SID that unpacks is that of a link, or of another node."""
        given = self._assembly.layout.given or at.decapsulate or at.decapsulate_l2
        if self._named or not given:
            return
        owner = self.sids.owners.get(sid)
        if owner is not None and not (owner.is_end and owner.node == at.node):
            raise WrongKey(owner.place or at.place, f"{sid} would be {owner.words}, and unpack at {at.name}")

    def _check_end(self, at: Attachment, sid: str) -> None:
        """A list that ends at an End SID needs flavour USD there, which unpacks IP only (RFC 8986 section 4.16.3)."""
        if sid not in self._plain:
            return
        if self._assembly.mode.layer_2:
            raise WrongKey(
                at.place, f"{sid} of {at.name} is an End SID, which unpacks no Ethernet; give an End.DX2 SID"
            )
        if "usd" not in self._assembly.flavors:
            raise WrongKey(
                at.place,
                f"{sid} of {at.name} is an End SID, which unpacks nothing unless its flavour is USD; "
                'give srv6.flavors = ["usd"], or an End.DT or End.DX SID',
            )

    def bytes(self, segments: tuple[str, ...], attachment: int) -> int:
        """What steering along these segments costs. Raises InputError if there are too many of them."""
        assembly = self._assembly
        count = max(len(assembly.layout.on_the_wire((*segments, last))) for last in self.decapsulate(attachment))
        if assembly.max_sids is not None and count > assembly.max_sids:
            what = "uSID carriers" if assembly.mode.compressed else "SIDs"
            raise WrongKey(
                ("srv6", "max_sids"),
                f"a path to {self._fabric.attachments[attachment].name} needs {count} {what}, but "
                f"srv6.max_sids is {assembly.max_sids}"
                + ("" if assembly.mode.compressed else '; mode = "usid" packs them'),
            )
        return srv6_bytes(count, assembly.mode, tag=assembly.tag, signed=assembly.signed)
