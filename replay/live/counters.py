"""What a run of real TCP did to the network: drops of shapers, and the kernel's counters of TCP, hosts together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segcast.replay.live.failures import Outage
from segcast.replay.live.tcp_info import tcp_counters
from segcast.replay.testbed.bed import status
from segcast.replay.testbed.plan import Space
from segcast.replay.testbed.spaces import within


class Counts(NamedTuple):
    """Packets and drops by link, and counters of TCP by the kernel's own names, since the testbed was built.

    `carried_bytes`: of frames that each link has sent, with their Ethernet headers.
    """

    links: dict[str, tuple[int, int]]
    tcp: Counter[str]
    carried_bytes: dict[str, int]

    def since(self, before: Counts) -> Counts:
        """What was counted after `before`."""
        links = {name: (a - before.links[name][0], b - before.links[name][1]) for name, (a, b) in self.links.items()}
        tcp = Counter({name: n - before.tcp[name] for name, n in self.tcp.items() if n > before.tcp[name]})
        carried = {name: n - before.carried_bytes[name] for name, n in self.carried_bytes.items()}
        return Counts(links, tcp, carried)

    def without(self, outages: Sequence[Outage]) -> Counts:
        """The same, but what links took that were down counts as dropped there, and not as carried."""
        links, carried = dict(self.links), dict(self.carried_bytes)
        for each in outages:
            packets, drops = links[each.link]
            links[each.link] = packets - each.packets, drops + each.packets
            carried[each.link] -= each.bytes
        return Counts(links, self.tcp, carried)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"links": {name: list(both) for name, both in self.links.items()}, "tcp": dict(self.tcp)}


def counted(name: str, hosts: Sequence[Space]) -> Counts:
    """Counters of a standing testbed, of its shapers and of TCP at its hosts."""
    shapers = status(name)["links"]
    links = {link["link"]: (link["packets"] or 0, link["dropped"] or 0) for link in shapers}
    carried = {link["link"]: link["carried_bytes"] or 0 for link in shapers}
    tcp: Counter[str] = Counter()
    for host in hosts:
        tcp.update(within(host.namespace, tcp_counters))
    return Counts(links, tcp, carried)


class Processors(NamedTuple):
    """Time of all processors together since the machine started, in its ticks: in all, and without anything to do."""

    total: int
    idle: int

    def busy_since(self, before: Processors) -> float:
        """The share of the time after `before` in which they had something to do."""
        return 1 - (self.idle - before.idle) / max(1, self.total - before.total)


def processors() -> Processors:
    """What /proc/stat says of them."""
    user, nice, system, idle, waiting, *others = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8])
    return Processors(user + nice + system + idle + waiting + sum(others), idle + waiting)
