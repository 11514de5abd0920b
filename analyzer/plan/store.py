"""Rows of cells that have run, kept on disk: a study that is asked again, or was interrupted, runs no cell twice."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import stat
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from segcast.traces.errors import InputError
from segcast.traces.kernels.cache import cache_root

_MOST_BYTES: Final = 1 << 30
_WAIT_SECONDS: Final = 30
_AT_ONCE: Final = 500
_AGAIN_SECONDS: Final = 1.0
_MEMORY: Final = ":memory:"
_MAGIC: Final = b"SQLite format 3\0"
_TABLE: Final = "CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, row TEXT NOT NULL, used REAL NOT NULL)"
_COLUMNS: Final = {"key", "row", "used"}


class CellStore:
    """A row of numbers for each key; the key holds all that the row depends on.

    In one file, by default in the user's cache folder; several processes may use it at once. That of the cache is begun
    anew if it is damaged, and where the disk does not let us, rows are kept for as long as the process runs. One
    that is named is never taken away, nor written if it is something else. Threads may share it.

    A row that cannot be written, for a disk is full, stays here in memory and is tried again; `unkept` says so.
    """

    def __init__(self, file: str | Path | None = None) -> None:
        """Open or make the store in `file`. Raises InputError if that is named, and something else or not writable."""
        self._lock = threading.Lock()
        named = file is not None and str(file) != _MEMORY
        self._place = file or cache_root().parent / "cells.sqlite"
        self._data = _named(Path(str(file))) if named else _opened(Path(self._place))
        # Where there is no file, that is what was asked for, or all that the disk lets us have.
        self._lasts = bool(self._data.execute("PRAGMA database_list").fetchone()[2])
        self.found = 0
        """How many rows were there already when asked for."""
        self._waiting: dict[str, str] = {}
        self._failed = ""
        self._tried_s = 0.0

    @property
    def unkept(self) -> Collection[str]:
        """The keys of rows that were put and are not written: they end with this process."""
        return self._waiting.keys()

    @property
    def failed(self) -> str:
        """Where rows cannot be written, and why; empty while all can."""
        if str(self._place) != _MEMORY and not self._lasts:
            return f"{self._place}: cannot be written"
        return f"{self._place}: {self._failed}" if self._failed else ""

    def kept_of(self, keys: Collection[str]) -> int:
        """How many of the rows that were put under these keys outlive this process."""
        return sum(key not in self.unkept for key in keys) if self._lasts else 0

    def get(self, key: str) -> dict[str, Any] | None:
        """The row, if it is kept."""
        return self.get_many([key]).get(key)

    def get_many(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The rows of those keys that are kept, by key."""
        rows: dict[str, dict[str, Any]] = {}
        with self._quietly():
            for begin in range(0, len(keys), _AT_ONCE):
                some = keys[begin : begin + _AT_ONCE]
                among = f"key IN ({','.join('?' * len(some))})"
                found = self._data.execute(f"SELECT key, row FROM cells WHERE {among}", some).fetchall()
                rows |= {key: json.loads(text) for key, text in found}
        with self._lock:
            rows |= {key: json.loads(self._waiting[key]) for key in keys if key in self._waiting}
        with self._quietly():  # what was used when is for tidiness: a full disk costs no row that is there
            for begin in range(0, len(keys), _AT_ONCE) if rows else ():
                some = keys[begin : begin + _AT_ONCE]
                among = f"key IN ({','.join('?' * len(some))})"
                self._data.execute(f"UPDATE cells SET used = ? WHERE {among}", (time.time(), *some))
            self._data.commit()
        self.found += len(rows)
        return rows

    def put(self, key: str, row: dict[str, Any]) -> None:
        """Keep a row of text, numbers and None; it is on disk then, or `unkept`."""
        with self._lock:
            self._waiting[key] = json.dumps(row)
            if not self._failed or time.monotonic() >= self._tried_s + _AGAIN_SECONDS:
                self._write()

    def flush(self) -> None:
        """Try once more to write what could not be written."""
        with self._lock:
            if self._waiting:
                self._write()

    def _write(self) -> None:
        """Write the rows that wait; if that fails they wait on."""
        now = time.time()
        try:
            rows = [(key, text, now) for key, text in self._waiting.items()]
            self._data.executemany("INSERT OR REPLACE INTO cells VALUES (?, ?, ?)", rows)
            self._data.commit()
        except sqlite3.Error as error:
            self._failed, self._tried_s = str(error), time.monotonic()
            with contextlib.suppress(sqlite3.Error):
                self._data.rollback()
        else:
            self._waiting.clear()
            self._failed = ""

    def close(self) -> None:
        """Drop what was not used for longest if it has grown large, and close the file."""
        self.flush()
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
            try:
                yield
            except sqlite3.Error:
                with contextlib.suppress(sqlite3.Error):
                    self._data.rollback()
                raise


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
