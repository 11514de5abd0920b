"""Sends a flow list over real TCP: one loop over all sockets, which starts flows, sends, receives and keeps the time.

The rules of docs/transport.md, section Messages and connections, are those of this loop: what a connection opens for,
in which order its bytes leave, what waits for what. Everything below the sockets is the kernel's.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import errno
import gc
import heapq
import itertools
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.workload.table import Workload
from segcast.replay.live.plan import Connection
from segcast.replay.live.sockets import Sockets, abandon
from segcast.replay.live.tcp_info import NOTHING_SENT, Sent, sent_so_far, tcp_info

Timed = tuple[int, Callable[[int], None]]
"""What is to be done so many ns after the first start of a list."""

_CHUNK: Final = 1 << 20
_SPIN_NS: Final = 1_000_000  # epoll counts in ms: what is left of a wait is spent looking
_SETTLE_S: Final = 0.3  # for the last acknowledgements, before counters of connections are read
_PRIORITY: Final = 5
_TICK_NS: Final = 500_000_000
_ZEROS: Final = bytes(_CHUNK)


class Result(NamedTuple):
    """What became of each row of a list, int64[rows], in ns from the list's time 0; -1: it never came to that.

    `due_ns`: when it was to be asked for; `asked_ns`: when it was; `complete_ns`: its last byte was received. `sent`:
    what its sender had sent again by then on its connection, of the last row of a direction when all was over; None: it
    was never asked for, or its connection failed before. Of each connection `info` has what the kernel says of its two
    ends when all is over, and `opened` when it had just opened; None: it never did. `unfinished_why` says why the list
    was not finished, `zero_ns` is the list's time 0 by CLOCK_MONOTONIC.
    """

    due_ns: NDArray[np.int64]
    asked_ns: NDArray[np.int64]
    complete_ns: NDArray[np.int64]
    sent: list[Sent | None]
    info: list[tuple[dict[str, int] | None, dict[str, int] | None]]
    opened: list[tuple[dict[str, int] | None, dict[str, int] | None]]
    unfinished_why: str | None
    zero_ns: int


def send_list(
    workload: Workload,
    connections: Sequence[Connection],
    half_of_row: NDArray[np.int64],
    sockets: Sockets,
    patience_s: float,
    tick: Callable[[int], None] = lambda passed_ns: None,
    timed: Sequence[Timed] = (),
) -> Result:
    """Send all flows of a list, and return when they have arrived, `patience_s` are over, or nothing can come any more.

    `tick` is told twice a second how much time has passed. Of `timed`, in order of time, each is called when so many ns
    have passed, and told how many did. The sockets are closed. Runs at real-time priority where it may.
    """
    loop = _Loop(workload, connections, half_of_row, sockets)
    try:
        with _undisturbed():
            return loop.run(patience_s, tick, collections.deque(timed))
    finally:
        loop.close()


class _Half:
    """One direction of a connection: what is to be sent, and what has arrived. Rows are in the order of the list."""

    __slots__ = ("asked", "done", "left", "received", "rows", "sizes")

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.sizes: list[int] = []
        self.asked = self.done = 0  # how many rows were asked for, and have arrived
        self.left = self.received = 0  # bytes to hand to the kernel; bytes of the first row that has not arrived


class _Loop:
    def __init__(
        self, workload: Workload, connections: Sequence[Connection], half_of_row: NDArray[np.int64], sockets: Sockets
    ) -> None:
        count, rows = len(connections), len(workload)
        self._sockets = sockets
        self._servers: list[socket.socket | None] = [None] * count
        self._open = [[False, False] for _ in range(count)]
        self._asked_to_open = [False] * count
        self._halves = [_Half() for _ in range(2 * count)]
        self._half_of_row = half_of_row.tolist()
        for row, (half, size) in enumerate(zip(self._half_of_row, workload.bytes.tolist(), strict=True)):
            self._halves[half].rows.append(row)
            self._halves[half].sizes.append(size)
        self._ends = {(each.ends[1], each.ends[0]): number for number, each in enumerate(connections)}
        self._targets = [each.ends[1] for each in connections]
        first, followers = workload.followers()
        self._first, self._followers = first.tolist(), followers.tolist()
        self._waits = np.diff(workload.after_first).tolist()
        self._start, self._think = workload.start_ns.tolist(), workload.think_ns.tolist()
        self._ready = [False] * rows
        self._due, self._asked, self._complete = ([-1] * rows for _ in range(3))
        self._timers = [(start, row) for row, start in enumerate(self._start) if not self._waits[row]]
        heapq.heapify(self._timers)
        self._left = rows
        self._lost = [False] * rows
        self._sent: list[Sent | None] = [None] * rows
        self._info: list[list[dict[str, int] | None]] = [[None, None] for _ in range(count)]
        self._opened: list[list[dict[str, int] | None]] = [[None, None] for _ in range(count)]
        self._epoll = select.epoll()
        self._files: dict[int, tuple[int, int]] = {}  # by descriptor: connection and side, or -1 and a listener
        self._zero_ns = 0
        self._why: str | None = None

    def run(self, patience_s: float, tick: Callable[[int], None], timed: collections.deque[Timed]) -> Result:
        """Send, receive, and keep the time, until all is done."""
        for place, listener in enumerate(self._sockets.listeners):
            self._files[listener.fileno()] = (-1, place)
            self._epoll.register(listener, select.EPOLLIN)
        origin = self._timers[0][0] if self._timers else 0
        self._zero_ns = time.monotonic_ns() - origin
        end_ns = origin + round(patience_s * 1e9)
        next_tick_ns = origin
        while self._left:
            now_ns = self._now()
            if now_ns >= next_tick_ns:
                tick(now_ns - origin)
                next_tick_ns = now_ns + _TICK_NS
            while timed and origin + timed[0][0] <= now_ns:
                timed.popleft()[1](now_ns - origin)
            if now_ns >= end_ns:
                self._why = self._why or f"it was not done after {patience_s:g} s"
                break
            while self._timers and self._timers[0][0] <= now_ns:
                due_ns, row = heapq.heappop(self._timers)
                self._due[row] = due_ns
                self._ready[row] = True
                self._ask(self._half_of_row[row])
            awaited = [timer[0] for timer in self._timers[:1]] + [
                origin + each for each, _ in itertools.islice(timed, 1)
            ]
            until_ns = min(end_ns, next_tick_ns, *awaited)
            wait_ns = until_ns - self._now()
            whole_ms = max(0, wait_ns - _SPIN_NS // 2) // 1_000_000
            for file, events in self._epoll.poll(whole_ms / 1000):
                self._handle(file, events)
        time.sleep(_SETTLE_S)
        for number, ends in enumerate(self._info):
            for side in (0, 1):
                each = self._socket(number, side)
                if each is not None and self._open[number][side]:
                    ends[side] = tcp_info(each)
                    half = self._halves[2 * number + side]
                    if half.asked:
                        self._sent[half.rows[half.asked - 1]] = sent_so_far(each)
        arrays = [np.array(column, np.int64) for column in (self._due, self._asked, self._complete)]
        info, opened = ([(a, b) for a, b in each] for each in (self._info, self._opened))
        return Result(arrays[0], arrays[1], arrays[2], self._sent, info, opened, self._why, self._zero_ns)

    def close(self) -> None:
        """Close all sockets."""
        self._epoll.close()
        for each in self._servers:
            if each is not None:
                abandon(each)
        self._sockets.close()

    def _now(self) -> int:
        return time.monotonic_ns() - self._zero_ns

    def _socket(self, number: int, side: int) -> socket.socket | None:
        return self._servers[number] if side else self._sockets.clients[number]

    def _ask(self, half: int) -> None:
        """Ask for the rows of a half that are ready, as far as those before them were asked for."""
        mine = self._halves[half]
        number, side = divmod(half, 2)
        while mine.asked < len(mine.rows) and self._ready[mine.rows[mine.asked]]:
            self._asked[mine.rows[mine.asked]] = self._now()
            mine.left += mine.sizes[mine.asked]
            mine.asked += 1
        if not self._asked_to_open[number]:
            self._asked_to_open[number] = True
            self._connect(number)
        elif self._open[number][side]:
            self._send(number, side)

    def _connect(self, number: int) -> None:
        client = self._sockets.clients[number]
        self._files[client.fileno()] = (number, 0)
        code = client.connect_ex(self._targets[number])
        if code not in (0, errno.EINPROGRESS):
            self._fail(number, OSError(code, os.strerror(code)))
            return
        self._epoll.register(client, select.EPOLLIN | select.EPOLLOUT)

    def _handle(self, file: int, events: int) -> None:
        number, side = self._files[file]
        if number < 0:
            self._accept(self._sockets.listeners[side])
            return
        mine = self._socket(number, side)
        assert mine is not None
        try:
            if not self._open[number][side] and events & select.EPOLLOUT:
                code = mine.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, os.strerror(code))
                self._opens(number, side)
            if events & (select.EPOLLIN | select.EPOLLERR | select.EPOLLHUP):
                self._receive(number, side, mine)
            if events & select.EPOLLOUT and self._open[number][side]:
                self._send(number, side)
        except OSError as error:
            self._fail(number, error)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                served, address = listener.accept()
                here, there = listener.getsockname()[:2], address[:2]
                number = self._ends.get((here, there), -1)
                if number < 0 or self._servers[number] is not None:
                    abandon(served)  # nobody of ours
                    continue
                served.setblocking(False)
                self._servers[number] = served
                self._files[served.fileno()] = (number, 1)
                self._epoll.register(served, select.EPOLLIN)
                self._opens(number, 1)
                self._send(number, 1)

    def _opens(self, number: int, side: int) -> None:
        self._open[number][side] = True
        mine = self._socket(number, side)
        assert mine is not None
        self._opened[number][side] = tcp_info(mine)

    def _send(self, number: int, side: int) -> None:
        """Hand over as much as the kernel takes; it says when it takes more."""
        half, mine = self._halves[2 * number + side], self._socket(number, side)
        assert mine is not None
        with contextlib.suppress(BlockingIOError):
            while half.left:
                more = socket.MSG_MORE if half.left > _CHUNK else 0
                half.left -= mine.send(memoryview(_ZEROS)[: min(half.left, _CHUNK)], more)
        self._epoll.modify(mine, select.EPOLLIN | (select.EPOLLOUT if half.left else 0))

    def _receive(self, number: int, side: int, mine: socket.socket) -> None:
        """Take what has arrived, without looking at it, and note which rows it completes."""
        half = self._halves[2 * number + 1 - side]
        taken = mine.recv_into(_room, _CHUNK, socket.MSG_TRUNC)
        if not taken:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        now_ns = self._now()
        half.received += taken
        while half.done < len(half.rows) and half.received >= half.sizes[half.done]:
            half.received -= half.sizes[half.done]
            sender = self._socket(number, 1 - side)
            self._sent[half.rows[half.done]] = sent_so_far(sender) if sender is not None else NOTHING_SENT
            self._completes(half.rows[half.done], now_ns)
            half.done += 1

    def _completes(self, row: int, now_ns: int) -> None:
        self._complete[row] = now_ns
        self._left -= 1
        for other in self._followers[self._first[row] : self._first[row + 1]]:
            self._waits[other] -= 1
            if not self._waits[other]:
                heapq.heappush(self._timers, (max(self._start[other], now_ns + self._think[other]), other))

    def _fail(self, number: int, error: OSError) -> None:
        """Give a connection up: what it was to carry, and what waits for that, never comes."""
        for side in (0, 1):
            mine = self._socket(number, side)
            if mine is not None and mine.fileno() >= 0:
                with contextlib.suppress(OSError):
                    self._epoll.unregister(mine)
                self._open[number][side] = False
        lost = [row for half in self._halves[2 * number : 2 * number + 2] for row in half.rows[half.done :]]
        if lost:
            self._why = self._why or f"the connection of row {min(lost)} failed: {error.strerror}"
        while lost:
            row = lost.pop()
            if not self._lost[row]:
                self._lost[row] = True
                self._left -= 1
                lost += self._followers[self._first[row] : self._first[row + 1]]
                rows = self._halves[self._half_of_row[row]].rows
                lost += rows[bisect.bisect(rows, row) :]


_room = bytearray(_CHUNK)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Without pauses for garbage, and before other processes where that is allowed."""
    collecting = gc.isenabled()
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    gc.disable()
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, *before)
        if collecting:
            gc.enable()
