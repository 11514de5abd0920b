"""What a network can carry of a pattern, tier by tier, and what a flow takes of it: from these comes the load.

A tier is the links that flows cross as their first, second, … hop, or as their last, last but one, …; hosts' links
are two tiers of their own. Its capacity is the sum of the rates of those of its links that the pattern can use, in the
direction in which it does. The load of a tier is what crosses it by that; the bottleneck is the tier of the highest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.network.fabric import Assembled
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, MAX_PATHS
from segcast.analyzer.network.numbered import address_of
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.workload.synthesis.patterns import Hosts
from segcast.traces.errors import InputError

HEADER_BYTES: Final = 40
"""IPv4 and TCP without options; of IPv6 20 more are left out."""

_NAMES: Final = {
    ("leaf-spine", 1): "leaves to spines",
    ("leaf-spine", -1): "spines to leaves",
    ("fat-tree", 1): "edge to aggregation switches",
    ("fat-tree", 2): "aggregation switches to cores",
    ("fat-tree", -2): "cores to aggregation switches",
    ("fat-tree", -1): "aggregation to edge switches",
}


class Demand(NamedTuple):
    """What an arrival brings: `bytes` in `segments` on average, of one flow or of all flows of a job.

    `weights` float64[attachments, attachments] is the share of it from one attachment to another; `senders` and
    `receivers` int64 are the hosts that take part.
    """

    weights: NDArray[np.float64]
    senders: NDArray[np.int64]
    receivers: NDArray[np.int64]
    bytes: float
    segments: float


@dataclass(frozen=True, slots=True)
class Tier:
    """Links in one direction: their number, their rates' sum, overhead per frame on average; bits an arrival brings."""

    name: str
    links: int
    capacity_bps: int
    overhead_bytes: float
    bits: float

    def wire_bytes(self, size: float, segments: float) -> float:
        """Bytes on the wire of flows: theirs, and what each of their frames has besides."""
        return size + segments * (HEADER_BYTES + ETHERNET_HEADER_BYTES + self.overhead_bytes)

    @property
    def busy_s(self) -> float:
        """For how long an arrival keeps the tier busy."""
        return self.bits / self.capacity_bps


