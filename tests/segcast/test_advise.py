"""`segcast advise`: the commands of docs/advise.md, what they print and write, and exit statuses."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from segcast.analyzer.advice import run as advising
from segcast.analyzer.plan.store import CellStore
from segcast.reports.advice.content import AdviceContent
from segcast.reports.advice.page import write_advice
from segcast.traces.errors import InputError
from segcast.traces.samples import CLUSTER
from tests.conftest import Run

PAGE = (Path(__file__).parents[2] / "docs" / "advise.md").read_text("utf-8")
COMMANDS = re.findall(r"^    segcast (.*)$", PAGE, re.MULTILINE)
SHOWN = re.findall(r"^```\n([A-Z](?:.|\n)*?)```", PAGE, re.MULTILINE)
SCENARIO = PAGE.partition("```toml\n")[2].partition("```")[0]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "fabric.toml").write_text(SCENARIO, "utf-8")
    (tmp_path / "cluster.pcap.gz").symlink_to(CLUSTER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(advising, "CellStore", partial(CellStore, tmp_path / "cells.sqlite"))
    return tmp_path


def test_the_documented_commands_say_what_the_page_shows(here: Path, run: Run) -> None:
    done = [run(*command.split()) for command in COMMANDS]
    assert [each.code for each in done] == [0, 0, 0, 0, 0, 1], done[-1].err
    told = [each for each, command in zip(done, COMMANDS, strict=True) if command.startswith("advise")]
    assert len(told) == len(SHOWN)
    for each, shown in zip(told, SHOWN, strict=True):
        for line in shown.splitlines():
            assert line in each.out
        assert len(each.out.splitlines()) <= 15
    assert "Cannot tell: the bytes are spread as if of 9.6 flows" in done[-1].err
    assert "gets 2.3 times an even share, with a perfect hash 1.34; seeds = different would make it 1.32" in done[3].out


def test_json_is_the_document_and_the_page_has_it(here: Path, run: Run) -> None:
    done = run("advise", "cluster.pcap.gz", "--paths", "2x1Gbps", "--timeout", "100us,1ms", "--out", "a", "--json")
    assert done.code == 0, done.err
    shown = json.loads(done.out)
    assert shown.pop("page") == "a/advice.html"
    assert shown == json.loads((here / "a" / "advice.json").read_text("utf-8"))
    assert {one["timeout_ns"] for one in shown["evidence"]["tried"]} == {None, 100_000, 1_000_000}
    page = (
        (here / "a" / "advice.html")
        .read_text("utf-8")
        .replace("\u00a0", " ")
        .replace("\u2212", "-")
        .replace("µs", "us")
    )
    assert shown["answer"] in page
    for setting in shown["settings"]:
        assert setting["note"].replace("'", "&#39;") in page
    assert "http" not in page.partition("<script")[0].replace("http-equiv", "")
    drawings = AdviceContent(here / "a").drawings()
    assert [trace["name"] for trace in drawings["gains"]["data"]] == ["random", "inflight", "conga", "spray"]
    assert len(drawings["gains"]["data"][0]["x"]) == 2


def test_other_traffic_may_be_asked_of_what_is_advised(here: Path, run: Run) -> None:
    flags = ("--paths", "4x300Mbps", "--delay", "20us", "--timeout", "16us", "--seeds", "4")
    done = run("advise", "cluster.pcap.gz", *flags, "--resamples", "10", "--out", "a", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["kind"] == "spray" and " with other traffic of this kind)" in document["answer"]
    assert document["evidence"]["resamples"] == 10
    (spray,) = [one for one in document["evidence"]["tried"] if one["policy"] == "spray"]
    assert spray["traffic_low"] < spray["traffic_high"] < 0
    assert document["covers"].startswith("95 % intervals cover the policies' draws over seeds; those of other traffic")
    assert "10 resamples of the trace, whole connections by blocks of a twentieth of it" in document["covers"]
    rows = pq.read_table(here / "a" / "candidates.parquet").to_pylist()
    assert {row["resample"] for row in rows} == {None, *range(1, 11)}
    assert {row["policy"] for row in rows if row["resample"]} == {"ecmp", "spray"}
    assert document["cells"] == len(rows)
    page = (here / "a" / "advice.html").read_text("utf-8").replace("\u00a0", " ")
    assert ", with other traffic " in page and "10 resamples of the trace" in page
    again = run("advise", "cluster.pcap.gz", *flags, "--resamples", "10", "--out", "b")
    assert "0 run now" in again.out
    refused = run("advise", "cluster.pcap.gz", *flags, "--transport", "cubic", "--resamples", "10", "--out", "c")
    assert refused.code == 2 and "make a flow list of it (segcast workload), and resample that" in refused.err
    asked = ("--transport", "cubic", "--slo", "p99_fct < 1s", "--resamples", "10", "--out", "d")
    refused = run("plan", "cluster.pcap.gz", *flags[:2], *asked)
    assert refused.code == 2 and "make a flow list of it (segcast workload), and resample that" in refused.err


def test_a_share_of_the_busiest_link_may_be_asked(here: Path, run: Run) -> None:
    flags = (
        "--paths",
        "4x10Gbps",
        "--policy",
        "inflight",
        "--timeout",
        "100us",
        "--load",
        "50%",
        "--out",
        "a",
        "--json",
    )
    document = json.loads(run("advise", "cluster.pcap.gz", *flags).out)
    assert document["evidence"]["load"] > 100
    assert "pauses inside flows shrink" in document["but"][0]
    assert any(each.startswith("load 50 % is ") for each in document["but"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give the network: --paths 4x10Gbps, --leaf-spine 16x4x25Gbps, or --scenario FILE"),
        (("--paths", "4x10Gbps", "--load", "much"), "--load 'much' is not a number"),
        (("--paths", "4x10Gbps", "--load", "0"), "--load '0': must be 0.001 or more"),
        (("--paths", "4x10Gbps", "--timeout", "100"), "100"),
        (("--paths", "4x10Gbps", "--scenario", "fabric.toml"), "exclude each other"),
        (("--paths", "4x10Gbps", "--seeds", "0"), "--seeds"),
        (("--scenario", "slo.toml"), "packets that leave as captured have no"),
        (("--scenario", "none.toml"), "none.toml"),
    ],
)
def test_what_cannot_be_asked_is_one_line(here: Path, run: Run, flags: tuple[str, ...], message: str) -> None:
    (here / "slo.toml").write_text(
        '[slo]\nkeep = "goodput > 1Gbps"\n[network]\npaths = [{ links = [{ name = "a", rate = "1Gbps" }] }]\n'
    )
    done = run("advise", "cluster.pcap.gz", *flags, "--out", "a")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) <= 4  # usage errors of the command line have their own lines
    assert not (here / "a").exists()


def test_damaged_advice_is_refused(here: Path, run: Run) -> None:
    assert run("advise", "cluster.pcap.gz", "--paths", "1x10Gbps", "--out", "a").code == 0
    file = here / "a" / "advice.json"
    whole = json.loads(file.read_text("utf-8"))
    for change, message in (
        ({"evidence": {**whole["evidence"], "tried": []}}, "lacks its evidence"),
        ({"kind": "perhaps"}, "kind"),
        ({"evidence": None}, "evidence"),
    ):
        file.write_text(json.dumps({**whole, **change}), "utf-8")
        with pytest.raises(InputError, match=message):
            write_advice(here / "a")
    with pytest.raises(InputError, match="no advice"):
        write_advice(here)
