"""A forecast folder read once: its tables, its cells grouped into variants, and estimates over the seeds."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
)
from segcast.analyzer.forecast.document import StatedDecision
from segcast.analyzer.forecast.reading import read_document, read_forecast_table, read_summary
from segcast.analyzer.schema import DISTRIBUTIONS, LINKS, POOLED, PROFILE, SERIES, SIZES
from segcast.analyzer.slo import Budget, parse_slo
from segcast.analyzer.statistics.pools import QUANTILES, pooled_column
from segcast.reports.forecast.variants import Comparison, Curve, Estimate, Variant
from segcast.traces.errors import InputError

__all__ = ["Comparison", "Curve", "Estimate", "Forecast", "Variant"]

_OF_FLOWS: Final = ("fct_ns", "slowdown")
_MOST_DRAWN: Final = 24
_NAMED: Final = ["policy", "timeout", "timeout_ns", "load"]


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
        self._estimates: dict[tuple[Variant, str], Estimate] = {}
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
        if (variant, column) not in self._estimates:
            found = self.pooled.get((variant, column))
            self._estimates[variant, column] = found or Estimate.of(self.values(variant, column))
        return self._estimates[variant, column]

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

    @cached_property
    def ranked(self) -> list[Variant]:
        """Variants, the best first: no budget broken, few flows unfinished, a low mean of the headline."""

        def badness(variant: Variant) -> tuple[bool, bool, float, float]:
            mean = self.estimate(variant, self.headline).mean
            left = self.estimate(variant, "unfinished").mean or 0.0
            return mean is None, variant in self.broken, left, mean or 0.0

        return sorted(self.variants, key=badness)

    @cached_property
    def leaders(self) -> list[Variant]:
        """Each policy's best timeout at each load, in the order of `variants`."""
        best: dict[tuple[str, float], Variant] = {}
        for variant in self.ranked:
            best.setdefault((variant.policy, variant.load), variant)
        kept = set(best.values())
        return [variant for variant in self.variants if variant in kept]

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
        for variant in sorted(self.ranked, key=lambda v: v.load != load):
            best.setdefault(variant.policy, variant)
        if self.baseline is not None and self.baseline.load == load:
            best[self.baseline.policy] = self.baseline
        return [v for v in self.variants if best[v.policy] == v][:8]

    @cached_property
    def drawn(self) -> list[Variant]:
        """What figures can show: all of up to 24 variants; of more, each policy's best at each load, then others."""
        if len(self.variants) <= _MOST_DRAWN:
            return self.variants
        about = self.answered or self.baseline or self.first
        others = sorted(self.leaders, key=lambda v: abs(math.log(v.load / about.load)))
        kept = set(list(dict.fromkeys([*self.shown, *others, *self.ranked]))[:_MOST_DRAWN])
        return [v for v in self.variants if v in kept]

    def curves(self, metric: str) -> dict[Variant, Curve]:
        """The distribution of a metric per variant that is drawn, over the seeds, quantiles rising."""
        table = self.distributions.filter(pc.equal(self.distributions["metric"], metric))
        table = table.filter(pc.is_finite(table["value"]))
        curves = {}
        for variant, rows in self._by_variant(table):
            part = rows.group_by("quantile", use_threads=False).aggregate(
                [("value", "mean"), ("value", "min"), ("value", "max")]
            )
            part = part.sort_by("quantile")
            quantile, mean, low, high = (
                part[name].to_numpy() for name in ("quantile", "value_mean", "value_min", "value_max")
            )
            done = self.finished(variant) if metric in _OF_FLOWS else 1.0
            mean, low, high = (np.maximum.accumulate(v) for v in (mean, low, high))
            curves[variant] = Curve(quantile, mean, low, high, done)
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
        """Arrow table of `series` per variant that is drawn."""
        return dict(self._by_variant(read_forecast_table(self.folder, SERIES)))

    @cached_property
    def links(self) -> dict[Variant, list[dict[str, Any]]]:
        """Rows of `links` per variant that is drawn, none in forecasts without such a table."""
        if not (self.folder / f"{LINKS.name}.parquet").is_file():
            return {}
        return {v: rows.to_pylist() for v, rows in self._by_variant(read_forecast_table(self.folder, LINKS))}

    @cached_property
    def profile(self) -> list[dict[str, Any]]:
        """Rows of `profile`, timeouts rising."""
        rows: list[dict[str, Any]] = read_forecast_table(self.folder, PROFILE).to_pylist()
        return sorted(rows, key=lambda row: row["timeout_ns"])

    def _by_variant(self, table: Any) -> Iterator[tuple[Variant, Any]]:
        """The rows of each variant that is drawn, in the table's order."""
        coded = [pc.dictionary_encode(table[name], null_encoding="encode").combine_chunks() for name in _NAMED]
        places = np.zeros(len(table), np.int64)
        for column in coded:
            places = places * max(len(column.dictionary), 1) + column.indices.to_numpy()
        _, first, group = np.unique(places, return_index=True, return_inverse=True)
        wanted = set(self.drawn)
        for number in np.argsort(first):
            key = table.slice(int(first[number]), 1).select(_NAMED).to_pylist()[0]
            if (variant := self._variant(key)) in wanted:
                yield variant, table.take(np.flatnonzero(group == number))


def _number(value: Any) -> float | None:
    """A finite number of a JSON document, or None."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
