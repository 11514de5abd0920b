"""Links of a standing testbed that fail and recover while a list is sent, as a scenario's events say (docs/model.md).

Whoever receives from a link that is down drops what still comes over it, and says nothing: both ends keep their
interfaces, so nobody learns of it. Routing does `detection` later: then the routes to hosts, by which packets go that
no host steers, avoid what it knows to be down. Segment lists lead where they led.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import socket
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.live.generator import Timed
from segcast.replay.testbed.netlink import Requests
from segcast.replay.testbed.plan import Bed, Space
from segcast.replay.testbed.spaces import within
from segcast.replay.testbed.survey import carried

Ways = tuple[tuple[str, str], ...]
_End = tuple[str, str]  # namespace and interface


class Outage(NamedTuple):
    """A link that was down, and the frames that it took meanwhile; times in ns after the list's first start.

    `up_ns`: None if it was so to the end of the list. `late_ns`: by how much it failed or recovered late, the greater.
    """

    link: str
    down_ns: int
    up_ns: int | None
    late_ns: int
    packets: int
    bytes: int


class Failures:
    """What happens to links, while this is entered. Namespaces must stand as planned."""

    def __init__(self, bed: Bed, changes: Sequence[tuple[int, str, bool]], detection_ns: int) -> None:
        """`changes`, in order of time: when, which link, and whether it is up from then on."""
        self._bed = bed
        self._changes = changes
        self.left = len(changes)
        """How many changes are still to come."""
        self._detection_ns = detection_ns
        self._ends = _ends_of(bed)
        self._down: set[str] = set()
        self._open: dict[str, tuple[int, int, int, int]] = {}  # by link: when, how late, counters then
        self._outages: list[Outage] = []
        self._ways = ways_around(bed, ())
        self._sockets: dict[str, Requests] = {}
        self._indices: dict[str, dict[str, int]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Failures:
        # All sockets are opened before the list is sent: what is left to do at an event takes a fraction of a ms.
        touched = {space for _, link, _ in self._changes for space, _ in self._ends[link]}
        if touched:
            touched |= {space.namespace for space in self._bed.spaces if not space.host}
        for space in self._bed.spaces:
            if space.namespace in touched:
                opened, self._indices[space.namespace] = within(space.namespace, partial(_opened, space))
                self._sockets[space.namespace] = opened
                self._stack.push(opened)
        return self

    def __exit__(self, *_: object) -> None:
        """All links are up again, and all routes are as they were built."""
        with self._stack:
            for link in sorted(self._down):
                self._drops(link, False)
            for place, built in ways_around(self._bed, ()).items():
                if self._ways[place] != built:
                    self._lead(place, built)
            self._down.clear()

    def timed(self) -> list[Timed]:
        """What is to be done when; whoever sends the list does it."""
        found: list[Timed] = []
        for at_ns, group in itertools.groupby(self._changes, key=lambda change: change[0]):
            state = {link: up for _, link, up in group}
            found.append((at_ns, partial(self._change, at_ns, state)))
            known = {link: up for when, link, up in self._changes if when <= at_ns}
            down = frozenset(link for link, up in known.items() if not up)
            found.append((at_ns + self._detection_ns, partial(self._reroute, down)))
        return sorted(found, key=lambda each: each[0])

    def outages(self) -> list[Outage]:
        """What was down when; to be called before this is left."""
        still = [self._ended(link, None, 0) for link in list(self._open)]
        return sorted([*self._outages, *still], key=lambda each: (each.down_ns, each.link))

    def _change(self, at_ns: int, state: Mapping[str, bool], now_ns: int) -> None:
        self.left -= sum(when == at_ns for when, _, _ in self._changes)
        for link, up in state.items():
            if up == (link not in self._down):
                continue
            self._drops(link, not up)
            if up:
                self._down.discard(link)
                self._outages.append(self._ended(link, at_ns, now_ns - at_ns))
            else:
                self._down.add(link)
                self._open[link] = (at_ns, now_ns - at_ns, *self._carried(link))

    def _ended(self, link: str, up_ns: int | None, late_ns: int) -> Outage:
        down_ns, late_too_ns, packets, size = self._open.pop(link)
        now = self._carried(link)
        return Outage(link, down_ns, up_ns, max(late_ns, late_too_ns), now[0] - packets, now[1] - size)

    def _drops(self, link: str, drops: bool) -> None:
        space, interface = self._ends[link][1]
        self._sockets[space].set_black_hole(interface, drops=drops)

    def _carried(self, link: str) -> tuple[int, int]:
        space, interface = self._ends[link][0]
        return carried(self._sockets[space])[self._indices[space][interface]]

    def _reroute(self, down: frozenset[str], now_ns: int) -> None:
        for place, ways in ways_around(self._bed, down).items():
            if ways != self._ways[place]:
                self._lead(place, ways)

    def _lead(self, place: _End, ways: Ways) -> None:
        space, prefix = place
        indices = self._indices[space]
        self._ways[place] = ways  # first: at the end it is put back, whether or not this comes to its own
        self._sockets[space].replace_route(prefix, [(indices[name], gateway) for name, gateway in ways])


def failures_of(scenario: ValidScenario, assembled: Assembled, bed: Bed) -> Failures:
    """What the scenario's events do to a testbed of it. Raises InputError for what they cannot: another rate."""
    network = scenario.changed(assembled, 0)
    changes = []
    for change in network.changes:
        link = network.links[change.link]
        if change.rate_bps not in (0, link.rate_bps):
            raise scenario.wrong(
                ("events",), f"link {link.name}: a live run's links fail and recover; leave other rates out of it"
            )
        changes.append((change.time_ns, link.name, change.rate_bps > 0))
    return Failures(bed, changes, network.detection_ns)


