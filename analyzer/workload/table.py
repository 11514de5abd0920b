"""A workload: the flows that hosts are asked to send, what each waits for, and what of that must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import LATEST_NS
from segcast.traces.errors import InputError
from segcast.traces.schema import Column, Table

UNPINNED: Final = -1
"""The path of a flow that is not pinned to one."""

MOST_FLOWS: Final = 10_000_000
MOST_BYTES: Final = 1 << 50
MOST_HOST: Final = (1 << 31) - 1
MOST_SLOT: Final = 65_534
LONGEST_NAME: Final = 200

WORKLOAD: Final = Table(
    "workload",
    "a flow to send: bytes from one host to another",
    (
        Column("flow", pa.string(), "its name, of 1 to 200 characters without spaces; each is there once"),
        Column("start_ns", pa.int64(), "earliest start; with `after` it may be empty, which is 0", True),
        Column("src", pa.string(), "host that sends: an address, or in all rows a number of the network's hosts"),
        Column("dst", pa.string(), "host that receives, as `src`"),
        Column("bytes", pa.int64(), "bytes to send, without headers"),
        Column("path", pa.int64(), "slot of the path that it is pinned to; -1 or empty: not pinned", True),
        Column("after", pa.string(), "flows, separated by spaces, that must be done before it starts", True),
        Column("think_ns", pa.int64(), "time from when they are done to its start; empty: 0", True),
        Column("connection", pa.string(), "flows of the same value share a TCP connection; empty: its own", True),
    ),
)
"""As files have it. `spine` is another name of `path`, so that flow lists of leaf-spines are read as they are."""

Where = Callable[[int, str], str]
"""Puts a row, counted from 0, and a column of it into words: `flows.csv:7: column bytes`."""


def nowhere(row: int, column: str) -> str:
    """The place of a workload that was not read from a file."""
    return f"the workload's row {row}: column {column}"


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """Flows in the order of their list; all arrays are of that length n unless said otherwise.

    `flow` are their names, text. `source` and `target` int64 are hosts: numbers of the network's hosts, or places in
    `addresses` if there are any. `start_ns`, `bytes`, `think_ns` int64; `path` int64 is UNPINNED or a slot. Flow i
    waits for the flows `after_row[after_first[i]:after_first[i + 1]]`, int64[m] and int64[n + 1]: it starts `think_ns`
    after the last of them is done, and not before `start_ns`. `connection` int64 numbers TCP connections from 0 in
    order of their first flow; `connection_name` are their names by that number, text, empty where the list gives none.
    """

    flow: pa.StringArray
    start_ns: NDArray[np.int64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    bytes: NDArray[np.int64]
    path: NDArray[np.int64]
    after_first: NDArray[np.int64]
    after_row: NDArray[np.int64]
    think_ns: NDArray[np.int64]
    connection: NDArray[np.int64]
    connection_name: pa.StringArray
    addresses: tuple[str, ...] = ()
    where: Where = field(default=nowhere, repr=False)

    def __len__(self) -> int:
        return len(self.start_ns)

    @property
    def waits(self) -> NDArray[np.bool_]:
        """Which flows wait for others, bool[n]."""
        return np.diff(self.after_first) > 0

    def followers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What waits for each flow: those for flow i are `row[first[i]:first[i + 1]]`, int64[n + 1] and int64[m]."""
        first = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.bincount(self.after_row, minlength=len(self)), out=first[1:])
        waiting = np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.after_first))
        return first, waiting[np.argsort(self.after_row, kind="stable")]

    def host(self, number: int) -> str:
        """What the list calls a host of `source` or `target`."""
        return self.addresses[number] if self.addresses else str(number)

    def wrong(self, row: int, column: str, message: str) -> InputError:
        """An error about a flow, with the place where the list has it."""
        return InputError(f"{self.where(row, column)}: {message}")

    def name(self, row: int) -> str:
        """The name of a flow."""
        return str(self.flow[row].as_py())


