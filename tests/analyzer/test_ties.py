"""Frames that arrive from several links at one instant, and which random choices share a source (Order of events)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering, Ties
from segcast.analyzer.network.model import Link, Network, Path
from segcast.analyzer.packets import DROPPED, FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy
from tests.support.simulating import assert_same_fates, run_engine
from tests.twins import engine as twin
from tests.twins import network as given
from tests.twins.hashing import fold
from tests.twins.scenarios import Scenario

GBPS = 10**9


def funnel(senders: int, packets: int, ties: str, seed: int) -> Scenario:
    """So many hosts send equal packets at equal instants over equal links into one that takes half of them at most."""
    links = (*[given.Link(10 * GBPS, 1000, None, None, 24)] * senders, given.Link(10 * GBPS, 1000, 15_140, None, 24))
    ways = tuple(given.Path(group, (group, senders), 0, 0) for group in range(senders))
    words = [(0, host, 0, 99, 6 << 32 | host << 16 | 80) for host in range(senders)]
    flows = tuple(given.Flow(fold(of), host, host, of, host, 0) for host, of in enumerate(words))
    sent = tuple(given.Packet(1230 * (n // senders), n % senders, 1500) for n in range(packets))
    return Scenario(links, ways, flows, sent, "inflight", 1000, seed, 60, 10**6, {}, ties=ties)


@pytest.mark.parametrize("ties", ["hash", "number"])
@pytest.mark.parametrize("senders", [2, 3, 5])
def test_who_comes_first_is_who_comes_first_in_the_slow_twin(senders: int, ties: str) -> None:
    for seed in (0, 1, 2**63, 2**64 - 1):
        scenario = funnel(senders, 300, ties, seed)
        wanted = twin.simulate(*scenario.network(), **scenario.options())
        assert sum(fate.dropped for fate in wanted) > 50
        for batch in (1 << 20, 7):
            assert_same_fates(run_engine(scenario, batch_packets=batch)[0], wanted)


def losses(senders: int, packets: int, ties: Ties, seed: int, policy: str = "ecmp", first_ns: int = 0) -> list[int]:
    """Packets that each sender of a funnel loses."""
    return np.bincount(lost_flows(senders, packets, ties, seed, policy, first_ns), minlength=senders).tolist()


def lost_flows(
    senders: int, packets: int, ties: Ties, seed: int, policy: str = "ecmp", first_ns: int = 0
) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The flows of the packets that are lost, in order of sending."""
    links = [Link(f"up{n}", 10 * GBPS, 10_000, overhead_bytes=24) for n in range(senders)]
    down = Link("down", 10 * GBPS, 10_000, buffer_bytes=20 * 1514, overhead_bytes=24)
    ways = tuple(Path(group, (group, senders), 0, 0) for group in range(senders))
    plan = FlowPlan(np.arange(senders, dtype=np.uint64), np.arange(senders), np.arange(senders))
    rows = np.arange(packets)
    sent = Packets(
        first_ns + 1240 * (rows // senders), (rows % senders).astype(np.uint32), np.full(packets, 1500, np.uint32)
    )
    cell = Cell(
        Network((*links, down), ways, 60),
        find_policy(policy),
        plan,
        Steering(10**7),
        timeout_ns=0,
        seed=seed,
        ties=ties,
    )
    return sent.flow[simulate(cell, sent).state & DROPPED > 0]


@pytest.mark.parametrize("senders", [2, 3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_symmetric_senders_share_losses(senders: int, seed: int) -> None:
    count = 20_000
    lost = losses(senders, senders * count, "hash", seed)
    assert sum(lost) > 0.9 * (senders - 1) * count
    assert max(lost) - min(lost) < 0.03 * count
    in_order = losses(senders, senders * count, "number", seed)
    assert in_order[0] < 0.01 * count < 0.9 * count < in_order[-1]
    assert abs(sum(in_order) - sum(lost)) < 30  # whoever loses them


def test_only_ties_know_the_rule() -> None:
    """The same packets, each sender a nanosecond after the one before: nothing arrives at one instant."""
    scenario = funnel(3, 300, "hash", 5)
    apart = tuple(replace(packet, send_ns=packet.send_ns + packet.flow) for packet in scenario.packets)
    fates = [run_engine(replace(scenario, packets=apart, ties=ties))[0] for ties in ("hash", "number")]
    for one, other in zip(*fates, strict=True):
        assert np.array_equal(one, other)


def test_what_breaks_ties_knows_neither_the_clock_nor_the_policy() -> None:
    """Ties are broken by a hash, not by draws: a policy that draws more moves nobody else."""
    wanted = lost_flows(2, 4000, "hash", 7)
    assert np.array_equal(lost_flows(2, 4000, "hash", 7, first_ns=1_700_000_000_123_456_789), wanted)
    for policy in ("random", "two-choices"):
        assert np.array_equal(lost_flows(2, 4000, "hash", 7, policy), wanted)
    assert not np.array_equal(lost_flows(2, 4000, "hash", 8), wanted)
