"""A trace on disk: opens its tables lazily, and says clearly what is wrong with a folder that is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from segcast.traces.captures.remote import is_url
from segcast.traces.disk import folders
from segcast.traces.disk.documents import check_shape, read_json
from segcast.traces.disk.names import check_name
from segcast.traces.disk.parquet import open_table, read_batches, read_table
from segcast.traces.document import TraceDocument
from segcast.traces.errors import Damage, InputError
from segcast.traces.schema import FLOWS, PACKETS, SCHEMA_VERSION, SEGMENT_LISTS, Table

if TYPE_CHECKING:
    import polars as pl  # takes as long to import as a small capture to read: only where it is used

TRACE_FILE: Final = folders.TRACE.marker
PACKETS_FOLDER: Final = "packets"
FLOWS_FILE: Final = "flows.parquet"
SEGMENT_LISTS_FILE: Final = "segment_lists.parquet"
_AGAIN: Final = "ingest the captures again"


@dataclass(frozen=True)
class Source:
    """One capture a trace was made from; `file` of its packets is its place in the list. A URL is a `path` as text."""

    path: Path | str
    bytes: int
    xxh128: str
    packets: int
    linktypes: dict[int, int]
    damages: list[Damage]


@dataclass(frozen=True, repr=False)
class Trace:
    """The tables and findings of a trace folder, loaded when asked for. Make one with `open_trace` or `ingest`.

    `only` are the columns of its packets that were copied from elsewhere, if not all.
    """

    folder: Path
    document: TraceDocument
    only: frozenset[str] | None = None

    def __repr__(self) -> str:
        return f"<Trace {trace_name(self)}: {self.packet_count:,} packets of {self.flow_count:,} flows>"

    def _repr_html_(self) -> str:
        """The verdict and the traffic by protocol, as notebooks show them. Raises InputError."""
        from segcast.traces.quality.shown import as_html

        title = f"{trace_name(self)}: {self.packet_count:,} packets of {self.flow_count:,} flows"
        return as_html(title, self.facts())

    @cached_property
    def info(self) -> dict[str, Any]:
        """What `trace.json` holds, as JSON values."""
        return self.document.as_dict()

    def facts(self) -> dict[str, Any]:
        """What it holds, what is wrong with it, and a verdict: the document of `segcast inspect --json`."""
        from segcast.traces.quality.describe import describe

        return describe(self)

    @property
    def packet_count(self) -> int:
        """Rows of the packets table."""
        return self.document.packets

    @property
    def flow_count(self) -> int:
        """Rows of the flows table."""
        return self.document.flows

    @property
    def layer(self) -> Literal["outer", "inner"]:
        """Which IP header counts where tunnels nest them: "outer" or "inner"."""
        return self.document.layer

    @cached_property
    def sources(self) -> list[Source]:
        """The captures, in the order of `file`."""
        return [
            Source(
                entry.path if is_url(entry.path) else Path(entry.path),
                entry.bytes,
                entry.xxh128,
                entry.packets,
                {int(link): count for link, count in entry.linktypes.items()},
                [Damage(damage.offset, damage.reason, damage.resumed_at) for damage in entry.damages],
            )
            for entry in self.document.sources
        ]

    @property
    def resumed_files(self) -> frozenset[int]:
        """The captures, by `file`, that reading went on with after damage: they must be read again so."""
        return frozenset(
            file
            for file, source in enumerate(self.sources)
            if any(damage.resumed_at is not None for damage in source.damages)
        )

    @property
    def part_paths(self) -> list[Path]:
        """The Parquet files of the packets, in order."""
        return [self.folder / PACKETS_FOLDER / part.name for part in self.document.parts]

    @cached_property
    def packets(self) -> pl.LazyFrame:
        """The packets table, unread: `schema.PACKETS` in order of time, each capture in its own order.

        For exploring: what goes wrong when it is read are errors of Polars. Commands use the methods below.
        """
        import polars as pl

        return pl.scan_parquet([path.absolute() for path in self.part_paths], glob=False)

    @cached_property
    def flows(self) -> pl.DataFrame:
        """The flows table: `schema.FLOWS` in order of `flow_id`."""
        import polars as pl

        frame = pl.from_arrow(self.flow_table())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def packet_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The packets as Arrow, all of them in memory; `columns` in the order asked for."""
        names = self._there(_checked(columns, PACKETS))
        tables = []
        for part in self.part_paths:
            tables.append(read_table(part, PACKETS, names, mend=_AGAIN))
            self._check_references(tables[-1], part)
        return pa.concat_tables(tables)

    def flow_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The flows as Arrow."""
        file = self.folder / FLOWS_FILE
        table = read_table(file, FLOWS, _checked(columns, FLOWS), mend=_AGAIN)
        if "flow_id" in table.column_names and not table["flow_id"].combine_chunks().equals(
            pa.array(np.arange(self.flow_count, dtype=np.uint32))
        ):
            raise InputError(f"{file}: column flow_id does not count up from 0; {_AGAIN}")
        self._check_references(table, file)
        return table

    def segment_list_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The SRv6 segment lists as Arrow, in order of `segment_list_id`."""
        file = self.folder / SEGMENT_LISTS_FILE
        return read_table(file, SEGMENT_LISTS, _checked(columns, SEGMENT_LISTS), mend=_AGAIN)

    def packet_batches(self, columns: Sequence[str] | None = None, rows: int = 1 << 17) -> Iterator[pa.RecordBatch]:
        """The packets in order, at most `rows` at a time: for traces larger than memory."""
        names = self._there(_checked(columns, PACKETS))
        for part in self.part_paths:
            for batch in read_batches(part, PACKETS, names, rows=rows, mend=_AGAIN):
                self._check_references(batch, part)
                yield batch

    def _there(self, columns: list[str] | None) -> list[str] | None:
        """`columns`, none of which was left out where the trace was copied. Raises InputError."""
        missing = [] if self.only is None else [name for name in columns or PACKETS.names() if name not in self.only]
        if missing:
            raise InputError(f"{self.folder}: was copied without column {missing[0]}; name the trace itself")
        return columns

    def _check_references(self, content: pa.Table | pa.RecordBatch, file: Path) -> None:
        """Raise InputError if a flow or source is named that does not exist: kernels index by them unchecked."""
        limits = {"flow_id": self.flow_count, "reverse_flow_id": self.flow_count, "file": len(self.document.sources)}
        for name, limit in limits.items():
            most = pc.max(content.column(name)).as_py() if name in content.schema.names else None
            if most is not None and most >= limit:
                raise InputError(f"{file}: column {name} holds numbers beyond {limit - 1}; {_AGAIN}")


