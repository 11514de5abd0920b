"""Results of two forecasts seed by seed: with the same traffic a seed stands for the same draws in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from segcast.analyzer.answers.candidates import Candidate, Circumstances, candidates
from segcast.analyzer.compare.document import StatedChange, Verdict
from segcast.analyzer.forecast.compare import COMPARED, NamedVariant, interval, named_variant, paired_change

_OF_ALL: Final = ("utilisation_max",)
_OF_REACTING: Final = ("fct_p50_ns", "fct_mean_ns", "unfinished", "retransmissions", "timeouts", "goodput_bps")


@dataclass(frozen=True, slots=True)
class Results:
    """The cells of a forecast, by variant and seed, and what its own report says of each variant."""

    cells: Mapping[NamedVariant, Mapping[int, Mapping[str, Any]]]
    said: Mapping[NamedVariant, Candidate] = field(default_factory=dict)


def results_of(
    summary: Sequence[Mapping[str, Any]],
    pooled: Sequence[Mapping[str, Any]],
    circumstances: Circumstances,
) -> Results:
    """Rows of SUMMARY and of POOLED as results, held to the budgets of the circumstances."""
    cells: dict[NamedVariant, dict[int, Mapping[str, Any]]] = {}
    for row in summary:
        cells.setdefault(named_variant(row), {})[row["seed"]] = row
    found = candidates(summary, [], circumstances, pooled)
    by_key = {(load, one.key): one for load, ones in found.items() for one in ones}
    said = {variant: by_key[variant.load, (variant.policy, _rule(variant), variant.timeout_ns)] for variant in cells}
    return Results(cells, said)


def _rule(variant: NamedVariant) -> str | None:
    return variant.timeout if variant.timeout_ns is None else None


def changes(first: Results, second: Results, *, reacts: bool, paired: bool) -> list[StatedChange]:
    """Each variant that both have, in each metric; all intervals of a metric hold together at 95 %."""
    shared = [variant for variant in first.cells if variant in second.cells]
    metrics = [*COMPARED, *_OF_ALL, *(_OF_REACTING if reacts else ())]
    return [
        _change(variant, metric, first, second, len(shared) if paired else 0)
        for variant in shared
        for metric in metrics
    ]


def _change(variant: NamedVariant, metric: str, first: Results, second: Results, comparisons: int) -> StatedChange:
    """One variant in one metric; not paired if there are no `comparisons`."""
    one, other = first.cells[variant], second.cells[variant]
    pairs = [
        (other[seed][metric], one[seed][metric])
        for seed in one
        if comparisons and seed in other and None not in (one[seed][metric], other[seed][metric])
    ]
    figures = [results.said[variant].means.get(metric) for results in (first, second)]
    found = paired_change(pairs, comparisons)
    change = found["change"]
    if not pairs and None not in figures and figures[0]:
        change = figures[1] / figures[0] - 1  # type: ignore[operator]
    return StatedChange(
        **variant._asdict(),
        metric=metric,
        seeds=len(pairs),
        first=figures[0],
        second=figures[1],
        change=change,
        low=found["low"],
        high=found["high"],
        verdict=_verdict(pairs, found["low"], found["high"], comparisons, None in figures),
    )


def _verdict(
    pairs: Sequence[tuple[float, float]], low: float | None, high: float | None, comparisons: int, missing: bool
) -> Verdict:
    if missing:
        return "none"
    if not pairs:
        return "unpaired"
    if all(a == b for a, b in pairs):
        return "equal"
    if low is None or high is None:  # a value is 0, so that there are no ratios: told by the differences
        _, low, high = interval([a - b for a, b in pairs], comparisons)
    if low is None or high is None or low <= 0 <= high:
        return "unclear"
    return "lower" if high < 0 else "higher"
