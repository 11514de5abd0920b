"""The traffic as it might have been as well: whole connections of the trace, drawn anew by blocks of time.

A block bootstrap (Kuensch 1989): what comes together stays together within a block, so that bursts are kept, and
connections are kept whole, so that flowlets and windows are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.traffic.growth import connections
from segcast.traces.hashing import mix, mix_each

USUAL_BLOCKS: Final = 20
_LEAST_BLOCKS: Final = 2
_FIRST_PORT: Final = 1024
_PORTS: Final = 65536 - _FIRST_PORT


class Blocks(NamedTuple):
    """The time of a trace, from `start_ns` on, in `number` blocks of `length_ns` each, which turn around its end."""

    start_ns: int
    length_ns: int
    number: int

    @property
    def period_ns(self) -> int:
        """The time of them all."""
        return self.length_ns * self.number


def blocks_of(first_ns: int, last_ns: int, block_ns: int | None) -> Blocks:
    """Blocks of about `block_ns` between two times, or the usual number of them; at least two."""
    took_ns = last_ns - first_ns + 1
    count = USUAL_BLOCKS if block_ns is None else round(took_ns / block_ns)
    count = max(_LEAST_BLOCKS, min(count, took_ns))
    return Blocks(first_ns, -(-took_ns // count), count)


class Draws(NamedTuple):
    """Connections drawn, int64[draws]: which, how much later it comes, and how often it was drawn before."""

    connection: NDArray[np.int64]
    shift_ns: NDArray[np.int64]
    before: NDArray[np.int64]


def _numbers(number: int, purpose: int, count: int) -> NDArray[np.uint64]:
    """So many random numbers of a resample."""
    key = np.uint64(mix(np.uint64(mix(np.uint64(number))) ^ np.uint64(purpose)))
    return mix_each(np.arange(count, dtype=np.uint64) ^ key)


def drawn(first_ns: NDArray[np.int64], last_ns: NDArray[np.int64], blocks: Blocks, number: int) -> Draws:
    """What is drawn of connections that last from `first_ns` to `last_ns`; those that are none last below 0."""
    there = last_ns >= first_ns
    lasting = there & (last_ns - first_ns >= blocks.length_ns)
    own = np.where(there & ~lasting, (first_ns - blocks.start_ns) // blocks.length_ns, -1)
    order = np.argsort(own, kind="stable")
    begin = np.searchsorted(own[order], np.arange(blocks.number + 1))
    source = (_numbers(number, 1, blocks.number) % np.uint64(blocks.number)).astype(np.int64)
    lengths = begin[source + 1] - begin[source]
    place = np.repeat(np.arange(blocks.number), lengths)
    offset = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    short = order[np.repeat(begin[source], lengths) + offset]
    # What outlasts a block is of no block: it is drawn alone, and where drawn again comes at another time.
    long = np.flatnonzero(lasting)
    again = (_numbers(number, 2, len(long)) % np.uint64(max(len(long), 1))).astype(np.int64)
    chosen = np.concatenate([short, long[again]]).astype(np.int64)
    shift_ns = np.concatenate(
        [
            (place - source[place]) * blocks.length_ns,
            (_numbers(number, 3, len(long)) % np.uint64(blocks.period_ns)).astype(np.int64),
        ]
    )
    sorting = np.argsort(chosen, kind="stable")
    ranked = chosen[sorting]
    before = np.empty(len(chosen), np.int64)
    before[sorting] = np.arange(len(chosen)) - np.searchsorted(ranked, ranked)
    shift_ns[(before == 0) & lasting[chosen]] = 0
    return Draws(chosen, shift_ns, before)


def resampled(packets: pa.Table, flows: pa.Table, number: int, block_ns: int | None) -> tuple[pa.Table, pa.Table]:
    """Resample `number` of a trace (tables PACKETS and FLOWS): packets in order of time, and its flows.

    A connection drawn once keeps its flows. Drawn again, and what of one passes the end and comes at the beginning, is
    of new flows between the same hosts, with another port at the end whose port is the higher one.
    """
    rows = pl.from_arrow(packets)
    table = pl.from_arrow(flows)
    assert isinstance(rows, pl.DataFrame)
    assert isinstance(table, pl.DataFrame)
    rows = rows.filter(pl.col("flow_id").is_not_null())
    count = len(table)
    if len(rows) == 0:
        return rows.to_arrow(), flows
    reverse = table["reverse_flow_id"].cast(pl.Int64).fill_null(-1).to_numpy()
    flow, time_ns = rows["flow_id"].cast(pl.Int64).to_numpy(), rows["time_ns"].to_numpy()
    connection = connections(reverse)
    of_packet = connection[flow]
    first_ns, last_ns = np.full(count, np.iinfo(np.int64).max), np.full(count, -1, np.int64)
    np.minimum.at(first_ns, of_packet, time_ns)
    np.maximum.at(last_ns, of_packet, time_ns)
    blocks = blocks_of(int(time_ns.min()), int(time_ns.max()), block_ns)
    draws = drawn(first_ns, last_ns, blocks, number)

    order = np.argsort(of_packet, kind="stable")
    begin = np.searchsorted(of_packet[order], draws.connection)
    lengths = np.searchsorted(of_packet[order], draws.connection, side="right") - begin
    draw = np.repeat(np.arange(len(lengths)), lengths)
    row = order[np.repeat(begin, lengths) + np.arange(len(draw)) - np.repeat(np.cumsum(lengths) - lengths, lengths)]
    sent_ns = time_ns[row] + draws.shift_ns[draw]
    past = sent_ns >= blocks.start_ns + blocks.period_ns
    sent_ns = np.where(past, sent_ns - blocks.period_ns, sent_ns)
    # A flow of its own for each flow, draw and side of the end.
    code = (2 * draw + past) * count + flow[row]
    fresh = (draws.before[draw] > 0) | past
    used, place = np.unique(code[fresh], return_inverse=True)
    sent_flow = flow[row]
    sent_flow[fresh] = count + place
    sorting = np.lexsort((row, sent_ns))
    found = rows[row[sorting]].with_columns(
        pl.Series("time_ns", sent_ns[sorting]), pl.Series("flow_id", sent_flow[sorting].astype(np.uint32))
    )
    return found.to_arrow(), _with_fresh(table, reverse, connection, used, number).to_arrow()


def _with_fresh(
    table: pl.DataFrame,
    reverse: NDArray[np.int64],
    connection: NDArray[np.int64],
    used: NDArray[np.int64],
    number: int,
) -> pl.DataFrame:
    """FLOWS with the fresh ones of these codes, which name a draw, a side of the end, and the flow that is copied."""
    count = len(table)
    copied, origin = used // count, used % count
    back = np.where(reverse[origin] >= 0, copied * count + reverse[origin], -1)
    at = np.minimum(np.searchsorted(used, back), max(len(used) - 1, 0))
    known = (back >= 0) & (used[at] == back) if len(used) else np.zeros(0, np.bool_)
    ends = table.select(pl.col("src_port", "dst_port").cast(pl.Int64))[connection[origin]]
    source, target = (ends[name].fill_null(-1).to_numpy() for name in ("src_port", "dst_port"))
    key = mix_each(copied.astype(np.uint64) ^ np.uint64(mix(np.uint64(number))))
    port = _FIRST_PORT + (key % np.uint64(_PORTS)).astype(np.int64)
    # The higher port is mostly the one that its host took at random; it is the source of one of the two flows.
    at_source = (source >= target) == (origin == connection[origin])
    more = table[origin].with_columns(
        pl.Series("flow_id", np.arange(count, count + len(used)).astype(np.uint32)),
        pl.Series("reverse_flow_id", np.where(known, count + at, -1)),
        *(
            pl.when(pl.col(name).is_null() | ~pl.Series(chosen))
            .then(pl.col(name))
            .otherwise(pl.Series(port))
            .alias(name)
            for name, chosen in (("src_port", at_source), ("dst_port", ~at_source))
        ),
    )
    more = more.with_columns(
        pl.when(pl.col("reverse_flow_id") < 0).then(None).otherwise(pl.col("reverse_flow_id")).alias("reverse_flow_id")
    )
    return pl.concat([table, more.cast(table.schema)])