def trace_name(trace: Trace) -> str:
    """A short name for reports: the capture's if there is one, else the folder's."""
    path = str(trace.sources[0].path if len(trace.sources) == 1 else trace.folder)
    name = Path(path).name
    return name.split(".")[0] or name


def load(folder: Path) -> Trace:
    """The trace in `folder`; raises InputError if it is not one, is incomplete, or of another schema version."""
    check_name(folder)
    file = folder / TRACE_FILE
    try:
        info = read_json(file, _AGAIN)
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not a trace (it has no {TRACE_FILE}), nor a folder with captures; "
            "make a trace with: segcast ingest CAPTURE... --out NAME.trace"
        ) from None
    version = info.get("schema_version")
    if type(version) is not int:
        raise InputError(f"{file}: states no schema version, so it is not that of a trace; {_AGAIN}")
    if version != SCHEMA_VERSION:
        raise InputError(f"{folder}: schema version {version}, but this Segcast reads {SCHEMA_VERSION}; {_AGAIN}")
    check_shape(info, TraceDocument, file, _AGAIN)
    trace = Trace(folder, TraceDocument.model_validate(info))
    for part, entry in zip(trace.part_paths, trace.document.parts, strict=True):
        _check_footer(part, PACKETS, entry.rows)
    _check_footer(folder / FLOWS_FILE, FLOWS, trace.flow_count)
    with open_table(folder / SEGMENT_LISTS_FILE, SEGMENT_LISTS, _AGAIN):
        pass
    if sum(entry.rows for entry in trace.document.parts) != trace.packet_count:
        raise InputError(f"{file}: its parts do not hold {trace.packet_count} packets together; {_AGAIN}")
    return trace


def _check_footer(file: Path, table: Table, rows: int) -> None:
    """Raise InputError unless `file` is there, holds `table` and as many rows as `trace.json` says."""
    if not file.is_file():
        raise InputError(f"{file}: missing from the trace; {_AGAIN}")
    with open_table(file, table, _AGAIN) as opened:
        if opened.metadata.num_rows != rows:
            raise InputError(f"{file}: has {opened.metadata.num_rows} rows, {TRACE_FILE} says {rows}; {_AGAIN}")


def _checked(columns: Sequence[str] | None, table: Table) -> list[str] | None:
    """`columns` if they all exist; raises InputError naming one that does not."""
    if columns is None:
        return None
    for name in columns:
        if name not in table.names():
            raise InputError(f"{name}: not a column of the {table.name} table; it has {', '.join(table.names())}")
    return list(columns)
