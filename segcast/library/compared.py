"""Two forecasts or plans compared, in Python: what differs, and each change as a row of a Polars frame."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segcast.analyzer.compare.plan_words import why_not
from segcast.analyzer.compare.plans import SLO_OF_PLANS, are_plans, compare_plans
from segcast.analyzer.compare.run import compare as run_compare
from segcast.library.forecasts import Forecast
from segcast.library.plans import Plan
from segcast.reports.compare.page import write_comparison, write_plan_comparison
from segcast.traces.errors import InputError

if TYPE_CHECKING:
    import polars as pl


class Comparison:
    """What differs between two forecasts, in what they were asked and in what came of it."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @property
    def answer(self) -> str:
        """What differs, in a sentence or two."""
        return str(self.document["answer"])

    @property
    def but(self) -> list[str]:
        """What limits it, worst first."""
        return list(self.document["but"])

    @property
    def holds(self) -> bool | None:
        """Whether the second keeps the budgets; None without any."""
        found: bool | None = self.document["holds"]
        return found

    @property
    def why_not(self) -> str:
        """Why it does not hold, in some words to stand behind the name of the second; empty if it does."""
        return (
            ""
            if self.holds is not False
            else f"does not keep the budgets {self.document['slo']}, or not where the first does"
        )

    @cached_property
    def differences(self) -> pl.DataFrame:
        """A row for each key of scenario and traffic that is not the same."""
        return self._frame("differences", ["of", "key", "first", "second"])

    @cached_property
    def changes(self) -> pl.DataFrame:
        """A row for each policy, timeout and load that both have, and each metric."""
        return self._frame("changes", ["policy", "metric", "first", "second", "change", "low", "high", "verdict"])

    def _frame(self, name: str, columns: list[str]) -> pl.DataFrame:
        import polars as pl

        rows = self.document[name]
        return (
            pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame({column: [] for column in columns})
        )

    def __repr__(self) -> str:
        return f"<Comparison: {self.answer}>"

    def _repr_html_(self) -> str:
        """The answer, and the changes as a table."""
        return f"<p><b>{html.escape(self.answer)}</b></p>{self.changes._repr_html_()}"


class PlanComparison(Comparison):
    """What differs between two plans, in what they were asked and in how far each policy goes."""

    @property
    def why_not(self) -> str:
        """Why it does not hold, in some words to stand behind the name of the second; empty if it does."""
        return "" if self.holds else why_not(self.document)

    @cached_property
    def changes(self) -> pl.DataFrame:
        """A row for each policy and timeout that both have: its edge in the first and in the second."""
        import polars as pl

        own = ("policy", "timeout", "change", "low", "high", "verdict")
        return pl.DataFrame(
            [
                {**{name: row[name] for name in own}, "first": row["first"]["value"], "second": row["second"]["value"]}
                for row in self.document["edges"]
            ],
            schema=dict.fromkeys(own[:2], pl.String)
            | dict.fromkeys(("first", "second", *own[2:5]), pl.Float64)
            | {"verdict": pl.String},
        )


def compare(
    first: Forecast | Plan | str | Path,
    second: Forecast | Plan | str | Path,
    slo: str | None = None,
    out: str | Path | None = None,
) -> Comparison:
    """What differs between two forecasts, or two plans, as `segcast compare` says it.

    `slo` is for forecasts; `out` names a folder that gets the page. Raises InputError.
    """
    one, other = (each.folder if isinstance(each, Forecast | Plan) else each for each in (first, second))
    if are_plans(one, other):
        if slo is not None:
            raise InputError(SLO_OF_PLANS)
        return PlanComparison(compare_plans(one, other, out, finish=write_plan_comparison))
    return Comparison(run_compare(one, other, out, slo=slo, finish=write_comparison))
