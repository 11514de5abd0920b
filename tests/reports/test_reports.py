"""Reports: number formatting, the page and the terminal summary, from synthetic forecast folders."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from segcast.analyzer.forecast.compare import variant_label
from segcast.analyzer.metrics.tables import FLOW_FATES, SUMMARY
from segcast.analyzer.schema import DISTRIBUTIONS, PROFILE, QUANTILES, SERIES, SIZES
from segcast.reports import text
from segcast.reports.forecast import figures
from segcast.reports.forecast.content import Content
from segcast.reports.forecast.data import Estimate, Forecast, Variant
from segcast.reports.forecast.page import write_report
from segcast.reports.forecast.terminal import print_forecast, table
from segcast.reports.forecast.words import caveats, headline
from segcast.reports.style import linear_ticks, log_ticks, looks
from segcast.traces.errors import InputError
from segcast.traces.schema import Table

Cells = Sequence[tuple[str, int | None]]
Row = dict[str, Any]

GRID = sorted({*np.linspace(0, 1, 101).round(6), *(1 - np.logspace(0, -5, 60)).round(6)})
BINS = ((1, 1_000), (1_000, 10_000), (10_000, 100_000), (100_000, 1_000_000), (1_000_000, None))
TIMEOUTS = (20_000, 50_000, 100_000, 500_000, 1_000_000)


def cells(policies: Sequence[str] = ("random", "inflight"), timeouts: Sequence[int] = (100_000,)) -> Cells:
    """ECMP and every steered policy at every timeout."""
    return [("ecmp", None), *((policy, timeout) for policy in policies for timeout in timeouts)]


def make_forecast(
    folder: Path,
    variants: Cells,
    seeds: int = 3,
    *,
    lost: bool = False,
    paths: int = 4,
    random_seed: int = 7,
    **meta: Any,
) -> Path:
    """A forecast folder whose tables follow the schemas; `lost`: nothing is delivered. `meta` overrides the JSON."""
    rng = np.random.default_rng(random_seed)
    folder.mkdir(parents=True, exist_ok=True)
    tables: dict[str, list[Row]] = {t.name: [] for t in (SUMMARY, FLOW_FATES, SIZES, DISTRIBUTIONS, SERIES, PROFILE)}
    means: dict[tuple[str, int | None], float] = {}
    for place, (policy, timeout) in enumerate(variants):
        quality = (
            1.0 if place == 0 else 0.62 + 0.28 * (policy == "random") + 0.05 * abs(math.log10((timeout or 1e5) / 1e5))
        )
        p99 = []
        for seed in range(1, seeds + 1):
            cell = {"cell": f"{place}-s{seed}", "policy": policy, "timeout_ns": timeout, "load": 1.0, "seed": seed}
            factor = quality * float(rng.normal(1, 0.04))
            value = quantile_function(factor)
            p99.append(value(0.99))
            tables["summary"].append(summary_row(cell, value, factor, lost, rng))
            tables["distributions"] += [] if lost else distribution_rows(cell, value)
            tables["sizes"] += size_rows(cell, factor, lost)
            if seed == 1:
                tables["series"] += series_rows(cell, factor, paths, rng)
        means[policy, timeout] = sum(p99) / len(p99)
    tables["profile"] = [profile_row(t) for t in TIMEOUTS]
    for definition in (SUMMARY, FLOW_FATES, SIZES, DISTRIBUTIONS, SERIES, PROFILE):
        write_table(folder, definition, tables[definition.name])
    document = document_of(variants, means, seeds, paths, lost) | meta
    (folder / "forecast.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "scenario.toml").write_text('seeds = [1, 2, 3]\npolicy = ["<ecmp>"]\n', encoding="utf-8")
    return folder


def write_table(folder: Path, definition: Table, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, definition.arrow_schema()), folder / f"{definition.name}.parquet")


def quantile_function(factor: float) -> Callable[[float], float]:
    """Delays of a bulk and a heavy tail, in ns."""
    return lambda q: 52_000 + factor * 40_000 * (q + 0.9 * (1 - min(q, 1 - 1e-6)) ** -0.45 - 0.9)


def summary_row(cell: Row, value: Callable[[float], float], factor: float, lost: bool, rng: np.random.Generator) -> Row:
    row: Row = dict.fromkeys(SUMMARY.names())
    sent = 250_000
    dropped = sent if lost else int(400 * factor**3)
    row |= cell | {
        "packets": sent,
        "delivered": sent - dropped,
        "dropped": dropped,
        "drop_ratio": dropped / sent,
    }
    row |= {"ecn_marked": 0 if lost else int(9000 * factor), "reordered": 0, "displaced_3": 0}
    row |= {
        "flowlets": 4000,
        "path_changes": 1200,
        "imbalance": 0.9 * factor,
        "jain": 0.9,
        "utilisation_mean": 0.3,
    }
    row |= {"utilisation_max": 0.55 * factor}
    if lost:
        return row
    for name, q in QUANTILES.items():
        delay = round(value(q))
        row |= {
            f"delay_{name}_ns": delay,
            f"queue_{name}_ns": max(0, delay - 52_000),
            f"fct_{name}_ns": delay * 40,
        }
        row |= {f"slowdown_{name}": 1 + delay / 90_000}
    row |= {
        "delay_mean_ns": value(0.7),
        "reordered_ratio": 0.0 if cell["timeout_ns"] is None else 0.004 * float(rng.random()),
    }
    return row


def distribution_rows(cell: Row, value: Callable[[float], float]) -> list[Row]:
    return [cell | {"metric": m, "quantile": float(q), "value": value(q)} for m in ("delay_ns", "fct_ns") for q in GRID]


def size_rows(cell: Row, factor: float, lost: bool) -> list[Row]:
    rows = []
    for place, (low, below) in enumerate(BINS):
        row: Row = dict.fromkeys(SIZES.names())
        row |= cell | {
            "min_bytes": low,
            "below_bytes": below,
            "flows": 0 if lost else 900 // (place + 1) ** 2,
        }
        if not lost:
            row |= {f"slowdown_{q}": 1 + factor * (5 - place) * p**4 for q, p in QUANTILES.items()}
            row |= {f"fct_{q}_ns": 1000 * (place + 1) for q in QUANTILES}
        rows.append(row)
    return rows


def series_rows(cell: Row, factor: float, paths: int, rng: np.random.Generator) -> list[Row]:
    rows = []
    wave = 1 + 0.6 * np.sin(np.arange(300) / 25)
    for group in (0, 1):
        for slot in range(paths):
            bias = 1 + (factor - 0.55) * 1.6 * math.sin(3 * slot + 1)
            sent = (wave * bias * rng.gamma(12, 1 / 12, 300) * (60_000 if group == 0 else 9_000)).astype(int)
            for interval, amount in enumerate(sent.tolist()):
                place = {"group": group, "path_id": group * paths + slot, "start_ns": interval * 1_000_000}
                drops = int(amount > 165_000)
                rows.append(cell | place | {"interval_ns": 1_000_000, "bytes": amount, "dropped": drops})
    return rows


def profile_row(timeout: int) -> Row:
    flowlets = 800 + int(4e9 / timeout**0.9)
    row: Row = {
        "timeout_ns": timeout,
        "flowlets": flowlets,
        "flows": 800,
        "never_split": 300,
        "packets_mean": 250_000 / flowlets,
    }
    row |= {f"packets_{q}": round(1 + 250_000 / flowlets * p * 3) for q, p in QUANTILES.items()}
    return row | {f"bytes_{q}": 1000 for q in QUANTILES} | {"bytes_mean": 1000.0}


def document_of(variants: Cells, means: dict[tuple[str, int | None], float], seeds: int, paths: int, lost: bool) -> Row:
    (policy, timeout), *others = variants
    base = means[policy, timeout]
    comparisons = []
    for other in [] if lost else others:
        change = means[other] / base - 1
        bounds = {"low": change - 0.04, "high": change + 0.035} if seeds > 1 else {"low": None, "high": None}
        comparison = {
            "policy": other[0],
            "timeout_ns": other[1],
            "metric": "delay_p99_ns",
            "value": means[other],
        }
        comparisons.append(comparison | {"baseline": base, "change": change, "seeds": seeds} | bounds)
    best = min(comparisons, key=lambda c: c["change"], default=None)
    answer = ""
    if best:
        name = variant_label(best["policy"], best["timeout_ns"])
        answer = f"{name}: p99 delay {text.change(best['change'])} against {variant_label(policy, timeout)}"
    links = [
        {
            "name": f"left-right-{n}",
            "rate_bps": 10**9,
            "delay_ns": 10_000,
            "buffer_bytes": None if n else 250_000,
        }
        | {"ecn_bytes": None, "overhead_bytes": 24}
        for n in range(paths)
    ]
    rows = [
        {"path_id": g * paths + n, "group": g, "slot": n, "links": [f"left-right-{n}"], "rate_bps": 10**9}
        | {"delay_ns": 10_000, "srv6_bytes": 40}
        for g in (0, 1)
        for n in range(paths)
    ]
    return {
        "segcast": "0.1.0",
        "schema_version": 1,
        "trace": {
            "name": "cluster",
            "packets": 251_234,
            "flows": 800,
            "duration_ns": 300_000_000,
            "sources": [{"path": "/data/cluster.pcap.gz"}],
        },
        "excluded": {"no_ip": 1234, "same_attachment": 0},
        "network": {"paths": rows, "links": links},
        "baseline": {"policy": policy, "timeout_ns": timeout},
        "comparisons": comparisons,
        "answer": answer,
        "answered": best and {"policy": best["policy"], "timeout_ns": best["timeout_ns"]},
    }


# --- number formatting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
        (0, "0 ns"),
        (850, "850 ns"),
        (12_345, "12.3 us"),
        (999_999, "1 ms"),
        (1_200_000, "1.2 ms"),
        (-1_200_000, "-1.2 ms"),
        (4_050_000_000, "4.05 s"),
        (599 * 10**9, "599 s"),
        (754 * 10**9, "12 min 34 s"),
        (-4_321 * 10**9, "-1 h 12 min"),
        (10**18, "277777 h 46 min"),
    ],
)
def test_duration(value: float | None, expected: str) -> None:
    assert text.duration(value) == expected


@pytest.mark.parametrize(
    ("words", "value", "expected"),
    [
        (text.size, 0, "0 B"),
        (text.size, 1_500, "1.5 kB"),
        (text.size, 999_999, "1 MB"),
        (text.size, 5 * 10**18, "5000 PB"),
        (text.rate, 10_000_000_000, "10 Gbit/s"),
        (text.rate, None, "-"),
        (text.count, 9_999_999, "9 999 999"),
        (text.count, 12_345_678, "12.3 M"),
        (text.count, 0, "0"),
        (text.count, None, "-"),
        (text.plain, 1.4189, "1.42"),
        (text.plain, -0.0004, "-0.0004"),
        (text.plain, 123_456.0, "123000"),
        (text.plain, math.nan, "-"),
        (text.percent, 0, "0 %"),
        (text.percent, 0.31, "31 %"),
        (text.percent, 0.0996, "10 %"),
        (text.percent, 0.00012, "0.012 %"),
        (text.percent, 1e-12, "<0.000001 %"),
        (text.percent, None, "-"),
        (text.change, -0.314, "-31 %"),
        (text.change, 0.042, "+4.2 %"),
        (text.change, -0.0002, "0 %"),
        (text.change, 0, "0 %"),
        (text.change, 11.0, "x12"),
        (text.change, None, "-"),
    ],
)
def test_quantities(words: Callable[[float | None], str], value: float | None, expected: str) -> None:
    assert words(value) == expected


def test_intervals_and_spans() -> None:
    assert text.change_interval(-0.35, 0.027) == "-35 to +2.7"
    assert text.change_interval(None, 0.1) == ""
    assert text.span("812 us", "840 us") == "812 to 840 us"
    assert text.span("812 us", "1.1 ms", "–") == "812 us–1.1 ms"
    assert text.span("3", "4") == "3 to 4"
    assert text.span("9 000", "12 000") == "9 000 to 12 000"


def test_typeset_touches_only_numbers() -> None:
    assert text.typeset("inflight, 100 us: -31 % (-35 to +2)") == "inflight, 100\u00a0µs: −31\u00a0% (−35 to +2)"
    assert text.typeset("use policy-2 at 2026-01-02") == "use policy-2 at 2026-01-02"


def test_ticks_are_few_round_and_inside() -> None:
    assert log_ticks(900, 1.1e6) == [1e3, 1e4, 1e5, 1e6]
    assert linear_ticks(0, 10) == [0, 2, 4, 6, 8, 10] or len(linear_ticks(0, 10)) <= 6
    for low, high in [(52_000, 53_000), (1, 1e9), (1.0, 1.001), (5, 5), (3e-4, 2e-3), (2e5, 9e6)]:
        ticks = log_ticks(low, high)
        assert 1 <= len(ticks) <= 7
        assert all(low * 0.999999 <= tick <= high * 1.000001 for tick in ticks)
        assert ticks == sorted(set(ticks))


def test_estimate() -> None:
    assert Estimate.of([None, math.nan]) == Estimate(None)
    assert Estimate.of([3]) == Estimate(3.0, seeds=1)
    two = Estimate.of([1.0, 3.0])
    assert (two.mean, two.low, two.seeds) == (2.0, 0.0, 2)
    assert two.high == pytest.approx(2 + 12.7062, abs=1e-4)
    many = Estimate.of([float(n) for n in range(100)])
    assert many.high is not None and many.mean is not None
    assert many.high - many.mean == pytest.approx(1.984 * 29.0115 / 10, rel=1e-3)


# --- the page ----------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    """The text, the elements and the tags with attributes of a page; plotly's bundle is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self._within: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag in ("script", "style"):
            self._within.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._within.pop()

    def handle_data(self, data: str) -> None:
        if not self._within:
            self.words.append(data)
        elif self._within[-1] == "script":
            self.scripts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    @property
    def figures(self) -> dict[str, Any]:
        (found,) = (script for script in self.scripts if script.startswith("{"))
        return dict(json.loads(found))


