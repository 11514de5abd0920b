"""Reads the Parquet files of our folders: of the table they should hold, or one line saying what is wrong.

Columns are looked for by name and must have the type of the schema; others are left unread. Nothing is filled in.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from segcast.traces.errors import InputError
from segcast.traces.schema import Table


@contextlib.contextmanager
def open_table(file: Path, table: Table, mend: str) -> Iterator[pq.ParquetFile]:
    """The open `file`, its footer checked against `table`.

    Raises InputError that ends in `mend`; also for what goes wrong with the file while it is open.
    """
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # to open a pipe would wait for whoever writes to it
            raise InputError(f"{file}: is not a regular file; {mend}")
        # Of a relative path Arrow expands `~`, and takes `s3:/x` for a URL.
        with pq.ParquetFile(file.absolute(), pre_buffer=False) as opened:
            _check_schema(opened.schema_arrow, file, table, mend)
            yield opened
    except FileNotFoundError:
        raise InputError(f"{file}: not found; {mend}") from None
    except MemoryError:
        raise
    except (OSError, pa.ArrowException, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        reason = (said or str(error)).partition("\n")[0]
        raise InputError(f"{file}: unreadable ({reason}); {mend}") from None


def read_table(file: Path, table: Table, columns: Sequence[str] | None = None, *, mend: str) -> pa.Table:
    """The columns of `table` in `file`, all or those named, in that order. Raises InputError that ends in `mend`."""
    names = table.names() if columns is None else list(columns)
    with open_table(file, table, mend) as opened:
        content = opened.read(names).select(names)
        check_values(content, file, table, mend)
        return content.replace_schema_metadata()


def read_batches(
    file: Path, table: Table, columns: Sequence[str] | None = None, *, rows: int, mend: str
) -> Iterator[pa.RecordBatch]:
    """As `read_table`, at most `rows` rows at a time."""
    names = table.names() if columns is None else list(columns)
    with open_table(file, table, mend) as opened:
        for batch in opened.iter_batches(batch_size=rows, columns=names):
            chosen = batch.select(names)
            check_values(chosen, file, table, mend)
            yield chosen.replace_schema_metadata()


def check_values(content: pa.Table | pa.RecordBatch, file: Path, table: Table, mend: str) -> None:
    """Raise InputError if text is not UTF-8, a number not finite, or null what has no nulls by its schema."""
    content.validate(full=True)
    for column in table.columns:
        if column.name not in content.schema.names:
            continue
        values = content.column(column.name)
        if not column.nullable and values.null_count:
            raise InputError(f"{file}: column {column.name} holds nulls; {mend}")
        if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values), min_count=0).as_py():
            raise InputError(f"{file}: column {column.name} holds a number that is not finite; {mend}")


def _check_schema(found: pa.Schema, file: Path, table: Table, mend: str) -> None:
    for column in table.columns:
        place = found.get_field_index(column.name)
        if place < 0:
            raise InputError(f"{file}: column {column.name} is missing; {mend}")
        if found.field(place).type != column.type:
            raise InputError(f"{file}: column {column.name} is {found.field(place).type}, not {column.type}; {mend}")
