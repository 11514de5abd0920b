"""Reports: the page and the terminal summary, from forecast folders made up."""

from __future__ import annotations

import re
from pathlib import Path

import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.metrics.tables import SUMMARY
from segcast.reports.forecast import figures
from segcast.reports.forecast.caveats import caveats
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.page import write_report
from segcast.reports.forecast.terminal import table
from segcast.reports.forecast.words import headline
from segcast.reports.style import looks
from segcast.traces.errors import InputError
from tests.support.forecasts import (
    TIMEOUTS,
    Row,
    cells,
    comparison,
    make_forecast,
    write_table,
)
from tests.support.reports import Page, page_of, printed


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_forecast(tmp_path_factory.mktemp("standard") / "f", cells(timeouts=(50_000, 100_000)), seeds=3)


@pytest.fixture(scope="module")
def page(standard: Path) -> Page:
    return page_of(standard)


def test_sections_come_in_order(page: Page) -> None:
    sections = [i for i in page.ids if i not in ("figures", "group")]
    assert sections == ["changes", "numbers", "delay", "slowdown", "load", "profile", "run"]


def test_answer_comes_first(page: Page) -> None:
    sentence = re.search(
        r"inflight, 100\sµs would cut the p99 one-way delay by \d+\s% \(95\s% interval [^)]*\)", page.text
    )
    assert sentence
    assert "against ecmp: 99 % of packets arrive within" in page.text.replace("\u00a0", " ")
    assert page.text.index(sentence[0]) < page.text.index("Key numbers")


def test_key_numbers_have_every_metric_and_mark_the_best(page: Page) -> None:
    for title in ("p50 delay", "p99.9 delay", "p99 queueing", "p99 FCT", "p99 slowdown", "dropped", "marked"):
        assert title in page.text
    for title in ("reordered", "imbalance", "busiest link", "baseline", "★"):
        assert title in page.text


def test_page_says_what_was_run(page: Page) -> None:
    words = page.text.replace("\u00a0", " ")
    assert "cluster: 251 234 packets, 800 flows, 300 ms; from cluster.pcap.gz" in words
    assert "ecmp × 3 seeds; random, 50 µs × 3 seeds" in words
    assert "1 234 packets are left out: they have no readable IP header." in words
    assert "Packets leave when the capture says." in words
    assert "segcast forecast TRACE --scenario scenario.toml" in words
    assert 'policy = ["<ecmp>"]' in words


def test_page_is_self_contained_and_small(standard: Path, page: Page) -> None:
    for tag, attributes in page.tags:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "action", "data", "poster"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
    policies = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies and str(policies[0]).startswith("default-src 'none'")
    folder = Path(figures.__file__).parents[1] / "templates"
    for template in folder.iterdir():
        assert not re.search(r"https?:|@import|url\(|fetch\(", template.read_text(encoding="utf-8")), template
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    assert (standard / "report.html").stat().st_size < 6_000_000


def test_figures_are_valid_plotly(page: Page) -> None:
    assert {"delay-tail", "delay-cdf", "slowdown-p50", "slowdown-p99", "profile-flowlets", "profile-packets"} <= set(
        page.figures
    )
    for figure in page.figures.values():
        assert len(go.Figure(figure).data) == len(figure["data"]) > 0
    places = {attributes["data-figure"] for _, attributes in page.tags if "data-figure" in attributes}
    assert places == set(page.figures)


def test_report_is_repeatable_and_leaves_nothing_aside(standard: Path) -> None:
    before = sorted(p.name for p in standard.iterdir() if p.name != "report.html")
    first = write_report(standard).read_bytes()
    assert write_report(standard).read_bytes() == first
    assert sorted(p.name for p in standard.iterdir() if p.name != "report.html") == before


