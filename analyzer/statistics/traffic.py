"""How far off a figure may be for the traffic's own chance, of cells over resampled traces."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

from segcast.analyzer.forecast.student import student_bound

_TAIL: Final = 0.025


def traffic_bounds(
    of_seeds: Sequence[float], of_resamples: Sequence[float], comparisons: int = 1
) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean of `of_seeds` that covers other traffic, too; none with fewer than two resamples.

    `of_seeds` are of the trace itself, `of_resamples` of a resample and a seed each. The seeds' part of the spread of
    the latter counts as often as they are averaged: what is left is the traffic's. It is never taken to be below 0.
    """
    if len(of_resamples) < 2:
        return None, None
    spread = statistics.variance(of_resamples)
    draws = statistics.variance(of_seeds) if len(of_seeds) > 1 else 0.0
    error = math.sqrt(max(spread - draws, 0.0) + draws / len(of_seeds))
    degrees = len(of_resamples) - 1 if spread > draws else max(len(of_seeds) - 1, 1)
    half = student_bound(_TAIL / comparisons, degrees) * error
    mean = statistics.fmean(of_seeds)
    return mean - half, mean + half


def with_traffic(
    comparisons: Sequence[dict[str, Any]], summary: Sequence[Mapping[str, Any]], resamples: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Comparisons with `traffic_low` and `traffic_high`: bounds of the change that cover other traffic, too.

    `summary` are rows of cells over the trace, `resamples` of cells over resampled ones, told by `resample`. They hold
    together, as those of seeds do.
    """
    own = _by_variant(summary, "seed")
    drawn = _by_variant(resamples, "resample")
    others = len({_key(row) for row in comparisons})
    found = []
    for row in comparisons:
        ours = _key(row)
        theirs = (row["baseline_policy"], row["baseline_timeout"], row["load"])
        of_seeds, of_resamples = (
            _ratios(cells.get(ours, {}), cells.get(theirs, {}), str(row["metric"])) for cells in (own, drawn)
        )
        low, high = traffic_bounds(of_seeds, of_resamples, others) if of_seeds else (None, None)
        bounds = {"traffic_low": low, "traffic_high": high}
        found.append(row | {name: None if bound is None else math.expm1(bound) for name, bound in bounds.items()})
    return found


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["policy"], row["timeout"], row["load"]


def _by_variant(rows: Sequence[Mapping[str, Any]], which: str) -> dict[tuple[Any, ...], dict[int, Mapping[str, Any]]]:
    found: dict[tuple[Any, ...], dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(_key(row), {})[row[which]] = row
    return found


def _ratios(ours: Mapping[int, Mapping[str, Any]], theirs: Mapping[int, Mapping[str, Any]], metric: str) -> list[float]:
    """Logarithms of ratios, pair by pair; none if a value is not above 0."""
    pairs = [
        (ours[number][metric], theirs[number][metric])
        for number in ours
        if number in theirs and ours[number][metric] is not None and theirs[number][metric] is not None
    ]
    return [math.log(a / b) for a, b in pairs] if all(a > 0 and b > 0 for a, b in pairs) else []
