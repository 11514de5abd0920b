"""Quantiles of all seeds' values together, against a slow twin, and where forecasts say them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.metrics.histogram import empty_histogram, histogram_ranks, merged, with_values
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.schema import POOLED
from segcast.analyzer.statistics.pooled import pooled_quantile, sample_of, sample_of_histogram
from segcast.analyzer.statistics.pools import Pools, pooled_column, sample_table
from segcast.analyzer.workload.source import open_workload
from segcast.reports import text
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast
from tests.support.reports import printed
from tests.twins.pooled import pooled

SHARES = {0.5: Fraction(1, 2), 0.99: Fraction(99, 100), 0.999: Fraction(999, 1000)}
FLOWS = """flow,start_ns,src,dst,bytes
""" + "".join(
    f"f{n},{n * 40_000},10.0.0.{1 + n % 5},10.1.0.{1 + n % 7},{3_000 + 977 * (n * n % 61)}\n" for n in range(120)
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 60), max_size=60), min_size=1, max_size=7).filter(any),
    st.sampled_from([0.5, 0.99, 0.999]),
)
def test_any_seeds_pool_as_the_twin_says(seeds: list[list[int]], share: float) -> None:
    comp = pooled_quantile([sample_of(np.array(seed, np.int64)) for seed in seeds], share)
    assert comp is not None
    value, low, high = pooled(seeds, SHARES[share])
    assert comp.value == value
    assert (comp.seeds, comp.total) == (sum(map(bool, seeds)), sum(map(len, seeds)))
    assert (comp.low is None) == (low is None)
    if low is not None:
        assert (comp.low, comp.high) == pytest.approx((low, high), rel=1e-4)


def test_large_seeds_of_unequal_size_pool_as_the_twin_says() -> None:
    rng = np.random.default_rng(5)
    seeds = [np.rint(rng.exponential(1e5, size)).astype(np.int64) for size in (900, 2000, 100, 1500, 700)]
    for share, exact in SHARES.items():
        comp = pooled_quantile([sample_of(seed) for seed in seeds], share)
        value, low, high = pooled([seed.tolist() for seed in seeds], exact)
        assert comp is not None
        assert comp.value == value
        assert (comp.low is None) == (low is None) == (share == 0.999)  # of which there are but five beyond
        if low is not None:
            assert (comp.low, comp.high) == pytest.approx((low, high), rel=1e-4)


def test_histograms_pool_as_they_merge() -> None:
    rng = np.random.default_rng(6)
    parts = [with_values(empty_histogram(), rng.integers(0, 10**7, 5000)) for _ in range(4)]
    whole = parts[0]
    for part in parts[1:]:
        whole = merged(whole, part)
    for share in SHARES:
        comp = pooled_quantile([sample_of_histogram(part) for part in parts], share)
        assert comp is not None
        assert [comp.value] == histogram_ranks(whole, [share])
        assert comp.total == 20_000


def test_nothing_pools_to_nothing_and_seeds_that_are_alike_to_a_point() -> None:
    nothing = sample_of(np.empty(0, np.int64))
    assert pooled_quantile([nothing, nothing], 0.99) is None
    same = sample_of(np.arange(1, 4001))
    found = pooled_quantile([same, nothing, same], 0.99)
    assert found is not None
    assert found.low == found.high == found.value == 3960
    assert found.seeds == 2


def test_variants_are_pooled_apart() -> None:
    named = {
        "policy": "ecmp",
        "timeout": None,
        "timeout_ns": None,
        "load": 1.0,
        "growth": 1.0,
        "year": None,
        "share": None,
    }
    pools = Pools()
    for load in (1.0, 2.0):
        for seed in (1, 2):
            values = np.full(100, int(1000 * load) + seed)
            pools.add(named | {"load": load, "seed": seed, "cell": "c"}, sample_table(delay_ns=sample_of(values)))
    rows = pools.rows()
    assert [(row["load"], row["quantile"], row["value"]) for row in rows] == [
        (1.0, 0.99, 1002),
        (1.0, 0.999, 1002),
        (2.0, 0.99, 2002),
        (2.0, 0.999, 2002),
    ]
    assert set(rows[0]) == set(POOLED.names())


@pytest.fixture(scope="module")
def reacting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seeds of two policies, senders that react on two thin paths."""
    folder = tmp_path_factory.mktemp("pooled")
    (folder / "flows.csv").write_text(FLOWS, encoding="utf-8")
    scenario = short_scenario(paths="2x200Mbps", policies=["ecmp", "random"], seeds=[1, 2, 3, 4], packets="all")
    forecast(open_workload(folder / "flows.csv"), scenario, folder / "f")
    return folder / "f"


