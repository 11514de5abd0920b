"""What the page and the terminal say of a comparison of plans, as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from segcast.analyzer.compare.differences import folded, short
from segcast.analyzer.compare.document import StatedDifference
from segcast.analyzer.compare.plan_document import ComparedPlan, PlanCompareDocument, StatedEdgeChange
from segcast.analyzer.compare.plan_words import bounds_of, changed_by, name_of, side_words
from segcast.analyzer.plan.axes import axis_named
from segcast.reports import text
from segcast.traces.disk.documents import read_shape
from segcast.traces.disk.folders import PLAN_COMPARISON

_AGAIN: Final = "make it anew with segcast compare"
_VERDICTS: Final = {
    "equal": "the same",
    "beyond": "no edge in either",
    "better": "better",
    "worse": "worse",
    "unclear": "not clear",
    "unpaired": "not compared",
}


class EdgeRow(NamedTuple):
    """A policy in both plans."""

    name: str
    first: str
    second: str
    change: str
    verdict: str


class PlanCompareContent:
    """What a comparison of plans says."""

    def __init__(self, document: PlanCompareDocument) -> None:
        self.document = document

    @classmethod
    def read(cls, folder: Path) -> PlanCompareContent:
        """Of a comparison folder. Raises InputError."""
        file = folder / PLAN_COMPARISON.marker
        missing = f"{folder}: no comparison of plans: it has no {PLAN_COMPARISON.marker}; {_AGAIN}"
        return cls(read_shape(file, PlanCompareDocument, missing, _AGAIN))

    @classmethod
    def of(cls, found: dict[str, Any]) -> PlanCompareContent:
        """What a document says."""
        return cls(PlanCompareDocument.model_validate(found))

    @property
    def plans(self) -> list[tuple[str, ComparedPlan, str]]:
        """Both, with what they are of in words."""
        return [
            (name, one, f"{one.traffic}, {'closed' if one.reacts else 'open'} loop, {one.slo} over {one.over}")
            for name, one in (("first", self.document.first), ("second", self.document.second))
        ]

    @property
    def parts(self) -> list[tuple[str, list[list[str]]]]:
        """What is not the same, by what it is of: key, first, second; whole values."""
        return [
            (title, [[key, first or text.NO_VALUE, second or text.NO_VALUE] for key, first, second in folded(found)])
            for title, found in self._differences()
            if found
        ]

    @property
    def shortened(self) -> list[list[str]]:
        """The same in one table for a terminal."""
        return [
            [title, key, short(first), short(second)]
            for title, found in self._differences()
            for key, first, second in folded(found)
        ]

    def _differences(self) -> list[tuple[str, Sequence[StatedDifference]]]:
        kinds = ("question", "traffic", "scenario")
        return [(kind, [each for each in self.document.differences if each.of == kind]) for kind in kinds]

    @property
    def keeps(self) -> str:
        """What edges are: `keeps it up to`."""
        over = {self.document.first.over, self.document.second.over}
        return "edge" if len(over) > 1 else "keeps it up to" if axis_named(over.pop()).rises else "keeps it from"

    @property
    def rows(self) -> list[EdgeRow]:
        """A row for each policy and timeout that both have."""
        return [self._row(one) for one in self.document.edges]

    def _row(self, one: StatedEdgeChange) -> EdgeRow:
        plans = self.document.first, self.document.second
        sides = [
            (side_words(plan.over, side), bounds_of(plan.over, side))
            for plan, side in zip(plans, (one.first, one.second), strict=True)
        ]
        first, second = (f"{value} ({bounds})" if bounds else value for value, bounds in sides)
        return EdgeRow(name_of(one), first, second, changed_by(one) or text.NO_VALUE, _VERDICTS[one.verdict])
