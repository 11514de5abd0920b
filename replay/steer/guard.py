"""Takes a host's programs off an interface when the process that steers has ended, however that happened.

Filters of clsact stay when their process dies, unlike links of tcx. So this runs as a process of its own, `python -m
segcast.replay.steer.guard INTERFACE`, by the interface's index, in its namespace: it puts the qdisc there, says so,
and waits for its standard input, which a killed process's pipes end. Then it takes everything off again, unless it was
told to leave it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import Final

from segcast.replay.steer import clsact
from segcast.traces.errors import InputError

_READY: Final = b"ready\n"
_LEAVE: Final = b"l"
_TAKE_OFF: Final = b"t"
_PATIENCE_S: Final = 20.0


class Guard:
    """The process beside the one that steers. Made in the namespace of the interface.

    Raises OSError if no qdisc can be put there, InputError if the process does not start.
    """

    def __init__(self, interface: int) -> None:
        """Start it; from when it is ready nothing can be left behind by this process alone."""
        path = os.pathsep.join(filter(None, (*sys.path, os.environ.get("PYTHONPATH"))))
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(interface)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # so that Ctrl-C in a terminal does not end it
        )
        assert self._child.stdout is not None
        said = self._child.stdout.readline()
        if said == _READY:
            return
        self._end(_TAKE_OFF)
        if said.strip().isdigit():
            raise OSError(int(said), os.strerror(int(said)))
        raise InputError("the process that takes filters off again did not start")

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        return self._child.poll() is None

    def take_off(self) -> bool:
        """Have it take everything off, and end; whether it did."""
        return self._end(_TAKE_OFF)

    def leave(self) -> bool:
        """Have it end and leave everything attached; whether it did."""
        return self._end(_LEAVE)

    def _end(self, word: bytes) -> bool:
        with self._child:  # closes the pipes, and waits
            assert self._child.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.write(word)
                self._child.stdin.close()
            try:
                return self._child.wait(_PATIENCE_S) == 0
            except subprocess.TimeoutExpired:
                self._child.kill()
                return False


def main() -> None:
    """Put the qdisc there, wait, and take it off."""
    from segcast.replay.steer.surroundings import own_filters

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    interface = int(sys.argv[1])
    try:
        clsact.add_qdisc(interface)
    except OSError as error:
        os.write(1, b"%d\n" % (error.errno or 0))
        sys.exit(1)
    with contextlib.suppress(BrokenPipeError):
        os.write(1, _READY)
    # A byte, or the end: whoever steers may have children that hold the other end of the pipe.
    if os.read(0, 1) != _LEAVE:
        clsact.remove(interface, own_filters(interface))


if __name__ == "__main__":
    main()
