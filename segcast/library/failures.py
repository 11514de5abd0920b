"""A failure study in Python: what failures cost, as Polars frames."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from segcast.analyzer.plan.failures.document import FailuresDocument
from segcast.library.results import StatedResult
from segcast.reports.plan.failures_content import FailuresContent

if TYPE_CHECKING:
    import polars as pl

_ABSENT = "this failure study has no such table"


class Failures(StatedResult):
    """The folder of a failure study: what each failure costs. Raises InputError for what is none."""

    def __init__(self, folder: str | Path, *, kept: Path | None = None) -> None:
        """Read the folder; the folder `kept`, if any, goes with this object."""
        super().__init__(folder, kept=kept)
        self._content = FailuresContent(self.folder)

    @property
    def _stated(self) -> FailuresDocument:
        return self._content.document

    @property
    def holds(self) -> bool:
        """Whether no failure breaks the budgets; True without any."""
        return self._content.document.holds

    @cached_property
    def failures(self) -> pl.DataFrame:
        """A row for each failure under each policy, as means over seeds."""
        return self._frame("failures.parquet", _ABSENT)

    @cached_property
    def stages(self) -> pl.DataFrame:
        """A row for each stage of a failure under a policy."""
        return self._frame("stages.parquet", _ABSENT)

    @cached_property
    def links(self) -> pl.DataFrame:
        """A row for each link under each policy, over all failures tried."""
        return self._frame("links.parquet", _ABSENT)

    def _repr_html_(self) -> str:
        """The answer, and the failures as a table."""
        return self._shown(self.failures)
