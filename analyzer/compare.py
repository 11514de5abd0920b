"""Comparisons of policies over seeds, with confidence intervals, and the one sentence that answers."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from traces.units import write_duration

# Two-sided 95 % points of Student's t with 1, 2, ... 30 degrees of freedom (any table of the distribution).
_T_95: Final = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_Z_95: Final = 1.960

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


class Interval(NamedTuple):
    """A mean and the bounds of its 95 % confidence interval; no bounds with fewer than two values."""

    mean: float
    low: float | None
    high: float | None


def interval(values: Sequence[float]) -> Interval:
    """Student-t interval of the mean of independent draws."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    degrees = len(values) - 1
    t = _T_95[degrees - 1] if degrees <= len(_T_95) else _Z_95
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def compare(summary: Sequence[dict[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """Every policy and timeout against the baseline policy, metric by metric.

    Where all values are positive the change is the geometric mean of the ratios seed by seed, and its interval the
    Student-t interval of their logarithms; elsewhere it is that of the means, without an interval. A baseline with
    several timeouts is compared timeout by timeout.
    """
    cells: dict[tuple[str, int | None], dict[int, dict[str, Any]]] = {}
    for row in summary:
        cells.setdefault((row["policy"], row["timeout_ns"]), {})[row["seed"]] = row
    against = {timeout: seeds for (policy, timeout), seeds in cells.items() if policy == baseline}
    if not against:
        return []
    found: list[dict[str, Any]] = []
    for (policy, timeout_ns), seeds in cells.items():
        if policy == baseline:
            continue
        reference_timeout = timeout_ns if timeout_ns in against else next(iter(against))
        reference = against[reference_timeout]
        for metric in COMPARED:
            pairs = [
                (seeds[seed][metric], reference[seed][metric])
                for seed in seeds
                if seed in reference and seeds[seed][metric] is not None and reference[seed][metric] is not None
            ]
            found.append(
                {
                    "policy": policy,
                    "timeout_ns": timeout_ns,
                    "baseline_policy": baseline,
                    "baseline_timeout_ns": reference_timeout,
                    "metric": metric,
                    "seeds": len(pairs),
                    **_change(pairs),
                }
            )
    return found


def _change(pairs: Sequence[tuple[float, float]]) -> dict[str, float | None]:
    if not pairs:
        return dict.fromkeys(("value", "baseline", "change", "low", "high"))
    value = statistics.fmean(pair[0] for pair in pairs)
    base = statistics.fmean(pair[1] for pair in pairs)
    change = value / base - 1 if base else None
    low = high = None
    if all(a > 0 and b > 0 for a, b in pairs):
        ratios = interval([math.log(a / b) for a, b in pairs])
        change = math.expm1(ratios.mean)
        if ratios.low is not None and ratios.high is not None:
            low, high = math.expm1(ratios.low), math.expm1(ratios.high)
    return {"value": value, "baseline": base, "change": change, "low": low, "high": high}


def answer(comparisons: Sequence[dict[str, Any]]) -> str:
    """The headline: the policy and timeout with the lowest p99 delay, against the baseline."""
    headlines = [c for c in comparisons if c["metric"] == HEADLINE and c["change"] is not None]
    if not headlines:
        return "no comparison: nothing was delivered, or there is only one policy"
    best = min(headlines, key=lambda c: c["value"])
    name = best["policy"]
    if best["timeout_ns"] is not None:
        name += ", " + re.sub(r"(?<=\d)(?=[a-z])", " ", write_duration(best["timeout_ns"]))
    bounds = ""
    if best["low"] is not None:
        bounds = f" ({100 * best['low']:+.0f} to {100 * best['high']:+.0f})"
    return f"{name}: p99 delay {100 * best['change']:+.0f} %{bounds} against {best['baseline_policy']}"
