"""Keeps the cells of an interrupted live run that have ended, so that the same command goes on after them.

They lie beside the unfinished folder (`folders.new_folder`), a file each, written aside and renamed, with a digest of
its content; `checkpoint.json` says what was asked. What was measured is not thrown away: another run is refused there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa

from segcast.traces.disk.documents import read_json
from segcast.traces.disk.folders import CHECKPOINT, new_file, remove, resumes
from segcast.traces.errors import InputError

_MEND: Final = "remove it"
_WORDS: Final = {
    "cells": "other policies, timeouts or seeds",
    "lists": "other flow lists",
    "control": "another congestion control",
    "super_frames": "other super-frames",
    "steering": "another --ack-timeout, or another program that steers",
    "scenario": "another scenario",
    "segcast": "another version of Segcast",
    "kernel": "another kernel",
}
"""What may differ of what is asked, in the order in which it is said."""


class MeasuredCell(NamedTuple):
    """What a cell of a live run has for the folder: rows by table, findings, and links that were down."""

    tables: dict[str, pa.Table]
    findings: list[str]
    outages: list[dict[str, Any]]


class KeptCells:
    """The cells kept of a live run into `folder`, which `folders.new_folder` gave."""

    def __init__(self, target: Path, folder: Path, asked: Mapping[str, Any], began_ns: int) -> None:
        """Raises InputError if what is kept was asked otherwise, or nothing can be kept."""
        self._beside = folder.parent
        self._target = target
        self._asked = asked
        self.began_ns = began_ns
        """When the first cell of all began, in ns since the epoch."""
        self.done: dict[str, MeasuredCell] = {}
        """Those of an earlier run, by name."""
        self.damaged = 0
        if not resumes(folder):
            raise InputError(f"{target}: another live run writes there; wait until it ends, or choose another --out")
        if (self._beside / CHECKPOINT).exists():
            self._look()

    def _look(self) -> None:
        try:
            found = read_json(self._beside / CHECKPOINT, _MEND)
            asked, began_ns = dict(found["asked"]), int(found["began_ns"])
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{self._beside / CHECKPOINT}: is damaged; {_MEND}, and what lies beside it") from None
        files = sorted(self._beside.glob("*.cell"))
        if (other := difference(asked, self._asked)) is not None:
            raise InputError(
                f"{self._target}: waits for the rest of an interrupted live run of {other} (cells done: {len(files)}); "
                f"give that command to go on, choose another --out, or remove {self._beside}"
            )
        self.began_ns = began_ns
        for file in files:
            try:
                name, cell = _read(file)
                self.done[name] = cell
            except (OSError, ValueError, KeyError, TypeError):
                self.damaged += 1
                remove(file)

    def ended(self, name: str, cell: MeasuredCell) -> None:
        """Keep a cell that has ended. Raises InputError if it cannot be written."""
        self.done[name] = cell
        file = self._beside / CHECKPOINT
        with new_file(self._beside / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.cell") as aside:
            _write(aside, name, cell)
        if not file.exists():
            with new_file(file) as aside:
                aside.write_text(json.dumps({"asked": self._asked, "began_ns": self.began_ns}), "utf-8")


def difference(asked: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """In words, the first thing that was asked otherwise than now; None if nothing was."""
    return next((words for key, words in _WORDS.items() if asked.get(key) != now[key]), None)


def _write(file: Path, name: str, cell: MeasuredCell) -> None:
    """A line that says what follows, with a digest: each table as a stream of Arrow."""
    sink = pa.BufferOutputStream()
    for rows in cell.tables.values():
        with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
            stream.write_table(rows)
    body = sink.getvalue().to_pybytes()
    about = {
        "name": name,
        "tables": list(cell.tables),
        "findings": cell.findings,
        "outages": cell.outages,
    }
    digest = hashlib.sha256(json.dumps(about).encode() + body).hexdigest()
    with file.open("wb") as out:
        out.write(json.dumps({"about": about, "sha256": digest}).encode() + b"\n" + body)
        out.flush()
        os.fsync(out.fileno())


def _read(file: Path) -> tuple[str, MeasuredCell]:
    """What was given to `_write`. Raises ValueError, KeyError, TypeError or OSError if the file is damaged."""
    head, _, body = file.read_bytes().partition(b"\n")
    said = json.loads(head)
    about = said["about"]
    if hashlib.sha256(json.dumps(about).encode() + body).hexdigest() != said["sha256"]:
        raise ValueError
    source = pa.BufferReader(body)
    tables = {name: pa.ipc.open_stream(source).read_all() for name in about["tables"]}
    return about["name"], MeasuredCell(tables, about["findings"], about["outages"])
