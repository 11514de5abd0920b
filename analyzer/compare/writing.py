"""The folder of a comparison: its document, and whatever is made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from segcast.traces.disk.documents import Shape, json_text
from segcast.traces.disk.folders import FolderKind, new_folder


def write_compared(
    document: Shape,
    out: str | Path | None,
    kind: FolderKind,
    inputs: Iterable[Path],
    finish: Callable[[Path], object] | None,
) -> None:
    """Write the folder `out`, if any; `finish` is called with it before it gets its name. Raises InputError."""
    if out is None:
        return
    with new_folder(Path(out), marker=kind.marker, inputs=list(inputs)) as folder:
        (folder / kind.marker).write_text(json_text(document), encoding="utf-8")
        if finish is not None:
            finish(folder)
