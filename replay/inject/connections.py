"""Machines behind ssh: one connection to each for all that a replay does there, and a folder there for its time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from segcast.traces.errors import InputError

FAR_PREFIX: Final = "/tmp/segcast-run-"

_OPTIONS: Final = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ConnectTimeout=30")
_PATIENCE_S: Final = 60.0
_TICK_S: Final = 0.01


def ssh_command(target: str) -> list[str]:
    """How ssh is called for a machine: over the connection that is open, else over one of its own."""
    return ["ssh", *_OPTIONS, "-o", "ControlMaster=no", "-o", f"ControlPath={_socket(target)}", target, "--"]


@contextlib.contextmanager
def connected(targets: Iterable[str]) -> Iterator[None]:
    """One connection to each machine, open meanwhile; it ends with this process, whatever ends that.

    Where none can be opened, `ssh_command` connects by itself, and says what is wrong.
    """
    masters = []
    try:
        for target in dict.fromkeys(targets):
            socket = _socket(target)
            _make_folder(socket.parent)
            command = ["ssh", *_OPTIONS, "-o", "ControlMaster=yes", "-o", "ControlPersist=no"]
            command += ["-o", f"ControlPath={socket}", "-N", "--", target]
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            masters.append((process, socket))
        end = time.monotonic() + _PATIENCE_S
        for process, socket in masters:
            while not socket.exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(_TICK_S)
        yield
    finally:
        for process, _ in masters:
            process.terminate()
        for process, socket in masters:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            if process.poll() is None:
                process.kill()
                process.wait()
            socket.unlink(missing_ok=True)
        for folder in {socket.parent for _, socket in masters}:
            with contextlib.suppress(OSError):
                folder.rmdir()  # unless another replay uses it


def keeping() -> list[str]:
    """A command that makes a folder that nobody else can guess or read, names it, and removes it when its input ends.

    The folder names this command's process, so that what is left over can be told from what is in use.
    """
    script = (
        f"umask 077; d=$(mktemp -d {FAR_PREFIX}XXXXXXXXXXXX) || exit 1; "
        'trap \'rm -rf "$d"\' EXIT; trap "exit 0" HUP TERM; echo $$ > "$d/.keeper"; echo "$d"; cat > /dev/null'
    )
    return ["sh", "-c", script]


def clearing() -> list[str]:
    """A command that removes the folders whose keeper is gone, and prints `removed FOLDER` or `in use FOLDER`."""
    script = (
        f'for d in {FAR_PREFIX}????????????; do [ -d "$d" ] && [ -O "$d" ] && [ ! -L "$d" ] || continue; '
        'k=$(cat "$d/.keeper" 2>/dev/null); '
        'if [ -n "$k" ] && grep -q segcast "/proc/$k/cmdline" 2>/dev/null; then echo "in use $d"; '
        'else rm -rf "$d" && echo "removed $d"; fi; done; exit 0'
    )
    return ["sh", "-c", script]


def _socket(target: str) -> Path:
    digest = hashlib.blake2b(target.encode(), digest_size=6).hexdigest()
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "segcast" if base else Path(tempfile.gettempdir()) / f"segcast-ssh-{os.getuid()}"
    return folder / f"{os.getpid()}-{digest}"


def _make_folder(folder: Path) -> None:
    """Make the folder of sockets, or raise InputError if somebody else could use it."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise InputError(f"{folder}: is not a folder of yours alone, so no connection can be kept there; remove it")
