"""The engine against queueing theory: what is known in closed form or by a small exact computation, within 1 %.

Seeded, and so long that chance is about a third of that. Packets stream through a window, so length costs no memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from segcast.analyzer.engine.cell import Cell
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.engine.window import stream
from segcast.analyzer.network.model import Link, Network, Path
from segcast.analyzer.packets import DROPPED, Fates, FlowPlan, Packets
from segcast.analyzer.policies.registry import find_policy

SERVICE_NS = 10_000
FRAME_BYTES = 1250  # 10 us at 1 Gbit/s
BATCH = 1 << 18


def arrivals(load: float, count: int, seed: int, mean_bytes: int | None = None) -> Iterator[Packets]:
    """Poisson arrivals of frames of FRAME_BYTES, or of exponential sizes, that load a bare link of 1 Gbit/s."""
    rng = np.random.default_rng(seed)
    gap_ns = (mean_bytes or FRAME_BYTES) * 8 / load
    now_ns = 0.0
    for begin in range(0, count, BATCH):
        size = min(BATCH, count - begin)
        times_ns = now_ns + np.cumsum(rng.exponential(gap_ns, size))
        now_ns = float(times_ns[-1])
        frames = np.full(size, FRAME_BYTES) if mean_bytes is None else rng.exponential(mean_bytes, size).round()
        # The engine adds the Ethernet header; of sizes around half a megabyte 14 bytes are nothing.
        ip_bytes = np.maximum(frames - 14, 0).astype(np.uint32)
        yield Packets(times_ns.astype(np.int64), np.zeros(size, np.uint32), ip_bytes)


def fates_of(rates_bps: list[int], batches: Iterator[Packets], buffer_bytes: int | None = None) -> Iterator[Fates]:
    """What becomes of packets on one path over links of these rates."""
    links = tuple(Link(f"l{n}", rate, 0, buffer_bytes, overhead_bytes=0) for n, rate in enumerate(rates_bps))
    network = Network(links, (Path(0, tuple(range(len(links))), 0, 0),), minimum_frame_bytes=0)
    plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
    cell = Cell(network, find_policy("ecmp"), plan, Steering(0), timeout_ns=None, seed=1)
    return (fates for _, fates in stream(cell, batches))


def waits_ns(rates_bps: list[int], batches: Iterator[Packets]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Time in queues of each packet."""
    return np.concatenate([fates.queue_ns for fates in fates_of(rates_bps, batches)])


@pytest.mark.parametrize(("load", "count"), [(0.3, 2_000_000), (0.7, 4_000_000), (0.9, 16_000_000)])
def test_mean_wait_of_an_md1_queue(load: float, count: int) -> None:
    """Pollaczek-Khinchine for deterministic service: W = s * rho / (2 (1 - rho))."""
    expected_ns = SERVICE_NS * load / (2 * (1 - load))
    assert waits_ns([10**9], arrivals(load, count, seed=7)).mean() == pytest.approx(expected_ns, rel=0.01)


@pytest.mark.parametrize(("load", "count"), [(0.3, 2_000_000), (0.5, 2_000_000), (0.7, 8_000_000), (0.85, 16_000_000)])
def test_waits_of_an_mm1_queue(load: float, count: int) -> None:
    """W = s * rho / (1 - rho), and the wait exceeds t with probability rho * exp(-(1 - rho) t / s)."""
    service_ns = 500_000 * 8
    waits = waits_ns([10**9], arrivals(load, count, seed=11, mean_bytes=500_000))
    assert waits.mean() == pytest.approx(service_ns * load / (1 - load), rel=0.01)
    assert (waits == 0).mean() == pytest.approx(1 - load, rel=0.01)
    for share in (0.2, 0.05):
        expected_ns = service_ns * math.log(load / share) / (1 - load)
        assert np.quantile(waits, 1 - share) == pytest.approx(expected_ns, rel=0.01)


@pytest.mark.parametrize("rates_bps", [[10**9, 10**9], [10**9, 2 * 10**9], [10**9, 10**9, 10**10]])
def test_behind_a_deterministic_server_none_as_fast_ever_waits(rates_bps: list[int]) -> None:
    """Departures of a server are a service time apart, so all waiting is at the first (Friedman 1965)."""
    alone = waits_ns([10**9], arrivals(0.8, 300_000, seed=3))
    assert np.array_equal(waits_ns(rates_bps, arrivals(0.8, 300_000, seed=3)), alone)
    assert alone.max() > 10 * SERVICE_NS


@pytest.mark.parametrize("rates_bps", [[2 * 10**9, 10**9], [10**10, 2 * 10**9, 10**9], [2 * 10**9, 10**9, 10**10]])
def test_a_tandem_of_deterministic_servers_waits_as_its_slowest_alone(rates_bps: list[int]) -> None:
    """The order of deterministic servers in tandem does not matter to the total wait (Friedman 1965)."""
    alone = waits_ns([10**9], arrivals(0.7, 4_000_000, seed=5))
    tandem = waits_ns(rates_bps, arrivals(0.7, 4_000_000, seed=5))
    assert np.array_equal(tandem, alone)
    assert tandem.mean() == pytest.approx(SERVICE_NS * 0.7 / (2 * 0.3), rel=0.01)


def test_regular_arrivals_wait_by_their_place_in_the_burst() -> None:
    """D/D/1 in bursts of ten: the k-th of a burst waits for those before it."""
    count = 100_000
    send_ns = np.repeat(np.arange(count // 10) * 10 * SERVICE_NS, 10)
    packets = Packets(send_ns, np.zeros(count, np.uint32), np.full(count, FRAME_BYTES - 14, np.uint32))
    assert np.array_equal(waits_ns([10**9], iter([packets])), np.tile(np.arange(10) * SERVICE_NS, count // 10))


def blocking(load: float, places: int) -> float:
    """Share of Poisson arrivals that an M/D/1/K queue turns away, exactly.

    The chain of packets left behind by departures: from i to max(i - 1, 0) + arrivals within a service, at most K - 1.
    With its stationary share of 0, p, the loss is 1 - 1 / (p + rho) (Takagi, Queueing Analysis vol. 2, chapter 5).
    """
    within = [math.exp(-load) * load**k / math.factorial(k) for k in range(places)]
    chain = np.zeros((places, places))
    for left in range(places):
        base = max(left - 1, 0)
        chain[left, base : places - 1] = within[: places - 1 - base]
        chain[left, places - 1] = 1 - chain[left].sum()
    equations = np.vstack((chain.T - np.eye(places), np.ones(places)))
    stationary = np.linalg.lstsq(equations, np.append(np.zeros(places), 1.0), rcond=None)[0]
    return 1 - 1 / (float(stationary[0]) + load)


def test_blocking_of_a_queue_without_waiting_places_is_erlangs() -> None:
    assert blocking(0.5, 1) == pytest.approx(0.5 / 1.5)


@pytest.mark.parametrize(
    ("load", "places", "count"),
    [(0.5, 1, 2_000_000), (0.8, 5, 12_000_000), (0.95, 10, 12_000_000), (1.0, 20, 12_000_000), (1.5, 8, 2_000_000)],
)
def test_drops_of_a_full_md1k_queue(load: float, places: int, count: int) -> None:
    batches = arrivals(load, count, seed=13)
    dropped = sum(int(((f.state & DROPPED) > 0).sum()) for f in fates_of([10**9], batches, places * FRAME_BYTES))
    assert dropped / count == pytest.approx(blocking(load, places), rel=0.01)
