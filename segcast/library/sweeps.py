"""A sweep in Python: what to do in each case, and its tables as Polars frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcast.analyzer.scenario.sweeping import values_of
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.sweep.document import SweepDocument
from segcast.analyzer.sweep.fields import parse_set, with_set
from segcast.library.results import StatedResult
from segcast.reports.sweep.content import SweepContent
from segcast.traces.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

_ABSENT = "this sweep has no such table"


class Sweep(StatedResult):
    """A sweep folder: what to do in each case. Raises InputError for what is none."""

    def __init__(self, folder: str | Path, *, kept: Path | None = None) -> None:
        """Read the folder; the folder `kept`, if any, goes with this object."""
        super().__init__(folder, kept=kept)
        self._content = SweepContent(self.folder)

    @property
    def _stated(self) -> SweepDocument:
        return self._content.document

    @property
    def holds(self) -> bool | None:
        """Whether in some case a choice keeps the budgets; None without any."""
        return self._content.document.kept

    @cached_property
    def cases(self) -> pl.DataFrame:
        """A row for each variant at each load: a column for each field, then what to do there, and its figures."""
        import polars as pl

        rows = [
            {**case["values"], **{name: value for name, value in case.items() if name not in ("values", "variant")}}
            for case in self.document["cases"]
        ]
        return pl.DataFrame(rows, infer_schema_length=None)

    @cached_property
    def summary(self) -> pl.DataFrame:
        """A row for each cell of each variant."""
        return self._frame("summary.parquet", _ABSENT)

    @cached_property
    def choices(self) -> pl.DataFrame:
        """A row for each policy and timeout in each case: p99 and p99.9 of all seeds together, means else."""
        return self._frame("choices.parquet", _ABSENT)

    @cached_property
    def comparisons(self) -> pl.DataFrame:
        """A row for each metric of a policy and timeout against the baseline of the same case."""
        return self._frame("comparisons.parquet", _ABSENT)

    @cached_property
    def variants(self) -> pl.DataFrame:
        """A row for each field of each variant."""
        return self._frame("variants.parquet", _ABSENT)

    @property
    def panels(self) -> list[str]:
        """What each figure is of, by the number that `plot` takes: one for each value of all that is not along it."""
        return [title for _, title, _ in self._content.panels]

    def plot(self, panel: int = 0) -> go.Figure:
        """What decides, along the field with most values, by policy. Raises InputError if there is no such figure."""
        import plotly.graph_objects as go

        names = [name for name, _, _ in self._content.panels]
        if not 0 <= panel < len(names):
            there = f"there are 0 to {len(names) - 1}" if names else "nothing was swept"
            raise InputError(f"{self.folder}: has no figure {panel}; {there}")
        return go.Figure(self._content.drawings()[names[panel]])

    def _repr_html_(self) -> str:
        """The answer, and the cases as a table."""
        return self._shown(self.cases)


def with_fields(scenario: ValidScenario, fields: Mapping[str, str | Sequence[Any]] | Sequence[str]) -> ValidScenario:
    """The scenario that sweeps these fields as well, in place of what its own sweep says of them. Raises InputError."""
    if not isinstance(fields, Mapping):
        return with_set(scenario, fields)
    swept = dict(scenario.sweep or {})
    for field, values in fields.items():
        try:
            swept[field] = parse_set(f"{field}={values}")[1] if isinstance(values, str) else values_of(values)
        except ValueError as error:
            raise InputError(f"{field}: {error}") from None
    return scenario.model_copy(update={"sweep": swept or None})
