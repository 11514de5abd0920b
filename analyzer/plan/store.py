"""Rows of cells that have run, kept on disk: a study that is asked again, or was interrupted, runs no cell twice."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from segcast.traces.kernels.cache import cache_root

_MOST_BYTES: Final = 256 << 20
_WAIT_SECONDS: Final = 30
_AT_ONCE: Final = 500
_TABLE: Final = "CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, row TEXT NOT NULL, used REAL NOT NULL)"


class CellStore:
    """A row of numbers for each key; the key holds all that the row depends on.

    In one file, by default in the user's cache folder; several processes may use it at once. Where the disk does not
    let us, or the file is damaged, rows are kept for as long as the process runs. Threads may share it.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        """Open or make the store in `file`."""
        self._lock = threading.Lock()
        self._data = _opened(cache_root().parent / "cells.sqlite" if file is None else Path(file))
        self.found = 0
        """How many rows were there already when asked for."""

    def get(self, key: str) -> dict[str, Any] | None:
        """The row, if it is kept."""
        with self._quietly():
            found = self._data.execute("SELECT row FROM cells WHERE key = ?", (key,)).fetchone()
            if found is not None:
                row: dict[str, Any] = json.loads(found[0])
                self._data.execute("UPDATE cells SET used = ? WHERE key = ?", (time.time(), key))
                self._data.commit()
                self.found += 1
                return row
        return None

    def get_many(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The rows of those keys that are kept, by key."""
        rows: dict[str, dict[str, Any]] = {}
        with self._quietly():
            for begin in range(0, len(keys), _AT_ONCE):
                some = keys[begin : begin + _AT_ONCE]
                among = f"key IN ({','.join('?' * len(some))})"
                found = self._data.execute(f"SELECT key, row FROM cells WHERE {among}", some).fetchall()
                self._data.execute(f"UPDATE cells SET used = ? WHERE {among}", (time.time(), *some))
                rows |= {key: json.loads(text) for key, text in found}
            self._data.commit()
        self.found += len(rows)
        return rows

    def put(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row of text, numbers and None."""
        with self._quietly():
            self._data.execute("INSERT OR REPLACE INTO cells VALUES (?, ?, ?)", (key, json.dumps(row), time.time()))
            self._data.commit()

    def flush(self) -> None:
        """Have all that was put on disk; here it is already."""

    def close(self) -> None:
        """Drop what was not used for longest if it has grown large, and close the file."""
        with self._quietly():
            pages, size = (self._data.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
            if pages * size > _MOST_BYTES:
                half = "SELECT key FROM cells ORDER BY used LIMIT (SELECT count(*) / 2 FROM cells)"
                self._data.execute(f"DELETE FROM cells WHERE key IN ({half})")
                self._data.commit()
                self._data.execute("VACUUM")
        self._data.close()

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        with self._lock, contextlib.suppress(sqlite3.Error, ValueError):
            yield


def _opened(file: Path) -> sqlite3.Connection:
    for attempt in (file, file, Path(":memory:")):
        with contextlib.suppress(OSError, sqlite3.Error):
            if str(attempt) != ":memory:":
                attempt.parent.mkdir(parents=True, exist_ok=True)
            data = sqlite3.connect(attempt, timeout=_WAIT_SECONDS, check_same_thread=False)
            try:
                data.execute("PRAGMA journal_mode = WAL")
                data.execute("PRAGMA synchronous = NORMAL")
                data.execute(_TABLE)
                data.execute("SELECT key, row, used FROM cells LIMIT 1").fetchone()
            except sqlite3.OperationalError:
                data.close()
                raise
            except sqlite3.DatabaseError:  # no database of ours: begin anew
                data.close()
                attempt.unlink()
                raise
            return data
    raise AssertionError("a database in memory opens")
