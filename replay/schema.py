"""The tables of measurements and validations, defined once; see `segcast.analyzer.schema` for those of a forecast."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from segcast.traces.schema import Column, Table

MEASURED: Final = Table(
    "packets",
    "a packet that a sender was asked to send, in order of `planned_ns`; times are on the reference clock",
    (
        Column("file", pa.uint16(), "source file, as in the trace"),
        Column("frame_number", pa.uint64(), "frame in that file"),
        Column("flow_id", pa.uint32(), "flow of the trace"),
        Column("flowlet_id", pa.uint32(), "flowlet, as the forecast numbers them"),
        Column("path_id", pa.uint16(), "path, by the segment list sent or the links passed; else the forecast's"),
        Column("send_ns", pa.int64(), "time seen leaving the sender; null if it was not", True),
        Column("receive_ns", pa.int64(), "time seen at a receiver; null if it was not", True),
        Column("queue_ns", pa.int64(), "delay above the least of its path; null without a delay", True),
        Column("ecn_marked", pa.bool_(), "whether it arrived with a mark (CE) that it was not sent with"),
        Column("dropped", pa.bool_(), "whether it was seen leaving but not arriving"),
        Column("planned_ns", pa.int64(), "time at which it was to be sent, on the sender's own scale"),
        Column("frame_bytes", pa.uint32(), "frame as sent, SRv6 included, without FCS"),
        Column("sender", pa.uint16(), "index into `senders` of measurement.json"),
        Column("receiver", pa.uint16(), "index into `receivers`; null if not received", True),
        Column("exchangeable", pa.bool_(), "whether an equal packet was underway on another path at the same time"),
    ),
)

_AGAINST = (
    Column("policy", pa.string(), "label of the policy"),
    Column("cell", pa.string(), "cell of the forecast"),
)

DEPARTURES: Final = Table(
    "departures",
    "a sender of a measurement: planned against actual departures",
    (
        *_AGAINST,
        Column("host", pa.string(), "the sender"),
        Column("planned", pa.uint64(), "packets to send"),
        Column("sent", pa.uint64(), "those seen leaving"),
        Column("offset_ns", pa.int64(), "median of actual less planned times; null if none was sent", True),
        Column("stretch", pa.float64(), "time from first to last packet, actual over planned", True),
        Column("gap_error_p50_ns", pa.int64(), "p50 of how much gaps between packets differ from planned", True),
        Column("gap_error_p99_ns", pa.int64(), "p99 of the same", True),
        Column("gap_error_max_ns", pa.int64(), "largest", True),
        Column("shift_p99_ns", pa.int64(), "p99 of how far packets are from where the first one puts them", True),
        Column(
            "spread_p99_ns", pa.int64(), "p99 of how far packets are from the median offset of the same 100 ms", True
        ),
        Column("boundaries", pa.uint64(), "flowlet boundaries planned (gaps above the timeout)"),
        Column("boundaries_kept", pa.uint64(), "those still above the timeout"),
        Column("boundaries_new", pa.uint64(), "gaps within planned flowlets that grew above the timeout"),
    ),
)

COMPARISONS: Final = Table(
    "comparisons",
    "a metric of a path (or all of them), predicted and measured",
    (
        *_AGAINST,
        Column("comparison", pa.string(), "`as-sent` (model error) or `end-to-end`"),
        Column("path_id", pa.uint16(), "path; null for all together", True),
        Column(
            "metric",
            pa.string(),
            "`loss_ratio`, `delay_p50_ns`, `delay_area_ns`, `delay_p99_ns`, `residual_p50_ns` or `reordered_ratio`",
        ),
        Column("packets", pa.uint64(), "packets compared; of `residual_p50_ns` those that waited"),
        Column("predicted", pa.float64(), "in the metric's unit; delays with the measured base delay added", True),
        Column("measured", pa.float64(), "the same as measured", True),
        Column(
            "error",
            pa.float64(),
            "measured - predicted; of `delay_area_ns` the mean of that, at equal quantiles, without its sign",
            True,
        ),
        Column("allowed", pa.float64(), "largest error that the tolerance allows; null where there is none", True),
        Column("holds", pa.bool_(), "whether it is within; null where nothing is judged, or nothing said", True),
        Column("verdict", pa.string(), "`holds`, `fails` or `says nothing`; null where nothing is judged", True),
        Column("why", pa.string(), "why it says nothing, or is not judged though it has a tolerance", True),
    ),
)

COMPARED: Final = Table(
    "packets",
    "a packet that was seen leaving, measured and as sent, in order of `send_ns`",
    (
        *_AGAINST,
        Column("file", pa.uint16(), "source file, as in the trace"),
        Column("frame_number", pa.uint64(), "frame in that file"),
        Column("path_id", pa.uint16(), "path that it took"),
        Column("frame_bytes", pa.uint32(), "frame as sent"),
        Column("send_ns", pa.int64(), "time seen leaving"),
        Column("delay_ns", pa.int64(), "one-way delay measured; null if it was lost", True),
        Column(
            "as_sent_ns", pa.int64(), "one-way delay of the forecast as sent, base delay included; null: lost", True
        ),
        Column("wait_ns", pa.int64(), "the part of that spent waiting in queues; null if it was lost", True),
        Column("residual_ns", pa.int64(), "`delay_ns` - `as_sent_ns`; null if either is", True),
        Column("lone", pa.bool_(), "whether it met no other packet on its links, by what was measured"),
        Column(
            "held_up",
            pa.bool_(),
            "whether it was underway while the machine held up a lone packet or a departure; left out",
        ),
        Column("exchangeable", pa.bool_(), "whether an equal packet was underway on another path; left out"),
    ),
)

CURVES: Final = Table(
    "curves",
    "a point of a path's distribution of one-way delay",
    (
        *_AGAINST,
        Column("source", pa.string(), "`measured`, `as-sent` or `forecast`"),
        Column("path_id", pa.uint16(), "path"),
        Column("quantile", pa.float64(), "0 to 1"),
        Column("delay_ns", pa.int64(), "one-way delay; predicted ones with the measured base delay added"),
    ),
)
