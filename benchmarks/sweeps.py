"""A sweep of 1,000 cells on one core, all cores, processes and a cluster: `python -m benchmarks.sweeps`.

The bundled capture through four paths: 4 policies, 5 rates, 5 buffers, 10 seeds; open loop, and with --closed TCP
senders in its place. The cluster is a Dask scheduler and two worker processes over TCP on loopback, its trace in an S3
server there (SeaweedFS); of a second sweep on it a worker is killed midway, and the client is interrupted and begins
again. All tables must be the same to the byte, and no cell that was kept is run again.

What a cell takes beside its own engine and metrics is said as well, by processor time. `--packets N` takes a trace of
so many packets instead, and sweeps 12 cells over it: time and peak memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import synthesis
from segcast.analyzer.engine.cell import simulate
from segcast.analyzer.parallel import usable_cores
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.sweep.batches import Execution, batches_of
from segcast.analyzer.sweep.cluster import Cluster
from segcast.analyzer.sweep.fields import with_set
from segcast.analyzer.sweep.groups import work_of
from segcast.analyzer.sweep.local import LocalExecution, runner_of
from segcast.analyzer.sweep.processes import Processes
from segcast.analyzer.sweep.run import sweep
from segcast.analyzer.sweep.sharing import SharedTraffic
from segcast.analyzer.sweep.workers import GroupedExecution
from segcast.analyzer.workload.source import open_source
from segcast.traces.ingest.run import ingest
from segcast.traces.samples import CLUSTER
from segcast.traces.trace import Trace
from tests.support.clusters import cluster_of, with_own_cache
from tests.support.objectstore import KEY, SECRET, serving

TABLES = ("summary", "choices", "comparisons", "variants")
SETS = ("rate=100Mbps..1Gbps/5", "buffer=64KiB..1MiB/5")
POLICIES = ("ecmp", "random", "inflight", "round-robin")


def scenario_of(seeds: int, *, closed: bool) -> ValidScenario:
    """4 policies, 5 rates, 5 buffers, and seeds: 1,000 cells with 10."""
    more: dict[str, Any] = {"transport": {"control": "cubic"}} if closed else {}
    asked = short_scenario(paths="4x300Mbps", policies=list(POLICIES), seeds=list(range(1, seeds + 1)), **more)
    return with_set(asked, SETS)


class Sweeper:
    """Sweeps one scenario in several ways, each into a folder and a store of its own."""

    def __init__(self, source: Trace, scenario: ValidScenario, home: Path) -> None:
        self.source, self.scenario, self.home = source, scenario, home
        self.first: Path | None = None

    def once(self, name: str, make: Callable[[CellStore, Path], Execution], tick: Any = None) -> float:
        """Seconds of a sweep; its tables are compared with those of the first."""
        store, out = self.home / f"{name}.sqlite", self.home / name
        begun = time.perf_counter()
        with closing(CellStore(store)) as kept:
            sweep(self.source, self.scenario, out, tick, store=kept, execution=make(kept, store))
        took = time.perf_counter() - begun
        self.first = self.first or out
        same = all((out / f"{t}.parquet").read_bytes() == (self.first / f"{t}.parquet").read_bytes() for t in TABLES)
        print(f"{name}: {took:.1f} s{'' if same else ', OTHER TABLES'}", flush=True)
        assert same
        return took

    def grouped(self, workers: Any, place: str = "") -> Callable[[CellStore, Path], Execution]:
        """Cells dealt out to workers."""
        return lambda kept, store: GroupedExecution(
            workers, work_of(place, self.source, self.scenario, str(store)), kept
        )


def noting(file: Path) -> None:
    """Have a store note each row that is put."""
    CellStore(file).close()
    with closing(sqlite3.connect(file)) as data:
        data.execute("CREATE TABLE puts (key TEXT)")
        data.execute("CREATE TRIGGER noted AFTER INSERT ON cells BEGIN INSERT INTO puts VALUES (NEW.key); END")
        data.commit()


def noted(file: Path) -> list[str]:
    """The keys of cells that were put, each as often as it was."""
    with closing(sqlite3.connect(file)) as data:
        return [key for (key,) in data.execute("SELECT key FROM puts WHERE key NOT LIKE 'begun %'")]


@contextmanager
def in_object_store(trace: Trace, folder: Path) -> Iterator[tuple[Trace, str]]:
    """The trace, put into an S3 server, and its URL; read back by way of the cache."""
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    with_own_cache(os.environ.__setitem__, folder / "cache")
    with serving(folder / "weed") as objects:
        for file in sorted(each for each in trace.folder.rglob("*") if each.is_file()):
            with objects.files.open_output_stream(f"captures/t.trace/{file.relative_to(trace.folder)}") as out:
                out.write(file.read_bytes())
        url = objects.url("captures/t.trace")
        found = open_source(url)
        assert isinstance(found, Trace)
        yield found, url


def whole(trace: Trace, scenario: ValidScenario, home: Path, *, few: bool) -> None:
    """The sweep in all ways, or in those that must be the same alone."""
    one = Sweeper(trace, scenario, home)
    if not few:
        one.once("warm-up", lambda kept, _: LocalExecution(trace, kept))
    one.once("one-core", lambda kept, _: LocalExecution(trace, kept, 1))
    one.once(f"{usable_cores()}-threads", lambda kept, _: LocalExecution(trace, kept))
    if not few:
        one.once(f"{usable_cores()}-processes", one.grouped(Processes(usable_cores())))
    again = time.perf_counter()
    with closing(CellStore(home / "one-core.sqlite")) as kept:
        sweep(trace, scenario, home / "again", store=kept)
    print(f"asked again: {time.perf_counter() - again:.1f} s", flush=True)
    with in_object_store(trace, home) as (remote, url), cluster_of(2, home / "dask") as cluster:
        one.source = remote
        with closing(Cluster(cluster.address)) as workers:
            if not few:
                one.once("cluster-first", one.grouped(workers, url))
            one.once("cluster", one.grouped(workers, url))
        killed: list[int] = []
        noting(home / "cluster-killed.sqlite")

        def trouble(done: int, total: int, left: str) -> None:
            if done >= total // 4 and not killed:
                killed.append(cluster.workers[0].pid)
                cluster.workers[0].kill()
                cluster.add()
            elif done >= total // 2:
                raise KeyboardInterrupt

        with closing(Cluster(cluster.address)) as workers:
            try:
                one.once("cluster-killed", one.grouped(workers, url), trouble)
            except KeyboardInterrupt as stopped:
                print(f"cluster, a worker killed, then the client {stopped}", flush=True)
        with closing(Cluster(cluster.address)) as workers:
            one.once("cluster-killed", one.grouped(workers, url))
        time.sleep(5)  # groups that were under way when the client was interrupted end
    puts = noted(home / "cluster-killed.sqlite")
    print(f"cells kept {len(set(puts)):,}, kept again {len(puts) - len(set(puts))}", flush=True)


def overhead(trace: Trace, scenario: ValidScenario, home: Path, *, closed: bool) -> None:
    """Processor time of a cell: its engine alone, with metrics, and in a sweep on one thread; the least of three."""
    rows: list[tuple[float, float, float]] = []
    for number in range(3):
        with closing(CellStore(home / f"o{number}.sqlite")) as kept:
            batches = batches_of(trace, scenario, kept)
            cells = sum(len(batch.plans) for batch in batches)
            traffic = SharedTraffic(trace)
            runners: list[Any] = [runner_of(traffic, batch, 1, home) for batch in batches]
            begun = time.process_time()
            for runner, batch in zip(runners, batches, strict=True):
                for plan in batch.plans:
                    if closed:
                        for _ in runner.reacting(plan, runner._network).pieces():
                            pass
                    else:
                        packets = runner._packets[plan.load]
                        simulate(runner._cell(plan), packets, releases=None, room=runner._room(len(packets.flow)))
            engine = time.process_time()
            for runner, batch in zip(runners, batches, strict=True):
                list(runner.results(batch.plans, 1, int))
            measured = time.process_time()
            sweep(trace, scenario, home / "o", store=kept, execution=LocalExecution(trace, kept, 1))
            swept = time.process_time()
        rows.append(((engine - begun) / cells, (measured - engine) / cells, (swept - measured) / cells))
    engine_s, cell_s, sweep_s = map(min, zip(*rows, strict=True))
    print(
        f"{cells} cells, ms of a processor each: engine {1e3 * engine_s:.2f}, with metrics {1e3 * cell_s:.2f}, "
        f"in a sweep with its tables {1e3 * sweep_s:.2f}: {1e3 * (sweep_s - cell_s):.2f} more than with metrics, "
        f"{1e3 * (sweep_s - engine_s):.2f} more than its engine",
        flush=True,
    )


def large(packets: int, home: Path) -> None:
    """Time and peak memory of 12 cells over a trace of so many packets."""
    capture = home / "large.pcap"
    synthesis.write(capture, synthesis.MIXES["headers"], packets=packets)
    trace = ingest([capture], home / "large.trace")
    capture.unlink()
    asked = short_scenario(paths="4x100Gbps", policies=["ecmp", "random", "inflight"], seeds=[1, 2])
    begun, used = time.perf_counter(), time.process_time()
    with closing(CellStore(home / "large.sqlite")) as kept:
        sweep(trace, with_set(asked, ["buffer=256KiB,1MiB"]), home / "large", store=kept)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(
        f"{trace.packet_count:,} packets of {trace.flow_count:,} flows, 12 cells: {time.perf_counter() - begun:.0f} s, "
        f"{time.process_time() - used:.0f} s of processors, peak {peak / 1e9:.1f} GB",
        flush=True,
    )


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--closed", action="store_true", help="senders react")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--packets", type=int, help="of a large trace, instead")
    parser.add_argument("--overhead", action="store_true", help="only what a cell takes beside its own")
    parser.add_argument("--ways", action="store_true", help="only the sweep in all ways")
    parser.add_argument("--few", action="store_true", help="of the ways one core, all and a cluster, once each")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="segcast-") as folder:
        home = Path(folder)
        if asked.packets:
            large(asked.packets, home)
            return
        trace = ingest([CLUSTER], home / "cluster.trace")
        scenario = scenario_of(asked.seeds, closed=asked.closed)
        if not asked.ways:
            overhead(trace, scenario, home, closed=asked.closed)
        if not asked.overhead:
            whole(trace, scenario, home, few=asked.few)


if __name__ == "__main__":
    main()
