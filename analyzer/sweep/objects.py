"""Rows of cells in an object store, for workers of many machines: as `plan.store` keeps them on one."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from pyarrow.fs import FileSelector, FileType

from segcast.analyzer.plan.store import CellStore
from segcast.traces.captures.remote import is_url, located, reason_of
from segcast.traces.errors import InputError

OBJECT_SECONDS: Final = 2.0
SHARE: Final = 10  # of the time from one write to the next, the part that it takes; a row waits no longer than that
_READS: Final = 8
_JOINED_FROM: Final = 100
_SETTLED_NS: Final = 60 * 10**9  # whoever began an object longer ago writes it no more, whatever its clock says
_DIGITS: Final = 20


class ObjectStore(CellStore):
    """Rows by key, many in an object: an object for each cell would take longer than a small cell.

    A row is written as soon as it is put, unless the last write was so short ago that writes would take more than a
    tenth of the time: rows that wait are of ten times what a write takes at most, some 0.1 s; `flush` has all there.
    An object is written again with more rows for two seconds, then another begins; they are joined by who closes the
    store when they have become many. Raises InputError where the object store does not answer.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._files, key, _ = located(url)
        self._key = key.rstrip("/")
        self._turn = threading.RLock()
        self._rows: dict[str, dict[str, Any]] = {}
        self._read: dict[str, int] = {}
        self._waiting: dict[str, str] = {}
        self._own: tuple[str, float] = "", 0.0
        self._own_rows: dict[str, str] = {}
        self._next_s = 0.0
        self.found = 0

    @property
    def failed(self) -> str:
        """Nothing: an object store that does not answer is an error at once."""
        return ""

    def kept_of(self, keys: Collection[str]) -> int:
        """How many of the rows that were put under these keys outlive this process."""
        return sum(key not in self._waiting for key in keys)

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
            self._rows[key] = row
            self._waiting[key] = _line(key, row)
            if time.monotonic() >= self._next_s:
                self.flush()

    def flush(self) -> None:
        """Have all that was put in the object store."""
        with self._turn:
            if not self._waiting:
                return
            begun = time.monotonic()
            name, until = self._own
            if begun >= until:
                name, until = self._new_name(), begun + OBJECT_SECONDS
                self._own_rows = {}
            self._own_rows |= self._waiting
            self._own = name, until
            self._put_lines(name, self._own_rows.values())
            self._waiting.clear()
            ended = time.monotonic()
            self._next_s = ended + SHARE * (ended - begun)

    def close(self) -> None:
        """Write what waits, and join objects if they are many."""
        with self._turn:
            self.flush()
            if len(self._read) < _JOINED_FROM:
                return
            self._look()
            settled_ns = time.time_ns() - _SETTLED_NS
            before = [name for name in self._read if int(name.rpartition("/")[2][:_DIGITS]) < settled_ns]
            if len(before) >= _JOINED_FROM:
                rows = (_line(key, row) for key, row in self._rows.items() if not key.startswith("begun "))
                self._put_lines(self._new_name(), rows)
                for name in before:
                    self._asked(lambda name=name: self._files.delete_file(name))

    def _look(self) -> None:
        """Read the objects that are new, or longer than they were."""
        selector = FileSelector(self._key, allow_not_found=True)
        found = self._asked(lambda: self._files.get_file_info(selector))
        new = [i for i in found if i.type == FileType.File and self._read.get(i.path, -1) < i.size]
        if not new:
            return
        with ThreadPoolExecutor(min(_READS, len(new))) as pool:
            for info, text in zip(new, pool.map(self._text, [info.path for info in new]), strict=True):
                for line in text.splitlines():
                    key, row = json.loads(line)
                    self._rows[key] = row
                self._read[info.path] = max(len(text), info.size)

    def _text(self, name: str) -> str:
        def read() -> str:
            try:
                with self._files.open_input_stream(name, compression=None) as source:
                    return bytes(source.readall()).decode()
            except FileNotFoundError:  # joined with others by somebody else
                return ""

        return str(self._asked(read))

    def _new_name(self) -> str:
        return f"{self._key}/{time.time_ns():0{_DIGITS}d}-{secrets.token_hex(4)}.json"

    def _put_lines(self, name: str, lines: Iterable[str]) -> None:
        text = "".join(lines).encode()

        def write() -> None:
            with self._files.open_output_stream(name, compression=None) as out:
                out.write(text)

        self._asked(write)
        self._read[name] = len(text)

    def _asked(self, ask: Any) -> Any:
        try:
            return ask()
        except OSError as error:
            raise InputError(f"{self._url}: {reason_of(error)}") from None


def _line(key: str, row: dict[str, Any]) -> str:
    return json.dumps([key, row]) + "\n"


def open_store(place: str | None) -> CellStore:
    """The store at a place: a file, a URL, or in the user's cache if none is named. Raises InputError."""
    return ObjectStore(place) if place is not None and is_url(place) else CellStore(place)
