"""What SIGINT, SIGTERM and SIGHUP do to a command."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if sys.platform == "linux" else ()


class Interruption:
    """SIGINT, SIGTERM and SIGHUP, once: a second one must not stop the clean-up that the first has started."""

    def __init__(self) -> None:
        self._seen = False
        self._deferred = False
        self.installed = False

    def install(self) -> None:
        """Handle the signals from now on: the process is this command's. Under nohup SIGHUP stays ignored."""
        self.installed = True
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def end(self) -> None:
        """Ignore the signals from now on, if they were handled: what is left to do is to exit by the status decided."""
        for number in _SIGNALS if self.installed else ():
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Leave it to `check` to raise: an exception amid the hand-over of work to threads could leave a lock taken."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    @property
    def seen(self) -> bool:
        """Whether one of the signals has come."""
        return self._seen

    def check(self) -> None:
        """Raise what was deferred, or swallowed by a library's callback."""
        if self._seen:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: object) -> None:
        self._seen = True
        self.end()
        if not self._deferred:
            raise KeyboardInterrupt


INTERRUPTION: Final = Interruption()
