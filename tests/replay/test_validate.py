"""`segcast validate`: forecasts against runs whose network is known, right and wrong ones."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import tomli_w

from segcast.analyzer.engine.link_by_link import as_sent, link_model
from segcast.analyzer.forecast.reading import groups_of
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.packets import LOST
from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.measure.run import measure
from segcast.replay.validate.compare import Comparison
from segcast.replay.validate.departures import departures
from segcast.replay.validate.fates import Fate, base_delays, shifted
from segcast.replay.validate.run import validate
from segcast.replay.validate.tolerances import Tolerances, read_tolerances
from segcast.reports.text import change, duration
from segcast.reports.validation.page import ValidationContent, write_validation
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.measuring import Net
from tests.support.validating import sent

POLICIES = ("random", "inflight")


@dataclass(frozen=True)
class Lab:
    """A forecast, and for each policy a run through a network that is as the scenario says, besides a base delay."""

    folder: Path
    forecast: Path
    scenario: ValidScenario
    measurements: dict[str, Path]


@pytest.fixture(scope="module")
def lab(cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("lab")
    scenario = short_scenario(paths="2x300Mbps,1x150Mbps", buffer="256KiB", policies=list(POLICIES), seeds=[1])
    forecast(cluster, scenario, folder / "f")

    def net() -> Net:
        return Net(base_ns=25_000, jitter_ns=8_000, late_ns=lambda number: 1_500 * number)

    measurements = {policy: sent(folder, scenario, policy, net(), policy) for policy in POLICIES}
    return Lab(folder, folder / "f", scenario, measurements)


def rows_of(document: dict[str, Any], comparison: str) -> list[dict[str, Any]]:
    return [row for row in document["comparisons"] if row["comparison"] == comparison]


def test_a_true_model_holds_and_its_base_delay_is_found(lab: Lab, run: Run) -> None:
    out = lab.folder / "v"
    ran = run("validate", lab.forecast, *lab.measurements.values(), "--out", out, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["holds"]
    assert document["checks"]["failed"] == 0
    assert document["checks"]["judged"] >= 2 * 3 * 3
    for policy in document["policies"]:
        for base in policy["base_delay_ns"].values():
            assert base["idle"]
            assert abs(base["delay_ns"] - 29_000) < 1_000
    losses = [row for row in rows_of(document, "as-sent") if row["metric"] == "loss_ratio"]
    assert all(row["predicted"] == pytest.approx(row["measured"], abs=1e-3) for row in losses)
    assert any(row["measured"] > 0 for row in losses)
    tails = [
        row for row in rows_of(document, "as-sent") if row["metric"] == "delay_p99_ns" and row["path_id"] is not None
    ]
    assert all(abs(row["error"]) < 8_000 for row in tails)
    assert set(document["ranking"]["measured"]) == set(POLICIES)
    assert document["ranking_words"].startswith(
        "The schedules were not sent, so the planner's ranking was not tried. As sent the ranking by p99 delay survives"
    )
    packets = pl.read_parquet(out / "packets.parquet")
    assert len(packets) == sum(policy["packets"]["sent"] for policy in document["policies"])
    good = packets.filter(pl.col("residual_ns").is_not_null())
    assert (good["residual_ns"] == good["delay_ns"] - good["as_sent_ns"]).all()
    assert good["residual_ns"].abs().median() < 5_000  # type: ignore[operator]
    assert (good.filter("lone")["wait_ns"] == 0).mean() > 0.9  # type: ignore[operator]
    for policy in document["departures"]:
        assert policy["sent"] == policy["planned"]
        assert policy["gap_error_p50_ns"] in (1_500, None)
    assert {file.name for file in out.iterdir()} == {
        "validation.json",
        "validation.html",
        "departures.parquet",
        "comparisons.parquet",
        "curves.parquet",
        "packets.parquet",
    }
    plain = run("validate", lab.forecast, *lab.measurements.values(), "--out", out)
    assert plain.out.startswith("The forecast of packets as they were sent holds in all ")
    assert max(map(len, plain.out.splitlines())) < 160


def test_forecasts_plans_and_advice_say_what_was_measured_of_the_model(lab: Lab, run: Run, tmp_path: Path) -> None:
    made = run("validate", lab.forecast, *lab.measurements.values(), "--out", tmp_path / "bed", "--json")
    delays = {one["policy"]: one["delay_p99_ns"] for one in json.loads(made.out)["policies"]}
    errors = {policy: p99["as-sent"] / p99["measured"] - 1 for policy, p99 in delays.items()}
    with_it = ("--validated", tmp_path / "bed", "--policy", "ecmp", "--paths", "2x300Mbps", "--json", "--out")
    trace = json.loads((lab.forecast / "forecast.json").read_text())["trace"]["folder"]
    done = run("forecast", trace, "--seeds", "2", *with_it, tmp_path / "f")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["validated"]["p99"] == pytest.approx(errors)
    assert document["validated"]["holds"]
    low, high = change(min(errors.values())), change(max(errors.values()))
    far = low if low == high else f"{low} to {high}"
    said = f"the model's error: off by {far} at p99 where it was measured ({len(errors)} policies of bed, which held)"
    assert said in document["decision"]["covers"]
    budget = ("--slo", "mean_delay < 1s", "--between", "1..2")
    done = run("plan", trace, *budget, *with_it, tmp_path / "p")
    assert done.code == 0, done.err
    assert any(said in limit for limit in json.loads(done.out)["but"])
    flags = ("--validated", tmp_path / "bed", "--paths", "2x300Mbps", "--timeout", "100us", "--seeds", "4")
    done = run("advise", trace, *flags, "--json", "--out", tmp_path / "a")
    advice = json.loads(done.out)
    assert said in advice["covers"] and any(said in limit for limit in advice["but"])


def test_the_page_says_what_the_document_says(lab: Lab) -> None:
    import plotly.graph_objects as go

    out = lab.folder / "page"
    document = validate(lab.forecast, list(lab.measurements.values()), out, finish=write_validation)
    page = (out / "validation.html").read_text()
    assert "the forecast holds" in page
    assert document["policies"][0]["cell"] in page
    content = ValidationContent(out)
    drawings = content.drawings()
    assert len(content.panels) >= 6
    assert {"gaps", "agree-as-sent", "agree-end-to-end", "loss", "reordering"} <= set(drawings)
    for name, figure in drawings.items():
        go.Figure(figure)
        assert f'data-figure="{name}"' in page


def test_a_wrong_model_fails_and_a_calibrated_one_mends_it(lab: Lab, run: Run, tmp_path: Path) -> None:
    slower = lab.scenario.model_dump(mode="json", exclude_none=True)
    slower["network"]["paths"][2]["links"][0]["rate"] = "120Mbps"
    true = tmp_path / "true.toml"
    true.write_text(tomli_w.dumps(slower))
    measurement = sent(lab.folder, read_scenario(true), "inflight", Net(), "slow")
    ran = run("validate", lab.forecast, measurement, "--out", tmp_path / "v")
    assert ran.code == 1
    assert "checks fail" in ran.err
    command = [sys.executable, "-m", "segcast", "validate", lab.forecast, measurement, "--out", tmp_path / "p"]
    shell = f"{shlex.join(map(str, command))} | head -1; exit ${{PIPESTATUS[0]}}"
    piped = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (piped.returncode, piped.stdout.count("\n")) == (1, 1)
    assert "path 2" in ran.out
    assert "the forecast does not hold" in (tmp_path / "v" / "validation.html").read_text()
    assert run("validate", lab.forecast, measurement, "--scenario", true, "--out", tmp_path / "w").code == 0
    wide = ("--loss", "1", "--p50", "1", "--p99", "1", "--absolute", "10s")
    ran = run("validate", lab.forecast, measurement, "--out", tmp_path / "x", *wide)
    assert ran.code == 1
    assert "checks say nothing" in ran.err


def test_a_base_delay_that_no_network_has_does_not_hold(lab: Lab, run: Run, tmp_path: Path) -> None:
    table = pl.read_parquet(lab.measurements["random"] / "packets.parquet")
    later = pl.when(pl.col("send_ns").is_not_null()).then(pl.col("receive_ns") + 480_000_000_000)

    def judged(receive_ns: pl.Expr) -> Any:
        moved = tmp_path / "moved"
        shutil.rmtree(moved, ignore_errors=True)
        shutil.copytree(lab.measurements["random"], moved)
        table.with_columns(receive_ns.alias("receive_ns")).write_parquet(moved / "packets.parquet")
        return run("validate", lab.forecast, moved, "--out", tmp_path / "v")

    ran = judged(later)
    assert ran.code == 1
    assert "base delays are more than a second" in ran.err
    assert "random: the base delay of path 0 is 480.000 s, which no network adds" in ran.out
    ran = judged(pl.col("receive_ns") - 200_000)
    assert ran.code == 0
    assert "less over path 0 than its idle links take" in ran.out


def test_buckets_that_were_built_are_those_of_links_without_a_burst(lab: Lab, run: Run, tmp_path: Path) -> None:
    built = 100_000
    plain = sent(lab.folder, lab.scenario, "inflight", Net(base_ns=25_000, burst=built), "bucket")
    assert run("validate", lab.forecast, plain, "--out", tmp_path / "v").code == 1
    record = lab.folder / "bucket-run" / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"burst_bytes": built}))
    measure(lab.folder / "bucket-run", tmp_path / "m")
    ran = run("validate", lab.forecast, tmp_path / "m", "--out", tmp_path / "w")
    assert (ran.code, ran.err) == (0, "")
    assert "token buckets of 100kB" in ran.out
    bases = json.loads((tmp_path / "w" / "validation.json").read_text())["policies"][0]["base_delay_ns"]
    assert all(abs(base["delay_ns"] - 25_000) < 1_000 for base in bases.values())
    assert run("validate", lab.forecast, tmp_path / "m", "--burst", "0B", "--out", tmp_path / "x").code == 1


def test_what_cannot_be_compared_is_refused(lab: Lab, run: Run, tmp_path: Path) -> None:
    good = lab.measurements["random"]

    def refused(words: str, *arguments: object) -> None:
        ran = run("validate", *arguments, "--out", tmp_path / "v")
        assert ran.code == 2
        assert words in ran.err
        assert ran.err.count("\n") == 1
        assert not (tmp_path / "v").exists()

    refused("so this is no measurement", lab.forecast, tmp_path)
    refused("so this is not a forecast", tmp_path, good)
    (tmp_path / "t.toml").write_text("los = 1")
    refused(
        "los: there is no such tolerance; there are loss, p50, p99, residual, reordering, absolute and least_packets",
        lab.forecast,
        good,
        "--tolerances",
        tmp_path / "t.toml",
    )
    refused("is no tolerance; give a number", lab.forecast, good, "--p50", "-1")
    text = lab.scenario.to_toml() + '\n[[events]]\nat = "1s"\nlink = "*"\nstate = "down"\n'
    (tmp_path / "e.toml").write_text(text.replace("events = []\n", ""))
    refused("events change links", lab.forecast, good, "--scenario", tmp_path / "e.toml")
    document = json.loads((good / "measurement.json").read_text())
    other = tmp_path / "other"
    other.mkdir()
    (other / "packets.parquet").write_bytes((good / "packets.parquet").read_bytes())
    (other / "measurement.json").write_text(json.dumps(document | {"cell": "ecmp-s1"}))
    refused("measures cell 'ecmp-s1', which", lab.forecast, other)
    table = pl.read_parquet(good / "packets.parquet").with_columns(pl.col("flow_id") + 1)
    table.to_arrow().cast(pl.read_parquet(good / "packets.parquet").to_arrow().schema)
    table.write_parquet(other / "packets.parquet")
    (other / "measurement.json").write_text(json.dumps(document))
    refused("of its packets are not those of", lab.forecast, other)


def test_what_is_furthest_off_is_what_was_judged(lab: Lab, run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("least_packets = 1000000")
    out = tmp_path / "v"
    ran = run("validate", lab.forecast, lab.measurements["random"], "--out", out, "--tolerances", tmp_path / "t.toml")
    assert ran.code == 1
    assert "Nothing could be judged" in ran.out
    assert "\nnot judged, or saying nothing, largest errors:\n" in ran.out
    assert "\njudged, largest errors:" not in ran.out
    page = (out / "validation.html").read_text()
    assert "</b>: nothing could be judged</p>" in page
    assert "the forecast does not hold" not in page
    assert "<h3>Not judged, or saying nothing</h3>" in page


def test_the_tile_of_the_largest_error_follows_what_is_judged(lab: Lab, tmp_path: Path) -> None:
    measurement = sent(
        lab.folder, lab.scenario, "inflight", Net(late_ns=lambda number: 700_000 * (number % 2)), "jumpy"
    )
    for judge in ("as-sent", "end-to-end", "both"):
        out = tmp_path / judge
        rows = validate(lab.forecast, [measurement], out, judge=judge)["comparisons"]
        errors = {
            comparison: max(
                abs(row["error"])
                for row in rows
                if row["metric"] == "delay_p99_ns" and row["path_id"] is not None and row["comparison"] == comparison
            )
            for comparison in ("as-sent", "end-to-end")
        }
        assert errors["as-sent"] < errors["end-to-end"]
        (tile,) = [tile for tile in ValidationContent(out).tiles if tile[0] == "Largest error of p99"]
        wanted = "as-sent" if judge == "as-sent" else "end-to-end"
        assert tile[2].endswith(f", {wanted}")
        assert duration(errors[wanted]) in tile[1]


def test_departures_by_hand() -> None:
    planned = np.array([0, 100, 200, 1000, 1100])
    actual = np.array([50, 150, -1, 1070, 1400])
    found = departures(planned, actual, np.array([0, 0, 1, 0, 0]), 250)
    assert (found["planned"], found["sent"]) == (5, 4)
    assert found["stretch"] == pytest.approx(1350 / 1100)
    # gaps 100, 900, 100 became 100, 920, 330: one boundary kept, one new
    assert (found["gap_error_p50_ns"], found["gap_error_max_ns"], found["shift_p99_ns"]) == (20, 230, 250)
    assert (found["boundaries"], found["boundaries_kept"], found["boundaries_new"]) == (1, 1, 1)
    nothing = departures(planned[:0], actual[:0], planned[:0], None)
    assert (nothing["stretch"], nothing["gap_error_max_ns"], nothing["boundaries"]) == (None, None, 0)


def fate(receive: list[int], path: list[int] | None = None) -> Fate:
    count = len(receive)
    own = np.array(path if path is not None else [0] * count)
    return Fate(np.zeros(count, np.int64), own, np.arange(count) * 10, np.array(receive))


def test_comparisons_by_hand() -> None:
    measured, predicted = fate([100, 155, 120, -1]), fate([100, 110, -1, 170])
    compared = Comparison("as-sent", predicted, measured, np.ones(4, np.bool_))
    bare = Tolerances(absolute_ns=5, p99=0.2, loss=0.1, least_packets=2)
    rows = {(row["path_id"], row["metric"]): row for row in compared.rows(bare)}
    assert rows[0, "loss_ratio"]["holds"] is True
    assert (rows[0, "delay_p50_ns"]["predicted"], rows[0, "delay_p50_ns"]["measured"]) == (100, 100)
    assert (rows[0, "delay_p99_ns"]["error"], rows[0, "delay_p99_ns"]["verdict"]) == (5, "holds")
    assert rows[None, "loss_ratio"]["holds"] is None
    assert rows[None, "reordered_ratio"]["measured"] == pytest.approx(1 / 3)
    few = compared.rows(Tolerances())
    assert all((row["holds"], row["verdict"]) == (None, None) for row in few)


def test_base_delays_are_those_of_idle_packets() -> None:
    count = 200
    predicted = fate([1000] * count)._replace(path=np.arange(count) % 2)
    queue = np.where(np.arange(count) < 100, 0, 50)
    error = np.where(queue == 0, 7, 500)
    measured = predicted._replace(receive_ns=predicted.receive_ns + error)
    first, _, none = base_delays(3, measured, predicted, queue)
    assert first is not None
    assert (first.delay_ns, first.packets, first.idle) == (7, 50, True)
    assert none is None
    busy = base_delays(1, fate([1007] * 40), fate([1000] * 40), np.ones(40, np.int64))
    assert busy[0] is not None
    assert (busy[0].delay_ns, busy[0].idle) == (7, False)
    moved = shifted(fate([5, -1]), [first])
    assert moved.receive_ns.tolist() == [12, -1]


def test_tolerances_come_from_a_file_and_flags(tmp_path: Path) -> None:
    file = tmp_path / "t.toml"
    file.write_text('loss = 0.02\nabsolute = "100us"\n')
    found = read_tolerances(file, p99=0.1, loss=None)
    assert (found.loss, found.absolute_ns, found.p99, found.p50) == (0.02, 100_000, 0.1, 0.05)
    for text, words in (("loss = [", "not TOML"), ("absolute = 5", "needs quotes"), ("p50 = true", "is no tolerance")):
        file.write_text(text)
        with pytest.raises(InputError, match=words):
            read_tolerances(file)
    with pytest.raises(InputError, match="cannot read the tolerances"):
        read_tolerances(tmp_path / "none.toml")


@pytest.mark.parametrize("kind", ["parallel", "leaf-spine"])
def test_as_sent_agrees_with_the_engine(cluster: Trace, tmp_path: Path, kind: str) -> None:
    scenario = short_scenario(paths="2x200Mbps", buffer="64KiB", policies=["inflight"], seeds=[1])
    if kind == "leaf-spine":
        document = scenario.model_dump(mode="json", exclude_none=True)
        links = {"rate": "200Mbps", "delay": "2us", "buffer": "64KiB"}
        document["network"] = {"kind": kind, "leaves": 3, "spines": 2, "links": links}
        (tmp_path / "s.toml").write_text(tomli_w.dumps(document | {"policies": ["inflight"], "ties": "number"}))
        scenario = read_scenario(tmp_path / "s.toml")
    forecast(cluster, scenario, tmp_path / "f")
    (cell,) = (tmp_path / "f" / "packets").iterdir()
    packets = pl.read_parquet(cell).join(
        cluster.packets.select("file", "frame_number", "ip_bytes").collect(),
        on=["file", "frame_number"],
        maintain_order="left",
    )
    network = scenario.between(groups_of(tmp_path / "f")).network
    path = packets["path_id"].cast(pl.Int64).to_numpy(writable=True)
    extra = np.array([path.srv6_bytes for path in network.paths])
    frame_bytes = np.maximum(network.minimum_frame_bytes, 14 + packets["ip_bytes"].to_numpy() + extra[path])
    send_ns = packets["send_ns"].to_numpy(writable=True)
    ways = [path.links for path in network.paths]
    found = as_sent([link_model(link) for link in network.links], ways, path, send_ns, frame_bytes)
    wanted = packets["receive_ns"].fill_null(LOST).to_numpy()
    assert (wanted == LOST).sum() > 100
    assert (found.receive_ns == wanted).all()
    assert (found.queue_ns == packets["queue_ns"].to_numpy())[wanted != LOST].all()
