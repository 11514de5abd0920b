"""Rows of cells in an object store, for workers of many machines: as `plan.store` keeps them on one."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from pyarrow.fs import FileSelector, FileType

from segcast.analyzer.plan.store import CellStore
from segcast.traces.captures.remote import is_url, located, reason_of
from segcast.traces.errors import InputError

FLUSH_SECONDS: Final = 1.0
_READS: Final = 8
_JOINED_FROM: Final = 100


class ObjectStore(CellStore):
    """Rows by key, many in an object: an object for each cell would take longer than a small cell.

    A row is on its way for a second at most; `flush` has all of them there. Objects are only added, and joined by who
    closes the store when they have become many. Raises InputError where the object store does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._files, key, _ = located(url)
        self._key = key.rstrip("/")
        self._turn = threading.RLock()
        self._rows: dict[str, dict[str, Any]] = {}
        self._read: set[str] = set()
        self._waiting: list[tuple[str, dict[str, Any]]] = []
        self._since_s = 0.0
        self.found = 0

    def get(self, key: str) -> dict[str, Any] | None:
        """The row, if it is kept."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The rows of those keys that are kept, by key."""
        with self._turn:
            if any(key not in self._rows for key in keys):
                self._look()
            rows = {key: self._rows[key] for key in keys if key in self._rows}
            self.found += len(rows)
            return rows

    def put(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row of text, numbers and None."""
        with self._turn:
            if not self._waiting:
                self._since_s = time.monotonic()
            self._rows[key] = row
            self._waiting.append((key, row))
            if time.monotonic() >= self._since_s + FLUSH_SECONDS:
                self.flush()

    def flush(self) -> None:
        """Have all that was put in the object store."""
        with self._turn:
            if self._waiting:
                self._write(dict(self._waiting))
                self._waiting.clear()

    def close(self) -> None:
        """Write what waits, and join objects if they are many."""
        with self._turn:
            self.flush()
            if len(self._read) >= _JOINED_FROM:
                before = list(self._read)
                self._write({key: row for key, row in self._rows.items() if not key.startswith("begun ")})
                for name in before:
                    self._asked(lambda name=name: self._files.delete_file(name))

    def _look(self) -> None:
        """Read the objects that are new."""
        selector = FileSelector(self._key, allow_not_found=True)
        found = self._asked(lambda: self._files.get_file_info(selector))
        new = [info.path for info in found if info.type == FileType.File and info.path not in self._read]
        if not new:
            return
        with ThreadPoolExecutor(min(_READS, len(new))) as pool:
            for name, text in zip(new, pool.map(self._text, new), strict=True):
                for line in text.splitlines():
                    key, row = json.loads(line)
                    self._rows[key] = row
                self._read.add(name)

    def _text(self, name: str) -> str:
        def read() -> str:
            try:
                with self._files.open_input_stream(name, compression=None) as source:
                    return bytes(source.readall()).decode()
            except FileNotFoundError:  # joined with others by somebody else
                return ""

        return str(self._asked(read))

    def _write(self, rows: dict[str, dict[str, Any]]) -> None:
        name = f"{self._key}/{time.time_ns():020d}-{secrets.token_hex(4)}.json"
        text = "".join(json.dumps([key, row]) + "\n" for key, row in rows.items())

        def write() -> None:
            with self._files.open_output_stream(name, compression=None) as out:
                out.write(text.encode())

        self._asked(write)
        self._read.add(name)

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except OSError as error:
            raise InputError(f"{self._url}: {reason_of(error)}") from None


def open_store(place: str | None) -> CellStore:
    """The store at a place: a file, a URL, or in the user's cache if none is named. Raises InputError."""
    return ObjectStore(place) if place is not None and is_url(place) else CellStore(place)
