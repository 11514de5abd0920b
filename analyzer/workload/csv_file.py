"""The text of a CSV file (RFC 4180) as columns, and the line of each of its rows, exact also with quoted line ends."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow as pa
from pyarrow import csv as arrow_csv

from segcast.analyzer.workload.table import MOST_FLOWS, Where
from segcast.traces.disk.names import visible
from segcast.traces.errors import InputError

_HEADER_BYTES: Final = 1 << 14
_BLOCK_BYTES: Final = 1 << 24
_LONGEST_FIELD: Final = 1 << 17  # csv's own limit


def header_of(path: Path) -> list[str]:
    """The names in a CSV file's first line. Raises InputError if the file is no text, or has no such line."""
    shown = visible(path)
    with path.open("rb") as opened:
        head = opened.read(_HEADER_BYTES)
    head = head.removeprefix(codecs.BOM_UTF8)
    line = head.splitlines()[0] if head.splitlines() else b""
    if b"\x00" in head:
        raise InputError(f"{shown}: is neither CSV nor Parquet: it holds zero bytes; docs/workloads.md has the format")
    if len(line) >= _HEADER_BYTES - len(codecs.BOM_UTF8):
        raise InputError(f"{shown}:1: the header is longer than {_HEADER_BYTES:,} bytes; is this a flow list?")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{shown}:1: is not UTF-8 text; docs/workloads.md has the format") from None
    try:
        return next(csv.reader([text], strict=True), [""])
    except csv.Error as error:
        raise InputError(f"{shown}:1: not CSV: {error}") from None


def read_csv(path: Path, names: Sequence[str]) -> tuple[pl.DataFrame, Where]:
    """The rows below the header as text, column by column with these names, and where they are. Raises InputError."""
    shown = visible(path)

    def where(row: int, column: str) -> str:
        return f"{shown}:{_line_of(path, row)}: column {column}"

    options = arrow_csv.ReadOptions(block_size=_BLOCK_BYTES, column_names=list(names), skip_rows=1)
    parse = arrow_csv.ParseOptions(newlines_in_values=True)
    convert = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, quoted_strings_can_be_null=False
    )
    batches: list[pa.RecordBatch] = []
    rows = 0
    try:
        with arrow_csv.open_csv(path, options, parse, convert) as reader:
            for batch in reader:
                rows += len(batch)
                if rows > MOST_FLOWS:
                    raise InputError(f"{shown}: more than {MOST_FLOWS:,} flows; at most that many are supported")
                batches.append(batch)
    except pa.ArrowException as error:
        if any(words in str(error) for words in ("Empty CSV file", "Could not skip")):
            raise InputError(f"{shown}: has a header and no flows") from None
        _explain(path, names)
        raise InputError(f"{shown}: not CSV: {str(error).partition(chr(10))[0]}") from None
    if rows == 0:
        raise InputError(f"{shown}: has a header and no flows")
    if _quotes(path):  # which pyarrow takes for granted wherever they stand: to it "5"6 is 56
        _explain(path, names)
    table = pl.from_arrow(pa.Table.from_batches(batches))
    assert isinstance(table, pl.DataFrame)
    return table, where


def _quotes(path: Path) -> bool:
    """Whether the file has a quotation mark anywhere."""
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            if b'"' in block:
                return True
    return False


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, each with the line, from 1, that it begins on. Raises InputError."""
    shown = visible(path)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
        reader = csv.reader(opened, strict=True)
        begins = 1
        try:
            for fields in reader:
                if begins > 1 and fields:
                    yield begins, fields
                begins = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"{shown}:{begins}: not CSV: {error}") from None


def _line_of(path: Path, row: int) -> int | str:
    """The line that a row begins on. Both parsers agree on what a row is, or the place is said to be a row."""
    for number, (line, _) in enumerate(_rows(path)):
        if number == row:
            return line
    return f"row {row + 1}"


def _explain(path: Path, names: Sequence[str]) -> None:
    """Raise InputError for the first row that is no row of these columns."""
    shown = visible(path)
    for number, (line, fields) in enumerate(_rows(path)):
        if number >= MOST_FLOWS:
            raise InputError(f"{shown}: more than {MOST_FLOWS:,} flows; at most that many are supported")
        if len(fields) != len(names):
            raise InputError(
                f"{shown}:{line}: has {len(fields)} {'field' if len(fields) == 1 else 'fields'}, "
                f"and the header {len(names)}"
            )
        for name, text in zip(names, fields, strict=True):
            if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
                raise InputError(f"{shown}:{line}: column {name}: is not UTF-8 text")
            if len(text) > _LONGEST_FIELD:
                raise InputError(f"{shown}:{line}: column {name}: is longer than {_LONGEST_FIELD:,} characters")
