"""Random scenarios for an engine, in the twin's types: ties, gaps at the timeout, shared links."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.twins.choosing import Chooser
from tests.twins.engine import Flow, Link, Packet, Path

RATES_BPS = (10**9, 10**10, 10**8, 4 * 10**11, 8 * 10**11, 10**6, 8_000, 999_999_937, 7 * 10**8, 3 * 10**9)
DELAYS_NS = (0, 1, 500, 10_000, 1_000_000)
BUFFERS_BYTES = (None, None, None, 10**6, 10**6, 100_000, 100_000, 3000, 1514, 74, 60, 0)
ECN_BYTES = (None, 0, 1, 60, 1514, 10_000)
SRV6_BYTES = (0, 40, 64, 80, 96)
SIZES_BYTES = (1500, 20, 21, 40, 46, 47, 576, 1460, 9000, 65_535)
TIMEOUTS_NS = (1000, 0, 1, 100, 12_345, 1_000_000)
SEEDS = (0, 1, 42, 2**63, 2**64 - 1)


@dataclass(frozen=True)
class Scenario:
    """Everything that an engine needs, in the twin's types; packets are in trace order."""

    links: tuple[Link, ...]
    paths: tuple[Path, ...]
    flows: tuple[Flow, ...]
    packets: tuple[Packet, ...]
    policy: str
    timeout_ns: int
    seed: int
    minimum_frame_bytes: int
    loss_timeout_ns: int

    def network(self) -> tuple[Sequence[Link], Sequence[Path], Sequence[Flow], Sequence[Packet]]:
        """The positional arguments of the twin's `simulate`."""
        return self.links, self.paths, self.flows, self.packets

    def options(self) -> dict[str, Any]:
        """Its keyword arguments."""
        names = ("policy", "timeout_ns", "seed", "minimum_frame_bytes", "loss_timeout_ns")
        return {name: getattr(self, name) for name in names}


def make_scenario(c: Chooser, most_packets: int = 40) -> Scenario:
    """Two groups of 1 to 5 paths of 1 to 3 links, some shared, and 1 to 6 flows of 3 hosts."""
    links = tuple(
        Link(
            c.pick(RATES_BPS),
            c.pick(DELAYS_NS),
            c.pick(BUFFERS_BYTES),
            c.pick(ECN_BYTES),
            c.pick((24, 0, 38)),
        )
        for _ in range(c.integer(3, 8))
    )
    groups = [0] * c.integer(1, 5) + [1] * c.integer(1, 5)
    if c.integer(0, 1):  # a group's paths need not stand together
        groups = groups[::2] + groups[1::2]
    paths = tuple(make_path(c, group, len(links)) for group in groups)
    flows = tuple(Flow(c.integer(0, 2**64 - 1), c.integer(0, 2), c.integer(0, 1)) for _ in range(c.integer(1, 6)))
    timeout_ns = c.pick(TIMEOUTS_NS)
    return Scenario(
        links=links,
        paths=paths,
        flows=flows,
        packets=make_packets(c, len(flows), timeout_ns, most_packets),
        policy=c.pick(("ecmp", "random", "inflight", "inflight")),
        timeout_ns=timeout_ns,
        seed=c.pick(SEEDS),
        minimum_frame_bytes=c.pick((60, 0)),
        loss_timeout_ns=c.pick((1_000_000, 0, 1, 1000, 10**9)),
    )


def make_path(c: Chooser, group: int, links: int) -> Path:
    """A path over 1 to 3 different links."""
    ahead = list(range(links))
    hops = tuple(ahead.pop(c.integer(0, len(ahead) - 1)) for _ in range(c.integer(1, 3)))
    return Path(group, hops, c.pick(SRV6_BYTES), c.pick((0, 1, 1000, 100_000)))


def make_packets(c: Chooser, flows: int, timeout_ns: int, most_packets: int) -> tuple[Packet, ...]:
    """Packets in trace order; a flow's gaps are often 0, the timeout, or a nanosecond off it."""
    gaps_ns = (0, 0, 1, timeout_ns, timeout_ns + 1, max(0, timeout_ns - 1), 672, 12_304, 1_000_000)
    start_ns = c.pick((0, 1_700_000_000_000_000_000))
    now_ns = [start_ns + c.pick((0, 0, 1, timeout_ns)) for _ in range(flows)]
    packets: list[Packet] = []
    for _ in range(c.integer(0, most_packets)):
        flow = c.integer(0, flows - 1)
        size = c.pick(SIZES_BYTES) if c.integer(0, 3) else c.integer(20, 65_535)
        packets.append(Packet(now_ns[flow], flow, size))
        now_ns[flow] += c.pick(gaps_ns) if c.integer(0, 5) else c.integer(0, 20_000)
    return tuple(sorted(packets, key=lambda packet: packet.send_ns))  # equals stay as they were made