def rows_of(folder: Path) -> dict[tuple[str, str, float], dict[str, Any]]:
    return {(r["policy"], r["metric"], r["quantile"]): r for r in pq.read_table(folder / "pooled.parquet").to_pylist()}


def test_completion_times_are_pooled_exactly(reacting: Path) -> None:
    rows, messages = rows_of(reacting), pq.read_table(reacting / "messages.parquet").to_pylist()
    for policy in ("ecmp", "random"):
        seeds = [
            [m["fct_ns"] for m in messages if m["policy"] == policy and m["seed"] == seed and m["fct_ns"] is not None]
            for seed in (1, 2, 3, 4)
        ]
        for share in (0.99, 0.999):
            row = rows[policy, "fct_ns", share]
            value, low, high = pooled(seeds, SHARES[share])
            assert row["value"] == value
            assert (row["low"] is None) == (low is None)
            if low is not None:
                assert (row["low"], row["high"]) == pytest.approx((low, high), rel=1e-4)
            assert (row["seeds"], row["values"]) == (4, 480)


def test_delays_are_pooled_to_within_a_bucket(reacting: Path) -> None:
    rows = rows_of(reacting)
    delays: list[int] = []
    for seed in (1, 2, 3, 4):
        (file,) = reacting.glob(f"packets/ecmp-s{seed}.parquet")
        packets = pq.read_table(file).to_pylist()
        delays += [p["receive_ns"] - p["send_ns"] for p in packets if p["receive_ns"] is not None]
    row = rows["ecmp", "delay_ns", 0.999]
    value, _, _ = pooled([delays], SHARES[0.999])
    assert row["values"] == len(delays)
    assert value * (1 - 2**-11) <= row["value"] <= value


def test_page_terminal_and_card_say_the_pooled_quantile(reacting: Path) -> None:
    rows, shown = rows_of(reacting), Forecast(reacting)
    summary = pq.read_table(reacting / "summary.parquet").to_pylist()
    assert pooled_column("fct_ns", 0.999) == "fct_p999_ns"
    words = "\n".join(printed(reacting))
    told = 0
    for variant in shown.variants:
        row = rows[variant.policy, "fct_ns", 0.99]
        estimate = shown.estimate(variant, "fct_p99_ns")
        assert (estimate.mean, estimate.low, estimate.high) == (row["value"], row["low"], row["high"])
        own = [cell["fct_p99_ns"] for cell in summary if cell["policy"] == variant.policy]
        told += text.duration(row["value"]) != text.duration(sum(own) / len(own))
        assert text.duration(row["value"]) in words
    assert told  # else the mean would have been said as well
    table = ForecastContent(shown).tables["numbers"]
    cell = table.rows[0][1][table.heads.index("p99 FCT")]
    assert cell.mean == text.duration(rows["ecmp", "fct_ns", 0.99]["value"])
    assert "all seeds' flows together" in words
    document = json.loads((reacting / "forecast.json").read_text(encoding="utf-8"))
    said = document["decision"]["because"]
    assert any(text.duration(rows[policy, "fct_ns", 0.99]["value"]) in said for policy in ("ecmp", "random"))


def test_forecasts_without_the_table_show_means(reacting: Path) -> None:
    table = (reacting / "pooled.parquet").read_bytes()
    (reacting / "pooled.parquet").unlink()
    try:
        shown = Forecast(reacting)
        values = [value for value in shown.values(shown.variants[0], "fct_p99_ns") if value is not None]
        assert shown.estimate(shown.variants[0], "fct_p99_ns").mean == pytest.approx(sum(values) / len(values))
        assert "together" not in "\n".join(printed(reacting))
    finally:
        (reacting / "pooled.parquet").write_bytes(table)
