"""Busy periods behind a percentile, of queues whose busy periods are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from segcast.analyzer.metrics.families.busy_periods import BusyPeriodFamily, separate
from segcast.analyzer.metrics.family import Ending, Measured
from segcast.analyzer.network.model import Link, parallel_network
from segcast.analyzer.packets import RECEIVED, FlowPlan, Packets, empty_fates

NETWORK = parallel_network([[Link("l", 10**9, 0)]], [()])
PLAN = FlowPlan(*(np.zeros(1, np.int64),) * 3)


def found(send_ns: NDArray[np.int64], queue_ns: NDArray[np.int64], batch: int = 10**9) -> dict[str, float | None]:
    """The columns of packets sent then and queued so long, in batches of so many."""
    family = BusyPeriodFamily(Measured(NETWORK, PLAN, False, 1000, np.zeros(0, np.int64)))
    order = np.argsort(send_ns, kind="stable")
    send_ns, queue_ns = send_ns[order], queue_ns[order]
    for begin in range(0, len(send_ns), batch):
        times = send_ns[begin : begin + batch]
        packets = Packets(times, np.zeros(len(times), np.uint32), np.full(len(times), 100, np.uint32))
        fates = empty_fates(len(times))
        fates.state[:], fates.queue_ns[:] = RECEIVED, queue_ns[begin : begin + batch]
        family.sent(packets, fates.path)
        family.add(packets, fates)
    return family.columns({}, Ending({}, np.zeros(0), (0, 1)))


def queue(gaps: NDArray[np.float64], service: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When customers of a queue come, and how long they wait, in ns; times in us."""
    waits = [0.0]
    for gap, served in zip(gaps[1:], service, strict=False):
        waits.append(max(0.0, waits[-1] + served - gap))
    return np.cumsum(gaps * 1000).astype(np.int64), (np.array(waits) * 1000).astype(np.int64)


def as_of_one_size(send_ns: NDArray[np.int64], queue_ns: NDArray[np.int64]) -> float:
    """The busy periods that hold what is beyond p99, each known by who did not wait: (sum of k)^2 / sum of k^2."""
    least = np.sort(queue_ns)[int(np.ceil(0.99 * len(queue_ns))) - 1]
    numbers = np.bincount(np.cumsum(queue_ns == 0)[queue_ns >= least])
    return float(numbers.sum() ** 2 / (numbers**2).sum())


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_those_of_a_queue_are_about_as_many_as_hold_what_is_beyond(load: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sent, waits = queue(rng.exponential(1 / load, 40_000), rng.exponential(1, 40_000))
    periods = found(sent, waits)
    told, beyond = periods["busy_periods_p99"], periods["busy_periods_p999"]
    assert told is not None and beyond is not None
    assert 0.4 < told / as_of_one_size(sent, waits) < 1.6
    assert 1 <= beyond < told


def test_many_small_ones_do_not_hide_that_one_holds_the_percentile() -> None:
    """A count of busy periods would say 2,001."""
    rng = np.random.default_rng(5)
    starts = rng.integers(0, 10**9, 2_000)
    small = (starts[:, None] + np.arange(10) * 10).ravel(), np.tile(np.arange(10) * 100, 2_000)
    large = 4 * 10**8 + np.arange(1_000) * 1_000, np.arange(1_000) * 1_000
    told = found(*(np.concatenate(both) for both in zip(small, large, strict=True)))
    assert told["busy_periods_p99"] == pytest.approx(1, abs=0.1)


def test_a_long_one_over_many_blocks_is_not_many() -> None:
    told = found(np.arange(0, 10**9, 10**5), np.concatenate((np.zeros(8_900), np.full(1_100, 10**6))).astype(np.int64))
    assert told["busy_periods_p99"] is not None and told["busy_periods_p99"] < 3


def test_where_nobody_waits_there_are_none() -> None:
    assert found(np.arange(1000), np.zeros(1000, np.int64)) == {"busy_periods_p99": None, "busy_periods_p999": None}
    assert found(np.zeros(0, np.int64), np.zeros(0, np.int64)) == {"busy_periods_p99": None, "busy_periods_p999": None}


def test_of_a_moment_there_is_one() -> None:
    assert found(np.full(100, 7), np.arange(100) * 10**6)["busy_periods_p99"] == 1


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_batches_change_nothing_however_times_and_waits_grow(batch: int) -> None:
    rng = np.random.default_rng(6)
    sent = np.cumsum(2 ** rng.integers(0, 40, 900))
    waits = 2 ** rng.integers(0, 60, 900)
    assert found(sent, waits, batch) == found(sent, waits)


def test_separate_is_the_number_of_equal_things_that_come_by_chance() -> None:
    assert separate([12, 0, 0, 0]) == 1
    assert separate([3, 3, 3]) == 9
    rng = np.random.default_rng(7)
    for things, size in itertools.product((20, 200), (1, 50)):
        numbers = [separate((rng.poisson(things / 64, 64) * size).tolist()) for _ in range(300)]
        assert float(np.median(numbers)) == pytest.approx(things, rel=0.15)
