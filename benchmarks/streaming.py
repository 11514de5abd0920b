"""Captures through standard input that never lie on disk: packets/s and peak memory at a tenth and at full length."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import ROOT, FailedError, Ran, run
from benchmarks.synthesis import MIXES

_READ = "import os\nwhile os.read(0, 1 << 20): pass"


def table(total_bytes: int, folder: Path) -> list[dict[str, Any]]:
    """Rows for each mix: a tenth and all of `total_bytes`, and the seconds of the pipe alone for the latter."""
    rows = []
    trace = folder / "t"
    ingest = [sys.executable, "-m", "segcast", "ingest", "-", "--out", trace, "--json"]
    for kind in MIXES:
        for size in (total_bytes // 10, total_bytes):
            ran = through_pipe(kind, size, ingest)
            facts = json.loads(ran.out)
            row = {"capture": kind, "bytes": size, "packets": facts["packets"], "flows": facts["flows"]}
            row |= {"seconds": ran.seconds, "peak_bytes": ran.peak_bytes}
            row["trace_bytes"] = sum(path.stat().st_size for path in trace.rglob("*") if path.is_file())
            rows.append(row)
            shutil.rmtree(trace)
        rows[-1]["pipe_s"] = through_pipe(kind, total_bytes, [sys.executable, "-S", "-c", _READ]).seconds
    return rows


def through_pipe(kind: str, size: int, command: Sequence[str | Path]) -> Ran:
    """Run a command that reads a capture made on the fly."""
    making = [sys.executable, "-m", "benchmarks.synthesis", kind, str(size)]
    with subprocess.Popen(making, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        try:
            ran = run(command, stdin=maker.stdout)
        finally:
            maker.stdout.close()
            _, errors = maker.communicate()
    if maker.returncode:
        raise FailedError(f"the capture was not made: {errors.strip().splitlines()[-1]}")
    return ran
