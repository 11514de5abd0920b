"""Processes of a replay: started in groups of their own, watched, and ended whatever happens."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from segcast.replay.inject.machines import environment
from segcast.traces.errors import InputError

_TICK_S: Final = 0.02
_KILL_AFTER_S: Final = 5.0


class Child:
    """A process with its own group; what it prints goes to the file `log`. `remote`: it ends when its input does."""

    def __init__(self, name: str, command: Sequence[str], log: Path, *, remote: bool) -> None:
        self.name = name
        self.log = log
        self._remote = remote
        with log.open("wb") as output:
            self._process = self._begun(command, output)

    def _begun(self, command: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.PIPE if self._remote else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def code(self) -> int | None:
        """The exit status of the process, None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        """The process ID."""
        return self._process.pid

    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def ask_to_end(self) -> None:
        """SIGTERM, here or there."""
        if self._remote and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        else:
            self._signal(signal.SIGTERM)

    def finish(self, patience_s: float = _KILL_AFTER_S) -> None:
        """Wait until it has ended; after `patience_s`, kill it."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _signal(self, number: int) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class Speaker(Child):
    """A process that is spoken to: a line in, a line out. What it prints on standard error goes to `log`."""

    def _begun(self, command: Sequence[str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        self._heard = b""
        return subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )

    def say(self, line: str) -> None:
        """A line to its standard input. Raises InputError if it has ended."""
        assert self._process.stdin is not None
        try:
            os.write(self._process.stdin.fileno(), f"{line}\n".encode())
        except OSError:
            raise self._gone() from None

    def hear(self, patience_s: float) -> str:
        """The next line of its standard output. Raises InputError if there is none within `patience_s`."""
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        end = time.monotonic() + patience_s
        while b"\n" not in self._heard:
            left_s = end - time.monotonic()
            if left_s <= 0 or not select.select([handle], [], [], left_s)[0]:
                raise InputError(f"{self.name} did not answer within {patience_s:.0f} s, so nothing was sent")
            more = os.read(handle, 4096)
            if not more:
                raise self._gone()
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode("utf-8", errors="replace")

    def _gone(self) -> InputError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_AFTER_S)
        return InputError(f"{self.name} ended ({_why(self)}), so nothing was sent")


class Children:
    """All processes of a replay; on leaving the context all are ended, senders before captures."""

    def __init__(self) -> None:
        self.senders: list[Child] = []
        self.captures: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_senders()
        self.end_captures()

    def end_senders(self) -> None:
        """Stop what still sends."""
        _end(self.senders)

    def end_captures(self) -> None:
        """Stop the captures, which write what they hold."""
        _end(self.captures)

    def check_captures(self) -> None:
        """Raise InputError if a capture has ended by itself."""
        for child in self.captures:
            if child.code is not None:
                raise InputError(f"the capture {child.name} ended ({_why(child)}), so the replay was stopped")

    def check_senders(self) -> None:
        """Raise InputError if a sender has failed."""
        for child in self.senders:
            if child.code not in (None, 0):
                raise InputError(f"the sender {child.name} ended ({_why(child)}), so the replay was stopped")

    def until(self, done: Callable[[], bool], seconds: float, tick: Callable[[], None] = lambda: None) -> bool:
        """Wait for `done`, watching; False after so many seconds. Raises InputError if a process fails."""
        end = time.monotonic() + seconds
        while not done():
            tick()
            self.check_captures()
            self.check_senders()
            if time.monotonic() > end:
                return False
            time.sleep(_TICK_S)
        return True


def _end(children: Sequence[Child]) -> None:
    for child in children:
        child.ask_to_end()
    for child in children:
        child.finish()


def _why(child: Child) -> str:
    lines = [line.strip() for line in child.printed().splitlines() if line.strip()]
    code = child.code or 0
    status = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
    return f"{status}: {lines[-1]}" if lines else status