def page_of(folder: Path) -> _Page:
    page = _Page()
    page.feed(write_report(folder).read_text(encoding="utf-8"))
    return page


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_forecast(tmp_path_factory.mktemp("standard") / "f", cells(timeouts=(50_000, 100_000)), seeds=3)


@pytest.fixture(scope="module")
def page(standard: Path) -> _Page:
    return page_of(standard)


def test_sections_come_in_order(page: _Page) -> None:
    sections = [i for i in page.ids if i not in ("figures", "group")]
    assert sections == ["changes", "numbers", "delay", "slowdown", "load", "profile", "run"]


def test_answer_comes_first(page: _Page) -> None:
    sentence = re.search(
        r"inflight, 100\sµs would cut the p99 one-way delay by \d+\s% \(95\s% interval [^)]*\)", page.text
    )
    assert sentence
    assert "against ecmp: 99 % of packets arrive within" in page.text.replace("\u00a0", " ")
    assert page.text.index(sentence[0]) < page.text.index("Key numbers")


def test_key_numbers_have_every_metric_and_mark_the_best(page: _Page) -> None:
    for title in ("p50 delay", "p99.9 delay", "p99 queueing", "p99 FCT", "p99 slowdown", "dropped", "marked"):
        assert title in page.text
    for title in ("reordered", "imbalance", "busiest link", "baseline", "★"):
        assert title in page.text


