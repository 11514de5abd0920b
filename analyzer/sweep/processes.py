"""Worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Final

from segcast.analyzer.sweep.groups import Group, Timed, run_group
from segcast.analyzer.sweep.workers import Died, Workers

_MOMENT_SECONDS: Final = 0.1
_END_SECONDS: Final = 5.0


@dataclass(slots=True, eq=False)
class Asked:
    """A group that a process has, or will have; `answer` are its cells, or what they raised."""

    group: Group
    answer: Any = None


@dataclass(slots=True, eq=False)
class _Worker:
    process: BaseProcess
    connection: Connection
    asked: Asked | None = field(default=None)


class Processes(Workers):
    """Processes that each run a group at a time; one that is killed takes no other with it, and is begun anew."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[_Worker] = []
        self._waiting: deque[Asked] = deque()

    def submit(self, group: Group) -> Asked:
        """What becomes of a group."""
        asked = Asked(group)
        self._waiting.append(asked)
        self._deal()
        return asked

    def ended(self, futures: Sequence[Any]) -> list[Any]:
        """Those that are done."""
        busy = {worker.connection: worker for worker in self._workers if worker.asked is not None}
        done = []
        for connection in wait(list(busy), _MOMENT_SECONDS):
            worker = busy[connection]  # type: ignore[index]
            asked, worker.asked = worker.asked, None
            assert asked is not None
            try:
                asked.answer = worker.connection.recv()
            except (EOFError, ConnectionError):
                asked.answer = Died()
                worker.connection.close()
                worker.process.join(_END_SECONDS)
                self._workers.remove(worker)
            done.append(asked)
        self._deal()
        return done

    def result(self, future: Any) -> list[Timed]:
        """The cells of a group."""
        if isinstance(future.answer, BaseException):
            raise future.answer
        found: list[Timed] = future.answer
        return found

    def dropped(self, futures: Sequence[Any]) -> None:
        """End all processes; cells that have ended are kept, whatever became of their groups."""
        self._waiting.clear()
        for worker in self._workers:
            worker.process.terminate() if worker.asked is not None else worker.connection.close()
        for worker in self._workers:
            worker.process.join(_END_SECONDS)
            worker.connection.close()
        self._workers.clear()

    def _deal(self) -> None:
        """Give what waits to processes that have nothing, begun where there are too few."""
        while self._waiting:
            free = next((worker for worker in self._workers if worker.asked is None), None)
            if free is None:
                if len(self._workers) >= self.count:
                    return
                free = _begun()
                self._workers.append(free)
            free.asked = self._waiting.popleft()
            free.connection.send(free.asked.group)


def _begun() -> _Worker:
    # Begun afresh, not forked: threads of this process hold locks that a copy would wait for.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(connection: Connection) -> None:
    """Run groups until nobody asks any more. An interruption is for who asks: they end this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            group = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            answer: Any = run_group(group)
        except Exception as error:
            answer = error
        connection.send(answer)
