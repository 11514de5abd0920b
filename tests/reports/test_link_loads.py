"""The heat strip of links: its figures against the tables, what is down, and events by the names of nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.schema import LINKS
from segcast.reports import text
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast
from segcast.reports.forecast.network.link_loads import LinkLoads
from segcast.reports.forecast.network.places import Places
from tests.support.forecasts import Row, cells, make_forecast, write_table
from tests.support.reports import Page, page_of

MS = 1_000_000


def strips(folder: Path) -> LinkLoads:
    return ForecastContent(Forecast(folder)).link_loads


def with_links(folder: Path, **network: Any) -> Path:
    """A forecast with the table `links`: in its first seed link n carries n % of its rate and drops 10 n packets."""
    import json

    make_forecast(folder, cells(), seeds=2)
    rows = []
    for row in pq.read_table(folder / "summary.parquet").to_pylist():
        for number in range(4):
            share = number / 100 if row["seed"] == 1 else 0.9
            cell = {name: row[name] for name in LINKS.names() if name in row}
            link: Row = {"link": number, "name": f"left-right-{number}", "carried_bytes": 1, "marked": 0}
            rows.append(cell | link | {"utilisation": share, "dropped": 10 * number})
    write_table(folder, LINKS, rows)
    path = folder / "forecast.json"
    document = json.loads(path.read_text("utf-8"))
    document["network"] |= network
    path.write_text(json.dumps(document), "utf-8")
    return folder


def test_figures_of_a_link_are_those_of_the_tables(tmp_path: Path) -> None:
    folder = with_links(tmp_path / "f")
    found = strips(folder)
    strip = found.strips[0]
    assert [row.name for row in strip.rows] == [f"left-right-{n}" for n in (3, 2, 1, 0)]  # hottest first
    series = [r for r in pq.read_table(folder / "series.parquet").to_pylist() if r["policy"] == "ecmp"]
    for row in strip.rows:
        number = int(row.name[-1])
        sent = np.zeros(300)
        for one in series:
            if one["path_id"] in (number, 4 + number):  # a path in each direction crosses it
                sent[one["start_ns"] // MS] += one["bytes"]
        shares = np.sort(sent * 8 / 1e9 / 1e-3)
        words = [text.percent(value) for value in (number / 100, shares[284], shares[-1])]  # the 285th of 300 is p95
        assert [row.mean, row.p95, row.peak] == words and row.dropped == str(10 * number)
    assert strip.rows[0].name in strip.says and found.interval_ns == MS


def test_the_strip_is_a_valid_figure_with_the_hottest_on_top(tmp_path: Path) -> None:
    page = page_of(with_links(tmp_path / "f"))
    figure = page.figures["links-0"]
    assert len(go.Figure(figure).data) == 1
    (heat,) = figure["data"]
    assert heat["y"][0] == "left-right-3" and figure["layout"]["yaxis"]["range"] == [3.5, -0.5]
    assert len(heat["z"]) == 4 and len(heat["z"][0]) == 100  # 300 intervals, three joined
    names = {str(found.get("data-name")) for _, found in page.tags if found.get("data-switched") == "links"}
    assert names == {"links-0", "links-1", "links-2"}


def test_a_link_that_is_down_is_grey_and_carries_nothing_then(tmp_path: Path) -> None:
    changes = [{"at_ns": 150 * MS, "link": "left-right-3", "rate_bps": 0}]
    figure = strips(with_links(tmp_path / "f", changes=changes)).figures["links-0"]
    heat, down = figure["data"]
    assert heat["z"][0][49] > 0 and heat["z"][0][50] is None
    assert down["z"][0] == [None] * 50 + [1] * 50 and down["z"][1] == [None] * 100
    (note,) = figure["layout"]["annotations"]
    assert note["text"] == "left-right-3 down" and note["x"] == pytest.approx(150)
    (line,) = figure["layout"]["shapes"]
    assert line["x0"] == line["x1"] == pytest.approx(150)


def test_half_the_rate_is_twice_the_share(tmp_path: Path) -> None:
    whole = strips(with_links(tmp_path / "a")).figures["links-0"]["data"][0]["z"][0]
    changes = [{"at_ns": 150 * MS, "link": "left-right-3", "rate_bps": 500_000_000}]
    half = strips(with_links(tmp_path / "b", changes=changes)).figures["links-0"]["data"][0]["z"][0]
    assert half[:50] == whole[:50]
    assert half[50:] == pytest.approx([2 * share for share in whole[50:]], rel=0.01)


def test_without_a_table_of_links_the_mean_is_that_of_what_was_sent(tmp_path: Path) -> None:
    found = strips(make_forecast(tmp_path / "f", cells(), seeds=1))
    assert all(row.dropped == "-" and row.mean != "0 %" for row in found.strips[0].rows)


def fabric(tmp_path: Path, changes: list[tuple[int, str, int]]) -> Places:
    """Two leaves and two spines, with what happens to their links: at, link, rate."""
    names = [f"leaf{leaf}-spine{spine}" for leaf in range(2) for spine in range(2)]
    sids, links = [], []
    for name in names:
        leaf, spine = name.split("-")
        for link, node, neighbor in ((name, leaf, spine), (f"{name}-back", spine, leaf)):
            sids.append({"node": node, "behavior": "End.X", "sid": "fd00::1", "link": link, "neighbor": neighbor})
            links.append({"name": link, "rate_bps": 10**9, "delay_ns": 1, "buffer_bytes": None})
    paths = [
        {"path_id": n, "group": 0, "slot": n, "links": [f"leaf0-spine{n}", f"leaf1-spine{n}-back"], "rate_bps": 10**9}
        for n in range(2)
    ]
    rows = [{"at_ns": at, "link": link, "rate_bps": rate} for at, link, rate in changes]
    network = {"kind": "leaf-spine", "links": links, "paths": paths, "changes": rows}
    folder = make_forecast(tmp_path / "f", cells(), seeds=1, paths=2, network=network, sids={"sids": sids, "lists": []})
    return Places(Forecast(folder))


def test_events_are_named_by_node(tmp_path: Path) -> None:
    of_spine = [f"leaf{leaf}-spine1{back}" for leaf in range(2) for back in ("", "-back")]
    changes = [(MS, link, 0) for link in of_spine] + [(2 * MS, link, 10**9) for link in of_spine]
    changes += [(3 * MS, "leaf0-spine0", 0), (3 * MS, "leaf0-spine0-back", 0), (4 * MS, "leaf1-spine0", 10**8)]
    found = [(event.at_ns // MS, event.words) for event in fabric(tmp_path, changes).events]
    assert found == [(1, "spine1 down"), (2, "spine1 up"), (3, "leaf0-spine0 down"), (4, "leaf1-spine0 at 100 Mbit/s")]


def test_paths_are_named_by_the_nodes_between(tmp_path: Path) -> None:
    places = fabric(tmp_path, [])
    assert places.path_names([0, 1]) == ["via spine0", "via spine1"]
    assert places.path_names([0, 9]) == ["path 0", "path 9"]
    page: Page = page_of(tmp_path / "f")
    assert "via spine0" in page.text
    assert {t.get("name") for t in page.figures["load-0-0"]["data"]} >= {"via spine0", "via spine1"}


def test_hostile_names_of_links_stay_names(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    links = [{"name": evil, "rate_bps": 10**9, "delay_ns": 1, "buffer_bytes": None}]
    paths = [{"path_id": 0, "group": 0, "slot": 0, "links": [evil], "rate_bps": 10**9}]
    changes = [{"at_ns": MS, "link": evil, "rate_bps": 0}]
    folder = make_forecast(
        tmp_path / "f", cells(), seeds=1, network={"links": links, "paths": paths, "changes": changes}
    )
    page = page_of(folder)
    assert not any(tag == "img" for tag, _ in page.tags)
    figure = page.figures["links-0"]
    assert figure["data"][0]["y"] == ["&lt;img src=x onerror=alert(1)&gt;"]
    assert "<" not in figure["layout"]["annotations"][0]["text"]
    assert all("<" not in tick for tick in figure["layout"]["yaxis"]["ticktext"])


def test_utilisation_is_an_early_column(tmp_path: Path) -> None:
    heads = ForecastContent(Forecast(make_forecast(tmp_path / "f", cells(), seeds=1))).tables["numbers"].heads
    assert heads[:3] == ["p50 delay", "p99 delay", "busiest link"]
