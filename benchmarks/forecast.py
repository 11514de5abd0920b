"""`segcast forecast` on the bundled capture, from the shell to the report: cold, warm, and beside an empty start.

Cold has an empty kernel cache and an empty trace cache; warm has both; `start` is `segcast --version`, the floor.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from segcast.traces.samples import CLUSTER

RUNS = 5
FLAGS = ("--paths", "4x300Mbps", "--timeout", "50us,100us,500us", "--buffer", "1MiB")


def seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """Wall time of one run of the command."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "segcast", *arguments], env=environment, capture_output=True, check=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"NUMBA_CACHE_DIR": f"{scratch}/kernels", "XDG_CACHE_HOME": f"{scratch}/cache"}
        forecast = ["forecast", str(CLUSTER), *FLAGS, "--out", str(Path(scratch) / "f")]
        cold = seconds(forecast, environment)
        warm = statistics.median(seconds(forecast, environment) for _ in range(RUNS))
        start = statistics.median(seconds(["--version"], environment) for _ in range(RUNS))
    print("70 cells of 39 k packets, capture to report.html")
    print(f"cold {cold:.2f} s, warm {warm:.2f} s (median of {RUNS}), start {start:.2f} s")


if __name__ == "__main__":
    main()
