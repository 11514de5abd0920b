"""The searches of a plan: one for each policy and timeout, over cells that they share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from segcast.analyzer.plan.axes import Axis
from segcast.analyzer.plan.cells import SAMPLES, Cells, Variant
from segcast.analyzer.plan.search import STAGES, Ask, Edge, Margins, Question, Search, find_edge, stages_to
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.slo import Budget, Slo
from segcast.analyzer.statistics.pooled import Sample
from segcast.analyzer.statistics.pools import POOLED_COLUMNS

_WIDER: Final = 4.0
_MOST_WIDENINGS: Final = 5
_MOST_OF_COPIES: Final = 2  # each has four times the packets in memory


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: budgets along an axis between two values, how closely, and how many cells it may take a policy.

    Of them at most `seeds` at a place, numbered from the scenario's first on. Without bounds they lie about the
    scenario's own value, and move outwards until the edge is between them. They may be of the busiest link: `20%..90%`.
    """

    slo: Slo
    axis: Axis
    between: tuple[float, float] | str | None = None
    precision: float = 0.01
    most: int = 1000
    seeds: int = STAGES[-1]


class Searches:
    """One search for each variant, all advanced together, so that their cells share what is prepared."""

    def __init__(self, cells: Cells, scenario: ValidScenario, asked: Asked, variants: Sequence[Variant]) -> None:
        self.cells = cells
        self.rows: list[dict[str, Any]] = []
        self.figures: dict[tuple[Variant, float], list[dict[str, Any]]] = {}
        self.edges: dict[Variant, Edge] = {}
        self.scenario = scenario
        self.asked = asked
        self._variants = variants
        assert not isinstance(asked.between, str)
        self.between = asked.between or _about(asked.axis, scenario)
        self._first_seed = min(scenario.seeds)
        self._widenings = 0

    def run(self) -> None:
        """Ask and answer until every search has ended, and none for want of wider bounds."""
        self._search(self._variants)
        bounded = self.asked.between is not None or self.scenario.growth_spec.per_year is not None
        while not bounded and (beyond := self._widened()):
            self._search(beyond)

    def over(self, axis: Axis, scenario: ValidScenario, between: tuple[float, float], variant: Variant) -> Searches:
        """Another question of one variant, answered over the same cells, with the same budgets and limits."""
        other = Searches(self.cells, scenario, replace(self.asked, axis=axis, between=between), [variant])
        other.run()
        return other

    def _widened(self) -> list[Variant]:
        """The variants whose edge lies beyond the bounds, once these are moved outwards; none at the axis' ends."""
        low, high = self.between
        lacking = {"nowhere": not self.asked.axis.rises, "everywhere": self.asked.axis.rises}
        beyond = [
            variant
            for variant, edge in self.edges.items()
            if edge.state in lacking and self._left(variant) >= 2 * STAGES[0]
        ]
        upwards = {lacking[self.edges[variant].state] for variant in beyond}
        axis = self.asked.axis
        wider = (
            max(low / _WIDER if False in upwards else low, axis.least),
            min(high * _WIDER if True in upwards else high, axis.most),
        )
        most = _MOST_OF_COPIES if axis.name == "growth" else _MOST_WIDENINGS
        if wider == self.between or self._widenings >= most:
            return []
        self._widenings += 1
        if axis.whole:
            wider = float(math.floor(wider[0])), float(math.ceil(wider[1]))
        self.between = wider
        return beyond

    def _left(self, variant: Variant) -> int:
        """How many cells a variant may still take."""
        return self.asked.most - sum(len(rows) for (own, _), rows in self.figures.items() if own is variant)

    def _search(self, variants: Sequence[Variant]) -> None:
        question = question_of(self.asked, self.between)
        searches = {variant: find_edge(replace(question, most=self._left(variant))) for variant in variants}
        waiting = {variant: next(search) for variant, search in searches.items()}
        while waiting:
            answers = self._answers(waiting)
            waiting = {}
            for variant, margins in answers.items():
                self._advance(variant, searches[variant], margins, waiting)

    def _advance(
        self, variant: Variant, search: Search, margins: list[Margins], waiting: dict[Variant, list[Ask]]
    ) -> None:
        try:
            waiting[variant] = search.send(margins)
        except StopIteration as ended:
            self.edges[variant] = ended.value

    def _answers(self, waiting: dict[Variant, list[Ask]]) -> dict[Variant, list[Margins]]:
        """Margins of all asks, value by value, so that a network or a load is prepared once for all."""
        axis = self.asked.axis
        by_value: dict[float, list[tuple[Variant, int, Ask]]] = {}
        answers: dict[Variant, list[Margins]] = {}
        for variant, asks in waiting.items():
            answers[variant] = [np.empty((0, 0))] * len(asks)
            for number, ask in enumerate(asks):
                by_value.setdefault(axis.value(ask.place), []).append((variant, number, ask))
        for value, group in sorted(by_value.items()):
            scenario = axis.put(self.scenario, value)
            wanted = [
                (variant, self._first_seed + seed) for variant, _, ask in group for seed in range(ask.first, ask.stop)
            ]
            rows = iter(self.cells.rows(scenario, wanted))
            for variant, number, ask in group:
                own = [next(rows) for _ in range(ask.first, ask.stop)]
                known = self.figures.setdefault((variant, ask.place), [])
                fresh = own[max(len(known) - ask.first, 0) :]  # a search with wider bounds asks again where others did
                known += fresh
                self.rows += [{"value": value, **row} for row in fresh]
                answers[variant][number] = _margins(self.asked.slo, own)
        return answers


