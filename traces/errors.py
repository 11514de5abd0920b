"""The errors Segcast raises on purpose; the command line maps them to exit codes.

SegcastError
|-- InputError     the input or the usage is wrong            exit 2
|   `-- DamagedCapture   a capture breaks off; what precedes was read
|-- PolicyError    a policy breaks its contract               exit 2
`-- CheckFailed    a check did not hold (validation, SLO)     exit 1
"""

from __future__ import annotations

from dataclasses import dataclass


class SegcastError(Exception):
    """Base of every error a user can cause; its text is one line saying what, where and how to mend."""

    exit_code = 2


class InputError(SegcastError):
    """The input or the usage is wrong: exit status 2."""


class DamagedCapture(InputError):
    """A capture is truncated or corrupt at `offset`; everything before it was decoded."""

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path}: damaged at byte {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason


class PolicyError(SegcastError):
    """A policy does not do what `register` asks of one: exit status 2. Neither the input nor the usage is at fault."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged place of a capture: its byte, what is wrong there, and the byte where reading went on, if it did."""

    offset: int
    reason: str
    resumed_at: int | None = None


class CheckFailed(SegcastError):
    """A check that was asked for did not hold: exit status 1."""

    exit_code = 1
