"""Writes a workload as CSV or Parquet, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as arrow_csv

from segcast.analyzer.workload.table import UNPINNED, WORKLOAD, Workload
from segcast.traces.disk.folders import new_file
from segcast.traces.errors import InputError


def write_workload(workload: Workload, file: str | Path) -> None:
    """Write a workload as the file's name says; what `read_workload` reads back is equal. Raises InputError."""
    path = Path(file)
    check_target(path)
    table = table_of(workload)
    with new_file(path) as aside:
        if path.suffix.lower() == ".parquet":
            pq.write_table(table, aside, compression="zstd")
        else:
            with aside.open("wb") as opened:
                opened.write((",".join(table.column_names) + "\n").encode())
                arrow_csv.write_csv(table, opened, arrow_csv.WriteOptions(include_header=False, quoting_style="needed"))


def check_target(path: Path) -> None:
    """Raise InputError unless the name says which format it is to be."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{path}: name a file that ends in .csv or .parquet")


def table_of(workload: Workload) -> pa.Table:
    """The workload as a table of WORKLOAD, without columns that would be empty throughout."""
    columns = {
        "flow": workload.flow,
        "start_ns": pa.array(workload.start_ns),
        "src": _hosts(workload, workload.source),
        "dst": _hosts(workload, workload.target),
        "bytes": pa.array(workload.bytes),
    }
    if (workload.path != UNPINNED).any():
        columns["path"] = pa.array(workload.path)
    if len(workload.after_row):
        columns["after"] = _after(workload)
    if workload.think_ns.any():
        columns["think_ns"] = pa.array(workload.think_ns)
    names = workload.connection_name.take(pa.array(workload.connection))
    if any(workload.connection_name.unique().to_pylist()):
        columns["connection"] = names
    schema = WORKLOAD.arrow_schema()
    fields = [schema.field(name).with_nullable(True) for name in columns]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns.values(), fields, strict=True)],
        pa.schema(fields),
    )


def _hosts(workload: Workload, end: np.ndarray) -> pa.Array:
    if not workload.addresses:
        return pa.array(end).cast(pa.string())
    return pa.array(workload.addresses, pa.string()).take(pa.array(end))


def _after(workload: Workload) -> pa.Array:
    rows = np.repeat(np.arange(len(workload)), np.diff(workload.after_first))
    awaited = workload.flow.take(pa.array(workload.after_row))
    joined = (
        pl.DataFrame({"row": rows, "name": pl.Series(awaited)})
        .group_by("row", maintain_order=True)
        .agg(pl.col("name").str.join(" "))
    )
    texts = np.full(len(workload), "", object)
    texts[joined["row"].to_numpy()] = joined["name"].to_numpy()
    return pa.array(texts, pa.string())
