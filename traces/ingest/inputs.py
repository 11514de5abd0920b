"""What an ingest is given, made a list of captures: folders, patterns and URLs expanded, each capture once.

Nothing is kept open: the first time of every capture is read beforehand, so that a wrong one is told at once and that
a merge can leave it closed until it is due.
"""

from __future__ import annotations

import errno
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from segcast.traces.captures import remote as locations
from segcast.traces.captures.reader import read_frames
from segcast.traces.captures.stored import STDIN
from segcast.traces.disk.folders import KINDS
from segcast.traces.disk.names import check_name, visible
from segcast.traces.errors import DamagedCapture, InputError

MOST_FILES: Final = 1 << 16  # what `file` numbers
AT_ONCE: Final = -(1 << 63)  # the first time of what is due at once: a pipe, or a capture without a frame
_BUFFER_BYTES: Final = 1 << 16
_DIGITS: Final = re.compile(r"(\d+)")


class Head(NamedTuple):
    """A capture before it is read: where it is, its bytes as stored (0 if unknown), the time of its first frame."""

    path: str
    total_bytes: int
    first_ns: int
    pipe: bool

    @property
    def place(self) -> str:
        """The path, absolute and its links followed; of stdin and URLs as it is."""
        return self.path if self.path == STDIN or locations.is_url(self.path) else str(Path(self.path).resolve())


class Inputs(NamedTuple):
    """Captures in the order of `file`, and what was left out of what was named, counted by why."""

    heads: list[Head]
    left_out: dict[str, int]

    @property
    def total_bytes(self) -> int:
        """Bytes as stored of all captures, 0 if the size of one is unknown."""
        sizes = [head.total_bytes for head in self.heads]
        return sum(sizes) if all(sizes) else 0

    def identities(self) -> list[list[Any]]:
        """Where each capture is, its size and what changes with it, as JSON values. Raises InputError."""
        try:
            return [[head.place, *locations.identity(head.path)] for head in self.heads]
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read: {error.strerror}; check the path") from None


def list_inputs(captures: Sequence[str | Path], *, keep_going: bool = False) -> Inputs:
    """The captures that `captures` mean: files, URLs, pipes, "-" for stdin; folders with all below them; patterns.

    The order is that given, within a folder or pattern that of the names with numbers by value. Below a folder a file
    that is no capture is left out, as is what is hidden, a trace or a forecast; a capture named twice is taken once.
    `keep_going` says how they will be read: damage may hide what seems the first frame. Raises InputError for what is
    named and is no capture, or a folder or pattern without one.
    """
    if not captures:
        raise InputError("no capture given; name at least one pcap or pcapng file")
    if sum(str(path) == STDIN for path in captures) > 1:
        raise InputError("-: stdin can be read once only; give it once")
    heads: list[Head] = []
    left_out = {"not_captures": 0, "named_twice": 0}
    seen: set[object] = set()
    for given in captures:
        before = len(heads)
        skipped = 0
        for path, found in _expand(given):
            key = _real(path)
            if key in seen:
                left_out["named_twice"] += 1
                before -= 1
                continue
            head = _examine(path, found, keep_going)
            if head is None:
                skipped += 1
                continue
            seen.add(key)
            heads.append(head)
            if len(heads) > MOST_FILES:
                raise InputError(f"more than {MOST_FILES} captures given; merge some first, or make several traces")
        left_out["not_captures"] += skipped
        if len(heads) == before:
            raise InputError(
                f"{visible(given)}: holds no capture among {skipped} files; name captures, or their folder"
            )
    return Inputs(heads, left_out)


def is_pipe(path: str | Path) -> bool:
    """Whether `path` can be read once only."""
    if locations.is_url(path):
        return False
    return str(path) == STDIN or Path(path).is_fifo() or Path(path).is_char_device()


def in_natural_order(paths: Iterable[str]) -> list[str]:
    """Sorted by name, part by part, runs of digits by their value: cap2 before cap10."""

    def key(path: str) -> list[list[tuple[int, int, str]]]:
        parts = [_DIGITS.split(part) for part in path.split("/")]
        return [[(0, int(t), t) if n % 2 else (1, 0, t) for n, t in enumerate(part)] for part in parts]

    return sorted(paths, key=key)


def _expand(given: str | Path) -> Iterator[tuple[str, bool]]:
    """The paths that one argument means, and of each whether it was found below a folder rather than named."""
    text = str(given)
    if locations.is_url(text):
        several = "*" in text or text.endswith("/")
        yield from ((url, False) for url in (in_natural_order(locations.expand(text)) if several else [text]))
        return
    if text == STDIN:
        yield text, False
        return
    check_name(given)
    if Path(text).is_dir():
        yield from ((path, True) for path in in_natural_order(_below(text)))
    elif glob.has_magic(text) and not os.path.lexists(text):
        named = in_natural_order(glob.iglob(text, recursive=True))  # noqa: PTH207 (patterns may be absolute)
        if not named:
            raise InputError(f"{text}: no file matches; check the pattern")
        for path in named:
            check_name(path)
            if Path(path).is_dir():
                yield from ((inside, True) for inside in in_natural_order(_below(path)))
            else:
                yield path, False
    else:
        yield text, False


def _below(folder: str) -> Iterator[str]:
    """The files below a folder, but for hidden ones and what is ours."""

    def refuse(error: OSError) -> None:
        mend = "change its permissions (chmod u+rx)" if error.errno in (errno.EACCES, errno.EPERM) else "check the path"
        raise InputError(f"{error.filename}: {error.strerror}; {mend}")

    for root, folders, files in os.walk(folder, onerror=refuse):
        place = Path(root)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and not any(kind.made(place / name) for kind in KINDS.values())
        ]
        for name in files:
            if not name.startswith(".") and (place / name).is_file():
                check_name(place / name)
                yield str(place / name)


def _real(path: str) -> object:
    """A value that is equal for all names of one file: links, relative paths and so on."""
    if path == STDIN or locations.is_url(path):
        return path
    try:
        state = Path(path).stat()
    except OSError:
        return path
    return state.st_dev, state.st_ino


def _examine(path: str, found: bool, keep_going: bool) -> Head | None:
    """The head of a capture; None if it was only found and is none."""
    if is_pipe(path):
        return Head(path, 0, AT_ONCE, True)
    try:
        with read_frames(path, _BUFFER_BYTES, 1, keep_going=keep_going) as reader:
            first_ns = AT_ONCE
            try:
                for batch in reader:
                    first_ns = int(batch.time_ns[0])
                    break
            except DamagedCapture:  # before its first frame; it is told when it is read
                pass
            return Head(path, reader.total_bytes, first_ns, False)
    except InputError:
        if found and os.access(path, os.R_OK):
            return None
        raise
