"""Metrics of messages, where senders react: flow completion times of TCP, and what they cost.

A message's time is from when it was asked to be sent to its last byte, in order, at the receiver (docs/transport.md).
Its slowdown is over the least time that the network could take: a round trip to open, and all its bytes at the rate of
the slowest link of the fastest path from the first on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.engine.transport.cell import Transport, TransportCell
from segcast.analyzer.metrics.families.slowdown import completion_quantiles
from segcast.analyzer.metrics.family import FlowColumns
from segcast.analyzer.metrics.places import host_links
from segcast.analyzer.metrics.quantiles import nearest_ranks
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network
from segcast.analyzer.packets import FlowPlan
from segcast.analyzer.schema import CELL
from segcast.traces.schema import Column, Table
from segcast.traces.units import NANOSECOND_BITS

MESSAGE_SUMMARY: Final = (
    Column("mode", pa.string(), "`recorded`: packets leave as captured; `transport`: senders react", True),
    Column(
        "messages", pa.uint64(), "messages of the workload; this and what follows is null for recorded packets", True
    ),
    Column("unfinished", pa.uint64(), "messages that were not complete in the end, and are in no time below", True),
    Column("fct_p95_ns", pa.int64(), "p95 of flow completion time", True),
    Column("fct_p98_ns", pa.int64(), "p98 of flow completion time", True),
    Column("fct_mean_ns", pa.float64(), "mean flow completion time", True),
    Column(
        "goodput_bps", pa.float64(), "bytes of complete messages over the time from first sent to last received", True
    ),
    Column("needless", pa.uint64(), "segments that were received again", True),
    Column("timeouts", pa.uint64(), "retransmission timeouts", True),
    Column("recoveries", pa.uint64(), "fast recoveries", True),
    Column("syn_retransmissions", pa.uint64(), "SYN and SYN/ACK sent again", True),
)

MESSAGES: Final = Table(
    "messages",
    "a flow of a flow list in a cell whose senders react",
    (
        *CELL,
        Column("flow", pa.string(), "the list's own name of it; of a copy: the name, `copy` and its number"),
        Column("bytes", pa.uint64(), "bytes that it asks to be sent"),
        Column("start_ns", pa.int64(), "time at which it was asked to be sent; null if it never was", True),
        Column("fct_ns", pa.int64(), "from then to its last byte in order at the receiver; null if unfinished", True),
        Column("slowdown", pa.float64(), "`fct_ns` over the least that the network could take", True),
        Column("retransmissions", pa.uint64(), "segments sent again", True),
        Column("rto", pa.uint64(), "retransmission timeouts", True),
        Column("flowlets", pa.uint64(), "flowlets of its segments", True),
        Column("path_changes", pa.uint64(), "flowlets on another path than the one before", True),
    ),
)


def least_ns(
    network: Network,
    plan: FlowPlan,
    transport: Transport,
    flow: NDArray[np.int64],
    size: NDArray[np.int64],
    opens: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """The least time for each message, int64[n], of `size` bytes on flow `flow`, int64; `opens`: a handshake first."""
    full, rest = np.divmod(size, transport.mss)
    first = np.minimum(size, transport.mss)
    segments = full + (rest > 0)
    least = np.full(len(size), np.iinfo(np.int64).max)
    ways, of_flow = _ways(network, plan)
    of_message = of_flow[flow]
    for number, alike in enumerate(ways):
        rows = np.flatnonzero(of_message == number)
        for links in alike if len(rows) else ():
            took = _alone(network, links, transport, first[rows], size[rows], segments[rows], opens[rows])
            least[rows] = np.minimum(least[rows], took)
    floor: NDArray[np.int64] = np.maximum(least, 1)
    return floor


def _ways(network: Network, plan: FlowPlan) -> tuple[list[set[tuple[int, ...]]], NDArray[np.int64]]:
    """Sets of ways, as their links, and which of them each flow has; links that are alike are one.

    In a fabric all pairs of hosts have much the same ways, so that few sets are looked at, not a path a pair.
    """
    alike: dict[tuple[int, int, float], int] = {}
    kind = np.array(
        [alike.setdefault((x.delay_ns, x.overhead_bytes, x.rate_bps), i) for i, x in enumerate(network.links)] + [-1]
    )
    inner: dict[frozenset[tuple[int, ...]], int] = {}
    of_group = np.array(
        [
            inner.setdefault(frozenset(tuple(kind[list(network.paths[path].links)]) for path in slots), len(inner))
            for slots in network.group_slots()
        ]
    )
    uplink, downlink = host_links(network, plan)
    ends = np.stack([of_group[plan.group], kind[uplink], kind[downlink]], axis=1)
    combined, of_flow = np.unique(ends, axis=0, return_inverse=True)
    middles = list(inner)
    sets = [
        {tuple(link for link in (up, *links, down) if link >= 0) for links in middles[middle]}
        for middle, up, down in combined.tolist()
    ]
    return sets, of_flow.ravel()


def _alone(
    network: Network,
    links: tuple[int, ...],
    transport: Transport,
    first: NDArray[np.int64],
    size: NDArray[np.int64],
    segments: NDArray[np.int64],
    opens: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Over these links: the first segment link after link, the others behind it at the rate of the slowest."""
    delay_ns = sum(network.links[link].delay_ns for link in links)

    def crossing_ns(ip_bytes: NDArray[np.int64] | int, count: NDArray[np.int64] | int, link: int) -> Any:
        frame = np.maximum(ip_bytes + ETHERNET_HEADER_BYTES * count, network.minimum_frame_bytes * count)
        bits = (frame + network.links[link].overhead_bytes * count) * 8.0
        return bits * (NANOSECOND_BITS / 8 / network.links[link].rate_bps)

    took = np.full(len(size), float(delay_ns))
    for link in links:
        took += crossing_ns(first + transport.header, 1, link)
    others = np.zeros(len(size))
    for link in links:
        others = np.maximum(others, crossing_ns(size - first + transport.header * (segments - 1), segments - 1, link))
    greeting = float(delay_ns) + sum(float(crossing_ns(transport.header + 8, 1, link)) for link in links)
    return np.floor(took + others + np.where(opens, 2 * greeting, 0.0)).astype(np.int64)


