"""Network namespaces: making and entering them, their settings, who lives in them, and removing them in any state."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from segcast.replay.inject.machines import environment
from segcast.traces.errors import InputError

FOLDER: Final = Path("/run/netns")

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_MNT_DETACH: Final = 2
_SIOCETHTOOL: Final = 0x8946
_OFFLOADS: Final = (0x17, 0x1F, 0x24, 0x2C)  # ETHTOOL_STXCSUM, STSO, SGSO, SGRO
_PATIENCE_S: Final = 10.0


def spaces(prefix: str) -> list[str]:
    """Names of the namespaces that begin with `prefix`, in order of name."""
    if not FOLDER.is_dir():
        return []
    return sorted(entry.name for entry in FOLDER.iterdir() if entry.name.startswith(prefix))


def create(name: str) -> None:
    """Make a namespace, as `ip netns` does. Raises OSError."""
    run = subprocess.run(["ip", "netns", "add", name], env=environment(), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise OSError(errno.EPERM if "permitted" in run.stderr else errno.EIO, run.stderr.strip(), name)


def within(space: str, work: Callable[[], T]) -> T:
    """Do `work` in a namespace, in a thread of its own: only that thread enters it. Raises what `work` raises."""
    outcome: list[Any] = []
    libc = ctypes.CDLL(None, use_errno=True)

    def enter() -> None:
        try:
            handle = os.open(FOLDER / space, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if libc.setns(handle, _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), str(FOLDER / space))
            finally:
                os.close(handle)
            outcome.extend((work(), None))
        except BaseException as error:
            outcome.extend((None, error))

    thread = threading.Thread(target=enter, name=f"in {space}")
    thread.start()
    thread.join()
    value, failure = outcome
    if failure is not None:
        raise failure
    result: T = value
    return result


def settle(settings: Mapping[str, str]) -> None:
    """Write settings below /proc/sys/net of the namespace that the calling thread is in."""
    for name, value in settings.items():
        Path("/proc/sys/net", name).write_text(value)


def no_offloads(interfaces: Sequence[str]) -> None:
    """Have frames handed on as they are on a wire: a shaper would count a super-frame as one. Unsupported ones stay."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for interface in interfaces:
            for command in _OFFLOADS:
                value = ctypes.create_string_buffer(struct.pack("II", command, 0))
                request = struct.pack("16sP", interface.encode(), ctypes.addressof(value)) + bytes(16)
                with contextlib.suppress(OSError):
                    fcntl.ioctl(control, _SIOCETHTOOL, request)


def inhabitants(names: Sequence[str]) -> list[int]:
    """Processes in any of these namespaces."""
    homes = set()
    for name in names:
        with contextlib.suppress(OSError):
            about = (FOLDER / name).stat()
            homes.add((about.st_dev, about.st_ino))
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                about = (process / "ns" / "net").stat()
                if (about.st_dev, about.st_ino) in homes and int(process.name) != os.getpid():
                    found.append(int(process.name))
    return found


def evict(names: Sequence[str]) -> int:
    """End the processes in these namespaces, first kindly; returns how many there were.

    Raises InputError if one stays.
    """
    there = inhabitants(names)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in inhabitants(names):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
        for _ in _until(2.0 if number == signal.SIGTERM else _PATIENCE_S):
            if not inhabitants(names):
                return len(there)
    raise InputError(f"process {inhabitants(names)[0]} in a namespace of the testbed does not end")


def _until(seconds: float) -> Iterator[None]:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.02)


def remove(name: str) -> None:
    """Remove a namespace, also one that a crash left half made. Its interfaces, routes and shapers go with it."""
    path = FOLDER / name
    libc = ctypes.CDLL(None, use_errno=True)
    while libc.umount2(os.fsencode(path), _MNT_DETACH) == 0:
        pass
    if ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    path.unlink(missing_ok=True)
