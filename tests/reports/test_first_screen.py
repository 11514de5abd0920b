"""What is seen first: drops by cause, the page's title, sizes as given, and colours for dark screens."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq

from segcast.analyzer.metrics.tables import SUMMARY
from segcast.reports import style
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast
from segcast.reports.forecast.drops import drops_by_cause
from tests.support.forecasts import cells, make_forecast, write_table
from tests.support.reports import page_of


def test_drops_are_told_by_cause(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(("inflight",)), seeds=2)
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    for row in rows:
        dropped, dead, undetected = (0.1, 0.06, 0.02) if row["policy"] == "ecmp" else (0.05, 0.0, 0.0)
        row |= {"drop_ratio": dropped, "dropped": round(dropped * row["packets"])}
        row |= {
            "dropped_dead_link": round(dead * row["packets"]),
            "dropped_undetected": round(undetected * row["packets"]),
        }
    write_table(folder, SUMMARY, rows)
    first, second = drops_by_cause(Forecast(folder))
    assert (first.all, first.full, first.unknown, first.known) == ("10 %", "4 %", "2 %", "4 %")
    assert first.widths == (40, 20, 40)
    assert (second.all, second.full, second.unknown, second.known) == ("5 %", "5 %", "0 %", "0 %")
    assert second.widths == (50, 0, 0)
    text = page_of(folder).text
    assert text.index("link down, not known yet") < text.index("Change of p99 delay")


def test_without_drops_nothing_is_said_of_them(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(), seeds=2)
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    write_table(folder, SUMMARY, [row | {"drop_ratio": 0.0, "dropped": 0} for row in rows])
    assert "link down" not in page_of(folder).text


def test_the_title_names_the_answer(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(), seeds=5)
    content = ForecastContent(Forecast(folder))
    assert content.sentence.startswith("Use inflight, 100 us: ") and content.brief == "use inflight, 100 us"
    page_of(folder)
    assert "<title>cluster: use inflight, 100 us</title>" in (folder / "report.html").read_text("utf-8")


def test_buffers_come_back_as_they_were_given(tmp_path: Path) -> None:
    links = [{"name": "a", "rate_bps": 10**9, "delay_ns": 1, "buffer_bytes": 2**20, "ecn_bytes": 200_000}]
    text = page_of(make_forecast(tmp_path / "f", cells(), seeds=1, network={"links": links, "paths": []})).text
    assert "1 MiB 200 kB" in text


def test_every_colour_of_a_figure_has_one_for_dark_screens(tmp_path: Path) -> None:
    """Each reads on its page: at least 3 to 1 against it, as marks must."""
    marks = (style.BASELINE_COLOUR, style.INK, style.MUTED, *style.COLOURS)
    for colour in marks:
        assert contrast(style.DARK[colour], style.DARK[style.PAPER]) >= 3, colour
    assert len({style.DARK[colour] for colour in style.COLOURS}) == len(style.COLOURS)
    folder = make_forecast(tmp_path / "f", cells(), seeds=5, loads=(1.0, 2.0))
    known = {colour.lower() for colour in style.DARK}
    page_of(folder)
    content = ForecastContent(Forecast(folder))
    found = set(re.findall(r'"(#[0-9a-fA-F]{6})"', str(content.drawings()).replace("'", '"')))
    assert found and {colour.lower() for colour in found} <= known


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2 between two colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
