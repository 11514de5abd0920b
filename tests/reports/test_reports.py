"""Reports: the page and the terminal summary, from forecast folders made up."""

from __future__ import annotations

import html
import re
import shlex
import shutil
from pathlib import Path

import plotly.graph_objects as go
import polars as pl
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.metrics.tables import SUMMARY
from segcast.reports.forecast import figures
from segcast.reports.forecast.caveats import caveats
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.page import write_report
from segcast.reports.forecast.terminal import table
from segcast.reports.style import looks
from segcast.traces.errors import InputError
from segcast.traces.samples import CLUSTER
from tests.conftest import Run
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
    return make_forecast(tmp_path_factory.mktemp("standard") / "f", cells(timeouts=(50_000, 100_000)), seeds=5)


@pytest.fixture(scope="module")
def page(standard: Path) -> Page:
    return page_of(standard)


def test_sections_come_in_order(page: Page) -> None:
    sections = [i for i in page.ids if i not in ("figures", "group", "plotly")]
    assert sections == ["changes", "numbers", "delay", "slowdown", "links", "load", "profile", "run"]


def test_answer_comes_first(page: Page) -> None:
    words = page.text.replace("\u00a0", " ")
    what = r"Use inflight at 50 µs or 100 µs \(alike\): p99 delay −\d+ % \([^)]*\) against ecmp, at 0\.\d+ % reordered"
    sentence = re.search(what, words)
    assert sentence
    places = [
        words.index(part)
        for part in (sentence[0], "Because 99 % of the packets that arrive do so within", "Within No budgets")
    ]
    assert places == sorted(places)
    assert places[-1] < words.index("p99 slowdown") < words.index("Key numbers")


def test_key_numbers_have_every_metric_and_mark_the_best(page: Page) -> None:
    for title in ("p50 delay", "p99.9 delay", "p99 queueing", "p99 FCT", "p99 slowdown", "dropped", "marked"):
        assert title in page.text
    for title in ("reordered", "imbalance", "busiest link", "baseline", "★"):
        assert title in page.text


def test_page_says_what_was_run(page: Page) -> None:
    words = page.text.replace("\u00a0", " ")
    assert "cluster: 251 234 packets, 800 flows, 300 ms; from cluster.pcap.gz" in words
    assert "ecmp × 5 seeds; random, 50 µs × 5 seeds" in words
    assert "1 234 packets are left out: they have no readable IP header." in words
    assert "Packets leave when the capture says." in words
    assert re.search(r"segcast forecast \S+ --scenario scenario.toml --out ../again", words)
    assert 'policy = ["<ecmp>"]' in words


def test_the_command_that_runs_it_again_does(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{flow},{flow * 1000},10.0.0.{flow % 4},10.0.1.{flow % 3},40000\n" for flow in range(40)]
    (tmp_path / "a list.csv").write_text("flow,start_ns,src,dst,bytes\n" + "".join(rows))
    for source, name in ((str(CLUSTER), "of a capture"), ("a list.csv", "of a list")):
        assert run("forecast", source, "--paths", "2x1Gbps", "--seeds", 1, "--policy", "ecmp", "--out", name).code == 0
        (command,) = re.findall(r"<code>(segcast forecast .*?)</code>", (tmp_path / name / "report.html").read_text())
        again = shlex.split(html.unescape(command))
        monkeypatch.chdir(tmp_path / name)
        assert run(*again[1:]).code == 0
        tables = [pl.read_parquet(Path(folder) / "summary.parquet") for folder in (".", again[-1])]
        assert tables[0].equals(tables[1])
        monkeypatch.chdir(tmp_path)
        shutil.rmtree("again")


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
    assert "Nothing to choose between: only ecmp was run." in page.text
    assert re.search(r"99\s% of the packets that arrive do so within \d+\sµs under ecmp;", page.text)
    assert "Every cell was run with one seed" in page.text
    assert "★" not in page.text.replace("★ is the best", "")
    assert not any("chip" in str(attributes.get("class")) for _, attributes in page.tags)


def test_nothing_delivered(tmp_path: Path) -> None:
    page = page_of(make_forecast(tmp_path / "f", cells(), seeds=2, lost=True))
    assert "Nothing gets through under any policy." in page.text
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
        ({"low": -0.4, "high": -0.2}, "Use inflight, 100 us: p99 delay -33 % (-40 to -20) against ecmp"),
        (
            {"change": -0.02, "low": -0.08, "high": 0.03},
            "Stay on ecmp: no clear difference; the closest, inflight, 100 us: p99 delay -2 % (-8 to +3)",
        ),
        (
            {"change": 0.5, "low": 0.4, "high": 0.6},
            "Stay on ecmp: nothing tried beats it; the closest, inflight, 100 us: p99 delay +50 % (+40 to +60)",
        ),
        (
            {"change": 0.0},
            "Stay on ecmp: nothing tried makes a difference; the closest, inflight, 100 us: p99 delay 0 %",
        ),
        ({"change": 24.0}, "p99 delay x25"),
    ],
)
def test_headline_and_table_say_the_same(tmp_path: Path, changes: Row, expected: str) -> None:
    folder = make_forecast(tmp_path / "f", cells(("inflight",)), comparisons=[comparison(**changes)])
    content = ForecastContent(Forecast(folder))
    assert expected in content.sentence
    assert content.found is not None and content.found.variant == Variant("inflight", 100_000)
    (row,) = content.changes
    assert row.words in content.sentence
    assert any(row.words in line for _, line in table(content.forecast, 120)[0])
    assert row.words in re.sub(r"\s+", " ", " ".join(printed(folder))).partition(" Because:")[0]


