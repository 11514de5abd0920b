"""Policies from a user's own file, by `--plugin`: forecast, planned and rewritten, or what is wrong said in a line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from segcast.analyzer.plugins import load_plugin, loaded_plugins
from segcast.traces.errors import InputError
from segcast.traces.kernels.cache import cache_root
from segcast.traces.samples import CLUSTER

GOOD = """
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.policies.registry import Decision, NetworkState, Setting, register
from {beside} import ways

class State(NamedTuple):
    spare: NDArray[np.int64]

def make_state(setting: Setting) -> State:
    return State(np.zeros(setting.counters, np.int64))

def choose(state: State, decision: Decision, inflight: NDArray[np.int64], fabric: NetworkState) -> int:
    return decision.flow % ways

register(name={name!r}, summary="by number", source="none", granularity="flow", steered=True, counts_inflight=False,
         make_state=make_state, state=State, choose=choose)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "two_ways.py").write_text("ways = 2\n")
    file = tmp_path / "by_number.py"
    file.write_text(GOOD.format(name="by-number", beside="two_ways"))
    return file


_SIGN_OF_LIFE = re.compile(r"^segcast: (?:forecast|plan): (?:.+, )?\d+ s(?:, about \d+ s left)?\n", re.MULTILINE)


def segcast(*words: object) -> subprocess.CompletedProcess[str]:
    """A process of its own: what a plug-in registers stays.

    Its stderr is without the lines that only say that it takes long, which a busy machine makes it say.
    """
    command = [sys.executable, "-m", "segcast", *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    ran.stderr = _SIGN_OF_LIFE.sub("", ran.stderr)
    return ran


def test_only_lines_that_say_how_long_are_left_out() -> None:
    told = "segcast: forecast: compiling (once, about 20 s), 10 s\nsegcast: plan: 4 of 6 cells, 175 s, about 4 s left\n"
    assert _SIGN_OF_LIFE.sub("", told + "segcast: forecast: 61 s\n") == ""
    others = "segcast: x.py:3: does not compile: 10 s\nsegcast: 6 cells, 2 kept from before\n"
    assert _SIGN_OF_LIFE.sub("", others) == others


def test_an_own_policy_is_forecast_and_rewritten(plugin: Path, tmp_path: Path) -> None:
    asked = ("--paths", "2x1Gbps", "--seeds", 1, "--policy", "by-number", "--out", tmp_path / "f")
    without = segcast("forecast", CLUSTER, *asked)
    assert without.returncode == 2
    assert without.stderr.endswith("; of your own: --plugin FILE\n")
    ran = segcast("forecast", CLUSTER, *asked, "--plugin", plugin)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "by-number" in ran.stdout
    kept = segcast("rewrite", tmp_path / "f", "--policy", "by-number", "--plugin", plugin, "--out", tmp_path / "r")
    assert kept.returncode == 0, kept.stderr
    listed = segcast("policies", "--plugin", plugin)
    assert "by-number" in listed.stdout


def test_a_changed_policy_is_not_answered_with_what_the_one_before_did(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one whose neighbour changed; an edit of prose runs nothing again."""
    (tmp_path / "segcast").mkdir()
    (tmp_path / "segcast" / "kernels").symlink_to(cache_root())  # kernels are shared, cells are not
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    asked = (CLUSTER, "--paths", "2x1Gbps", "--policy", "by-number", "--plugin", plugin, "--json")
    search = ("--slo", "drops == 0", "--between", "0.9..1.1", "--cells", 20)

    def ran(number: int) -> int:
        done = segcast("plan", *asked, *search, "--out", tmp_path / f"p{number}")
        assert done.returncode == 0, done.stderr
        found: int = json.loads(done.stdout)["ran"]
        return found

    assert ran(0) > 0
    assert ran(1) == 0
    plugin.write_text("# prose\n" + plugin.read_text())
    assert ran(2) == 0
    (tmp_path / "two_ways.py").write_text("ways = 1\n")
    assert ran(3) > 0


def test_what_does_not_compile_or_run_is_said_with_its_line(plugin: Path, tmp_path: Path) -> None:
    text = plugin.read_text()
    asked = ("--paths", "2x1Gbps", "--seeds", 1, "--policy", "by-number", "--out", tmp_path / "f")
    for change, words in (
        (
            ("decision.flow % ways", "decision.flow.upper()"),
            "does not compile: Unknown attribute 'upper' of type int64",
        ),
        (("setting.counters", "setting.counterz"), "AttributeError: 'Setting' object has no attribute 'counterz'"),
    ):
        plugin.write_text(text.replace(*change))
        line = next(number for number, row in enumerate(plugin.read_text().splitlines(), 1) if change[1] in row)
        ran = segcast("forecast", CLUSTER, *asked, "--plugin", plugin)
        assert (ran.returncode, ran.stderr) == (2, f"segcast: {plugin}:{line}: {words}\n")
        assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("broken.py", "def f(:", "broken.py:1: invalid syntax"),
        ("divides.py", "\n1 / 0", "divides.py:2: ZeroDivisionError: division by zero"),
        ("nothing_in_it.py", "x = 1", "registers no policy and no flowlet timeout"),
        ("random.py", "", "a module called 'random' is there already"),
        ("not-a-name.py", "", "give the file another name"),
        ("prose.txt", "", "is no Python file"),
        ("leaves.py", "import sys\nsys.exit(3)", "leaves.py:2: SystemExit: 3"),
    ],
)
def test_a_file_that_is_no_plugin(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    before = list(sys.path), sys.modules.get(Path(name).stem)
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        load_plugin(tmp_path / name)
    assert (sys.path, sys.modules.get(Path(name).stem)) == before
    assert tmp_path / name not in loaded_plugins(), "workers of this process would be told to load it"
    with pytest.raises(InputError, match="not found"):
        load_plugin(tmp_path / "absent.py")
