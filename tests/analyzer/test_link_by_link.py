"""Packets as sent, link by link, against the event loop: nothing may differ, whatever the rates."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.link_by_link import as_sent, link_model
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Link, Network, Path
from segcast.analyzer.packets import DROPPED, FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy

GBPS = 10**9

# At none of these but the last does every byte take a whole number of nanoseconds.
RATES = (10 * GBPS, 7 * GBPS, 3 * GBPS, 999_999_937, 10**13, 8 * GBPS)

# Links 0 to 2 are entered first, 3 and 4 next, 5 last: each path is a list of them in that order.
WAYS = ((0, 3, 5), (1, 3, 5), (2, 4, 5), (0, 4), (5,), (1, 4, 5))


def assert_as_the_engine_says(links: list[Link], packets: Packets, seed: int) -> tuple[int, int]:
    """Both ways of running the packets; returns how many waited and how many were dropped."""
    network = Network(tuple(links), tuple(Path(0, way, 40 + 16 * len(way), 0) for way in WAYS), 60)
    plan = FlowPlan(np.array([7, 8, 9], np.uint64), np.zeros(3, np.int64), np.zeros(3, np.int64))
    cell = Cell(network, find_policy("random"), plan, Steering(10**9), timeout_ns=0, seed=seed, ties="number")
    fates = simulate(cell, packets)
    path = fates.path.astype(np.int64)
    srv6_bytes = np.array([path.srv6_bytes for path in network.paths])
    frame_bytes = np.maximum(60, packets.ip_bytes.astype(np.int64) + ETHERNET_HEADER_BYTES + srv6_bytes[path])
    found = as_sent([link_model(link) for link in links], WAYS, path, packets.send_ns, frame_bytes)
    assert found.receive_ns.tolist() == fates.receive_ns.tolist()
    assert found.queue_ns.tolist() == fates.queue_ns.tolist()
    return int((found.queue_ns > 0).sum()), int((fates.state & DROPPED != 0).sum())


def packets_of(rng: random.Random, count: int, most_gap_ns: int) -> Packets:
    times = np.cumsum([rng.randint(0, most_gap_ns) for _ in range(count)])
    flows = [rng.randrange(3) for _ in range(count)]
    sizes = [rng.choice((40, 1500, rng.randint(20, 9000))) for _ in range(count)]
    return Packets(times.astype(np.int64), np.array(flows, np.uint32), np.array(sizes, np.uint32))


@pytest.mark.parametrize("burst_bytes", [0, 1600, 10_000])
@pytest.mark.parametrize("rate_bps", RATES)
def test_as_sent_is_what_the_engine_says_at_any_rate(rate_bps: int, burst_bytes: int) -> None:
    links = [Link(f"l{n}", rate_bps, 500, 20_000, burst_bytes=burst_bytes) for n in range(6)]
    packets = packets_of(random.Random(rate_bps), 2000, max(1, 6 * 10**12 // rate_bps))
    waited, dropped = assert_as_the_engine_says(links, packets, seed=3)
    assert waited > 0
    assert dropped > 0 or rate_bps == 10**13


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(RATES),
            st.sampled_from((0, 0, 100, 1234, 1600, 10_000)),
            st.sampled_from((None, 3000, 20_000)),
            st.sampled_from((0, 1, 500)),
            st.sampled_from((0, 24)),
        ),
        min_size=6,
        max_size=6,
    ),
    st.integers(0, 2**32),
    st.sampled_from((0, 3, 900)),
)
def test_as_sent_is_what_the_engine_says_of_mixed_links(
    kinds: list[tuple[int, int, int | None, int, int]], seed: int, most_gap_ns: int
) -> None:
    links = [
        # A bucket without delay passes frames on in no time: then causes, not links, order what happens at an instant.
        Link(f"l{n}", rate, max(delay, burst > 0), buffer, overhead_bytes=overhead, burst_bytes=burst)
        for n, (rate, burst, buffer, delay, overhead) in enumerate(kinds)
    ]
    assert_as_the_engine_says(links, packets_of(random.Random(seed), 150, most_gap_ns), seed)
