"""Runs calls in a thread, one after another, so that writing and computing overlap."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Self


class Background:
    """At most one call is under way; `run` waits for the one before, and raises what that raised.

    Use as a context manager: the call under way has ended when it is left, whatever happened.
    """

    def __init__(self) -> None:
        """Start without a call under way."""
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ends: SimpleQueue[BaseException | None] = SimpleQueue()
        self._pending = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for the call under way, and end the thread."""
        self._calls.put(None)
        self._thread.join()

    def run(self, call: Callable[[], None]) -> None:
        """Begin a call, once the one before has ended. Raises what that one raised."""
        self.wait()
        self._pending = True
        self._calls.put(call)

    def wait(self) -> None:
        """Wait for the call under way, and raise what it raised."""
        if self._pending:
            error = self._ends.get()
            self._pending = False
            if error is not None:
                raise error

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except BaseException as error:
                self._ends.put(error)
            else:
                self._ends.put(None)
