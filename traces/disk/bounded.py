"""Files that people and other commands give, read whole: never without a bound, and never from what has no end."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from segcast.traces.errors import InputError

DOCUMENT_BYTES = 256 << 20
"""What a document, a scenario or a graph may have."""


def read_bounded(file: Path, most_bytes: int = DOCUMENT_BYTES) -> bytes:
    """The content of a file of at most `most_bytes`. Raises OSError; InputError if it is larger, or has no end.

    A pipe may stand for a file, as a shell's `<(...)` makes one, if something writes to it.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe without a writer does not wait
    with os.fdopen(descriptor, "rb") as opened:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(21, os.strerror(21), str(file))
        if not stat.S_ISREG(kind) and not stat.S_ISFIFO(kind):
            raise InputError(f"{file}: is not a regular file")
        os.set_blocking(descriptor, True)
        content = opened.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise InputError(f"{file}: has more than {_size(most_bytes)}, the most that is read of such a file")
    if stat.S_ISFIFO(kind) and not content:
        raise InputError(f"{file}: is a pipe that nothing was written to")
    return content


def read_bounded_text(file: Path, most_bytes: int = DOCUMENT_BYTES) -> str:
    """The same as text, with line ends as `\\n`. Raises UnicodeDecodeError, too."""
    return read_bounded(file, most_bytes).decode().replace("\r\n", "\n")


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 1 << 20 else f"{count} bytes"
