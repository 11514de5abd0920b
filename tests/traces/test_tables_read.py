"""Tables of our folders, read back: what is no file, or holds what no writer of ours writes, is one line."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segcast.traces.disk.parquet import read_batches, read_table
from segcast.traces.errors import InputError
from segcast.traces.schema import Column, Table

TABLE = Table("some", "rows", (Column("load", pa.float64(), "factor"), Column("low", pa.float64(), "bound", True)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("name", ["load", "low"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, name: str, value: float) -> None:
    file = tmp_path / "some.parquet"
    values = {"load": [1.0, 2.0], "low": [None, 1.0]}
    pq.write_table(pa.table(values), file)
    assert read_table(file, TABLE, mend="again").to_pydict() == values
    pq.write_table(pa.table(values | {name: [1.0, value]}), file)
    for read in (
        lambda: read_table(file, TABLE, mend="again"),
        lambda: list(read_batches(file, TABLE, rows=9, mend="again")),
    ):
        with pytest.raises(InputError, match=f"column {name} holds a number that is not finite; again"):
            read()


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(InputError, match="is not a regular file; again"):
            read_table(place, TABLE, mend="again")
    with pytest.raises(InputError, match="not found; again"):
        read_table(tmp_path / "none", TABLE, mend="again")
