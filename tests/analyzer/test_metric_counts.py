"""Histograms, and reordering of more packets than are counted at once, against the slow twins."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from segcast.analyzer.metrics.families.delays import HOST_BITS, DelayFamily
from segcast.analyzer.metrics.families.reordering import Reordering, add_rows, awaiting, empty_reordering, last_rows
from segcast.analyzer.metrics.family import Measured
from segcast.analyzer.metrics.histogram import (
    BITS,
    LARGEST,
    bucket_count,
    bucket_of,
    bucket_ranks,
    empty_histogram,
    histogram_ranks,
    lower_bound,
    mean,
    merged,
    with_values,
)
from segcast.analyzer.network.model import Link, parallel_network
from segcast.analyzer.packets import DROPPED, RECEIVED, Awaited, Fates, FlowPlan, Packets, empty_fates
from segcast.analyzer.schema import QUANTILES
from tests.twins import metrics as twin


@pytest.mark.parametrize("bits", [BITS, HOST_BITS])
def test_a_bucket_holds_what_begins_with_the_same_digits(bits: int) -> None:
    rng = np.random.default_rng(1)
    values = [0, 1, 2**62, 2**63 - 1, *(int(v) >> int(s) for v, s in rng.integers([0, 0], [2**63 - 1, 62], (3000, 2)))]
    values += [2**power + off for power in range(2, 63) for off in (-1, 0, 1)]
    for value in values:
        bucket = bucket_of(value, bits)
        assert 0 <= bucket < bucket_count(value, bits)
        assert lower_bound(bucket, bits) == twin.counted(value, bits + 1)
        assert value - lower_bound(bucket, bits) <= value >> bits
    assert bucket_of(2**63 - 1, bits) == bucket_count(2**63 - 1, bits) - 1
    assert bucket_of(2**30 - 1, bits) == bucket_count(2**29, bits) - 1


def test_histograms_of_parts_add_up() -> None:
    values = np.random.default_rng(2).integers(0, 2**62, 4000)
    values[:1000] >>= 40
    whole, one = (with_values(empty_histogram(), part) for part in (values, values[:1000]))
    other = with_values(empty_histogram(), values[1000:])
    for both in (merged(one, other), merged(other, one), with_values(one, values[1000:])):
        assert all(np.array_equal(a, b) for a, b in zip(whole, both, strict=True))
    assert mean(whole) == pytest.approx(sum(values.tolist()) / 4000, rel=1e-15)
    assert histogram_ranks(whole, [1.0]) == [int(values.max())]
    assert histogram_ranks(empty_histogram(), [0.5, 1.0]) == [None, None]


def test_delays_find_buckets_whatever_they_are() -> None:
    """The longest come amid others, so that buckets are missing in the middle of a piece."""
    rng = np.random.default_rng(3)
    count = 3000
    delay_ns, queue_ns = (rng.integers(0, 2**60, count) >> rng.integers(0, 60, count) for _ in range(2))
    send_ns = np.arange(count) * 10
    network = parallel_network([[Link("p0", 10**9, 10, None)]], [()])
    plan = FlowPlan(np.arange(2, dtype=np.uint64), np.arange(2), np.zeros(2, np.int64))
    packets = Packets(send_ns, (np.arange(count) % 2).astype(np.uint32), np.full(count, 100, np.uint32))
    fates = empty_fates(count)
    fates.state[:] = RECEIVED
    fates.receive_ns[:] = send_ns + delay_ns
    fates.queue_ns[:] = queue_ns
    family = DelayFamily(Measured(network, plan, False, 1000, np.array([1])))
    family.add(packets, fates)
    for histogram, values in ((family.counts.delays, delay_ns), (family.counts.queues, queue_ns)):
        ref = twin.counted_percentiles(values.tolist())
        assert histogram_ranks(histogram, QUANTILES.values()) == list(ref.values())
        assert mean(histogram) == pytest.approx(sum(values.tolist()) / count, rel=1e-15)
    of_host = delay_ns[1::2].tolist()
    ref_host = twin.counted(twin.nearest_rank(of_host, Fraction(1, 2)), HOST_BITS + 1)
    assert bucket_ranks(family.counts.hosts[0], [0.5], HOST_BITS) == [ref_host]
    assert family.counts.hosts.sum() == len(of_host)


def assert_reordering_of(kept: Reordering, packets: Packets, fates: Fates, flows: int) -> None:
    """Late packets of flows and extents are those of the twin, and nothing is left."""
    flow = packets.flow
    ref: list[int | None] = [None] * len(flow)
    for number in range(flows):
        rows = np.flatnonzero(flow == number)
        times = [int(fates.receive_ns[row]) if fates.state[row] & RECEIVED else None for row in rows]
        for row, extent in zip(rows, twin.reorder_extents([number] * len(rows), times), strict=True):
            ref[row] = extent
    late = [row for row, extent in enumerate(ref) if extent is not None]
    assert len(late) > 100
    assert np.array_equal(kept.late, np.bincount(flow[late], minlength=flows))
    found = {lower_bound(int(b)): int(kept.extents.counts[b]) for b in np.flatnonzero(kept.extents.counts)}
    assert found == Counter(ref[row] for row in late)
    assert kept.progress["held"][0] == 0


@pytest.mark.parametrize("latest_ns", [200, 40_000, 3_000_000])
def test_reordering_of_many_packets_at_once(latest_ns: int) -> None:
    """More than are counted together, also where nearly all of them take part in extents; a few take very long."""
    rng = np.random.default_rng(latest_ns)
    count, flows = 120_000, 1000
    flow = rng.integers(0, flows, count).astype(np.uint32)
    send_ns = np.sort(rng.integers(0, count * 10, count))
    took_ns = rng.integers(0, latest_ns, count) + np.where(rng.random(count) < 1e-4, 300_000, 0)
    fates = empty_fates(count)
    fates.state[:] = np.where(rng.random(count) < 0.01, DROPPED, RECEIVED)
    fates.receive_ns[:] = send_ns + took_ns
    packets = Packets(send_ns, flow, np.full(count, 100, np.uint32))
    for pieces in (1, 7):
        kept = empty_reordering(flows)
        for part in np.array_split(np.arange(count), pieces):
            piece = slice(part[0], part[-1] + 1)
            kept = add_rows(kept, Packets._make(c[piece] for c in packets), Fates._make(c[piece] for c in fates))
        assert_reordering_of(last_rows(kept), packets, fates, flows)


def test_reordering_keeps_what_is_under_way_and_no_more() -> None:
    """Every tenth packet takes 1 us longer: 33 of its flow are received from its first overtaker up to it."""
    rows, flows = np.arange(900), np.arange(900, dtype=np.uint32) % 3
    kept = empty_reordering(3)
    for piece in range(100):
        send_ns = (piece * 900 + rows) * 10
        packets = Packets(send_ns, flows, np.full(900, 100, np.uint32))
        fates = empty_fates(900)
        fates.state[:] = RECEIVED
        fates.receive_ns[:] = send_ns + np.where(rows % 10, 500, 1500)
        kept = add_rows(kept, packets, fates)
        assert kept.progress["held"][0] < 300
        assert len(kept.flow) < 9000  # those that are counted together, and what is under way
    kept = last_rows(kept)
    assert kept.progress["held"][0] == 0
    assert int(kept.late.sum()) == 9000
    assert int(kept.extents.sums[LARGEST]) == 33


def lagging(open_rows: NDArray[np.int64], packets: Packets, horizon_ns: int) -> dict[int, int]:
    """Flows of rows, in order, that were sent by the horizon, and when the first of each was."""
    found: dict[int, int] = {}
    for row in open_rows[packets.send_ns[open_rows] <= horizon_ns]:
        found.setdefault(int(packets.flow[row]), int(packets.send_ns[row]))
    return found


@pytest.mark.parametrize(("slow", "batches"), [(0.05, 100), (0.002, 100), (0.05, 2)])
@pytest.mark.parametrize("seed", range(10))
def test_reordering_of_packets_that_come_by_flow(seed: int, slow: float, batches: int) -> None:
    """What is received waits for the packets of its own flow alone; the twin sees all of them in order."""
    rng = np.random.default_rng(seed)
    count, flows = (4000, 12) if batches > 2 else (50_000, 150)
    flow = rng.integers(0, flows, count).astype(np.uint32)
    send_ns = np.sort(rng.integers(0, 10 * count, count))
    took_ns = rng.integers(0, 10 ** rng.choice([2, 3, 4], count, p=[0.8, 0.2 - slow, slow]))
    took_ns[rng.random(count) < slow / 25] += 15_000
    fates = empty_fates(count)
    fates.state[:] = np.where(rng.random(count) < 0.02, DROPPED, RECEIVED)
    fates.receive_ns[:] = send_ns + took_ns
    packets = Packets(send_ns, flow, np.full(count, 100, np.uint32))
    kept, waits, horizon_ns = empty_reordering(flows), np.arange(0), -1
    before: dict[int, int] = {}
    for part in (*np.array_split(np.arange(count), batches), np.arange(0)):
        rows = np.concatenate((waits, part))
        clock_ns = send_ns[part[-1]] if len(part) else 10**9
        is_open = fates.receive_ns[rows] > clock_ns
        first = np.full(flows, count)
        np.minimum.at(first, flow[rows[is_open]], rows[is_open])
        stays = rows >= first[flow[rows]]
        out, waits = rows[~stays], rows[stays]
        horizon_ns = max(horizon_ns, int(send_ns[out].max(initial=-1)))
        after = lagging(waits, packets, horizon_ns)
        both = after | before
        awaited = Awaited(np.array(list(both), np.uint32), np.array(list(both.values()), np.int64))
        kept, before = awaiting(kept, awaited), after
        kept = add_rows(kept, Packets._make(c[out] for c in packets), Fates._make(c[out] for c in fates))
    kept = last_rows(kept)
    assert_reordering_of(kept, packets, fates, flows)
