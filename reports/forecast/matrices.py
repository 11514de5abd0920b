"""Many changes on little room: a matrix of policies and flowlet timeouts for each load, coloured by change.

Where there is one timeout for each policy at most, one matrix has the loads beside each other instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from segcast.analyzer.forecast.compare import load_label
from segcast.reports import text
from segcast.reports.forecast.data import Comparison, Forecast, Variant
from segcast.reports.forecast.metrics import BY_COLUMN

MANY: Final = 12
_MOST_ROWS: Final = 10
_MOST_MATRICES: Final = 12
_STEPS: Final = (0.05, 0.15, 0.3)  # where a tone gets stronger, in logarithms of the ratio


@dataclass(frozen=True, slots=True)
class Square:
    """A change in a matrix: in words, briefly and in full, and how it is drawn."""

    words: str
    full: str
    tone: str
    unclear: bool
    over: bool


@dataclass(frozen=True, slots=True)
class Matrix:
    """Changes of policies: `title` says of what, `beside` what they are compared with, `corner` what rows are."""

    title: str
    beside: str
    heads: list[str]
    rows: list[tuple[str, list[Square | None]]]
    corner: str = "policy"


class Matrices:
    """The matrices of a forecast for one metric; false where few changes need no folding."""

    def __init__(self, forecast: Forecast, metric: str) -> None:
        self._forecast, self._metric = forecast, metric
        self._found = {
            v: c for v in forecast.variants if (c := forecast.compared(v, metric)) is not None and c.change is not None
        }
        self._loads = sorted({v.load for v in self._found})

    def __bool__(self) -> bool:
        return len(self._found) > MANY or len(self._loads) > 1

    @cached_property
    def policies(self) -> list[str]:
        """The policies in order of their best change at the load of the answer, those of least change first."""
        about = self._forecast.answered or self._forecast.baseline
        load = about.load if about is not None and about.load in self._loads else self._loads[0]
        best: dict[str, float] = {}
        for variant, one in self._found.items():
            if variant.load == load:
                best[variant.policy] = min(best.get(variant.policy, math.inf), one.change or 0.0)
        names = dict.fromkeys(v.policy for v in self._found)
        return sorted(names, key=lambda policy: best.get(policy, math.inf))

    @cached_property
    def all(self) -> list[Matrix]:
        """All matrices, whole; loads rise."""
        timeouts = list(dict.fromkeys(v.timeout for v in sorted(self._found, key=_by_timeout)))
        of_policy = {policy: {v.timeout for v in self._found if v.policy == policy} for policy in self.policies}
        if all(len(those) == 1 for those in of_policy.values()) and len(self._loads) > 1:
            heads = [self._load(load) for load in self._loads]
            return [self._matrix("", "", heads, lambda v: self._load(v.load), list(self._found))]
        return [
            self._matrix(
                self._load(load) if len(self._loads) > 1 else "",
                self._beside(load),
                timeouts,
                lambda v: v.timeout,
                [v for v in self._found if v.load == load],
            )
            for load in self._loads
        ]

    @property
    def shown(self) -> list[Matrix]:
        """What is seen at once: of many policies the first, of many loads some of all, the ends among them."""
        last = len(self.all) - 1
        kept = sorted({round(part * last / (_MOST_MATRICES - 1)) for part in range(_MOST_MATRICES)})
        if last < _MOST_MATRICES:
            kept = list(range(last + 1))
        return [replace(self.all[place], rows=self.all[place].rows[:_MOST_ROWS]) for place in kept]

    @property
    def folded(self) -> bool:
        """Whether more is behind what is seen at once."""
        return len(self.all) > _MOST_MATRICES or any(len(matrix.rows) > _MOST_ROWS for matrix in self.all)

    def _load(self, load: float) -> str:
        one = next(v for v in self._found if v.load == load)
        return load_label(load, one.growth, one.year, one.share)

    def _beside(self, load: float) -> str:
        """The baseline at a load with its value; empty where there are several."""
        against = {c.against for v, c in self._found.items() if v.load == load}
        if len(against) != 1:
            return ""
        (one,) = against
        name = replace(one, load=1.0, several=False, growth=None, year=None, share=None).label
        return f"{name}: {BY_COLUMN[self._metric].unit(self._forecast.estimate(one, self._metric).mean)}"

    def _matrix(
        self, title: str, beside: str, heads: list[str], head: Callable[[Variant], str], variants: Sequence[Variant]
    ) -> Matrix:
        at = {(v.policy, head(v)): v for v in variants}
        rows: list[tuple[str, list[Square | None]]] = []
        for policy in self.policies:
            found = [at.get((policy, name)) for name in heads]
            if any(one is not None for one in found):
                rows.append((policy, [None if one is None else self._square(one) for one in found]))
        return Matrix(title, beside, heads, rows)

    def _square(self, variant: Variant) -> Square:
        found = self._found[variant]
        over = self._forecast.broken.get(variant)
        full = [f"{variant.label}: {words(found)}", *(["unclear"] if unclear(found) else [])]
        full += [f"over budget: {over}"] if over else []
        return Square(
            text.change(found.change), "; ".join(full), tone(found.change or 0.0), unclear(found), over is not None
        )


def words(found: Comparison) -> str:
    """A change with its interval."""
    interval = text.change_interval(found.low, found.high)
    return text.change(found.change) + (f" ({interval})" if interval else "")


def unclear(found: Comparison) -> bool:
    """Whether the interval of a change holds zero."""
    return not found.clear and found.low is not None


def tone(change: float) -> str:
    """The colour of a change: better or worse, in four steps; none where hardly anything changes."""
    size = abs(math.log(max(1 + change, 1e-3)))
    if size < 0.0005:
        return ""
    step = 1 + sum(size >= bound for bound in _STEPS)
    return f"{'b' if change < 0 else 'w'}{step}"


def _by_timeout(variant: Variant) -> tuple[bool, str, int]:
    return variant.rule is not None, variant.rule or "", variant.timeout_ns or 0
