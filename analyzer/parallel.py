"""Work on all cores, with results in order, bounded memory, and an end within a moment of being asked for."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from typing import Final, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_TICK_SECONDS: Final = 0.1


def usable_cores() -> int:
    """How many cores this process may run on; all of the machine's where the system does not tell."""
    allowed = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int, tick: Callable[[], object]
) -> Iterator[Result]:
    """Results of `function` on each of `items`, in their order; `function` must let go of the GIL to gain from threads.

    At most twice as many items as threads are begun and not yet taken. `tick` is called several times a second while
    waiting; if it raises, what has not begun never will, and the exception passes on once what runs has ended.
    """
    pool = ThreadPoolExecutor(threads)
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) >= 2 * threads:
                yield _taken(begun.popleft(), tick)
        while begun:
            yield _taken(begun.popleft(), tick)
    finally:
        pool.shutdown(cancel_futures=True)


def _taken(future: Future[Result], tick: Callable[[], object]) -> Result:
    while True:
        tick()
        try:
            return future.result(_TICK_SECONDS)
        except NotYet:
            if future.done():
                return future.result()