def test_failed_report_leaves_the_old_one(standard: Path, tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", [("ecmp", None)], seeds=1)
    (folder / "report.html").write_text("old", encoding="utf-8")
    (folder / "profile.parquet").unlink()
    with pytest.raises(InputError, match=r"profile\.parquet: not found; run segcast forecast again"):
        write_report(folder)
    assert (folder / "report.html").read_text(encoding="utf-8") == "old"


def test_markup_in_names_is_escaped(tmp_path: Path) -> None:
    name = "<b>x</b></script><script>alert(1)</script>"
    trace = {"name": "<i>t</i>", "packets": 1, "flows": 1, "duration_ns": 1, "sources": [{"path": "/data/<u>.pcap"}]}
    page = page_of(make_forecast(tmp_path / "f", [("ecmp", None), (name, 100_000)], seeds=1, trace=trace))
    assert "u" not in {tag for tag, _ in page.tags}
    assert len(page.scripts) and not any(script.startswith("alert") for script in page.scripts)
    assert name in page.text and "<i>t</i>" in page.text and "/data/" not in page.text
    names = {trace["name"] for trace in page.figures["delay-cdf"]["data"]}
    assert any(n.startswith("&lt;b&gt;x") for n in names)


def test_one_policy_and_one_seed(tmp_path: Path) -> None:
    page = page_of(make_forecast(tmp_path / "f", [("ecmp", None)], seeds=1))
    assert "changes" not in page.ids
    assert re.search(r"With ecmp, 99\s% of packets arrive within \d+\sµs; 0.\d+\s% are dropped\.", page.text)
    assert "Every cell was run with one seed" in page.text
    assert "★" not in page.text.replace("★ is the best", "")
    assert not any("chip" in str(attributes.get("class")) for _, attributes in page.tags)


def test_nothing_delivered(tmp_path: Path) -> None:
    page = page_of(make_forecast(tmp_path / "f", cells(), seeds=2, lost=True))
    assert "Nothing gets through: no packet of this trace is delivered under any policy." in page.text
    assert "No packet is delivered, so there is no delay to show." in page.text
    assert "delay-cdf" not in page.figures and "slowdown-p99" not in page.figures
    assert "NaN" not in page.text and "None" not in page.text


def test_many_variants_show_a_few(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(("random", "inflight", "third"), TIMEOUTS), seeds=12)
    page = page_of(folder)
    chips = [a for t, a in page.tags if t == "button"]
    assert len(chips) == 3 * 16
    assert sum(a["aria-pressed"] == "true" for a in chips) == 3 * 4
    visible = {t["name"] for t in page.figures["delay-tail"]["data"] if t["visible"]}
    policies = sorted(name.split(",")[0] for name in visible)
    assert policies == ["ecmp", "inflight", "random", "third"]
    assert (folder / "report.html").stat().st_size < 6_000_000
    styles = looks(Forecast(folder).variants, Variant("ecmp", None))
    assert len({(s.colour, s.dash, s.marker) for s in styles.values()}) == 16


def test_many_paths_become_an_envelope(tmp_path: Path) -> None:
    page = page_of(make_forecast(tmp_path / "f", cells(), seeds=1, paths=12))
    names = [t.get("name") for t in page.figures["load-0-0"]["data"]]
    assert "busiest path" in names and "mean of paths" in names


def test_path_load_counts_every_byte_and_idle_paths(standard: Path) -> None:
    series = Forecast(standard).series[Variant("ecmp", None)]
    found = figures.load(series, 0, [0, 1, 2, 3, 9])
    assert found is not None and found.path_ids == [0, 1, 2, 3, 9]
    assert found.bps.shape[1] <= 120 and found.interval_ns == 3_000_000
    sent = sum(row["bytes"] for row in series.to_pylist() if row["group"] == 0)
    assert int(found.bytes.sum()) == sent == round(float(found.bps.sum()) * found.interval_ns / 8e9)
    assert found.bytes[4] == 0
    assert figures.load(series, 7) is None


def test_panels_share_their_scale(page: Page) -> None:
    layouts = [figure["layout"] for name, figure in page.figures.items() if name.startswith("load-")]
    assert len({tuple(one["yaxis"]["range"]) for one in layouts}) == 1
    assert len({tuple(one["xaxis"]["range"]) for one in layouts}) == 1


def test_tail_falls_and_cdf_rises(page: Page) -> None:
    for name, sign in (("delay-tail", -1), ("delay-cdf", 1)):
        for trace in (t for t in page.figures[name]["data"] if t.get("text")):
            assert all(b >= a for a, b in zip(trace["x"], trace["x"][1:], strict=False))
            assert all(sign * (b - a) >= 0 for a, b in zip(trace["y"], trace["y"][1:], strict=False))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {},
            "inflight, 100 us would cut the p99 one-way delay by 33 % (no interval known) against ecmp: 99 % of ",
        ),
        ({"low": -0.4, "high": -0.2}, "by 33 % (95 % interval 20 to 40 %) against ecmp"),
        (
            {"change": -0.02, "low": -0.08, "high": 0.03},
            "No clear difference: inflight, 100 us would change the p99",
        ),
        (
            {"change": 0.5, "low": 0.4, "high": 0.6},
            "Nothing tried beats ecmp: the closest, inflight, 100 us, would",
        ),
        ({"change": 0.0}, "inflight, 100 us would hardly change the p99 one-way delay"),
        ({"change": 24.0}, "by x25"),
    ],
)
def test_headline(tmp_path: Path, changes: Row, expected: str) -> None:
    folder = make_forecast(
        tmp_path / "f", cells(("inflight",)), seeds=2, comparisons=[comparison(**changes)], answer=""
    )
    sentence, found = headline(Forecast(folder))
    assert expected in sentence
    assert found is not None and found.variant == Variant("inflight", 100_000)


