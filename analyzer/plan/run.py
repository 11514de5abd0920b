"""Planning: how far each policy keeps budgets along an axis, as a folder with the answer and all that was tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.answers.validated import Validated
from segcast.analyzer.forecast.findings import capture_doubts, places_invented
from segcast.analyzer.forecast.loads import with_known_loads
from segcast.analyzer.forecast.resamples import check_resampled
from segcast.analyzer.forecast.writing import sources_of
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.plan.axes import OF_TRAFFIC, shares_of
from segcast.analyzer.plan.cells import Cells, Progress, Variant, variants_of
from segcast.analyzer.plan.cost import cost_of
from segcast.analyzer.plan.document import PlanDocument, PlanTraffic
from segcast.analyzer.plan.instead import instead_of
from segcast.analyzer.plan.other_traffic import CELLS, PRECISION, SEEDS, say_edges_cover, with_other_traffic
from segcast.analyzer.plan.searches import Asked, Searches, pooled_metrics
from segcast.analyzer.plan.stating import (
    against,
    few_busy_periods,
    few_flows,
    limits,
    offered_words,
    other_draws,
    other_hours,
    overfull,
    rank,
    stated,
)
from segcast.analyzer.plan.store import CellStore
from segcast.analyzer.plan.words import answer_words, untold
from segcast.analyzer.scenario.growth import share_of
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.slo import Slo, parse_slo
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.errors import InputError
from segcast.traces.schema import Column, Table
from segcast.traces.trace import Trace, trace_name
from segcast.traces.version import VERSION

SCHEMA_VERSION: Final = 1
__all__ = ["PROBES", "Asked", "budgets_of", "plan"]
PROBES: Final = Table(
    "probes",
    "a cell that was tried: its value of the axis, and its row of `summary`",
    (Column("value", pa.float64(), "value of what is varied"), *SUMMARY.columns),
)
_FCT: Final = "fct_"


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
    _check_budgets(asked, reacts)
    check_resampled(source, scenario)
    scenario = with_known_loads(source, scenario)
    _check_axis(asked, scenario)
    variants = variants_of(scenario)
    inputs: list[str | Path] = [source.path] if isinstance(source, WorkloadFile) else [source.folder]
    kept = CellStore() if store is None else store
    try:
        with new_folder(Path(out), marker="plan.json", inputs=inputs) as folder:
            cells = Cells(source, kept, progress, threads=threads, samples=pooled_metrics(asked.slo))
            if isinstance(asked.between, str):
                asked = replace(asked, between=_of_link(asked, asked.between, cells, scenario))
            search = Searches(cells, scenario, asked, variants)
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


def _check_budgets(asked: Asked, reacts: bool) -> None:
    asked.slo.check_mode(reacts)
    for budget in asked.slo.budgets:
        if not reacts and budget.metric.startswith(_FCT):
            raise InputError(
                f"the SLO's {budget.text!r}: where packets leave as captured, a flow takes as long as it was recorded, "
                "whatever the network; let senders react (--transport cubic), or bound p99_delay or p99_slowdown"
            )


def _check_axis(asked: Asked, scenario: ValidScenario) -> None:
    axis = asked.axis
    axis.now(scenario)  # which says so where the scenario has no such thing
    cost_of(scenario)
    by_flows = scenario.growth is not None and scenario.growth.by == "flows"
    if axis.name == "load" and by_flows and scenario.known_loads:
        raise scenario.wrong(("load",), "is had by copies of connections: vary those, --over growth")


def _of_link(asked: Asked, text: str, cells: Cells, scenario: ValidScenario) -> tuple[float, float]:
    """The bounds of a text like `20%..90%`, which are of the busiest link."""
    axis = asked.axis
    share = cells.share(axis.put(scenario, 1.0))
    if share is None:
        raise InputError(f"--between {text!r}: nothing says how long the traffic takes, so no share of a link is known")
    low, high = (axis.write(float(share_of(part)) / share) for part in shares_of(text, axis))
    return axis.between(f"{low}..{high}")


def _document(
    source: Trace | WorkloadFile,
    scenario: ValidScenario,
    asked: Asked,
    search: Searches,
    reacts: bool,
    validated: Validated | None,
) -> PlanDocument:
    axis, of_traffic = asked.axis, asked.axis.name in OF_TRAFFIC
    edges = [
        with_other_traffic(
            stated(variant, edge, asked, search), axis, scenario, partial(_again, search.cells, asked, variant)
        )
        for variant, edge in search.edges.items()
    ]
    baseline = next((edge for edge in edges if edge.policy == "ecmp"), edges[0])
    edges = [edge if edge is baseline else against(edge, baseline) for edge in edges]
    ordered = sorted(edges, key=lambda edge: rank(axis, edge), reverse=True)
    instead = instead_of(axis, ordered, baseline, search)
    prices = scenario.cost
    few = few_flows(search.rows)
    nowhere = all(
        edge.state == "nowhere" for edge in ordered
    )  # what breaks budgets is seen, however few flows it is of
    answer = answer_words(axis, ordered, baseline, asked.slo.text, search.between, prices, instead)
    return PlanDocument(
        segcast=VERSION,
        schema_version=SCHEMA_VERSION,
        source=str(source.path if isinstance(source, WorkloadFile) else source.folder),
        traffic=_traffic(source),
        reacts=reacts,
        over=axis.name,
        rises=axis.rises,
        near=search.between[0] if axis.rises else search.between[1],
        far=search.between[1] if axis.rises else search.between[0],
        now=None if axis.name == "load" else axis.now(scenario),
        per_year=axis.per_year,
        share=search.cells.share(axis.put(scenario, 1.0)) if of_traffic else None,
        cost=cost_of(scenario),
        currency=None if prices is None else prices.currency,
        instead=instead,
        slo=asked.slo.text,
        few=few,
        answer=answer if few is None or nowhere else untold(few, answer),
        but=[
            *overfull(ordered),
            *places_invented(search.cells.places(axis.put(scenario, search.between[0]))),
            *other_hours(few),
            *few_busy_periods(asked, ordered, search.rows),
            *offered_words(scenario, axis),
            *other_draws(asked, ordered, search.rows),
            *capture_doubts(source, scenario),
            *limits(asked, ordered, reacts, scenario),
            say_edges_cover(scenario, validated, "workload" if isinstance(source, WorkloadFile) else "trace"),
        ],
        baseline=baseline.policy,
        edges=ordered,
        cells=search.cells.done,
        ran=search.cells.ran,
    )


def _traffic(source: Trace | WorkloadFile) -> PlanTraffic:
    """What is sent, with the digests of its files."""
    sources = sources_of(source)
    if isinstance(source, WorkloadFile):
        return PlanTraffic(kind="workload", name=source.path.stem, layer="outer", sources=sources)
    return PlanTraffic(kind="trace", name=trace_name(source), layer=source.layer, sources=sources)


def _again(
    cells: Cells, asked: Asked, variant: Variant, scenario: ValidScenario, between: tuple[float, float]
) -> float | None:
    """The edge of one policy in another scenario, found coarsely; a bound if it is not between them."""
    coarse = replace(asked, between=between, precision=PRECISION, most=CELLS, seeds=SEEDS)
    search = Searches(cells, scenario, coarse, [variant])
    try:
        search.run()
    except InputError:  # nothing of this resample crosses the network
        return None
    edge, axis = search.edges[variant], asked.axis
    if edge.place is not None:
        return axis.value(edge.place)
    return between[0] if (edge.state == "nowhere") == axis.rises else between[1]
