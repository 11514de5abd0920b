"""Captures that are not on this machine: what a URL is, which ones a pattern means, and whether one has changed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from traces.errors import InputError

_URL: Final = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_url(path: str | Path) -> bool:
    """Whether `path` is a URL, which is never made a `Path`: that would drop a slash."""
    return isinstance(path, str) and _URL.match(path) is not None


def expand(path: str) -> list[str]:
    """The captures that a URL with `*` or a trailing `/` means."""
    raise InputError(f"{path}: URLs are not read; copy the capture here")


def identity(path: str) -> tuple[int, str]:
    """The size of a capture and a text that changes with it. Raises OSError."""
    state = Path(path).stat()
    return state.st_size, str(state.st_mtime_ns)