def test_headline_follows_the_stated_answer(tmp_path: Path) -> None:
    said = {"policy": "random", "timeout": "100us", "timeout_ns": 100_000, "load": 1.0}
    folder = make_forecast(tmp_path / "f", cells(), answer="in other words", answered=said)
    assert headline(Forecast(folder))[0].startswith("random, 100 us would cut")
    folder = make_forecast(tmp_path / "g", cells(), answer="something else altogether", answered=None)
    assert headline(Forecast(folder)) == ("something else altogether", None)
    folder = make_forecast(tmp_path / "h", [("ecmp", None)], answer="no comparison: there is only one policy")
    assert headline(Forecast(folder))[0].startswith("With ecmp, 99 % of packets arrive within")


def test_drops_are_told_where_delay_alone_misleads(tmp_path: Path) -> None:
    folder = make_forecast(
        tmp_path / "f", cells(("inflight",)), seeds=1, comparisons=[comparison(change=0.001)], answer=""
    )
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    for row, ratio in zip(summary, (0.15, 0.095), strict=True):
        row["drop_ratio"] = ratio
    write_table(folder, SUMMARY, summary)
    sentence, _ = headline(Forecast(folder))
    assert "would hardly change the p99 one-way delay" in sentence
    assert sentence.endswith("Drops fall from 15 % to 9.5 % of packets.")
    assert any("queues are full" in caveat for caveat in caveats(Forecast(folder)))


def test_baseline_is_met_timeout_by_timeout(tmp_path: Path) -> None:
    variants = [(policy, timeout) for policy in ("random", "inflight") for timeout in (50_000, 100_000)]
    rows = [comparison(timeout_ns=t, baseline_policy="random", baseline_timeout_ns=t) for t in (50_000, 100_000)]
    folder = make_forecast(
        tmp_path / "f",
        variants,
        comparisons=rows,
        answer="as said",
        answered={k: rows[1][k] for k in ("policy", "timeout_ns")},
    )
    page = page_of(folder)
    assert re.search(r"inflight, 100\sµs would cut .* against random, 100\sµs", page.text)
    assert "Change of p99 delay against random at the same timeout" in page.text


def test_terminal_answers_first_in_plain_text(standard: Path) -> None:
    lines = printed(standard)
    assert lines[0].startswith("inflight, 100 us: p99 delay -")
    assert lines[0].endswith("% against ecmp")
    assert "\x1b" not in "".join(lines) and "".join(lines).isascii()
    assert all(len(line) <= 100 for line in lines)
    head = next(line for line in lines if line.startswith("policy"))
    titles = "policy timeout p50 p99 change of p99 p99.9 queue99 FCT99 drops reord imbal"
    assert " ".join(head.split()) == titles
    row = next(line for line in lines if line.startswith("inflight") and " 100 us " in line and ":" not in line)
    assert re.search(r"-\d+ % \(-\d+ to -\d+\)", row)
    assert next(line for line in lines if line.startswith("ecmp ")).split()[6] == "baseline"
    assert any(line.startswith("Means over 3 seeds") for line in lines)


