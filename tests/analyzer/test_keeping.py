"""Forecasts that are interrupted or killed, and given again: nothing runs twice, and every file is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segcast.analyzer.engine.transport import cell as transport_cell
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.reacting import ReactingRunner
from segcast.analyzer.forecast.resuming import keeping
from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.forecast.runner import CellResult, HeldRunner
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.workload.source import open_workload
from segcast.traces.disk.folders import CHECKPOINT
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.conftest import Run
from tests.support.folders import contents
from tests.support.workloads import PLAIN, TWO_LEAVES, scenario

FLOWS = PLAIN + "".join(f"\n{n},{n * 20_000},{n % 8},{8 + n % 8},{60_000 + 20_000 * (n % 7)}" for n in range(60))
AS_ASKED = 'policies = ["ecmp"]\nseeds = [1, 2, 3]\ninterval = "100us"\n' + TWO_LEAVES
PARTIAL = ".f.segcast-partial"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transport_cell, "_FIRST_ROWS", 256)
    monkeypatch.setattr(transport_cell, "_ROWS", 256)
    monkeypatch.setattr(keeping, "CELLS_SECONDS", 0)
    monkeypatch.setattr(keeping, "STATE_SECONDS", 0)
    monkeypatch.setattr(keeping, "_OF_ITS_COST", 0)
    (tmp_path / "flows.csv").write_text(FLOWS, "utf-8")
    (tmp_path / "s.toml").write_text(AS_ASKED, "utf-8")
    return tmp_path


class Counted:
    """Counts the cells that run, and their pieces; interrupts after so many pieces of the third cell."""

    def __init__(self, patch: pytest.MonkeyPatch, pieces: int | None = None) -> None:
        self.cells, self.pieces = 0, 0
        run, rest = ReactingRunner.run, keeping.Resting.rest

        def counting(runner: ReactingRunner, plan: CellPlan) -> CellResult:
            self.cells, self.pieces = self.cells + 1, 0
            return run(runner, plan)

        def resting(of: keeping.Resting) -> None:
            self.pieces += 1
            if pieces is not None and self.cells == 3 and self.pieces == pieces:
                of._stopping.set()
            rest(of)

        patch.setattr(ReactingRunner, "run", counting)
        patch.setattr(keeping.Resting, "rest", resting)


def ran(here: Path, out: str, text: str = AS_ASKED, **how: Any) -> list[str]:
    said: list[str] = []
    forecast(open_workload(here / "flows.csv"), scenario(here, text), here / out, threads=1, say=said.append, **how)
    return said


@pytest.mark.parametrize("pieces", [1, 3, 5])
def test_cells_that_are_done_do_not_run_again_and_one_that_is_under_way_goes_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    ran(here, "whole")
    with monkeypatch.context() as patch:
        whole = Counted(patch)
        ran(here, "once")
    with monkeypatch.context() as patch:
        Counted(patch, pieces)
        with pytest.raises(KeyboardInterrupt, match="2 of 3 cells are done, 1 under way, kept aside"):
            ran(here, "f")
    assert not (here / "f").exists()
    with monkeypatch.context() as patch:
        again = Counted(patch)
        assert ran(here, "f") == ["resuming: 2 of 3 cells are done, 1 under way"]
    assert again.cells == 1
    assert again.pieces == whole.pieces - pieces
    assert contents(here / "f") == contents(here / "whole")
    assert not (here / PARTIAL).exists()


def test_the_first_cell_goes_on_with_its_packets_and_its_flowlets(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several times: its packets are in several parts, and are one file in the end."""
    one = AS_ASKED.replace("[1, 2, 3]", "[1]")
    ran(here, "whole", one)
    monkeypatch.setattr(keeping, "STATE_SECONDS", 1000)
    for times in range(3):
        with monkeypatch.context() as patch:
            counted = Counted(patch, 1)
            counted.cells = 2
            with pytest.raises(KeyboardInterrupt, match="0 of 1 cells are done, 1 under way"):
                ran(here, "f", one)
        assert len(list((here / PARTIAL).glob("*.packets"))) == times + 1
    ran(here, "f", one)
    assert contents(here / "f") == contents(here / "whole")
    assert "packets/ecmp-s1.parquet" in contents(here / "f")


def interrupted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        Counted(patch, 4)
        with pytest.raises(KeyboardInterrupt):
            ran(here, "f")


