"""Comparisons of policies over seeds, with confidence intervals."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from segcast.analyzer.forecast.student import student_bound
from segcast.traces.units import say_duration, say_number

COMPARED: Final = (
    "delay_p50_ns",
    "delay_p99_ns",
    "delay_p999_ns",
    "queue_p99_ns",
    "fct_p99_ns",
    "slowdown_p99",
    "imbalance",
    "drop_ratio",
    "reordered_ratio",
)
HEADLINE: Final = "delay_p99_ns"
FCT_HEADLINE: Final = "fct_p99_ns"  # where senders react
_LARGEST: Final = 700.0  # the logarithm of the largest change that is said: two seeds far apart bound nothing


class Interval(NamedTuple):
    """A mean and the bounds of its 95 % confidence interval; no bounds with fewer than two values."""

    mean: float
    low: float | None
    high: float | None


def variant_label(
    policy: str,
    timeout_ns: int | None,
    rule: str | None = None,
    load: float = 1.0,
    *,
    growth: float | None = None,
    year: int | None = None,
    share: str | None = None,
    several: bool = False,
) -> str:
    """A policy, its flowlet timeout (exactly, or a rule by its label) and its load, if that is not the trace's own.

    Of `several` loads each is named. `growth` is the part of the load that is of more connections, `year` when that is,
    `share` the load as it was asked, if that is a share of the network's.
    """
    parts = [policy]
    if timeout := timeout_label(timeout_ns, rule):
        parts.append(timeout)
    if load != 1 or several:
        parts.append(load_label(load, growth, year, share))
    return ", ".join(parts)


def load_label(load: float, growth: float | None = None, year: int | None = None, share: str | None = None) -> str:
    """A load: `load 2`, or `load 60 %` if it was asked so; `growth 1.3`, if it is all of more connections; its year."""
    if share is not None:
        said = f"load {load_number(load, share)}"
        return said if year is None else f"year {year} ({said})"
    said = f"growth {say_number(load)}" if growth == load != 1 else f"load {say_number(load)}"
    if growth not in (None, 1, load):
        said += f" with growth {say_number(growth)}"
    return said if year is None else f"year {year} ({said})"


def load_number(load: float, share: str | None = None) -> str:
    """A load without the word: `2`, or `60 %` if it was asked so."""
    return say_number(load) if share is None else share.replace("%", " %")


def timeout_label(timeout_ns: int | None, rule: str | None = None) -> str:
    """A flowlet timeout: `100 us` if fixed, else the label of its rule; empty without one."""
    return (rule or "") if timeout_ns is None else say_duration(timeout_ns)


def interval(values: Sequence[float], comparisons: int = 1) -> Interval:
    """Student-t interval of the mean of independent draws, at 95 % together with so many others (Bonferroni)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    half = student_bound(0.025 / comparisons, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def compare(summary: Sequence[dict[str, Any]], baseline: str, comparisons: int | None = None) -> list[dict[str, Any]]:
    """Every policy, timeout and load against the baseline policy at that load, metric by metric.

    Where all values are positive the change is the geometric mean of the ratios seed by seed, and its interval the
    Student-t interval of their logarithms; elsewhere it is that of the means, without an interval. A baseline with
    several timeouts is compared timeout by timeout. All intervals of a metric hold together at 95 %, or as if there
    were so many `comparisons`.
    """
    cells: dict[NamedVariant, dict[int, dict[str, Any]]] = {}
    for row in summary:
        cells.setdefault(named_variant(row), {})[row["seed"]] = row
    against = {(v.load, v.timeout): v for v in cells if v.policy == baseline}
    found: list[dict[str, Any]] = []
    others = sum(variant.policy != baseline for variant in cells) if comparisons is None else comparisons
    for variant, seeds in cells.items():
        there = [v for (load, _), v in against.items() if load == variant.load]
        if variant.policy == baseline or not there:
            continue
        reference_variant = against.get((variant.load, variant.timeout), there[0])
        reference = cells[reference_variant]
        for metric in COMPARED:
            pairs = [
                (seeds[seed][metric], reference[seed][metric])
                for seed in seeds
                if seed in reference and seeds[seed][metric] is not None and reference[seed][metric] is not None
            ]
            found.append(
                {
                    **variant._asdict(),
                    "baseline_policy": baseline,
                    "baseline_timeout": reference_variant.timeout,
                    "baseline_timeout_ns": reference_variant.timeout_ns,
                    "metric": metric,
                    "seeds": len(pairs),
                    **paired_change(pairs, others),
                }
            )
    return found


class NamedVariant(NamedTuple):
    """Cells that differ only in their seed, by the columns that name them."""

    policy: str
    timeout: str | None
    timeout_ns: int | None
    load: float
    growth: float | None
    year: int | None
    share: str | None


def named_variant(row: Mapping[str, Any]) -> NamedVariant:
    """The variant that a row of the summary is of."""
    offered = (row["load"], row.get("growth"), row.get("year"), row.get("share"))
    return NamedVariant(row["policy"], row["timeout"], row["timeout_ns"], *offered)


def paired_change(pairs: Sequence[tuple[float, float]], comparisons: int) -> dict[str, float | None]:
    """Pairs of a value and its baseline, one a seed: both means, the change, and its bounds at 95 % together."""
    if not pairs:
        return dict.fromkeys(("value", "baseline", "change", "low", "high"))
    value = statistics.fmean(pair[0] for pair in pairs)
    base = statistics.fmean(pair[1] for pair in pairs)
    change = value / base - 1 if base else None
    low = high = None
    if all(a > 0 and b > 0 for a, b in pairs):
        ratios = interval([math.log(a / b) for a, b in pairs], comparisons)
        change = math.expm1(ratios.mean)
        if ratios.low is not None and ratios.high is not None:
            low, high = (math.expm1(min(bound, _LARGEST)) for bound in (ratios.low, ratios.high))
    return {"value": value, "baseline": base, "change": change, "low": low, "high": high}
