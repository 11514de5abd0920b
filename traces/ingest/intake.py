"""Takes decoded batches into the packets table: flows, TCP marks and findings, and what the user chose to change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.errors import InputError
from segcast.traces.flows import tcp
from segcast.traces.flows.anonymize import AddressKey, read_key
from segcast.traces.flows.assign import Flows
from segcast.traces.headers.ip import HAS_IP, Headers
from segcast.traces.headers.tenants import Tenants
from segcast.traces.ingest import split_offload as offload
from segcast.traces.ingest.filter import HIDDEN, Filter
from segcast.traces.ingest.merge import MergedBatch
from segcast.traces.ingest.packets import Chunk, PacketWriter, ReservedRows
from segcast.traces.quality import findings as quality
from segcast.traces.quality.findings import Quality
from segcast.traces.units import rate_bps

TENANT: Final = "tenant"
ADDRESSES: Final = "addresses"
FLOWS_BY: Final = (TENANT, ADDRESSES)
"""What tells flows apart: addresses, protocol and ports, with their tenant or without."""

_MOST_MSS: Final = 65535


@dataclass(frozen=True, slots=True)
class IntakeChoices:
    """What an ingest changes of what was captured; nothing unless asked. Make one with `choose`."""

    drop_duplicates: bool = False
    split_mss: int | None = None
    line_rate_bps: int = offload.LINE_RATE_BPS
    key: AddressKey | None = None
    filter: Filter | None = None
    by_tenant: bool = True

    def about(self) -> dict[str, Any]:
        """What `trace.json` says of them."""
        split = None
        if self.split_mss is not None:
            split = {"mss": self.split_mss or "auto", "line_rate_bps": self.line_rate_bps}
        return {
            "duplicates_dropped": self.drop_duplicates,
            "offload_split": split,
            "anonymized": self.key.about() if self.key else None,
            "flows_by": TENANT if self.by_tenant else ADDRESSES,
            "filter": None if self.filter is None else HIDDEN if self.key else self.filter.text,
        }


AS_CAPTURED: Final = IntakeChoices()


def choose(
    *,
    drop_duplicates: bool = False,
    split_offload: str | None = None,
    line_rate: str | None = None,
    anonymize: Path | None = None,
    filter_text: str | None = None,
    flows_by: str = TENANT,
) -> IntakeChoices:
    """Choices as a user writes them. Raises InputError."""
    mss = None
    if split_offload == "auto":
        mss = offload.AUTO
    elif split_offload is not None:
        if not (split_offload.isascii() and split_offload.isdigit()):
            raise InputError(f"--split-offload {split_offload!r} is neither a number of bytes nor auto")
        mss = int(split_offload)
        if not offload.LEAST_MSS <= mss <= _MOST_MSS:
            raise InputError(f"--split-offload {mss}: a segment size lies between {offload.LEAST_MSS} and {_MOST_MSS}")
    if line_rate is not None and mss is None:
        raise InputError("--line-rate spaces split frames; give --split-offload, too")
    rate = offload.LINE_RATE_BPS if line_rate is None else rate_bps(line_rate)
    if rate == 0:
        raise InputError("--line-rate 0 sends nothing; give the rate of the host's link, such as 25Gbps")
    key = None if anonymize is None else read_key(anonymize)
    if flows_by not in FLOWS_BY:
        raise InputError(f"--flows {flows_by}: not known; use {' or '.join(FLOWS_BY)}")
    wanted = None if filter_text is None else Filter(filter_text)
    return IntakeChoices(drop_duplicates, mss, rate, key, wanted, flows_by == TENANT)


class Intake:
    """The flows, marks and findings of a trace so far."""

    def __init__(self, choices: IntakeChoices = AS_CAPTURED) -> None:
        """Start before the first batch."""
        self.flows = Flows()
        self.quality = Quality()
        self.rows = 0
        self.wire_bytes = 0
        self.captured_bytes = 0
        self.filtered = 0
        self._choices = choices
        self._limit_bytes = np.empty(0, np.uint16)

    def take(
        self, merged: MergedBatch, rows: ReservedRows, writer: PacketWriter, wanted: npt.NDArray[np.bool_] | None = None
    ) -> Chunk:
        """Commit the rows of a batch, whose headers are filled; the chunk to go on with. `follow` gives them flows.

        `wanted` bool[rows]: those that the filter keeps; the others are as if they had not been captured.
        """
        if wanted is not None:
            self.filtered += int(np.count_nonzero(~wanted))
            merged = _only(wanted, merged, rows)
        duplicate = self.quality.add(merged.frames, rows.headers)
        if self._choices.drop_duplicates:
            merged = _only(~duplicate, merged, rows)
        batch = merged.frames
        headers, columns, chunk = rows.headers, rows.commit(merged), rows.chunk
        count = len(batch.start)
        self.rows += count
        mss = chunk.mss[rows.begin : chunk.rows]
        tcp.announced_mss(batch.data, batch.start, batch.captured, headers, mss)
        if self._choices.split_mss is not None:
            if len(self._limit_bytes) < count:
                self._limit_bytes = np.empty(count, np.uint16)
            limit, marks = self._limit_bytes[:count], columns["tcp_marks"]
            self.flows.add(headers, batch.time_ns, batch.wire, columns["flow_id"], marks, mss, limit)
            chunk.followed = chunk.rows
            size = offload.sizes_of_pieces(headers, marks, limit, self._choices.split_mss)
            if size is not None:
                headers = Headers._make(column.copy() for column in headers)
                columns = {name: column.copy() for name, column in columns.items()}
                runs = offload.split_frames(headers, columns, size, self._choices.line_rate_bps)
                rows.withdraw()
                return self._put_pieces(runs, headers, columns, chunk, writer)
        self._count_bytes(columns)
        return chunk

    def follow(self, chunk: Chunk) -> None:
        """Give the rows of a chunk their flows and TCP marks, where they have none. Chunks come in order."""
        if chunk.followed == chunk.rows:
            return
        here = slice(chunk.followed, chunk.rows)
        headers = Headers._make(column[here] for column in chunk.headers)
        column = {name: chunk.columns[name][here] for name in ("time_ns", "wire_bytes", "flow_id", "tcp_marks")}
        self.flows.add(
            headers, column["time_ns"], column["wire_bytes"], column["flow_id"], column["tcp_marks"], chunk.mss[here]
        )
        chunk.followed = chunk.rows

    def _count_bytes(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        self.wire_bytes += int(columns["wire_bytes"].sum(dtype=np.int64))
        self.captured_bytes += int(columns["captured_bytes"].sum(dtype=np.int64))

    def _put_pieces(
        self,
        runs: Iterable[offload.Pieces],
        headers: Headers,
        columns: dict[str, npt.NDArray[Any]],
        chunk: Chunk,
        writer: PacketWriter,
    ) -> Chunk:
        """Add the pieces to `chunk` and those after it; the chunk to go on with."""
        for pieces in runs:
            self._count_pieces(pieces, headers, columns)
            at, rows = 0, len(pieces.row)
            while at < rows:
                upto = min(rows, at + chunk.room)
                here, part = slice(chunk.rows, chunk.rows + upto - at), slice(at, upto)
                for name, column in chunk.columns.items():
                    made = getattr(pieces, name, None)
                    column[here] = columns[name][pieces.row[part]] if made is None else made[part]
                chunk.headers.valid[here] = headers.valid[pieces.row[part]]
                self._count_bytes({name: column[here] for name, column in chunk.columns.items()})
                chunk.rows = chunk.followed = here.stop
                at = upto
                if chunk.full:
                    writer.put(chunk)
                    chunk = writer.chunk()
        return chunk

    def _count_pieces(self, pieces: offload.Pieces, headers: Headers, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Add to the flows what cutting added: packets, bytes of headers, and the time of the last piece."""
        stats = self.flows.table.stats
        later = pieces.split > 1
        flow = columns["flow_id"][pieces.row]
        head = columns["wire_bytes"][pieces.row].astype(np.int64) - headers.payload_bytes[pieces.row]
        np.add.at(stats["packets"], flow[later], 1)
        np.add.at(stats["bytes"], flow[later], head[later])
        cut = (pieces.split > 0) & (headers.valid[pieces.row] & HAS_IP != 0)
        np.maximum.at(stats["last_ns"], flow[cut], pieces.time_ns[cut])
        self.rows += int(later.sum())

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Everything that later rows depend on, by name; `restore` goes on from there."""
        return {
            "counts": np.array([self.rows, self.wire_bytes, self.captured_bytes, self.filtered]),
            **{f"flows_{name}": array for name, array in self.flows.state().items()},
            **{f"quality_{name}": array for name, array in self.quality.state().items()},
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Go on from a `state`."""
        self.rows, self.wire_bytes, self.captured_bytes, self.filtered = (int(count) for count in state["counts"])
        for part, whole in (("flows_", self.flows), ("quality_", self.quality)):
            whole.restore({name.removeprefix(part): a for name, a in state.items() if name.startswith(part)})

    def findings(self, sources: list[dict[str, Any]], tenants: Tenants) -> list[dict[str, Any]]:
        """The findings at the end, worst first."""
        chosen = self._choices
        seen = sum(source["packets"] for source in sources) - self.filtered
        counts = quality.count(
            self.flows, self.quality, seen, dropped=chosen.drop_duplicates, split=chosen.split_mss is not None
        )
        about_key = chosen.key.findings() if chosen.key else []
        about_tenants = quality.tenants(self.flows, tenants, apart=chosen.by_tenant)
        about_filter = [] if chosen.filter is None else [quality.filtered(self.filtered, seen)]
        return quality.ordered([*quality.find(sources, counts), *about_tenants, *about_key, *about_filter])


def _only(kept: npt.NDArray[np.bool_], merged: MergedBatch, rows: ReservedRows) -> MergedBatch:
    """The batch without the other packets, whose rows are given back."""
    if kept.all():
        return merged
    places, batch = np.flatnonzero(kept), merged.frames
    rows.keep(places)
    frames = {name: getattr(batch, name)[places] for name in batch._fields if name not in ("data", "frame_number")}
    return MergedBatch(batch._replace(**frames), merged.file[places], merged.frame_number[places], merged.files)
