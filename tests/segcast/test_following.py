"""Each command ends with the next one, and that runs as it is printed: from a capture to a sweep."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

import pytest

import segcast
from segcast.analyzer.advice import run as advising
from segcast.analyzer.plan import run as planning
from segcast.analyzer.plan.failures import run as failures
from segcast.analyzer.plan.store import CellStore
from segcast.traces.samples import CLUSTER
from tests.conftest import Run

CHEAP = {
    "forecast": ("--seeds", "2", "--packets", "none", "--policy", "ecmp,inflight"),
    "plan": ("--seeds", "2", "--precision", "0.5", "--cells", "20"),
    "advise": ("--seeds", "2", "--timeout", "100us"),
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a capture.pcap.gz").symlink_to(CLUSTER)
    monkeypatch.chdir(tmp_path)
    for module in (planning, failures, advising):
        monkeypatch.setattr(module, "CellStore", partial(CellStore, tmp_path / "cells.sqlite"))
    return tmp_path


def following(out: str) -> list[str]:
    """The words of the command that an output ends with."""
    last = out.strip().splitlines()[-1]
    assert last.startswith("next, "), out
    words = shlex.split(last.partition(": segcast ")[2])
    assert words
    return words


def test_one_command_leads_to_the_next_from_a_capture_to_a_sweep(here: Path, run: Run) -> None:
    words, came = ["inspect", "a capture.pcap.gz"], []
    while words[0] != "sweep":
        came.append(f"{words[0]} --failures" if "--failures" in words else words[0])
        cheap = () if "--failures" in words else CHEAP.get(words[0], ())
        done = run(*words, *cheap)
        assert done.code in (0, 1), done.err  # 1: budgets are broken, or there are too few seeds to tell
        words = following(done.out)
        assert words[1] == "a capture.pcap.gz"
    assert came == ["inspect", "flowlets", "forecast", "plan", "plan --failures", "advise"]
    done = run(*words)
    assert done.code == 0, done.err


def test_the_next_command_reads_the_trace_alike_and_knows_the_same_policies(
    here: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segcast, "load_plugin", lambda file: None)  # a registered policy would stay for other tests
    done = run("inspect", CLUSTER, "--layer", "inner")
    assert following(done.out) == ["flowlets", str(CLUSTER), "--layer", "inner"]
    (here / "s.toml").write_text('seeds = [1]\npolicies = ["ecmp"]\n[slo]\nkeep = "drops == 0"\n' + NETWORK, "utf-8")
    done = run("forecast", CLUSTER, "--scenario", "s.toml", "--plugin", "own.py", "--out", "f")
    plan = ["plan", str(CLUSTER), "--plugin", "own.py", "--scenario", "f/scenario.toml", "--out", "plan"]
    assert following(done.out) == plan
    assert "next" not in run("inspect", CLUSTER, "--json").out


NETWORK = """
[network]
kind = "leaf-spine"
leaves = 2
spines = 2
links = { rate = "1Gbps", delay = "2us", buffer = "512KiB" }
"""
