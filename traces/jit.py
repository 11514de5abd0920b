"""How Segcast compiles kernels: one alias fixes the flags and where compiled code is kept.

Compiled kernels are cached in the user's cache folder under a digest of the sources of every package that holds them.
Numba alone looks only at the file of the kernel itself, so an edit to a function it calls would return old results.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numba.core.config
import numpy as np
import platformdirs

F = TypeVar("F", bound=Callable[..., Any])

# In a kernel: to a signed 64-bit integer. Mixing signed and unsigned would make a float of both.
int64: Callable[[Any], int] = cast(Any, np.int64)

# In a kernel: an index that is never below 0. Numba else tests every index for counting from the end, which costs the
# engine a sixth of its time.
at: Callable[[Any], int] = cast(Any, np.uint64)

_PACKAGES: Final = ("traces", "analyzer", "replay")
_STALE_SECONDS: Final = 30 * 24 * 3600


def source_digest() -> str:
    """Hex digest of the Python sources of the packages that hold kernels."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parents[1]
    for package in _PACKAGES:
        for source in sorted((root / package).rglob("*.py")):
            digest.update(source.relative_to(root).as_posix().encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _cache_folder() -> Path:
    """The cache folder of these sources; folders of other sources unused for a month are removed."""
    root = Path(os.environ.get("NUMBA_CACHE_DIR") or platformdirs.user_cache_dir("segcast")) / "kernels"
    folder = root / source_digest()
    if not folder.is_dir():
        for other in root.glob("*") if root.is_dir() else ():
            if time.time() - other.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cacheable() -> bool:
    """Point Numba at the cache folder; False where it cannot be written (kernels then compile in each process)."""
    try:
        numba.core.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


CACHED: Final = _cacheable()


def kernel(function: F) -> F:
    """Compile a kernel: no Python objects, no GIL, C division, cached on disk."""
    return cast(F, numba.njit(cache=CACHED, nogil=True, error_model="numpy")(function))


def kernel_of(kinds: Sequence[type], function: F) -> F:
    """Compile a kernel that takes `kinds`; where one is defined outside these packages it is cached in a folder apart.

    The index of a cached kernel names every type it was compiled for, and a process that lacks one cannot read it.
    """
    outside = sorted({kind.__module__ for kind in kinds if kind.__module__.partition(".")[0] != "segcast"})
    if not CACHED or not outside:
        return kernel(function)
    shared = numba.core.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.core.config.CACHE_DIR = str(Path(shared, "outside", *outside))  # type: ignore[attr-defined]
    try:
        return kernel(function)
    finally:
        numba.core.config.CACHE_DIR = shared  # type: ignore[attr-defined]
