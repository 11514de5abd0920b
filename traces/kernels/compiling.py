"""Who is told that kernels are compiled: it takes seconds, once, and nothing else moves meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

Told = Callable[[str | None], None]
"""Is called with what is compiled when that begins, and with None when nothing is compiled any more."""

_GENERAL: Final = "compiling (once, about 20 s)"
_NAMED: Final = {False: "compiling {} (once, about 5 s)", True: "compiling {} (once, up to a minute)"}


class Compiling:
    """What this process compiles, by threads that may compile kernels for each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: Told | None = None
        self._under_way = 0

    @contextmanager
    def told(self, told: Told) -> Iterator[None]:
        """Tell this one, and no other, until the block ends."""
        before, self._told = self._told, told
        try:
            yield
        finally:
            self._told = before

    def begins(self, name: str = "", *, large: bool = False) -> None:
        """A kernel is compiled from now on, a `large` one; `name` is the policy that it is for, if it is for one."""
        with self._lock:
            self._under_way += 1
        if self._told is not None and (name or self._under_way == 1):
            self._told(_NAMED[large].format(name) if name else _GENERAL)

    def ends(self) -> None:
        """A kernel is compiled."""
        with self._lock:
            self._under_way = max(self._under_way - 1, 0)
            last = self._under_way == 0
        if self._told is not None and last:
            self._told(None)


COMPILING: Final = Compiling()