def test_what_the_document_states_is_said_as_it_is(tmp_path: Path) -> None:
    said = {"policy": "random", "timeout": "100us", "timeout_ns": 100_000, "load": 1.0}
    decision = {"do": "Do this.", "because": "Of that.", "but": ["Not so.", "Nor so."], "budgets": "All."}
    folder = make_forecast(tmp_path / "f", cells(), decision=decision, answer="Do this.", answered=said)
    content = ForecastContent(Forecast(folder))
    assert content.sentence == "Do this." and content.found is not None and content.found.variant.policy == "random"
    assert "Do this. Because Of that. But Not so. Nor so. Within All." in page_of(folder).text
    lines = printed(folder)
    assert lines[:5] == [
        "Do:      Do this.",
        "Because: Of that.",
        "But:     Not so.",
        "         Nor so.",
        "Within:  All.",
    ]


def test_full_queues_are_told_from_dead_links(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(("inflight",)), comparisons=[comparison(change=0.001)])
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    for dead, late, told, silent in (
        (0.0, 0.0, "Up to 15 % of packets are dropped at full queues", "links that are down"),
        (
            1.0,
            0.6,
            "Up to 15 % of packets are lost at links that are down, up to 9 % after routing knew",
            "full queues",
        ),
    ):
        for row in summary:
            row["drop_ratio"], row["dropped_dead_link"] = 0.15, round(0.15 * dead * row["packets"])
            row["dropped_undetected"] = round(row["dropped_dead_link"] * (1 - late))
        write_table(folder, SUMMARY, summary)
        words = " ".join(caveats(Forecast(folder)))
        assert told in words and silent not in words


def test_no_star_for_who_loses_more(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells())
    summary = pq.read_table(folder / "summary.parquet").to_pylist()

    def starred(drops: dict[str, float]) -> set[str]:
        write_table(folder, SUMMARY, [row | {"drop_ratio": drops[row["policy"]]} for row in summary])
        shown = ForecastContent(Forecast(folder)).tables["numbers"]
        place = shown.heads.index("p99 slowdown")
        return {variant.policy for variant, found in shown.rows if found[place].best or found[place].tied}

    assert "inflight" in starred(dict.fromkeys(("ecmp", "random", "inflight"), 0.002))
    assert "inflight" not in starred({"ecmp": 0.002, "random": 0.002, "inflight": 0.088})


def test_who_breaks_a_budget_is_marked(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells())
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    assert "over budget" not in page_of(folder).text
    write_table(folder, SUMMARY, [row | {"displaced_3": 9_000 * (row["policy"] == "random")} for row in summary])
    assert {v.policy: said for v, said in Forecast(folder).broken.items()} == {
        "random": "3.6 % displaced by three or more"
    }
    assert page_of(folder).text.count("over budget") == 1


def test_p999_is_grey_until_enough_flows_are_behind_it(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells())
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    for flows, faint in ((2_000.0, False), (70.0, True)):
        write_table(folder, SUMMARY, [row | {"effective_flows": flows} for row in summary])
        shown = ForecastContent(Forecast(folder)).tables["numbers"]
        place = shown.heads.index("p99.9 delay")
        assert {found[place].faint for _, found in shown.rows} == {faint}
        assert any(found[place].best for _, found in shown.rows) != faint
        assert any("p99.9 is grey" in one for one in caveats(Forecast(folder))) == faint
        lines, _ = table(Forecast(folder), 200)
        assert any(re.search(r"\(\d[\d.]* [mu]s\)", line) for _, line in lines) == faint


