"""Messages become a flow list: connections that cross are two streams, names and starts follow from the trace."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.workload.recorded.rest import Pairs
from segcast.analyzer.workload.recorded.state import NO_ROW, Book
from segcast.analyzer.workload.table import MOST_FLOWS, Workload, workload_of
from segcast.traces.errors import InputError


def workload_from_messages(
    messages: NDArray[np.void], book: Book, pairs: Pairs, flows: pl.DataFrame, origin_ns: int
) -> Workload | None:
    """The list of these messages, which are in order of their first bytes; None if there is none. Raises InputError."""
    messages = _of(messages, book.connection["fault"][messages["connection"]] == 0)
    messages = streams_apart(messages, book.connection["crossing"])
    if len(messages) == 0:
        return None
    if len(messages) > MOST_FLOWS:
        raise InputError(f"the connections have {len(messages):,} messages; a flow list holds at most {MOST_FLOWS:,}")
    connection, side = messages["connection"], messages["side"].astype(np.int64)
    after = messages["after"]
    waits = np.flatnonzero(after != NO_ROW)
    start_ns = messages["seen_ns"] - book.connection["shift_ns"][connection] - origin_ns
    start_ns[waits] = 0
    flow = np.where(side == 0, pairs.first[connection], pairs.second[connection])
    addresses, source, target = _ends(flows, flow)
    names = _names(pairs.first[connection])
    return workload_of(
        names.to_arrow().cast(pa.string()),
        np.maximum(start_ns, 0),
        source,
        target,
        messages["bytes"].copy(),
        after=(waits.astype(np.int64), after[waits]),
        think_ns=messages["think_ns"].copy(),
        connection=pairs.first[connection].astype(str).tolist(),
        addresses=addresses,
    )


def streams_apart(messages: NDArray[np.void], crossing: NDArray[np.bool_]) -> NDArray[np.void]:
    """Of connections whose data crosses, messages begin where their own direction was quiet, and wait for nothing.

    What was found before data crossed is joined again. `after` of the rows that remain is renumbered.
    """
    crosses = crossing[messages["connection"]]
    stream = 2 * messages["connection"] + messages["side"]
    heads = ~crosses | messages["quiet"]
    order = np.argsort(stream, kind="stable")
    # In order of streams a head is followed by what belongs to it; a stream's first message is always a head.
    sums = np.add.reduceat(messages["bytes"][order], np.flatnonzero(heads[order])) if len(order) else messages["bytes"]
    kept = messages.copy()
    kept["bytes"][order[heads[order]]] = sums
    kept["after"][crosses], kept["think_ns"][crosses] = NO_ROW, 0
    return _of(kept, heads)


def _of(messages: NDArray[np.void], chosen: NDArray[np.bool_]) -> NDArray[np.void]:
    """The chosen messages, whose `after`, another of them, is numbered anew."""
    found: NDArray[np.void] = messages[chosen]
    waits = found["after"] != NO_ROW
    found["after"][waits] = (np.cumsum(chosen) - 1)[found["after"][waits]]
    return found


def _ends(flows: pl.DataFrame, flow: NDArray[np.int64]) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Addresses in order of first use, and the hosts that send and receive each flow's messages."""
    used, inverse = np.unique(flow, return_inverse=True)
    source, target = flows["src"].gather(used), flows["dst"].gather(used)
    addresses = pl.concat([source, target]).unique(maintain_order=True)
    number = pl.DataFrame({"address": addresses, "number": np.arange(len(addresses))})
    ends = [
        pl.DataFrame({"address": end}).join(number, on="address", how="left", maintain_order="left")["number"]
        for end in (source, target)
    ]
    return tuple(addresses), ends[0].to_numpy()[inverse], ends[1].to_numpy()[inverse]


def _names(first: NDArray[np.int64]) -> pl.Series:
    """A name for each message: the first flow of its connection in the trace, and its number in it from 1."""
    named = pl.DataFrame({"first": first}).with_columns(pl.int_range(1, pl.len() + 1).over("first").alias("number"))
    return named.select(pl.concat_str([pl.col("first"), pl.lit("."), pl.col("number")])).to_series()
