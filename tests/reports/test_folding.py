"""Many cells: matrices of policies and timeouts, rows on demand, and a page that can still be read and mailed."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from segcast.analyzer.metrics.tables import SUMMARY
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.matrices import Matrices
from tests.support.forecasts import Row, cells, comparison, make_forecast, write_table
from tests.support.reports import page_of, printed

LOADS = (0.5, 1.0, 2.0)
TIMEOUTS = (20_000, 50_000, 100_000, 500_000)


def changed(load: float, policy: str, timeout: int, change: float, half: float = 0.01) -> Row:
    row = comparison(policy=policy, timeout_ns=timeout, change=change, low=change - half, high=change + half)
    return row | {"load": load, "baseline_policy": "ecmp", "baseline_timeout_ns": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two policies at four timeouts and three loads: `inflight` gains most at load 1, at 100 us."""
    rows = [
        changed(load, policy, timeout, -0.1 * load - 0.2 * (policy == "inflight") + 1e-6 * abs(timeout - 100_000))
        for load in LOADS
        for policy in ("random", "inflight")
        for timeout in TIMEOUTS
    ]
    rows[0] |= {"change": 0.02, "low": -0.05, "high": 0.09}
    return make_forecast(
        tmp_path_factory.mktemp("many") / "f", cells(timeouts=TIMEOUTS), seeds=5, loads=LOADS, comparisons=rows
    )


def matrices(folder: Path) -> Matrices:
    return Matrices(Forecast(folder), "delay_p99_ns")


def test_there_is_a_matrix_for_each_load_the_best_policy_first(folder: Path) -> None:
    found = matrices(folder)
    assert found and not found.folded
    assert [one.title for one in found.shown] == ["load 0.5", "load 1", "load 2"]
    for one in found.shown:
        assert one.heads == ["20 us", "50 us", "100 us", "500 us"]
        assert [policy for policy, _ in one.rows] == ["inflight", "random"]
        assert one.beside.startswith("ecmp: ")


def test_a_square_says_its_change_and_what_is_unclear_or_over_budget(folder: Path, tmp_path: Path) -> None:
    squares = dict(matrices(folder).shown[0].rows)
    first = squares["random"][0]
    assert first is not None and first.words == "+2 %" and first.unclear and not first.over
    assert "random, 20 us, load 0.5: +2 % (-5 to +9); unclear" in first.full
    clear = squares["inflight"][2]
    assert clear is not None and clear.words == "-25 %" and not clear.unclear and clear.tone == "b3"
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    other = make_forecast(tmp_path / "f", cells(timeouts=TIMEOUTS), seeds=5, loads=LOADS)
    write_table(other, SUMMARY, [row | {"displaced_3": 9_000 * (row["timeout_ns"] == 20_000)} for row in rows])
    over = [square.over for square in dict(matrices(other).shown[0].rows)["inflight"] if square]
    assert over == [True, False, False, False]


def test_squares_of_the_page_are_the_comparisons(folder: Path) -> None:
    page = page_of(folder)
    titles = {
        str(found["title"]).replace("\u00a0", " ") for tag, found in page.tags if tag == "td" and "title" in found
    }
    forecast = Forecast(folder)
    assert len(titles) == len(forecast.comparisons) == 24
    shown = ForecastContent(forecast)
    for row in shown.changes:
        words = f"{row.variant.label}: {row.words}".replace("us", "µs")
        assert any(title.replace("−", "-").startswith(words) for title in titles), words


def test_one_timeout_each_makes_one_matrix_with_loads_beside_each_other(tmp_path: Path) -> None:
    (one,) = matrices(make_forecast(tmp_path / "f", cells(), seeds=5, loads=LOADS)).shown
    assert one.heads == ["load 0.5", "load 1", "load 2"] and len(one.rows) == 2


def test_few_changes_are_not_folded(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(timeouts=(50_000, 100_000)), seeds=5)
    assert not matrices(folder)
    page = page_of(folder)
    assert not any("squares" in str(found.get("class")) for _, found in page.tags)
    assert page.text.count("% (") >= 4


def test_a_hundred_policies_show_the_best_and_keep_the_rest_on_demand(tmp_path: Path) -> None:
    names = [f"policy{number}" for number in range(100)]
    folder = make_forecast(tmp_path / "f", cells(names, TIMEOUTS), seeds=1, loads=(1.0, 2.0))
    found = matrices(folder)
    assert found.folded and all(len(one.rows) == 10 for one in found.shown)
    assert all(len(one.rows) == 100 for one in found.all)
    content = ForecastContent(Forecast(folder))
    table = content.tables["numbers"]
    assert len(table.seen) <= 8 and len(table.rest) == 250 and table.hidden == 802 - len(table.seen) - 250
    page = page_of(folder)
    assert (folder / "report.html").stat().st_size < 6_000_000
    assert re.search(r"\d+ more are in summary\.parquet", page.text)
    assert "all 2 matrices, whole" in page.text


def test_axes_fit_what_is_shown_until_more_is(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(timeouts=TIMEOUTS), seeds=5, loads=(0.5, 5.0))
    figure = page_of(folder).figures["delay-tail"]["layout"]
    fit, whole = figure["xaxis"], figure["meta"]["xaxis"]
    assert whole["range"][0] <= fit["range"][0] and whole["range"][1] > fit["range"][1] + 0.3
    assert len(whole["tickvals"]) == len(whole["ticktext"])


def test_the_terminal_shows_each_policys_best_timeout_and_all_when_asked(folder: Path) -> None:
    forecast = Forecast(folder)
    lines = printed(folder)
    rows = [line for line in lines if line.startswith(("ecmp ", "random ", "inflight ")) and ":" not in line]
    assert len(rows) == len(forecast.leaders) == 3 * len(LOADS)
    assert "The best timeout of each policy at each load; all 27 rows are in the report, or with --all." in lines
    every = printed(folder, every=True)
    assert len([line for line in every if line.startswith(("ecmp ", "random ", "inflight ")) and ":" not in line]) == 27
    best = {v: forecast.estimate(v, "delay_p99_ns").mean or 0.0 for v in forecast.leaders}
    for variant in forecast.variants:
        rival = next(v for v in best if (v.policy, v.load) == (variant.policy, variant.load))
        assert best[rival] <= (forecast.estimate(variant, "delay_p99_ns").mean or 0.0)


def test_who_keeps_the_budgets_is_better_than_who_is_quicker(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(timeouts=TIMEOUTS), seeds=5)
    quickest = {v.policy: v for v in Forecast(folder).leaders}
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    over = quickest["inflight"].timeout_ns
    write_table(folder, SUMMARY, [row | {"displaced_3": 9_000 * (row["timeout_ns"] == over)} for row in rows])
    assert quickest["inflight"] not in Forecast(folder).leaders
    assert Variant("ecmp", None) in Forecast(folder).leaders
