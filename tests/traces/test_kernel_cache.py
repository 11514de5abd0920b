"""What is compiled anew after which edit, and what the cache on disk leaves alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from segcast.traces import sources
from tests.support.compiled import begin_with_kernels

ROOT: Final = Path(__file__).resolve().parents[2]

MIXED: Final = """
import numpy as np
from segcast.analyzer.engine.unseen import all_unseen
print(all_unseen(1 << 31, 1, np.arange(20), np.arange(20, dtype=np.uint32)).tolist())
"""


def ran(code: str, cache: Path, *on_path: Path) -> str:
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(cache),
        "NUMBA_OPT": "1",
        "PYTHONPATH": ":".join(map(str, on_path or (ROOT,))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, cwd=cache.parent, capture_output=True, text=True, check=True).stdout


def kept(cache: Path) -> set[str]:
    return {str(file.relative_to(cache)) for file in cache.rglob("*.nbc")}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The product's sources, to edit."""
    copied = tmp_path / "copy"
    shutil.copytree(ROOT / "segcast", copied / "segcast", ignore=shutil.ignore_patterns("__pycache__", "samples"))
    return copied


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_what_cannot_reach_an_edit_or_sees_none_is_not_compiled_anew(copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = ran(MIXED, cache, copy)
    before = kept(cache)
    assert before
    # Its own module's prose, though lines move; another module's code.
    edit(copy / "segcast/analyzer/engine/unseen.py", '"""', '"""Other words,\n\non other lines.\n')
    edit(copy / "segcast/analyzer/engine/unseen.py", "@kernel", "# A remark.\n@kernel")
    with (copy / "segcast/traces/byteorder.py").open("a") as file:
        file.write("\nEDITED = 1\n")
    assert ran(MIXED, cache, copy) == first
    assert kept(cache) == before


def test_an_edited_function_in_another_module_is_compiled_anew(copy: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = ran(MIXED, cache, copy)
    before = kept(cache)
    with (copy / "segcast/traces/hashing.py").open("a") as file:
        file.write("\n\n@kernel\ndef mix(value: int) -> int:\n    return value\n")
    assert ran(MIXED, cache, copy) != first
    assert kept(cache) > before


POLICY: Final = """
from typing import NamedTuple
import numpy as np
from numba import njit
from segcast.analyzer.detectors.registry import find_detector
from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.engine.steering import Steering
from segcast.analyzer.packets import FlowPlan
from segcast.analyzer.packets import Packets
from segcast.analyzer.network.model import Link, parallel_network
from segcast.analyzer.policies.registry import register
import {module}

class State(NamedTuple):
    unused: np.ndarray

def make_state(setting):
    return State(np.zeros(1, np.int64))

def choose(state, decision, inflight, fabric):
    return {module}.slot()

policy = register(name="outside", summary="", source="", granularity="flow", steered=True, counts_inflight=False,
                  make_state=make_state, state=State, choose=choose)
network = parallel_network([[Link("a", 10**9, 0)], [Link("b", 10**9, 0)]], [(), ()])
plan = FlowPlan(np.zeros(1, np.uint64), np.zeros(1, np.int64), np.zeros(1, np.int64))
packets = Packets(np.zeros(1, np.int64), np.zeros(1, np.uint32), np.full(1, 100, np.uint32))
cell = Cell(network, policy, plan, Steering(0), timeout_ns=None, seed=1)
print(simulate(cell, packets).path[0], cell.identity)
"""


def test_an_edited_helper_of_a_policy_outside_gives_the_new_result(tmp_path: Path) -> None:
    """The helper's helper is edited: a file that the policy's own does not name."""
    cache = tmp_path / "cache"
    begin_with_kernels(cache, without=("loop",))
    (tmp_path / "outside.py").write_text(POLICY.format(module="helper"))
    (tmp_path / "helper.py").write_text(
        "import numba\nimport deeper\n\n@numba.njit\ndef slot():\n    return deeper.SLOT\n"
    )
    (tmp_path / "deeper.py").write_text("SLOT = 0\n")
    slot, identity = ran("import outside", cache, ROOT, tmp_path).split(maxsplit=1)
    assert slot == "0"
    loops = list(cache.rglob("*loop*run*.nbc"))
    (tmp_path / "deeper.py").write_text("SLOT = 1\n")
    other_slot, other_identity = ran("import outside", cache, ROOT, tmp_path).split(maxsplit=1)
    assert (other_slot, len(list(cache.rglob("*loop*run*.nbc")))) == ("1", len(loops) + 1)
    assert other_identity != identity


def test_a_policy_without_a_file_is_not_kept_on_disk(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    begin_with_kernels(cache, without=("loop", "calendar.take-"))
    (tmp_path / "helper.py").write_text("import numba\n\n@numba.njit\ndef slot():\n    return 1\n")
    assert ran(POLICY.format(module="helper"), cache, ROOT, tmp_path).startswith("1 ")
    assert [name for name in kept(cache) if "calendar.take-" in name]
    assert not list(cache.rglob("*loop*run*.nbc"))


def test_a_source_edited_since_the_process_began_is_not_kept(tmp_path: Path) -> None:
    """The process runs what it imported, while the file, and so the next process's digest, says something else."""
    (tmp_path / "mine.py").write_text("from segcast.traces.jit import kernel\n\n@kernel\ndef f():\n    return 1\n")
    edited = """
import time, mine
from pathlib import Path
time.sleep(0.1)
Path(mine.__file__).write_text(Path(mine.__file__).read_text().replace("1", "2"))
print(mine.f())
"""
    assert ran(edited, tmp_path / "cache", ROOT, tmp_path) == "1\n"
    assert ran("import mine; print(mine.f())", tmp_path / "cache", ROOT, tmp_path) == "2\n"


def test_what_is_kept_loads_without_what_compiling_needs_and_can_go_into_what_is_compiled_later(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = ran(MIXED, cache)
    say_loaded = "import sys\nprint('numba.np.linalg' in sys.modules)\n"
    compiled_now = """
import numba
@numba.njit
def again(seed):
    return all_unseen(seed, 1, np.arange(20), np.arange(20, dtype=np.uint32))
print(again(1 << 31).tolist())
"""
    assert ran(MIXED + say_loaded + compiled_now, cache) == f"{first}False\n{first}"


def test_importing_touches_neither_numbas_settings_nor_the_disk(tmp_path: Path) -> None:
    code = """
from numba.core import config
before = config.CACHE_DIR
import segcast.analyzer.engine.cell, segcast.traces.ingest.run
print(config.CACHE_DIR == before)
"""
    assert ran(code, tmp_path / "cache") == "True\n"
    assert not (tmp_path / "cache").exists()


def test_what_others_keep_in_the_cache_folder_survives(tmp_path: Path) -> None:
    """Only stale folders named by a digest go, and only when a kernel is kept."""
    cache = tmp_path / "cache"
    month_ago = time.time() - 40 * 24 * 3600
    for name in (
        "kernels/work",
        "kernels/0123456789abcdef",
        "segcast/kernels/work",
        "segcast/kernels/0123456789abcdef",
    ):
        (cache / name).mkdir(parents=True)
        os.utime(cache / name, (month_ago, month_ago))
    ran("import segcast.traces.jit", cache)
    assert (cache / "segcast/kernels/0123456789abcdef").is_dir()
    ran(MIXED, cache)
    left = [
        name for name in ("kernels/work", "kernels/0123456789abcdef", "segcast/kernels/work") if (cache / name).is_dir()
    ]
    assert len(left) == 3
    assert not (cache / "segcast/kernels/0123456789abcdef").exists()


def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = ran(MIXED, cache)
    for file in cache.rglob("*"):
        if file.is_file():
            file.write_bytes(b"\x80damaged")
    assert ran(MIXED, cache) == first


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert ran(MIXED, tmp_path / "cache") == ran(MIXED, tmp_path / "other")


def test_of_processes_that_meet_a_kernel_one_compiles_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from segcast.traces.jit import kernel\n\n@kernel\ndef f(n):\n    t = 0\n    for i in range(n):\n"
        "        t += i\n    return t\n"
    )
    code = "import mine; print(mine.f(10), sum(mine.f.stats.cache_hits.values()))"
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "c"), "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    each = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = sorted(process.communicate(timeout=120)[0] for process in each)
    assert said == ["45 0\n", "45 1\n", "45 1\n", "45 1\n"]


def test_type_checkers_imports_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything else is: plain, relative, within functions, and packages on the way."""
    package = tmp_path / "followed"
    package.mkdir()
    files = {
        "__init__": "",
        "start": "from typing import TYPE_CHECKING\nfrom . import near\nif TYPE_CHECKING:\n    import followed.typed\n"
        "def f():\n    from followed.lazy import g\n    return g\n",
        "near": "import os\n",
        "typed": "",
        "lazy": "def g(): ...\n",
    }
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
        os.utime(package / f"{name}.py", (1, 1))
    monkeypatch.syspath_prepend(str(tmp_path))
    assert sources.imports_of("followed.start") == ["followed", "followed.lazy", "followed.near"]


def test_of_the_engines_loops_only_those_of_an_edited_policy_or_detector_are_others(copy: Path, tmp_path: Path) -> None:
    code = """
from segcast.analyzer.detectors.registry import find_detector
from segcast.analyzer.engine.loop import specialise
from segcast.analyzer.policies.registry import find_policy
for policy in ("conga", "letflow"):
    for detector in ("fixed", "rtt"):
        print(specialise(find_policy(policy), find_detector(detector)).stats.cache_path)
"""

    def folders() -> list[str]:
        return ran(code, tmp_path / "cache", copy).split()

    def changed() -> list[bool]:
        return [one != other for one, other in zip(before, folders(), strict=True)]

    before = folders()
    assert len(set(before)) == 4
    with (copy / "segcast/analyzer/policies/conga.py").open("a") as file:
        file.write("\nEDITED = 1\n")
    assert changed() == [True, True, False, False]
    before = folders()
    with (copy / "segcast/analyzer/detectors/rtt.py").open("a") as file:
        file.write("\nEDITED = 1\n")
    assert changed() == [False, True, False, True]
