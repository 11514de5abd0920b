"""Planning: how far each policy keeps budgets along an axis, as a folder with the answer and all that was tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.answers.evidence import FEWEST_FLOWS
from segcast.analyzer.answers.validated import Validated
from segcast.analyzer.forecast.loads import share_findings, with_known_loads
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.plan.axes import Axis
from segcast.analyzer.plan.cells import Cells, Progress, Variant, variants_of
from segcast.analyzer.plan.document import PlanDocument, StatedEdge, StatedEnd, StatedProbe
from segcast.analyzer.plan.other_traffic import CELLS, PRECISION, SEEDS, say_edges_cover, with_other_traffic
from segcast.analyzer.plan.search import (
    STAGES,
    Ask,
    Edge,
    Margins,
    Probe,
    Question,
    Search,
    find_edge,
    stages_to,
    verdict,
)
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.plan.words import answer_words, end_of, unsettled_words
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.slo import Slo, parse_slo
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.errors import InputError
from segcast.traces.schema import Column, Table
from segcast.traces.trace import Trace
from segcast.traces.units import say_number
from segcast.traces.version import VERSION

SCHEMA_VERSION: Final = 1
PROBES: Final = Table(
    "probes",
    "a cell that was tried: its value of the axis, and its row of `summary`",
    (Column("value", pa.float64(), "value of what is varied"), *SUMMARY.columns),
)
_FCT: Final = "fct_"
_SHORT: Final = ("delay_p999_ns", "fct_p999_ns", "queue_p999_ns", "slowdown_p999")
_WIDER: Final = 4.0
_MOST_WIDENINGS: Final = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: budgets along an axis between two values, how closely, and how many cells it may take a policy.

    Of them at most `seeds` at a place, numbered from the scenario's first on.
    Without bounds they lie about the scenario's own value, and move outwards until the edge is between them.
    """

    slo: Slo
    axis: Axis
    between: tuple[float, float] | None = None
    precision: float = 0.01
    most: int = 1000
    seeds: int = STAGES[-1]


def budgets_of(scenario: ValidScenario, slo: str | None) -> Slo:
    """The budgets of a text, else those of the scenario. Raises InputError without any."""
    if slo is not None:
        return parse_slo(slo)
    if scenario.slo is None:
        raise InputError(
            f'{scenario.source}: has no budgets; give --slo "p99_delay < 2ms and drops == 0", or [slo] keep in the file'
        )
    return scenario.slo.slo


