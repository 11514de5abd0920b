"""What links and paths are called by the nodes they join, and what happens to them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from segcast.reports import text
from segcast.reports.forecast.data import Forecast

_BACK: Final = "-back"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to links at a time from the first packet on, in words."""

    at_ns: int
    words: str


class Places:
    """Names of the links and paths of a forecast's network."""

    def __init__(self, forecast: Forecast) -> None:
        self._network = forecast.section("network")
        self._sids = forecast.section("sids").get("sids") or []

    @cached_property
    def ends(self) -> Mapping[str, tuple[str, str]]:
        """The nodes that a link joins, by its name, as far as SIDs tell."""
        return {
            row["link"]: (row["node"], row["neighbor"])
            for row in self._sids
            if row.get("link") and row.get("neighbor") and row.get("node")
        }

    @cached_property
    def rates(self) -> Mapping[str, int]:
        """The rates that links were built with."""
        return {link.get("name", ""): link.get("rate_bps") or 0 for link in self._network.get("links") or []}

    def path_names(self, paths: Sequence[int]) -> list[str]:
        """What to call paths: by the nodes between their ends where these tell them apart, else by number."""
        links = {path.get("path_id", -1): path.get("links") or [] for path in self._network.get("paths") or []}
        between = [[self.ends.get(name, ("", ""))[1] for name in links.get(path, [])[:-1]] for path in paths]
        names = [", ".join(nodes) for nodes in between]
        if all(nodes and all(nodes) for nodes in between) and len(set(names)) == len(names):
            return [f"via {name}" for name in names]
        return [f"path {path}" for path in paths]

    @cached_property
    def events(self) -> list[Event]:
        """What happens to links, in order of time; what happens to all links of a node happens to the node."""
        changes = self._network.get("changes") or []
        found = []
        for at_ns, those in itertools.groupby(changes, key=lambda change: int(change.get("at_ns") or 0)):
            states: dict[str, set[str]] = {}
            for change in those:
                states.setdefault(self._state(change), set()).add(change.get("link", ""))
            said = [f"{text.listed(list(self._named(links)), 'links')} {state}" for state, links in states.items()]
            found.append(Event(at_ns, ", ".join(said)))
        return found

    def _state(self, change: Mapping[str, Any]) -> str:
        rate = change.get("rate_bps") or 0
        if not rate:
            return "down"
        return "up" if rate == self.rates.get(change.get("link", "")) else f"at {text.rate(rate)}"

    def _named(self, links: set[str]) -> Iterator[str]:
        """Nodes all of whose links are there, then the links left, both directions as one."""
        of_node: dict[str, set[str]] = {}
        for name, ends in self.ends.items():
            for node in ends:
                of_node.setdefault(node, set()).add(name)
        left = set(links)
        # Where all links of a leaf and of a spine are down, the node with more of them says more.
        for node, whole in sorted(of_node.items(), key=lambda item: -len(item[1])):
            if len(whole) > 2 and whole <= links and whole & left:
                left -= whole
                yield node
        for name in sorted(left):
            if not (name.endswith(_BACK) and name.removesuffix(_BACK) in left):
                yield name
