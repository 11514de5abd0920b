"""Two forecasts compared: statistics against the twin, and folders of which is known what differs."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segcast.analyzer.answers.candidates import Circumstances
from segcast.analyzer.compare.pairing import Results, changes, results_of
from segcast.analyzer.compare.run import compare
from segcast.analyzer.forecast.compare import COMPARED
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.traces.errors import InputError
from tests.support.forecasts import cells, make_forecast, make_reacting, row, write_table
from tests.twins.pairing import paired

SOURCES = [{"path": "/data/cluster.pcap.gz", "bytes": 10, "xxh128": "a" * 32}]
TRACE = {"name": "cluster", "packets": 251_234, "flows": 800, "duration_ns": 300_000_000, "sources": SOURCES}
SCENARIO = (
    'seeds = [1, 2, 3, 4, 5]\npolicies = ["ecmp", "random", "inflight"]\n[network]\npaths = [{rate = "10Gbps"}]\n'
)


def forecast(folder: Path, scenario: str = SCENARIO, **more: Any) -> Path:
    make_forecast(folder, cells(), **{"trace": TRACE, **more})
    (folder / "scenario.toml").write_text(scenario, "utf-8")
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return forecast(tmp_path / "base")


def changed(base: Path, name: str, factor: float, *, policy: str = "inflight", **columns: Any) -> Path:
    """A copy in which the delays of one policy are so many times as long."""
    folder = base.with_name(name)
    shutil.copytree(base, folder)
    rows = pq.read_table(folder / "summary.parquet").to_pylist()
    for each in rows:
        if each["policy"] == policy:
            delays = {key: round(each[key] * factor) for key in each if key.startswith("delay_p")}
            each |= delays | columns
    write_table(folder, SUMMARY, rows)
    return folder


def headline(document: dict[str, Any]) -> dict[str, str]:
    """The verdict on each policy in the metric of the answer."""
    return {one["policy"]: one["verdict"] for one in document["changes"] if one["metric"] == document["headline"]}


def test_a_forecast_and_its_copy_differ_in_nothing(base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path / "copy")
    found = compare(base, tmp_path / "copy")
    assert found["answer"] == (
        "Nothing differs: the same traffic and scenario, and the same results to the last digit."
    )
    assert found["same_traffic"]
    assert found["paired"]
    assert not found["differences"]
    assert not found["but"]
    assert {one["verdict"] for one in found["changes"]} == {"equal"}


def test_the_answer_names_who_changed_by_how_much_and_why(base: Path) -> None:
    quicker = changed(base, "quicker", 0.8)
    (quicker / "scenario.toml").write_text(SCENARIO.replace("10Gbps", "25Gbps"), "utf-8")
    found = compare(base, quicker)
    assert headline(found) == {"ecmp": "equal", "random": "equal", "inflight": "lower"}
    assert found["answer"] == (
        "In the second, p99 delay is lower under inflight, 100 us by -20 % (-20 to -20); the same under ecmp and "
        "random, 100 us. What differs: network.paths[0].rate 10Gbps -> 25Gbps."
    )
    assert [(one["of"], one["key"]) for one in found["differences"]] == [("scenario", "network.paths[0].rate")]
    (one,) = (c for c in found["changes"] if c["metric"] == "delay_p99_ns" and c["policy"] == "inflight")
    assert one["change"] == pytest.approx(-0.2, abs=1e-4)
    assert one["second"] == pytest.approx(0.8 * one["first"], rel=1e-4)


def test_quicker_by_losing_packets_is_said_in_the_answer(base: Path) -> None:
    found = compare(base, changed(base, "lossy", 0.5, drop_ratio=0.04))
    assert "inflight, 100 us by -50 % (-50 to -50; 4 % dropped instead of 0." in found["answer"]
    assert "Nothing that was asked differs" in found["answer"]
    slower = compare(base, changed(base, "same", 1.0, drop_ratio=0.04))
    assert slower["but"][0].startswith("inflight, 100 us: 4 % dropped instead of 0.")


def test_other_traffic_comes_first_and_nothing_is_paired(base: Path, tmp_path: Path) -> None:
    other = forecast(tmp_path / "other", trace=TRACE | {"sources": [SOURCES[0] | {"xxh128": "b" * 32}]})
    found = compare(base, other)
    assert found["answer"].startswith(
        "Different traffic, so nothing is paired: trace.sources cluster.pcap.gz (aaaaaaaa) -> cluster.pcap.gz "
        "(bbbbbbbb). Side by side, ecmp has a p99 delay of "
    )
    assert not found["paired"]
    assert found["differences"][0]["of"] == "traffic"
    for one in found["changes"]:
        assert one["verdict"] in ("unpaired", "none")
        assert (one["seeds"], one["low"], one["high"]) == (0, None, None)


@pytest.mark.parametrize(
    ("trace", "scenario"),
    [
        ({"sources": [SOURCES[0] | {"xxh128": ""}]}, SCENARIO),  # nobody knows
        ({"layer": "inner"}, SCENARIO),
        ({"kind": "workload"}, SCENARIO),
        ({}, f'{SCENARIO}[traffic]\nonly = ["10.0.0.0/8"]\n'),
        ({}, f'{SCENARIO}[growth]\nby = "rate"\n'),
    ],
)
def test_what_is_sent_is_more_than_the_bytes_of_captures(
    base: Path, tmp_path: Path, trace: dict[str, Any], scenario: str
) -> None:
    found = compare(base, forecast(tmp_path / "other", scenario, trace=TRACE | trace))
    assert found["answer"].startswith("Different traffic, so nothing is paired: ")


def test_a_capture_under_another_name_is_the_same(base: Path, tmp_path: Path) -> None:
    moved = forecast(tmp_path / "moved", trace=TRACE | {"sources": [SOURCES[0] | {"path": "/else/where.pcap.gz"}]})
    assert compare(base, moved)["same_traffic"]


def test_senders_that_react_send_something_else(base: Path, tmp_path: Path) -> None:
    make_reacting(tmp_path / "closed", cells(), trace=TRACE | {"reacts": True})
    (tmp_path / "closed" / "scenario.toml").write_text(SCENARIO, "utf-8")
    found = compare(base, tmp_path / "closed")
    assert "trace.reacts false -> true" in found["answer"]
    assert not found["paired"]


def test_seeds_that_both_have_are_paired(base: Path, tmp_path: Path) -> None:
    def with_seeds(name: str, more: int) -> dict[str, Any]:
        folder = changed(base, name, 2.0)
        rows = pq.read_table(folder / "summary.parquet").to_pylist()
        write_table(folder, SUMMARY, [each | {"seed": each["seed"] + more} for each in rows])
        return compare(base, folder)

    some = with_seeds("some", 2)
    assert some["seeds"] == [3, 4, 5]
    assert "paired are the 3 seeds that both have, of 5 and 5" in some["but"]
    assert {one["seeds"] for one in some["changes"] if one["verdict"] != "none"} == {3}
    none = with_seeds("none", 10)
    assert none["answer"].startswith("No seed is in both, so nothing is paired. Side by side, ecmp has a p99 delay of")
    assert "give both the same seeds, to compare them seed by seed" in none["but"]
    (one,) = (c for c in none["changes"] if c["metric"] == "delay_p99_ns" and c["policy"] == "inflight")
    assert one["change"] == pytest.approx(1.0, abs=1e-4)
    assert one["low"] is None


def test_policies_that_only_one_has_are_named(base: Path, tmp_path: Path) -> None:
    make_forecast(tmp_path / "fewer", cells(("random", "hermes")), trace=TRACE)
    (tmp_path / "fewer" / "scenario.toml").write_text(SCENARIO.replace("inflight", "hermes"), "utf-8")
    found = compare(base, tmp_path / "fewer")
    assert [one["policy"] for one in found["only_first"]] == ["inflight"]
    assert [one["policy"] for one in found["only_second"]] == ["hermes"]
    assert {"only in the first: inflight, 100 us", "only in the second: hermes, 100 us"} <= set(found["but"])
    assert {one["key"] for one in found["differences"]} >= {"policies[inflight]", "policies[hermes]"}
    make_forecast(tmp_path / "alone", [("spray", None)], trace=TRACE)
    (tmp_path / "alone" / "scenario.toml").write_text(SCENARIO, "utf-8")
    assert compare(base, tmp_path / "alone")["answer"].startswith("No policy, timeout and load is in both")


def test_budgets_are_those_given_else_the_second_forecast_s_else_the_first_s(base: Path) -> None:
    slower = changed(base, "slower", 3.0)
    p99 = {
        one["policy"]: (one["first"], one["second"])
        for one in compare(base, slower)["changes"]
        if one["metric"] == "delay_p99_ns"
    }
    limit = round((p99["inflight"][0] + p99["random"][0]) / 2)
    budget = f"p99_delay < {limit}ns"
    assert compare(base, slower)["holds"] is None
    found = compare(base, slower, slo=budget)
    assert found["holds"] is False  # inflight alone kept it, and breaks it now
    kept = {one["policy"]: (bool(one["first"]), bool(one["second"])) for one in found["kept"]}
    assert kept == {"ecmp": (True, True), "random": (True, True), "inflight": (False, True)}
    assert compare(slower, base, slo=budget)["holds"] is True
    assert compare(base, slower, slo="p99_delay < 1s")["holds"] is True
    (base / "scenario.toml").write_text(f'{SCENARIO}[slo]\nkeep = "p99_delay < 1s"\n', "utf-8")
    assert compare(base, slower)["slo"] == "p99_delay < 1s"
    (slower / "scenario.toml").write_text(f'{SCENARIO}[slo]\nkeep = "{budget}"\n', "utf-8")
    assert compare(base, slower)["slo"] == budget
    with pytest.raises(InputError, match=r"base: the SLO's 'unfinished == 0'"):
        compare(base, slower, slo="unfinished == 0")


def test_the_folder_holds_the_document_and_is_replaced_by_its_like_alone(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"

    def finish(folder: Path) -> None:
        (folder / "compare.html").write_text("page", "utf-8")

    for _ in range(2):
        found = compare(base, base, out, finish=finish)
        assert json.loads((out / "compare.json").read_text("utf-8")) == found
    (out / "thesis.tex").write_text("words", "utf-8")
    with pytest.raises(InputError, match=r"also holds thesis\.tex"):
        compare(base, base, out, finish=finish)
    with pytest.raises(InputError, match="was not made by this command"):
        compare(base, base, base)


def test_what_is_no_forecast_is_named(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/forecast\.json: not found, so this is not a forecast"):
        compare(base, tmp_path / "nowhere")
    (base / "scenario.toml").unlink()
    with pytest.raises(InputError, match=r"scenario\.toml: cannot read the scenario"):
        compare(base, base)


values = st.one_of(st.just(0.0), st.floats(1e-3, 1e9))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(values, values, st.booleans()), min_size=1, max_size=6), st.integers(1, 3))
def test_changes_are_those_of_the_twin(drawn: list[tuple[float, float, bool]], variants: int) -> None:
    def results(place: int) -> Results:
        rows = [
            row(f"p{number}", None, seed, (one[0] if one[2] else one[place]))
            for seed, one in enumerate(drawn)
            for number in range(variants)
        ]
        blank = dict.fromkeys(("growth", "year", "utilisation_max"))
        return results_of([blank | each for each in rows], [], Circumstances("p0"))

    first, second = results(0), results(1)
    found = [one for one in changes(first, second, reacts=False, paired=True) if one.metric == "delay_p99_ns"]
    assert len(found) == variants
    change, low, high, verdict = paired(
        [one[0] for one in drawn], [one[0] if one[2] else one[1] for one in drawn], variants
    )
    for one in found:
        assert one.verdict == verdict
        assert (one.low is None, one.high is None) == (low is None, high is None)
        near = {"rel": 1e-6, "abs": 1e-9}
        assert one.change == (None if change is None else pytest.approx(change, **near))
        if low is not None and high is not None:
            for bound, other in ((one.low, low), (one.high, high)):
                assert bound is not None
                if other > -20:  # nearer to -100 % a change has too few digits left for its logarithm
                    assert math.log1p(bound) == pytest.approx(min(other, 700.0), **near)
    assert {one.metric for one in changes(first, second, reacts=False, paired=True)} == {*COMPARED, "utilisation_max"}


def test_a_forecast_of_a_later_segcast_is_not_read_as_one_of_this(base: Path) -> None:
    later = forecast(base.with_name("later"), schema_version=99)
    with pytest.raises(InputError, match=r"later/forecast.json: schema version 99, but this Segcast reads at most 2"):
        compare(base, later)


def test_a_load_that_is_no_number_is_refused(base: Path) -> None:
    folder = changed(base, "nan", 1.0, load=math.nan)
    with pytest.raises(InputError, match=r"summary.parquet: column load holds a number that is not finite"):
        compare(base, folder)
