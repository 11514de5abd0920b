"""`segcast compare` of the bundled capture: forecasts and plans, what is printed, pages, exit statuses, from Python."""

from __future__ import annotations

import json
import re
import shutil
from functools import partial
from pathlib import Path

import pytest

import segcast as sc
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.plan import run as planning
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.short import short_scenario
from segcast.traces.errors import InputError
from segcast.traces.samples import CLUSTER
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.reports import Page


@pytest.fixture(scope="module")
def made(cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forecasts `wide` and `narrow`, which differ in what buffers hold."""
    home = tmp_path_factory.mktemp("compare")
    for name, buffer in (("wide", "512KiB"), ("narrow", "64KiB")):
        scenario = short_scenario(paths="2x300Mbps", buffer=buffer, policies=["ecmp", "inflight"], seeds=[1, 2, 3, 4])
        forecast(cluster, scenario, home / name)
    return home


def test_what_differs_is_said_in_terminal_page_and_document(made: Path, tmp_path: Path, run: Run) -> None:
    done = run("compare", made / "wide", made / "narrow", "--out", tmp_path / "c")
    assert done.code == 0, done.err
    answer = done.out.splitlines()[0]
    assert re.match(r"In the second, p99 delay is lower under .* dropped instead of ", answer)
    assert answer.endswith("What differs: network.paths[*].links[*].buffer (2) 512KiB -> 64KiB.")
    document = json.loads((tmp_path / "c" / "compare.json").read_text("utf-8"))
    assert document["answer"] == answer
    page = Page()
    page.feed((tmp_path / "c" / "compare.html").read_text("utf-8"))
    assert answer in page.text.replace("\u00a0", " ").replace("\u2212", "-").replace("\u00b5", "u")
    assert {"asked", "results", "others", "all"} <= set(page.ids)
    assert not page.scripts
    assert not [tag for tag, of in page.tags if of.get("src") or str(of.get("href", "data:")).startswith("http")]
    shown = run("compare", made / "wide", made / "narrow", "--json")
    assert json.loads(shown.out) == {**document, "page": None}


def test_equal_forecasts_say_so_and_exit_0(made: Path, run: Run) -> None:
    done = run("compare", made / "wide", made / "wide", "--slo", "p99_delay < 1s")
    assert done.code == 0
    assert done.out.startswith("Nothing differs: the same traffic and scenario")


def test_budgets_that_the_second_breaks_are_status_1(made: Path, run: Run) -> None:
    done = run("compare", made / "wide", made / "narrow", "--slo", "drops < 3%")
    assert done.code == 1, done.out
    assert done.err.strip().endswith("does not keep the budgets drops < 3%, or not where the first does")
    assert "budgets: drops < 3%" in done.out
    assert run("compare", made / "narrow", made / "wide", "--slo", "p99_delay < 1s").code == 0
    wrong = run("compare", made / "wide", made / "narrow", "--slo", "p99_dely < 1s")
    assert wrong.code == 2
    assert "did you mean" in wrong.err


def test_markup_in_names_is_escaped(made: Path, tmp_path: Path) -> None:
    hostile = tmp_path / "<img src=x onerror=alert(1)>"
    shutil.copytree(made / "wide", hostile)
    found = sc.compare(made / "narrow", hostile, out=tmp_path / "c")
    page = Page()
    page.feed((tmp_path / "c" / "compare.html").read_text("utf-8"))
    assert "img" not in {tag for tag, _ in page.tags}
    assert "<img src=x" in page.text
    assert "<b>&lt;" not in found._repr_html_()


def test_from_python(made: Path) -> None:
    first, second = sc.Forecast(made / "wide"), sc.Forecast(made / "narrow")
    found = sc.compare(first, second, "drops < 3%")
    assert repr(found) == f"<Comparison: {found.answer}>"
    assert found.holds is False
    assert found.differences["key"].to_list()[0].endswith(".buffer")
    rows = found.changes.filter(found.changes["metric"] == "drop_ratio")
    assert rows["verdict"].to_list() == ["higher", "higher"]
    assert rows["policy"].to_list() == ["ecmp", "inflight"]
    alike = sc.compare(first, str(made / "wide"))
    assert alike.holds is None
    assert alike.differences.is_empty()
    assert alike.but == []
    with pytest.raises(InputError, match="so this is not a forecast"):
        sc.compare(first, made)


@pytest.fixture
def planned(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run) -> Path:
    """Plans `slow` and `fast` of paths of such rates, asked the same of the same capture."""
    monkeypatch.setattr(planning, "CellStore", partial(CellStore, made / "cells.sqlite"))
    asked = ("--policy", "ecmp", "--slo", "p99_delay < 3ms", "--precision", "0.1", "--seeds", "10")
    for name, paths in (("slow", "2x300Mbps"), ("fast", "2x1Gbps")):
        done = run("plan", CLUSTER, "--paths", paths, *asked, "--between", "0.1..8", "--out", tmp_path / name)
        assert done.code == 0, done.err
    return tmp_path


def test_plans_are_compared_in_terminal_page_and_document(planned: Path, run: Run) -> None:
    done = run("compare", planned / "slow", planned / "fast", "--out", planned / "c")
    assert done.code == 0, done.err
    answer = done.out.splitlines()[0]
    assert re.match(r"In the second, p99_delay < 3ms is kept further under ecmp \(load \S+ instead of load ", answer)
    assert "What differs: network.paths[*].links[*].rate (2) 300Mbps -> 1Gbps." in answer
    assert re.search(r"^ecmp +load \S+ \(.*\) +load \S+ \(.*\) +\+\d+ % .* better$", done.out, re.MULTILINE)
    document = json.loads((planned / "c" / "compare-plans.json").read_text("utf-8"))
    assert (document["answer"], document["same_question"], document["same_traffic"]) == (answer, True, True)
    page = Page()
    page.feed((planned / "c" / "compare.html").read_text("utf-8"))
    assert answer in page.text.replace("\u00a0", " ").replace("\u2212", "-").replace("\u00b5", "u")
    assert {"edges", "asked"} <= set(page.ids)
    assert not page.scripts
    assert not [tag for tag, of in page.tags if of.get("src") or str(of.get("href", "data:")).startswith("http")]
    shown = run("compare", planned / "slow", planned / "fast", "--json")
    assert json.loads(shown.out) == {**document, "page": None}
    found = sc.compare(sc.Plan(planned / "slow"), planned / "fast")
    assert found.changes["verdict"].to_list() == ["better"]
    assert found.answer in found._repr_html_().replace("&lt;", "<").replace("&gt;", ">")


def test_a_plan_that_carries_less_is_status_1_and_what_is_no_pair_status_2(planned: Path, made: Path, run: Run) -> None:
    done = run("compare", planned / "fast", planned / "slow")
    assert (done.code, "less far under ecmp" in done.out) == (1, True)
    assert done.err.strip().endswith(f"slow: ecmp keeps p99_delay < 3ms less far than in {planned / 'fast'}")
    mixed = run("compare", planned / "slow", made / "wide")
    assert (mixed.code, mixed.err.count("\n")) == (2, 1)
    assert f"{planned / 'slow'} is a plan and {made / 'wide'} a forecast; compare two" in mixed.err
    budgets = run("compare", planned / "slow", planned / "fast", "--slo", "drops == 0")
    assert (budgets.code, budgets.out) == (2, "")
    assert "budgets are given for forecasts" in budgets.err