def test_what_is_of_another_scenario_or_version_is_left(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "what an interrupted forecast left there was of another trace, scenario or version: starting afresh"
    interrupted(here, monkeypatch)
    assert ran(here, "f", AS_ASKED.replace("100us", "200us")) == [line]
    interrupted(here, monkeypatch)
    monkeypatch.setattr(keeping, "code", lambda: "another")
    assert ran(here, "f") == [line]
    (here / "flows.csv").write_text(FLOWS.replace("60000", "60001"), "utf-8")
    interrupted(here, monkeypatch)
    (here / "flows.csv").write_text(FLOWS, "utf-8")
    assert ran(here, "f") == [line]
    ran(here, "whole")
    assert contents(here / "f") == contents(here / "whole")


def test_what_is_damaged_runs_again_with_a_line(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(here, "whole")
    interrupted(here, monkeypatch)
    cell, _ = sorted((here / PARTIAL).glob("*.cell"))
    cell.write_bytes(cell.read_bytes()[:-1])
    (state,) = (here / PARTIAL).glob("*.state")
    state.write_bytes(state.read_bytes()[:-1])
    said = ran(here, "f")
    assert said[:2] == [
        "what was kept of a cell is damaged: it runs again",
        "resuming: 1 of 3 cells are done, 1 under way",
    ]
    assert "is no saved run, or is damaged" in said[2]
    assert contents(here / "f") == contents(here / "whole")


def test_a_packets_file_that_is_shorter_than_it_was_runs_its_cell_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran(here, "whole")
    interrupted(here, monkeypatch)
    file = here / PARTIAL / "new" / "packets" / "ecmp-s1.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    assert "what was kept of a cell is damaged: it runs again" in ran(here, "f")
    assert contents(here / "f") == contents(here / "whole")


def test_what_took_but_a_moment_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "CELLS_SECONDS", 100)
    monkeypatch.setattr(keeping, "STATE_SECONDS", 100)
    before = set(here.iterdir())
    with monkeypatch.context() as patch:
        Counted(patch, 4)
        with pytest.raises(KeyboardInterrupt) as raised:
            ran(here, "f")
    assert str(raised.value) == ""
    assert set(here.iterdir()) == before


def test_where_nothing_can_be_kept_the_forecast_goes_on(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran(here, "whole")

    def full(*_: Any) -> None:
        raise InputError("disk: cannot be written: No space left on device; make room or choose another name")

    monkeypatch.setattr(keeping, "save", full)
    monkeypatch.setattr(keeping, "_write", full)
    said = ran(here, "f")
    assert {line.partition(":")[0] for line in said} == {"the cell is not kept", "cells are not kept"}
    assert contents(here / "f") == contents(here / "whole")
    assert not (here / PARTIAL).exists()


def test_recorded_cells_that_are_done_do_not_run_again(
    cluster: Trace, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = short_scenario(paths="4x1Gbps", policies=["ecmp"], seeds=[1, 2, 3])
    forecast(cluster, of, here / "whole")

    def stop(done: int, cells: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"interrupted; [23] of 3 cells are done, kept aside"):
        forecast(cluster, of, here / "f", stop, threads=1)
    names: list[str] = []
    run: Callable[[HeldRunner, CellPlan], CellResult] = HeldRunner.run
    monkeypatch.setattr(HeldRunner, "run", lambda runner, plan: names.append(plan.name) or run(runner, plan))
    forecast(cluster, of, here / "f")
    assert names in ([], ["ecmp-s3"])
    assert contents(here / "f") == contents(here / "whole")


KILLED = """
import sys
from segcast.analyzer.engine.transport import cell
from segcast.analyzer.forecast.resuming import keeping
from segcast.cli import main
cell._FIRST_ROWS = cell._ROWS = 256
keeping.CELLS_SECONDS = keeping.STATE_SECONDS = keeping._OF_ITS_COST = 0
rest = keeping.Resting.rest
keeping.Resting.rest = lambda of: (rest(of), __import__("time").sleep(0.02))
main()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_command_killed_amid_a_cell_goes_on(here: Path, run: Run, number: int) -> None:
    (here / "s.toml").write_text(AS_ASKED.replace("[1, 2, 3]", "[1]"), "utf-8")
    command = ["forecast", "flows.csv", "--scenario", "s.toml", "--out"]
    assert run(*command, "whole").code == 0
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, *command, "f"], env=dict(os.environ), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (here / PARTIAL / CHECKPOINT).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert err == (
            "segcast: interrupted; 0 of 1 cells are done, 1 under way, kept aside: "
            "the same command goes on from there\n"
        )
    assert (here / PARTIAL).exists()
    again = run(*command, "f")
    assert again.code == 0
    assert again.err == "segcast: resuming: 0 of 1 cells are done, 1 under way\n"
    assert contents(here / "f") == contents(here / "whole")
    assert not (here / PARTIAL).exists()