class MessageColumns:
    """The messages of a cell that has run, as columns; of those that are not complete `fct_ns` is -1."""

    def __init__(self, cell: TransportCell, unloaded_ns: NDArray[np.int64]) -> None:
        rows = cell.messages
        self._halves = cell.halves
        done = rows["complete_ns"] >= 0
        self.bytes = rows["bytes"].copy()
        self.half = rows["half"].copy()
        self.start_ns = rows["asked_ns"].copy()
        self.fct_ns = np.where(done, rows["complete_ns"] - rows["asked_ns"], -1)
        self.slowdown = np.where(done, self.fct_ns / unloaded_ns, -1.0)
        self._counts = {
            name: rows[field].copy()
            for name, field in (
                ("retransmissions", "retransmissions"),
                ("rto", "timeouts"),
                ("flowlets", "flowlets"),
                ("path_changes", "path_changes"),
            )
        }

    def completions(self) -> FlowColumns:
        """What tables of completion times by size are made of."""
        return {"bytes": self.bytes, "fct_ns": self.fct_ns, "slowdown": self.slowdown}

    def flow_columns(self) -> FlowColumns:
        """The columns `fct_ns` and `slowdown` of FLOW_FATES: of flows that carry a single message; -1 for others."""
        count = np.bincount(self.half, minlength=len(self._halves))
        single = count[self.half] == 1
        fct_ns, slowdown = np.full(len(count), -1, np.int64), np.full(len(count), -1.0)
        fct_ns[self.half[single]], slowdown[self.half[single]] = self.fct_ns[single], self.slowdown[single]
        return {"fct_ns": fct_ns, "slowdown": slowdown}

    def summary(self, window_ns: tuple[int, int]) -> dict[str, Any]:
        """The columns of SUMMARY about messages, times among them."""
        done = self.fct_ns >= 0
        fct_ns, halves = self.fct_ns[done], self._halves
        p95, p98 = nearest_ranks(fct_ns, (0.95, 0.98))
        took_ns = window_ns[1] - window_ns[0]
        greetings = halves["syns"] - np.minimum(halves["syns"], 1)
        return {
            **completion_quantiles(fct_ns, self.slowdown[done]),
            "mode": "transport",
            "messages": len(done),
            "unfinished": int((~done).sum()),
            "fct_p95_ns": p95,
            "fct_p98_ns": p98,
            "fct_mean_ns": float(fct_ns.mean()) if len(fct_ns) else None,
            "goodput_bps": float(self.bytes[done].sum()) * NANOSECOND_BITS / took_ns if took_ns > 0 else None,
            "retransmissions": int(halves["retransmissions"].sum()),
            "needless": int(halves["needless"].sum()),
            "timeouts": int(halves["timeouts_all"].sum()),
            "recoveries": int(halves["recoveries"].sum()),
            "syn_retransmissions": int(greetings.sum()),
        }

    def table(self, columns: dict[str, Any], names: pa.StringArray) -> pa.Table:
        """MESSAGES of the cell that `columns` names; `names` are those of the list."""
        count, schema = len(self.bytes), MESSAGES.arrow_schema()
        done, asked = self.fct_ns >= 0, self.start_ns >= 0
        values = {name: pa.repeat(pa.scalar(v, schema.field(name).type), count) for name, v in columns.items()}
        values |= {
            "flow": pa.array(names).cast(pa.string()),
            "bytes": self.bytes,
            "start_ns": pa.array(self.start_ns, mask=~asked),
            "fct_ns": pa.array(self.fct_ns, mask=~done),
            "slowdown": pa.array(self.slowdown, mask=~done),
        }
        values |= {name: pa.array(np.maximum(counts, 0), mask=~done) for name, counts in self._counts.items()}
        arrays = [pa.array(values[field.name]).cast(field.type) for field in schema]
        return pa.table(arrays, schema=schema)
