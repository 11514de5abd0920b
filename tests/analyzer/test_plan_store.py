"""The store of cells: what is put is found, also by others, and no disk is no error."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from segcast.analyzer import keys
from segcast.analyzer.plan import store as module
from segcast.analyzer.plan.store import CellStore


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


def test_a_file_that_is_no_store_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "cells.sqlite"
    file.write_bytes(b"no database at all, but longer than a header of one would be" * 100)
    store = CellStore(file)
    store.put("a", {"x": 1})
    store.close()
    assert CellStore(file).get("a") == {"x": 1}


def test_without_a_disk_rows_live_as_long_as_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = CellStore(tmp_path / "file" / "cells.sqlite")
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
