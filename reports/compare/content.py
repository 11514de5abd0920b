"""What the page and the terminal say of a comparison, as rows of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from segcast.analyzer.answers.budgets import say_value
from segcast.analyzer.compare.differences import folded, short
from segcast.analyzer.compare.document import ComparedForecast, CompareDocument, StatedChange
from segcast.analyzer.compare.words import changed_by, name_of
from segcast.analyzer.forecast.document import LoadedVariant
from segcast.reports import text
from segcast.reports.forecast.metrics import BY_COLUMN, FLOW_TIMES, TCP_COSTS
from segcast.traces.disk.documents import read_shape
from segcast.traces.disk.folders import COMPARISON

MOST: Final = 12
_AGAIN: Final = "make it anew with segcast compare"
_TITLES: Final = {
    **{each.column: each.title for each in (*FLOW_TIMES, *TCP_COSTS)},
    **{c: m.title for c, m in BY_COLUMN.items()},
}
_SAID: Final = {
    "equal": "the same",
    "lower": "lower",
    "higher": "higher",
    "unclear": "not clear",
    "unpaired": "not paired",
    "none": "nothing to compare",
}
_BETTER: Final = ("goodput_bps",)


class Row(NamedTuple):
    """A variant in one metric, and where its bar lies, in percent of the track's width; none without an interval."""

    name: str
    metric: str
    first: str
    second: str
    change: str
    verdict: str
    mood: str
    bar: tuple[float, float, float] | None


class CompareContent:
    """What a comparison says."""

    def __init__(self, document: CompareDocument) -> None:
        self.document = document

    @classmethod
    def read(cls, folder: Path) -> CompareContent:
        """Of a comparison folder. Raises InputError."""
        file = folder / COMPARISON.marker
        missing = f"{folder}: no comparison: it has no {COMPARISON.marker}; {_AGAIN}"
        return cls(read_shape(file, CompareDocument, missing, _AGAIN))

    @property
    def forecasts(self) -> list[tuple[str, ComparedForecast, str, str]]:
        """Both, with what they are of and their seeds in words."""
        return [
            (
                name,
                one,
                f"{one.traffic}, {'closed' if one.reacts else 'open'} loop"
                + ("" if one.packets is None else f", {text.counted(one.packets, 'packet')}"),
                text.counted(len(one.seeds), "seed"),
            )
            for name, one in (("first", self.document.first), ("second", self.document.second))
        ]

    @property
    def differences(self) -> list[list[str]]:
        """Key, first, second; whole values."""
        rows = folded(self.document.differences)
        return [[key, first or text.NO_VALUE, second or text.NO_VALUE] for key, first, second in rows]

    @property
    def shortened(self) -> list[list[str]]:
        """The same for a terminal."""
        return [[key, short(first), short(second)] for key, first, second in folded(self.document.differences)]

    @property
    def title(self) -> str:
        """The metric that the answer is about."""
        return title_of(self.document.headline)

    @cached_property
    def headline(self) -> list[Row]:
        """Each variant in the metric of the answer, the largest change first where variants are many."""
        found = [one for one in self.document.changes if one.metric == self.document.headline]
        if len(found) > MOST:
            found.sort(key=lambda one: -abs(one.change or 0.0))
        return self._rows(found)

    @cached_property
    def others(self) -> list[Row]:
        """What else clearly differs."""
        return self._rows(
            [
                one
                for one in self.document.changes
                if one.metric != self.document.headline and one.verdict in ("lower", "higher")
            ]
        )

    @cached_property
    def everything(self) -> list[Row]:
        """All variants in all metrics."""
        return self._rows(self.document.changes)

    @property
    def kept(self) -> list[list[str]]:
        """Variant, and what it breaks of the budgets in the first and in the second."""
        return [[self._name(one), *(_kept(broken) for broken in (one.first, one.second))] for one in self.document.kept]

    def _rows(self, found: Sequence[StatedChange]) -> list[Row]:
        ends = [abs(math.log1p(end)) for one in found for end in (one.low, one.high) if end is not None and end > -1]
        widest = max(ends, default=0.0) or 1.0
        return [self._row(one, widest) for one in found]

    def _row(self, one: StatedChange, widest: float) -> Row:
        better = (one.verdict == "lower") != (one.metric in _BETTER)
        mood = "" if one.verdict not in ("lower", "higher") else "" if better else "worse"
        return Row(
            self._name(one),
            title_of(one.metric),
            say_value(one.metric, one.first),
            say_value(one.metric, one.second),
            changed_by(one),
            _SAID[one.verdict],
            "unclear" if one.verdict not in ("lower", "higher") else mood,
            _bar(one, widest),
        )

    def _name(self, one: LoadedVariant) -> str:
        return name_of(one, several=self._several)

    @cached_property
    def _several(self) -> bool:
        return len({one.load for one in [*self.document.changes, *self.document.kept]}) > 1


def title_of(metric: str) -> str:
    """How a column is called."""
    return _TITLES.get(metric, metric.removesuffix("_ns").removesuffix("_bps").replace("_", " "))


def _kept(broken: list[str] | None) -> str:
    if broken is None:
        return "not in it"
    return "kept" if not broken else f"broken: {'; '.join(broken)}"


def _bar(one: StatedChange, widest: float) -> tuple[float, float, float] | None:
    """Left end, width and point on a logarithmic scale whose middle is no change."""
    if one.change is None or one.low is None or one.high is None or min(one.low, one.change) <= -1:
        return None

    def place(change: float) -> float:
        return round(50 + 48 * math.log1p(change) / widest, 2)

    left, right = place(one.low), place(one.high)
    return left, round(right - left, 2), place(one.change)


def document_of(found: dict[str, Any]) -> CompareContent:
    """What a document says."""
    return CompareContent(CompareDocument.model_validate(found))