def plan(
    source: Trace | WorkloadFile,
    scenario: ValidScenario,
    asked: Asked,
    out: str | Path,
    progress: Progress | None = None,
    *,
    store: CellStore | None = None,
    threads: int | None = None,
    finish: Callable[[Path], object] | None = None,
    validated: Validated | None = None,
) -> dict[str, Any]:
    """Find how far each policy keeps the budgets, and write the folder `out`; returns the content of plan.json.

    Cells that ran are kept in `store`, by default in the user's cache, as they end: what was interrupted goes on from
    there. `finish` is called with the complete folder before it gets its name. `validated` is what replays measured of
    the model, which is then said. Raises InputError.
    """
    reacts = isinstance(source, WorkloadFile) or scenario.transport is not None
    _check(asked, reacts, scenario)
    scenario = with_known_loads(source, scenario)
    variants = variants_of(scenario)
    inputs: list[str | Path] = [source.path] if isinstance(source, WorkloadFile) else [source.folder]
    kept = CellStore() if store is None else store
    try:
        with new_folder(Path(out), marker="plan.json", inputs=inputs) as folder:
            cells = Cells(source, kept, progress, threads=threads)
            search = _Searches(cells, scenario, asked, variants)
            search.run()
            document = _document(source, scenario, asked, search, reacts, validated)
            pq.write_table(
                pa.Table.from_pylist(search.rows, schema=PROBES.arrow_schema()),
                folder / "probes.parquet",
                compression="zstd",
            )
            (folder / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
            (folder / "plan.json").write_text(json_text(document), encoding="utf-8")
            if finish is not None:
                finish(folder)
    finally:
        if store is None:
            kept.close()
    return document.as_dict()


def _check(asked: Asked, reacts: bool, scenario: ValidScenario) -> None:
    asked.slo.check_mode(reacts)
    asked.axis.now(scenario)  # which says so where the scenario has no such thing
    for budget in asked.slo.budgets:
        if not reacts and budget.metric.startswith(_FCT):
            raise InputError(
                f"the SLO's {budget.text!r}: where packets leave as captured, a flow takes as long as it was recorded, "
                "whatever the network; let senders react (--transport cubic), or bound p99_delay or p99_slowdown"
            )


class _Searches:
    """One search for each variant, all advanced together, so that their cells share what is prepared."""

    def __init__(self, cells: Cells, scenario: ValidScenario, asked: Asked, variants: Sequence[Variant]) -> None:
        self.cells = cells
        self.rows: list[dict[str, Any]] = []
        self.figures: dict[tuple[Variant, float], list[dict[str, Any]]] = {}
        self.edges: dict[Variant, Edge] = {}
        self._scenario = scenario
        self._asked = asked
        self._variants = variants
        self.between = asked.between or _about(asked.axis, scenario)
        self._first_seed = min(scenario.seeds)
        self._widenings = 0

    def run(self) -> None:
        """Ask and answer until every search has ended, and none for want of wider bounds."""
        self._search(self._variants)
        while self._asked.between is None and (beyond := self._widened()):
            self._search(beyond)

    def _widened(self) -> list[Variant]:
        """The variants whose edge lies beyond the bounds, once these are moved outwards; none at the axis' ends."""
        low, high = self.between
        lacking = {"nowhere": not self._asked.axis.rises, "everywhere": self._asked.axis.rises}
        beyond = [
            variant
            for variant, edge in self.edges.items()
            if edge.state in lacking and self._left(variant) >= 2 * STAGES[0]
        ]
        upwards = {lacking[self.edges[variant].state] for variant in beyond}
        axis = self._asked.axis
        wider = (
            max(low / _WIDER if False in upwards else low, axis.least),
            min(high * _WIDER if True in upwards else high, axis.most),
        )
        if wider == self.between or self._widenings >= _MOST_WIDENINGS:
            return []
        self._widenings += 1
        if axis.whole:
            wider = float(math.floor(wider[0])), float(math.ceil(wider[1]))
        self.between = wider
        return beyond

    def _left(self, variant: Variant) -> int:
        """How many cells a variant may still take."""
        return self._asked.most - sum(len(rows) for (own, _), rows in self.figures.items() if own is variant)

    def _search(self, variants: Sequence[Variant]) -> None:
        question = _question(self._asked, self.between)
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
        axis = self._asked.axis
        by_value: dict[float, list[tuple[Variant, int, Ask]]] = {}
        answers: dict[Variant, list[Margins]] = {}
        for variant, asks in waiting.items():
            answers[variant] = [np.empty((0, 0))] * len(asks)
            for number, ask in enumerate(asks):
                by_value.setdefault(axis.value(ask.place), []).append((variant, number, ask))
        for value, group in sorted(by_value.items()):
            scenario = axis.put(self._scenario, value)
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
                answers[variant][number] = _margins(self._asked.slo, own)
        return answers


def _about(axis: Axis, scenario: ValidScenario) -> tuple[float, float]:
    """Bounds about the scenario's own value, where none are given."""
    now = axis.now(scenario)
    low, high = (now / 2, now * 2) if axis.rises else (now / 4, now * 2)
    if axis.whole:
        low, high = 1.0, max(2 * now, 2.0)
    return max(low, axis.least), min(high, axis.most)


def _question(asked: Asked, between: tuple[float, float]) -> Question:
    axis = asked.axis
    near, far = sorted(axis.place(value) for value in between)
    exact = tuple(budget.exact for budget in asked.slo.budgets)
    step = 1.0 if axis.whole else math.log1p(asked.precision)
    return Question(near, far, exact, step, axis.whole, stages_to(asked.seeds), asked.most)


def _margins(slo: Slo, rows: Sequence[dict[str, Any]]) -> Margins:
    """float64[rows, budgets]; minus infinity where nothing was received."""
    found = [
        [-math.inf if row[budget.metric] is None else budget.margin(row[budget.metric]) for budget in slo.budgets]
        for row in rows
    ]
    return np.array(found, np.float64)


def _document(
    source: Trace | WorkloadFile,
    scenario: ValidScenario,
    asked: Asked,
    search: _Searches,
    reacts: bool,
    validated: Validated | None,
) -> PlanDocument:
    axis = asked.axis
    edges = [
        with_other_traffic(
            _stated(variant, edge, asked, search), axis, scenario, partial(_again, search.cells, asked, variant)
        )
        for variant, edge in search.edges.items()
    ]
    baseline = next((edge for edge in edges if edge.policy == "ecmp"), edges[0])
    edges = [edge if edge is baseline else with_gain(edge, baseline) for edge in edges]
    ordered = sorted(edges, key=lambda edge: _rank(axis, edge), reverse=True)
    share = search.cells.share(scenario) if axis.name == "load" else None
    return PlanDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        source=str(source.path if isinstance(source, WorkloadFile) else source.folder),
        reacts=reacts,
        over=axis.name,
        rises=axis.rises,
        near=search.between[0] if axis.rises else search.between[1],
        far=search.between[1] if axis.rises else search.between[0],
        now=None if axis.name == "load" else axis.now(scenario),
        share=share,
        slo=asked.slo.text,
        answer=answer_words(axis, ordered, baseline, asked.slo.text, search.between, share),
        but=[
            *_few(search.rows),
            *_offered(scenario, axis),
            *_limits(asked, ordered, reacts),
            say_edges_cover(scenario, validated, "workload" if isinstance(source, WorkloadFile) else "trace"),
        ],
        baseline=baseline.policy,
        edges=ordered,
        cells=search.cells.done,
        ran=search.cells.ran,
    )


