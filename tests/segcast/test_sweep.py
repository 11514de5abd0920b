"""`segcast sweep`: what it prints and writes, and its exit statuses."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.sweep import run as sweeping
from segcast.reports.sweep.content import SweepContent
from segcast.traces.samples import CLUSTER
from tests.conftest import Run

FLAGS = ("--paths", "4x300Mbps", "--policy", "ecmp,inflight", "--seeds", "10")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "cluster.pcap.gz").symlink_to(CLUSTER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweeping, "CellStore", partial(CellStore, tmp_path / "cells.sqlite"))
    return tmp_path


def test_it_says_what_to_do_in_each_case(here: Path, run: Run) -> None:
    flags = (*FLAGS, "--set", "buffer=64KiB..1MiB/3", "--set", "delay=5us,50us", "--out", "s")
    done = run("sweep", "cluster.pcap.gz", *flags)
    assert done.code == 0, done.err
    assert "120 cells of 6 variants" in done.err
    assert done.out.startswith("Stay with ecmp in all 6 cases.")
    assert "256KiB    5us  stay with ecmp  inflight, 100 us" in done.out
    assert "but: inflight, 100 us would be clearly quicker in 2 of 6 cases, but breaks a budget there" in done.out
    assert "within: No budgets given ([slo] of the scenario), so these: at most 1 % of packets displaced" in done.out
    shown = json.loads(run("sweep", "cluster.pcap.gz", *flags, "--json").out)
    assert shown.pop("page") == "s/sweep.html"
    assert shown == json.loads((here / "s" / "sweep.json").read_text("utf-8"))
    page = (here / "s" / "sweep.html").read_text("utf-8")
    assert "<h1>Stay with ecmp in all 6 cases.</h1>" in page
    content = SweepContent(here / "s")
    assert content.along == "buffer"
    assert [title for _, title, _ in content.panels] == ["delay 5us", "delay 50us"]
    drawn = content.drawings()
    assert [line["name"] for line in drawn["panel-0"]["data"]] == ["ecmp", "inflight, 100 us"]
    (ecmp, _) = drawn["panel-1"]["data"]
    means = {row["variant"]: row["delay_p99_ns"] for row in content.choices if row["policy"] == "ecmp"}
    assert ecmp["y"] == pytest.approx(
        [means[f"buffer {size}, delay 50us"] for size in ("64KiB", "256KiB", "1MiB")], 1e-5
    )


def test_the_exit_status_says_whether_any_case_keeps_the_budgets(here: Path, run: Run) -> None:
    scenario = 'seeds = [1]\n[slo]\nkeep = "drops == 0"\n[[network.paths]]\n'
    (here / "s.toml").write_text(scenario + 'links = [{ name = "a", rate = "300Mbps", buffer = "64KiB" }]\n')
    lost = run("sweep", "cluster.pcap.gz", "--scenario", "s.toml", "--out", "s")
    assert (lost.code, lost.err.splitlines()[-1]) == (1, "segcast: s: in no case a policy keeps the budgets")
    kept = run("sweep", "cluster.pcap.gz", "--scenario", "s.toml", "--set", "rate=300Mbps,30Gbps", "--out", "s")
    assert kept.code == 0, kept.err
    assert "No policy keeps the budgets in 1 of 2 cases (rate 300Mbps)" in kept.out.partition("\n")[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--set", "buffer"), "segcast: --set 'buffer': write it like"),
        (("--set", "spines=2"), "no field of a scenario"),
        (("--jobs", "0"), "--jobs"),
    ],
)
def test_what_cannot_be_asked_is_one_line(here: Path, run: Run, flags: tuple[str, ...], message: str) -> None:
    done = run("sweep", "cluster.pcap.gz", *FLAGS, *flags, "--out", "s")
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
