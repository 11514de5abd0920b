"""Removes a testbed when the process that uses it has ended, however that happened.

Run as a process of its own, `python -m segcast.replay.live.guard NAME`: it waits until its standard input ends, which
a killed process's pipes do. If what it read is not `done`, the testbed is removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Final

_DONE: Final = b"done"
_TRIES: Final = 100


@contextlib.contextmanager
def guarded(name: str) -> Iterator[None]:
    """Have the testbed removed when this block ends, or when this process does."""
    from segcast.replay.testbed.bed import down

    reading, writing = os.pipe()
    path = os.pathsep.join(filter(None, (*sys.path, os.environ.get("PYTHONPATH"))))
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", __name__, name],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # so that Ctrl-C in a terminal does not end it
        )
    except BaseException:
        os.close(writing)
        raise
    finally:
        os.close(reading)
    try:
        try:
            yield
        finally:
            down(name)
            os.write(writing, _DONE)
    finally:
        os.close(writing)
        child.wait()


def main() -> None:
    """Wait, and remove what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == _DONE:
        return
    from segcast.replay.testbed.bed import down
    from segcast.traces.errors import InputError

    for _ in range(_TRIES):  # somebody may hold it who is about to end
        try:
            down(sys.argv[1])
            return
        except InputError:
            time.sleep(0.1)


if __name__ == "__main__":
    main()
