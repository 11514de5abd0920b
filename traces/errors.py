"""The errors Segcast raises on purpose; the command line maps them to exit codes.

SegcastError
|-- InputError     the input or the usage is wrong            exit 2
|   `-- DamagedCapture   a capture breaks off; what precedes was read
`-- CheckFailed    a check did not hold (validation, SLO)     exit 1
"""

from __future__ import annotations

from dataclasses import dataclass


class SegcastError(Exception):
    """Base of every error a user can cause; its text is one line saying what, where and how to mend."""

    exit_code = 2


class InputError(SegcastError):
    """The input or the usage is wrong: exit status 2."""


@dataclass(frozen=True)
class Damage:
    """Where a capture breaks off (byte of the decompressed file), why, and where it was taken up again, if it was."""

    offset: int
    reason: str
    resumed_at: int | None


class DamagedCapture(InputError):
    """A capture is truncated or corrupt at `offset`; everything before it was decoded."""

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path}: damaged at byte {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class CheckFailed(SegcastError):
    """A check that was asked for did not hold: exit status 1."""

    exit_code = 1
