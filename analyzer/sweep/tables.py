"""The tables of a sweep, defined once."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.schema import CELL, GROWTH
from segcast.traces.schema import Column, Table

VARIANT: Final = Column(
    "variant", pa.string(), "what is swept and its values, such as `buffer 64KiB`; empty where nothing is"
)
_CHOICE: Final = tuple(column for column in CELL if column.name in ("policy", "timeout", "timeout_ns"))
_CASE: Final = (VARIANT, *(column for column in CELL if column.name == "load"), *GROWTH)
_AGAINST: Final = (
    Column(
        "change", pa.float64(), "change against the baseline of the same case, seed by seed; -0.3 is 30 % less", True
    ),
    Column("low", pa.float64(), "lower bound of it at 95 %", True),
    Column("high", pa.float64(), "upper bound", True),
)
_OF_FLOWS: Final = "of all seeds' flows together where senders react, else mean over seeds"
MEANS: Final[dict[str, tuple[pa.DataType, str]]] = {
    "delay_p50_ns": (pa.float64(), "mean over seeds of p50 of one-way delay"),
    "delay_p99_ns": (pa.float64(), "p99 of one-way delay, of all seeds' packets together"),
    "delay_p999_ns": (pa.float64(), "p99.9 of one-way delay, of all seeds' packets together"),
    "fct_p99_ns": (pa.float64(), f"p99 of completion times, {_OF_FLOWS}"),
    "fct_p999_ns": (pa.float64(), f"p99.9 of completion times, {_OF_FLOWS}"),
    "drop_ratio": (pa.float64(), "mean over seeds of share of packets dropped"),
    "reordered_ratio": (pa.float64(), "mean over seeds of share of packets that arrive late"),
    "imbalance": (pa.float64(), "mean over seeds of load imbalance over time"),
}
"""What a choice is said to be, over its seeds."""

SWEPT: Final = Table(
    "summary",
    "a cell of a variant: one policy, timeout, load and seed",
    (VARIANT, *SUMMARY.columns),
)
VARIANTS: Final = Table(
    "variants",
    "a field of a variant",
    (
        VARIANT,
        Column("field", pa.string(), "the field, as it was asked for"),
        Column("value", pa.string(), "its value, as a scenario has it"),
    ),
)
CHOICES: Final = Table(
    "choices",
    "a policy and timeout in a case (a variant at a load), over its seeds",
    (
        *_CASE,
        *_CHOICE,
        Column("seeds", pa.uint32(), "seeds that were run"),
        Column("chosen", pa.bool_(), "whether it is what the answer would use there"),
        Column("breaks", pa.string(), "the budgets that it breaks; empty if none"),
        *(Column(name, kind, meaning, True) for name, (kind, meaning) in MEANS.items()),
        *_AGAINST,
    ),
)
COMPARED: Final = Table(
    "comparisons",
    "a metric of a policy and timeout against the baseline in the same case",
    (
        *_CASE,
        *_CHOICE,
        Column("baseline_policy", pa.string(), "label of the baseline"),
        Column("baseline_timeout", pa.string(), "label of its timeout; null without one", True),
        Column("baseline_timeout_ns", pa.int64(), "the same in ns; null where it is not fixed", True),
        Column("metric", pa.string(), "a column of `summary`"),
        Column("seeds", pa.uint32(), "seeds that have both values"),
        Column("value", pa.float64(), "mean over seeds", True),
        Column("baseline", pa.float64(), "that of the baseline", True),
        *_AGAINST,
    ),
)
SWEEP_TABLES: Final = (SWEPT, CHOICES, COMPARED, VARIANTS)


def rows_table(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as Arrow; a column that a row lacks is null."""
    return pa.Table.from_pylist(rows, schema=table.arrow_schema())
