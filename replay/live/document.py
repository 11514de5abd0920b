"""What `live.json` holds, declared once: a live run is written from these models, and read back by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pydantic import Field

from segcast.replay.live.tables import LIVE_SUMMARY
from segcast.traces.disk.documents import Count, Shape, Whole, read_shape
from segcast.traces.disk.folders import LIVE
from segcast.traces.disk.parquet import read_table
from segcast.traces.errors import InputError
from segcast.traces.schema import Table

SCHEMA_VERSION: Final = 1

_AGAIN: Final = "run segcast testbed live again"


class SentList(Shape):
    """A flow list, and the seeds whose cells sent it."""

    name: str = Field(description="its name: of its file, without the ending")
    path: str = Field(description="where it was, absolute")
    xxh128: str = Field(description="digest of its bytes (XXH128), by which a forecast of the same list is told")
    flows: Count = Field(description="its flows")
    seeds: list[Count] = Field(description="the seeds whose cells sent it")


class Machine(Shape):
    """What ran it."""

    kernel: str = Field(description="release of the kernel")
    processors: Count = Field(description="processors that this process may use")
    load_average: float = Field(description="processes that ran or waited in the minute before it began")
    hystart: bool | None = Field(None, description="whether the kernel's CUBIC has HyStart on; null: unknown")
    seeds_hashes: bool = Field(description="whether the nodes' own hash could be given the cells' seeds")


class LinkOutage(Shape):
    """A link that was down while a list was sent, as the scenario's events say."""

    cell: str = Field(description="the cell")
    link: str = Field(description="the link")
    down_ns: Count = Field(description="when it failed, after the list's first start")
    up_ns: Count | None = Field(description="when it recovered; null: not before all flows had arrived")
    late_ns: Count = Field(description="by how much one of these was late, the greater")
    packets: Count = Field(description="frames that it took meanwhile, which were lost")
    bytes: Count = Field(description="their bytes, with Ethernet headers")


class LiveDocument(Shape):
    """What a live run sent, and on what."""

    segcast: str = Field(description="version of Segcast that wrote it")
    schema_version: Count = Field(description="version of this document")
    control: str = Field(description="congestion control of the kernel's senders")
    segment_bytes: Count = Field(description="payload of a full segment, with the options that it carries")
    super_frames: bool = Field(description="whether TCP could hand down several segments at once")
    began_ns: Whole = Field(description="when it began, UTC epoch")
    ended_ns: Whole = Field(description="when it ended")
    lists: list[SentList] = Field(description="the flow lists")
    machine: Machine = Field(description="what ran it")
    program: str | None = Field(None, description="digest of the program that steered (SHA-256); null without one")
    burst_bytes: Count | None = Field(None, description="bucket of links whose burst the scenario omits")
    outages: list[LinkOutage] = Field([], description="links that were down, cell by cell")
    asked: dict[str, Any] | None = Field(None, description="what was asked: the same again is not run; null: not said")
    findings: list[str] = Field(description="what to know before believing the numbers")


def read_live(folder: Path) -> LiveDocument:
    """What live.json says. Raises InputError."""
    file = folder / LIVE.marker
    missing = f"{file}: not found, so this is no live run; make one with segcast testbed live"
    return read_shape(file, LiveDocument, missing, _AGAIN)


def read_live_table(folder: Path, table: Table) -> pa.Table:
    """A table of a live run. Raises InputError."""
    found = read_table(folder / f"{table.name}.parquet", table, mend=_AGAIN)
    if table is LIVE_SUMMARY and found.num_rows == 0:
        raise InputError(f"{folder / table.name}.parquet: holds no cell; {_AGAIN}")
    return found
