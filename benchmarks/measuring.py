"""Times calls, and runs commands in processes of their own with their time and peak memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]

# A new process counts the memory of the one that started it, until it becomes another program: so a small one does.
_LAUNCHER: Final = """
import json, os, subprocess, sys, time
begin = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(child.pid, 0)
seconds = time.perf_counter() - begin
with open(int(sys.argv[1]), "w") as report:
    json.dump([seconds, used.ru_maxrss * 1024, os.waitstatus_to_exitcode(status)], report)
"""


class Ran(NamedTuple):
    """What a command took: seconds from its start to its end, the resident bytes of its largest process, its output."""

    seconds: float
    peak_bytes: int
    out: str


class FailedError(Exception):
    """A command that did not do what was asked; holds its last line on stderr."""


def run(
    command: Sequence[str | Path],
    environment: Mapping[str, str] | None = None,
    stdin: Any = None,
    discard: bool = False,
) -> Ran:
    """Run a command to its end, from `stdin` (nothing by default), its output kept or discarded. Raises FailedError."""
    reading, writing = os.pipe()
    launch = [sys.executable, "-S", "-c", _LAUNCHER, str(writing), *map(str, command)]
    child = subprocess.Popen(
        launch,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.DEVNULL if discard else subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[writing],
    )
    os.close(writing)
    out, errors = child.communicate()
    with os.fdopen(reading) as report:
        told = report.read()
    seconds, peak_bytes, code = json.loads(told) if told else (0.0, 0, child.returncode)
    if code != 0:
        raise FailedError((errors.strip().splitlines() or [f"exit status {code}"])[-1])
    return Ran(seconds, peak_bytes, out or "")


def best_seconds(call: Callable[[], object], runs: int = 3) -> float:
    """The shortest of some runs."""
    best = float("inf")
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best
