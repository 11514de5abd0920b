"""Output folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from traces.errors import InputError


@contextlib.contextmanager
def new_folder(target: Path, *, marker: str) -> Iterator[Path]:
    """A folder to write into, beside `target`; renamed to `target` when the block ends, removed when it fails.

    A `target` that exists is replaced only if it is empty or holds a file `marker`, which our own folders do.
    Raises InputError if it is anything else, or cannot be written.
    """
    target = Path(os.path.abspath(target))  # noqa: PTH100  resolve() would write through a link instead of replacing it
    if target.exists() and not (target.is_dir() and ((target / marker).is_file() or not any(target.iterdir()))):
        raise InputError(f"{target}: exists and was not made by this command; remove it or choose another name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"{target}: cannot write there: {error.strerror}; choose another --out") from None
    try:
        yield folder
        folder.chmod(0o777 & ~_umask())
        if target.exists():
            old = folder.with_name(folder.name + ".old")
            target.rename(old)
            folder.rename(target)
            shutil.rmtree(old)
        else:
            folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
