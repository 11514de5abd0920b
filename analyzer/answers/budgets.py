"""Which budgets an answer breaks: those of the scenario, or without any those that everybody has."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, TypeVar

from segcast.analyzer.answers.wording import duration, percent, plain, rate, tally
from segcast.analyzer.slo import Slo

# Three segments received ahead of an earlier one are what a TCP sender takes for its loss (RFC 5681 section 3.2).
MOST_DISPLACED: Final = 0.01
# A tenth of the flows that a p99 leaves out: policies that differ by less have p99 of the same flows, nearly.
MOST_UNFINISHED: Final = 0.001

DEFAULTS: Final = {
    False: (
        "No budgets given ([slo] of the scenario), so these: at most 1 % of packets displaced by three or more, and no "
        "more dropped than under {}."
    ),
    True: (
        "No budgets given ([slo] of the scenario), so this: no more flows unfinished than under who leaves fewest. "
        "What reordering and losses cost is in the completion times."
    ),
}

One = TypeVar("One")


def say_budgets(slo: Slo | None, reacts: bool, baseline: str) -> str:
    """The budgets that answers are held to, in a sentence."""
    return DEFAULTS[reacts].format(baseline) if slo is None else f"Budgets of the scenario: {slo.text}."


def more_dropped(ratio: float, other: float) -> bool:
    """Whether clearly more packets are dropped: by a tenth, and by one in ten thousand."""
    return ratio - other > max(1e-4, 0.1 * other)


def broken_budgets(
    means: Mapping[One, Mapping[str, float | None]],
    baseline: Mapping[str, float | None] | None,
    *,
    slo: Slo | None,
    reacts: bool,
    tolerated: Collection[One] = (),
) -> dict[One, tuple[str, ...]]:
    """The budgets that each of the candidates at one load does not keep, in words; `means` are over their seeds.

    Those `tolerated` may displace packets, unless the scenario has budgets of its own.
    """
    if slo is not None:
        return {key: _broken_of(slo, row) for key, row in means.items()}
    if reacts:
        return _unfinished(means)
    return {
        key: () if row is baseline else _usual(row, baseline or {}, tolerated=key in tolerated)
        for key, row in means.items()
    }


def _broken_of(slo: Slo, row: Mapping[str, float | None]) -> tuple[str, ...]:
    return tuple(
        f"{say_value(budget.metric, row[budget.metric])} where {budget.text} is asked" for budget in slo.broken(row)
    )


def _usual(
    row: Mapping[str, float | None], baseline: Mapping[str, float | None], *, tolerated: bool
) -> tuple[str, ...]:
    """What recorded packets are held to, as senders do not show what reordering and losses cost them."""
    broken = []
    displaced = row.get("displaced_ratio") or 0.0
    if not tolerated and displaced > max(MOST_DISPLACED, baseline.get("displaced_ratio") or 0.0):
        broken.append(f"{percent(displaced)} displaced by three or more")
    dropped, theirs = (found.get("drop_ratio") or 0.0 for found in (row, baseline))
    if more_dropped(dropped, theirs):
        broken.append(f"{percent(dropped)} dropped instead of {percent(theirs)}")
    return tuple(broken)


def _unfinished(means: Mapping[One, Mapping[str, float | None]]) -> dict[One, tuple[str, ...]]:
    """Who leaves more flows unfinished than others has times of other flows, which do not compare."""
    left = {key: row.get("unfinished") or 0.0 for key, row in means.items()}
    fewest = min(left.values(), default=0.0)
    flows = max((row.get("messages") or 0.0 for row in means.values()), default=0.0)
    return {
        key: (f"{tally(number)} flows unfinished",) if number - fewest > MOST_UNFINISHED * flows else ()
        for key, number in left.items()
    }


def say_value(metric: str, value: float | None) -> str:
    """A number of the summary, in the unit that its column has."""
    if metric.endswith("_ns"):
        return duration(value)
    if metric.endswith("_bps"):
        return rate(value)
    if metric.endswith("_ratio") or metric.startswith("utilisation"):
        return percent(value)
    if metric == "retransmissions":
        return tally(value)
    return plain(value)
