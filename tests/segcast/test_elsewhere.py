"""Other systems say that they are others, types reach a user's checker, and to import costs next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What Windows, and macOS, do not have.
WITHOUT = """
import click.shell_completion, os, signal, sys  # click has a terminal of its own on Windows
sys.platform = {platform!r}
gone = ("sched_getaffinity", "sched_setaffinity", "geteuid", "pread", "sysconf")
for module, names in {{os: gone, signal: ("SIGHUP",)}}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
for name in ("fcntl", "resource", "termios", "pty", "grp", "pwd"):
    sys.modules[name] = None
sys.argv = ["segcast", "inspect", "x.pcap"]
"""


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_another_system_is_one_line(platform: str) -> None:
    code = WITHOUT.format(platform=platform) + "from segcast.cli import main\nmain()\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "segcast: runs on Linux only\n"


@pytest.mark.parametrize("used", ["segcast.forecast", "segcast.steer.check()", "from segcast import sweep"])
@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_the_library_says_so_where_it_is_used(platform: str, used: str) -> None:
    code = WITHOUT.format(platform=platform) + "import segcast\nprint(segcast.__version__)\n" + used + "\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr.splitlines()[-1] == "ImportError: segcast runs on Linux only"


def test_the_page_for_users_says_it() -> None:
    page = " ".join((ROOT / "docs" / "python.md").read_text("utf-8").split())
    assert "Linux only. On macOS and Windows `import segcast` works" in page
    assert 'ImportError ("segcast runs on Linux only")' in page


TEN_LINES = """
import segcast as sc

trace = sc.open("capture.pcap")
network = sc.leaf_spine(leaves=8, spines=4, links="100Gbps 1us 1MiB")
found = sc.forecast(trace, network, policies=["ecmp", "inflight"], timeouts=["100us"], seeds=2)
answer: str = found.answer
p99: float | None = found.estimate(found.variants[0], "delay_p99_ns").mean
compared = sc.compare(found, sc.Forecast("before"), "p99_delay < 2ms")
holds: bool | None = compared.holds
rows: int = compared.changes.height + found.summary.height
swept = sc.sweep(trace, network, {"buffer": ["64KiB", "1MiB"]}, policies=["ecmp"])
kept: bool | None = swept.holds
cells: int = swept.summary.height + swept.cases.height
fit: object = sc.steer.check()["fit"]
"""


def test_a_users_lines_are_checked_strictly(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kept = getattr(request.config, "cache", None)  # else all that is imported is looked at anew, which takes a minute
    cache = tmp_path / "cache" if kept is None else kept.mkdir("mypy")
    (tmp_path / "mine.py").write_text(TEN_LINES, "utf-8")
    (tmp_path / "wrong.py").write_text(TEN_LINES.replace("answer: str", "answer: int"), "utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
    # A checker follows what the user imports and reports of the user's files alone.
    command += ["--follow-imports", "silent", "--cache-dir", str(cache), "mine.py", "wrong.py"]
    environment = {"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 1, done.stdout + done.stderr
    assert errors[0].startswith("wrong.py:7: error: Incompatible types in assignment")


def test_to_import_takes_little(tmp_path: Path) -> None:
    """What is imported decides, not the machine's speed: so few modules of its own, and none of others."""
    code = "import sys; before = set(sys.modules); import segcast; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    own = [name for name in done.stdout.split() if name.startswith("segcast")]
    assert own == ["segcast", "segcast.traces", "segcast.traces.version"]
    roots = {name.partition(".")[0] for name in done.stdout.split()}
    assert roots - {"segcast"} <= set(sys.stdlib_module_names)
