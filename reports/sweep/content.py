"""What the page and the terminal say of a sweep, as lines of text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from segcast.analyzer.forecast.compare import variant_label
from segcast.analyzer.sweep.document import StatedCase, SweepDocument
from segcast.analyzer.sweep.tables import CHOICES
from segcast.reports import text
from segcast.reports.forecast.metrics import BY_COLUMN
from segcast.reports.style import COLOURS, Figure
from segcast.reports.sweep import figures
from segcast.reports.sweep.matrix import SweepMatrix, matrix_of
from segcast.traces.disk.documents import read_shape
from segcast.traces.disk.folders import SWEEP
from segcast.traces.disk.parquet import read_table
from segcast.traces.units import say_number

MOST_PANELS: Final = 12
MOST_LINES: Final = 6
MOST_ROWS: Final = 2000
MOST_SEEN: Final = 20
_PICKS: Final = ("use", "only")
_MANY_DIGITS: Final = re.compile(r"[0-9]{5,18}(bps|B)")
_AGAIN: Final = "run segcast sweep again"
_LOAD: Final = "load"
_OF_CHOICES: Final = ("drop_ratio", "reordered_ratio", "imbalance")


def read_sweep(folder: Path) -> SweepDocument:
    """What sweep.json says. Raises InputError."""
    file = folder / SWEEP.marker
    return read_shape(
        file, SweepDocument, f"{file}: not found, so this is no sweep; make one with segcast sweep", _AGAIN
    )


def brief_values(values: Sequence[str]) -> dict[str, str]:
    """Swept values for the eye: rates and sizes of many digits in three, if they stay apart."""
    brief = {value: _in_three(value) if _MANY_DIGITS.fullmatch(value) else value for value in values}
    return brief if len(set(brief.values())) == len(brief) else {value: value for value in values}


def _in_three(value: str) -> str:
    if value.endswith("bps"):
        return text.rate(int(value.removesuffix("bps"))).replace(" ", "").replace("bit/s", "bps")
    return text.size(int(value.removesuffix("B"))).replace(" ", "")


def case_line(case: StatedCase) -> dict[str, str]:
    """What is done in a case, and its figures, as text."""
    unit = BY_COLUMN[case.metric].unit
    name = text.NO_VALUE if case.policy is None else variant_label(case.policy, case.timeout_ns, case.timeout)
    return {
        "do": case.do,
        "of": name,
        "value": unit(case.value),
        "baseline": unit(case.baseline),
        "change": text.NO_VALUE if case.change is None else text.change(case.change),
        "interval": text.change_interval(case.low, case.high) or "",
        "drops": text.percent(case.drop_ratio),
        "breaks": "; ".join(case.breaks),
    }


class SweepContent:
    """What the template lays out."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError if the folder holds no sweep."""
        self._folder = folder
        self.document = read_sweep(folder)

    @property
    def title(self) -> str:
        """The name of the trace or the flow list."""
        return self.document.source

    @cached_property
    def dimensions(self) -> dict[str, list[str]]:
        """What cases differ in, and its values in order: the fields, and the load if there are several."""
        found = {each.field: each.values for each in self.document.fields}
        if len(self.document.loads) > 1:
            found[_LOAD] = [say_number(load) for load in self.document.loads]
        return found

    def place(self, case: StatedCase) -> dict[str, str]:
        """A case's values of all dimensions."""
        return {**case.values, _LOAD: say_number(case.load)}

    def _short(self, case: StatedCase) -> dict[str, str]:
        """The same as rows say them."""
        return {name: self._brief.get(name, {}).get(value, value) for name, value in self.place(case).items()}

    @cached_property
    def _brief(self) -> dict[str, dict[str, str]]:
        return {name: brief_values(values) for name, values in self.dimensions.items()}

    @property
    def metric(self) -> str:
        """The title of what decides."""
        return BY_COLUMN[self.document.cases[0].metric].title if self.document.cases else ""

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Each case as text, with its values in order of the dimensions."""
        return [self._row(case) for case in self.document.cases[:MOST_ROWS]]

    def _row(self, case: StatedCase) -> dict[str, Any]:
        place = self._short(case)
        return {**case_line(case), "values": [place[name] for name in self.dimensions]}

    @cached_property
    def seen(self) -> list[dict[str, Any]]:
        """The cases seen at once: all of a few; of many those where something is to be used, what gains most first."""
        if len(self.rows) <= MOST_SEEN:
            return self.rows
        return [self._row(case) for case in self._by_gain[:MOST_SEEN]]

    @cached_property
    def _by_gain(self) -> list[StatedCase]:
        """All cases: those where something is to be used, what gains most first, then the others likewise."""
        return sorted(self.document.cases, key=lambda case: (case.verdict not in _PICKS, case.change or 0.0))

    @property
    def unlisted(self) -> int:
        """Cases that are only in the files beside the page."""
        return max(0, len(self.document.cases) - MOST_ROWS)

    @cached_property
    def matrix(self) -> SweepMatrix:
        """Changes of all policies and timeouts in all cases, what gains most first. Raises InputError."""
        named = [
            ((case.variant, case.load), ", ".join(f"{name} {self._short(case)[name]}" for name in self.dimensions))
            for case in self._by_gain
        ]
        return matrix_of(named, self.choices, "case")

    @cached_property
    def choices(self) -> list[dict[str, Any]]:
        """Rows of CHOICES. Raises InputError."""
        file = self._folder / f"{CHOICES.name}.parquet"
        rows: list[dict[str, Any]] = read_table(file, CHOICES, mend=_AGAIN).to_pylist()
        return rows

    @cached_property
    def choice_rows(self) -> list[dict[str, Any]]:
        """The same as text."""
        metric = self.document.cases[0].metric if self.document.cases else "delay_p99_ns"
        places = {(case.variant, case.load): self._short(case) for case in self.document.cases}
        found = []
        for row in self.choices[:MOST_ROWS]:
            place = places.get((row["variant"], row["load"]), {})
            found.append(
                {
                    "values": [place.get(name, "") for name in self.dimensions],
                    "name": variant_label(row["policy"], row["timeout_ns"], row["timeout"]),
                    "chosen": "chosen" if row["chosen"] else "",
                    "value": BY_COLUMN[metric].unit(row[metric]),
                    "change": text.NO_VALUE if row["change"] is None else text.change(row["change"]),
                    "interval": text.change_interval(row["low"], row["high"]) or "",
                    "others": [BY_COLUMN[name].unit(row[name]) for name in _OF_CHOICES],
                    "breaks": row["breaks"],
                }
            )
        return found

    @property
    def other_titles(self) -> list[str]:
        """Titles of further columns of choices."""
        return [BY_COLUMN[name].title for name in _OF_CHOICES]

    @property
    def left_out(self) -> int:
        """Choices that are only in the table on disk."""
        return max(0, len(self.choices) - MOST_ROWS)

    @cached_property
    def along(self) -> str | None:
        """The dimension that figures run along: that with most values; None if nothing varies."""
        return max(self.dimensions, key=lambda name: len(self.dimensions[name]), default=None)

    @cached_property
    def lines(self) -> list[str]:
        """The policies and timeouts that figures show: the baseline, and those chosen most often."""
        count: dict[str, int] = {}
        for row in self.choices:
            name = variant_label(row["policy"], row["timeout_ns"], row["timeout"])
            count[name] = count.get(name, 0) + (1 if row["chosen"] else 0)
            if row["policy"] == self.document.baseline:
                count[name] += len(self.choices)
        return sorted(count, key=lambda name: -count[name])[:MOST_LINES]

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Names and colours of the lines."""
        return [(name, COLOURS[number % len(COLOURS)]) for number, name in enumerate(self.lines)]

    @cached_property
    def panels(self) -> list[tuple[str, str, dict[str, str]]]:
        """Name and title of each figure, and what of the other dimensions it is of."""
        if self.along is None:
            return []
        others = {name: values for name, values in self.dimensions.items() if name != self.along}
        found = []
        for number, values in enumerate(itertools.product(*others.values())):
            if number < MOST_PANELS:
                of = dict(zip(others, values, strict=True))
                title = (
                    ", ".join(f"{name} {self._brief[name][value]}" for name, value in of.items()) or f"By {self.along}"
                )
                found.append((f"panel-{number}", title, of))
        return found

    @property
    def more_panels(self) -> int:
        """Figures that are not drawn."""
        count = 1
        for name, values in self.dimensions.items():
            count *= 1 if name == self.along else len(values)
        return max(0, count - MOST_PANELS) if self.along is not None else 0

    def drawings(self) -> dict[str, Figure]:
        """Figures by the name that the template gives them."""
        along, metric = self.along, self.document.cases[0].metric
        if along is None:
            return {}
        by_place: dict[tuple[tuple[str, str], ...], list[tuple[str, str, float | None]]] = {}
        places = {(case.variant, case.load): self.place(case) for case in self.document.cases}
        for row in self.choices:
            place = places[row["variant"], row["load"]]
            key = tuple(sorted((name, place[name]) for name in self.dimensions if name != along))
            name = variant_label(row["policy"], row["timeout_ns"], row["timeout"])
            by_place.setdefault(key, []).append((name, place[along], row[metric]))
        values = [value for points in by_place.values() for name, _, value in points if value and name in self.lines]
        known = BY_COLUMN[metric]
        return {
            name: figures.panel(
                (along, list(self._brief[along].values())),
                self.lines,
                list(self._points(self._brief[along], by_place.get(tuple(sorted(of.items())), ()))),
                (known.title, known.unit),
                values,
            )
            for name, _, of in self.panels
        }

    def _points(
        self, brief: dict[str, str], points: Sequence[tuple[str, str, float | None]]
    ) -> Iterator[tuple[str, str, float]]:
        for name, value, figure in points:
            if figure is not None and name in self.lines:
                yield name, brief[value], figure
