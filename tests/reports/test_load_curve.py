"""The load curve: what is drawn where there are several loads, and where lines cross their budget or the baseline."""

from __future__ import annotations

import json
import math
from pathlib import Path

import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.metrics.tables import SUMMARY
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast
from segcast.reports.forecast.load_curve import LoadCurve
from tests.support.forecasts import cells, comparison, make_forecast, write_table
from tests.support.reports import page_of

LOADS = (0.5, 1.0, 2.0, 4.0)
US = 1_000


def with_delays(folder: Path, p99_us: dict[str, tuple[float, ...]], keep: str = "") -> LoadCurve:
    """A forecast whose p99 delays are given, per policy and load, alike for every seed."""
    make_forecast(folder, cells(tuple(name for name in p99_us if name != "ecmp")), seeds=2, loads=LOADS)
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    for row in rows:
        row["delay_p99_ns"] = round(p99_us[row["policy"]][LOADS.index(row["load"])] * US)
        row["utilisation_max"] = row["load"] / 10
    write_table(folder, SUMMARY, rows)
    if keep:
        (folder / "scenario.toml").write_text(f'[slo]\nkeep = "{keep}"\n', encoding="utf-8")
    return ForecastContent(Forecast(folder)).curve


def test_one_load_has_no_curve(tmp_path: Path) -> None:
    page = page_of(make_forecast(tmp_path / "f", cells(), seeds=2))
    assert "curve" not in page.ids and not any(name.startswith("curve-") for name in page.figures)


def test_the_curve_comes_first_and_the_rows_of_intervals_are_folded(tmp_path: Path) -> None:
    page = page_of(make_forecast(tmp_path / "f", cells(), seeds=5, loads=LOADS))
    assert [i for i in page.ids if i not in ("figures", "group")][:3] == ["curve", "changes", "numbers"]
    assert "all 8 changes, with intervals" in page.text
    for name in (name for name in page.figures if name.startswith("curve-")):
        assert len(go.Figure(page.figures[name]).data) == len(page.figures[name]["data"]) > 0


def test_numbers_of_the_curve_are_those_of_the_table(tmp_path: Path) -> None:
    content = ForecastContent(Forecast(make_forecast(tmp_path / "f", cells(), seeds=5, loads=LOADS)))
    shown = content.tables["numbers"]
    place = shown.heads.index("p99 delay")
    figure = content.curve.figures()["curve-delay_p99_ns"]
    said = {
        (trace["name"], x): words.partition(": ")[2].partition(" (")[0]
        for trace in figure["data"]
        if "text" in trace
        for x, words in zip(trace["x"], trace["text"], strict=True)
    }
    assert len(said) == 3 * len(LOADS)
    for variant, found in shown.rows:
        name = ", ".join(filter(None, (variant.policy, variant.timeout.replace("us", "µs").strip("-"))))
        assert said[name.replace(" ", "\u00a0").replace(",\u00a0", ", "), variant.load].replace("\u00a0", " ") == found[
            place
        ].mean.replace("us", "µs")


@pytest.mark.parametrize(
    ("delays", "said", "at"),
    [
        (
            (10, 20, 40, 80),
            "keeps it at 0.5 to 1, breaks it at 2 to 4; on a straight line it crosses near 1.4",
            [2**0.5],
        ),
        ((40, 50, 50, 80), "breaks it at every load, 0.5 to 4", []),
        ((10, 10, 20, 29), "keeps it at every load, 0.5 to 4", []),
        (
            (40, 20, 25, 35),
            "breaks it at 0.5, keeps it at 1 to 2, breaks it at 4; on a straight line it crosses near 0.71 and 2.8",
            [2**-0.5, 8**0.5],
        ),
    ],
)
def test_where_a_line_crosses_its_budget(tmp_path: Path, delays: tuple[float, ...], said: str, at: list[float]) -> None:
    curve = with_delays(tmp_path / "f", {"ecmp": delays, "inflight": (1, 1, 1, 1)}, "p99_delay < 30us")
    drawn = curve.drawn[0]
    assert drawn.name == "curve-delay_p99_ns" and dict(drawn.says)["ecmp"] == said
    figure = curve.figures()[drawn.name]
    diamonds = [t for t in figure["data"] if t.get("marker", {}).get("symbol") == "diamond" and t["mode"] == "markers"]
    assert [t["x"][0] for t in diamonds] == pytest.approx(at, rel=1e-3)
    notes = [note["text"] for note in figure["layout"]["annotations"]]
    assert any("budget" in note for note in notes) and sum("ecmp" in note for note in notes) == len(at)


