"""Reading a forecast back: its document, its tables, and the schedule of one of its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from segcast.analyzer.forecast.document import SCHEMA_VERSION, ForecastDocument, ForecastTrace
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.schema import PACKET_FATES
from segcast.traces.captures.stored import STDIN
from segcast.traces.disk.documents import check_present, read_shape
from segcast.traces.disk.folders import FORECAST
from segcast.traces.disk.names import check_name
from segcast.traces.disk.parquet import read_table
from segcast.traces.errors import InputError
from segcast.traces.ingest.inputs import is_pipe
from segcast.traces.ingest.opening import open_trace
from segcast.traces.schema import Table
from segcast.traces.trace import Trace
from segcast.traces.units import duration_ns, write_duration

_AGAIN: Final = "run segcast forecast again"


_TRACE: Final = ("trace", "trace.folder", "trace.layer", "trace.sources", "trace.sources.xxh128")


def read_document(folder: Path) -> ForecastDocument:
    """What forecast.json says; what it may leave out is as the model has it by default. Raises InputError."""
    check_name(folder)
    file = folder / FORECAST.marker
    missing = f"{file}: not found, so this is not a forecast; make one with segcast forecast"
    document = read_shape(file, ForecastDocument, missing, _AGAIN)
    if document.schema_version > SCHEMA_VERSION:
        version = f"schema version {document.schema_version}, but this Segcast reads at most {SCHEMA_VERSION}"
        raise InputError(f"{file}: {version}; read it with the Segcast that wrote it, or {_AGAIN}")
    return document


def origin_of(folder: Path) -> ForecastTrace:
    """What forecast.json says of the trace. Raises InputError, also if it does not say it all."""
    document = read_document(folder)
    check_present(document, _TRACE, folder / FORECAST.marker, _AGAIN)
    return document.trace


def captured_origin(folder: Path) -> ForecastTrace:
    """The same of a forecast whose packets were captured. Raises InputError for one of a flow list, too."""
    check_captured(folder)
    return origin_of(folder)


def check_captured(folder: Path) -> None:
    """Raise InputError if the packets of a forecast were made by its senders: they are in no capture."""
    origin = read_document(folder).trace
    if origin.kind == "workload":
        raise InputError(
            f"{folder}: is of a flow list ({origin.name}), whose packets its own senders made; "
            "what needs captured packets needs the forecast of a trace"
        )
    if origin.reacts:
        raise InputError(
            f"{folder}: has packets that TCP senders made in place of the captured ones; what needs captured packets "
            "needs a forecast without [transport] and --transport"
        )


def trace_of(folder: Path) -> Trace:
    """The trace that the forecast in `folder` was made from, unchanged.

    A forecast of a single capture may have had it ingested on the way: where that trace is gone, the capture is
    ingested again. Raises InputError if the trace came from a pipe, is gone, or is not the one it was.
    """
    origin = captured_origin(folder)
    for source in origin.sources:
        if source.path == STDIN or is_pipe(source.path):
            raise InputError(
                f"{folder}: its trace was read from a pipe ({source.path}), so its packets cannot be read again; "
                "save the capture to a file, ingest that, and run segcast forecast on it"
            )
    kept = Path(origin.folder)
    where = kept if kept.is_dir() or len(origin.sources) != 1 else origin.sources[0].path
    trace = open_trace(where, layer=origin.layer)
    if [source.xxh128 for source in trace.sources] != [source.xxh128 for source in origin.sources]:
        raise InputError(f"{trace.folder}: is not the trace of {folder} any more; {_AGAIN}")
    return trace


def read_forecast_table(folder: Path, table: Table) -> pa.Table:
    """A table of a forecast folder. Raises InputError."""
    return read_table(folder / f"{table.name}.parquet", table, mend=_AGAIN)


def read_summary(folder: Path) -> pa.Table:
    """SUMMARY, at least one row. Raises InputError."""
    table = read_forecast_table(folder, SUMMARY)
    if table.num_rows == 0:
        raise InputError(f"{folder / SUMMARY.name}.parquet: holds no cell; {_AGAIN}")
    return table


def groups_of(folder: Path) -> list[tuple[str, str]]:
    """The attachments (from, to) of each group of a forecast. Raises InputError, also if it does not name them all."""
    stated = read_document(folder).network.groups
    groups = {group.group: (group.a, group.b) for group in stated}
    if not groups or sorted(groups) != list(range(len(stated))):
        raise InputError(f"{folder / FORECAST.marker}: network.groups: must be numbered from 0 on; {_AGAIN}")
    return [groups[number] for number in range(len(groups))]


def find_cell(
    folder: Path, policy: str, timeout: str | None, seed: int | None, load: float | None = None
) -> dict[str, Any]:
    """The first fitting cell whose packets were kept, as a row of `summary`; policy and timeout are labels.

    A timeout may be any writing of a duration: tables have its shortest. Of several loads one must be given.
    Raises InputError naming those kept.
    """
    if timeout is not None and timeout[:1].isdigit():
        timeout = write_duration(duration_ns(timeout))
    rows: list[dict[str, Any]] = read_summary(folder).to_pylist()
    kept = [row for row in rows if (folder / "packets" / f"{row['cell']}.parquet").is_file()]
    fitting = [
        row
        for row in kept
        if row["policy"] == policy
        and timeout in (None, row["timeout"])
        and seed in (None, row["seed"])
        and load in (None, row["load"])
    ]
    captured = [row for row in fitting if (row["growth"] or 1) <= 1]
    loads = list(dict.fromkeys(row["load"] for row in captured))
    if len(loads) > 1:
        said = ", ".join(f"{each:g}" for each in loads)
        raise InputError(
            f"{folder}: has {policy} at the loads {said}; choose one by --load, such as --load {loads[0]:g}"
        )
    if captured:
        return captured[0]
    if fitting:
        grown = fitting[0]
        raise InputError(
            f"{folder}: {grown['cell']} sends copies of connections (growth {grown['growth']:g}), which are in no "
            "capture; choose a cell without growth by --load, such as --load 1"
        )
    wanted = policy
    if timeout is not None:
        wanted += f", timeout {timeout}"
    if load is not None:
        wanted += f", load {load:g}"
    if seed is not None:
        wanted += f", seed {seed}"
    there = ", ".join(row["cell"] for row in kept) or "none; run segcast forecast with --packets first"
    raise InputError(f"{folder}: no schedule for {wanted}; kept: {there}")


def read_schedule(folder: Path, cell: str) -> pa.Table:
    """Packets of a cell, PACKET_FATES, in send order. Raises InputError."""
    return read_table(folder / "packets" / f"{cell}.parquet", PACKET_FATES, mend=_AGAIN)
