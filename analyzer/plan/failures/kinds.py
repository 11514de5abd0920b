"""Which failures are tried: every link, node or shared-risk group of a fabric, alone or two at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from segcast.analyzer.network.events import edges_of, nodes_of
from segcast.analyzer.network.fabric import Edge
from segcast.analyzer.network.model import Network
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.traces.errors import InputError

Kind = Literal["links", "nodes", "groups"]
KINDS: Final = ("links", "nodes", "groups")
MOST_PAIRS: Final = 1000


class Failure(NamedTuple):
    """What fails at once: its name, and the links that go down, both directions of each, by number."""

    name: str
    links: tuple[int, ...]


class Failures(NamedTuple):
    """The failures to try, and how many pairs there would have been in all (0: none were asked for).

    `idle` are those whose links no packet of the traffic could take; they change nothing, so they are not run.
    """

    tried: tuple[Failure, ...]
    idle: tuple[str, ...]
    pairs: int


def failures_of(scenario: ValidScenario, network: Network, edges: Sequence[Edge], kind: Kind, pairs: int) -> Failures:
    """Every single failure of a kind and, of their pairs, the first `pairs`: those that share a node before others.

    Raises InputError if there is none.
    """
    fabric = scenario.fabric()
    singles = [
        (name, tuple(sorted({link for place in places for link in (edges[place].forward, edges[place].back)})))
        for name, places in _singles(kind, edges, fabric.edges, scenario.groups)
    ]
    if not singles:
        raise InputError(f'{scenario.source}: has no [groups] to fail; name some, such as "chassis-a" = ["spine0"]')
    useful = {link for path in network.paths for link in path.links}
    useful |= set(range(len(fabric.links), len(network.links)))
    tried = [Failure(name, links) for name, links in singles if not useful.isdisjoint(links)]
    idle = tuple(name for name, links in singles if useful.isdisjoint(links))
    if not tried:
        raise InputError(
            f"none of {len(idle)} {kind} is on a path of the traffic, so no failure of them changes anything"
        )
    chosen = _pairs(tried, edges, pairs)
    return Failures((*tried, *chosen), idle, math.comb(len(tried), 2) if pairs else 0)


def _singles(
    kind: Kind, edges: Sequence[Edge], of_fabric: Sequence[Edge], groups: Mapping[str, Sequence[str]]
) -> list[tuple[str, list[int]]]:
    """Names and places of edges. Hosts and their links do not fail alone, but a node takes its hosts' links with it."""
    if kind == "links":
        return [(edge.name, [place]) for place, edge in enumerate(of_fabric)]
    if kind == "nodes":
        return [
            (node, [place for place, edge in enumerate(edges) if node in edge.ends]) for node in nodes_of(of_fabric)
        ]
    return [(name, edges_of(edges, "group", name, ("groups", name), groups)) for name in groups]


def _pairs(singles: Sequence[Failure], edges: Sequence[Edge], most: int) -> list[Failure]:
    """Two at a time, at most so many: first those that share a node, then the others, spread over all of them."""
    if not most:
        return []
    ends = {link: set(edge.ends) for edge in edges for link in (edge.forward, edge.back)}
    nodes = [set().union(*(ends[link] for link in failure.links)) for failure in singles]
    near: list[tuple[int, int]] = []
    far: list[tuple[int, int]] = []
    for a, b in itertools.combinations(range(len(singles)), 2):
        (near if nodes[a] & nodes[b] else far).append((a, b))
    near = _spread(near, most)
    chosen = near + _spread(far, most - len(near))
    return [
        Failure(f"{singles[a].name} + {singles[b].name}", tuple(sorted({*singles[a].links, *singles[b].links})))
        for a, b in chosen
    ]


def _spread(pairs: list[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """At most so many of them, evenly over all."""
    if len(pairs) <= most:
        return pairs
    return [pairs[number * len(pairs) // most] for number in range(most)]
