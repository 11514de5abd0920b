"""The store of cells: what is put is found, also by others, and no disk is no error."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from segcast.analyzer import keys
from segcast.analyzer.plan import store as module
from segcast.analyzer.plan.store import CellStore
from segcast.traces.errors import InputError


def test_rows_are_found_again_also_by_others(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "cells.sqlite"
    first, row = CellStore(file), {"policy": "ecmp", "delay_p99_ns": 12, "jain": 0.1 + 0.2, "timeout": None}
    assert first.get("a") is None
    first.put("a", row)
    second = CellStore(file)
    assert second.get("a") == row
    assert (first.found, second.found) == (0, 1)
    first.close()
    second.close()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "cache_root", lambda: tmp_path / "user" / "kernels")
    return tmp_path / "user"


def test_a_damaged_store_of_the_cache_is_begun_anew(cache: Path) -> None:
    cache.mkdir()
    (cache / "cells.sqlite").write_bytes(b"no database at all, but longer than a header of one would be" * 100)
    store = CellStore()
    store.put("a", {"x": 1})
    store.close()
    assert CellStore().get("a") == {"x": 1}


def test_a_named_file_that_is_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    text, small, other, pipe = (tmp_path / name for name in ("a.json", "b", "c.sqlite", "pipe"))
    text.write_text("not a database, and precious " * 100)
    small.write_text("x")
    with closing(sqlite3.connect(other)) as data:
        data.execute("CREATE TABLE mine (x)")
        data.execute("CREATE TABLE cells (x)")
    os.mkfifo(pipe)
    before = {file: file.read_bytes() for file in (text, small, other)}
    for file in (*before, pipe, tmp_path, Path("/dev/null")):
        with pytest.raises(InputError, match="exists and is not a store of cells; name another file"):
            CellStore(file)
    assert {file: file.read_bytes() for file in before} == before
    assert sorted(tmp_path.iterdir()) == sorted([*before, pipe])


def test_a_named_store_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--store .*: cannot keep cells there"):
        CellStore(tmp_path / "file" / "cells.sqlite")
    damaged = tmp_path / "damaged.sqlite"
    damaged.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(InputError, match="cannot keep cells there"):
        CellStore(damaged)
    assert damaged.stat().st_size == 5016
    (tmp_path / "empty").touch()
    CellStore(tmp_path / "empty").close()


def test_without_a_disk_rows_live_as_long_as_the_process(cache: Path) -> None:
    cache.write_text("")
    store = CellStore()
    store.put("a", {"x": 1})
    assert store.get("a") == {"x": 1}


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 20_000)
    store = CellStore(tmp_path / "cells.sqlite")
    for number in range(200):
        store.put(str(number), {"x": "y" * 200})
    store.get("0")
    store.close()
    again = CellStore(tmp_path / "cells.sqlite")
    assert again.get("0") is not None
    assert again.get("199") is not None
    assert again.get("1") is None
    assert (tmp_path / "cells.sqlite").stat().st_size < 100_000


def test_a_row_that_cannot_be_written_waits_and_is_not_said_to_be_kept(tmp_path: Path) -> None:
    file = tmp_path / "cells.sqlite"
    store = CellStore(file)
    store.put("a", {"x": 1})
    (pages,) = store._data.execute("PRAGMA page_count").fetchone()
    store._data.execute(f"PRAGMA max_page_count = {pages}")  # as on a disk that is full
    for name in "bcd":
        store.put(name, {"x": name * 5000})
    assert store.failed == f"{file}: database or disk is full"
    assert set(store.unkept) == {"b", "c", "d"}
    assert (store.kept_of(["a", "b", "c", "d"]), store.kept_of(["a"])) == (1, 1)
    assert store.get_many(["a", "b", "z"]) == {"a": {"x": 1}, "b": {"x": "b" * 5000}}
    with closing(CellStore(file)) as other:
        assert other.get_many(["a", "b", "c", "d"]) == {"a": {"x": 1}}
    store._data.execute("PRAGMA max_page_count = 100000")
    store.flush()
    assert (store.failed, store.kept_of(["a", "b"])) == ("", 2)
    store.close()
    assert CellStore(file).get("d") == {"x": "d" * 5000}


def test_without_a_file_nothing_is_said_to_be_kept(cache: Path) -> None:
    cache.write_text("")
    store = CellStore()
    store.put("a", {"x": 1})
    assert store.failed == f"{cache / 'cells.sqlite'}: cannot be written"
    assert store.kept_of(["a"]) == 0
    asked = CellStore(":memory:")
    asked.put("a", {"x": 1})
    assert (asked.failed, asked.kept_of(["a"])) == ("", 0)


def test_threads_share_one(tmp_path: Path) -> None:
    store = CellStore(tmp_path / "cells.sqlite")

    def work(name: int) -> None:
        for number in range(20):
            store.put(f"{name}-{number}", {"x": number})

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(store.get(f"{name}-{number}") == {"x": number} for name in range(4) for number in range(20))
    store.close()


def test_keys_know_all_code_that_cells_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine that was changed must not be answered with rows of the one before."""
    folder = tmp_path / "analyzer"
    shutil.copytree(keys._ANALYZER / "engine", folder / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(keys, "_ANALYZER", folder)
    before = keys.code.__wrapped__()
    assert keys.code.__wrapped__() == before
    loop = folder / "engine" / "loop.py"
    loop.write_text(loop.read_text("utf-8") + "# changed\n", "utf-8")
    assert keys.code.__wrapped__() != before
