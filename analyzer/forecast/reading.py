"""Reading a forecast back: its document, its tables, and the schedule of one of its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import Field

from segcast.analyzer.schema import PACKET_FATES, SUMMARY
from segcast.traces.captures.stored import STDIN
from segcast.traces.disk.documents import Count, Shape, Whole, check_shape, read_json
from segcast.traces.disk.folders import FORECAST, check_name
from segcast.traces.disk.parquet import read_table
from segcast.traces.errors import InputError
from segcast.traces.ingest.inputs import is_pipe
from segcast.traces.ingest.run import open_trace
from segcast.traces.schema import Table
from segcast.traces.trace import Trace
from segcast.traces.units import duration_ns, write_duration

_AGAIN: Final = "run segcast forecast again"


class _SourceShape(Shape):
    path: str


class _FindingShape(Shape):
    severity: str
    count: Count
    detail: str
    effect: str


class _TraceShape(Shape):
    name: str = ""
    packets: Count | None = None
    flows: Count | None = None
    duration_ns: Whole | None = None
    findings: list[_FindingShape] = Field(default_factory=list)
    sources: list[_SourceShape] = Field(default_factory=list)


class _LinkShape(Shape):
    name: str = ""
    rate_bps: Count | None = None
    delay_ns: Count | None = None
    buffer_bytes: Count | None = None
    ecn_bytes: Count | None = None
    overhead_bytes: Count | None = None
    burst_bytes: Count | None = None


class _PathShape(Shape):
    path_id: Count
    group: Count
    slot: Count | None = None
    links: list[str] = Field(default_factory=list)
    rate_bps: Count | None = None
    delay_ns: Count | None = None
    srv6_bytes: Count = 0


class Group(Shape):
    """The attachments between which the paths of a group lead."""

    group: Count
    a: str = Field(alias="from")
    b: str = Field(alias="to")


class _ChangeShape(Shape):
    at_ns: Whole
    link: str
    rate_bps: Count


class _NetworkShape(Shape):
    kind: str = ""
    changes: list[_ChangeShape] = Field(default_factory=list)
    groups: list[Group] = Field(default_factory=list)
    links: list[_LinkShape] = Field(default_factory=list)
    paths: list[_PathShape] = Field(default_factory=list)


class _VariantShape(Shape):
    policy: str
    timeout: str | None = None
    timeout_ns: Whole | None = None
    load: float = 1.0


class _ComparisonShape(_VariantShape):
    metric: str
    baseline_policy: str = ""
    baseline_timeout: str | None = None
    baseline_timeout_ns: Whole | None = None
    value: float | None = None
    baseline: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None


class _DocumentShape(Shape):
    """What `forecast.json` holds, as far as it is read back; what is absent is not shown."""

    segcast: str = ""
    answer: str = ""
    answered: _VariantShape | None = None
    baseline: _VariantShape = _VariantShape(policy="")
    comparisons: list[_ComparisonShape] = Field(default_factory=list)
    trace: _TraceShape = _TraceShape()
    excluded: dict[str, Count] = Field(default_factory=dict)
    network: _NetworkShape = _NetworkShape()


class OriginSource(Shape):
    """A capture that a forecast was made from."""

    path: str
    xxh128: str


class Origin(Shape):
    """The trace that a forecast was made from: its folder, and the captures of that."""

    folder: str
    layer: Literal["outer", "inner"]
    sources: list[OriginSource]


class _OriginShape(Shape):
    trace: Origin


def read_document(folder: Path) -> dict[str, Any]:
    """The content of forecast.json: every value of a known key is of its type. Raises InputError."""
    check_name(folder)
    file = folder / FORECAST.marker
    try:
        document = read_json(file, _AGAIN)
    except FileNotFoundError:
        raise InputError(f"{file}: not found, so this is not a forecast; make one with segcast forecast") from None
    check_shape(document, _DocumentShape, file, _AGAIN)
    return document


def origin_of(folder: Path) -> Origin:
    """What forecast.json says of the trace. Raises InputError, also if it does not say it all."""
    document = read_document(folder)
    check_shape(document, _OriginShape, folder / FORECAST.marker, _AGAIN)
    return _OriginShape.model_validate(document).trace


def trace_of(folder: Path) -> Trace:
    """The trace that the forecast in `folder` was made from, unchanged.

    A forecast of a single capture may have had it ingested on the way: where that trace is gone, the capture is
    ingested again. Raises InputError if the trace came from a pipe, is gone, or is not the one it was.
    """
    origin = origin_of(folder)
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
    shape = _DocumentShape.model_validate(read_document(folder))
    groups = {group.group: (group.a, group.b) for group in shape.network.groups}
    if not groups or sorted(groups) != list(range(len(shape.network.groups))):
        raise InputError(f"{folder / FORECAST.marker}: network.groups: must be numbered from 0 on; {_AGAIN}")
    return [groups[number] for number in range(len(groups))]


def find_cell(
    folder: Path, policy: str, timeout: str | None, seed: int | None, load: float | None = None
) -> dict[str, Any]:
    """The first fitting cell whose packets were kept, as a row of `summary`; policy and timeout are labels.

    A timeout may be any writing of a duration: tables have its shortest.
    Raises InputError naming those kept.
    """
    if timeout is not None and timeout[:1].isdigit():
        timeout = write_duration(duration_ns(timeout))
    rows: list[dict[str, Any]] = read_summary(folder).to_pylist()
    kept = [row for row in rows if (folder / "packets" / f"{row['cell']}.parquet").is_file()]
    for row in kept:
        chosen = timeout in (None, row["timeout"]) and seed in (None, row["seed"]) and load in (None, row["load"])
        if row["policy"] == policy and chosen:
            return row
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
