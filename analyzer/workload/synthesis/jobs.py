"""Jobs: flows that wait for each other. Incast, shuffle, web pages and collectives are lists with `after`, no more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from segcast.traces.errors import InputError

REQUEST_BYTES: Final = 400
"""What asks for a response, or for an object of a page."""

FETCHES: Final = 5
"""How many partitions a reducer fetches at once, as Hadoop's mapreduce.reduce.shuffle.parallelcopies."""

CONNECTIONS: Final = 6
"""How many connections a browser opens to a server."""

DRAWN: Final = 0
"""The size of a flow whose size is drawn."""

_MOST_ROWS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Job:
    """The flows of one job: from and to which of its hosts, how large, after which flows, over which connection.

    Its hosts are numbered from 0; the first `left` of them are those that send data where a pattern has sides.
    """

    hosts: int
    left: int
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    size: NDArray[np.int64]
    waiting: NDArray[np.int64]
    awaited: NDArray[np.int64]
    connection: tuple[str, ...]


class _Rows:
    """A job as it is put together, flow by flow."""

    def __init__(self) -> None:
        self._ends: list[tuple[int, int, int]] = []
        self._after: list[tuple[int, int]] = []
        self._connection: list[str] = []

    def add(self, source: int, target: int, size: int, after: tuple[int, ...] = (), connection: str = "") -> int:
        if len(self._ends) >= _MOST_ROWS:
            raise InputError(f"a job would have more than {_MOST_ROWS:,} flows; give a smaller --fan or --objects")
        row = len(self._ends)
        self._ends.append((source, target, size))
        self._after += [(row, other) for other in after]
        self._connection.append(connection)
        return row

    def job(self, hosts: int, left: int) -> Job:
        ends = np.array(self._ends, np.int64)
        after = np.array(self._after, np.int64).reshape(-1, 2)
        source, target, size = ends.T
        return Job(hosts, left, source, target, size, after[:, 0], after[:, 1], tuple(self._connection))


def incast(fan: int, size: int, objects: int) -> Job:
    """A host asks `fan` others at once, and each answers with `size` bytes over the same connection."""
    rows = _Rows()
    for worker in range(fan):
        asked = rows.add(fan, worker, REQUEST_BYTES, connection=f"w{worker}")
        rows.add(worker, fan, size, (asked,), f"w{worker}")
    return rows.job(fan + 1, fan)


def shuffle(fan: int, size: int, objects: int) -> Job:
    """Each of `fan` reducers fetches `size` bytes from each of `fan` mappers, FETCHES at once."""
    rows = _Rows()
    fetched: list[list[int]] = [[] for _ in range(fan)]
    for turn in range(fan):
        for reducer, before in enumerate(fetched):
            after = (before[turn - FETCHES],) if turn >= FETCHES else ()
            before.append(rows.add((reducer + turn) % fan, fan + reducer, size, after))
    return rows.job(2 * fan, fan)


def web_pages(fan: int, size: int, objects: int) -> Job:
    """A client asks a server for a page, then for its objects, over each of CONNECTIONS connections one by one."""
    rows = _Rows()
    page = rows.add(1, 0, REQUEST_BYTES, connection="c0")
    last = [rows.add(0, 1, DRAWN, (page,), "c0")] * CONNECTIONS
    for number in range(objects):
        way = number % CONNECTIONS
        asked = rows.add(1, 0, REQUEST_BYTES, (last[way],), f"c{way}")
        last[way] = rows.add(0, 1, DRAWN, (asked,), f"c{way}")
    return rows.job(2, 1)


def ring_all_reduce(fan: int, size: int, objects: int) -> Job:
    """`fan` hosts in a ring reduce a tensor of `size` bytes: 2(fan - 1) steps, each of one part to the next host.

    A host sends its next part when it has the part of that step from the host before it (Patarasuk and Yuan 2009).
    """
    rows = _Rows()
    part = -(-size // fan)
    before: list[int] = []
    for step in range(2 * (fan - 1)):
        before = [
            rows.add(host, (host + 1) % fan, part, (before[host - 1],) if step else (), f"h{host}")
            for host in range(fan)
        ]
    return rows.job(fan, fan)


def all_to_all(fan: int, size: int, objects: int) -> Job:
    """Each of `fan` hosts sends its `size` bytes in equal parts to the others, in turns: to the next, the one after, …

    A host begins a turn when what it sent and what it was sent in the turn before has arrived.
    """
    rows = _Rows()
    part = -(-size // fan)
    before: list[int] = []
    for turn in range(1, fan):
        before = [
            rows.add(host, (host + turn) % fan, part, (before[host], before[host - turn + 1]) if turn > 1 else ())
            for host in range(fan)
        ]
    return rows.job(fan, fan)


JOBS: Final[dict[str, tuple[Callable[[int, int, int], Job], int]]] = {
    "incast": (incast, 64_000),
    "shuffle": (shuffle, 1_000_000),
    "web-pages": (web_pages, 1),
    "ring-all-reduce": (ring_all_reduce, 10_000_000),
    "all-to-all": (all_to_all, 10_000_000),
}
"""By kind: what makes a job of it, given fan, size and objects; and the size unless another is asked for."""

SIDED: Final = ("incast", "shuffle", "web-pages")
"""Kinds that a pattern with sides can have: their data goes one way."""