def workload_of(
    flow: Sequence[Any],
    start_ns: NDArray[np.int64],
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    sizes: NDArray[np.int64],
    *,
    path: NDArray[np.int64] | None = None,
    after: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    think_ns: NDArray[np.int64] | None = None,
    connection: Sequence[str] | None = None,
    addresses: tuple[str, ...] = (),
) -> Workload:
    """A workload from its columns, checked. `after` are pairs (row, row it waits for) as two arrays, sorted by the
    first; `connection` is empty where a flow has a connection of its own. Raises InputError.
    """
    count = len(start_ns)
    waiting, awaited = after if after is not None else (np.zeros(0, np.int64), np.zeros(0, np.int64))
    first = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(waiting, minlength=count), out=first[1:])
    names = pa.array(flow, pa.string()) if not isinstance(flow, pa.StringArray) else flow
    number, name = numbered(connection, count)
    made = Workload(
        names,
        start_ns,
        source,
        target,
        sizes,
        np.full(count, UNPINNED, np.int64) if path is None else path,
        first,
        awaited,
        np.zeros(count, np.int64) if think_ns is None else think_ns,
        number,
        name,
        addresses,
    )
    check(made)
    return made


def numbered(connection: Sequence[str] | None, count: int) -> tuple[NDArray[np.int64], pa.StringArray]:
    """Connections by number in order of their first flow, int64[n], and their names by number.

    `connection` names that of each flow, empty where it has one of its own; None: all have.
    """
    if connection is None:
        return np.arange(count, dtype=np.int64), pa.array([""], pa.string()).take(pa.array(np.zeros(count, np.int64)))
    texts = pa.array(connection, pa.string())
    encoded = texts.dictionary_encode()
    code = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    named = encoded.dictionary.to_pylist()
    if "" in named:
        alone = code == named.index("")
        code[alone] = len(named) + np.flatnonzero(alone)
    _, begins, inverse = np.unique(code, return_index=True, return_inverse=True)
    rank = np.empty(len(begins), np.int64)
    rank[np.argsort(begins, kind="stable")] = np.arange(len(begins))
    return rank[inverse], texts.take(pa.array(np.sort(begins)))


def check(workload: Workload) -> None:
    """Raise InputError for the first thing of a workload that cannot be, whatever the network."""
    _check_ends(workload)
    _check_connections(workload)
    _check_order(workload)
    _check_times(workload)


def _check_ends(workload: Workload) -> None:
    same = np.flatnonzero(workload.source == workload.target)
    if len(same):
        row = int(same[0])
        host = workload.host(int(workload.source[row]))
        raise workload.wrong(row, "dst", f"is src, too: {host} cannot send to itself through a network")
    if not workload.addresses:
        return
    version = np.array([6 if ":" in address else 4 for address in workload.addresses])
    mixed = np.flatnonzero(version[workload.source] != version[workload.target])
    if len(mixed):
        row = int(mixed[0])
        a, b = (workload.host(int(end[row])) for end in (workload.source, workload.target))
        raise workload.wrong(row, "dst", f"{b} is of another IP version than src {a}; give both of one")


