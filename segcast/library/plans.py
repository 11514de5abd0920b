"""A plan in Python: its answer, and how far each policy goes as a Polars frame."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcast.library.results import Result
from segcast.reports.plan.content import PlanContent

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl


class Plan(Result):
    """A plan folder: how far each policy keeps the budgets. Raises InputError for what is none."""

    def __init__(self, folder: str | Path, *, kept: Path | None = None) -> None:
        """Read the folder; the folder `kept`, if any, goes with this object."""
        super().__init__(folder, kept=kept)
        self._content = PlanContent(self.folder)

    @property
    def answer(self) -> str:
        """The answer in one sentence."""
        return self._content.document.answer

    @property
    def but(self) -> list[str]:
        """What limits it, worst first."""
        return self._content.document.but

    @property
    def document(self) -> dict[str, Any]:
        """The content of `plan.json`."""
        return self._content.document.as_dict()

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