def _rank(axis: Axis, edge: StatedEdge) -> tuple[int, float]:
    place = -math.inf if edge.value is None else axis.place(edge.value)
    return {"nowhere": 0, "edge": 1, "everywhere": 2}[edge.state], place


def _stated(variant: Variant, edge: Edge, asked: Asked, search: _Searches) -> StatedEdge:
    axis = asked.axis
    ends = sorted(axis.value(place) for place in (edge.low, edge.high) if place is not None)
    return StatedEdge(
        policy=variant.policy.label,
        timeout=None if variant.timeout is None else variant.timeout.label,
        timeout_ns=None if variant.timeout is None else variant.timeout.timeout_ns,
        state=edge.state,
        value=None if edge.place is None else axis.value(edge.place),
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        traffic_low=None,
        traffic_high=None,
        end=_end(variant, edge, asked, search),
        seeds_wanted=edge.seeds_wanted(_question(asked, search.between)),
        binding=None if edge.binding is None else asked.slo.budgets[edge.binding].text,
        settled=edge.settled,
        monotone=edge.monotone,
        gain=None,
        gain_low=None,
        gain_high=None,
        cells=edge.cells,
        probes=sorted(
            (_probe(probe, search.figures[variant, probe.place], asked) for probe in edge.probes),
            key=lambda probe: probe.value,
        ),
    )


def _end(variant: Variant, edge: Edge, asked: Asked, search: _Searches) -> StatedEnd | None:
    """How near a policy without an edge is to one."""
    if (probe := edge.end) is None:
        return None
    rows = search.figures[variant, probe.place]
    figures = {budget.metric: _mean([row[budget.metric] for row in rows]) for budget in asked.slo.budgets}
    return end_of(asked.axis, asked.slo.budgets, figures, asked.axis.value(probe.place), edge.state)


