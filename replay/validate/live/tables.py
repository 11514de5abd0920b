"""The table of a validation against live runs."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from segcast.traces.schema import Column, Table

LIVE_FIGURES: Final = Table(
    "figures",
    "a figure of completion times of a policy, forecast and measured",
    (
        Column("policy", pa.string(), "label of the policy"),
        Column("timeout", pa.string(), "label of the flowlet timeout; null without one", True),
        Column("metric", pa.string(), "`fct_p50_ns` and so on"),
        Column("measured", pa.float64(), "of all flows of the policy's cells together", True),
        Column("forecast", pa.float64(), "the same, of all draws that they were compared with", True),
        Column("error", pa.float64(), "forecast over measured, less 1: mean of the cells' ratios, on logarithms", True),
        Column("low", pa.float64(), "lower bound of that at 95 %", True),
        Column("high", pa.float64(), "upper bound", True),
        Column("allowed", pa.float64(), "largest error allowed; null where nothing is judged", True),
        Column("verdict", pa.string(), "`holds`, `fails` or `says nothing`; null where nothing is judged", True),
    ),
)
