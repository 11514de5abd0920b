"""Runs the cells of a sweep in groups on workers: processes of this machine, or of a cluster."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.sweep.batches import Batch, Ran
from segcast.analyzer.sweep.costs import Costs, cut, kind_of
from segcast.analyzer.sweep.groups import MOST_KILLS, Group, Killed, Timed, Work, group_of
from segcast.traces.errors import InputError

_AHEAD: Final = 2  # groups a worker has at a time, so that none waits for this process
_NAMED: Final = 5

Cells = list[tuple[Batch, list[int]]]


class Died(Exception):
    """A worker ended while it had a group, and whoever deals them out has given up."""


class Workers(ABC):
    """What runs groups: `submit` gives a future, of which `ended` gives those that are done."""

    count: int

    @abstractmethod
    def submit(self, group: Group) -> Any:
        """A future of the group's cells."""

    @abstractmethod
    def ended(self, futures: Sequence[Any]) -> list[Any]:
        """Those that are done, after a moment at most."""

    @abstractmethod
    def result(self, future: Any) -> list[Timed]:
        """The cells of a group that is done. Raises Died, Killed, or what the group raised."""

    @abstractmethod
    def dropped(self, futures: Sequence[Any]) -> None:
        """Have what has not begun never begin."""


class GroupedExecution:
    """Deals cells out to workers in groups of some seconds by measured cost; rows come by way of the store."""

    def __init__(self, workers: Workers, work: Work, store: CellStore) -> None:
        self._workers = workers
        self._work = work
        self._store = store
        self._costs = Costs()
        self.executed = 0
        """Cells that workers ran, not found as kept."""

    def run(self, batches: Sequence[Batch], tick: Callable[[], object]) -> Iterator[Ran]:
        """Cells as their groups end. Raises InputError naming the cells of groups that workers died of twice."""
        left: Cells = [(batch, list(range(len(batch.keys)))) for batch in batches]
        running: dict[Any, tuple[str, Cells]] = {}
        lost: Cells = []
        deaths: Counter[str] = Counter()
        try:
            while left or running:
                while left and len(running) < _AHEAD * self._workers.count:
                    cells = cut(left, self._costs, 1 / (_AHEAD * self._workers.count))
                    self._submit(running, secrets.token_hex(8), cells)
                    left = [(batch, places) for batch, places in left if places]
                for future in self._workers.ended(list(running)):
                    name, cells = running.pop(future)
                    try:
                        yield from self._taken(self._workers.result(future), cells)
                    except Killed:
                        lost += cells
                    except Died:
                        deaths[name] += 1  # a store that cannot be written does not tell a worker that one died before
                        if deaths[name] < MOST_KILLS:
                            self._submit(running, name, cells)
                        else:
                            lost += cells
                tick()
        finally:
            self._workers.dropped(list(running))
        if lost:
            raise InputError(self._said(lost))

    def _submit(self, running: dict[Any, tuple[str, Cells]], name: str, cells: Cells) -> None:
        running[self._workers.submit(group_of(name, self._work, cells))] = name, cells

    def _said(self, lost: Cells) -> str:
        kept = self._store.get_many([batch.keys[place] for batch, places in lost for place in places])
        names = [batch.said(place) for batch, places in lost for place in places if batch.keys[place] not in kept]
        others = "all other cells are done" + ("" if self._store.failed or self._store.unkept else " and kept")
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return (
            f"workers died twice while they ran {'; '.join(names[:_NAMED])}{more}; {others}: "
            "give workers more memory, or see their logs, and run the same command again"
        )

    def _taken(self, timed: Sequence[Timed], cells: Cells) -> Iterator[Ran]:
        places = {batch.keys[place]: (batch, place) for batch, some in cells for place in some}
        for key, seconds, row in timed:
            if seconds is not None:
                self.executed += 1
                self._costs.ended(kind_of(*places[key]), seconds)
            if row is not None:  # its worker could not keep it, and this process may not either: it says so
                self._store.put(key, row)
        rows = self._store.get_many(list(places))
        if missing := [key for key in places if key not in rows]:
            raise InputError(
                f"{len(missing)} cells that workers have run are not in the store here; "
                "give a place that all machines reach by --store"
            )
        for key in places:
            yield Ran(key, rows[key])