def _probe(probe: Probe, rows: Sequence[dict[str, Any]], asked: Asked) -> StatedProbe:
    exact = tuple(budget.exact for budget in asked.slo.budgets)
    metrics = dict.fromkeys(budget.metric for budget in asked.slo.budgets)
    return StatedProbe(
        value=asked.axis.value(probe.place),
        seeds=probe.seeds,
        verdict=verdict(probe.margins, exact),
        figures={metric: _mean([row[metric] for row in rows]) for metric in metrics},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def with_gain(edge: StatedEdge, baseline: StatedEdge) -> StatedEdge:
    """The edge with what it is against the baseline's; their errors add as those of independent estimates do."""
    if edge.value is None or edge.low is None or edge.high is None:
        return edge
    if baseline.value is None or baseline.low is None or baseline.high is None:
        return edge
    value, low, high = (math.log(each) for each in (edge.value, edge.low, edge.high))
    base, base_low, base_high = (math.log(each) for each in (baseline.value, baseline.low, baseline.high))
    return edge.model_copy(
        update={
            "gain": math.expm1(value - base),
            "gain_low": math.expm1(value - base - math.hypot(value - low, base_high - base)),
            "gain_high": math.expm1(value - base + math.hypot(high - value, base - base_low)),
        }
    )


def _few(rows: Sequence[dict[str, Any]]) -> list[str]:
    """That the traffic is of too few flows for its edges to be anyone else's."""
    known = [row["effective_flows"] for row in rows if row.get("effective_flows") is not None]
    if not known or min(known) >= FEWEST_FLOWS:
        return []
    flows = say_number(float(f"{min(known):.2g}"))
    said = f"the traffic is spread as if of {flows} flows of one size: "
    return [said + "another hour of it may have another edge, and policies another order"]


def _offered(scenario: ValidScenario, axis: Axis) -> list[str]:
    """What the scenario's load came to, and that only the least of several was asked of."""
    if axis.name == "load":
        return []
    found = [finding.detail for finding in share_findings(scenario)]
    if len(scenario.offered) > 1:
        found.append(f"of the scenario's {len(scenario.offered)} loads only the least was asked: give one")
    return found


def _limits(asked: Asked, edges: Sequence[StatedEdge], reacts: bool) -> list[str]:
    """What limits the answer."""
    limits = []
    if not all(edge.monotone for edge in edges):
        names = ", ".join(dict.fromkeys(edge.policy for edge in edges if not edge.monotone))
        limits.append(f"{names}: budgets are kept again beyond the edge, which is the first; look at the curve")
    limits += unsettled_words(edges, asked.most)
    if any(budget.metric in _SHORT for budget in asked.slo.budgets):
        limits.append(
            "p99.9 is the mean of the seeds' own here, some per cent below that of all their values together, which a "
            "forecast gives"
        )
    if asked.axis.name == "load" and not reacts:
        limits.append("load squeezes the trace's time: each sender is faster, gaps between its packets shrink")
    if not reacts:
        limits.append("packets leave as captured, however full the queues are: nobody slows down or sends again")
    return limits


def _again(
    cells: Cells, asked: Asked, variant: Variant, scenario: ValidScenario, between: tuple[float, float]
) -> float | None:
    """The edge of one policy in another scenario, found coarsely; a bound if it is not between them."""
    coarse = replace(asked, between=between, precision=PRECISION, most=CELLS, seeds=SEEDS)
    search = _Searches(cells, scenario, coarse, [variant])
    try:
        search.run()
    except InputError:  # nothing of this resample crosses the network
        return None
    edge, axis = search.edges[variant], asked.axis
    if edge.place is not None:
        return axis.value(edge.place)
    return between[0] if (edge.state == "nowhere") == axis.rises else between[1]
