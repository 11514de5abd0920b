"""The tables of a live run, defined once; they begin with the columns of a forecast's, so that both can be joined."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from segcast.analyzer.schema import CELL
from segcast.traces.schema import Column, Table

LIVE_SUMMARY: Final = Table(
    "summary",
    "a cell of a live run, in the order in which they were run",
    (
        *CELL,
        Column("list", pa.string(), "name of the flow list that it sent"),
        Column("messages", pa.uint64(), "flows of the list"),
        Column("unfinished", pa.uint64(), "those that did not arrive, and are in no time below"),
        *(
            Column(f"fct_p{share}_ns", pa.int64(), f"p{share} of flow completion time", True)
            for share in (50, 90, 95, 98, 99)
        ),
        Column("fct_max_ns", pa.int64(), "the longest", True),
        Column("fct_mean_ns", pa.float64(), "mean flow completion time", True),
        Column("retransmissions", pa.uint64(), "segments of data sent again"),
        Column("needless", pa.uint64(), "segments that receivers said they had already (D-SACK)"),
        Column("timeouts", pa.uint64(), "retransmission timeouts"),
        Column("syn_retransmissions", pa.uint64(), "SYN and SYN/ACK sent again"),
        Column("dropped", pa.uint64(), "packets dropped by queues"),
        Column("flowlets", pa.uint64(), "flowlets that carried data; null where no program steered", True),
        Column("path_changes", pa.uint64(), "those on another path than their flow's one before", True),
        Column("flowlets_lost", pa.uint64(), "flowlets that the program's log had no room for", True),
        Column(
            "inflight_left_bytes",
            pa.int64(),
            "what hosts' counters held when all connections were closed: 0, or the counting is wrong",
            True,
        ),
        Column("late_p50_ns", pa.int64(), "p50 of how much later than due flows were asked for", True),
        Column("late_max_ns", pa.int64(), "the latest", True),
        Column("busy_share", pa.float64(), "part of all processors' time that anything on the machine took"),
        Column("began_ns", pa.int64(), "when it began, UTC epoch"),
    ),
)

LIVE_FLOWS: Final = Table(
    "flows",
    "a flow of the list in a cell",
    (
        *CELL,
        Column("flow", pa.string(), "the list's own name of it"),
        Column("bytes", pa.uint64(), "bytes that it asks to be sent"),
        Column("start_ns", pa.int64(), "time of the list at which it was asked for; null if it never was", True),
        Column("late_ns", pa.int64(), "by how much that was after it was due", True),
        Column("fct_ns", pa.int64(), "from then to its last byte at the receiver; null if unfinished", True),
        Column("path_id", pa.int64(), "path of its data, if its whole connection was held to one", True),
        Column("retransmissions", pa.uint64(), "segments sent again since the flow before it on its connection", True),
        Column("needless", pa.uint64(), "segments that its receiver said it had already, likewise", True),
        Column("rto", pa.uint64(), "retransmission timeouts, likewise", True),
        Column("syn_retransmissions", pa.uint64(), "SYN and SYN/ACK sent again, of a connection's first flow", True),
        Column("flowlets", pa.uint64(), "flowlets of its data; null where no program steered", True),
        Column("path_changes", pa.uint64(), "flowlets on another path than the one before", True),
        Column("reord_seen", pa.uint64(), "times that its sender met reordering; this and the rest: TCP_INFO", True),
        Column("snd_cwnd", pa.uint64(), "congestion window at the end, segments", True),
        Column("snd_ssthresh", pa.uint64(), "slow start threshold at the end, segments", True),
        Column("snd_mss", pa.uint64(), "bytes of a full segment", True),
        Column("min_rtt", pa.uint64(), "least round trip, us", True),
        Column("rtt", pa.uint64(), "smoothed round trip at the end, us", True),
        Column("rwnd_limited_us", pa.uint64(), "time that it waited for the receiver's window", True),
        Column("sndbuf_limited_us", pa.uint64(), "time that it waited for its send buffer", True),
    ),
)

LIVE_LINKS: Final = Table(
    "links",
    "a link in a cell of a live run",
    (
        *CELL,
        Column("name", pa.string(), "the link's name"),
        Column("carried_bytes", pa.uint64(), "bytes of frames that left it, with Ethernet headers"),
        Column("packets", pa.uint64(), "those frames"),
        Column("dropped", pa.uint64(), "packets dropped at its queue"),
    ),
)

LIVE_FLOWLETS: Final = Table(
    "flowlets",
    "a flowlet of a direction in which a flow has data, as a host's program saw it, in order of flow and start",
    (
        *CELL,
        Column("flow", pa.string(), "flow of the list"),
        Column("path_id", pa.uint32(), "path that it was put on"),
        Column("start_ns", pa.int64(), "time of the list at which its first packet left"),
        Column("packets", pa.uint64(), "packets; of a super-frame it counts one"),
        Column("bytes", pa.uint64(), "IP bytes, without the outer header"),
        Column("gap_ns", pa.int64(), "time since its flow's packet before it; 0 of the first"),
        Column("data", pa.bool_(), "whether it carried more than headers: a SYN may be a flowlet of its own"),
    ),
)

LIVE_TABLES: Final = (LIVE_SUMMARY, LIVE_FLOWS, LIVE_LINKS, LIVE_FLOWLETS)
