"""Keeps what an interrupted forecast has done, so that the same command goes on after it.

It lies beside the unfinished folder (`folders.new_folder`): `checkpoint.json` says what the forecast is made of; each
cell that has ended has a file of its tables, and one that takes long a file of its state (`saved`). All are written
aside and renamed, and hold a digest of their content: whatever is wrong with one, its cell runs again.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numba
import numpy as np
import pyarrow as pa

from segcast.analyzer.forecast.resuming.saved import Resumable, load, save
from segcast.analyzer.keys import code, digest_of
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.schema import HOSTS, LINKS, SIZES
from segcast.traces.disk.documents import read_json
from segcast.traces.disk.folders import CHECKPOINT, new_file, remove, resumes
from segcast.traces.errors import InputError

# A file for each cell that has ended would be felt where cells are small, so those of a while are written together.
CELLS_SECONDS: Final = 5
STATE_SECONDS: Final = 30
_OF_ITS_COST: Final = 100  # times as long as writing a state took, until the next: a hundredth of the time at most
_AGAIN: Final = "start afresh"
_ROWS: Final = {"summary": SUMMARY, "sizes": SIZES, "links": LINKS, "hosts": HOSTS}

Say = Callable[[str], object]


class Keeping:
    """What is kept of a forecast into `folder`, which `folders.new_folder` gave; threads may share it.

    Nothing is kept if `folder` cannot be resumed.
    """

    def __init__(self, folder: Path, *made_of: Any, say: Say | None = None) -> None:
        """`made_of`, JSON, is what the forecast depends on besides the code; what is kept of another is removed."""
        self._beside = folder.parent
        self._keeps = resumes(folder)
        self._say = say or (lambda _: None)
        self._lock = threading.Lock()
        self._waiting: dict[str, tuple[Mapping[str, Any], Path | None]] = {}
        self._kept_s = time.monotonic()
        self._stopping = threading.Event()
        self._key = digest_of(code(), np.__version__, numba.__version__, pa.__version__, *made_of)
        self.done: set[str] = set()
        """Stems of the files of cells that have ended."""
        if self._keeps and (self._beside / CHECKPOINT).exists() and not self._goes_on(folder):
            self._say(
                "what an interrupted forecast left there was of another trace, scenario or version: starting afresh"
            )
            for place in (folder, self._beside):
                for entry in place.iterdir():
                    if entry != folder:
                        remove(entry)

    @property
    def begun(self) -> int:
        """How many cells have not ended, and the state of them is kept."""
        return len(list(self._beside.glob("*.state"))) if self._keeps else 0

    def _goes_on(self, folder: Path) -> bool:
        """Whether what is kept is of this forecast; notes which cells are."""
        try:
            if read_json(self._beside / CHECKPOINT, _AGAIN).get("key") != self._key:
                return False
        except (InputError, AttributeError):
            return False
        for file in sorted(self._beside.glob("*.cell")):
            try:
                _checked(file, folder)
                self.done.add(file.stem)
            except (OSError, ValueError, KeyError, TypeError):
                self._say("what was kept of a cell is damaged: it runs again")
                remove(file)
        return True

    def stop(self) -> None:
        """Have cells that rest stop, and keep what waits to be, unless it all took but a moment."""
        self._stopping.set()
        self._settle(0 if self.done else CELLS_SECONDS)

    def has(self, name: str) -> bool:
        """Whether a cell has ended, and is kept."""
        return _stem(name) in self.done

    def found(self, name: str) -> dict[str, Any]:
        """What was given to `ended` for a cell that is kept."""
        _, about, body = _opened(self._file(name))
        return _tables(about["names"], body)

    def ended(self, name: str, result: Mapping[str, Any], packets: Path | None = None) -> None:
        """Keep the rows and tables of a cell, soon, and the file of its packets as it is; tables may be None."""
        if self._keeps:
            with self._lock:
                self._waiting[name] = result, packets
            self._settle(0 if self._stopping.is_set() and self.done else CELLS_SECONDS)

    def _settle(self, seconds: float) -> None:
        """Write what waits if nothing was written for so long."""
        with self._lock:
            if not self._keeps or not self._waiting or time.monotonic() < self._kept_s + seconds:
                return
            try:
                self.mark()
                for name, (result, packets) in self._waiting.items():
                    with new_file(self._file(name)) as aside:
                        _write(aside, result, packets)
                    self.done.add(_stem(name))
                    remove(self._state(name))
            except InputError as error:
                self._keeps = False
                self._say(f"cells are not kept: {error}")
            self._waiting.clear()
            self._kept_s = time.monotonic()

    def mark(self) -> None:
        """Make the folder one that is worth keeping. Raises InputError."""
        file = self._beside / CHECKPOINT
        if not file.exists():
            with new_file(file) as aside:
                aside.write_text(json.dumps({"key": self._key}), "utf-8")

    def of(self, name: str, *parts: Resumable) -> Resting:
        """What keeps the parts of a running cell; they are brought to where its last run was interrupted."""
        return Resting(self._state(name) if self._keeps else None, parts, self._stopping, self.mark, self._say)

    def beside(self, name: str) -> Path | None:
        """How names of further files of a running cell begin; None if nothing is kept."""
        return self._beside / _stem(name) if self._keeps else None

    def _file(self, name: str) -> Path:
        return self._beside / f"{_stem(name)}.cell"

    def _state(self, name: str) -> Path:
        return self._beside / f"{_stem(name)}.state"


class Resting:
    """Saves a running cell now and then: between pieces, when it rests."""

    def __init__(
        self,
        file: Path | None,
        parts: Sequence[Resumable],
        stopping: threading.Event,
        mark: Callable[[], object],
        say: Say,
    ) -> None:
        """Bring the parts to what `file` holds, if it is theirs."""
        self._file = file
        self._parts = parts
        self._stopping = stopping
        self._mark = mark
        self._say = say
        self._every = float(STATE_SECONDS)
        if file is not None and file.exists():
            try:
                load(file, *parts)
            except InputError as error:
                say(str(error))
                remove(file)
        self._saved_s = time.monotonic()

    def rest(self) -> None:
        """Save the cell if that is due. Raises KeyboardInterrupt if the forecast stops; it is saved then, too."""
        now_s = time.monotonic()
        stops = self._stopping.is_set()
        if self._file is not None and now_s >= self._saved_s + (CELLS_SECONDS if stops else self._every):
            try:
                save(self._file, *self._parts)
                self._mark()
            except InputError as error:
                self._file = None
                self._say(f"the cell is not kept: {error}")
            self._saved_s = time.monotonic()
            self._every = max(STATE_SECONDS, _OF_ITS_COST * (self._saved_s - now_s))
        if stops:
            raise KeyboardInterrupt


def _stem(name: str) -> str:
    """The stem of the files of a cell, whose name may be long."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _write(file: Path, result: Mapping[str, Any], packets: Path | None) -> None:
    """A line that says what follows, with a digest: each table as a stream of Arrow."""
    names, sink = [], pa.BufferOutputStream()
    for name, content in result.items():
        if content is None:
            continue
        names.append(name)
        table = content
        if (rows := _ROWS.get(name)) is not None:
            table = pa.Table.from_pylist([content] if name == "summary" else content, schema=rows.arrow_schema())
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
            stream.write_table(table)
    body = sink.getvalue()
    about: dict[str, Any] = {"names": names, "sha256": hashlib.sha256(body).hexdigest(), "packets": None}
    if packets is not None:
        with packets.open("rb") as written:
            os.fsync(written.fileno())
        about["packets"] = [packets.name, packets.stat().st_size]
    with file.open("wb") as out:
        out.write(json.dumps(about).encode() + b"\n")
        out.write(body)


def _opened(file: Path) -> tuple[str, dict[str, Any], bytes]:
    """The digest of what a file holds, what it says of that, and it."""
    head, _, body = file.read_bytes().partition(b"\n")
    return hashlib.sha256(body).hexdigest(), json.loads(head), body


def _checked(file: Path, folder: Path) -> None:
    """Raise ValueError, KeyError, TypeError or OSError if the file, or that of the cell's packets, is damaged."""
    digest, about, _ = _opened(file)
    if about["sha256"] != digest:
        raise ValueError
    if about["packets"] is not None:
        name, size = about["packets"]
        if (folder / "packets" / name).stat().st_size != size:
            raise ValueError


def _tables(names: Sequence[str], body: bytes) -> dict[str, Any]:
    """What was given to `_write`. Rows are of the columns of their table."""
    source = pa.BufferReader(body)
    result: dict[str, Any] = {}
    for name in names:
        table = pa.ipc.open_stream(source).read_all()
        result[name] = table.to_pylist() if name in _ROWS else table
    (result["summary"],) = result["summary"]
    return result