def test_narrow_terminal_loses_columns_not_alignment(standard: Path) -> None:
    lines = printed(standard, force_terminal=True, width=64, color_system=None)
    rows = [line for line in lines if line.startswith(("policy", "ecmp ", "random ", "inflight "))]
    assert len(rows) == 6 and all(len(row) <= 64 for row in rows)
    assert "Some columns do not fit here; the report has them all." in lines


def test_terminal_without_intervals_or_deliveries(tmp_path: Path) -> None:
    one = printed(make_forecast(tmp_path / "one", [("ecmp", None)], seeds=1))
    assert one[0].startswith("With ecmp, 99 % of packets arrive within")
    assert any("One seed, so no intervals." in line for line in one)
    lost = printed(make_forecast(tmp_path / "lost", cells(), seeds=2, lost=True))
    assert lost[0].startswith("Nothing gets through")
    assert any(line.startswith("inflight") and "100 %" in line for line in lost)


def test_terminal_shows_markup_as_it_is(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", [("ecmp", None), ("[red]x\x1b[2J", 100_000)], seeds=1)
    lines, _ = table(Forecast(folder), 100)
    assert lines[2][1].startswith("[red]x?[2J")
    assert any(line.startswith("[red]x?[2J") for line in printed(folder))


def test_damaged_folders_are_named(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", [("ecmp", None)], seeds=1)
    summary = pq.read_table(folder / "summary.parquet")
    pq.write_table(summary.drop_columns(["imbalance"]), folder / "summary.parquet")
    with pytest.raises(InputError, match=r"summary\.parquet: column .*imbalance.* is missing; run"):
        Forecast(folder)
    (folder / "summary.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match=r"summary\.parquet: unreadable"):
        Forecast(folder)
    (folder / "forecast.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(InputError, match=r"forecast\.json: holds no JSON object"):
        Forecast(folder)
    (folder / "forecast.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"forecast\.json: unreadable"):
        Forecast(folder)
    with pytest.raises(InputError, match=r"forecast\.json: not found"):
        Forecast(tmp_path / "none")


def test_sparse_document_still_makes_a_page(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(), seeds=1)
    (folder / "forecast.json").write_text("{}", encoding="utf-8")
    page = page_of(folder)
    assert "the quickest of those compared" in page.text
    assert ForecastContent(Forecast(folder)).paths == []


def table_of(sids: int, lists: int) -> Row:
    row = {"node": "<leaf>", "behavior": "End.X", "link": "a-b", "neighbor": "b", "attachment": None}
    path = {"from": "left", "to": "right", "segments": [], "ipv4": ["fd00::4"], "ipv6": ["fd00::1", "fd00::6"]}
    return {
        "sids": [{**row, "sid": f"fd00::{number:x}"} for number in range(sids)],
        "lists": [{**path, "path_id": number} for number in range(lists)],
    }


def test_sids_are_a_folded_table(tmp_path: Path) -> None:
    page = page_of(make_forecast(tmp_path / "f", cells(), seeds=1, sids=table_of(3, 2)))
    assert "<leaf> End.X fd00::2 over a-b to b" in page.text
    assert "1 left → right fd00::4 fd00::1 fd00::6" in page.text
    assert ("details", {"class": "sids"}) in page.tags
    assert any(tag == "input" and found.get("type") == "search" for tag, found in page.tags)
    assert "more SIDs" not in page.text
    assert "SIDs and segment lists" not in page_of(make_forecast(tmp_path / "g", cells(), seeds=1)).text


def test_sids_by_the_thousand_do_not_flood_the_page(tmp_path: Path) -> None:
    page = page_of(make_forecast(tmp_path / "f", cells(), seeds=1, sids=table_of(9000, 2001)))
    assert page.text.count("over a-b to b") == 2000
    assert re.search(r"7.000 more SIDs and 1 more segment lists are in forecast\.json", page.text)
