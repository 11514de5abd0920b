"""Reading a forecast back: its document, its tables, and the schedule of one of its cells."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
from pydantic import Field

from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.schema import PACKET_FATES
from segcast.traces.disk.documents import Count, Shape, Whole, check_shape, read_json
from segcast.traces.disk.folders import FORECAST, check_name
from segcast.traces.disk.parquet import read_table
from segcast.traces.errors import InputError
from segcast.traces.schema import Table
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
