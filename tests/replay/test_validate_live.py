"""A forecast whose senders react against a live run: equal ones hold, others fail, and orders are told apart."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from segcast.replay.validate.live.figures import verdict_of
from segcast.replay.validate.live.run import validate_live
from segcast.reports.validation.live import write_live_validation
from segcast.traces.errors import InputError
from tests.support.living import SCENARIO, live_run, two_lists


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists of two seeds, `w1.csv` and `w2.csv`, and their forecasts `f1` and `f2`."""
    return two_lists(tmp_path_factory.mktemp("live"))


def figure(document: dict[str, Any], policy: str, metric: str) -> dict[str, Any]:
    rows = next(each for each in document["policies"] if each["policy"] == policy)["figures"]
    return next(row for row in rows if row["metric"] == metric)


def test_what_was_forecast_holds(made: Path, tmp_path: Path) -> None:
    run = live_run(made, tmp_path / "run", {"host-ecmp": 1.0, "inflight": 1.0})
    found = validate_live([made / "f1", run, made / "f2"], tmp_path / "v", finish=write_live_validation)
    hashed = figure(found, "host-ecmp", "fct_p95_ns")
    assert hashed["measured"] == hashed["forecast"]
    assert (hashed["error"], hashed["low"], hashed["high"], hashed["verdict"]) == (0, 0, 0, "holds")
    assert found["holds"]
    assert found["answer"].startswith("The forecast holds")
    assert [each["policy"] for each in found["policies"]] == ["host-ecmp", "inflight"]
    assert [each["draws"] for each in found["policies"]] == [1, 2]
    assert "run: a finding" in found["findings"]
    shares = found["policies"][0]["paths"]
    assert {share["link"] for share in shares} >= {"leaf0-spine0", "leaf0-spine1"}
    assert all(share["measured"] == pytest.approx(share["forecast"]) for share in shares)
    rates = {row["metric"]: row for row in found["policies"][0]["rates"]}
    assert rates["flowlets"]["measured"] == rates["flowlets"]["forecast"]
    assert json.loads((tmp_path / "v" / "live-validation.json").read_text()) == found
    page = (tmp_path / "v" / "validation.html").read_text()
    assert "The forecast holds" in page
    assert "host-ecmp" in page


def test_what_took_longer_fails_by_as_much(made: Path, tmp_path: Path) -> None:
    run = live_run(made, tmp_path / "run", {"host-ecmp": 1.25}, steered=False)
    found = validate_live([made / "f1", made / "f2", run], tmp_path / "v")
    for metric in ("fct_p50_ns", "fct_p95_ns", "fct_mean_ns"):
        assert figure(found, "host-ecmp", metric)["error"] == pytest.approx(-0.2, abs=1e-6)
    assert figure(found, "host-ecmp", "fct_p95_ns")["verdict"] == "fails"
    assert figure(found, "host-ecmp", "fct_mean_ns")["verdict"] is None
    assert not found["holds"]
    assert found["answer"].startswith("2 of 2 checks fail")
    assert validate_live([made / "f1", made / "f2", run], tmp_path / "v", tolerance=0.3)["holds"]
    rates = {row["metric"]: row["measured"] for row in found["policies"][0]["rates"]}
    assert rates["flowlets"] is None
    table = pq.read_table(tmp_path / "v" / "figures.parquet").to_pylist()
    assert table[0] == {"policy": "host-ecmp", "timeout": None, **figure(found, "host-ecmp", "fct_p50_ns")} | {
        "allowed": 0.3,
        "verdict": "holds",
    }


def test_an_order_that_is_the_other_way_round_is_said(made: Path, tmp_path: Path) -> None:
    same = validate_live(
        [made / "f1", made / "f2", live_run(made, tmp_path / "a", {"ecmp": 1.0, "inflight": 1.0})], tmp_path / "v"
    )
    change = next(row for row in same["changes"] if row["metric"] == "fct_mean_ns")
    assert (change["of"], change["to"]) == ("inflight, 1ms", "ecmp")
    slower = 1e6 if change["forecast"] < 0 else 1e-4
    run = live_run(made, tmp_path / "b", {"ecmp": 1.0, "inflight": slower})
    other = validate_live([made / "f1", made / "f2", run], tmp_path / "v", tolerance=9.0)
    verdicts = {row["metric"]: row["verdict"] for row in other["changes"]}
    assert verdicts["fct_mean_ns"] == "opposite"
    assert not other["holds"]


def test_what_cannot_be_compared_is_named(made: Path, tmp_path: Path) -> None:
    run = live_run(made, tmp_path / "run", {"host-ecmp": 1.0})
    for folders, said in (
        ([run], "no forecast was given"),
        ([made / "f1", run], "of which no forecast was given"),
        ([made / "f1", made / "f1", run], "too; give one"),
        ([made, run], "neither a forecast nor a live run"),
    ):
        with pytest.raises(InputError, match=said):
            validate_live(folders, tmp_path / "v")
    (run / "scenario.toml").write_text(SCENARIO.replace("64KiB", "65KiB"))
    with pytest.raises(InputError, match="run: has another network than"):
        validate_live([made / "f1", made / "f2", run], tmp_path / "v")
    shutil.copy(made / "s.toml", run / "scenario.toml")
    (run / "live.json").write_text("{}")
    with pytest.raises(InputError, match=r"live\.json: segcast: .*testbed live again"):
        validate_live([made / "f1", made / "f2", run], tmp_path / "v")
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((0.05, 0.0, 0.1), "holds"),
        ((0.05, -0.2, 0.3), "says nothing"),
        ((0.11, 0.09, 0.13), "says nothing"),
        ((0.13, 0.101, 0.16), "fails"),
        ((-0.2, -0.3, -0.11), "fails"),
        ((0.05, None, None), "says nothing"),
        ((None, None, None), "says nothing"),
    ],
)
def test_a_verdict_needs_an_interval(bounds: tuple[float | None, ...], verdict: str) -> None:
    assert verdict_of(bounds, 0.1) == verdict
