"""The columns of the summary as reports show them, where packets leave as captured and where senders react."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from segcast.reports import text


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the summary as reports show it; less is better, unless `more` is."""

    column: str
    title: str
    unit: Callable[[float | None], str]
    more: bool = False


METRICS: Final = (
    Metric("delay_p50_ns", "p50 delay", text.duration),
    Metric("delay_p99_ns", "p99 delay", text.duration),
    Metric("utilisation_max", "busiest link", text.percent),
    Metric("delay_p999_ns", "p99.9 delay", text.duration),
    Metric("queue_p99_ns", "p99 queueing", text.duration),
    Metric("fct_p99_ns", "p99 FCT", text.duration),
    Metric("slowdown_p99", "p99 slowdown", text.plain),
    Metric("drop_ratio", "dropped", text.percent),
    Metric("marked_ratio", "marked", text.percent),
    Metric("reordered_ratio", "reordered", text.percent),
    Metric("imbalance", "imbalance", text.plain),
)
BY_COLUMN: Final = {metric.column: metric for metric in METRICS}

# Where senders react: what flows feel, what the network did to their packets, and what that made TCP do.
UNFINISHED: Final = Metric("unfinished", "unfinished flows", text.tally)
FLOW_TIMES: Final = (
    UNFINISHED,
    Metric("fct_p50_ns", "p50 FCT", text.duration),
    Metric("fct_p90_ns", "p90 FCT", text.duration),
    Metric("fct_p95_ns", "p95 FCT", text.duration),
    Metric("fct_p98_ns", "p98 FCT", text.duration),
    BY_COLUMN["fct_p99_ns"],
    Metric("fct_p999_ns", "p99.9 FCT", text.duration),
    Metric("fct_mean_ns", "mean FCT", text.duration),
    BY_COLUMN["slowdown_p99"],
)
TCP_COSTS: Final = (
    BY_COLUMN["reordered_ratio"],
    BY_COLUMN["drop_ratio"],
    Metric("retransmissions", "retransmissions", text.tally),
    Metric("needless", "needless", text.tally),
    Metric("recoveries", "fast recoveries", text.tally),
    Metric("timeouts", "timeouts", text.tally),
    Metric("syn_retransmissions", "SYNs sent again", text.tally),
    Metric("goodput_bps", "goodput", text.rate, more=True),
)
PACKET_TIMES: Final = tuple(
    BY_COLUMN[column]
    for column in (
        "delay_p50_ns",
        "delay_p99_ns",
        "delay_p999_ns",
        "queue_p99_ns",
        "utilisation_max",
        "marked_ratio",
        "imbalance",
    )
)