def test_hosts_without_a_prefix_are_the_first_limit(tmp_path: Path) -> None:
    dealt = {"code": "hosts_dealt", "severity": "warning", "count": 18, "detail": "18 hosts were dealt", "effect": "so"}
    other = {"code": "duplicates", "severity": "warning", "count": 3, "detail": "copies", "effect": "twice"}
    late = {"code": "late_events", "severity": "warning", "count": 1, "detail": "events come late", "effect": "none"}
    trace = {"name": "t", "packets": 9, "flows": 2, "findings": [other, late, dealt]}
    network = {"kind": "leaf-spine", "paths": [], "links": []}
    excluded = {"same_attachment": 1_869}
    folder = make_forecast(tmp_path / "f", cells(), trace=trace, network=network, excluded=excluded)
    found = caveats(Forecast(folder))
    assert found[:3] == [
        "Scenario: 18 hosts were dealt. Effect: so.",
        "Capture: copies (3). Effect: twice.",
        "Scenario: events come late. Effect: none.",
    ]
    assert "Scenario: events come late. Effect: none." in printed(folder)
    assert "1,869 packets of the trace are left out: 1,869 between hosts of one attachment." in printed(folder)


def test_loads_rise_and_are_named_where_there_are_several(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", cells(("inflight",)))
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    write_table(folder, SUMMARY, [row | {"load": load} for load in (1.0, 0.25, 2.0) for row in summary])
    forecast = Forecast(folder)
    assert [(v.policy, v.load) for v in forecast.variants] == [
        (policy, load) for policy in ("ecmp", "inflight") for load in (0.25, 1.0, 2.0)
    ]
    assert [v.label for v in forecast.variants[:3]] == ["ecmp, load 0.25", "ecmp, load 1", "ecmp, load 2"]
    assert "pauses inside flows shrink" in re.sub(r"\s+", " ", " ".join(printed(folder)))


def test_baseline_is_met_timeout_by_timeout(tmp_path: Path) -> None:
    variants = [(policy, timeout) for policy in ("random", "inflight") for timeout in (50_000, 100_000)]
    rows = [comparison(timeout_ns=t, baseline_policy="random", baseline_timeout_ns=t) for t in (50_000, 100_000)]
    folder = make_forecast(tmp_path / "f", variants, comparisons=rows)
    assert "Change of p99 delay against random at the same timeout" in page_of(folder).text


def test_terminal_answers_first_in_plain_text(standard: Path) -> None:
    lines = printed(standard)
    assert lines[0].startswith("Do:      Use inflight at 50 us or 100 us (alike): p99 delay -")
    assert [line.split()[0] for line in lines if line and line[0] != " "][:3] == ["Do:", "Because:", "Within:"]
    assert "\x1b" not in "".join(lines) and "".join(lines).isascii()
    assert all(len(line) <= 120 for line in lines)
    head = next(line for line in lines if line.startswith("policy"))
    titles = "policy timeout p50 p99 change of p99 p99.9 busiest queue99 slow99 drops reord imbal"
    assert " ".join(head.split()) == titles
    row = next(line for line in lines if line.startswith("inflight") and " 100 us " in line and ":" not in line)
    assert re.search(r"-\d+ % \(-\d+ to -\d+\)", row)
    assert next(line for line in lines if line.startswith("ecmp ")).split()[6] == "baseline"
    assert any(line.startswith("Means over 5 seeds") for line in lines)


def test_narrow_terminal_loses_columns_not_alignment(standard: Path) -> None:
    lines = printed(standard, force_terminal=True, width=64, color_system=None)
    rows = [line for line in lines if line.startswith(("policy", "ecmp ", "random ", "inflight "))]
    assert len(rows) == 6 and all(len(row) <= 64 for row in rows)
    assert "Some columns do not fit here; the report has them all." in lines


def test_terminal_without_intervals_or_deliveries(tmp_path: Path) -> None:
    one = printed(make_forecast(tmp_path / "one", [("ecmp", None)], seeds=1))
    assert one[0] == "Do:      Nothing to choose between: only ecmp was run."
    assert one[1].startswith("Because: 99 % of the packets that arrive do so within")
    assert any("One seed, so no intervals." in line for line in one)
    lost = printed(make_forecast(tmp_path / "lost", cells(), seeds=2, lost=True))
    assert lost[0] == "Do:      Nothing gets through under any policy."
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
    assert "Too little to tell: 1 seed cannot tell 2 comparisons apart: run at least 10." in page.text
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
