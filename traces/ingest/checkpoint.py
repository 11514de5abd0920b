"""Keeps what an interrupted ingest of several captures has done, so that the same command goes on after it.

A checkpoint lies beside the unfinished folder (`folders.new_folder`): `checkpoint.json`, written aside and renamed,
names the captures that are done, the parts of the packets table, which are whole and synced to the device, and a file
with the arrays that later packets depend on. It is made where a capture has ended and no other is open. Whatever is
wrong with one, the ingest starts afresh.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, ValidationError

from segcast.traces.disk.documents import Count, Shape, read_json
from segcast.traces.disk.folders import CHECKPOINT, remove
from segcast.traces.disk.parquet import open_table
from segcast.traces.document import PartEntry, SourceEntry
from segcast.traces.errors import InputError
from segcast.traces.schema import PACKETS, SCHEMA_VERSION
from segcast.traces.sources import source_digest

ROWS: Final = 4 << 20
_OF_FLOWS: Final = 8  # rows for each flow, so that the flows are not written again all the time
_AGAIN: Final = "start afresh"

State = dict[str, npt.NDArray[Any]]


class _Document(Shape):
    """What `checkpoint.json` holds; `plan` is what the ingest was asked for."""

    plan: dict[str, Any]
    digest: str
    state: Annotated[str, Field(pattern=r"^state-[0-9]+\.npz$")]
    state_digest: str
    rows: Count
    sources: dict[Annotated[str, Field(pattern="^[0-9]{1,5}$")], SourceEntry]
    parts: list[PartEntry]
    part_bytes: list[Count]


@dataclass
class Done:
    """How far an ingest is: the entries of `trace.json` for captures that are done, by `file`, and for parts."""

    sources: dict[int, dict[str, Any]] = field(default_factory=dict)
    parts: list[dict[str, Any]] = field(default_factory=list)
    state: State | None = None
    rows: int = 0


class Checkpoints:
    """The checkpoints of an ingest into `folder`, which `folders.new_folder` gave."""

    def __init__(self, folder: Path, plan: Mapping[str, Any], every: int) -> None:
        """`plan`, JSON, says what is ingested and how; what else the result depends on is added."""
        self.captures_done = 0
        self._beside = folder.parent
        self._packets = folder / "packets"
        self._plan = {
            **plan,
            "every": every,
            "schema_version": SCHEMA_VERSION,
            "sources": source_digest(),
            "pyarrow": pa.__version__,
            "numpy": np.__version__,
        }
        self._every = every
        self._rows = 0
        self._synced: list[int] = []
        self._number = 0

    def due(self, rows: int, flows: int) -> bool:
        """Whether so many rows of so many flows deserve one; it depends on the packets alone.

        Flows are written as a whole, so many of them take many rows, but never more than there were at the last one.
        """
        since = rows - self._rows
        return since >= self._every and since >= min(_OF_FLOWS * flows, self._rows)

    def load(self, fresh: State) -> Done:
        """What the last checkpoint kept if it is of the same plan and sound, else nothing; clears all else away.

        `fresh` is the state of an ingest that has just begun: the one kept has its names, dtypes and dimensions.
        """
        done = Done()
        try:
            document = read_json(self._beside / CHECKPOINT, _AGAIN)
            done = self._checked(document, fresh)
        except (OSError, InputError, ValidationError, ValueError, KeyError, zipfile.BadZipFile, EOFError, MemoryError):
            remove(self._beside / CHECKPOINT)
        if self._packets.is_symlink() or not self._packets.is_dir():
            remove(self._packets)
            self._packets.mkdir()
        kept = {self._packets, self._packets.parent, *(self._packets / part["name"] for part in done.parts)}
        if done.state is not None:
            kept |= {self._beside / CHECKPOINT, self._beside / self._state_name()}
        for place in (self._packets, self._packets.parent, self._beside):
            for entry in place.iterdir():
                if entry not in kept:
                    remove(entry)
        self.captures_done = len(done.sources)
        return done

    def _checked(self, document: dict[str, Any], fresh: State) -> Done:
        """Raises whatever is wrong with it."""
        shape = _Document.model_validate(document)
        if document["plan"] != self._plan or document["digest"] != _digest(document):
            raise ValueError
        if _digest_of(self._beside / shape.state) != shape.state_digest:
            raise ValueError
        with np.load(self._beside / shape.state, allow_pickle=False) as arrays:
            state = {name: arrays[name] for name in arrays.files}
        kinds = [{name: (a.dtype, a.shape[1:]) for name, a in arrays.items()} for arrays in (fresh, state)]
        if kinds[0] != kinds[1]:
            raise ValueError
        for part, size in zip(shape.parts, shape.part_bytes, strict=True):
            file = self._packets / part.name
            with open_table(file, PACKETS, _AGAIN) as opened:
                if file.stat().st_size != size or opened.metadata.num_rows != part.rows:
                    raise ValueError
        self._rows = shape.rows
        self._synced = list(shape.part_bytes)
        self._number = int(shape.state[6:-4])
        sources = {int(file): source for file, source in document["sources"].items()}
        return Done(sources, document["parts"], state, shape.rows)

    def save(
        self, state: State, sources: Mapping[int, dict[str, Any]], parts: Sequence[dict[str, Any]], rows: int
    ) -> None:
        """Keep all that was done so far; the parts are whole. An interruption leaves the checkpoint before."""
        for part in parts[len(self._synced) :]:
            file = self._packets / part["name"]
            _sync(file)
            self._synced.append(file.stat().st_size)
        _sync(self._packets)
        before = self._beside / self._state_name()
        self._number += 1
        file = self._beside / self._state_name()
        np.savez(file, **state)  # type: ignore[arg-type]
        _sync(file)
        document = {
            "plan": self._plan,
            "state": file.name,
            "state_digest": _digest_of(file),
            "rows": rows,
            "sources": {str(number): source for number, source in sources.items()},
            "parts": list(parts),
            "part_bytes": self._synced,
        }
        document["digest"] = _digest(document)
        aside = self._beside / f"{CHECKPOINT}.new"
        aside.write_text(json.dumps(document), "utf-8")
        _sync(aside)
        aside.replace(self._beside / CHECKPOINT)
        self.captures_done = len(sources)
        self._rows = rows
        _sync(self._beside)
        before.unlink(missing_ok=True)

    def _state_name(self) -> str:
        return f"state-{self._number}.npz"


def _digest(document: Mapping[str, Any]) -> str:
    """Of all of a document but its digest."""
    rest = {name: value for name, value in document.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Have a file or folder on the device before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
