"""Where the cells of a sweep run, and where their rows are kept, as a command line says it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from segcast.analyzer.parallel import usable_cores
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.sweep.batches import Execution, Source
from segcast.analyzer.sweep.groups import work_of
from segcast.analyzer.sweep.local import LocalExecution
from segcast.analyzer.sweep.objects import open_store
from segcast.analyzer.sweep.processes import Processes
from segcast.analyzer.sweep.workers import GroupedExecution
from segcast.traces.errors import InputError

_HERE = ("127.0.0.1", "localhost", "::1", None)


@contextlib.contextmanager
def running(
    place: str,
    source: Source,
    scenario: ValidScenario,
    *,
    store: str | None = None,
    cluster: str | None = None,
    jobs: int | None = None,
    processes: bool = False,
) -> Iterator[tuple[CellStore, Execution]]:
    """The store, and what runs cells: threads, processes, or the workers of a cluster. Raises InputError.

    `place` is where the source lies, for workers to read it there.
    """
    with contextlib.ExitStack() as stack:
        if cluster is None:
            kept = stack.enter_context(contextlib.closing(open_store(store)))
            if processes:
                here = Processes(jobs or usable_cores())
                yield kept, GroupedExecution(here, work_of(place, source, scenario, store), kept)
            else:
                yield kept, LocalExecution(source, kept, jobs)
            return
        if jobs is not None or processes:
            raise InputError("--jobs and --processes are of this machine; a cluster has the workers that it has")
        if store is None and urlsplit(cluster).hostname not in _HERE:
            raise InputError(f"--cluster {cluster}: workers elsewhere cannot reach this user's cache; give --store")
        from segcast.analyzer.sweep.cluster import Cluster

        kept = stack.enter_context(contextlib.closing(open_store(store)))
        workers = stack.enter_context(contextlib.closing(Cluster(cluster)))
        yield kept, GroupedExecution(workers, work_of(place, source, scenario, store), kept)
