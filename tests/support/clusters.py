"""A Dask cluster on loopback for the tests: a scheduler and worker processes of one thread each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from segcast.traces.kernels.cache import cache_root
from tests.support.objectstore import free_ports

ROOT = Path(__file__).parents[2]
_START_S = 60


@dataclass
class Cluster:
    """A running scheduler and its workers."""

    address: str
    folder: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add(self) -> subprocess.Popen[bytes]:
        """Start a worker that is not started again if it dies."""
        flags = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(self.folder)]
        self.workers.append(_started("worker", self.address, *flags, log=self.folder / f"worker{len(self.workers)}"))
        return self.workers[-1]


def with_own_cache(setenv: Callable[[str, str], object], folder: Path) -> None:
    """Have processes keep copies in `folder`, and kernels, which take long to compile, where they were."""
    setenv("NUMBA_CACHE_DIR", str(cache_root().parents[1]))
    setenv("XDG_CACHE_HOME", str(folder))


def _started(what: str, *flags: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.dask_{what}", *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, cwd=ROOT, env=environment)


@contextmanager
def cluster_of(count: int, folder: Path) -> Iterator[Cluster]:
    """A scheduler on a free port, and workers that have registered."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    log = folder / "scheduler"
    scheduler = _started("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard", log=log)
    cluster = Cluster(f"tcp://127.0.0.1:{port}", folder)
    try:
        for _ in range(count):
            cluster.add()
        until = time.monotonic() + _START_S
        while len(re.findall(r"Register worker", log.read_text("utf-8", "replace"))) < count:
            assert time.monotonic() < until and scheduler.poll() is None, log.read_text("utf-8", "replace")[-2000:]
            time.sleep(0.2)
        yield cluster
    finally:
        for process in (*cluster.workers, scheduler):
            process.kill()
            process.wait()