def _about(axis: Axis, scenario: ValidScenario) -> tuple[float, float]:
    """Bounds about the scenario's own value, where none are given."""
    now = axis.now(scenario)
    low, high = (now / 2, now * 2) if axis.rises else (now / 4, now * 2)
    if axis.name == "growth":
        low, high = 1.0, 4.0
        if scenario.growth_spec.per_year is not None:  # what is beyond the years that were given is not asked
            low, high = 1.0, float(scenario.growth_spec.steps[-1].factor)
    if axis.whole:
        low, high = 1.0, max(2 * now, 2.0)
    return max(low, axis.least), min(high, axis.most)


def question_of(asked: Asked, between: tuple[float, float]) -> Question:
    """What is asked of a search."""
    axis = asked.axis
    near, far = sorted(axis.place(value) for value in between)
    exact = tuple(budget.exact for budget in asked.slo.budgets)
    step = 1.0 if axis.whole else math.log1p(asked.precision)
    shares = tuple(number for number, budget in enumerate(asked.slo.budgets) if is_pooled(budget))
    return Question(near, far, exact, step, axis.whole, stages_to(asked.seeds), asked.most, shares)


def is_pooled(budget: Budget) -> bool:
    """Whether it is kept by all seeds' values together: those of p99 and p99.9 of delays and completion times."""
    return budget.metric in POOLED_COLUMNS and budget.sign[0] == "<"


def pooled_metrics(slo: Slo) -> tuple[str, ...]:
    """The metrics of which a search needs all values."""
    return tuple(dict.fromkeys(POOLED_COLUMNS[budget.metric][0] for budget in slo.budgets if is_pooled(budget)))


def _margins(slo: Slo, rows: Sequence[dict[str, Any]]) -> Margins:
    """float64[rows, budgets and shares]; minus infinity where nothing was received."""
    return np.array(
        [[*(_margin(budget, row) for budget in slo.budgets), *_rooms(slo, row)] for row in rows], np.float64
    )


def _margin(budget: Budget, row: dict[str, Any]) -> float:
    if row[budget.metric] is None:
        return -math.inf
    if not is_pooled(budget):
        return budget.margin(row[budget.metric])
    metric, quantile = POOLED_COLUMNS[budget.metric]
    sample: Sample = row[SAMPLES][metric]
    limit = math.floor(budget.limit) if budget.sign == "<=" else math.ceil(budget.limit) - 1
    return _room(sample, quantile) - (sample.size - sample.at_most(limit))


def _rooms(slo: Slo, row: dict[str, Any]) -> list[float]:
    """How many values may be beyond the limit, for each budget that is pooled."""
    named = [POOLED_COLUMNS[budget.metric] for budget in slo.budgets if is_pooled(budget)]
    return [_room(row[SAMPLES][metric], quantile) for metric, quantile in named]


def _room(sample: Sample, quantile: float) -> float:
    return (1 - quantile) * sample.size
