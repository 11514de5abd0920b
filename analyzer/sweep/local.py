"""Runs the cells of a sweep on this machine's cores."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from segcast.analyzer.forecast.runner import CellRunner
from segcast.analyzer.parallel import usable_cores
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.sweep.batches import Batch, Ran, Source
from segcast.analyzer.sweep.sharing import SharedTraffic


class LocalExecution:
    """Runs cells on threads: what takes their time lets go of the interpreter."""

    def __init__(self, source: Source, store: CellStore, threads: int | None = None) -> None:
        """On all cores unless `threads` is given."""
        self._source = source
        self._store = store
        self.threads = threads or usable_cores()

    def run(self, batches: Sequence[Batch], tick: Callable[[], object]) -> Iterator[Ran]:
        """Cells in their order, each kept as soon as it and those before it have ended."""
        with tempfile.TemporaryDirectory(prefix="segcast-") as folder:
            traffic = SharedTraffic(self._source)
            for batch in batches:
                runner = runner_of(traffic, batch, self.threads, Path(folder))
                for key, result in zip(batch.keys, runner.results(batch.plans, self.threads, tick), strict=True):
                    self._store.put(key, result.summary)
                    yield Ran(key, result.summary)


def runner_of(traffic: SharedTraffic, batch: Batch, threads: int, folder: Path) -> CellRunner:
    """What runs the cells of a variant."""
    runner = traffic.runner(batch.scenario, min(len(batch.plans), threads), folder)
    runner.only_summary = runner.tails = True
    return runner
