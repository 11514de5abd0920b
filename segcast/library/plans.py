"""A plan in Python: its answer, and how far each policy goes as a Polars frame."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from segcast.analyzer.plan.document import PlanDocument
from segcast.library.results import StatedResult
from segcast.reports.plan.content import PlanContent

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl


class Plan(StatedResult):
    """A plan folder: how far each policy keeps the budgets. Raises InputError for what is none."""

    def __init__(self, folder: str | Path, *, kept: Path | None = None) -> None:
        """Read the folder; the folder `kept`, if any, goes with this object."""
        super().__init__(folder, kept=kept)
        self._content = PlanContent(self.folder)

    @property
    def _stated(self) -> PlanDocument:
        return self._content.document

    @cached_property
    def edges(self) -> pl.DataFrame:
        """A row for each policy and timeout, the furthest first: the edge, its interval, the gain over the baseline."""
        import polars as pl

        return pl.DataFrame(
            [{k: v for k, v in edge.items() if k not in ("probes", "end")} for edge in self.document["edges"]]
        )

    @cached_property
    def probes(self) -> pl.DataFrame:
        """A row for each cell that was tried."""
        return self._frame("probes.parquet", "this plan has no such table")

    def plot(self) -> go.Figure:
        """The budget's metric along the axis."""
        import plotly.graph_objects as go

        return go.Figure(next(iter(self._content.drawings().values())))

    def _repr_html_(self) -> str:
        """The answer, and the edges as a table."""
        return self._shown(self.edges)
