"""A cache of kernels of a test's own that begins with what is compiled already, so that only what is new compiles."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path

from segcast.traces.kernels.cache import cache_root


def begin_with_kernels(cache: Path, *, without: Collection[str]) -> None:
    """Put all kernels kept on disk into `cache`, as NUMBA_CACHE_DIR, but those with one of these words in their name.

    Copies, for others go on writing theirs; what is being replaced at the moment is left out, and compiled anew.
    """
    kernels = cache / "segcast" / "kernels"
    for file in [*cache_root().glob("*/*.nbc"), *cache_root().glob("*/*.nbi")]:
        if not any(word in file.name for word in without):
            (kernels / file.parent.name).mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(file, kernels / file.parent.name / file.name)
