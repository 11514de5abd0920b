"""Traffic of a trace larger than memory: surveyed in one pass, then read again in send order, batch by batch."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import MAX_IP_BYTES
from segcast.analyzer.packets import Packets
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.growth import Growth, Spans
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, Extent, Traffic, at_load, prepare
from segcast.analyzer.traffic.share import Demand
from segcast.traces.errors import InputError
from segcast.traces.protocols import ACK, SYN
from segcast.traces.trace import Trace

LOOK_AHEAD: Final = 1 << 20
BATCH_ROWS: Final = 1 << 17


class Piece(NamedTuple):
    """Packets in send order, and where each was captured: `file` uint16[n], `frame_number` uint64[n]."""

    packets: Packets
    file: NDArray[np.uint16]
    frame_number: NDArray[np.uint64]

    def at_load(self, load: Fraction, first_ns: int) -> Piece:
        """This traffic at another load, as `traffic.at_load` makes it."""
        return self._replace(packets=at_load(self.packets, load, first_ns))

    def at_growth(self, factor: Fraction, growth: Growth | None) -> Piece:
        """What is left of this traffic at a factor of growth of at most 1; beyond it copies would be missing."""
        if growth is None or factor == 1:
            return self
        packets, row = growth.packets(self.packets, min(factor, Fraction(1)))
        return Piece(packets, self.file[row], self.frame_number[row])


@dataclass(frozen=True, slots=True)
class StreamedTraffic:
    """Traffic whose packets are still in the trace.

    `outline` is traffic with one packet for each flow, which settles everything but the packets. `flow_bytes`
    int64[flows] are the IP bytes each flow sends, `crosses` bool[flows] says which flows send at all, and `back_ns` how
    far times step back at most. `demand` is of the flows of the trace.
    """

    trace: Trace
    outline: Traffic
    flow_bytes: NDArray[np.int64]
    crosses: NDArray[np.bool_]
    extent: Extent
    back_ns: int
    demand: Demand

    def pieces(self) -> Iterator[Piece]:
        """All packets, sorted as a stable sort by time would.

        Raises InputError if times step back over more than LOOK_AHEAD packets.
        """
        held: list[NDArray[np.generic]] = []
        high_ns = np.iinfo(np.int64).min
        for batch in self.trace.packet_batches(TRAFFIC_COLUMNS, BATCH_ROWS):
            rows = _fitting(batch)
            rows = rows.filter(pl.Series(self.crosses[rows["flow_id"].to_numpy()]))
            if len(rows) == 0:
                continue
            came = [rows[name].to_numpy() for name in ("time_ns", "flow_id", "ip_bytes", "file", "frame_number")]
            held = [np.concatenate(pair) for pair in zip(held, came, strict=True)] if held else came
            high_ns = max(high_ns, int(came[0].max()))
            if self.back_ns:
                order = np.argsort(held[0], kind="stable")
                held = [column[order] for column in held]
            # What comes later is at most `back_ns` earlier than the latest so far, and stands behind its equals.
            ready = int(np.searchsorted(held[0], high_ns - self.back_ns, side="right"))
            if len(held[0]) - ready > LOOK_AHEAD:
                raise InputError(
                    f"{self.trace.folder}: times step back by {self.back_ns} ns, over more than {LOOK_AHEAD} packets: "
                    "too far to sort a trace larger than memory; sort the capture (reordercap) and ingest it again"
                )
            yield _piece([column[:ready] for column in held])
            held = [column[ready:] for column in held]
        if held:
            yield _piece(held)


class _Scan(NamedTuple):
    """What the packets of a trace say of its flows, of arrays by flow; no scenario has a say in it.

    `flow_bytes`, `flow_packets`, `largest`, `first_ns` and `last_ns` are of packets that fit an IP packet;
    `first_row` numbers each flow's earliest among these.
    """

    opened: NDArray[np.bool_]
    flow_bytes: NDArray[np.int64]
    flow_packets: NDArray[np.int64]
    seen_packets: NDArray[np.int64]
    largest: NDArray[np.int64]
    first_row: NDArray[np.int64]
    first_ns: NDArray[np.int64]
    last_ns: NDArray[np.int64]
    back_ns: int
    no_ip: int


_MOST_KEPT: Final = 1_000_000
_LAST: Final[list[tuple[weakref.ref[Trace], _Scan]]] = []


def _scanned(trace: Trace) -> _Scan:
    """What `_scan` says; of the same trace, which a sweep surveys for each of its networks, at once."""
    for kept, found in _LAST:
        if kept() is trace:
            return found
    found = _scan(trace)
    _LAST[:] = [(weakref.ref(trace), found)] if trace.flow_count <= _MOST_KEPT else []
    return found


def _scan(trace: Trace) -> _Scan:
    count = trace.flow_count
    opened = np.zeros(count, np.bool_)
    flow_bytes, flow_packets, seen_packets = (np.zeros(count, np.int64) for _ in range(3))
    largest = np.full(count, -1)
    first_row, packets_seen = np.zeros(count, np.int64), 0
    first_ns, last_ns = np.full(count, np.iinfo(np.int64).max), np.full(count, np.iinfo(np.int64).min)
    high_ns, back_ns, no_ip = np.iinfo(np.int64).min, 0, 0
    for batch in trace.packet_batches(TRAFFIC_COLUMNS, BATCH_ROWS):
        known = _with_ip(batch)
        rows = _fitting(batch)
        no_ip += batch.num_rows - len(known)
        seen_packets += np.bincount(known["flow_id"].to_numpy(), minlength=count)
        opened[known.filter((pl.col("tcp_flags").fill_null(0) & (SYN | ACK)) == SYN)["flow_id"].unique().to_numpy()] = (
            True
        )
        flow, time_ns = rows["flow_id"].to_numpy(), rows["time_ns"].to_numpy()
        np.add.at(flow_bytes, flow, rows["ip_bytes"].to_numpy())
        np.maximum.at(largest, flow, rows["ip_bytes"].cast(pl.Int64).to_numpy())
        flow_packets += np.bincount(flow, minlength=count)
        # Of the packets that are earlier than all before, a flow's first is noted last, and stays.
        backwards = np.argsort(time_ns, kind="stable")[::-1]
        backwards = backwards[time_ns[backwards] < first_ns[flow[backwards]]]
        first_row[flow[backwards]] = packets_seen + backwards
        packets_seen += len(rows)
        np.minimum.at(first_ns, flow, time_ns)
        np.maximum.at(last_ns, flow, time_ns)
        if len(rows):
            highest = np.maximum(np.maximum.accumulate(time_ns), high_ns)
            back_ns = max(back_ns, int((highest - time_ns).max()))
            high_ns = int(highest[-1])
    return _Scan(opened, flow_bytes, flow_packets, seen_packets, largest, first_row, first_ns, last_ns, back_ns, no_ip)


def survey(trace: Trace, scenario: ValidScenario, *, as_captured: bool = True) -> StreamedTraffic:
    """Where every flow goes and what it sends; see `prepare` for `as_captured`. Raises InputError as `prepare` does."""
    count = trace.flow_count
    opened, flow_bytes, flow_packets, seen_packets, largest, first_row, first_ns, last_ns, back_ns, no_ip = _scanned(
        trace
    )
    flow_bytes = flow_bytes.copy()
    # One packet stands for each flow: it has what decides where flows go, also among packets sent at one time.
    seen = np.flatnonzero(seen_packets)
    seen = seen[np.argsort(first_row[seen], kind="stable")]
    stand_ins = {
        "time_ns": first_ns[seen],
        "flow_id": seen,
        "ip_bytes": np.where(largest[seen] < 0, MAX_IP_BYTES + 1, largest[seen]),
        "tcp_flags": np.where(opened[seen], SYN, 0),
        "file": np.zeros(len(seen)),
        "frame_number": np.arange(1, len(seen) + 1),
    }
    types = {"time_ns": np.int64, "tcp_flags": np.uint8, "file": np.uint16, "frame_number": np.uint64}
    table = pa.table({name: pa.array(v.astype(types.get(name, np.uint32))) for name, v in stand_ins.items()})
    spans = Spans(flow_bytes, first_ns, last_ns)
    outline = prepare(table, trace.flow_table(), scenario, rows_are="flows", as_captured=as_captured, spans=spans)
    crosses = np.zeros(count, np.bool_)
    crosses[outline.packets.flow] = True
    selection = outline.selection
    taken = selection.taken
    excluded = {
        "no_ip": no_ip,
        "link_scope": int(seen_packets[selection.link_scope].sum()),
        "deselected": int(seen_packets[selection.deselected].sum()),
        "too_large": int((seen_packets - flow_packets)[taken].sum()),
        "unassigned": int(flow_packets[taken & ~outline.placed].sum()),
        "same_attachment": int(flow_packets[taken & outline.placed & ~crosses].sum()),
    }
    flow_bytes[~crosses] = 0
    extent = Extent(
        int(flow_packets[crosses].sum()),
        int(crosses.sum()),
        int(first_ns[crosses].min()),
        int(last_ns[crosses].max()),
    )
    demand = Demand(flow_bytes, np.where(crosses, flow_packets, 0), extent.last_ns - extent.first_ns)
    if outline.growth is not None:
        flow_bytes = flow_bytes[outline.growth.origin]
    return StreamedTraffic(
        trace,
        replace(outline, excluded=excluded),
        flow_bytes,
        crosses,
        extent,
        back_ns,
        demand,
    )


def _with_ip(batch: pa.RecordBatch) -> pl.DataFrame:
    rows = pl.from_arrow(batch)
    assert isinstance(rows, pl.DataFrame)
    return rows.filter(pl.col("flow_id").is_not_null() & pl.col("ip_bytes").is_not_null())


def _fitting(batch: pa.RecordBatch) -> pl.DataFrame:
    return _with_ip(batch).filter(pl.col("ip_bytes") <= MAX_IP_BYTES)


def _piece(columns: list[NDArray[np.generic]]) -> Piece:
    time_ns, flow, ip_bytes, file, frame_number = (np.ascontiguousarray(column) for column in columns)
    return Piece(Packets(time_ns, flow, ip_bytes), file, frame_number)
