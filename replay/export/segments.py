"""What TCP headers say of the packets of a cell: sequence numbers in bytes, acknowledgements, flags.

A cell numbers segments; here they become bytes, from 1 on behind the SYN. What a host had received when a segment left
follows from when the other direction's segments arrived.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.traces import protocols

_MASK: Final = 0xFFFF_FFFF


class Segments(NamedTuple):
    """By packet, in the order of sending: `flow` int64 and `send_ns` int64; `seq` and `ack` uint32, `flags` uint8;
    `payload_bytes` and `ip_bytes` int64; `turn` int64: how many packets its flow sent before it.
    """

    flow: NDArray[np.int64]
    send_ns: NDArray[np.int64]
    seq: NDArray[np.uint32]
    ack: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    payload_bytes: NDArray[np.int64]
    ip_bytes: NDArray[np.int64]
    turn: NDArray[np.int64]


class _Ends(NamedTuple):
    """The segments that flows sent, each once, in order of flow and number.

    Those of flow f are `first[f]` up to `first[f + 1]`; `end` int64[segments + 1] are the bytes up to each, counted
    over all flows; `flow` int64 and `receive_ns` int64: when each was first received, never: the highest number.
    """

    first: NDArray[np.int64]
    end: NDArray[np.int64]
    flow: NDArray[np.int64]
    receive_ns: NDArray[np.int64]

    def bytes_up_to(self, flow: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
        """The bytes of the flow's first `number` segments, int64[n]."""
        found: NDArray[np.int64] = self.end[self.first[flow] + number] - self.end[self.first[flow]]
        return found


def segments_of(sent: pa.Table, header_bytes: int, flows: int, messages: tuple[NDArray[np.int64], ...]) -> Segments:
    """TCP's view of a cell's packets (SENT_PACKETS). `messages` are the flow and the bytes of each, in order of asking.

    All packets are of connections: flow f of `flows` and its reverse f ^ 1.
    """
    table = pl.from_arrow(sent)
    assert isinstance(table, pl.DataFrame)
    flow = table["flow_id"].cast(pl.Int64).to_numpy()
    number = table["number"].cast(pl.Int64).to_numpy()
    ip_bytes = table["ip_bytes"].cast(pl.Int64).to_numpy()
    data, pure, opens, answers = ((table["kind"] == kind).to_numpy() for kind in ("data", "ack", "syn", "syn-ack"))
    payload = np.where(data, ip_bytes - header_bytes, 0)
    ends = _ends_of(table.filter(pl.Series(data)), payload[data], flows)

    sent_before = _sent_before(flow, number, data)
    seq = 1 + ends.bytes_up_to(flow, np.where(data, number, sent_before))
    got = np.where(pure, number, 0)
    _note_received(got, flow, table["send_ns"].to_numpy(), data, ends)
    ack = 1 + ends.bytes_up_to(flow ^ 1, got)
    seq[opens | answers], ack[opens], ack[answers] = 0, 0, 1

    flags = np.full(len(flow), protocols.ACK, np.uint8)
    flags[opens] = protocols.SYN
    flags[answers] = protocols.SYN | protocols.ACK
    flags[data & _ends_message(flow, seq - 1 + payload, messages)] |= protocols.PSH
    return Segments(
        flow,
        table["send_ns"].to_numpy(),
        (seq & _MASK).astype(np.uint32),
        (ack & _MASK).astype(np.uint32),
        flags,
        payload,
        ip_bytes,
        _turns(flow),
    )


def _ends_of(data: pl.DataFrame, payload: NDArray[np.int64], flows: int) -> _Ends:
    once = (
        data.select(pl.col("flow_id").cast(pl.Int64), "number", "receive_ns")
        .with_columns(pl.Series("size", payload))
        .group_by("flow_id", "number")
        .agg(pl.col("size").first(), pl.col("receive_ns").min())
        .sort("flow_id", "number")
    )
    flow = once["flow_id"].to_numpy()
    return _Ends(
        np.searchsorted(flow, np.arange(flows + 1)),
        np.concatenate([[0], np.cumsum(once["size"].to_numpy())]),
        flow,
        once["receive_ns"].fill_null(np.iinfo(np.int64).max).to_numpy(),
    )


def _sent_before(flow: NDArray[np.int64], number: NDArray[np.int64], data: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many segments each packet's flow has sent, up to it and once each."""
    order = np.argsort(flow, kind="stable")
    # Flows come one after the other, so that the highest so far never is that of another flow.
    highest = np.maximum.accumulate(np.where(data, number + 1, 0)[order] + (flow[order] << 32))
    found = np.empty(len(flow), np.int64)
    found[order] = highest - (flow[order] << 32)
    return found


def _note_received(
    got: NDArray[np.int64], flow: NDArray[np.int64], send_ns: NDArray[np.int64], data: NDArray[np.bool_], ends: _Ends
) -> None:
    """Write into `got` what the senders of data had received in order, in segments of the other direction."""
    rows = np.flatnonzero(data & (np.diff(ends.first)[flow ^ 1] > 0))
    rows = rows[np.argsort(flow[rows], kind="stable")]
    for mine in np.split(rows, np.flatnonzero(np.diff(flow[rows])) + 1) if len(rows) else ():
        back = int(flow[mine[0]]) ^ 1
        in_order_ns = np.maximum.accumulate(ends.receive_ns[ends.first[back] : ends.first[back + 1]])
        got[mine] = np.searchsorted(in_order_ns, send_ns[mine], side="right")


def _ends_message(
    flow: NDArray[np.int64], end: NDArray[np.int64], messages: tuple[NDArray[np.int64], ...]
) -> NDArray[np.bool_]:
    """Whether a message of its flow ends at `end`."""
    ends = (
        pl.DataFrame({"flow": messages[0], "bytes": messages[1]})
        .select("flow", pl.col("bytes").cum_sum().over("flow").alias("end"))
        .with_columns(pl.lit(True).alias("ends"))
        .unique()
    )
    packets = pl.DataFrame({"flow": flow, "end": end})
    found: NDArray[np.bool_] = (
        packets.join(ends, on=["flow", "end"], how="left", maintain_order="left")["ends"].fill_null(False).to_numpy()
    )
    return found


def _turns(flow: NDArray[np.int64]) -> NDArray[np.int64]:
    turns: NDArray[np.int64] = (
        pl.DataFrame({"flow": flow}).select(pl.int_range(pl.len(), dtype=pl.Int64).over("flow"))["literal"].to_numpy()
    )
    return turns
