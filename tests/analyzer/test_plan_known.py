"""Edges of known truth, by the questions of `benchmarks/plan.py` in small; docs/statistics.md has them in full."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.plan import (
    LOAD,
    PATHS,
    QUESTIONS,
    SLOTS,
    ByArrivals,
    Sizes,
    breaks_hashed,
    mean_wait_md1,
    mean_wait_spread,
    row,
)
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.plan.axes import axis_named, shares_of
from segcast.analyzer.plan.run import Asked, plan
from segcast.analyzer.plan.stating import open_share
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.flags import scenario_of
from segcast.analyzer.slo import parse_slo
from segcast.traces.errors import InputError
from tests.support.queues import SERVICE_NS, capture


def test_mean_waits_are_those_of_formulas_in_the_long_run_and_of_runs_from_the_first_packet_on() -> None:
    assert mean_wait_md1(LOAD, 300_000) == pytest.approx(LOAD / (2 * (1 - LOAD)), rel=0.002)  # Pollaczek-Khinchine
    load = SLOTS / PATHS
    # The same of geometric distances: Meisling 1958.
    assert mean_wait_spread(20_000) == pytest.approx((SLOTS - 1) * load / (2 * (1 - load)), rel=0.005)
    few = 50
    cells = ByArrivals(few)
    waits = [cells.run(LOAD, seed)[0].mean() / SERVICE_NS for seed in range(3000)]
    error = float(np.std(waits)) / len(waits) ** 0.5
    assert abs(np.mean(waits) - mean_wait_md1(LOAD, few)) < 3 * error
    assert mean_wait_md1(LOAD, few) < 0.95 * LOAD / (2 * (1 - LOAD))


def test_the_chance_that_a_draw_drops_is_that_of_draws() -> None:
    draws = np.random.default_rng(1).multinomial(24, [0.25] * 4, 20_000).max(axis=1)
    for most, load in ((9, 2.5), (11, 2.1)):  # nine flows are a path's at 24 / 9 = 2.67, ten at 2.4
        assert breaks_hashed(load) == pytest.approx(float((draws > most).mean()), abs=0.01)
    assert breaks_hashed(0.9) == pytest.approx(0, abs=1e-12)
    assert breaks_hashed(6.0) == pytest.approx(1)


def test_so_many_seeds_leave_so_much_open() -> None:
    assert (1 - open_share(40)) ** 40 == pytest.approx(0.05)
    assert open_share(299) <= 0.01 < open_share(298)


def test_more_than_a_link_carries_is_said_first_of_an_edge(tmp_path: Path) -> None:
    """200 ms of 250 Mbit/s into 500: at load 2.22 the last packet comes after 90 of the 100 ms that all take."""
    trace = capture(tmp_path / "c.pcap", np.arange(5000) * 40_000, flows=16)
    scenario = scenario_of(None, {"paths": "1x500Mbps", "policy": "ecmp", "buffer": "64MiB"})
    asked = Asked(parse_slo("max_delay < 10ms"), axis_named("load"))
    found = plan(trace, scenario, asked, tmp_path / "p", store=CellStore(tmp_path / "cells.sqlite"))
    (edge,) = found["edges"]
    assert edge["share"] == pytest.approx(1.11, rel=0.02)
    assert found["but"][0].startswith("more than the busiest link's rate is offered at the edge (ecmp at 111 %)")


def test_bounds_that_are_no_shares_of_a_link_say_so() -> None:
    for text, over, message in (
        ("50%..20%", "load", "lower one"),
        ("1..20%", "load", "write it like 20%..90%"),
        ("0%..20%", "load", "not within 0.01%"),
        ("5%..20%", "paths", "paths is no share of a link"),
    ):
        with pytest.raises(InputError, match=message):
            shares_of(text, axis_named(over))


@pytest.mark.parametrize(
    ("name", "repetitions", "within"), [("md1", 8, 0.01), ("spread", 1, 0.01), ("capacity", 4, 0.01)]
)
def test_edges_are_found_and_their_intervals_hold_them(
    name: str, repetitions: int, within: float, tmp_path: Path
) -> None:
    found = [QUESTIONS[name](number, Sizes(), tmp_path) for number in range(10, 10 + repetitions)]
    assert all(abs(edge.error) <= within for edge in found), found
    assert sum(edge.holds for edge in found) >= 0.88 * repetitions, found
    assert row(name, found, 1.0).startswith(f"| {name} | {sum(edge.holds for edge in found)} of {repetitions} | ")


def test_few_draws_drop_at_the_edge_of_an_exact_budget(tmp_path: Path) -> None:
    found = QUESTIONS["hashed"](0, Sizes(), tmp_path)
    assert found.holds
    assert found.error < 0.072


def test_an_edge_of_senders_that_react_is_that_of_brute_force(tmp_path: Path) -> None:
    found = QUESTIONS["closed mean"](0, Sizes(many=60), tmp_path)
    assert abs(found.error) <= 0.01
    assert found.holds


def test_a_p99_is_that_of_all_seeds_together(tmp_path: Path) -> None:
    """What a probe states is what a forecast of the same seeds pools."""
    trace = capture(tmp_path / "c.pcap", np.arange(5000) * 40_000, flows=16)
    flags = {"paths": "2x200Mbps", "policy": "ecmp", "buffer": None}
    asked = Asked(parse_slo("p99_delay < 1ms"), axis_named("load"))
    found = plan(trace, scenario_of(None, flags), asked, tmp_path / "p", store=CellStore(tmp_path / "s.sqlite"))
    probes = [probe for probe in found["edges"][0]["probes"] if probe["seeds"] == 10]
    probe = probes[len(probes) // 2]
    scenario = scenario_of(None, {**flags, "load": str(probe["value"])})
    first = min(scenario.seeds)
    forecast(trace, scenario.model_copy(update={"seeds": tuple(range(first, first + 10))}), tmp_path / "f")
    rows = pq.read_table(tmp_path / "f" / "pooled.parquet").to_pylist()
    (pooled,) = (row["value"] for row in rows if (row["metric"], row["quantile"]) == ("delay_ns", 0.99))
    assert probe["figures"] == {"delay_p99_ns": pooled}
