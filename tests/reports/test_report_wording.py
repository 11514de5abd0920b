"""Reports: what they call things, and that they say it of the right thing."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from segcast.analyzer.forecast.compare import compare
from segcast.analyzer.metrics.tables import FLOW_FATES, SUMMARY
from segcast.reports import text
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.terminal import table
from segcast.traces.ingest.run import ingest
from segcast.traces.units import say_span
from tests.support.forecasts import comparison, make_forecast, row, write_table
from tests.support.reports import page_of, printed
from tests.twins import writing


def compared(folder: Path, variants: list[tuple[str, int | None]], p99: dict[str, float]) -> ForecastContent:
    """The page of a forecast whose document compares such p99 delays, with four seeds."""
    rows = [row(policy, t, seed, p99[policy] + seed) for policy, t in variants for seed in (1, 2, 3, 4)]
    return ForecastContent(Forecast(make_forecast(folder, variants, seeds=4, comparisons=compare(rows, "ecmp"))))


def test_the_answer_is_found_whatever_its_timeout(tmp_path: Path) -> None:
    for timeout_ns in (1_500_000, 99_999, 100_001, 1_234_567):
        variants = [("ecmp", None), ("inflight", timeout_ns)]
        content = compared(tmp_path / str(timeout_ns), variants, {"ecmp": 1000.0, "inflight": 700.0})
        assert content.sentence.startswith(f"Use {Variant('inflight', timeout_ns).label}: p99 delay -30 % (")
        assert len(content.tiles) == 4


@pytest.mark.parametrize(
    ("variant", "label"),
    [
        (Variant("inflight", 1_500_000), "inflight, 1.5 ms"),
        (Variant("inflight", 99_999), "inflight, 99.999 us"),
        (Variant("inflight", 100_001, load=1.234), "inflight, 100.001 us, load 1.234"),
        (Variant("inflight", 2 * 10**9, load=1.2341), "inflight, 2 s, load 1.2341"),
        (Variant("inflight", 0, load=20.0), "inflight, 0 ns, load 20"),
        (Variant("inflight", None, "adaptive", 1e-7), "inflight, adaptive, load 0.0000001"),
        (Variant("ecmp", None), "ecmp"),
    ],
)
def test_settings_are_named_exactly(variant: Variant, label: str) -> None:
    assert variant.label == label


def test_path_rates_are_those_of_the_direction_shown(tmp_path: Path) -> None:
    rates = {0: (0, None), 2: (1, 400_000_000), 3: (1, 200_000_000)}
    paths = [{"path_id": p, "group": g, "slot": 0, "links": [], "rate_bps": r} for p, (g, r) in rates.items()]
    groups = [{"group": 0, "from": "leaf0", "to": "leaf0"}, {"group": 1, "from": "leaf0", "to": "leaf1"}]
    network = {"kind": "leaf-spine", "paths": paths, "links": [], "groups": groups}
    folder = make_forecast(tmp_path / "f", [("ecmp", None)], seeds=1, paths=2, network=network)
    series = pq.read_table(folder / "series.parquet")
    pq.write_table(series.filter(pc.not_equal(series["path_id"], 1)), folder / "series.parquet")
    loads = ForecastContent(Forecast(folder)).loads
    first, second = loads.groups
    assert (first.name, first.rates) == ("leaf0 to leaf1", "200 to 400 Mbit/s (dotted lines)")
    assert [name for name, *_ in first.paths] == ["path 2", "path 3"]
    assert (second.name, second.rates) == ("leaf0 to leaf0", "")
    assert [name for name, *_ in second.paths] == ["path 0"]
    assert [panel.name for panel in loads.panels if panel.shown] == ["load-0-1"]
    drawn = {name: [shape["y0"] for shape in figure["layout"]["shapes"]] for name, figure in loads.figures.items()}
    assert drawn == {"load-0-0": [], "load-0-1": [0.2, 0.4]}


def test_the_best_is_that_of_each_load(tmp_path: Path) -> None:
    folder = make_forecast(tmp_path / "f", [("ecmp", None), ("inflight", 100_000)], seeds=2)
    light = pq.read_table(folder / "summary.parquet").to_pylist()
    heavy = [one | {"load": 2.0, "delay_p99_ns": 10 * one["delay_p99_ns"]} for one in light]
    write_table(folder, SUMMARY, light + heavy)
    content = ForecastContent(Forecast(folder))
    place = content.tables["numbers"].heads.index("p99 delay")
    marked = {variant.label for variant, cells in content.tables["numbers"].rows if cells[place].best}
    assert marked == {"inflight, 100 us, load 1", "inflight, 100 us, load 2"}
    assert "★ is the best of its column at each load" in page_of(folder).text


@pytest.mark.parametrize(
    ("timeouts", "loads", "words"),
    [
        ((None, None), (1.0, 2.0), "ecmp at the same load"),
        ((100_000, 100_000), (1.0, 2.0), "ecmp, 100 us at the same load"),
        ((50_000, 100_000), (1.0, 1.0), "ecmp at the same timeout"),
        ((50_000, 100_000), (1.0, 2.0), "ecmp at the same timeout and load"),
        ((None, None), (1.0, 1.0), "ecmp"),
    ],
)
def test_the_baseline_is_met_at_the_same(
    tmp_path: Path, timeouts: tuple[int | None, ...], loads: tuple[float, ...], words: str
) -> None:
    folder = make_forecast(tmp_path / "f", [("ecmp", None), ("inflight", 100_000)], seeds=1)
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    settings = [{"timeout_ns": t, "load": load} for t, load in zip(timeouts, loads, strict=True)]
    write_table(folder, SUMMARY, [one | setting for one in summary for setting in settings])
    document = json.loads((folder / "forecast.json").read_text())
    document["baseline"] = {"policy": "ecmp"} | settings[0]
    document["comparisons"] = [
        comparison(**setting, baseline_policy="ecmp", baseline_timeout_ns=setting["timeout_ns"]) for setting in settings
    ]
    (folder / "forecast.json").write_text(json.dumps(document))
    forecast = Forecast(folder)
    assert ForecastContent(forecast).changes_against == words
    lines, _ = table(forecast, 120)
    assert [str(v) for v, line in lines if v and "baseline" in line] == [
        str(v) for v in forecast.variants if v.policy == "ecmp"
    ]


def test_an_interval_beyond_tenfold_is_said_as_such_and_leaves_the_others_visible(tmp_path: Path) -> None:
    wild, calm = comparison(change=-0.36, low=-0.99999, high=1.5e10), comparison(policy="random", low=-0.4, high=-0.3)
    variants = [("ecmp", None), ("inflight", 100_000), ("random", 100_000)]
    folder = make_forecast(tmp_path / "f", variants, seeds=4, comparisons=[wild, calm])
    content = ForecastContent(Forecast(folder))
    assert content.sentence.startswith("Use random, 100 us: ")
    long, short = content.changes
    assert (long.words, long.beyond, short.beyond) == ("-36 % (-100 to more than tenfold)", True, False)
    assert 90 < long.left + long.width < 100
    assert short.width > 4
    assert "An arrow: it goes on beyond the scale." in page_of(folder).text
    lines, _ = table(content.forecast, 120)
    assert any("-36 % (-100 to >x10)" in line for _, line in lines)
    alone = make_forecast(tmp_path / "g", variants[:2], seeds=4, comparisons=[wild])
    assert ForecastContent(Forecast(alone)).sentence == (
        "Stay on ecmp: no clear difference; the closest, inflight, 100 us: p99 delay -36 % (-100 to more than "
        "tenfold), too wide to tell."
    )


def test_bounds_of_changes() -> None:
    assert text.change_interval(-0.5, 0.2, " %") == "-50 to +20 %"
    assert text.change_interval(-0.5, 30) == "-50 to more than tenfold"
    assert text.change_interval(12, 30, " %") == "more than tenfold"


def test_flow_completion_is_said_to_be_of_received_packets(tmp_path: Path) -> None:
    (fct,) = [column for column in FLOW_FATES.columns if column.name == "fct_ns"]
    assert fct.meaning.startswith("of the received packets, first send to last receive")
    page = page_of(make_forecast(tmp_path / "f", [("ecmp", None)], seeds=1))
    assert "a flow that loses its first or last packets seems quick" in page.text


def test_the_terminal_groups_by_commas(tmp_path: Path) -> None:
    for number, words in ((18_959, "18,959 packets of the trace are"), (1, "1 packet of the trace is")):
        folder = make_forecast(tmp_path / str(number), [("ecmp", None)], seeds=1, excluded={"no_ip": number})
        assert f"{words} left out: {number:,} without IP." in printed(folder)


@pytest.mark.parametrize(("queued_ns", "idle"), [(0, True), (1, False)])
def test_links_that_never_fill_are_said(tmp_path: Path, queued_ns: int, idle: bool) -> None:
    """One cell with a queue is enough."""
    folder = make_forecast(tmp_path / "f", [("ecmp", None), ("inflight", 50_000)], seeds=2)
    summary = pq.read_table(folder / "summary.parquet")
    queued = pa.array([0] * (len(summary) - 1) + [queued_ns], pa.int64())
    column = summary.schema.get_field_index("queue_p999_ns")
    pq.write_table(summary.set_column(column, summary.schema.field(column), queued), folder / "summary.parquet")
    words = "Not one packet in a thousand waits in a queue, so nothing tells policies apart"
    assert (words in page_of(folder).text) == idle
    assert any(line.startswith(words) for line in printed(folder)) == idle


@pytest.mark.parametrize(
    ("value_ns", "words"),
    [(1_472_003_999_360_380_631, "1,472,003,999 s"), (1_234_567, "1.235 ms"), (999, "999 ns"), (12 * 10**9, "12 s")],
)
def test_spans_of_time(value_ns: int, words: str) -> None:
    assert say_span(value_ns) == words


def test_a_step_backwards_is_told_as_a_person_would(tmp_path: Path) -> None:
    packet = writing.ipv4(writing.udp(), 17)
    frames = [writing.Captured(time_ns, 60, packet) for time_ns in (1_472_004_000_360_380_631, 10**9)]
    (tmp_path / "c.pcap").write_bytes(writing.pcap(frames, 101, nanoseconds=True))
    findings = ingest([tmp_path / "c.pcap"], tmp_path / "t.trace").info["findings"]
    assert "times step backwards, by up to 1,472,003,999 s" in [finding["detail"] for finding in findings]


@pytest.mark.parametrize("load", [1.0, 2.0])
def test_figures_show_policies_at_the_load_of_the_answer(tmp_path: Path, load: float) -> None:
    variants = [("ecmp", None), ("inflight", 100_000), ("random", 100_000)]
    said = {"policy": "inflight", "timeout_ns": 100_000, "load": load}
    folder = make_forecast(tmp_path / "f", variants, seeds=1, decision={"do": "x"}, answered=said)
    summary = pq.read_table(folder / "summary.parquet").to_pylist()
    doubled = [{"cell": f"{one['cell']}-x", "load": 2.0, "delay_p99_ns": 2 * one["delay_p99_ns"]} for one in summary]
    write_table(folder, SUMMARY, [*summary, *(one | more for one, more in zip(summary, doubled, strict=True))])
    assert [(v.policy, v.load) for v in Forecast(folder).shown] == [(p, load) for p in ("ecmp", "inflight", "random")]
