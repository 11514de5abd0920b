"""Judging times on a machine that others use."""

from __future__ import annotations

from collections.abc import Callable


def once_in(attempts: int, attempt: Callable[[int], None]) -> None:
    """Call with 0, 1, ... until no assertion fails: a machine that stalls spoils one attempt, a fault spoils all."""
    for number in range(attempts - 1):
        try:
            attempt(number)
        except AssertionError:
            continue
        return
    attempt(attempts - 1)
