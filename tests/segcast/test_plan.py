"""`segcast plan`: the commands of docs/plan-a-fabric.md, what they print and write, and exit statuses."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from segcast.analyzer.plan import run as planning
from segcast.analyzer.plan.failures import run as failures
from segcast.analyzer.plan.store import CellStore
from segcast.traces.samples import CLUSTER
from tests.conftest import Run

PAGE = (Path(__file__).parents[2] / "docs" / "plan-a-fabric.md").read_text("utf-8")
COMMANDS = re.findall(r"^    segcast (.*)$", PAGE, re.MULTILINE)
SCENARIO = PAGE.partition("```toml\n")[2].partition("```")[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fabric.toml").write_text("seeds = [1]\n" + SCENARIO, "utf-8")
    (tmp_path / "grown.toml").write_text("load = 4\n" + SCENARIO, "utf-8")
    (tmp_path / "closed.toml").write_text(SCENARIO + '[transport]\ncontrol = "cubic"\n', "utf-8")
    (tmp_path / "cluster.pcap.gz").symlink_to(CLUSTER)
    monkeypatch.chdir(tmp_path)
    for module in (planning, failures):
        monkeypatch.setattr(module, "CellStore", partial(CellStore, tmp_path / "cells.sqlite"))
    return tmp_path


def words(command: str) -> list[str]:
    return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', command)]


def test_the_documented_commands_do_what_the_page_says(here: Path, run: Run) -> None:
    ran = [run(*words(command)) for command in COMMANDS]
    _, load, paths, rate, years, _, closed = ran
    assert [each.code for each in ran] == [0, 0, 1, 0, 0, 1, 0], closed.err
    assert "up to growth 10.8 (9.3 to 11.9; in 9.1 years, 8.5 to 9.4, at 30 % a year" in years.out
    assert "to know it within 1 % would take about" in years.out
    assert "is kept by ecmp up to load 1.34 (" in load.out
    assert "no other policy goes as far" in load.out
    assert "no policy keeps" in paths.err
    assert "at any number of paths from 1 to 16" in paths.out
    assert "is kept by ecmp from 2530Mbps" in rate.out
    document = json.loads((here / "load" / "plan.json").read_text("utf-8"))
    by_policy = {edge["policy"]: edge for edge in document["edges"]}
    assert by_policy["ecmp"]["value"] == pytest.approx(1.34, abs=0.01)
    assert by_policy["inflight"]["value"] == pytest.approx(1.27, abs=0.01)
    assert by_policy["inflight"]["gain"] < 0
    page = (here / "load" / "plan.html").read_text("utf-8")
    assert "up to load 1.34" in page.replace("\u00a0", " ")
    assert json.loads((here / "closed" / "plan.json").read_text("utf-8"))["reacts"]


def test_places_that_were_invented_come_first_of_what_limits_a_plan(here: Path, run: Run) -> None:
    fabric = '[network]\nkind = "leaf-spine"\nleaves = 4\nspines = 2\nlinks = { rate = "1Gbps", delay = "2us" }\n'
    (here / "dealt.toml").write_text(f'policies = ["ecmp"]\n{fabric}', "utf-8")
    flags = ("--scenario", "dealt.toml", "--slo", "p99_queueing < 500us", "--between", "0.5..2", "--seeds", "2")
    for out, ran in (("one", True), ("two", False)):
        done = run("plan", "cluster.pcap.gz", *flags, "--cells", "20", "--out", out, "--json")
        document = json.loads(done.out)
        assert (document["ran"] > 0) == ran
        assert document["but"][0] == (
            "18 hosts have no prefix and were dealt to 4 attachments in turn: who shares which link is invented"
        )


def test_json_is_the_document(here: Path, run: Run) -> None:
    flags = ("--paths", "2x1Gbps", "--policy", "ecmp", "--slo", "drops == 0", "--between", "1..2", "--out", "p")
    done = run("plan", "cluster.pcap.gz", *flags, "--json")
    assert done.code == 0, done.err
    shown = json.loads(done.out)
    assert shown.pop("page") == "p/plan.html"
    assert shown == json.loads((here / "p" / "plan.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--paths", "2x1Gbps"), "has no budgets"),
        (("--paths", "2x1Gbps", "--slo", "p99_fkt < 2ms"), "did you mean 'p99_fct'"),
        (("--paths", "2x1Gbps", "--slo", "p99_fct < 2ms"), "takes as long as it was recorded"),
        (("--paths", "2x1Gbps", "--slo", "drops == 0", "--between", "5"), "write it like"),
        (("--scenario", "fabric.toml", "--over", "buffer", "--between", "1B..2B"), "not within"),
    ],
)
def test_what_cannot_be_asked_is_one_line(here: Path, run: Run, flags: tuple[str, ...], message: str) -> None:
    done = run("plan", "cluster.pcap.gz", *flags, "--out", "p")
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (here / "p").exists()
