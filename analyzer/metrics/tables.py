"""The tables whose columns the families of metrics give, and all tables of a forecast."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from segcast.analyzer.metrics.families.registry import FAMILIES
from segcast.analyzer.metrics.messages import MESSAGE_SUMMARY, MESSAGES
from segcast.analyzer.schema import (
    CELL,
    DISTRIBUTIONS,
    GROWTH,
    HOSTS,
    LINKS,
    PACKET_FATES,
    POOLED,
    PROFILE,
    RESAMPLE,
    SENT_PACKETS,
    SERIES,
    SIZES,
)
from segcast.traces.schema import Column, Table

SUMMARY: Final = Table(
    "summary",
    "a cell: one policy, timeout, load and seed",
    (*CELL, *GROWTH, *(column for family in FAMILIES for column in family.summary), *MESSAGE_SUMMARY),
)

FLOW_FATES: Final = Table(
    "flows",
    "a flow of a cell",
    (
        *CELL,
        Column("flow_id", pa.uint32(), "flow of the trace"),
        *(column for family in FAMILIES for column in family.flows),
    ),
)

FORECAST_TABLES: Final = (
    SUMMARY,
    POOLED,
    FLOW_FATES,
    SIZES,
    DISTRIBUTIONS,
    SERIES,
    LINKS,
    HOSTS,
    PROFILE,
    PACKET_FATES,
)

RESAMPLES: Final = Table(
    "resamples",
    "a cell over a resampled trace, with one of the seeds, where that was asked for; columns as in `summary`",
    (RESAMPLE, *SUMMARY.columns),
)

REACTING_TABLES: Final = (MESSAGES, SENT_PACKETS)
"""Tables of forecasts whose senders react: messages beside the others, and other packets."""