def test_the_budget_that_breaks_first_is_drawn_first(tmp_path: Path) -> None:
    delays = {"ecmp": (10.0, 20.0, 40.0, 80.0), "inflight": (9.0, 9.0, 9.0, 9.0)}
    curve = with_delays(tmp_path / "f", delays, "p99_delay < 90us and utilisation < 15%")
    assert [drawn.name for drawn in curve.drawn][:2] == ["curve-utilisation_max", "curve-delay_p99_ns"]


def test_without_a_budget_a_policy_crosses_the_baseline_where_both_sides_are_clear(tmp_path: Path) -> None:
    delays = {"ecmp": (10.0, 20.0, 40.0, 80.0), "inflight": (20.0, 22.0, 36.0, 40.0)}
    folder = tmp_path / "f"
    with_delays(folder, delays)
    rows = [
        comparison(load=load, change=change, low=change - 0.02, high=change + 0.02)
        for load, change in ((0.5, 1.0), (1.0, 0.01), (2.0, -0.01), (4.0, -0.5))
    ]
    path = folder / "forecast.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"comparisons": rows}), "utf-8")
    curve = ForecastContent(Forecast(folder)).curve
    drawn = next(one for one in curve.drawn if one.name == "curve-delay_p99_ns")
    # Loads 1 and 2 are unclear: it lies between 0.5 and 4, on a straight line two thirds of the way, 0.5 * 8^(2/3).
    assert drawn.says == [("inflight, 100 us", "changes sides with ecmp between load 0.5 and 4, near 2")]


def test_a_load_is_told_with_what_the_busiest_link_carries(tmp_path: Path) -> None:
    curve = with_delays(tmp_path / "f", {"ecmp": (1, 2, 3, 4), "inflight": (1, 2, 3, 4)})
    ticks = curve.figures()["curve-delay_p99_ns"]["layout"]["xaxis"]
    assert ticks["ticktext"] == ["0.5<br>5\u00a0%", "1<br>10\u00a0%", "2<br>20\u00a0%", "4<br>40\u00a0%"]
    assert ticks["tickvals"] == list(LOADS) and "under ecmp" in ticks["title"]["text"]
    assert math.log10(0.5) > ticks["range"][0]


def test_each_policy_is_drawn_at_its_best_timeout(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(timeouts=(20_000, 100_000, 500_000)), seeds=4, loads=LOADS)
    curve = ForecastContent(Forecast(folder)).curve
    assert [line.name for line in curve.lines] == ["ecmp", "random, 100 us", "inflight, 100 us"]
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    for row in rows:
        row["displaced_3"] = 9_000 * (row["timeout_ns"] == 100_000)
    write_table(folder, SUMMARY, rows)
    assert not {"random, 100 us", "inflight, 100 us"} & {
        line.name for line in ForecastContent(Forecast(folder)).curve.lines
    }


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", [("ecmp", None), ("<b onload=x>", 100_000)], seeds=2, loads=(1.0, 2.0))
    page = page_of(folder)
    assert not any(tag == "b" and "onload" in found for tag, found in page.tags)
    names = {trace.get("name") for trace in page.figures["curve-delay_p99_ns"]["data"]}
    assert "&lt;b onload=x&gt;, 100\u00a0µs" in names
