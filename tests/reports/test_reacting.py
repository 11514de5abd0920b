"""Reports of forecasts whose senders react: what is said first, the numbers, and what no completion time counts."""

from __future__ import annotations

import math
import re
import statistics
from pathlib import Path

import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.workload.source import open_workload
from segcast.reports import text
from segcast.reports.forecast.caveats import caveats
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast
from segcast.reports.forecast.page import write_report
from tests.support.forecasts import cells, comparison, make_forecast, make_reacting, write_table
from tests.support.reports import Page, page_of, printed

RECORDED = "Packets leave as captured, whatever the network does: no sender slows down or sends losses again."
REACTING = "TCP senders react: completion times are those of TCP (dctcp), losses and waits included."


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reacting") / "f"
    return make_reacting(folder, cells(timeouts=(50_000, 100_000)), seeds=5)


@pytest.fixture(scope="module")
def page(standard: Path) -> Page:
    return page_of(standard)


@pytest.fixture(scope="module")
def lossy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ECMP leaves a fifth of the flows unfinished, `random` none, `inflight` a tenth."""
    return make_reacting(tmp_path_factory.mktemp("lossy") / "f", cells(), seeds=4, unfinished=(400, 0, 200))


def test_the_first_lines_say_which_of_the_two_it_is(standard: Path, page: Page, tmp_path: Path) -> None:
    recorded = make_forecast(tmp_path / "f", cells(), seeds=2)
    for folder, words in ((standard, REACTING), (recorded, RECORDED)):
        shown = page_of(folder).text
        assert shown.index(words) < shown.index("Because") < shown.index("Key numbers" if words is RECORDED else "FCT")
        lines = printed(folder)
        assert lines.index(words) == lines.index("") + 1
    assert REACTING not in page_of(recorded).text
    assert RECORDED not in page.text


def test_completion_comes_before_packets(page: Page) -> None:
    sections = [i for i in page.ids if i not in ("figures", "group", "plotly")]
    assert sections == ["changes", "numbers", "fct", "slowdown", "costs", "delay", "links", "load", "profile", "run"]
    assert "Change of p99 FCT against ecmp" in page.text
    assert re.search(
        r"Use .*: p99 flow completion time .* Because 99 % of flows complete within", page.text.replace("\u00a0", " ")
    )


COLUMNS: dict[str, dict[str, str]] = {
    "numbers": {
        "p50 FCT": "fct_p50_ns",
        "p90 FCT": "fct_p90_ns",
        "p95 FCT": "fct_p95_ns",
        "p98 FCT": "fct_p98_ns",
        "p99 FCT": "fct_p99_ns",
        "p99.9 FCT": "fct_p999_ns",
        "mean FCT": "fct_mean_ns",
        "p99 slowdown": "slowdown_p99",
    },
    "costs": {
        "reordered": "reordered_ratio",
        "dropped": "drop_ratio",
        "retransmissions": "retransmissions",
        "needless": "needless",
        "fast recoveries": "recoveries",
        "timeouts": "timeouts",
        "SYNs sent again": "syn_retransmissions",
        "goodput": "goodput_bps",
    },
    "packets": {
        "p50 delay": "delay_p50_ns",
        "p99 delay": "delay_p99_ns",
        "p99.9 delay": "delay_p999_ns",
        "p99 queueing": "queue_p99_ns",
        "busiest link": "utilisation_max",
        "imbalance": "imbalance",
    },
}


def said(column: str, value: float) -> str:
    """A mean as the page has it."""
    if column.endswith("_ns"):
        return text.duration(value)
    if column.endswith("_bps"):
        return text.rate(value)
    if column.endswith("_ratio") or column == "utilisation_max":
        return text.percent(value)
    if column in ("slowdown_p99", "imbalance"):
        return text.plain(value)
    return text.count(value) if value >= 100 or value == int(value) else text.significant(value)


def test_every_number_is_the_mean_of_the_summary(standard: Path) -> None:
    summary = pq.read_table(standard / "summary.parquet").to_pylist()
    content = ForecastContent(Forecast(standard))
    assert {
        name: [h for h in t.heads if h not in ("change of it", "marked")] for name, t in content.tables.items()
    } == {name: list(columns) for name, columns in COLUMNS.items()}
    for name, columns in COLUMNS.items():
        for variant, found in content.tables[name].rows:
            rows = [r for r in summary if (r["policy"], r["timeout_ns"]) == (variant.policy, variant.timeout_ns)]
            assert len(rows) == 5
            shown = dict(zip(content.tables[name].heads, found, strict=True))
            for title, column in columns.items():
                assert shown[title].mean == said(column, statistics.fmean(r[column] for r in rows)), (variant, title)


def test_the_change_of_p99_stands_beside_it(standard: Path) -> None:
    content = ForecastContent(Forecast(standard))
    table = content.tables["numbers"]
    place = table.heads.index("p99 FCT")
    assert table.heads[place + 1] == "change of it"
    changes = {variant.label: found[place + 1] for variant, found in table.rows}
    assert changes["ecmp"].mean == "baseline"
    stated = {
        (c["policy"], c["timeout_ns"]): c for c in content.forecast.meta["comparisons"] if c["metric"] == "fct_p99_ns"
    }
    for variant, found in table.rows[1:]:
        one = stated[variant.policy, variant.timeout_ns]
        assert found[place + 1].mean == text.change(one["change"])
        assert found[place + 1].interval == text.change_interval(one["low"], one["high"], " %")


def test_of_goodput_the_most_is_best(standard: Path) -> None:
    table = ForecastContent(Forecast(standard)).tables["costs"]
    place = table.heads.index("goodput")
    assert [found[place].best for _, found in table.rows] == [False, False, False, False, True]


def test_figures_are_valid_and_placed(page: Page) -> None:
    wanted = {"fct-tail", "fct-cdf", "slow-tail", "slow-cdf", "fct-p50", "fct-p99", "slowdown-p50", "slowdown-p99"}
    assert wanted | {"delay-tail", "delay-cdf"} <= set(page.figures)
    for figure in page.figures.values():
        assert len(go.Figure(figure).data) == len(figure["data"]) > 0
    assert {attributes["data-figure"] for _, attributes in page.tags if "data-figure" in attributes} == set(
        page.figures
    )


def test_the_tail_ends_at_one_in_all_flows(page: Page) -> None:
    assert page.figures["fct-tail"]["layout"]["yaxis"]["ticktext"][-1] == "1 in 10 000"  # of 2,000
    assert page.figures["delay-tail"]["layout"]["yaxis"]["ticktext"][-1] == "1 in 100 000"


def test_unfinished_flows_are_said_before_any_number(lossy: Path) -> None:
    words = (
        "Flows did not finish: 0 (random, 100 us) to 400 (ecmp) of 2 000 in each run; they are in no completion time."
    )
    lines = printed(lossy)
    assert lines[lines.index("") + 2] == words
    row = next(line for line in lines if line.startswith("inflight") and ":" not in line)
    assert row.split()[3] == "200"
    shown = page_of(lossy).text
    assert shown.index(re.sub(r"\s+", " ", text.typeset(words))) < shown.index("Flow completion times")
    table = ForecastContent(Forecast(lossy)).tables["numbers"]
    assert table.heads[0] == "unfinished flows"
    assert [found[0].mean for _, found in table.rows] == ["400", "0", "200"]


def test_where_other_flows_finish_times_are_not_compared(lossy: Path) -> None:
    content = ForecastContent(Forecast(lossy))
    assert content.sentence.startswith(
        "Use random, 100 us: it leaves the fewest flows unfinished, 0 of 2 000, against 400 under ecmp; completion "
        "times are of different flows, and do not compare"
    )
    assert content.found is not None and content.found.variant.policy == "random"
    marked = {
        v.policy for t in content.tables.values() for v, found in t.rows for cell in found if cell.best or cell.tied
    }
    assert marked == {"random"}


def test_curves_end_at_the_share_that_finished(lossy: Path) -> None:
    figures = page_of(lossy).figures
    for name in ("fct-cdf", "slow-cdf"):
        ends = {t["name"].split(",")[0]: max(t["y"]) for t in figures[name]["data"] if t.get("text")}
        assert ends == {"ecmp": 0.8, "random": 1.0, "inflight": 0.9}
    least = {t["name"].split(",")[0]: min(t["y"]) for t in figures["fct-tail"]["data"] if t.get("text")}
    assert math.isclose(least["ecmp"], 0.2) and math.isclose(least["inflight"], 0.1) and least["random"] < 0.001
    delays = {max(t["y"]) for t in figures["delay-cdf"]["data"] if t.get("text")}
    assert delays == {1.0}


def test_nothing_finishes(tmp_path: Path) -> None:
    folder = make_reacting(tmp_path / "f", cells(), seeds=2, unfinished=(2_000,) * 3)
    page = page_of(folder)
    assert "Nothing gets through under any policy." in page.text
    assert page.text.count("No flow finishes, so there is no completion time to show.") >= 1
    assert "fct-tail" not in page.figures
    assert "NaN" not in page.text and "None" not in page.text


def test_one_policy_and_one_seed(tmp_path: Path) -> None:
    folder = make_reacting(tmp_path / "f", [("ecmp", None)], seeds=1, unfinished=(3,))
    p99 = pq.read_table(folder / "summary.parquet")["fct_p99_ns"][0].as_py()
    content = ForecastContent(Forecast(folder))
    said = dict(content.card)
    assert said["Do"] == "Nothing to choose between: only ecmp was run."
    assert said["Because"].startswith(f"99 % of flows complete within {text.duration(p99)} under ecmp")
    assert said["But"] == "3 of 2 000 flows never finish under ecmp; they are in no completion time."
    assert "change of it" not in content.tables["numbers"].heads


def test_limits_are_those_of_a_model_of_tcp(standard: Path) -> None:
    found = caveats(Forecast(standard))
    assert any("a model of TCP after the RFCs, with dctcp; three segments" in one for one in found)
    assert not any("Packets leave when" in one or "not punished" in one or "seems quick" in one for one in found)
    assert not any("did not finish" in one for one in found)


def test_few_flows_are_said(tmp_path: Path) -> None:
    folder = make_reacting(tmp_path / "f", cells(), seeds=2, unfinished=(0, 1), flows=900)
    found = caveats(Forecast(folder))
    assert any("Fewer than 1 000 flows finish in a cell" in one for one in found)
    assert any(
        "percentiles of a policy that leaves more of them are those of the luckier flows" in one for one in found
    )


def test_terminal_has_completion_times(standard: Path) -> None:
    lines = printed(standard)
    assert lines[0].startswith("Do:      Use inflight at 50 us or 100 us (alike): p99 flow completion time -")
    assert all(line.isascii() for line in lines)
    narrow = printed(standard, force_terminal=True, width=100, color_system=None)
    assert all(len(line) <= 100 for line in narrow) and len(narrow) == len(lines) + 1
    head = next(line for line in lines if line.startswith("policy")).split()
    assert head[:4] == ["policy", "timeout", "FCT50", "FCT95"] and "resent" in head and "unfin" not in head
    row = next(line for line in lines if line.startswith("ecmp ")).split()
    assert "1,262" in row  # the mean of 1200, 1231 and so on to 1324


def test_a_page_of_many_cells_can_be_mailed(tmp_path: Path) -> None:
    policies = [f"policy{number}" for number in range(11)]
    folder = make_reacting(tmp_path / "f", cells(policies, (20_000, 50_000, 100_000, 500_000, 1_000_000)), seeds=2)
    page = page_of(folder)
    assert (folder / "report.html").stat().st_size < 6_000_000
    # All have a row, figures have the baseline and the best: 11 policies' best timeouts, then others.
    assert sum(tag == "button" for tag, _ in page.tags) == 4 * 24
    drawn = [t["name"] for t in page.figures["fct-tail"]["data"] if t["mode"] != "lines"]
    assert len(drawn) == 24 and {name.partition(",")[0] for name in drawn} == {"ecmp", *policies}
    assert all(page.text.count(policy) >= 3 * 5 for policy in policies)


LIST = """flow,start_ns,src,dst,bytes
a,0,10.1.0.1,10.2.0.1,200000
b,1000,10.1.0.2,10.2.0.2,30000
c,2000,10.1.0.1,10.2.0.2,100
"""


def test_a_forecast_of_a_flow_list_has_the_numbers_of_its_messages(tmp_path: Path) -> None:
    (tmp_path / "pages.csv").write_text(LIST, encoding="utf-8")
    folder = tmp_path / "f"
    scenario = short_scenario(paths="2x1Gbps", seeds=[1], policies=["ecmp"])
    forecast(open_workload(tmp_path / "pages.csv"), scenario, folder, finish=write_report)
    messages = pq.read_table(folder / "messages.parquet").to_pylist()
    times = sorted(row["fct_ns"] for row in messages)
    content = ForecastContent(Forecast(folder))
    table = content.tables["numbers"]
    ((_, found),) = table.rows
    shown = {title: cell.mean for title, cell in zip(table.heads, found, strict=True)}
    assert shown["p50 FCT"] == text.duration(times[1])
    assert shown["p99 FCT"] == text.duration(times[2])
    assert shown["mean FCT"] == text.duration(statistics.fmean(times))
    assert "p99 FCT" in page_of(folder).text
    assert "pages: 3 flows" in page_of(folder).text
    forecast(open_workload(tmp_path / "pages.csv"), scenario, folder, finish=write_report)  # over itself


def test_the_change_of_one_seed_has_no_interval(tmp_path: Path) -> None:
    rows = [comparison(metric="fct_p99_ns")]
    folder = make_reacting(tmp_path / "f", cells(("inflight",)), seeds=1, comparisons=rows)
    table = ForecastContent(Forecast(folder)).tables["numbers"]
    assert [found[table.heads.index("change of it")] for _, found in table.rows][1].interval == ""


def test_a_scenario_that_cannot_be_read_is_none(standard: Path, tmp_path: Path) -> None:
    folder = make_reacting(tmp_path / "f", cells(), seeds=1)
    for damaged in ("[transport", "transport = 3", "x = " + "[" * 100_000):
        (folder / "scenario.toml").write_text(damaged, encoding="utf-8")
        assert "TCP senders react: completion times are those of TCP (cubic)" in page_of(folder).text
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    write_table(folder, SUMMARY, [row | {"messages": None, "unfinished": None} for row in summary])
    assert "Flow completion times" in page_of(folder).text
