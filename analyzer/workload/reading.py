"""Reads a workload from CSV or Parquet; every error is one line that names file, line and column."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.workload.columns import workload_from
from segcast.analyzer.workload.csv_file import header_of, read_csv
from segcast.analyzer.workload.table import MOST_FLOWS, WORKLOAD, Workload
from segcast.traces.disk.names import visible
from segcast.traces.errors import InputError
from segcast.traces.refusals import meant

_PARQUET: Final = b"PAR1"
_SYNONYMS: Final = {"spine": "path"}
_NEEDED: Final = ("flow", "start_ns", "src", "dst", "bytes")
_MAKE: Final = "docs/workloads.md has the format"


def is_workload(file: str | Path) -> bool:
    """Whether a file is a flow list rather than a capture: by its name, or Parquet or a CSV header by its content."""
    path = Path(file)
    if not path.is_file():
        return False
    if path.suffix.lower() in (".csv", ".parquet"):
        return True
    try:
        with path.open("rb") as opened:
            head = opened.read(4096)
    except OSError:
        return False
    first = head.partition(b"\n")[0].removeprefix(codecs.BOM_UTF8)
    return head.startswith(_PARQUET) or {b"start_ns", b"bytes"} <= {part.strip(b' "\r') for part in first.split(b",")}


def read_workload(file: str | Path) -> Workload:
    """The flow list in a file, CSV or Parquet by its content. Raises InputError."""
    path = Path(file)
    try:
        if path.is_dir():
            raise InputError(f"{visible(path)}: is a folder, not a flow list; {_MAKE}")
        if not path.is_file():
            raise InputError(f"{visible(path)}: " + ("is not a regular file" if path.exists() else "not found"))
        with path.open("rb") as opened:
            begins = opened.read(4)
        if not begins:
            raise InputError(f"{visible(path)}: is empty; {_MAKE}")
        return _of_parquet(path) if begins == _PARQUET else _of_csv(path)
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise InputError(f"{visible(path)}: cannot read the flow list: {reason}") from None


def _of_csv(path: Path) -> Workload:
    header = header_of(path)
    names = _known(header, f"{visible(path)}:1")
    table, where = read_csv(path, names)
    return workload_from(table, where)


def _of_parquet(path: Path) -> Workload:
    shown = visible(path)
    try:
        with pq.ParquetFile(path.absolute(), pre_buffer=False) as opened:
            names = _known(opened.schema_arrow.names, shown)
            if opened.metadata.num_rows > MOST_FLOWS:
                raise InputError(f"{shown}: {opened.metadata.num_rows:,} flows; at most {MOST_FLOWS:,} are supported")
            found = opened.read()
            found.validate(full=True)
    except (pa.ArrowException, UnicodeError) as error:
        raise InputError(f"{shown}: unreadable ({str(error).partition(chr(10))[0]}); {_MAKE}") from None
    columns: dict[str, pl.Series] = {}
    for name, field in zip(names, found.schema, strict=True):
        listed = pa.types.is_list(field.type) or pa.types.is_large_list(field.type)
        kind = field.type.value_type if listed else field.type
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        if pa.types.is_dictionary(kind):
            text = pa.types.is_string(kind.value_type)
        whole = pa.types.is_integer(kind)
        numeric = WORKLOAD.arrow_schema().field(name).type == pa.int64()
        if (listed and (name != "after" or not text)) or not (
            whole or (text and not numeric) or pa.types.is_null(kind)
        ):
            wanted = "whole numbers" if numeric else "text"
            raise InputError(f"{shown}: column {name} is {field.type}, not {wanted}; {_MAKE}")
        column = pl.Series(name, found.column(len(columns)))
        if listed:
            column = column.list.join(" ")
        columns[name] = column if numeric else column.cast(pl.String)

    def where(row: int, column: str) -> str:
        return f"{shown}: row {row + 1}: column {column}"

    return workload_from(pl.DataFrame(columns), where)


def _known(header: Sequence[Any], place: str) -> list[str]:
    """The columns that a header names. Raises InputError if one is unknown, there twice or missing."""
    known = WORKLOAD.names()
    found: list[str] = []
    for name in header:
        column = _SYNONYMS.get(name, name)
        if column not in known:
            shown = visible(name if len(name) <= 40 else name[:40] + "…")
            hint = meant(name.strip().lower(), known)
            raise InputError(
                f"{place}: unknown column {shown!r}{hint} Known are {', '.join(known)}".replace("' K", "'; k")
            )
        if column in found:
            also = f", which is another name of {column}" if name != column else ""
            raise InputError(f"{place}: column {name} is there twice{also}")
        found.append(column)
    if missing := [name for name in _NEEDED if name not in found]:
        raise InputError(f"{place}: column {missing[0]} is missing; a flow list has {', '.join(_NEEDED)}")
    return found
