"""Reading a forecast back: its document, its scenario, and the schedule of one of its cells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analyzer.schema import PACKET_FATES, SUMMARY
from traces.errors import InputError
from traces.units import write_duration


def read_document(folder: Path) -> dict[str, Any]:
    """The content of forecast.json. Raises InputError if `folder` is not a forecast."""
    try:
        document = json.loads((folder / "forecast.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder}: not a forecast (no forecast.json); make one with segcast forecast") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}/forecast.json: cannot be read: {error}") from None
    if not isinstance(document, dict) or "trace" not in document:
        raise InputError(f"{folder}/forecast.json: not the document of a forecast")
    return document


def find_cell(folder: Path, policy: str, timeout_ns: int | None, seed: int | None) -> dict[str, Any]:
    """The first fitting cell whose packets were kept, as a row of `summary`. Raises InputError naming those kept."""
    try:
        rows: list[dict[str, Any]] = pq.read_table(
            folder / "summary.parquet", schema=SUMMARY.arrow_schema()
        ).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{folder}/summary.parquet: cannot be read: {error}") from None
    kept = [row for row in rows if (folder / "packets" / f"{row['cell']}.parquet").is_file()]
    for row in kept:
        if row["policy"] == policy and timeout_ns in (None, row["timeout_ns"]) and seed in (None, row["seed"]):
            return row
    wanted = policy
    if timeout_ns is not None:
        wanted += f", timeout {write_duration(timeout_ns)}"
    if seed is not None:
        wanted += f", seed {seed}"
    there = ", ".join(row["cell"] for row in kept) or "none; run segcast forecast with --packets first"
    raise InputError(f"{folder}: no schedule for {wanted}; kept: {there}")


def read_schedule(folder: Path, cell: str) -> pa.Table:
    """Packets of a cell, PACKET_FATES, in send order. Raises InputError."""
    file = folder / "packets" / f"{cell}.parquet"
    try:
        return pq.read_table(file, schema=PACKET_FATES.arrow_schema())
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{file}: cannot be read: {error}") from None
