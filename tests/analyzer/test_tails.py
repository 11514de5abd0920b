"""What is kept of a cell's values for pooling: what it rounds, that it is small, and that pools of it are exact."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segcast.analyzer.statistics.pooled import Sample, pooled_quantile, sample_of
from segcast.analyzer.statistics.tails import MOST_EXACT, TAILS, condensed, packed, pooled_rows, pooled_value, unpacked

SEEDS = st.lists(st.lists(st.integers(0, 10**6), max_size=40), max_size=6)


def same(one: Sample, other: Sample) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(SEEDS, st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_a_pooled_value_is_that_of_all_values_in_one_heap(seeds: list[list[int]], quantile: float) -> None:
    samples = [sample_of(np.array(values, np.int64)) for values in seeds]
    found, heap = pooled_value(samples, quantile), sorted(value for values in seeds for value in values)
    whole = pooled_quantile(samples, quantile)
    if not heap:
        assert found is None
        return
    assert whole is not None
    assert found == whole.value
    assert sum(value <= found for value in heap) >= quantile * len(heap) - 1e-9
    assert sum(value < found for value in heap) < quantile * len(heap)


@given(st.lists(st.integers(0, 2**62), max_size=200))
def test_what_is_packed_comes_back(values: list[int]) -> None:
    sample = sample_of(np.array(values, np.int64))
    assert same(unpacked(json.loads(json.dumps(packed(sample)))), sample)


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=300))
def test_only_values_below_p90_are_rounded_and_none_is_lost(values: list[int]) -> None:
    sample = sample_of(np.array(values, np.int64))
    kept = condensed(sample)
    assert kept.size == sample.size
    assert (np.diff(kept.values) > 0).all()
    p90 = sorted(values)[max(0, -(-9 * len(values) // 10) - 1)]
    counts = np.diff(kept.upto, prepend=0)
    assert kept.values[kept.values >= p90].tolist() == sorted({value for value in values if value >= p90})
    whole = np.repeat(kept.values, counts)
    for was, now in zip(sorted(values), whole.tolist(), strict=True):
        assert now <= was
        assert now == was or (was < p90 and (was - now) * 32 < was)


def test_however_many_values_there_are_it_stays_small() -> None:
    rng = np.random.default_rng(5)
    for count in (1_000, 100_000, 1_000_000):
        sample = sample_of(rng.lognormal(14, 1.5, count).astype(np.int64))
        kept = condensed(sample)
        assert sum(map(len, packed(kept))) < 32_000
        assert len(kept.values) <= 2 * MOST_EXACT + 2048
        for quantile in (0.99, 0.999):
            (exact, found) = (pooled_quantile([one], quantile) for one in (sample, kept))
            assert exact is not None
            assert found is not None
            assert 0 <= exact.value - found.value <= exact.value / 2048


def test_seeds_that_are_alike_pool_as_if_all_was_kept() -> None:
    rng = np.random.default_rng(6)
    samples = [sample_of(rng.lognormal(14, 1.5, 20_000).astype(np.int64)) for _ in range(10)]
    for quantile in (0.99, 0.999):
        whole = pooled_quantile(samples, quantile)
        found = pooled_value([condensed(sample) for sample in samples], quantile)
        assert whole is not None
        assert found is not None
        assert found == pytest.approx(whole.value, rel=0 if len(samples[0].values) < MOST_EXACT else 1 / 2048)


def test_rows_are_pooled_case_by_case() -> None:
    named = {"policy": "ecmp", "timeout": None, "timeout_ns": None, "growth": 1.0, "year": None, "share": None}

    def row(load: float, seed: int, values: list[int]) -> dict[str, object]:
        return {**named, "load": load, "seed": seed, TAILS: {"delay_ns": packed(sample_of(np.array(values, np.int64)))}}

    rows = [row(1.0, 1, [1] * 99 + [5]), row(1.0, 2, [2] * 100), row(2.0, 1, []), row(2.0, 2, [7])]
    assert [(each["load"], each["metric"], each["quantile"], each["value"]) for each in pooled_rows(rows)] == [
        (1.0, "delay_ns", 0.99, 2),
        (1.0, "delay_ns", 0.999, 5),
        (2.0, "delay_ns", 0.99, 7),
        (2.0, "delay_ns", 0.999, 7),
    ]
