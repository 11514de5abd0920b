"""Comparisons of policies over seeds, with confidence intervals, and the one sentence that answers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
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
_NAMED: Final = {HEADLINE: "p99 delay", FCT_HEADLINE: "p99 flow completion time"}
TENFOLD: Final = 9.0  # The change that makes ten of one: bounds from there on are told as such, not in percent.


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
    several: bool = False,
) -> str:
    """A policy, its flowlet timeout (exactly, or a rule by its label) and its load, if that is not the trace's own.

    Of `several` loads each is named. `growth` is the part of the load that is of more connections, `year` when that is.
    """
    parts = [policy]
    if timeout := timeout_label(timeout_ns, rule):
        parts.append(timeout)
    if load != 1 or several:
        parts.append(load_label(load, growth, year))
    return ", ".join(parts)


def load_label(load: float, growth: float | None = None, year: int | None = None) -> str:
    """A load: `load 2`; `growth 1.3`, if it is all of more connections; with the year, if there is one."""
    said = f"growth {say_number(load)}" if growth == load != 1 else f"load {say_number(load)}"
    if growth not in (None, 1, load):
        said += f" with growth {say_number(growth)}"
    return said if year is None else f"year {year} ({said})"


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


def compare(summary: Sequence[dict[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """Every policy, timeout and load against the baseline policy at that load, metric by metric.

    Where all values are positive the change is the geometric mean of the ratios seed by seed, and its interval the
    Student-t interval of their logarithms; elsewhere it is that of the means, without an interval. A baseline with
    several timeouts is compared timeout by timeout. All intervals of a metric hold together at 95 %.
    """
    cells: dict[_Variant, dict[int, dict[str, Any]]] = {}
    for row in summary:
        cells.setdefault(_variant(row), {})[row["seed"]] = row
    against = {(v.load, v.timeout): v for v in cells if v.policy == baseline}
    found: list[dict[str, Any]] = []
    others = sum(variant.policy != baseline for variant in cells)
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
                    **_change(pairs, others),
                }
            )
    return found


class _Variant(NamedTuple):
    """Cells that differ only in their seed, by the columns that name them."""

    policy: str
    timeout: str | None
    timeout_ns: int | None
    load: float
    growth: float | None
    year: int | None


def _variant(row: dict[str, Any]) -> _Variant:
    load, growth, year = row["load"], row.get("growth"), row.get("year")
    return _Variant(row["policy"], row["timeout"], row["timeout_ns"], load, growth, year)


def _change(pairs: Sequence[tuple[float, float]], comparisons: int) -> dict[str, float | None]:
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
            low, high = math.expm1(ratios.low), math.expm1(ratios.high)
    return {"value": value, "baseline": base, "change": change, "low": low, "high": high}


def chosen(comparisons: Sequence[dict[str, Any]], headline: str = HEADLINE) -> dict[str, Any] | None:
    """The comparison of the lowest headline metric, of those clearly better than the baseline or else of all.

    None without any. Clearly better: the whole interval of the change is below 0. At the trace's own load if that ran,
    else at the first.
    """
    headlines = [c for c in comparisons if c["metric"] == headline and c["change"] is not None]
    if not headlines:
        return None
    loads = [c["load"] for c in headlines]
    load = 1.0 if 1.0 in loads else loads[0]
    there = [c for c in headlines if c["load"] == load]
    sure = [c for c in there if c["high"] is None or c["high"] < 0]
    return min(sure or there, key=lambda c: c["value"])


def answered(comparisons: Sequence[dict[str, Any]], headline: str = HEADLINE) -> dict[str, Any] | None:
    """The policy, timeout and load that `answer` is about."""
    best = chosen(comparisons, headline)
    return None if best is None else _variant(best)._asdict()


def answer(comparisons: Sequence[dict[str, Any]], headline: str = HEADLINE) -> str:
    """What is chosen, and how the headline metric changes. An interval with 0 in it is no clear difference."""
    best = chosen(comparisons, headline)
    if best is None:
        return "no comparison: nothing was delivered, or there is only one policy"
    several = len({c["load"] for c in comparisons}) > 1
    name = variant_label(
        best["policy"],
        best["timeout_ns"],
        best["timeout"],
        best["load"],
        growth=best.get("growth"),
        year=best.get("year"),
        several=several,
    )
    bounds = ""
    if best["low"] is not None:
        bounds = f" ({_percent(best['low'])} to {_percent(best['high'])})"
        if best["high"] >= TENFOLD:
            bounds = (
                f" ({_percent(best['low'])} to more than tenfold)" if best["low"] < TENFOLD else " (more than tenfold)"
            )
    sentence = f"{name}: {_NAMED[headline]} {_percent(best['change'])} %{bounds} against {best['baseline_policy']}"
    unclear = "; no clear difference" if best["high"] is not None and best["low"] <= 0 <= best["high"] else ""
    if unclear and best["high"] >= TENFOLD:
        unclear += ": too wide to tell, run more seeds"
    return sentence + unclear + _loss(comparisons, best)


def _percent(ratio: float) -> str:
    """A signed percentage: whole from 1 % on, else with one decimal; never a negative zero."""
    text = f"{100 * ratio:+.0f}" if abs(ratio) >= 0.00995 else f"{100 * ratio:+.1f}"
    return text.replace("-0.0", "+0.0")


def _loss(comparisons: Sequence[dict[str, Any]], best: dict[str, Any]) -> str:
    """What is lost, if anything is: delays are of received packets only, so they mislead alone."""
    for entry in comparisons:
        if (
            _variant(entry) == _variant(best)
            and entry["metric"] == "drop_ratio"
            and (entry["value"] or entry["baseline"])
        ):
            return f"; drops {100 * entry['value']:.2g} % against {100 * entry['baseline']:.2g} %"
    return ""
