"""What an interrupted live run has measured is kept, believed only if it is whole, and never mixed with another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from segcast.replay.live.keeping import KeptCells, MeasuredCell, difference
from segcast.traces.disk.folders import LIVE, new_folder
from segcast.traces.errors import InputError

ASKED: dict[str, Any] = {
    "cells": ["a", "b"],
    "lists": [["digest", [1]]],
    "control": "cubic",
    "super_frames": False,
    "steering": {"program": "p", "ack_timeout_ns": 300},
    "scenario": "s",
    "segcast": "1",
    "kernel": "k",
}
CELL = MeasuredCell(
    {"flows": pa.table({"x": [1, 2, None]}), "links": pa.table({"name": ["l"]})}, ["a: late"], [{"link": "l"}]
)


class CutOffError(Exception):
    pass


def interrupted(out: Path, asked: dict[str, Any], *names: str) -> KeptCells:
    """A run that keeps some cells, and is cut off."""
    kept = None
    with pytest.raises(CutOffError), new_folder(out, marker=LIVE.marker, resumable=True) as folder:
        kept = KeptCells(out, folder, asked, 7)
        for name in names:
            kept.ended(name, CELL)
        raise CutOffError
    assert kept is not None
    return kept


def test_cells_that_ended_are_there_again(tmp_path: Path) -> None:
    out = tmp_path / "run"
    interrupted(out, ASKED, "a")
    assert not out.exists()
    with new_folder(out, marker=LIVE.marker, resumable=True) as folder:
        kept = KeptCells(out, folder, ASKED, 99)
        assert kept.began_ns == 7
        assert list(kept.done) == ["a"]
        assert kept.done["a"].tables["flows"].equals(CELL.tables["flows"])
        assert kept.done["a"].findings == CELL.findings
        assert kept.done["a"].outages == CELL.outages
        (folder / LIVE.marker).write_text("{}")
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_nothing_is_kept_before_a_cell_has_ended(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", ASKED)
    assert not list(tmp_path.iterdir())


def test_a_damaged_cell_runs_again(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", ASKED, "a", "b")
    aside = tmp_path / ".run.segcast-partial"
    for file, damage in zip(sorted(aside.glob("*.cell")), (slice(None, -1), slice(0, 0)), strict=True):
        file.write_bytes(file.read_bytes()[damage])
    kept = interrupted(tmp_path / "run", ASKED)
    assert (kept.done, kept.damaged) == ({}, 2)
    assert not list(aside.glob("*.cell"))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cells", ["a"], "other policies, timeouts or seeds"),
        ("lists", [], "other flow lists"),
        ("control", "reno", "another congestion control"),
        ("steering", None, "another --ack-timeout, or another program that steers"),
        ("scenario", "t", "another scenario"),
        ("kernel", "l", "another kernel"),
    ],
)
def test_what_was_asked_otherwise_is_refused_and_kept(key: str, value: Any, said: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    interrupted(out, ASKED, "a")
    with (
        pytest.raises(InputError, match=rf"the rest of an interrupted live run of {said} \(cells done: 1\)"),
        new_folder(out, marker=LIVE.marker, resumable=True) as folder,
    ):
        KeptCells(out, folder, ASKED | {key: value}, 99)
    assert list(interrupted(out, ASKED).done) == ["a"]  # it is still there


def test_two_at_a_time_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with new_folder(out, marker=LIVE.marker, resumable=True) as folder:
        KeptCells(out, folder, ASKED, 1)
        with (
            pytest.raises(InputError, match="another live run writes there"),
            new_folder(out, marker=LIVE.marker, resumable=True) as other,
        ):
            KeptCells(out, other, ASKED, 1)


def test_a_damaged_checkpoint_is_said(tmp_path: Path) -> None:
    out = tmp_path / "run"
    interrupted(out, ASKED, "a")
    (tmp_path / ".run.segcast-partial" / "checkpoint.json").write_text("{}")
    with (
        pytest.raises(InputError, match=r"checkpoint\.json: is damaged; remove it"),
        new_folder(out, marker=LIVE.marker, resumable=True) as folder,
    ):
        KeptCells(out, folder, ASKED, 1)


def test_the_same_is_no_other() -> None:
    assert difference(ASKED, ASKED) is None
