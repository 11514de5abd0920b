"""Where compiled kernels are kept on disk: under a digest of what they are made of.

Numba itself looks only at the file of the kernel, so an edit to a function it calls would return old results; and it
keeps one place for a whole process, which is not ours to set. So each kernel brings its cache with it. Nothing is
touched on disk before a kernel is compiled. Processes that meet the same kernel wait for the first to compile it.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import pickle
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import numba
import numpy as np
import platformdirs
from numba.core import caching, config, runtime

from segcast.traces import sources
from segcast.traces.kernels.compiling import COMPILING

_OWN_NAME: Final = re.compile(r"[0-9a-f]{16}")
_STALE_SECONDS: Final = 30 * 24 * 3600
_WAIT_SECONDS: Final = 60  # for another process that compiles the same kernel
_MEMORY_NAME: Final = "sources.json"
_ANY: Any = caching  # Numba's inside, some of which has no types
_RUNTIME: Any = cast(Any, runtime).rtsys  # which allocates arrays in kernels
_LARGE: Final = ".transport."  # in the module of kernels with TCP in them
_ALLOCATES: Final = b"NRT_"  # begins the names of its functions


def cache_root() -> Path:
    """The folder of all kernels' folders; it need not exist."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    return (Path(chosen, "segcast") if chosen else Path(platformdirs.user_cache_dir("segcast"))) / "kernels"


class _Place:
    """What Numba asks of a cache's locator, where it has a warning to give."""

    def __init__(self, file: str) -> None:
        self._py_file = file


class _Results(_ANY.CompileResultCacheImpl):  # type: ignore[misc]
    """How Numba writes and reads what was compiled, without its own search for a place."""

    def __init__(self, function: Any) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Place(function.__code__.co_filename)

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        """As Numba's. What allocates arrays is compiled once in a process, and only for kernels whose code calls it."""
        if _ALLOCATES in pickle.dumps(payload[0]):
            _RUNTIME.initialize(target_context)
        return super().rebuild(target_context, payload)


class KernelCache(_ANY.FunctionCache):  # type: ignore[misc]
    """The cache of one kernel, in a folder named by all that it is made of.

    `parts` are functions that it reaches by other ways than names and imports; `flags` is how it is compiled.
    """

    def __init__(self, function: Any, parts: tuple[Callable[..., Any] | None, ...], flags: str) -> None:
        self._name = repr(function)
        self._py_func = function
        self._parts = parts
        self._flags = flags
        self._impl = _Results(function)
        self._lock: int | None = None
        self.enable()

    @functools.cached_property
    def _folder(self) -> Path | None:
        """Where it is kept; None if nobody can tell what it is made of."""
        root = cache_root()
        _recall(root)
        digest = sources.functions_digest((self._py_func, *self._parts))
        sources.remember(root / _MEMORY_NAME)
        if digest is None:
            return None
        made = (digest, self._flags, numba.__version__, np.__version__, sys.version_info[:3], _compiler_settings())
        folder = root / hashlib.sha256(repr(made).encode()).hexdigest()[:16]
        self._cache_file = _ANY.IndexDataCacheFile(str(folder), self._file_name, "")
        return folder

    @functools.cached_property
    def _file_name(self) -> str:
        function = self._py_func
        name = f"{function.__module__}.{function.__qualname__}".replace("<", "").replace(">", "")
        return f"{name}-{sources.place_in_file(function)}"

    @property
    def cache_path(self) -> str | None:
        """The folder, as text, for Numba's statistics."""
        return None if self._folder is None else str(self._folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for the signature, or None, and then other processes wait for `save_overload`."""
        folder = self._folder
        found = None if folder is None else self._found(sig, target_context)
        if found is None:
            COMPILING.begins(self._compiled_for, large=_LARGE in self._py_func.__module__)
            if folder is not None and self._take_turn(folder):
                found = self._found(sig, target_context)
                if found is not None:
                    self._end_turn()
            if found is not None:
                COMPILING.ends()
        if found is not None and folder is not None:
            _mark_used(folder)
        return found

    @property
    def _compiled_for(self) -> str:
        """The policy that it is compiled for, by its module; empty for kernels of all."""
        return self._parts[0].__module__.rpartition(".")[2] if self._parts and self._parts[0] is not None else ""

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, unless the disk does not let us."""
        COMPILING.ends()
        folder = self._folder
        if folder is None:
            return
        try:
            if self._impl.check_cachable(data) and folder.is_dir():
                self._keep(self._index_key(sig, data.codegen), self._impl.reduce(data))
                sources.remember(folder.parent / _MEMORY_NAME)
        except (OSError, pickle.PicklingError):
            return  # the kernel is compiled: it only will be again
        finally:
            self._end_turn()

    def _keep(self, key: Any, reduced: Any) -> None:
        try:
            self._cache_file.save(key, reduced)
        except (OSError, pickle.PicklingError):
            raise
        except Exception:  # the index is damaged: begin it anew
            self._cache_file.flush()
            self._cache_file.save(key, reduced)

    def flush(self) -> None:
        """Forget what is kept of the kernel."""
        if self._folder is not None and self._folder.is_dir():
            self._cache_file.flush()

    def _found(self, sig: Any, target_context: Any) -> Any:
        """What is kept. Numba's own way first loads all that compiling needs, which takes longer than all else here."""
        try:
            return self._load_overload(sig, target_context)
        except Exception:  # a damaged file, whatever it makes of unpickling, is as good as none
            return None

    def _take_turn(self, folder: Path) -> bool:
        """Be the one process that compiles this kernel; False if there is no need or no way to wait."""
        if self._lock is not None:
            return False
        try:
            _make(folder)
            lock = os.open(folder / f"{self._file_name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError:
            return False
        until = time.monotonic() + _WAIT_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > until:
                    os.close(lock)
                    return False
                time.sleep(0.05)
            else:
                self._lock = lock
                return True

    def _end_turn(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _compiler_settings() -> tuple[Any, ...]:
    """What in the environment changes the code that Numba makes, beyond the processor."""
    names = ("OPT", "BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "DISABLE_INTEL_SVML")
    return tuple(getattr(config, name, None) for name in names)


@functools.cache
def _recall(root: Path) -> None:
    sources.recall(root / _MEMORY_NAME)


def _make(folder: Path) -> None:
    """Make a kernel's folder; at the first in this process, those unused for a month are removed."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)


@functools.cache
def _sweep(root: Path) -> None:
    for other in root.iterdir():
        try:
            if _OWN_NAME.fullmatch(other.name) and time.time() - other.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
        except OSError:
            continue


def _mark_used(folder: Path) -> None:
    """Let the folder be as old as its last use, to a day."""
    try:
        if time.time() - folder.stat().st_mtime > _STALE_SECONDS / 30:
            os.utime(folder)
    except OSError:
        return
