"""Streams packets through a cell in bounded memory: keeps only those whose fate is open, and hands out the others.

The engine names packets by their row in a window. When the first rows are finished they are handed out and the rest
moves to the front; the network names them by numbers that stay. So memory follows what is in the network (and, where
losses are learned by timeouts, what was sent within one), not the trace.

A packet that stays long would hold all that were sent after it. So a window that has grown is *sifted*: it keeps the
open packets and those behind an open one of their flow, and hands out the rest. The rows kept close up, in order, and
what is under way of them gets new numbers, so the event loop never knows. Each flow's packets still come in send order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.calendar import NUMBERS
from segcast.analyzer.engine.cell import Cell, HeldByCell, check_packets
from segcast.analyzer.packets import DROPPED, RECEIVED, RELEASED, Awaited, Fates, Packets, empty_fates
from segcast.traces.errors import InputError
from segcast.traces.jit import int64, kernel

BATCH_PACKETS: Final = 1 << 18
_LITTLE: Final = 4  # times as many rows left as taken


@kernel
def finished(state: NDArray[np.uint8], begin: int, stop: int) -> int:
    """The first row from `begin` on whose packet is under way, or whose bytes are still counted in flight."""
    row = begin
    while row < stop and state[row] & (RECEIVED | DROPPED) != 0 and state[row] & RELEASED != 0:
        row += 1
    return row


@kernel
def _sift(
    flow: NDArray[np.uint32], state: NDArray[np.uint8], waits: NDArray[np.bool_], kept: NDArray[np.bool_]
) -> None:
    """Mark the rows that stay: whose packet, or an earlier one of its flow, is open. `waits` is False by flow."""
    for row in range(len(state)):
        if state[row] & (RECEIVED | DROPPED) == 0 or state[row] & RELEASED == 0:
            waits[flow[row]] = True
        kept[row] = waits[flow[row]]


@kernel
def _first_of_flows(flow: NDArray[np.uint32], seen: NDArray[np.bool_], first: NDArray[np.bool_]) -> None:
    """Mark the first row of each flow. `seen` is False by flow."""
    for row in range(len(flow)):
        first[row] = not seen[flow[row]]
        seen[flow[row]] = True


@kernel
def _rename(events: NDArray[np.void], first_id: int, number: NDArray[np.int64]) -> None:
    """Give the packets of events, which were numbered by row from `first_id` on, the number of their row."""
    for event in range(len(events)):
        row = (int64(events[event].packet) - first_id) & NUMBERS
        if row < len(number):
            events[event].packet = np.uint32(number[row] & NUMBERS)


class HeldByWindow(NamedTuple):
    """What a window holds: that of its cell, the packets with their fates so far, and `place` int64[4]: whether any
    packet came, the time of the last, how many rows are behind, and the most before it is sifted.
    """

    cell: HeldByCell
    packets: Packets
    fates: Fates
    place: NDArray[np.int64]


class Window:
    """The packets of a cell whose fates are open, and those finished but not yet handed out.

    Of what was fed before it holds no more than `capacity`, or twice the packets that were open or behind an open one
    of their flow when it was sifted last. If `in_order` it keeps finished packets until all before them are.
    """

    def __init__(self, cell: Cell, capacity: int = BATCH_PACKETS, *, in_order: bool = False) -> None:
        """An empty window. Raises InputError if the cell needs a schedule of releases, which only a whole trace has."""
        if cell.schedules_releases:
            raise InputError('ack = "recorded" needs the whole trace in memory; use another')
        self.cell = cell
        self._least = self._capacity = max(capacity, 1)
        self._in_order = in_order
        self._packets, self._fates = _allocate(self._capacity)
        self._rows = 0
        self._last_ns: int | None = None
        self._behind = 0  # of the rows, the first: sent before something that was handed out
        self._limit = self._least  # with more rows it is sifted
        self._awaited = self._will_come = Awaited.nothing()
        self._paths = np.empty(0, np.uint16)

    @property
    def open_packets(self) -> int:
        """Packets held: those under way, and those that wait for an earlier one."""
        return self._rows

    @property
    def paths(self) -> NDArray[np.uint16]:
        """The paths of the packets fed last."""
        return self._paths

    @property
    def awaited(self) -> Awaited:
        """Flows of which some packets come later than others that were sent after them, while it last handed out."""
        return self._awaited

    def feed(self, packets: Packets) -> tuple[Packets, Fates]:
        """Send packets, which follow those sent before; the finished ones (copies), each flow's in send order.

        Raises InputError as `check_packets`, and if they do not follow in time.
        """
        count = len(packets.send_ns)
        self._paths = np.empty(0, np.uint16)
        if count == 0:
            return self._hand_out()
        check_packets(self.cell.network, packets, self.cell.loss_timeout_ns)
        if self._last_ns is not None and int(packets.send_ns[0]) < self._last_ns:
            raise InputError("packets are not in send order between batches; sort them by time first")
        self._last_ns = int(packets.send_ns[-1])
        self._make_room(count)
        here = slice(self._rows, self._rows + count)
        for mine, given in zip(_columns(self._packets), _columns(packets), strict=True):
            mine[here] = given
        self._rows = here.stop
        self.cell.run(*self._views(), self._rows)
        self._paths = self._fates.path[here].copy()
        return self._hand_out()

    def drain(self) -> tuple[Packets, Fates]:
        """Let everything in the network arrive; the packets that were open."""
        self.cell.drain(*self._views())
        self._paths = np.empty(0, np.uint16)
        return self._hand_out(everything=True)

    @property
    def identity(self) -> str:
        """That of its cell."""
        return self.cell.identity

    @property
    def held(self) -> HeldByWindow:
        """All that it and its cell hold between batches (views); a new window of the same identity may be given it."""
        place = np.array([self._last_ns is not None, self._last_ns or 0, self._behind, self._limit], np.int64)
        return HeldByWindow(self.cell.own, *self._views(), place)

    @held.setter
    def held(self, held: HeldByWindow) -> None:
        self.cell.own = held.cell
        self._rows = 0
        self._make_room(len(held.packets.flow))
        self._rows = len(held.packets.flow)
        for mine, given in zip(_columns(self._packets, self._fates), _columns(held.packets, held.fates), strict=True):
            mine[: self._rows] = given
        self._last_ns = int(held.place[1]) if held.place[0] else None
        self._behind, self._limit = int(held.place[2]), int(held.place[3])
        self._will_come = self._first_behind()

    def _views(self) -> tuple[Packets, Fates]:
        return _cut(self._packets, 0, self._rows), _cut(self._fates, 0, self._rows)

    def _hand_out(self, everything: bool = False) -> tuple[Packets, Fates]:
        """Copies of finished rows; the others close up."""
        done = self._rows if everything else finished(self._fates.state, 0, self._rows)
        left = self._rows - done
        if left > self._limit and not self._in_order:
            return self._handed(self._sift())
        if left > _LITTLE * done and (self._in_order or self._rows <= self._limit):
            done = 0  # all that is left would be moved for little, each time
        else:
            self._limit = max(self._least, min(self._limit, 2 * left))
        return self._handed(self._first(done))

    def _handed(self, out: tuple[Packets, Fates]) -> tuple[Packets, Fates]:
        """Note what of these packets' flows comes later."""
        before = self._will_come
        if len(out[0].flow):
            self._will_come = self._first_behind()
        self._awaited = before.with_more(self._will_come)
        return out

    def _first(self, done: int) -> tuple[Packets, Fates]:
        """Take the first rows."""
        out = _copy(_cut(self._packets, 0, done)), _copy(_cut(self._fates, 0, done))
        left = self._rows - done
        if done:
            for column in _columns(self._packets, self._fates):
                column[:left] = column[done : self._rows]
            progress = self.cell.state.progress
            progress["next_expiry"] = np.maximum(progress["next_expiry"] - done, 0)
            self._taken(done)
            self._behind = max(self._behind - done, 0)
        return out

    def _sift(self) -> tuple[Packets, Fates]:
        """Take all rows but those that are open or behind an open one of their flow."""
        views, state = self._views(), self.cell.state
        kept = np.empty(self._rows, np.bool_)
        _sift(views[0].flow, views[1].state, np.zeros(len(state.flows), np.bool_), kept)
        out = _but(views[0], kept), _but(views[1], kept)
        stays = np.flatnonzero(kept)
        for column in _columns(*views):
            column[: len(stays)] = column[stays]
        done, first_id = self._rows - len(stays), int(state.progress["first_id"][0])
        _rename(state.calendar.events, first_id, first_id + done + np.cumsum(kept) - 1)
        state.progress["next_expiry"] = np.searchsorted(stays, state.progress["next_expiry"])
        self._taken(done)
        if done:
            self._behind = self._rows
        self._limit = max(self._least, 2 * self._rows)
        return out

    def _taken(self, done: int) -> None:
        progress = self.cell.state.progress
        progress["first_id"] += done
        progress["next_packet"] -= done
        self._rows -= done

    def _first_behind(self) -> Awaited:
        """The flows of rows that are behind, and when their first was sent."""
        if self._behind == 0:
            return Awaited.nothing()
        flow = self._packets.flow[: self._behind]
        first = np.empty(self._behind, np.bool_)
        _first_of_flows(flow, np.zeros(len(self.cell.state.flows), np.bool_), first)
        return Awaited(flow[first], self._packets.send_ns[: self._behind][first])

    def _make_room(self, count: int) -> None:
        needed = self._rows + count
        if needed <= self._capacity:
            return
        self._capacity = max(needed, 2 * self._capacity)
        packets, fates = _allocate(self._capacity)
        for new, old in zip(_columns(packets, fates), _columns(self._packets, self._fates), strict=True):
            new[: self._rows] = old[: self._rows]
        self._packets, self._fates = packets, fates


def _allocate(capacity: int) -> tuple[Packets, Fates]:
    packets = Packets(np.empty(capacity, np.int64), np.empty(capacity, np.uint32), np.empty(capacity, np.uint32))
    return packets, empty_fates(capacity)


def _columns(*parts: Packets | Fates) -> list[NDArray[Any]]:
    return [column for part in parts for column in part]


def _cut(columns: Any, begin: int, stop: int) -> Any:
    return type(columns)._make(column[begin:stop] for column in columns)


def _but(columns: Any, kept: NDArray[np.bool_]) -> Any:
    return type(columns)._make(column[~kept] for column in columns)


def _copy(columns: Any) -> Any:
    return type(columns)._make(column.copy() for column in columns)


def stream(cell: Cell, batches: Iterable[Packets]) -> Iterator[tuple[Packets, Fates]]:
    """Packets and their fates, each flow's in send order, of batches that follow each other in time: see `Window`."""
    window = Window(cell)
    for batch in batches:
        for begin in range(0, len(batch.send_ns), BATCH_PACKETS):
            yield window.feed(_cut(batch, begin, begin + BATCH_PACKETS))
    yield window.drain()
