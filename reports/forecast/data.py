"""A forecast folder read once: its tables, its cells grouped into variants, and estimates over the seeds."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc

from segcast.analyzer.answers.candidates import Circumstances
from segcast.analyzer.answers.decision import Decision, decide
from segcast.analyzer.answers.stated import stated_decision
from segcast.analyzer.forecast.compare import (
    FCT_HEADLINE,
    HEADLINE,
    compare,
    interval,
    timeout_label,
    variant_label,
)
from segcast.analyzer.forecast.document import StatedDecision
from segcast.analyzer.forecast.reading import read_document, read_forecast_table, read_summary
from segcast.analyzer.schema import DISTRIBUTIONS, POOLED, PROFILE, SERIES, SIZES
from segcast.analyzer.slo import Budget, parse_slo
from segcast.analyzer.statistics.pools import QUANTILES, pooled_column
from segcast.reports import text
from segcast.traces.errors import InputError

_OF_FLOWS: Final = ("fct_ns", "slowdown")
_NAMED: Final = ["policy", "timeout", "timeout_ns", "load"]


@dataclass(frozen=True, slots=True)
class Variant:
    """A policy with its flowlet timeout and load: the cells that differ only in their seed.

    `rule` is the label of a timeout that is not fixed. `growth` and `year` say what the load is made of, `share` how it
    was asked, and `several` that there are others: they are of the label alone.
    """

    policy: str
    timeout_ns: int | None
    rule: str | None = None
    load: float = 1.0
    growth: float | None = field(default=None, compare=False)
    year: int | None = field(default=None, compare=False)
    share: str | None = field(default=None, compare=False)
    several: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, row: Mapping[str, Any], prefix: str = "") -> Variant:
        """The variant that a row names, its columns beginning with a prefix (of the load there is but one)."""
        timeout_ns = row.get(f"{prefix}timeout_ns")
        rule = row.get(f"{prefix}timeout") if timeout_ns is None else None
        return cls(str(row.get(f"{prefix}policy") or ""), timeout_ns, rule, row.get("load") or 1.0)

    @property
    def timeout(self) -> str:
        """The timeout of the variant in words."""
        return timeout_label(self.timeout_ns, self.rule) or text.NO_VALUE

    @property
    def beside(self) -> str:
        """What tells it from others of its policy, in words; empty if nothing does."""
        return self._said("").removeprefix(", ")

    @property
    def label(self) -> str:
        """The variant in words, such as `inflight, 100 us`."""
        return self._said(self.policy)

    def _said(self, policy: str) -> str:
        said: dict[str, Any] = {name: getattr(self, name) for name in ("several", "growth", "year", "share")}
        return variant_label(policy, self.timeout_ns, self.rule, self.load, **said)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity over `seeds` seeds, with its 95 % interval (none with one seed): their mean, or a quantile of all."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    seeds: int = 0

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Estimate:
        """Student's t interval of the mean of the values present; a quantity never below zero is kept so."""
        known = [float(v) for v in values if v is not None and math.isfinite(v)]
        if not known:
            return cls(None)
        found = interval(known)
        if found.low is None or found.high is None:
            return cls(found.mean, seeds=1)
        low = found.low if min(known) < 0 else max(0.0, found.low)
        return cls(found.mean, low, found.high, len(known))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric of a variant against that of a baseline; `low` and `high` bound the change at 95 %, if known."""

    variant: Variant
    against: Variant
    metric: str
    value: float | None
    baseline: float | None
    change: float | None
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval of the change excludes zero; false without an interval."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True)
class Curve:
    """A distribution over the seeds: at each quantile the mean, smallest and largest value.

    `part` is how much of all it is of: what has no value, as a flow that never finished, is beyond every one.
    """

    quantile: np.ndarray[Any, np.dtype[np.float64]]
    mean: np.ndarray[Any, np.dtype[np.float64]]
    low: np.ndarray[Any, np.dtype[np.float64]]
    high: np.ndarray[Any, np.dtype[np.float64]]
    part: float = 1.0


class Forecast:
    """What a report says comes from here; tables are read when first asked for.

    Raises InputError, naming the file, if one is missing, damaged or of another schema.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._document = read_document(self.folder)
        self.meta = self._document.stated()
        self._summary = read_summary(self.folder)
        self._cells = self._summary.to_pydict()
        self._rows: dict[Variant, list[int]] = {}
        self._known: dict[Variant, Variant] = {}
        several = len(set(self._cells["load"])) > 1
        for row, values in enumerate(zip(*(self._cells[name] for name in _NAMED), strict=True)):
            found = Variant.of(dict(zip(_NAMED, values, strict=True)))
            if found not in self._known:
                grown = {name: self._cells[name][row] for name in ("growth", "year", "share")}
                self._known[found] = replace(found, several=several, **grown)
            self._rows.setdefault(self._known[found], []).append(row)

    def _variant(self, row: Mapping[str, Any], prefix: str = "") -> Variant:
        """The variant that a row names, as the summary has it."""
        found = Variant.of(row, prefix)
        return self._known.get(found, found)

    def section(self, name: str) -> dict[str, Any]:
        """An object of `forecast.json`, empty if absent."""
        found: dict[str, Any] = self.meta.get(name, {})
        return found

    @property
    def reacts(self) -> bool:
        """Whether TCP senders made the packets; else they leave as captured."""
        return "transport" in self._cells["mode"]

    @property
    def of_list(self) -> bool:
        """Whether it is of a flow list, not of a trace."""
        return bool(self.section("trace").get("kind") == "workload")

    @property
    def headline(self) -> str:
        """The column that the answer is about."""
        return FCT_HEADLINE if self.reacts else HEADLINE

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The scenario in the folder as it is written, empty if there is none to read."""
        try:
            return tomllib.loads((self.folder / "scenario.toml").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}

    @property
    def senders(self) -> dict[str, Any]:
        """How senders react: the scenario's `transport`."""
        found = self.settings.get("transport")
        return found if isinstance(found, dict) else {}

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets of the scenario's `slo`, none if it has none."""
        found = self.settings.get("slo")
        try:
            return parse_slo(str(found["keep"])).budgets if isinstance(found, dict) and "keep" in found else ()
        except InputError:
            return ()

    @property
    def first(self) -> Variant:
        """The variant of the first cell."""
        return next(iter(self._rows))

    @cached_property
    def variants(self) -> list[Variant]:
        """The baseline's policy first, then as the summary has them; timeouts rise, rules after them, then loads."""
        policies = list(dict.fromkeys(v.policy for v in self._rows))
        of_baseline = None if self.baseline is None else self.baseline.policy
        return sorted(
            self._rows,
            key=lambda v: (
                v.policy != of_baseline,
                policies.index(v.policy),
                v.rule is not None,
                v.timeout_ns or 0,
                v.load,
            ),
        )

    @cached_property
    def baseline(self) -> Variant | None:
        """What the others are compared with: as `forecast.json` says, matched to the cells there are."""
        stated = self.section("baseline")
        exact = self._variant(stated)
        if exact in self._rows:
            return exact
        return next((v for v in self._rows if v.policy == exact.policy), None)

    @cached_property
    def baselines(self) -> set[Variant]:
        """All that others are compared with: the baseline, at each load and timeout it has."""
        return {c.against for c in self.comparisons} | ({self.baseline} if self.baseline else set())

    @cached_property
    def _decided(self) -> Decision:
        """The decision made anew, for forecasts that do not state theirs."""
        rows = self._summary.to_pylist()
        baseline = self.baseline.policy if self.baseline else self.first.policy
        compared = self.meta.get("comparisons") or compare(rows, baseline)
        return decide(rows, compared, Circumstances(baseline, reacts=self.reacts))

    @cached_property
    def decision(self) -> StatedDecision:
        """What to do, and all that is said of it: as `forecast.json` states it."""
        return self._document.decision or stated_decision(self._decided)

    @cached_property
    def broken(self) -> dict[Variant, str]:
        """Those who break budgets, and which."""
        return {
            self._variant(out.as_dict() | {"load": one.load}): "; ".join(out.budgets)
            for one in self.decision.loads
            for out in one.broken
        }

    @cached_property
    def answered(self) -> Variant | None:
        """The variant whose numbers stand beside the answer, if there is one."""
        if self._document.decision is not None:
            stated = self.meta.get("answered")
            return self._variant(stated) if stated else None
        spoken = self._decided.spoken
        if spoken is None:
            return None
        policy, timeout, timeout_ns = spoken.key
        named = {"policy": policy, "timeout": timeout, "timeout_ns": timeout_ns, "load": spoken.load}
        return self._variant(named)

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """The comparisons of `forecast.json` whose two sides are in the summary."""
        rows = self.meta.get("comparisons") or []
        stated = self.baseline or Variant("", None)
        found = [
            Comparison(
                self._variant(row),
                self._variant(row, "baseline_") if "baseline_policy" in row else stated,
                str(row.get("metric", "")),
                *(_number(row.get(key)) for key in ("value", "baseline", "change", "low", "high")),
            )
            for row in rows
        ]
        return [c for c in found if {c.variant, c.against} <= self._rows.keys() and c.variant != c.against]

    def compared(self, variant: Variant, metric: str) -> Comparison | None:
        """The comparison of a variant in one metric."""
        return self._compared.get((variant, metric))

    @cached_property
    def _compared(self) -> dict[tuple[Variant, str], Comparison]:
        return {(c.variant, c.metric): c for c in reversed(self.comparisons)}

    def seeds(self, variant: Variant) -> int:
        """How many seeds the variant was run with."""
        return len(self._rows[variant])

    @property
    def most_seeds(self) -> int:
        """The largest number of seeds of any variant."""
        return max((len(rows) for rows in self._rows.values()), default=0)

    def values(self, variant: Variant, column: str) -> list[float | None]:
        """A summary column's values over the seeds; `marked_ratio` is derived: marked / delivered."""
        rows = self._rows[variant]
        if column == "marked_ratio":
            pairs = zip(self.values(variant, "ecn_marked"), self.values(variant, "delivered"), strict=True)
            return [marked / delivered if marked is not None and delivered else None for marked, delivered in pairs]
        return [self._cells[column][row] for row in rows]

    def estimate(self, variant: Variant, column: str) -> Estimate:
        """A summary column over the seeds, with its interval: p99 and p99.9 of all together, else their mean."""
        found = self.pooled.get((variant, column))
        return Estimate.of(self.values(variant, column)) if found is None else found

    @cached_property
    def pooled(self) -> dict[tuple[Variant, str], Estimate]:
        """Quantiles of all seeds' values together, by the summary's column; none in forecasts without such a table."""
        if not (self.folder / f"{POOLED.name}.parquet").is_file():
            return {}
        return {
            (self._variant(row), pooled_column(row["metric"], row["quantile"])): Estimate(
                float(row["value"]), row["low"], row["high"], row["seeds"]
            )
            for row in read_forecast_table(self.folder, POOLED).to_pylist()
            if row["quantile"] in QUANTILES.values()
        }

    def best_first(self) -> list[Variant]:
        """Variants that have a value of the headline, lowest mean first; fewer unfinished flows come before."""
        means = [
            (self.estimate(v, "unfinished").mean or 0.0, self.estimate(v, self.headline).mean, i, v)
            for i, v in enumerate(self.variants)
        ]
        return [v for _, _, _, v in sorted((u, m, i, v) for u, m, i, v in means if m is not None)]

    def finished(self, variant: Variant) -> float:
        """The share of a variant's flows that finished, over all seeds; 1 where packets leave as captured."""
        left, flows = (sum(n or 0 for n in self.values(variant, name)) for name in ("unfinished", "messages"))
        return max(0.0, 1 - left / flows) if flows else 1.0

    @cached_property
    def shown(self) -> list[Variant]:
        """What figures show at first: all of up to five variants, else the baseline and each policy's best.

        The best at one load, that of the answer: at a lower one everything is better.
        """
        if len(self.variants) <= 5:
            return self.variants
        best: dict[str, Variant] = {}
        about = self.answered or self.baseline
        load = about.load if about is not None else None
        for variant in sorted([*self.best_first(), *self.variants], key=lambda v: v.load != load):
            best.setdefault(variant.policy, variant)
        if self.baseline is not None and self.baseline.load == load:
            best[self.baseline.policy] = self.baseline
        return [v for v in self.variants if best[v.policy] == v][:8]

    def curves(self, metric: str) -> dict[Variant, Curve]:
        """The distribution of a metric per variant, over the seeds, quantiles rising."""
        table = self.distributions.filter(pc.equal(self.distributions["metric"], metric))
        table = table.filter(pc.is_finite(table["value"]))
        keys = [*_NAMED, "quantile"]
        grouped = table.group_by(keys, use_threads=False).aggregate(
            [("value", "mean"), ("value", "min"), ("value", "max")]
        )
        grouped = grouped.sort_by("quantile")
        curves = {}
        for variant, part in self._by_variant(grouped):
            quantile, mean, low, high = (
                part[name].to_numpy() for name in ("quantile", "value_mean", "value_min", "value_max")
            )
            part = self.finished(variant) if metric in _OF_FLOWS else 1.0
            mean, low, high = (np.maximum.accumulate(v) for v in (mean, low, high))
            curves[variant] = Curve(quantile, mean, low, high, part)
        return curves

    @cached_property
    def distributions(self) -> Any:
        """The table of that name."""
        return read_forecast_table(self.folder, DISTRIBUTIONS)

    @cached_property
    def sizes(self) -> dict[Variant, list[dict[str, Any]]]:
        """Rows of `sizes` per variant."""
        rows: dict[Variant, list[dict[str, Any]]] = {}
        for row in read_forecast_table(self.folder, SIZES).to_pylist():
            rows.setdefault(self._variant(row), []).append(row)
        return rows

    @cached_property
    def series(self) -> dict[Variant, Any]:
        """Arrow table of `series` per variant."""
        return dict(self._by_variant(read_forecast_table(self.folder, SERIES)))

    @cached_property
    def profile(self) -> list[dict[str, Any]]:
        """Rows of `profile`, timeouts rising."""
        rows: list[dict[str, Any]] = read_forecast_table(self.folder, PROFILE).to_pylist()
        return sorted(rows, key=lambda row: row["timeout_ns"])

    def _by_variant(self, table: Any) -> Iterator[tuple[Variant, Any]]:
        """The rows of each variant, in the table's order."""
        keys = table.group_by(_NAMED, use_threads=False).aggregate([]).to_pylist()
        for key in keys:
            rows = None
            for name, value in key.items():
                same = pc.is_null(table[name]) if value is None else pc.fill_null(pc.equal(table[name], value), False)
                rows = same if rows is None else pc.and_(rows, same)
            yield self._variant(key), table.filter(rows)


def _number(value: Any) -> float | None:
    """A finite number of a JSON document, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
