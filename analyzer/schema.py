"""The tables of a forecast, defined once; see `segcast.traces.schema` for those of a trace."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from segcast.traces.schema import Column, Table

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}

_CELL = (
    Column("cell", pa.string(), "name of the cell, such as `inflight-100us-s1`"),
    Column("policy", pa.string(), "label of the policy: its name, unless the scenario says otherwise"),
    Column("timeout", pa.string(), "label of the flowlet timeout; null where the policy has no use for one", True),
    Column("timeout_ns", pa.int64(), "the same in ns; null where it is not fixed", True),
    Column("load", pa.float64(), "factor of the trace's rate"),
    Column("seed", pa.uint64(), "seed of the cell's random draws"),
)


def _quantiles(prefix: str, kind: pa.DataType, unit: str, meaning: str) -> tuple[Column, ...]:
    """One nullable column per quantile, named prefix_quantile[_unit]."""
    suffix = f"_{unit}" if unit else ""
    return tuple(Column(f"{prefix}_{q}{suffix}", kind, f"{q} of {meaning}", True) for q in QUANTILES)


SUMMARY: Final = Table(
    "summary",
    "a cell: one policy, timeout, load and seed",
    (
        *_CELL,
        Column("packets", pa.uint64(), "packets sent into the network"),
        Column("delivered", pa.uint64(), "packets received"),
        Column("dropped", pa.uint64(), "packets dropped"),
        Column("drop_ratio", pa.float64(), "dropped / packets"),
        Column("ecn_marked", pa.uint64(), "received packets that were marked"),
        Column("retransmissions", pa.uint64(), "null for recorded packets, which do not react", True),
        *_quantiles("delay", pa.int64(), "ns", "one-way delay of received packets"),
        Column("delay_mean_ns", pa.float64(), "mean one-way delay", True),
        *_quantiles("queue", pa.int64(), "ns", "time spent waiting in queues"),
        Column("queue_mean_ns", pa.float64(), "mean of the same", True),
        *_quantiles("fct", pa.int64(), "ns", "flow completion time"),
        *_quantiles("slowdown", pa.float64(), "", "flow completion time over that in an empty network"),
        Column("reordered", pa.uint64(), "reordered packets (RFC 4737)"),
        Column("reordered_ratio", pa.float64(), "reordered / delivered", True),
        Column("reorder_extent_p99", pa.uint64(), "p99 extent of reordered packets (RFC 4737 section 4.2.1)", True),
        Column("reorder_extent_max", pa.uint64(), "largest extent", True),
        Column("displaced_3", pa.uint64(), "reordered packets with an extent of 3 or more"),
        Column("imbalance", pa.float64(), "(max - min) / mean of path bytes per interval, byte-weighted mean", True),
        Column("jain", pa.float64(), "Jain's index of path bytes per interval, byte-weighted mean", True),
        Column("utilisation_mean", pa.float64(), "mean utilisation of the links", True),
        Column("utilisation_max", pa.float64(), "utilisation of the busiest link", True),
        Column("flowlets", pa.uint64(), "flowlets steered"),
        Column("flowlet_packets_mean", pa.float64(), "packets per flowlet", True),
        Column("flowlet_bytes_mean", pa.float64(), "IP bytes per flowlet", True),
        Column("path_changes", pa.uint64(), "flowlets sent on another path than their flow's one before"),
    ),
)

FLOW_FATES: Final = Table(
    "flows",
    "a flow of a cell",
    (
        *_CELL,
        Column("flow_id", pa.uint32(), "flow of the trace"),
        Column("bytes", pa.uint64(), "IP bytes sent"),
        Column("packets", pa.uint64(), "packets sent"),
        Column("delivered", pa.uint64(), "packets received"),
        Column(
            "fct_ns", pa.int64(), "of the received packets, first send to last receive; null if there are none", True
        ),
        Column("slowdown", pa.float64(), "`fct_ns` over that in an empty network", True),
        Column("reordered", pa.uint64(), "reordered packets"),
        Column("flowlets", pa.uint64(), "flowlets"),
        Column("path_changes", pa.uint64(), "path changes"),
    ),
)

PACKET_FATES: Final = Table(
    "packets",
    "a packet sent into the network, in send order: the schedule and its fate",
    (
        Column("file", pa.uint16(), "source file, as in the trace"),
        Column("frame_number", pa.uint64(), "frame in that file"),
        Column("flow_id", pa.uint32(), "flow of the trace"),
        Column("flowlet_id", pa.uint32(), "flowlet, numbered from 0 in order of start"),
        Column("path_id", pa.uint16(), "path taken, an index into the network's paths"),
        Column("send_ns", pa.int64(), "time sent"),
        Column("receive_ns", pa.int64(), "time received; null if dropped", True),
        Column("queue_ns", pa.int64(), "time spent waiting in queues, up to the drop if dropped"),
        Column("ecn_marked", pa.bool_(), "whether a queue marked it"),
        Column("dropped", pa.bool_(), "whether a queue dropped it"),
    ),
)

SIZES: Final = Table(
    "sizes",
    "flows of a cell in one size bin",
    (
        *_CELL,
        Column("min_bytes", pa.uint64(), "smallest flow of the bin (IP bytes)"),
        Column("below_bytes", pa.uint64(), "upper bound of the bin, exclusive; null if open", True),
        Column("flows", pa.uint64(), "flows with at least one packet received"),
        *_quantiles("fct", pa.int64(), "ns", "flow completion time"),
        *_quantiles("slowdown", pa.float64(), "", "slowdown"),
    ),
)

DISTRIBUTIONS: Final = Table(
    "distributions",
    "a point of a cell's distribution",
    (
        *_CELL,
        Column("metric", pa.string(), "`delay_ns`, `queue_ns`, `fct_ns` or `slowdown`"),
        Column("quantile", pa.float64(), "0 to 1"),
        Column("value", pa.float64(), "in the metric's unit"),
    ),
)

SERIES: Final = Table(
    "series",
    "an interval of one path, for the first seed of each policy, timeout and load",
    (
        *_CELL,
        Column(
            "group",
            pa.uint16(),
            "pair of attachments, named in forecast.json: 0 forward, 1 back with parallel paths",
        ),
        Column("path_id", pa.uint16(), "path"),
        Column("start_ns", pa.int64(), "start of the interval, from the first packet"),
        Column("interval_ns", pa.int64(), "length of the interval"),
        Column("bytes", pa.uint64(), "frame bytes sent into the path"),
        Column("dropped", pa.uint64(), "packets sent into the path in the interval that were dropped"),
    ),
)

LINKS: Final = Table(
    "links",
    "a link of a cell's network",
    (
        *_CELL,
        Column("link", pa.uint32(), "link, an index into the network's links"),
        Column("name", pa.string(), "its name"),
        Column("carried_bytes", pa.uint64(), "bytes carried, overhead included"),
        Column(
            "utilisation",
            pa.float64(),
            "their share of what the rate it was built with could have carried; null if nothing was received",
            True,
        ),
        Column("dropped", pa.uint64(), "packets dropped at its queue"),
        Column("marked", pa.uint64(), "packets that its queue marked"),
    ),
)

HOSTS: Final = Table(
    "hosts",
    "a steering host of a cell, most bytes first; only the 1,000 hosts that send most",
    (
        *_CELL,
        Column("host", pa.string(), "its address, or its prefix"),
        Column("packets", pa.uint64(), "packets sent"),
        Column("bytes", pa.uint64(), "IP bytes sent"),
        Column("dropped", pa.uint64(), "packets dropped"),
        Column("delay_p50_ns", pa.int64(), "p50 of one-way delay, within 0.8 %", True),
        Column("delay_p99_ns", pa.int64(), "p99 of one-way delay, within 0.8 %", True),
    ),
)

PROFILE: Final = Table(
    "profile",
    "the trace's flowlets at one timeout",
    (
        Column("timeout_ns", pa.int64(), "flowlet timeout"),
        Column("flowlets", pa.uint64(), "flowlets"),
        Column("flows", pa.uint64(), "flows"),
        Column("never_split", pa.uint64(), "flows that stay one flowlet"),
        *_quantiles("packets", pa.uint64(), "", "packets per flowlet"),
        Column("packets_mean", pa.float64(), "mean packets per flowlet", True),
        *_quantiles("bytes", pa.uint64(), "", "IP bytes per flowlet"),
        Column("bytes_mean", pa.float64(), "mean IP bytes per flowlet", True),
    ),
)

FLOWLETS: Final = Table(
    "flowlets",
    "a flowlet at one timeout, in order of timeout, start and flow",
    (
        Column("timeout_ns", pa.int64(), "flowlet timeout"),
        Column("flow_id", pa.uint32(), "flow of the trace"),
        Column("first_ns", pa.int64(), "time of its first packet"),
        Column("packets", pa.int64(), "packets"),
        Column("bytes", pa.int64(), "IP bytes"),
    ),
)

FORECAST_TABLES: Final = (SUMMARY, FLOW_FATES, SIZES, DISTRIBUTIONS, SERIES, LINKS, HOSTS, PROFILE, PACKET_FATES)
