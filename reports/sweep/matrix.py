"""A sweep on little room: cases down, policies and timeouts across, coloured by change as a forecast's matrices are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from segcast.analyzer.forecast.compare import variant_label
from segcast.reports import text
from segcast.reports.forecast.matrices import MANY, Matrix, Square, tone

MOST_SQUARES: Final = 6000
_MOST_SEEN: Final = 20

Key = tuple[str, float]


@dataclass(frozen=True, slots=True)
class SweepMatrix:
    """Changes against the baseline of each case: what is seen at once, all that the page holds, and what it does not.

    False where few changes need no folding, or where there is one case.
    """

    shown: Matrix
    all: Matrix
    left_out: int

    def __bool__(self) -> bool:
        return len(self.all.rows) > 1 and sum(each is not None for _, row in self.all.rows for each in row) > MANY

    @property
    def folded(self) -> bool:
        """Whether more is behind what is seen at once."""
        return len(self.all.rows) > len(self.shown.rows)


def matrix_of(cases: Sequence[tuple[Key, str]], choices: Sequence[dict[str, Any]], corner: str) -> SweepMatrix:
    """The matrix of `cases`, their variant and load with what they are called, in the order that rows are to have.

    `choices` are rows of CHOICES; those without a change, as the baseline's own, have no square.
    """
    found: dict[Key, dict[str, Square]] = {}
    order: dict[tuple[str, bool, str, int], str] = {}
    names = dict(cases)
    for row in choices:
        key = (row["variant"], row["load"])
        if row["change"] is None or key not in names:
            continue
        head = variant_label(row["policy"], row["timeout_ns"], row["timeout"])
        fixed = row["timeout_ns"]
        order[row["policy"], fixed is None, row["timeout"] or "" if fixed is None else "", fixed or 0] = head
        found.setdefault(key, {})[head] = _square(f"{head}, {names[key]}" if names[key] else head, row)
    heads = list(dict.fromkeys(order[each] for each in sorted(order)))
    most = max(_MOST_SEEN, MOST_SQUARES // max(1, len(heads)))
    there = [(name, [found[key].get(head) for head in heads]) for key, name in cases if key in found]
    held = there[:most]
    whole = Matrix(text.counted(len(held), "case"), "", heads, held, corner)
    return SweepMatrix(replace(whole, title="", rows=held[:_MOST_SEEN]), whole, max(0, len(there) - most))


def _square(name: str, row: dict[str, Any]) -> Square:
    change, low, high = row["change"], row["low"], row["high"]
    unclear = low is not None and high is not None and low <= 0 <= high
    interval = text.change_interval(low, high)
    full = [f"{name}: {text.change(change)}" + (f" ({interval})" if interval else "")]
    full += ["unclear"] if unclear else []
    full += [f"over budget: {row['breaks']}"] if row["breaks"] else []
    return Square(text.change(change), "; ".join(full), tone(change), unclear, bool(row["breaks"]))
