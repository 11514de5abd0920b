"""From a list's columns, text or numbers, to a workload: parsed, named and checked, all rows at once."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import LATEST_NS
from segcast.analyzer.workload.table import (
    LONGEST_NAME,
    MOST_BYTES,
    MOST_HOST,
    MOST_SLOT,
    UNPINNED,
    Where,
    Workload,
    check,
    numbered,
)
from segcast.traces.disk.names import visible
from segcast.traces.errors import InputError

_WHOLE: Final = re.compile(r"-?[0-9]+")
_NO_NAME: Final = r"[\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
_NO_TEXT: Final = r"[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]"
_SHOWN: Final = 60


def workload_from(table: pl.DataFrame, where: Where) -> Workload:
    """The workload in a table with columns of WORKLOAD, as text or as whole numbers. Raises InputError."""
    parse = _Parser(table, where)
    names = parse.names()
    after_first, after_row = parse.after(names)
    waits = np.diff(after_first) > 0
    start_ns = parse.whole("start_ns", 0, LATEST_NS, 0 if waits.any() else None)
    parse.require("start_ns", ~waits, "is empty, and the flow waits for none: say when it starts")
    addresses, source, target = parse.ends()
    connection, connection_name = numbered(parse.texts("connection"), len(table))
    workload = Workload(
        names.to_arrow().cast("string"),
        start_ns,
        source,
        target,
        parse.whole("bytes", 1, MOST_BYTES, None),
        parse.whole("path", UNPINNED, MOST_SLOT, UNPINNED),
        after_first,
        after_row,
        parse.whole("think_ns", 0, LATEST_NS, 0),
        connection,
        connection_name,
        addresses,
        where,
    )
    check(workload)
    return workload


class _Parser:
    """The columns of one list; what a column lacks is empty."""

    def __init__(self, table: pl.DataFrame, where: Where) -> None:
        self._table = table
        self._where = where

    def _wrong(self, row: int, column: str, message: str) -> InputError:
        return InputError(f"{self._where(row, column)}: {message}")

    def _text(self, column: str) -> pl.Series:
        if column not in self._table.columns:
            return pl.Series(column, [""], pl.String).new_from_index(0, len(self._table))
        return self._table[column].cast(pl.String).fill_null("")

    def names(self) -> pl.Series:
        """The flows' names. Raises InputError unless each is there once and can be named by another."""
        names = self._text("flow")
        for wrong, message in (
            (names == "", "is empty: every flow has a name"),
            (names.str.contains(_NO_NAME), "{} holds spaces or signs that cannot be seen"),
            (names.str.len_chars() > LONGEST_NAME, f"is longer than {LONGEST_NAME} characters"),
        ):
            if wrong.any():
                row = _first(wrong)
                raise self._wrong(row, "flow", message.format(_shown(names[row])))
        if names.n_unique() != len(names):
            row = _first(~names.is_first_distinct())
            first = _first(names == names[row])
            line = self._where(first, "flow").rpartition(": column")[0]
            raise self._wrong(row, "flow", f"{_shown(names[row])} is there twice, first at {line}")
        return names

    def whole(self, column: str, low: int, high: int, default: int | None) -> NDArray[np.int64]:
        """Whole numbers from low to high, int64[n]; where empty the default, unless it is None. Raises InputError."""
        if column not in self._table.columns and default is not None:
            return np.full(len(self._table), default, np.int64)
        found = self._table[column]
        if found.dtype == pl.String:
            empty = found.fill_null("") == ""
            numbers = found.cast(pl.Int64, strict=False).set(~found.fill_null("").str.contains(r"^-?[0-9]+$"), None)
        else:
            empty = found.is_null()
            numbers = found.cast(pl.Int64, strict=False)
        wrong = ~numbers.is_between(low, high).fill_null(False)
        if default is not None:
            wrong &= ~empty
        if wrong.any():
            row = _first(wrong)
            raise self._wrong(row, column, _why(found[row], low, high))
        return numbers.fill_null(default if default is not None else 0).to_numpy(writable=True).astype(np.int64)

    def require(self, column: str, needed: NDArray[np.bool_], message: str) -> None:
        """Raise InputError if a row that needs a value of the column has none."""
        wrong = pl.Series(needed) & (self._text(column) == "")
        if wrong.any():
            raise self._wrong(_first(wrong), column, message)

    def texts(self, column: str) -> list[str] | None:
        """Text of at most LONGEST_NAME characters that can be seen; None if the list has no such column."""
        if column not in self._table.columns:
            return None
        found = self._text(column)
        wrong = found.str.contains(_NO_TEXT) | (found.str.len_chars() > LONGEST_NAME)
        if wrong.any():
            row = _first(wrong)
            raise self._wrong(
                row, column, f"{_shown(found[row])} is longer than {LONGEST_NAME} characters, or cannot be seen"
            )
        texts: list[str] = found.to_list()
        return texts

    def after(self, names: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What each flow waits for, as `after_first` and `after_row` of a Workload. Raises InputError."""
        count = len(names)
        if "after" not in self._table.columns:
            return np.zeros(count + 1, np.int64), np.zeros(0, np.int64)
        parts = (
            pl.DataFrame({"row": pl.int_range(count, eager=True), "name": self._text("after").str.extract_all(r"\S+")})
            .explode("name", empty_as_null=True)
            .drop_nulls("name")
        )
        rows = pl.DataFrame({"name": names, "awaited": pl.int_range(count, eager=True)})
        found = parts.join(rows, on="name", how="left", maintain_order="left")
        unknown = found["awaited"].is_null()
        if unknown.any():
            row, name = found["row"][_first(unknown)], found["name"][_first(unknown)]
            raise self._wrong(row, "after", f"there is no flow {_shown(name)}")
        twice = found.select(pl.struct("row", "awaited")).to_series().is_duplicated()
        if twice.any():
            row, name = found["row"][_first(twice)], found["name"][_first(twice)]
            raise self._wrong(row, "after", f"names {_shown(name)} twice")
        first = np.zeros(count + 1, np.int64)
        np.cumsum(np.bincount(found["row"].to_numpy(), minlength=count), out=first[1:])
        return first, found["awaited"].to_numpy(writable=True).astype(np.int64)

    def ends(self) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
        """Addresses, none if hosts are numbers, and the hosts that send and receive. Raises InputError."""
        src, dst = self._text("src"), self._text("dst")
        numeric = pl.DataFrame({"src": src, "dst": dst}).select(pl.all().str.contains(r"^-?[0-9]+$"))
        if bool(numeric["src"][0]):
            for column in ("src", "dst"):
                if not numeric[column].all():
                    row = _first(~numeric[column])
                    found = _shown(self._text(column)[row])
                    raise self._wrong(row, column, f"{found} is no number of a host, as the first src is")
            return (), self.whole("src", 0, MOST_HOST, None), self.whole("dst", 0, MOST_HOST, None)
        for column in ("src", "dst"):
            if numeric[column].any():
                row = _first(numeric[column])
                found = _shown(self._text(column)[row])
                raise self._wrong(
                    row, column, f"{found} is the number of a host, and the first src an address or empty"
                )
        return self._addresses(src, dst)

    def _addresses(
        self, src: pl.Series, dst: pl.Series
    ) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
        code: dict[str, int] = {}
        number: dict[str, int] = {}
        for text in pl.concat([src, dst]).unique(maintain_order=True):
            address = _address(text)
            if address is None:
                row, column = next((_first(end == text), end.name) for end in (src, dst) if (end == text).any())
                said = (
                    f"{_shown(text)} is neither the IP address of one host nor the number of one"
                    if text
                    else "is empty"
                )
                raise self._wrong(row, column, said)
            code[text] = number.setdefault(address, len(number))
        ends = [
            end.replace_strict(list(code), list(code.values()), return_dtype=pl.Int64).to_numpy(writable=True)
            for end in (src, dst)
        ]
        return tuple(number), ends[0], ends[1]


def _address(text: str) -> str | None:
    """An IP address of one host as it is written canonically; None if the text is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    several = address.is_multicast or address.is_unspecified or address.is_loopback or text == "255.255.255.255"
    return None if several or "%" in text else str(address)


def _first(wrong: pl.Series) -> int:
    place = wrong.arg_max()
    assert place is not None
    return place


def _shown(text: str) -> str:
    return f"'{visible(text if len(text) <= _SHOWN else text[:_SHOWN] + '…')}'"


def _why(value: object, low: int, high: int) -> str:
    """What is wrong with a value that is no whole number from low to high."""
    text = "" if value is None else str(value)
    if text == "":
        return "is empty"
    if not _WHOLE.fullmatch(text):
        return f"{_shown(text)} is not a whole number"
    if len(text) <= _SHOWN and int(text) < low:
        return f"{text} is less than {low:,}"
    return f"{_shown(text).strip(chr(39))} is more than {high:,}"
