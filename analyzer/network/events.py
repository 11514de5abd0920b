"""What happens to links: events name a link, a node with all its links, or a group that the scenario has named."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from segcast.analyzer.network.fabric import Assembled, Edge, intended, matching, some_of
from segcast.analyzer.network.model import Change, Network
from segcast.analyzer.toml_keys import Place, WrongKey

What = Literal["link", "node", "group"]
Groups = Mapping[str, Sequence[str]]
"""Shared-risk groups: what fails together, each a list of nodes and links."""


class Event(NamedTuple):
    """From `at_ns` after the first packet on, what is named has the rate; None: the one it was built with."""

    at_ns: int
    what: What
    name: str
    rate_bps: int | None


def with_events(
    assembled: Assembled,
    events: Sequence[tuple[int, Event]],
    first_ns: int,
    detection_ns: int,
    groups: Groups | None = None,
) -> Network:
    """The network with what happens to its links; each event comes with its number in the scenario.

    Both directions of a link change. Raises WrongKey if an event fits nothing.
    """
    network, edges = assembled.network, assembled.edges
    changes: list[Change] = []
    for number, event in events:
        for place in edges_of(edges, event.what, event.name, ("events", number, event.what), groups or {}):
            for link in (edges[place].forward, edges[place].back):
                rate_bps = network.links[link].rate_bps if event.rate_bps is None else event.rate_bps
                changes.append(Change(first_ns + event.at_ns, link, rate_bps))
    changes.sort(key=lambda change: change.time_ns)
    return replace(network, changes=tuple(changes), detection_ns=detection_ns)


def edges_of(edges: Sequence[Edge], what: What, name: str, key: Place, groups: Groups) -> list[int]:
    """The places of the edges that a link's pattern, a node's or a group's name means, each once.

    Raises WrongKey if that is nothing; `key` is where the name stands.
    """
    if what == "link":
        return matching(edges, name, key)
    if what == "node":
        return _of_nodes(edges, name, key)
    if name not in groups:
        raise WrongKey(key, f"no group is called {name!r}{intended(name, list(groups))}; name it in [groups]")
    found = {
        place
        for number, member in enumerate(groups[name])
        for place in _of_member(edges, member, ("groups", name, number))
    }
    return sorted(found)


def nodes_of(edges: Sequence[Edge]) -> tuple[str, ...]:
    """The nodes that links join, in the order in which links name them."""
    return tuple(dict.fromkeys(end for edge in edges for end in edge.ends))


def _of_member(edges: Sequence[Edge], member: str, key: Place) -> list[int]:
    """A member of a group is a node if there is one that fits, else a link."""
    if any(fnmatch.fnmatchcase(node, member) for node in nodes_of(edges)):
        return _of_nodes(edges, member, key)
    return matching(edges, member, key, "link or node")


def _of_nodes(edges: Sequence[Edge], pattern: str, key: Place) -> list[int]:
    found = [place for place, edge in enumerate(edges) if any(fnmatch.fnmatchcase(node, pattern) for node in edge.ends)]
    if not found:
        nodes = nodes_of(edges)
        hint = intended(pattern, nodes)
        if any(fnmatch.fnmatchcase(edge.name, pattern) for edge in edges):
            hint = f', but a link is: write link = "{pattern}"'
        raise WrongKey(key, f"no node is called {pattern!r}{hint}; there are {some_of(nodes)}")
    return found
