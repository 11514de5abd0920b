"""Outputs that appear whole or not at all, and never in place of something that their command did not write.

Everything is written in a hidden folder or file beside its target and renamed at the end. What an interrupted or killed
command left there is removed, or put back, by itself or by the next one that writes the same target.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from traces.errors import InputError

_ASIDE: Final = ".segcast-"


@dataclass(frozen=True, slots=True)
class Kind:
    """A folder that a command writes whole: the file that marks it, and its other files as patterns of `fnmatch`."""

    name: str
    marker: str
    others: tuple[str, ...]

    def made(self, folder: Path) -> bool:
        """Whether `folder` is one: it has the marker and something else that belongs to it."""
        return (folder / self.marker).is_file() and any(any(folder.glob(pattern)) for pattern in self.others)

    def within(self, name: str) -> bool:
        """Whether folders of this kind have a folder `name`."""
        return any(pattern.startswith(f"{name}/") for pattern in self.others)

    def foreign(self, folder: Path) -> str | None:
        """The first entry of `folder` that does not belong to this kind; links never do."""
        return next(self._foreign(folder, ""), None)

    def _foreign(self, folder: Path, before: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
        for entry in ordered:
            name = before + entry.name
            if entry.is_dir(follow_symlinks=False) and self.within(name):
                yield from self._foreign(Path(entry.path), f"{name}/")
            elif not entry.is_file(follow_symlinks=False) or not self._owns(name):
                yield name

    def _owns(self, name: str) -> bool:
        left_behind = name.rpartition("/")[2].startswith(".") and _ASIDE in name
        return left_behind or any(fnmatchcase(name, pattern) for pattern in (self.marker, *self.others))


TRACE: Final = Kind("trace", "trace.json", ("flows.parquet", "segment_lists.parquet", "packets/part-*.parquet"))
FORECAST: Final = Kind(
    "forecast",
    "forecast.json",
    (
        "summary.parquet",
        "flows.parquet",
        "sizes.parquet",
        "distributions.parquet",
        "series.parquet",
        "links.parquet",
        "hosts.parquet",
        "profile.parquet",
        "packets/*-s[0-9]*.parquet",
        "scenario.toml",
        "report.html",
    ),
)
KINDS: Final = {kind.marker: kind for kind in (TRACE, FORECAST)}


def printable(path: str | Path) -> str:
    """A path as text that can be printed and encoded, whatever bytes its name is made of."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def check_name(path: str | Path) -> None:
    """Raise InputError if `path`, made absolute and its links followed, is not UTF-8: no table could be named so."""
    try:
        os.path.realpath(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{printable(path)}: its name is not UTF-8; rename it, or the folder it is in") from None


def real_target(path: Path) -> Path:
    """The place that an output `path` means, absolute and its links followed. Raises InputError if it means none."""
    check_name(path)
    real = Path(os.path.realpath(path))
    if path.is_symlink() and not real.exists():
        raise InputError(f"{path}: is a link that leads nowhere; remove it or choose another --out")
    return real


def owner_of(path: Path) -> tuple[Kind, Path] | None:
    """The nearest folder of a known kind that `path` is, or lies in at any depth; `path` as of `real_target`."""
    for folder in (path, *path.parents):
        for kind in KINDS.values():
            if kind.made(folder):
                return kind, folder
    return None


def refuse_inputs(target: Path, inputs: Iterable[str | Path]) -> None:
    """Raise InputError if one of `inputs` is `target` or lies in it: to write there would destroy it."""
    real = os.path.realpath(target)
    for path in inputs:
        if Path(os.path.realpath(path)).is_relative_to(real):
            raise InputError(f"{target}: holds {printable(path)}, which is read; choose another --out")


@contextlib.contextmanager
def new_folder(target: Path, *, marker: str, inputs: Iterable[str | Path] = ()) -> Iterator[Path]:
    """A folder to write into, beside `target`; takes its place when the block ends, is removed when it fails.

    A `target` that exists is replaced if it is empty, or of the kind that `marker` marks and holds nothing else. If it
    is a link, what it leads to is replaced. Raises InputError if it is anything else, is or holds the current folder,
    holds one of `inputs`, or cannot be written.
    """
    real = real_target(target)
    if Path(os.path.realpath(".")).is_relative_to(real):
        raise InputError(f"{target}: is the current folder, or holds it; name a new folder")
    kind = KINDS[marker]
    aside = real.with_name(f".{real.name}{_ASIDE}{secrets.token_hex(4)}")
    lock = -1
    try:
        try:
            real.parent.mkdir(parents=True, exist_ok=True)
            _recover(real)
            _refuse_foreign(target, real, kind)
            refuse_inputs(target, inputs)
            aside.mkdir()
            lock = _locked(aside)
            (aside / "new").mkdir()
        except OSError as error:
            raise InputError(f"{target}: cannot write there: {error.strerror}; choose another --out") from None
        yield aside / "new"
        _refuse_foreign(target, real, kind)
        try:
            _swap(aside, real)
        except OSError as error:
            raise InputError(f"{target}: cannot be replaced: {error.strerror}; choose another --out") from None
    finally:
        try:
            _settle(aside, real)
        except BaseException:  # an interruption: a second one is not expected
            _settle(aside, real)
            raise
        finally:
            if lock >= 0:
                os.close(lock)


def _refuse_foreign(target: Path, real: Path, kind: Kind) -> None:
    """Raise InputError unless `real` is absent, empty, or of the kind and nothing else."""
    if not os.path.lexists(real) or (real.is_dir() and not any(real.iterdir())):
        return
    if not real.is_dir() or not kind.made(real):
        raise InputError(f"{target}: exists and was not made by this command; remove it or choose another name")
    foreign = kind.foreign(real)
    if foreign is not None:
        raise InputError(
            f"{target}: is a {kind.name} that also holds {printable(foreign)}, which would be lost; "
            "move that away or choose another --out"
        )


def _swap(aside: Path, real: Path) -> None:
    """Put `aside/new` in the place of `real`, which is kept as `aside/old` until `_settle`."""
    if real.exists():
        real.rename(aside / "old")
    (aside / "new").rename(real)


def _settle(aside: Path, real: Path) -> None:
    """Remove `aside`; if `real` was moved there and nothing took its place, put it back first."""
    with contextlib.suppress(OSError):
        if (aside / "old").exists() and not real.exists():
            (aside / "old").rename(real)
    if (aside / "old").exists() and not real.exists():
        return  # it could not be put back: better hidden than lost
    shutil.rmtree(aside, ignore_errors=True)


def _locked(folder: Path) -> int:
    """A descriptor that locks `folder` until it is closed or the process ends; -1 where nothing can be locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _recover(real: Path) -> None:
    """Settle what killed processes left beside `real`; folders of live ones are locked."""
    for aside in real.parent.iterdir():
        if aside.name.startswith(f".{real.name}{_ASIDE}") and aside.is_dir() and not aside.is_symlink():
            lock = _locked(aside)
            if lock >= 0:
                _settle(aside, real)
                os.close(lock)


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """An empty file to write, beside `target`; takes its place when the block ends, is removed when it fails.

    If `target` is a link, what it leads to is replaced. Raises InputError naming `target` if it is not a regular file,
    or for any OSError of the block.
    """
    real = real_target(target)
    if real.is_dir():
        raise InputError(f"{target}: is a folder; name a file")
    if real.exists() and not real.is_file():
        raise InputError(f"{target}: is not a regular file; choose another name")
    aside = real.with_name(f".{real.name}{_ASIDE}{secrets.token_hex(4)}")
    try:
        aside.touch(exist_ok=False)
        yield aside
        aside.replace(real)
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise InputError(f"{target}: cannot be written: {reason}; make room or choose another name") from None
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
