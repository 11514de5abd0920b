"""What a run of real TCP did to the network: drops of shapers, and the kernel's counters of TCP, hosts together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from segcast.replay.live.tcp_info import tcp_counters
from segcast.replay.testbed.bed import status
from segcast.replay.testbed.plan import Space
from segcast.replay.testbed.spaces import within


class Counts(NamedTuple):
    """Packets and drops by link, and counters of TCP by the kernel's own names, since the testbed was built."""

    links: dict[str, tuple[int, int]]
    tcp: Counter[str]

    def since(self, before: Counts) -> Counts:
        """What was counted after `before`."""
        links = {name: (a - before.links[name][0], b - before.links[name][1]) for name, (a, b) in self.links.items()}
        return Counts(
            links, Counter({name: n - before.tcp[name] for name, n in self.tcp.items() if n > before.tcp[name]})
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"links": {name: list(both) for name, both in self.links.items()}, "tcp": dict(self.tcp)}


def counted(name: str, hosts: Sequence[Space]) -> Counts:
    """Counters of a standing testbed, of its shapers and of TCP at its hosts."""
    links = {link["link"]: (link["packets"] or 0, link["dropped"] or 0) for link in status(name)["links"]}
    tcp: Counter[str] = Counter()
    for host in hosts:
        tcp.update(within(host.namespace, tcp_counters))
    return Counts(links, tcp)
