"""A forecast in Python: its answer, its tables as Polars frames, and its figures."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from segcast.library.results import Result
from segcast.reports.forecast.content import ForecastContent
from segcast.reports.forecast.data import Estimate, Variant
from segcast.reports.forecast.data import Forecast as ForecastData
from segcast.reports.forecast.distributions import DELAY, FCT, SLOWDOWN, Quantity, cdf, tail
from segcast.reports.forecast.figures import Cast
from segcast.traces.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import polars as pl

TABLES: Final = ("distributions", "flows", "hosts", "links", "messages", "profile", "series", "sizes", "summary")


class Forecast(Result):
    """A forecast folder: what to do, and the numbers behind it.

    Each of its tables (docs/tables.md) is a Polars frame of the file's name, such as `summary`. Raises InputError,
    naming the file, for what is no forecast or damaged.
    """

    def __init__(self, folder: str | Path, *, kept: Path | None = None) -> None:
        """Read the folder; the folder `kept`, if any, goes with this object."""
        super().__init__(folder, kept=kept)
        self._data = ForecastData(self.folder)

    @property
    def answer(self) -> str:
        """What to do, in a sentence."""
        return self._data.decision.do

    @property
    def document(self) -> dict[str, Any]:
        """The content of `forecast.json`, with the whole decision."""
        return self._data.meta

    @property
    def variants(self) -> list[Variant]:
        """What was compared: policies with their timeouts, at each load."""
        return self._data.variants

    def estimate(self, variant: Variant, metric: str) -> Estimate:
        """The mean over seeds of a column of `summary`, and its interval."""
        return self._data.estimate(variant, metric)

    @cached_property
    def plot(self) -> Plots:
        """Its figures."""
        return Plots(self._data)

    def __getattr__(self, name: str) -> pl.DataFrame:
        """A table."""
        if name not in TABLES:
            raise AttributeError(f"a forecast has no {name!r}; its tables are {', '.join(TABLES)}")
        return self._frame(f"{name}.parquet", "this forecast has no such table")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *TABLES})

    def packets(self, cell: str) -> pl.DataFrame:
        """The packets of a cell that were kept (`packets=` of the forecast); `summary` names the cells."""
        there = ", ".join(sorted(found.stem for found in (self.folder / "packets").glob("*.parquet"))) or "none"
        return self._frame(f"packets/{cell}.parquet", f"the packets of this cell were not kept; there are {there}")

    def __repr__(self) -> str:
        return f"<Forecast of {self.document['trace']['name']}: {self.answer}>"

    def _repr_html_(self) -> str:
        """The answer and the table of key numbers, as notebooks show it."""
        numbers = ForecastContent(self._data).tables["numbers"]
        head = "".join(f"<th>{html.escape(title)}</th>" for title in ["", *numbers.heads])
        rows = "".join(
            f"<tr><th>{html.escape(variant.label)}</th>"
            + "".join(f"<td>{html.escape(f'{cell.mean} {cell.interval}'.strip())}</td>" for cell in cells)
            + "</tr>"
            for variant, cells in numbers.rows
        )
        return f"<p><b>{html.escape(self.answer)}</b></p><table><tr>{head}</tr>{rows}</table>"


class Plots:
    """Figures of a forecast, as Plotly's; `tail` shows on logarithmic scales how many are beyond a value."""

    def __init__(self, data: ForecastData) -> None:
        self._data = data
        self._cast = Cast.of(data)

    def delay(self, *, tail: bool = False) -> go.Figure:
        """One-way delay of packets."""
        return self._figure("delay_ns", DELAY, tail)

    def fct(self, *, tail: bool = False) -> go.Figure:
        """Flow completion times."""
        return self._figure("fct_ns", FCT, tail)

    def slowdown(self, *, tail: bool = False) -> go.Figure:
        """Completion times over those of an empty network."""
        return self._figure("slowdown", SLOWDOWN, tail)

    def _figure(self, metric: str, of: Quantity, of_tail: bool) -> go.Figure:
        import plotly.graph_objects as go

        curves = self._data.curves(metric)
        if not curves:
            raise InputError(f"{self._data.folder}: has no distribution of {metric}")
        return go.Figure((tail if of_tail else cdf)(curves, self._cast, of))