class Capacity:
    """The tiers of a network that a demand crosses."""

    def __init__(self, scenario: ValidScenario, hosts: Hosts, demand: Demand) -> None:
        self._kind = scenario.kind
        self._hosts = hosts
        self._demand = demand
        self.pairs = [(int(a), int(b)) for a, b in np.argwhere(demand.weights > 0)]
        if len(self.pairs) > MAX_PATHS:
            raise InputError(
                f"{scenario.source}: the pattern has {len(self.pairs):,} pairs of attachments, and a network at most "
                f"{MAX_PATHS:,} paths; give fewer attachments, or another --pattern"
            )
        self._taking_part = np.unique(np.concatenate([demand.senders, demand.receivers]))
        links = self._host_links(scenario) if hosts.within else ()
        self._assembled: Assembled = scenario.assembled(self.pairs, links)
        self._first_host_link = len(scenario.fabric().links)

    def _host_links(self, scenario: ValidScenario) -> tuple[tuple[str, int], ...]:
        attachments = scenario.fabric().attachments
        found = []
        for host in self._taking_part.tolist():
            place, index = divmod(host, self._hosts.per_attachment)
            found.append((address_of(attachments, place, index) or str(host), place))
        return tuple(found)

    def crossings(self) -> dict[int, tuple[NDArray[np.float64], set[int]]]:
        """By hop, counted from the sender or, negative, the receiver: the share of each pair's paths, and links."""
        network = self._assembled.network
        found: dict[int, tuple[NDArray[np.float64], set[int]]] = {}
        for group, slots in enumerate(network.group_slots()):
            for path in slots:
                ways = network.paths[path].links
                for place, link in enumerate(ways):
                    hop = place + 1 if 2 * place < len(ways) else place - len(ways)
                    share, links = found.setdefault(hop, (np.zeros(len(self.pairs)), set()))
                    share[group] += 1 / len(slots)
                    links.add(link)
        return found

    def tiers(self) -> list[Tier]:
        """The tiers, the one that an arrival keeps busy longest first."""
        found = [
            self._tier(_NAMES.get((self._kind, hop), _hop(hop)), links, share)
            for hop, (share, links) in self.crossings().items()
        ]
        if self._hosts.within:
            number = {host: place for place, host in enumerate(self._taking_part.tolist())}
            whole = np.ones(len(self.pairs))
            for name, ends, back in (
                ("hosts to the network", self._demand.senders, 0),
                ("the network to hosts", self._demand.receivers, 1),
            ):
                links = {self._first_host_link + 2 * number[host] + back for host in ends.tolist()}
                found.append(self._tier(name, links, whole))
        return sorted(found, key=lambda tier: -tier.busy_s)

    def _tier(self, name: str, numbers: set[int], share: NDArray[np.float64]) -> Tier:
        links = [self._assembled.network.links[number] for number in sorted(numbers)]
        capacity_bps = sum(link.rate_bps for link in links)
        overhead = sum(link.overhead_bytes * link.rate_bps for link in links) / capacity_bps
        tier = Tier(name, len(links), capacity_bps, overhead, 0.0)
        ends = np.array(self.pairs)
        crossing = float((self._demand.weights[ends[:, 0], ends[:, 1]] * share).sum())
        return replace(tier, bits=8 * crossing * tier.wire_bytes(self._demand.bytes, self._demand.segments))

    def offered_bits(
        self, tier: Tier, source: NDArray[np.int64], target: NDArray[np.int64], size: NDArray[np.int64], mss: int
    ) -> float:
        """What the flows of a list bring to a tier: each by the share of its pair's paths that cross it.

        Flows between attachments that the demand does not have, such as requests against its direction, bring nothing.
        """
        shares = dict.fromkeys(self.pairs, 1.0)
        for hop, (share, _) in self.crossings().items():
            if tier.name == _NAMES.get((self._kind, hop), _hop(hop)):
                shares = dict(zip(self.pairs, share.tolist(), strict=True))
        per, count = self._hosts.per_attachment, self._hosts.attachments
        pair, inverse = np.unique(source // per * count + target // per, return_inverse=True)
        crossing = np.array([shares.get(divmod(int(p), count), 0.0) for p in pair])
        segments = -(-size // mss)
        wire = size + segments * (HEADER_BYTES + ETHERNET_HEADER_BYTES + tier.overhead_bytes)
        return float(8 * (wire * crossing[inverse]).sum())

    def busiest(self, source: bool) -> tuple[str, float]:
        """The attachment that sends (or receives) most by what its links carry, and that by the mean of all."""
        network = self._assembled.network
        rate: dict[int, set[int]] = {}
        for (a, b), slots in zip(self.pairs, network.group_slots(), strict=True):
            for path in slots:
                ways = network.paths[path].links
                if ways:
                    rate.setdefault(a if source else b, set()).add(ways[0] if source else ways[-1])
        outside = self._demand.weights - np.diag(np.diag(self._demand.weights))
        sums = outside.sum(axis=1 if source else 0)
        by_rate = {at: sums[at] / sum(network.links[link].rate_bps for link in links) for at, links in rate.items()}
        total = sum(network.links[link].rate_bps for links in rate.values() for link in links)
        if not by_rate or not outside.sum():
            return "", 1.0
        most = max(by_rate, key=lambda at: (by_rate[at], -at))
        groups = dict(zip(self.pairs, self._assembled.groups, strict=True))
        name = next(names[0 if source else 1] for pair, names in groups.items() if pair[0 if source else 1] == most)
        return name, float(by_rate[most] * total / outside.sum())


def _hop(hop: int) -> str:
    return f"hop {hop} of the paths" if hop > 0 else f"hop {-hop} from the end of the paths"
