"""Every page that Segcast writes, made from the bundled capture and from runs that are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.validate.live.run import validate_live
from segcast.replay.validate.run import validate
from segcast.reports.validation.live import write_live_validation
from segcast.reports.validation.page import write_validation
from segcast.traces.trace import Trace
from tests.support.living import live_run, two_lists
from tests.support.measuring import Net
from tests.support.validating import sent

_PATHS = ("--paths", "4x300Mbps", "--policy", "ecmp,random,inflight")
_COMMANDS = {
    "report": ("forecast", "TRACE", *_PATHS, "--timeout", "50us,500us", "--load", "0.5,1,2", "--seeds", "4"),
    "plan": ("plan", "TRACE", *_PATHS, "--slo", "p99_delay < 20ms", "--between", "1..2", "--seeds", "4"),
    "failures": ("plan", "TRACE", "--leaf-spine", "2x2x300Mbps", "--policy", "ecmp,inflight", "--failures", "links"),
    "advice": ("advise", "TRACE", "--paths", "4x300Mbps", "--timeout", "100us", "--seeds", "10"),
    "sweep": ("sweep", "TRACE", *_PATHS, "--set", "buffer=64KiB..1MiB/6", "--load", "0.5,1,2,4", "--seeds", "2"),
    "compare": ("compare", "report", "other"),
}


def every_page(trace: Trace, folder: Path) -> dict[str, Path]:
    """The pages by name."""
    _run("forecast", str(trace.folder), "--paths", "4x200Mbps", "--seeds", "4", "--out", "other", within=folder)
    found = {}
    for name, words in _COMMANDS.items():
        taken = [str(trace.folder) if word == "TRACE" else word for word in words]
        _run(*taken, "--out", name, within=folder)
        found[name] = folder / name / f"{name}.html"
    return found | {"validation": _validation(trace, folder / "v"), "live": _live(folder / "l")}


def _run(*words: str, within: Path) -> None:
    ran = subprocess.run([sys.executable, "-m", "segcast", *words], cwd=within, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stderr


def _validation(trace: Trace, folder: Path) -> Path:
    scenario = short_scenario(paths="2x300Mbps,1x150Mbps", buffer="256KiB", policies=["random"], seeds=[1])
    forecast(trace, scenario, folder / "f")
    measured = sent(folder, scenario, "random", Net(base_ns=25_000, jitter_ns=8_000), "run")
    validate(folder / "f", [measured], folder / "page", finish=write_validation)
    return folder / "page" / "validation.html"


def _live(folder: Path) -> Path:
    folder.mkdir()
    home = two_lists(folder)
    run = live_run(home, folder / "run", {"host-ecmp": 1.25, "inflight": 1.0})
    validate_live([home / "f1", run, home / "f2"], folder / "page", finish=write_live_validation)
    return folder / "page" / "validation.html"
