"""Tables of a forecast, defined once; see `segcast.traces.schema` for those of a trace.

The tables of cells and flows are put together from the families of metrics: `segcast.analyzer.metrics.tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from segcast.traces.schema import Column, Table

QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}

CELL = (
    Column("cell", pa.string(), "name of the cell, such as `inflight-100us-s1`"),
    Column("policy", pa.string(), "label of the policy: its name, unless the scenario says otherwise"),
    Column("timeout", pa.string(), "label of the flowlet timeout; null where the policy has no use for one", True),
    Column("timeout_ns", pa.int64(), "the same in ns; null where it is not fixed", True),
    Column("load", pa.float64(), "what is offered, in parts of the trace: faster packets, more connections, or both"),
    Column("seed", pa.uint64(), "seed of the cell's random draws"),
)

GROWTH = (
    Column("growth", pa.float64(), "of the load, the factor that is of more connections, or fewer", True),
    Column("year", pa.uint16(), "the year from now, where growth is given by the year", True),
    Column("share", pa.string(), "the load as it was asked, if that is a share of the busiest link: `60%`", True),
)


def quantile_columns(prefix: str, kind: pa.DataType, unit: str, meaning: str) -> tuple[Column, ...]:
    """One nullable column per quantile, named prefix_quantile[_unit]."""
    suffix = f"_{unit}" if unit else ""
    return tuple(Column(f"{prefix}_{q}{suffix}", kind, f"{q} of {meaning}", True) for q in QUANTILES)


def named_quantiles(prefix: str, values: Sequence[Any], unit: str) -> dict[str, Any]:
    """Values for the columns of `quantile_columns`, of the quantiles in their order."""
    suffix = f"_{unit}" if unit else ""
    return {f"{prefix}_{q}{suffix}": value for q, value in zip(QUANTILES, values, strict=True)}


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

SENT_PACKETS: Final = Table(
    "packets",
    "a packet that a sender made, in send order, where senders react: what it was, its path and its fate",
    (
        Column("flow_id", pa.uint32(), "2c from the host that opened connection c, 2c + 1 back"),
        *(column for column in PACKET_FATES.columns if column.name not in ("file", "frame_number", "flow_id")),
        Column("ip_bytes", pa.uint32(), "IP header and payload"),
        Column("kind", pa.string(), "`data`, `ack`, `syn`, `syn-ack`, or `recorded`: of no connection"),
        Column(
            "number",
            pa.uint32(),
            "segment of its flow, the next that the receiver expects, or its place among those recorded; from 0 on",
        ),
    ),
)

SIZES: Final = Table(
    "sizes",
    "flows of a cell in one size bin",
    (
        *CELL,
        Column("min_bytes", pa.uint64(), "smallest flow of the bin (IP bytes)"),
        Column("below_bytes", pa.uint64(), "upper bound of the bin, exclusive; null if open", True),
        Column("flows", pa.uint64(), "flows with at least one packet received"),
        *quantile_columns("fct", pa.int64(), "ns", "flow completion time"),
        *quantile_columns("slowdown", pa.float64(), "", "slowdown"),
    ),
)

DISTRIBUTIONS: Final = Table(
    "distributions",
    "a point of a cell's distribution",
    (
        *CELL,
        Column("metric", pa.string(), "`delay_ns`, `queue_ns`, `fct_ns` or `slowdown`"),
        Column("quantile", pa.float64(), "0 to 1"),
        Column("value", pa.float64(), "in the metric's unit"),
    ),
)

POOLED: Final = Table(
    "pooled",
    "a quantile of all seeds' values together: of cells that differ only in their seed",
    (
        *(column for column in CELL if column.name not in ("cell", "seed")),
        *GROWTH,
        Column("metric", pa.string(), "`delay_ns`, and where senders react `fct_ns`"),
        Column("quantile", pa.float64(), "0.99 and 0.999"),
        Column("seeds", pa.uint32(), "seeds that have values"),
        Column("values", pa.uint64(), "values of all of them: packets received, flows finished"),
        Column("value", pa.int64(), "the quantile of all of them together"),
        Column(
            "low",
            pa.float64(),
            "lower bound at 95 %, by a jackknife over seeds; null where few values are beyond, or one seed's",
            True,
        ),
        Column("high", pa.float64(), "upper bound", True),
    ),
)

RESAMPLE: Final = Column("resample", pa.uint32(), "number of the resampled trace, from 1 on")

SERIES: Final = Table(
    "series",
    "an interval of one path, for the first seed of each policy, timeout and load",
    (
        *CELL,
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
        *CELL,
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
        *CELL,
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
        *quantile_columns("packets", pa.uint64(), "", "packets per flowlet"),
        Column("packets_mean", pa.float64(), "mean packets per flowlet", True),
        *quantile_columns("bytes", pa.uint64(), "", "IP bytes per flowlet"),
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
