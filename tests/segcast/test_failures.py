"""`segcast plan --failures`: the commands of docs/failures.md, what they print and write, and exit statuses."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from segcast.analyzer.plan.failures import run as failures
from segcast.analyzer.plan.store import CellStore
from segcast.traces.samples import CLUSTER
from tests.conftest import Run

PAGE = (Path(__file__).parents[2] / "docs" / "failures.md").read_text("utf-8")
COMMANDS = re.findall(r"^    segcast (plan cluster.*)$", PAGE, re.MULTILINE)
SCENARIO = PAGE.partition("```toml\n")[2].partition("```")[0].replace("seeds = [1, 2]", "seeds = [1]")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fabric.toml").write_text(SCENARIO, "utf-8")
    (tmp_path / "closed.toml").write_text(SCENARIO + '[transport]\ncontrol = "cubic"\n', "utf-8")
    (tmp_path / "cluster.pcap.gz").symlink_to(CLUSTER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(failures, "CellStore", partial(CellStore, tmp_path / "cells.sqlite"))
    return tmp_path


def words(command: str) -> list[str]:
    return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', command)]


def test_the_documented_commands_do_what_the_page_says(here: Path, run: Run) -> None:
    assert len(COMMANDS) == 4
    links, pairs, nodes, groups = (run(*words(command)) for command in COMMANDS)
    assert (links.code, pairs.code, nodes.code) == (0, 0, 0), (links.err, pairs.err, nodes.err)
    assert links.out.startswith("Worst of 8 link failures tried: ecmp, load 2: p99 delay ")
    assert "all 8 link failures tried, the worst first" in links.out
    assert "worst 10 of 8 link failures and 28 of 28 pairs tried" in pairs.out
    assert "p99 completion time" in nodes.out.splitlines()[0]
    # Hosts of row-a are cut off, whatever the policy; a conduit leaves another way.
    assert groups.code == 1
    assert "ecmp, load 2 after 1; inflight, 100 us, load 2 after 0, of 2 group failures" in groups.err
    document = json.loads((here / "groups" / "failures.json").read_text("utf-8"))
    assert (document["judge"], document["holds"], document["slo"]) == ("settled", False, "drops < 1%")
    for folder in ("links", "pairs", "nodes", "groups"):
        page = (here / folder / "failures.html").read_text("utf-8")
        assert "http://" not in page.replace("http://www.w3.org", "")
        assert "What is counted" in page
    page = (here / "links" / "failures.html").read_text("utf-8")
    assert "steering.suspect_after" in page
    assert "queues are full" not in page


def test_one_document_as_json_and_nothing_run_twice(here: Path, run: Run) -> None:
    command = ["plan", "cluster.pcap.gz", "--scenario", "fabric.toml", "--failures", "links", "--out", "P", "--json"]
    first = json.loads(run(*command).out)
    assert first["ran"] == first["cells"] == 2 * 9
    again = json.loads(run(*command).out)
    assert again == first | {"ran": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--failures", "links", "--over", "load"], "--over is no option of --failures"),
        (["--pairs"], "--pairs is for --failures"),
        (["--failures", "links", "--at", "soon"], "duration 'soon'"),
        (["--failures", "links", "--at", "1h"], "1h"),
        (["--failures", "links", "--slo", "timeouts == 0"], "have no timeouts"),
        (["--failures", "racks"], "'racks' is not one of 'links', 'nodes', 'groups'"),
    ],
)
def test_what_is_asked_wrong_is_said_in_a_line(here: Path, run: Run, options: list[str], message: str) -> None:
    done = run("plan", "cluster.pcap.gz", "--scenario", "fabric.toml", "--out", "P", *options)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
