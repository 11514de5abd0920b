"""Text of pages and terminals: numbers as `answers.wording` rounds them, printed or typeset."""

from __future__ import annotations

import re

import click

from segcast.analyzer.answers.wording import (
    DIGITS,
    NO_VALUE,
    Number,
    change,
    change_interval,
    count,
    counted,
    duration,
    listed,
    percent,
    plain,
    rate,
    rate_unit,
    significant,
    size,
    span,
    tally,
)
from segcast.traces.disk.names import visible
from segcast.traces.units import write_size

__all__ = [
    "DIGITS",
    "NO_VALUE",
    "Number",
    "brief",
    "change",
    "change_interval",
    "count",
    "counted",
    "duration",
    "echo",
    "given",
    "listed",
    "percent",
    "plain",
    "rate",
    "rate_unit",
    "significant",
    "size",
    "span",
    "tally",
    "typeset",
]

_LONGEST_TITLE = 70
_GIVEN = re.compile(r"(?<=\d)(?=[A-Za-z])")
_UNIT_GAP = re.compile(r"(?<=\d) (?=(?:ns|us|ms|s|min|[kKMGTP]?i?B|[kMGT]?bit/s|[MGT]|%)(?:\W|$))")
_MICRO = re.compile(r"(?<=\d\u00a0)us\b")
_MINUS = re.compile(r"(?<![\w.)])-(?=\d)")


def given(value_bytes: int) -> str:
    """A size that was given, exactly and in its own unit: `1 MiB`, `250 kB`."""
    exact = write_size(value_bytes)
    return _GIVEN.sub(" ", exact) if exact[-2:-1].isalpha() or value_bytes % 1000 else size(value_bytes, 12)


def brief(sentence: str) -> str:
    """An answer in a few words, for a page's title: `use inflight, 100 us`."""
    said = re.split(r"[:;]|\.(?:\s|$)", sentence)[0]
    return f"{said[:1].lower()}{said[1:_LONGEST_TITLE]}"


def echo(line: str) -> None:
    """Print a line on standard output; control characters of names in it are shown as escapes."""
    click.echo(visible(line))


def typeset(text: str) -> str:
    """Plain text with typographic signs: a micro sign, a minus sign, and units that stay with their number."""
    text = _UNIT_GAP.sub("\u00a0", text)
    text = _MICRO.sub("µs", text)
    return _MINUS.sub("\u2212", text)
