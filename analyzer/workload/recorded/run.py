"""From a trace to its workload: connections, their messages, the list, and what stays open loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.workload.recorded.listing import workload_from_messages
from segcast.analyzer.workload.recorded.messages import ROWS_A_PACKET, find_messages
from segcast.analyzer.workload.recorded.rest import FAULTS, FLOW_COLUMNS, Pairs, Reason, Rest, counted, paired
from segcast.analyzer.workload.recorded.state import JUMP, MESSAGE, Batch, Book, new_book
from segcast.analyzer.workload.table import MOST_BYTES, Workload
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace, trace_name

Progress = Callable[[int, int], None]

MESSAGE_COLUMNS: Final = [
    "time_ns",
    "flow_id",
    "tcp_seq",
    "tcp_ack",
    "tcp_flags",
    "tcp_window",
    "payload_bytes",
    "ip_id",
]
_BATCH_ROWS: Final = 1 << 17
_FIRST_ROOM: Final = 1 << 12  # messages
_QUANTILES: Final = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def workload_of_trace(trace: Trace, tick: Progress = lambda done, total: None) -> tuple[Workload | None, Rest]:
    """The messages of the trace's TCP connections as a flow list, None if there are none, and what is not in it.

    Raises InputError if there are more than a list can hold.
    """
    flows = _flows(trace)
    pairs, reason = paired(flows)
    book = new_book(pairs.place, pairs.path_ns)
    messages = _messages(trace, book, tick)
    _blame(book, pairs, messages, reason)
    origin_ns = int(flows["first_ns"].min() or 0) if len(flows) else 0  # type: ignore[arg-type]
    workload = workload_from_messages(messages, book, pairs, flows, origin_ns)
    crossing = int((book.connection["crossing"] & (reason[pairs.first] == Reason.LISTED)).sum())
    return workload, Rest(reason, origin_ns, crossing)


def recorded_workload(trace: Trace, tick: Progress = lambda done, total: None) -> tuple[Workload, dict[str, Any]]:
    """The list as `segcast workload` writes it, and the document about it. Raises InputError if there is none."""
    workload, rest = workload_of_trace(trace, tick)
    flows = _flows(trace)
    if workload is None:
        raise InputError(why_none(trace, rest))
    return workload, _document(trace, workload, rest, flows, counted(flows, rest.reason))


def why_none(trace: Trace, rest: Rest) -> str:
    """That a trace has no messages, and what it has instead."""
    left = counted(_flows(trace), rest.reason)
    why = ", ".join(f"{each['reason']} ({each['packets']:,} packets)" for each in left) or "no packet of IP"
    return f"{trace.folder}: holds no TCP connection whose messages can be told, but {why}"


def _flows(trace: Trace) -> pl.DataFrame:
    frame = pl.from_arrow(trace.flow_table(FLOW_COLUMNS))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _messages(trace: Trace, book: Book, tick: Progress) -> NDArray[np.void]:
    """The messages in order of their first bytes, MESSAGE[m]."""
    messages = np.zeros(_FIRST_ROOM, MESSAGE)
    done = 0
    for columns in trace.packet_batches(MESSAGE_COLUMNS, _BATCH_ROWS):
        batch = _batch(columns.filter(columns.column("flow_id").is_valid()))
        reached = 0
        while True:
            reached = find_messages(book, batch, messages, reached)
            if reached == len(batch.flow):
                break
            wider = np.zeros(max(2 * len(messages), ROWS_A_PACKET), MESSAGE)
            wider.view(np.uint8)[: messages.nbytes] = messages.view(np.uint8)  # field by field it takes much longer
            messages = wider
        done += columns.num_rows
        tick(done, trace.packet_count)
    return messages[: int(book.tally["messages"][0])]


def _batch(columns: pa.RecordBatch) -> Batch:
    """What the kernel takes of these packets, which all have a flow."""
    numbers = {name: columns.column(name) for name in MESSAGE_COLUMNS}
    whole = np.ones(columns.num_rows, np.bool_)
    for name in MESSAGE_COLUMNS[2:]:
        if numbers[name].null_count:
            if name != "ip_id":
                whole &= numbers[name].is_valid().to_numpy(zero_copy_only=False)
            numbers[name] = numbers[name].fill_null(0)
    arrays = (np.ascontiguousarray(numbers[name].to_numpy()) for name in MESSAGE_COLUMNS)
    time_ns, flow, seq, ack, flags, window, payload, ip_id = arrays
    return Batch(time_ns, flow, seq, ack, payload, ip_id, window, flags, whole)


def _blame(book: Book, pairs: Pairs, messages: NDArray[np.void], reason: NDArray[np.uint8]) -> None:
    """Write the reasons of connections that are not listed, of both their flows; more bytes than a list may have are no
    numbers of a connection."""
    talks = np.zeros(len(pairs.first), np.bool_)
    talks[messages["connection"]] = True
    sums = np.bincount(messages["connection"], messages["bytes"], len(pairs.first))
    book.connection["fault"][sums > MOST_BYTES] = JUMP
    why = np.where(talks, Reason.LISTED, Reason.NO_DATA).astype(np.uint8)
    for fault, said in FAULTS.items():
        why[book.connection["fault"] == fault] = said
    reason[pairs.first] = reason[pairs.second] = why


def _document(
    trace: Trace, workload: Workload, rest: Rest, flows: pl.DataFrame, left: list[dict[str, Any]]
) -> dict[str, Any]:
    listed = pl.Series(~rest.open_loop)
    thinks = workload.think_ns[workload.waits]
    return {
        "trace": trace_name(trace),
        "flows": len(workload),
        "bytes": int(workload.bytes.sum()),
        "connections": int(workload.connection.max()) + 1,
        "crossing": rest.crossing,
        "hosts": len(workload.addresses),
        "origin_ns": rest.origin_ns,
        "flow_bytes": _ranks(workload.bytes),
        "think_ns": _ranks(thinks) if len(thinks) else None,
        "listed": {
            "flows": int(listed.sum()),
            "packets": int(flows["packets"].filter(listed).sum()),
            "bytes": int(flows["bytes"].filter(listed).sum()),
        },
        "open_loop": left,
    }


def _ranks(values: NDArray[np.int64]) -> dict[str, int]:
    ranks = nearest_ranks(values, _QUANTILES.values())
    return {name: int(rank) for name, rank in zip(_QUANTILES, ranks, strict=True) if rank is not None}
