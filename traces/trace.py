"""A trace on disk: opens its tables lazily, and says clearly what is wrong with a folder that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from traces.errors import InputError
from traces.schema import FLOWS, PACKETS, SCHEMA_VERSION, SEGMENT_LISTS, Table

TRACE_FILE: Final = "trace.json"
PACKETS_FOLDER: Final = "packets"
FLOWS_FILE: Final = "flows.parquet"
SEGMENT_LISTS_FILE: Final = "segment_lists.parquet"


@dataclass(frozen=True)
class Source:
    """One capture a trace was made from; `file` of its packets is its place in the list."""

    path: Path
    bytes: int
    sha256: str
    packets: int
    linktypes: dict[int, int]
    damage: tuple[int, str] | None


@dataclass(frozen=True)
class Trace:
    """The tables and findings of a trace folder, loaded when asked for. Make one with `open_trace` or `ingest`."""

    folder: Path
    info: dict[str, Any]

    @property
    def packet_count(self) -> int:
        """Rows of the packets table."""
        return int(self.info["packets"])

    @property
    def flow_count(self) -> int:
        """Rows of the flows table."""
        return int(self.info["flows"])

    @property
    def layer(self) -> str:
        """Which IP header counts where tunnels nest them: "outer" or "inner"."""
        return str(self.info["layer"])

    @cached_property
    def sources(self) -> list[Source]:
        """The captures, in the order of `file`."""
        return [
            Source(
                Path(s["path"]),
                s["bytes"],
                s["sha256"],
                s["packets"],
                {int(link): count for link, count in s["linktypes"].items()},
                (s["damage"]["offset"], s["damage"]["reason"]) if s["damage"] else None,
            )
            for s in self.info["sources"]
        ]

    @property
    def part_paths(self) -> list[Path]:
        """The Parquet files of the packets, in order."""
        return [self.folder / PACKETS_FOLDER / part["name"] for part in self.info["parts"]]

    @cached_property
    def packets(self) -> pl.LazyFrame:
        """The packets table, unread: `schema.PACKETS` in capture order, file after file."""
        return pl.scan_parquet(self.part_paths)

    @cached_property
    def flows(self) -> pl.DataFrame:
        """The flows table: `schema.FLOWS` in order of `flow_id`."""
        frame = pl.from_arrow(self.flow_table())
        assert isinstance(frame, pl.DataFrame)
        return frame

    def packet_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The packets as Arrow, all of them in memory; `columns` in the order asked for."""
        return pa.concat_tables([pq.read_table(part, columns=_checked(columns, PACKETS)) for part in self.part_paths])

    def flow_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The flows as Arrow."""
        return pq.read_table(self.folder / FLOWS_FILE, columns=_checked(columns, FLOWS))

    def segment_list_table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """The SRv6 segment lists as Arrow, in order of `segment_list_id`."""
        return pq.read_table(self.folder / SEGMENT_LISTS_FILE, columns=_checked(columns, SEGMENT_LISTS))

    def packet_batches(self, columns: Sequence[str] | None = None, rows: int = 1 << 17) -> Iterator[pa.RecordBatch]:
        """The packets in order, at most `rows` at a time: for traces larger than memory."""
        for part in self.part_paths:
            with pq.ParquetFile(part, pre_buffer=False) as file:
                yield from file.iter_batches(batch_size=rows, columns=_checked(columns, PACKETS))


def trace_name(trace: Trace) -> str:
    """A short name for reports: the capture's if there is one, else the folder's."""
    path = trace.sources[0].path if len(trace.sources) == 1 else trace.folder
    return path.name.split(".")[0] or path.name


def load(folder: Path) -> Trace:
    """The trace in `folder`; raises InputError if it is not one, is incomplete, or of another schema version."""
    try:
        info = json.loads((folder / TRACE_FILE).read_text("utf-8"))
        version = info["schema_version"]
    except FileNotFoundError:
        raise InputError(
            f"{folder}: not a trace (it has no {TRACE_FILE}); make one with: segcast ingest CAPTURE... --out {folder}"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / TRACE_FILE}: unreadable ({error}); ingest the captures again") from None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{folder}: schema version {version}, but this Segcast reads {SCHEMA_VERSION}; ingest the captures again"
        )
    trace = Trace(folder, info)
    for part in (*trace.part_paths, folder / FLOWS_FILE, folder / SEGMENT_LISTS_FILE):
        if not part.is_file():
            raise InputError(f"{part}: missing from the trace; ingest the captures again")
    return trace


def _checked(columns: Sequence[str] | None, table: Table) -> list[str] | None:
    """`columns` if they all exist; raises InputError naming one that does not."""
    if columns is None:
        return None
    for name in columns:
        if name not in table.names():
            raise InputError(f"{name}: not a column of the {table.name} table; it has {', '.join(table.names())}")
    return list(columns)
