"""A task of a sweep: a group of cells that a worker runs, each kept in the store as soon as it has ended.

A worker may be another process, or another machine: what it is given says all that it needs.
"""

from __future__ import annotations

import contextlib
import pickle
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from segcast.analyzer.forecast.runner import CellRunner
from segcast.analyzer.keys import code, identity_of
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.plugins import load_plugin, loaded_plugins
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.sweep.batches import Batch, Source, needed_columns
from segcast.analyzer.sweep.local import runner_of
from segcast.analyzer.sweep.objects import open_store
from segcast.analyzer.sweep.sharing import SharedTraffic
from segcast.analyzer.workload.source import WorkloadFile, open_source
from segcast.traces.captures.remote import is_url
from segcast.traces.errors import InputError

MOST_KILLS: Final = 2
_RUNNERS: Final = 2


@dataclass(frozen=True, slots=True)
class Work:
    """What all tasks of a sweep have in common.

    `source` is where trace or flow list lies, `identity` what it is, `store` where rows are kept, `code` the digest of
    the sources that run, `plugins` the files that policies of a user's own are in. `columns` are those of packets that
    some cell needs.
    """

    source: str
    identity: str
    store: str | None
    code: str
    columns: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Cells of some batches, pickled: who runs another version cannot read them, and must say so first."""

    name: str
    work: Work
    batches: bytes


class Timed(NamedTuple):
    """The key of a cell that a group has, and the seconds that it took; None if it had run before.

    `row` is its row, if the store could not keep it: else that is where it is.
    """

    key: str
    seconds: float | None
    row: dict[str, Any] | None = None


class Killed(Exception):
    """Workers died so often while they ran a group that it is not tried again."""


def group_of(name: str, work: Work, cells: Sequence[tuple[Batch, list[int]]]) -> Group:
    """The task of some cells of batches."""
    return Group(name, work, pickle.dumps([_bare(batch.only(places)) for batch, places in cells]))


def _bare(batch: Batch) -> Batch:
    """The batch without what its scenario has built of itself, which a worker builds again."""
    scenario = batch.scenario.model_copy(update={"network": batch.scenario.network})
    return replace(batch, variant=replace(batch.variant, scenario=scenario), scenario=scenario)


def leave(names: Iterable[str]) -> None:
    """Have groups of these names end in this process after the cell that each is at: nobody waits for them any more."""
    _STATE.left.update(names)


def run_group(group: Group) -> list[Timed]:
    """Run the cells of a group that are not kept yet, until it is left.

    Raises InputError, or Killed if workers died of it before.
    """
    if code() != group.work.code:
        raise InputError("a worker runs another version of Segcast than this one; install the same on all machines")
    with _STATE.lock, _told():
        store = _STATE.store(group.work)
        _attempt(store, group.name)
        for file in group.work.plugins:
            load_plugin(file)
        batches: list[Batch] = pickle.loads(group.batches)
        _STATE.read(group.work)
        done = [timed for batch in batches for timed in _run(batch, store, group.name)]
        store.flush()
        if not store.unkept:
            return done
        rows = store.get_many([timed.key for timed in done if timed.key in store.unkept])
        return [timed._replace(row=rows.get(timed.key)) for timed in done]


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Errors that another process can be told: of the kinds that all know, with their text."""
    try:
        yield
    except Killed:
        raise
    except InputError as error:
        raise InputError(str(error)) from None


def _attempt(store: CellStore, name: str) -> None:
    """Note that a group begins. Raises Killed if it has too often: it ended with its worker, as all others did not."""
    for number in range(MOST_KILLS):
        if store.get(key := f"begun {name} {number}") is None:
            store.put(key, {})
            store.flush()
            return
    raise Killed


def _run(batch: Batch, store: CellStore, name: str) -> list[Timed]:
    kept = store.get_many(batch.keys)
    left = [place for place, key in enumerate(batch.keys) if key not in kept]
    done = [Timed(key, None) for key in kept]
    if not left or name in _STATE.left:
        return done
    runner = _STATE.runner(batch)
    for place in left:
        if name in _STATE.left:
            break
        begun = time.perf_counter()
        (result,) = runner.results([batch.plans[place]], 1, _nothing)
        store.put(batch.keys[place], result.summary)
        done.append(Timed(batch.keys[place], time.perf_counter() - begun))
    return done


def _nothing() -> None:
    """Nobody waits here."""


class _State:
    """What a worker keeps from one group to the next; groups of one process run one after the other."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.left: set[str] = set()
        self._stores: dict[str | None, CellStore] = {}
        self._sources: dict[str, Source] = {}
        self._runners: OrderedDict[str, CellRunner] = OrderedDict()
        self._traffic: SharedTraffic | None = None
        self._folder = tempfile.gettempdir()

    def store(self, work: Work) -> CellStore:
        """The store of a sweep."""
        if work.store not in self._stores:
            self._stores[work.store] = open_store(work.store)
        return self._stores[work.store]

    def read(self, work: Work) -> None:
        """Have the trace or flow list; one at a time. Raises InputError."""
        if work.identity not in self._sources:
            self._sources.clear()
            self._runners.clear()
            source = open_source(work.source, columns=work.columns)
            if identity_of(source) != work.identity:
                raise InputError(f"{work.source}: a worker finds another trace there than this machine")
            self._sources[work.identity] = source
            self._traffic = SharedTraffic(source)

    def runner(self, batch: Batch) -> CellRunner:
        """What runs the cells of a batch; the last few are kept."""
        key = f"{batch.scenario.to_toml()} {batch.scenario.known_loads}"
        if key not in self._runners:
            while len(self._runners) >= _RUNNERS:
                self._runners.popitem(last=False)
            assert self._traffic is not None  # `read` comes first
            self._runners[key] = runner_of(self._traffic, batch, 1, Path(self._folder))
        return self._runners[key]


_STATE: Final = _State()


def work_of(place: str, source: Source, scenario: ValidScenario, store: str | None) -> Work:
    """What tasks of a sweep of a source, which lies at a place, have in common."""
    where = (
        place if is_url(place) else str((source.path if isinstance(source, WorkloadFile) else source.folder).resolve())
    )
    columns = tuple(needed_columns(scenario))
    return Work(where, identity_of(source), store, code(), columns, tuple(map(str, loaded_plugins())))
