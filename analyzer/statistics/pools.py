"""Gathers what cells that differ only in their seed have, and pools it as soon as the last of them has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from segcast.analyzer.schema import POOLED
from segcast.analyzer.statistics.pooled import Sample, pooled_quantile

QUANTILES: Final = {"p99": 0.99, "p999": 0.999}
_NAMED: Final = POOLED.names()[: POOLED.names().index("metric")]


def pooled_column(metric: str, quantile: float) -> str:
    """The column of the summary whose seeds' values a pooled quantile is of, such as `delay_p99_ns`."""
    name = next(name for name, value in QUANTILES.items() if value == quantile)
    return f"{metric.removesuffix('_ns')}_{name}_ns"


POOLED_COLUMNS: Final = {
    pooled_column(metric, quantile): (metric, quantile)
    for metric in ("delay_ns", "fct_ns")
    for quantile in QUANTILES.values()
}
"""Columns of the summary whose values all seeds have together, with the metric of `Sample` and the quantile."""

_SAMPLES: Final = pa.schema([("metric", pa.string()), ("value", pa.int64()), ("upto", pa.int64())])


def no_samples() -> pa.Table:
    """The table of no samples."""
    return _SAMPLES.empty_table()


def sample_table(**samples: Sample) -> pa.Table:
    """Samples of a cell by metric, as a table that can be kept."""
    parts = [
        pa.table([pa.repeat(pa.scalar(metric), len(sample.values)), *sample], schema=_SAMPLES)
        for metric, sample in samples.items()
    ]
    return pa.concat_tables(parts)


def samples_of(table: pa.Table) -> dict[str, Sample]:
    """What `sample_table` made a table of."""
    found = {}
    for metric in table["metric"].unique().to_pylist():
        part = table.filter(pc.equal(table["metric"], metric))
        found[metric] = Sample(part["value"].to_numpy(), part["upto"].to_numpy())
    return found


class Pools:
    """Rows of POOLED from cells that come variant by variant, all seeds of one after the other."""

    def __init__(self) -> None:
        self._named: dict[str, Any] = {}
        self._samples: dict[str, list[Sample]] = {}
        self._rows: list[dict[str, Any]] = []

    def add(self, summary: Mapping[str, Any], samples: pa.Table) -> None:
        """Take a cell: its row of SUMMARY, and its samples."""
        named = {name: summary[name] for name in _NAMED}
        if named != self._named:
            self._close()
            self._named = named
        for metric, sample in samples_of(samples).items():
            self._samples.setdefault(metric, []).append(sample)

    def rows(self) -> list[dict[str, Any]]:
        """All rows, once the last cell has come."""
        self._close()
        return self._rows

    def _close(self) -> None:
        for metric, samples in self._samples.items():
            for quantile in QUANTILES.values():
                found = pooled_quantile(samples, quantile)
                if found is not None:
                    told = {"value": found.value, "low": found.low, "high": found.high}
                    about = {"metric": metric, "quantile": quantile, "seeds": found.seeds, "values": found.total}
                    self._rows.append({**self._named, **about, **told})
        self._samples = {}
