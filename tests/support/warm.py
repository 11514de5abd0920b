"""`python -m tests.support.warm`: compiles what many tests run, before several processes of tests meet it uncompiled.

Where two of them need the same kernel at once, one of them waits for the other, and a core idles. Here every core
compiles another pair of policy and timeout, the demo, which compiles reader, metrics and rewriting, the fuzzer, or the
loop of senders that react.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.collecting import collect_seldom
from tests.support.connecting import run_cell
from tests.support.simulating import CELLS, run_engine
from tests.support.strategies import Seeded, make_fabric
from tests.support.transport import make_case

# The demo compiles these itself, so they come last.
DEMO = [cell for cell in CELLS if cell[0] in ("ecmp", "random", "inflight") and cell[1] == "fixed"]

# Senders that react: their loop for the policies that most tests run.
REACTING = {"reacting ecmp": "ecmp", "reacting inflight": "inflight"}


def run_demo() -> None:
    """The main job on the bundled capture, into a folder that is then removed."""
    from segcast.cli import cli

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        cli(["demo", "--out", str(Path(folder, "demo"))], standalone_mode=False)


def run_fuzzer() -> None:
    """A short run of the fuzzer, whose kernels check every index and are therefore others."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "tests.fuzz",
            "--out",
            str(Path(folder, "out")),
            "--generated",
            "15",
            "--bundled",
        ]
        command += ["--seed", "7", "--inputs", "6000", "--seconds", "5"]
        subprocess.run(command, cwd=Path(__file__).parents[2], check=True, capture_output=True)


def compile_for(cell: tuple[str, str] | str) -> None:
    """Compile all that a policy and a timeout need, or the demo, or the fuzzer."""
    if cell == "demo":
        run_demo()
    elif cell == "fuzzer":
        run_fuzzer()
    elif cell in REACTING:
        run_cell(make_case(Seeded(1), ((REACTING[cell], "fixed"),)))
    else:
        run_engine(make_fabric(Seeded(1), 20, [cell]))


def main() -> None:
    """Share the work out, one piece at a time, to as many processes as there are cores."""
    work = ["demo", "fuzzer", *REACTING, *(cell for cell in CELLS if cell not in DEMO), *DEMO]
    # New processes, not copies of this one: Numba's threads and locks do not survive a fork.
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0)), collect_seldom) as pool:
        for _ in pool.imap_unordered(compile_for, work):
            pass


if __name__ == "__main__":
    sys.exit(main())
