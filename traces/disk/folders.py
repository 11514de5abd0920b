"""Outputs that appear whole or not at all, and never in place of something that their command did not write.

Everything is written in a hidden folder or file beside its target and renamed at the end. What an interrupted or killed
command left there is removed, or put back, by itself or by the next one that writes the same target.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from segcast.traces.captures.remote import is_url
from segcast.traces.disk.names import check_name, visible
from segcast.traces.errors import InputError

_ASIDE: Final = ".segcast-"
_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2
_PARTIAL: Final = f"{_ASIDE}partial"
CHECKPOINT: Final = "checkpoint.json"  # what makes an unfinished output worth keeping


@dataclass(frozen=True, slots=True)
class FolderKind:
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


TRACE: Final = FolderKind("trace", "trace.json", ("flows.parquet", "segment_lists.parquet", "packets/part-*.parquet"))
FORECAST: Final = FolderKind(
    "forecast",
    "forecast.json",
    (
        "summary.parquet",
        "pooled.parquet",
        "resamples.parquet",
        "flows.parquet",
        "sizes.parquet",
        "distributions.parquet",
        "series.parquet",
        "links.parquet",
        "hosts.parquet",
        "profile.parquet",
        "messages.parquet",
        "packets/*-s[0-9]*.parquet",
        "scenario.toml",
        "report.html",
    ),
)
MEASUREMENT: Final = FolderKind("measurement", "measurement.json", ("packets.parquet", "scenario.toml"))
LIVE: Final = FolderKind(
    "live run",
    "live.json",
    ("summary.parquet", "flows.parquet", "links.parquet", "flowlets.parquet", "scenario.toml"),
)
VALIDATION: Final = FolderKind(
    "validation",
    "validation.json",
    ("departures.parquet", "comparisons.parquet", "curves.parquet", "packets.parquet", "validation.html"),
)
LIVE_VALIDATION: Final = FolderKind("live validation", "live-validation.json", ("figures.parquet", "validation.html"))
FAILURES: Final = FolderKind(
    "failure study",
    "failures.json",
    ("failures.parquet", "stages.parquet", "links.parquet", "scenario.toml", "failures.html"),
)
PLAN: Final = FolderKind("plan", "plan.json", ("probes.parquet", "scenario.toml", "plan.html"))
SWEEP: Final = FolderKind(
    "sweep",
    "sweep.json",
    ("summary.parquet", "choices.parquet", "comparisons.parquet", "variants.parquet", "scenario.toml", "sweep.html"),
)
ADVICE: Final = FolderKind("advice", "advice.json", ("candidates.parquet", "scenario.toml", "advice.html"))
COMPARISON: Final = FolderKind("comparison", "compare.json", ("compare.html",))
PLAN_COMPARISON: Final = FolderKind("comparison of plans", "compare-plans.json", ("compare.html",))
REWRITE: Final = FolderKind("rewrite", "rewrite.json", ("*.pcap", "trex.py", "probes.json"))
KINDS: Final = {
    kind.marker: kind
    for kind in (
        *(TRACE, FORECAST, MEASUREMENT, VALIDATION, PLAN, FAILURES, ADVICE, COMPARISON, SWEEP),
        *(PLAN_COMPARISON, LIVE, LIVE_VALIDATION),
    )
}
"""Those that hold tables; captures are read from a rewrite as from any other folder."""

_WRITTEN: Final = {**KINDS, REWRITE.marker: REWRITE}


def real_target(path: Path) -> Path:
    """The place that an output `path` means, absolute and its links followed. Raises InputError if it means none."""
    check_name(path)
    real = Path(os.path.realpath(path))
    if path.is_symlink() and not real.exists():
        raise InputError(f"{path}: is a link that leads nowhere; remove it or choose another --out")
    return real


def owner_of(path: Path) -> tuple[FolderKind, Path] | None:
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
        if not is_url(path) and Path(os.path.realpath(path)).is_relative_to(real):
            raise InputError(f"{target}: holds {visible(path)}, which is read; choose another --out")


@contextlib.contextmanager
def new_folder(
    target: Path, *, marker: str, inputs: Iterable[str | Path] = (), resumable: bool = False
) -> Iterator[Path]:
    """A folder to write into, beside `target`; takes its place when the block ends, is removed when it fails.

    If `resumable`, it is kept when the block fails but has put a file CHECKPOINT beside it: the next call for `target`
    gives it again, as it was left. It is not resumable while another process writes there, see `resumes`.

    A `target` that exists is replaced if it is empty, or of the kind that `marker` marks and holds nothing else. If it
    is a link, what it leads to is replaced. Raises InputError if it is anything else, is or holds the current folder,
    holds one of `inputs`, lies in a folder of a known kind, or cannot be written.
    """
    real = real_target(target)
    if (owner := owner_of(real.parent)) is not None:
        within, folder = owner
        raise InputError(
            f"{target}: lies in the {within.name} {folder}, which holds nothing else; choose another --out"
        )
    if Path(os.path.realpath(".")).is_relative_to(real):
        raise InputError(f"{target}: is the current folder, or holds it; name a new folder")
    kind = _WRITTEN[marker]
    aside = real.with_name(f".{real.name}{_ASIDE}{secrets.token_hex(4)}")
    lock = -1
    try:
        try:
            real.parent.mkdir(parents=True, exist_ok=True)
            _recover(real)
            _refuse_foreign(target, real, kind)
            refuse_inputs(target, inputs)
            if resumable:
                lock = _claimed(real)
            if lock >= 0:
                aside = _partial(real)
            else:
                aside.mkdir()
                lock = _locked(aside)
            (aside / "new").mkdir(exist_ok=True)
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


def _refuse_foreign(target: Path, real: Path, kind: FolderKind) -> None:
    """Raise InputError unless `real` is absent, empty, or of the kind and nothing else."""
    if not os.path.lexists(real) or (real.is_dir() and not any(real.iterdir())):
        return
    if not real.is_dir() or not kind.made(real):
        raise InputError(f"{target}: exists and was not made by this command; remove it or choose another name")
    foreign = kind.foreign(real)
    if foreign is not None:
        raise InputError(
            f"{target}: is a {kind.name} that also holds {visible(foreign)}, which would be lost; "
            "move that away or choose another --out"
        )


def _swap(aside: Path, real: Path) -> None:
    """Put `aside/new` in the place of `real`, which is kept as `aside/old` until `_settle`.

    At once, where the system can exchange two names: a reader, and whoever comes after a kill, finds one or the other.
    """
    if not real.exists():
        (aside / "new").rename(real)
        return
    # Under this name it is not taken for an unfinished output, whatever happens next.
    (aside / "new").rename(aside / "old")
    if not _exchanged(aside / "old", real):
        (aside / "old").rename(aside / "new")
        real.rename(aside / "old")
        (aside / "new").rename(real)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step (renameat2 of Linux); False where the file system or the C library cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _settle(aside: Path, real: Path) -> None:
    """Remove `aside`, unless it can be resumed; if `real` was moved there and nothing took its place, put it back."""
    if not _put_back(aside, real):
        return  # better hidden than lost
    if resumes(aside / "new") and (aside / CHECKPOINT).is_file() and (aside / "new").is_dir():
        shutil.rmtree(aside / "old", ignore_errors=True)
        return
    shutil.rmtree(aside, ignore_errors=True)


def _put_back(aside: Path, real: Path) -> bool:
    """If `real` was moved to `aside` and nothing took its place, put it back; whether none is left to be."""
    with contextlib.suppress(OSError):
        if (aside / "old").exists() and not real.exists():
            (aside / "old").rename(real)
    return real.exists() or not (aside / "old").exists()


def resumes(folder: Path) -> bool:
    """Whether a folder of `new_folder` is kept if it has a CHECKPOINT beside it when its block fails."""
    return folder.parent.name.endswith(_PARTIAL)


def _partial(real: Path) -> Path:
    return real.with_name(f".{real.name}{_PARTIAL}")


def _claimed(real: Path) -> int:
    """The lock of the resumable folder beside `real`, made if need be; -1 if it cannot be ours alone.

    Nobody else may be able to write there: what lies in it is believed.
    """
    partial = _partial(real)
    made = False
    with contextlib.suppress(FileExistsError):
        partial.mkdir(mode=0o700)
        made = True
    lock = _locked(partial) if _private(partial) else -1
    if lock < 0:
        if made:
            with contextlib.suppress(OSError):
                partial.rmdir()
        return -1
    if not _private(partial) or os.fstat(lock).st_ino != partial.lstat().st_ino or not _put_back(partial, real):
        os.close(lock)
        return -1
    sound = (partial / CHECKPOINT).is_file() and (partial / "new").is_dir() and not (partial / "new").is_symlink()
    for entry in partial.iterdir():
        if entry.name == "old" or not sound:
            remove(entry)
    return lock


def _private(folder: Path) -> bool:
    """Whether `folder` is a real folder of this user's, which nobody else can enter."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid() and not state.st_mode & 0o077


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with what is in it, as far as that goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _locked(folder: Path) -> int:
    """A descriptor that locks `folder` until it is closed or the process ends; -1 where nothing can be locked."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return -1
    return descriptor


def _recover(real: Path) -> None:
    """Settle what killed processes left beside `real`; folders of live ones are locked."""
    for aside in real.parent.iterdir():
        mine = aside.name.startswith(f".{real.name}{_ASIDE}") and not aside.name.endswith(_PARTIAL)
        if mine and aside.is_dir() and not aside.is_symlink():
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
