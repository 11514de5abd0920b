"""Python's garbage collector, for processes that make much and keep most of it."""

from __future__ import annotations

import gc


def collect_seldom() -> None:
    """Look for garbage after more objects than usual: else looking takes up to a fifth of the time."""
    gc.set_threshold(100_000, 50, 100)


def leave_alone() -> None:
    """Never look through what there is now."""
    gc.collect()
    gc.freeze()
