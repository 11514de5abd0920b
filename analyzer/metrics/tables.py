"""The tables whose columns the families of metrics give, and all tables of a forecast."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from segcast.analyzer.metrics.families.registry import FAMILIES
from segcast.analyzer.schema import CELL, DISTRIBUTIONS, HOSTS, LINKS, PACKET_FATES, PROFILE, SERIES, SIZES
from segcast.traces.schema import Column, Table

SUMMARY: Final = Table(
    "summary",
    "a cell: one policy, timeout, load and seed",
    (*CELL, *(column for family in FAMILIES for column in family.summary)),
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

FORECAST_TABLES: Final = (SUMMARY, FLOW_FATES, SIZES, DISTRIBUTIONS, SERIES, LINKS, HOSTS, PROFILE, PACKET_FATES)