def ways_around(bed: Bed, down: Collection[str]) -> dict[_End, Ways]:
    """The ways of each node's routes to hosts, by namespace and prefix, of paths without a link that is down.

    Where none is left all stay, as in a forecast.
    """
    peers = {end: other for wire in bed.wires for end, other in (wire, wire[::-1])}
    links = {
        (space.namespace, each.name): each.shaper.link
        for space in bed.spaces
        for each in space.interfaces
        if each.shaper is not None
    }
    hosts = {space.namespace for space in bed.spaces if space.host}
    to_hosts = {prefix for space in bed.spaces if space.host for prefix in prefixes_of(space)}
    built = {
        (space.namespace, route.prefix): route.ways
        for space in bed.spaces
        if not space.host
        for route in space.routes
        if route.prefix in to_hosts and route.sid is None
    }

    @functools.cache
    def reaches(space: str, prefix: str) -> bool:
        return space in hosts or any(works(space, prefix, name) for name, _ in built.get((space, prefix), ()))

    def works(space: str, prefix: str, name: str) -> bool:
        end = (space, name)
        return links.get(end) not in down and reaches(peers[end][0], prefix)

    return {
        (space, prefix): tuple(way for way in ways if works(space, prefix, way[0])) or ways
        for (space, prefix), ways in built.items()
    }


def prefixes_of(host: Space) -> list[str]:
    """All that routes to a host are to: its own addresses, and what is behind it."""
    return [*(f"{address}/{128 if ':' in address else 32}" for address in host.addresses), *host.prefixes]


def _ends_of(bed: Bed) -> dict[str, tuple[_End, _End]]:
    """Of each link the interface that sends, whose shaper is its queue, and the one that receives."""
    peers = {end: other for wire in bed.wires for end, other in (wire, wire[::-1])}
    return {
        each.shaper.link: ((space.namespace, each.name), peers[space.namespace, each.name])
        for space in bed.spaces
        for each in space.interfaces
        if each.shaper is not None
    }


def _opened(space: Space) -> tuple[Requests, dict[str, int]]:
    """From within the namespace: a socket, and the indices of its interfaces."""
    return Requests().__enter__(), {each.name: socket.if_nametoindex(each.name) for each in space.interfaces}
