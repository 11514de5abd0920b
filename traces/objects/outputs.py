"""Output folders in an object store: made here, then put there, what marks them last."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pyarrow.fs import FileSelector, FileType

from segcast.traces.captures.remote import is_url, located, reason_of
from segcast.traces.errors import InputError

_WRITE_BYTES: Final = 8 << 20


@contextlib.contextmanager
def output_folder(out: str, marker: str) -> Iterator[Path]:
    """The folder to write: `out` itself, or one that goes to the URL `out` when the block ends.

    What is there is replaced only if it has the same `marker`. Raises InputError.
    """
    if not is_url(out):
        yield Path(out)
        return
    files, key, _ = located(out)
    key = key.rstrip("/")
    try:
        there = [info.path for info in files.get_file_info(FileSelector(key, allow_not_found=True, recursive=True))]
    except OSError as error:
        raise InputError(f"{out}: {reason_of(error)}") from None
    if there and f"{key}/{marker}" not in there:
        raise InputError(f"{out}: exists and was not made by this command; choose another --out")
    with tempfile.TemporaryDirectory(prefix="segcast-") as temporary:
        folder = Path(temporary) / (key.rpartition("/")[2] or "out")
        yield folder
        try:
            if there:
                files.delete_file(f"{key}/{marker}")
            written = sorted((file for file in folder.rglob("*") if file.is_file()), key=lambda f: f.name == marker)
            for file in written:
                _put(files, file, f"{key}/{file.relative_to(folder).as_posix()}")
            ours = {f"{key}/{file.relative_to(folder).as_posix()}" for file in written}
            for info in files.get_file_info(there):
                if info.type == FileType.File and info.path not in ours:
                    files.delete_file(info.path)
        except OSError as error:
            raise InputError(f"{out}: cannot be written: {reason_of(error)}") from None


def _put(files: object, file: Path, key: str) -> None:
    with file.open("rb") as source, files.open_output_stream(key, compression=None) as out:  # type: ignore[attr-defined]
        while piece := source.read(_WRITE_BYTES):
            out.write(piece)