def _check_connections(workload: Workload) -> None:
    """Flows of a connection are between the same two hosts, and pinned to the same path or none."""
    number = workload.connection
    first = first_rows(number)
    low, high = np.minimum(workload.source, workload.target), np.maximum(workload.source, workload.target)
    for wrong, column, what in (
        ((low != low[first[number]]) | (high != high[first[number]]), "connection", "is between other hosts than"),
        (workload.path != workload.path[first[number]], "path", "is pinned otherwise than"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            shared = workload.connection_name[int(number[row])].as_py()
            other = workload.name(int(first[number[row]]))
            raise workload.wrong(row, column, f"flow {workload.name(row)} {what} {other} of its connection {shared!r}")


def of_rows(workload: Workload, kept: NDArray[np.bool_]) -> Workload:
    """The rows `kept` bool[n] of a workload, which wait for none of the others; connections are numbered anew."""
    rows = np.flatnonzero(kept)
    counts = np.diff(workload.after_first)
    place = np.cumsum(kept) - 1
    first = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(counts[rows], out=first[1:])
    used, connection = np.unique(workload.connection[rows], return_inverse=True)
    return replace(
        workload,
        **{
            name: getattr(workload, name)[rows]
            for name in ("start_ns", "source", "target", "bytes", "path", "think_ns")
        },
        flow=workload.flow.take(pa.array(rows)),
        after_first=first,
        after_row=place[workload.after_row[np.repeat(kept, counts)]],
        connection=connection.astype(np.int64),
        connection_name=workload.connection_name.take(pa.array(used)),
    )


def first_rows(connection: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first flow of each connection, int64[connections]; `connection` as `Workload` has it."""
    return np.unique(connection, return_index=True)[1].astype(np.int64)


def streams(workload: Workload) -> NDArray[np.int64]:
    """The stream of each flow, int64[n]: twice its connection, and one more against the direction of its first flow."""
    forward = workload.source == workload.source[first_rows(workload.connection)[workload.connection]]
    found: NDArray[np.int64] = 2 * workload.connection + ~forward
    return found


def _check_order(workload: Workload) -> None:
    """Raise InputError if flows wait for each other, also through the order of bytes in a stream."""
    rows = np.repeat(np.arange(len(workload)), np.diff(workload.after_first))
    if not (workload.after_row >= rows).any():
        return  # what each waits for comes before it in the list, so the list is an order of them
    stream = streams(workload)
    order = np.argsort(stream, kind="stable")
    next_ones = np.flatnonzero(stream[order[1:]] == stream[order[:-1]])
    waiting = np.concatenate([rows, order[next_ones + 1]])
    awaited = np.concatenate([workload.after_row, order[next_ones]])
    circle = _circle(len(workload), waiting, awaited)
    if circle:
        said = [workload.name(row) for row in circle[:6]]
        more = f", … and {len(circle) - 6} more" if len(circle) > 6 else ""
        raise workload.wrong(
            circle[0],
            "after",
            f"flow {said[0]} waits for itself: {' after '.join([*said, *([] if more else said[:1])])}{more}; "
            "a flow of a connection is also after those before it in the same direction",
        )


def _circle(count: int, waiting: NDArray[np.int64], awaited: NDArray[np.int64]) -> list[int]:
    """Rows that wait for each other in turn, the lowest first; none if there are none (Kahn 1962)."""
    order = np.argsort(awaited, kind="stable")
    followers = waiting[order].tolist()
    begin = np.concatenate([[0], np.cumsum(np.bincount(awaited, minlength=count))]).tolist()
    left = np.bincount(waiting, minlength=count).tolist()
    ready = [row for row in range(count) if left[row] == 0]
    while ready:
        row = ready.pop()
        for follower in followers[begin[row] : begin[row + 1]]:
            left[follower] -= 1
            if left[follower] == 0:
                ready.append(follower)
    if not any(left):
        return []
    waits_for = {row: other for row, other in zip(waiting.tolist(), awaited.tolist(), strict=True) if left[other]}
    seen: dict[int, int] = {}
    row = next(row for row in range(count) if left[row])
    while row not in seen:
        seen[row] = len(seen)
        row = waits_for[row]
    circle = list(seen)[seen[row] :]
    lowest = circle.index(min(circle))
    return circle[lowest:] + circle[:lowest]


def _check_times(workload: Workload) -> None:
    """Starts and think times are bounded so that no sum of them exceeds what the engine's clock holds."""
    if float(workload.think_ns.sum(dtype=np.float64)) + float(workload.start_ns.max()) >= LATEST_NS:
        row = int(np.argmax(workload.think_ns + workload.start_ns.astype(np.float64)))
        column = "think_ns" if workload.think_ns[row] > workload.start_ns[row] else "start_ns"
        raise workload.wrong(row, column, "with all think times the list goes beyond 2^62 ns, 146 years; give less")
