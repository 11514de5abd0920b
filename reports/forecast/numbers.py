"""The tables of key numbers: a row per variant, a cell per metric, with the best of each load marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from segcast.analyzer.answers.budgets import more_dropped
from segcast.reports import text
from segcast.reports.forecast.data import Estimate, Forecast, Variant
from segcast.reports.forecast.matrices import MANY
from segcast.reports.forecast.metrics import UNFINISHED, Metric

MOST_ON_DEMAND: Final = 250

_Known = tuple[Variant, Estimate, str]
"""A variant, its estimate, and that in words."""


@dataclass(frozen=True, slots=True)
class TableCell:
    """A key number: its mean, its interval, and whether it is the best (or cannot be told from it).

    `faint`: too little is behind it to rely on it.
    """

    mean: str
    interval: str = ""
    best: bool = False
    tied: bool = False
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Numbers:
    """A table: what it is of, the heads of its columns, and the cells of each variant.

    Of many variants the first are seen at once, `rest` on demand, and `hidden` not at all.
    """

    title: str
    heads: list[str]
    rows: list[tuple[Variant, list[TableCell]]]
    first: frozenset[Variant]

    @property
    def seen(self) -> list[tuple[Variant, list[TableCell]]]:
        """The rows seen at once."""
        return [row for row in self.rows if row[0] in self.first]

    @property
    def rest(self) -> list[tuple[Variant, list[TableCell]]]:
        """The rows on demand, loads rising."""
        rest = [row for row in self.rows if row[0] not in self.first]
        return sorted(rest, key=lambda row: row[0].load)[:MOST_ON_DEMAND]

    @property
    def hidden(self) -> int:
        """How many rows are left to summary.parquet."""
        return max(0, len(self.rows) - len(self.first) - MOST_ON_DEMAND)


def numbers(forecast: Forecast, title: str, metrics: Sequence[Metric], changed: str | None = None) -> Numbers:
    """The table of some metrics; after the column `changed` comes its change against the baseline."""
    heads: list[str] = []
    columns: list[list[TableCell]] = []
    for metric in metrics:
        heads.append(metric.title)
        columns.append(_column(forecast, metric))
        if metric.column == changed and forecast.comparisons:
            heads.append("change of it")
            columns.append([_change(forecast, variant, metric.column) for variant in forecast.variants])
    rows = [(variant, [column[row] for column in columns]) for row, variant in enumerate(forecast.variants)]
    first = forecast.shown if len(forecast.variants) > MANY else forecast.variants
    return Numbers(title, heads, rows, frozenset(first))


def _column(forecast: Forecast, metric: Metric) -> list[TableCell]:
    variants = forecast.variants
    found = [forecast.estimate(v, metric.column) for v in variants]
    words = [metric.unit(e.mean) for e in found]
    at_load: dict[float, list[_Known]] = {}
    for variant, estimate, mean in zip(variants, found, words, strict=True):
        if estimate.mean is not None:
            at_load.setdefault(variant.load, []).append((variant, estimate, mean))
    sign = -1 if metric.more else 1
    # The best of each load, unless all there are written alike. Who leaves more flows unfinished does not compete.
    best: dict[float, _Known] = {}
    able: set[Variant] = set()
    for load, there in at_load.items():
        rivals = _rivals(forecast, metric, there)
        able |= {v for v, *_ in rivals}
        leader = min(rivals, key=lambda one: sign * (one[1].mean or 0.0))
        # A single one is the best only if nobody is better at the price of more losses.
        field = rivals if len(rivals) > 1 else there
        quickest = len(rivals) > 1 or leader is min(there, key=lambda one: sign * (one[1].mean or 0.0))
        if len({mean for *_, mean in field}) > 1 and quickest:
            best[load] = leader
    faint = metric.column in ("delay_p999_ns", "fct_p999_ns") and not forecast.decision.knows_p999
    if faint:
        best = {}
    cells = []
    for variant, estimate, mean in zip(variants, found, words, strict=True):
        least = best.get(variant.load) if variant in able else None
        first = least is not None and mean == least[2]
        tied = not first and least is not None and _overlap(estimate, least[1])
        cells.append(TableCell(mean, _interval(estimate, metric), first, tied, faint))
    return cells


def _rivals(forecast: Forecast, metric: Metric, there: list[_Known]) -> list[_Known]:
    """Those who compete for the best of a load: who leaves fewest flows unfinished, and loses no more packets.

    Times are of what finished and arrived, so that who loses more could look quicker.
    """
    fewest = min(_left(forecast, variant) for variant, *_ in there)
    rivals = [one for one in there if metric is UNFINISHED or _left(forecast, one[0]) == fewest]
    if forecast.reacts or metric.column == "drop_ratio":
        return rivals
    drops = {variant: forecast.estimate(variant, "drop_ratio").mean or 0.0 for variant, *_ in rivals}
    return [one for one in rivals if not more_dropped(drops[one[0]], min(drops.values()))]


def _left(forecast: Forecast, variant: Variant) -> float:
    return forecast.estimate(variant, UNFINISHED.column).mean or 0.0


def _change(forecast: Forecast, variant: Variant, column: str) -> TableCell:
    if variant in forecast.baselines:
        return TableCell("baseline")
    found = forecast.compared(variant, column)
    if found is None:
        return TableCell(text.NO_VALUE)
    interval = text.change_interval(found.low, found.high, " %").replace("more than tenfold", ">x10")
    return TableCell(text.change(found.change), interval)


def _overlap(one: Estimate, other: Estimate) -> bool:
    """Whether two 95 % intervals meet; false if either is unknown."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high


def _interval(estimate: Estimate, metric: Metric) -> str:
    """The interval in words; empty if unknown or too narrow to be seen."""
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = metric.unit(estimate.low), metric.unit(estimate.high)
    return "" if low == high else text.span(low, high, "–")
