"""Rows of cells that have run, kept on disk: a study that is asked again, or was interrupted, runs no cell twice."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from segcast.traces.errors import InputError
from segcast.traces.kernels.cache import cache_root

_MOST_BYTES: Final = 256 << 20
_WAIT_SECONDS: Final = 30
_AT_ONCE: Final = 500
_MEMORY: Final = ":memory:"
_MAGIC: Final = b"SQLite format 3\0"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, row TEXT NOT NULL, used REAL NOT NULL)"
_COLUMNS: Final = {"key", "row", "used"}


class CellStore:
    """A row of numbers for each key; the key holds all that the row depends on.

    In one file, by default in the user's cache folder; several processes may use it at once. That of the cache is begun
    anew if it is damaged, and where the disk does not let us, rows are kept for as long as the process runs. One
    that is named is never taken away, nor written if it is something else. Threads may share it.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        """Open or make the store in `file`. Raises InputError if that is named, and something else or not writable."""
        self._lock = threading.Lock()
        named = file is not None and str(file) != _MEMORY
        self._data = _named(Path(str(file))) if named else _opened(Path(file or cache_root().parent / "cells.sqlite"))
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
    """The store of the cache; a damaged one is begun anew."""
    for attempt in (file, file, Path(_MEMORY)):
        with contextlib.suppress(OSError, sqlite3.Error):
            if str(attempt) != _MEMORY:
                attempt.parent.mkdir(parents=True, exist_ok=True)
            try:
                return _begun(attempt)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:  # no database of ours: begin anew
                attempt.unlink()
                raise
    raise AssertionError("a database in memory opens")


def _named(file: Path) -> sqlite3.Connection:
    """The store in a file that somebody named: what else it may be is left as it is."""
    if not str(file.name):
        raise InputError(f"--store {file}: name a file")
    try:
        if file.exists():
            _check_store(file)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
        return _begun(file)
    except OSError as error:
        raise InputError(f"--store {file}: cannot keep cells there ({error.strerror}); name another file") from None
    except sqlite3.Error as error:
        raise InputError(f"--store {file}: cannot keep cells there ({error}); name another file") from None


def _check_store(file: Path) -> None:
    """Raise InputError if a file is anything but a store, or empty; reads it, and writes nothing."""
    other = InputError(f"--store {file}: exists and is not a store of cells; name another file")
    if not stat.S_ISREG(file.stat().st_mode):
        raise other
    with file.open("rb") as opened:
        head = opened.read(len(_MAGIC))
    if head not in (b"", _MAGIC):
        raise other
    with contextlib.closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as data:
        tables = {name for (name,) in data.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        columns = {row[1] for row in data.execute("PRAGMA table_info(cells)")}
    if tables and not columns >= _COLUMNS:
        raise other


def _begun(file: Path) -> sqlite3.Connection:
    """The database in a file, with the table of cells. Raises sqlite3.Error."""
    data = sqlite3.connect(file, timeout=_WAIT_SECONDS, check_same_thread=False)
    try:
        data.execute("PRAGMA journal_mode = WAL")
        data.execute("PRAGMA synchronous = NORMAL")
        data.execute(_TABLE)
        data.execute("SELECT key, row, used FROM cells LIMIT 1").fetchone()
    except sqlite3.Error:
        data.close()
        raise
    return data
