"""What the page and the terminal say of a plan, as lines of text."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

from segcast.analyzer.plan.axes import OF_TRAFFIC, Axis, axis_named
from segcast.analyzer.plan.cost import money
from segcast.analyzer.plan.document import StatedEdge
from segcast.analyzer.plan.reading import read_plan
from segcast.analyzer.plan.words import bounds_words, name_of, value_words
from segcast.analyzer.slo import Budget, parse_slo, say_sign
from segcast.reports import text
from segcast.reports.forecast.metrics import BY_COLUMN
from segcast.reports.plan import figures
from segcast.reports.style import Figure

_STATES = {"nowhere": "nowhere", "everywhere": "wherever asked"}


def unit_of(metric: str) -> Callable[[float | None], str]:
    """How values of a column are written."""
    if metric.endswith("_ns"):
        return text.duration
    if metric.endswith("_ratio") or metric.startswith("utilisation"):
        return text.percent
    return text.rate if metric.endswith("_bps") else text.plain


def title_of(metric: str) -> str:
    """How a column is called."""
    known = BY_COLUMN.get(metric)
    return metric.removesuffix("_ns").removesuffix("_bps").replace("_", " ") if known is None else known.title


def edge_line(axis: Axis, edge: StatedEdge) -> tuple[str, str]:
    """The edge, and its interval."""
    if edge.value is None or edge.low is None or edge.high is None:
        return _STATES[edge.state], ""
    low = edge.low if edge.traffic_low is None else edge.traffic_low
    high = edge.high if edge.traffic_high is None else edge.traffic_high
    value, interval = value_words(axis, edge.value), bounds_words(axis, low, high).strip(" ()")
    if edge.years is not None:
        value += f", in {text.plain(edge.years, 2)} years"
        first, last = (text.plain(axis.years(each), 2) for each in (low, high))
        interval += f", {first} to {last} years" if first != last else ""
    return value, interval.lstrip(", ")


def gain_line(edge: StatedEdge) -> str:
    """What the edge is against the baseline's."""
    interval = text.change_interval(edge.gain_low, edge.gain_high)
    return text.change(edge.gain) + (f" ({interval})" if interval else "")


def price(cost: float | None, currency: str | None) -> str:
    """What a network costs."""
    return text.NO_VALUE if cost is None else money(cost, currency)


class PlanContent:
    """What the template lays out."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError if the folder holds no plan."""
        self.document = read_plan(folder)
        self.title = PurePath(self.document.source).name
        self.axis = axis_named(self.document.over, self.document.per_year)

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """The budgets that were asked to be kept."""
        return parse_slo(self.document.slo).budgets

    @property
    def priced(self) -> bool:
        """Whether networks at the edges differ in cost."""
        return self.document.cost is not None and self.axis.name not in OF_TRAFFIC

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        """Each policy's edge as text, the furthest first."""
        found = []
        for edge in self.document.edges:
            value, interval = edge_line(self.axis, edge)
            notes = [*([] if edge.settled else ["not settled"]), *([] if edge.monotone else ["not monotone"])]
            found.append(
                {
                    "name": name_of(edge),
                    "edge": value,
                    "interval": interval,
                    "gain": gain_line(edge),
                    "cost": price(edge.cost, self.document.currency),
                    "binding": (edge.binding if edge.end is None else edge.end.words) or "",
                    "cells": text.count(edge.cells),
                    "notes": ", ".join(notes),
                }
            )
        return found

    @cached_property
    def probes(self) -> list[dict[str, Any]]:
        """All that was tried, as text."""
        return [
            {
                "name": name_of(edge),
                "value": value_words(self.axis, probe.value),
                "seeds": text.count(probe.seeds),
                "verdict": probe.verdict,
                "figures": [unit_of(metric)(probe.figures[metric]) for metric in self.metrics],
            }
            for edge in self.document.edges
            for probe in edge.probes
        ]

    @cached_property
    def metrics(self) -> list[str]:
        """The columns that budgets bound."""
        return list(dict.fromkeys(budget.metric for budget in self.budgets))

    @property
    def titles(self) -> list[str]:
        """Their names."""
        return [title_of(metric) for metric in self.metrics]

    @cached_property
    def curves(self) -> list[tuple[str, str, str]]:
        """Name, title and caption of a figure for each budget."""
        return [
            (
                f"curve-{number}",
                f"{title_of(budget.metric)} over {self.axis.noun}.".capitalize(),
                self._caption(budget),
            )
            for number, budget in enumerate(self.budgets)
        ]

    def _caption(self, budget: Budget) -> str:
        limit = unit_of(budget.metric)(budget.limit)
        asks = f"Means over seeds. The budget asks for {say_sign(budget.sign)} {limit}"
        return f"{asks}; diamonds are where each policy's budgets begin to break."

    def drawings(self) -> dict[str, Figure]:
        """Figures by the name that the template gives them."""
        return {
            f"curve-{number}": figures.curve(
                self.axis, self.document.edges, budget, unit_of(budget.metric), title_of(budget.metric)
            )
            for number, budget in enumerate(self.budgets)
        }

    @cached_property
    def legend(self) -> list[tuple[str, str]]:
        """Each policy and its colour."""
        return [(name_of(edge), figures.colour_of(number)) for number, edge in enumerate(self.document.edges)]
