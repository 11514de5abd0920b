"""Streams packets through a cell in bounded memory: keeps only those whose fate is open, hands out the others in order.

The engine names packets by their row in a window. When the first rows are finished they are handed out and the rest
moves to the front; the network names them by numbers that stay. So memory follows what is in the network (and, where
losses are learned by timeouts, what was sent within one), not the trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell, check_packets
from segcast.analyzer.packets import DROPPED, RECEIVED, RELEASED, Fates, Packets, empty_fates
from segcast.traces.errors import InputError
from segcast.traces.jit import kernel

BATCH_PACKETS: Final = 1 << 18


@kernel
def finished(state: NDArray[np.uint8], begin: int, stop: int) -> int:
    """The first row from `begin` on whose packet is under way, or whose bytes are still counted in flight."""
    row = begin
    while row < stop and state[row] & (RECEIVED | DROPPED) != 0 and state[row] & RELEASED != 0:
        row += 1
    return row


class Window:
    """The packets of a cell whose fates are open, and those finished but not yet handed out."""

    def __init__(self, cell: Cell, capacity: int = BATCH_PACKETS) -> None:
        """An empty window. Raises InputError if the cell needs a schedule of releases, which only a whole trace has."""
        if cell.schedules_releases:
            raise InputError('ack = "recorded" needs the whole trace in memory; use another')
        self.cell = cell
        self._capacity = max(capacity, 1)
        self._packets, self._fates = _allocate(self._capacity)
        self._rows = 0
        self._last_ns: int | None = None

    @property
    def open_packets(self) -> int:
        """Packets held: those under way, and those that wait for an earlier one."""
        return self._rows

    def feed(self, packets: Packets) -> tuple[Packets, Fates]:
        """Send packets, which follow those sent before; the finished ones, in send order (copies).

        Raises InputError as `check_packets`, and if they do not follow in time.
        """
        count = len(packets.send_ns)
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
        return self._hand_out()

    def drain(self) -> tuple[Packets, Fates]:
        """Let everything in the network arrive; the packets that were open."""
        self.cell.drain(*self._views())
        return self._hand_out(everything=True)

    def rows(self) -> tuple[Packets, Fates]:
        """The packets held and their fates so far (views)."""
        return self._views()

    @property
    def place(self) -> NDArray[np.int64]:
        """Whether any packet came, and the time of the last: with `rows`, all that the window itself holds."""
        return np.array([self._last_ns is not None, self._last_ns or 0], np.int64)

    def restore(self, packets: Packets, fates: Fates, place: NDArray[np.int64]) -> None:
        """Hold what another window of the same cell held."""
        self._rows = 0
        self._make_room(len(packets.flow))
        self._rows = len(packets.flow)
        for mine, given in zip(_columns(self._packets, self._fates), _columns(packets, fates), strict=True):
            mine[: self._rows] = given
        self._last_ns = int(place[1]) if place[0] else None

    def _views(self) -> tuple[Packets, Fates]:
        return _cut(self._packets, 0, self._rows), _cut(self._fates, 0, self._rows)

    def _hand_out(self, everything: bool = False) -> tuple[Packets, Fates]:
        """Copies of the finished rows; the others move to the front."""
        done = self._rows if everything else finished(self._fates.state, 0, self._rows)
        out = tuple(type(rows)._make(c[:done].copy() for c in rows) for rows in (self._packets, self._fates))
        left = self._rows - done
        if done:
            for column in (*self._packets, *self._fates):
                column[:left] = column[done : self._rows]
            state = self.cell.state
            state.progress["first_id"] += done
            state.progress["next_packet"] -= done
            state.progress["next_expiry"] = np.maximum(state.progress["next_expiry"] - done, 0)
            self._rows = left
        return out  # type: ignore[return-value]

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


def stream(cell: Cell, batches: Iterable[Packets]) -> Iterator[tuple[Packets, Fates]]:
    """Packets and their fates, in send order, of batches that follow each other in time: see `Window`."""
    window = Window(cell)
    for batch in batches:
        for begin in range(0, len(batch.send_ns), BATCH_PACKETS):
            yield window.feed(_cut(batch, begin, begin + BATCH_PACKETS))
    yield window.drain()