def test_page_says_what_was_run(page: _Page) -> None:
    words = page.text.replace("\u00a0", " ")
    assert "cluster: 251 234 packets, 800 flows, 300 ms; from cluster.pcap.gz" in words
    assert "ecmp × 3 seeds; random, 50 µs × 3 seeds" in words
    assert "1 234 packets are left out: they have no readable IP header." in words
    assert "Packets leave when the capture says." in words
    assert "segcast forecast TRACE --scenario scenario.toml" in words
    assert 'policy = ["<ecmp>"]' in words


def test_page_is_self_contained_and_small(standard: Path, page: _Page) -> None:
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


def test_figures_are_valid_plotly(page: _Page) -> None:
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


def test_panels_share_their_scale(page: _Page) -> None:
    layouts = [figure["layout"] for name, figure in page.figures.items() if name.startswith("load-")]
    assert len({tuple(one["yaxis"]["range"]) for one in layouts}) == 1
    assert len({tuple(one["xaxis"]["range"]) for one in layouts}) == 1


def test_tail_falls_and_cdf_rises(page: _Page) -> None:
    for name, sign in (("delay-tail", -1), ("delay-cdf", 1)):
        for trace in (t for t in page.figures[name]["data"] if t.get("text")):
            assert all(b >= a for a, b in zip(trace["x"], trace["x"][1:], strict=False))
            assert all(sign * (b - a) >= 0 for a, b in zip(trace["y"], trace["y"][1:], strict=False))


# --- the answer --------------------------------------------------------------------------------------------------


def comparison(**changes: Any) -> Row:
    row = {"policy": "inflight", "timeout_ns": 100_000, "metric": "delay_p99_ns", "value": 2e5, "baseline": 3e5}
    return row | {"change": -1 / 3, "low": None, "high": None, "seeds": 1} | changes


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


# --- the terminal ------------------------------------------------------------------------------------------------


def printed(folder: Path, **options: Any) -> list[str]:
    buffer = io.StringIO()
    print_forecast(folder, Console(file=buffer, **options))
    return buffer.getvalue().splitlines()


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


# --- damaged folders ---------------------------------------------------------------------------------------------


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
    assert Content(Forecast(folder)).paths == []
