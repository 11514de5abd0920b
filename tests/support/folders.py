"""What lies below a folder."""

from __future__ import annotations

from pathlib import Path

Contents = dict[str, bytes | None]


def contents(folder: Path) -> Contents:
    """Every entry below `folder`, hidden ones as well; folders and links are None."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }
