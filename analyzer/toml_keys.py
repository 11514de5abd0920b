"""TOML files, and the lines of their keys, so that an error can name one: `tomllib` does not say where values stand."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from segcast.traces.disk.bounded import read_bounded_text
from segcast.traces.errors import InputError

Place = tuple[str | int, ...]
Where = Callable[[Place], str]
"""Puts a place into words, such as `s.toml:7: network.links[2].rate`."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SCALAR: Final = re.compile(r"[^,\]}\n#]*")
_LONG_KEY: Final = re.compile(r"""(?:[A-Za-z0-9_"'-]+[ \t]*\.[ \t]*){100}""")  # takes the square of its length
_STRINGS: Final = (
    re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.DOTALL),
    re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    re.compile(r'"(?:[^"\\]|\\.)*"'),
    re.compile(r"'[^']*'"),
)


def read_toml(file: Path, what: str) -> tuple[str, dict[str, Any]]:
    """The text of a TOML file and what it says. Raises InputError, in which `what` the file should be is named."""
    try:
        text = read_bounded_text(file)
        if _LONG_KEY.search(text):
            raise InputError(f"{file}: a key of more than 100 parts; none here has more than a few")
        return text, tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{file}: cannot read the {what}: {error.strerror}") from None
    except ValueError as error:
        line = re.search(r"at line (\d+)", str(error))
        raise InputError(f"{file}{f':{line[1]}' if line else ''}: not TOML: {error}") from None
    except RecursionError:
        article = "an" if what[0] in "aeiou" else "a"
        raise InputError(f"{file}: not {article} {what}: it is nested too deeply") from None


def key_lines(text: str) -> dict[Place, int]:
    """The line, from 1, of every key and array element of a text that `tomllib` has read; tables by their header."""
    return _Scan(text).lines


def line_of(lines: dict[Place, int], place: Place) -> int | None:
    """The line of a place, or of the nearest thing that contains it."""
    for length in range(len(place), 0, -1):
        if place[:length] in lines:
            return lines[place[:length]]
    return None


def written(place: Place) -> str:
    """A place as text: `network.links[2].rate`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


class WrongKey(InputError):
    """A key, found wrong where nobody knows the file it stands in: its place, and what is wrong."""

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(f"{written(place)}: {message}")
        self.place = place
        self.message = message


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something was read: its file, None if there was none, and the lines of its keys.

    `edges` says of each of the network's links where it stands in another file, if the scenario names one.
    All are equal, so that what is compared is what was read.
    """

    file: Path | None = field(default=None, compare=False)
    lines: dict[Place, int] = field(default_factory=dict, compare=False)
    edges: tuple[str, ...] = field(default=(), compare=False)

    def where(self, place: Place) -> str:
        """A place in words, with the file and the line."""
        if self.edges and len(place) > 2 and place[:2] == ("network", "links"):
            parts = [self.where(("network", "file")), self.edges[int(place[2])], written(place[3:])]
        else:
            line = line_of(self.lines, place)
            parts = ["" if self.file is None else f"{self.file}{'' if line is None else f':{line}'}", written(place)]
        return ": ".join(part for part in parts if part)

    def located(self, error: InputError) -> InputError:
        """The error with the file and, if it is one of a key, with the line."""
        if isinstance(error, WrongKey):
            return InputError(f"{self.where(error.place)}: {error.message}")
        return error if self.file is None else InputError(f"{self.file}: {error}")


class _Scan:
    """One pass over the text. What is valid is known, so it only has to find where each part ends."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._arrays: dict[Place, int] = {}
        self.lines: dict[Place, int] = {}
        table: Place = ()
        while self._blank() < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)

    def _blank(self) -> int:
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at

    def _next(self) -> str:
        return self._text[self._blank() : self._at + 1]

    def _mark(self, place: Place) -> None:
        self.lines.setdefault(place, bisect_left(self._ends, self._at) + 1)

    def _string(self) -> str | None:
        for form in _STRINGS:
            if found := form.match(self._text, self._at):
                self._at = found.end()
                return found[0]
        return None

    def _keys(self) -> list[str]:
        """A dotted key."""
        keys: list[str] = []
        while True:
            self._blank()
            if (quoted := self._string()) is not None:
                keys.append(tomllib.loads(f"key = {quoted}")["key"])
            elif found := _BARE.match(self._text, self._at):
                self._at = found.end()
                keys.append(found[0])
            if self._next() != ".":
                return keys
            self._at += 1

    def _within(self, place: Place) -> Place:
        """The place itself or, if it is an array of tables, that of its last table."""
        return (*place, self._arrays[place]) if place in self._arrays else place

    def _header(self) -> Place:
        array = self._text.startswith("[[", self._at)
        place: Place = ()
        start = self._at
        self._at += 2 if array else 1
        keys = self._keys()
        end = self._at + (2 if array else 1)
        self._at = start
        for number, key in enumerate(keys, 1):
            place = (*place, key)
            if array and number == len(keys):
                self._arrays[place] = self._arrays.get(place, -1) + 1
            self._mark(place)
            place = self._within(place)
            self._mark(place)
        self._at = end
        return place

    def _pair(self, table: Place) -> None:
        self._blank()
        start = self._at
        keys = self._keys()
        end, self._at = self._at, start
        for key in keys:
            table = (*table, key)
            self._mark(table)
        self._at = end + 1  # behind the equals sign
        self._value(table)

    def _value(self, place: Place) -> None:
        opening = self._next()
        self._mark(place)
        if opening in "[{":
            self._at += 1
            element = 0
            while self._next() not in "]}":
                if opening == "{":
                    self._pair(place)
                else:
                    self._value((*place, element))
                element += 1
                if self._next() == ",":
                    self._at += 1
            self._at += 1
        elif self._string() is None:
            found = _SCALAR.match(self._text, self._at)
            self._at = found.end() if found else self._at
