"""Runs a command on a kernel that refuses commands of bpf(2), as older ones do: by a filter of seccomp(2).

`python -m tests.support.refusing 28,16 EINVAL COMMAND...`; `all` refuses every one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

_NUMBERS = {"x86_64": 321, "aarch64": 280}
_SECCOMP_MODE_FILTER, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 2, 22, 38
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _FIRST_ARGUMENT_AT = 0, 16  # struct seccomp_data
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def instruction(code: int, value: int, if_so: int = 0, if_not: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_so, if_not, value)


def refuse(commands: list[int] | None, code: int) -> None:
    """Have these commands of bpf(2), or all, fail with an error in this process and its children."""
    listed = commands or []
    lines = [instruction(_LOAD, _NUMBER_AT), instruction(_EQUAL, _NUMBERS[platform.machine()], 1), b""]
    lines += [instruction(_LOAD, _FIRST_ARGUMENT_AT)] if commands else []
    lines += [instruction(_EQUAL, each, len(listed) - place, 0) for place, each in enumerate(listed)]
    lines[2] = instruction(_RETURN, _ALLOW)
    lines += [instruction(_RETURN, _ALLOW)] if commands else []
    lines += [instruction(_RETURN, _ERRNO | code)]
    program = ctypes.create_string_buffer(b"".join(lines))
    filter_of = ctypes.create_string_buffer(struct.pack("=H6xQ", len(lines), ctypes.addressof(program)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, filter_of, 0, 0)):
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    which, name, *rest = sys.argv[1:]
    refuse(None if which == "all" else [int(each) for each in which.split(",")], getattr(errno, name))
    os.execvp(rest[0], rest)
