"""The least time of a message, message by message and path by path, in plain Python."""

from __future__ import annotations

import random

import numpy as np
import pytest

from segcast.analyzer.engine.transport.cell import Transport
from segcast.analyzer.metrics.messages import least_ns
from segcast.analyzer.network.model import Link, Network, Path
from segcast.analyzer.packets import FlowPlan


def _crossing_ns(link: Link, packets: list[int], minimum: int) -> float:
    frames = sum(max(ip_bytes + 14, minimum) + link.overhead_bytes for ip_bytes in packets)
    return frames * 8 * 1e9 / link.rate_bps


def _least_ns(links: list[Link], size: int, opens: bool, minimum: int) -> float:
    """A round trip to open; then the first segment link after link, and the rest behind it on the slowest."""
    segments = [1460] * (size // 1460) + ([size % 1460] if size % 1460 else [])
    first, *others = [40 + segment for segment in segments]
    delay_ns = sum(link.delay_ns for link in links)
    hello_ns = delay_ns + sum(_crossing_ns(link, [48], minimum) for link in links)
    alone_ns = sum(_crossing_ns(link, [first], minimum) for link in links)
    behind_ns = max(_crossing_ns(link, others, minimum) for link in links)
    return delay_ns + alone_ns + behind_ns + (2 * hello_ns if opens else 0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("with_hosts", [False, True])
def test_the_least_time_is_that_of_the_fastest_path(seed: int, with_hosts: bool) -> None:
    draw = random.Random(f"{seed} {with_hosts}")
    hosts, groups, slots, count = 5, 3, 3, 60

    def link(number: int) -> Link:
        rate_bps, delay_ns = draw.choice([10**9, 10**10, 4 * 10**10]), draw.choice([0, 700, 20_000])
        return Link(f"link{number}", rate_bps, delay_ns, None, overhead_bytes=draw.choice([-12, 24]))

    links = [link(number) for number in range(2 * hosts + 12)]
    inner = range(2 * hosts, len(links))
    paths = [
        Path(group, tuple(draw.sample(inner, draw.randint(1, 3))), 40, 0)
        for group in range(groups)
        for _ in range(slots)
    ]
    network = Network(tuple(links), tuple(paths), minimum_frame_bytes=draw.choice([0, 64]), host_links=with_hosts)
    flows = [(draw.randrange(groups), draw.randrange(hosts), draw.randrange(hosts)) for _ in range(20)]
    plan = FlowPlan(
        np.arange(20).astype(np.uint64),
        np.zeros(20, np.int64),
        np.array([group for group, *_ in flows]),
        uplink=np.array([up for _, up, _ in flows]) if with_hosts else None,
        downlink=np.array([hosts + down for *_, down in flows]) if with_hosts else None,
    )
    flow = [draw.randrange(20) for _ in range(count)]
    size = [
        draw.choice([1, 1460, 1560, 2920, 1460 * draw.randrange(1, 7000) + draw.choice([0, 100, 700])])
        for _ in range(count)
    ]
    opens = [draw.random() < 0.5 for _ in range(count)]
    found = least_ns(network, plan, Transport(), np.array(flow), np.array(size), np.array(opens))
    for row in range(count):
        group, up, down = flows[flow[row]]
        ways = [[links[at] for at in path.links] for path in paths if path.group == group]
        if with_hosts:
            ways = [[links[up], *way, links[hosts + down]] for way in ways]
        least = min(_least_ns(way, size[row], opens[row], network.minimum_frame_bytes) for way in ways)
        assert found[row] == pytest.approx(max(least, 1), abs=1.001)
