"""Forecasts: all cells of a scenario over one trace, on all cores, into one folder of tables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from segcast.analyzer.answers.validated import Validated
from segcast.analyzer.forecast.asked import asked_of_list
from segcast.analyzer.forecast.asked_of_trace import asked_of_trace
from segcast.analyzer.forecast.cells import CellPlan, plan_cells
from segcast.analyzer.forecast.document import ForecastDocument
from segcast.analyzer.forecast.loads import with_known_loads
from segcast.analyzer.forecast.reacting import ReactingRunner
from segcast.analyzer.forecast.resamples import check_resampled, resampled_rows
from segcast.analyzer.forecast.resuming.keeping import Keeping, Say
from segcast.analyzer.forecast.runner import CellResult, CellRunner, HeldRunner, StreamedRunner, Tick
from segcast.analyzer.forecast.writing import forecast_document, origin_entry
from segcast.analyzer.keys import chosen_of, identity_of
from segcast.analyzer.metrics.messages import MESSAGES
from segcast.analyzer.metrics.tables import FLOW_FATES, RESAMPLES, SUMMARY
from segcast.analyzer.parallel import usable_cores
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.schema import DISTRIBUTIONS, HOSTS, LINKS, POOLED, PROFILE, SERIES, SIZES
from segcast.analyzer.statistics.pools import Pools
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, prepare
from segcast.analyzer.traffic.recorded_acks import RELEASE_COLUMNS, schedule
from segcast.analyzer.traffic.resampling import resampled
from segcast.analyzer.traffic.streamed import survey
from segcast.analyzer.workload.resampled import resampled_list
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.schema import Table
from segcast.traces.trace import Trace

# Memory: a packet in the traffic and while it is made, its time at a load, its fate in a cell.
_TRAFFIC_BYTES: Final = 90
_LOAD_BYTES: Final = 8
_FATE_BYTES: Final = 25

Progress = Callable[[int, int], None]
Prepared = Callable[[ValidScenario, Path], CellRunner]


def forecast(
    trace: Trace | WorkloadFile,
    scenario: ValidScenario,
    out: str | Path,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    stream: bool | None = None,
    finish: Callable[[Path], object] | None = None,
    say: Say | None = None,
    validated: Validated | None = None,
) -> dict[str, Any]:
    """Run the scenario over the trace and write the forecast folder `out`; returns the content of forecast.json.

    A workload has no packets of its own: TCP senders make them, as the scenario's `transport` says, and react. So do
    those of a trace's TCP connections if the scenario has a `transport`; what else the trace has leaves as captured.
    The result does not depend on `threads` (all cores unless given), nor on `stream`: whether the trace is read batch
    by batch, once for each group of cells that advance together, or held in memory (by its size, unless given).
    If it is interrupted, what it has done is kept aside for the next to `out` that is of the same trace and scenario;
    `say` is told what comes of it. `finish` is called with the complete folder before it gets its name, so that what it
    adds is there from the start. `validated` is what replays measured of the model, which is then said.
    `progress` is called several times a second with the cells done and all cells; what it raises ends the forecast.
    Raises InputError for cells that cannot run, a trace with nothing to send, or an `out` that is not a forecast.
    """
    if scenario.slo is not None:
        scenario.slo.slo.check_mode(isinstance(trace, WorkloadFile) or scenario.transport is not None)
    if scenario.traffic.resample and scenario.packets != "none":
        raise scenario.wrong(("packets",), 'packets of a resample are in no capture, so none can be kept; give "none"')
    scenario.check_sids()  # refused before the trace is read, if the network cannot be built
    scenario = with_known_loads(trace, scenario)
    cells = plan_cells(scenario)
    if isinstance(trace, WorkloadFile):
        inputs: list[str | Path] = [trace.path]
    else:
        inputs = [trace.folder, *(source.path for source in trace.sources)]
    keeping: Keeping | None = None
    try:
        with new_folder(Path(out), marker="forecast.json", inputs=inputs, resumable=True) as folder:
            chosen = [[cell.name, *chosen_of(cell.policy, cell.timeout)] for cell in cells]
            keeping = Keeping(folder, identity_of(trace), scenario.to_toml(), chosen, say=say)
            if say is not None and (keeping.done or keeping.begun):
                say(f"resuming: {_what_is_kept(keeping, cells)}")
            cores = threads or usable_cores()
            runner = prepared(trace, scenario, stream, min(len(cells), cores))(scenario, folder)
            runner.keeping = keeping
            document = _written(trace, scenario, cells, runner, cores, progress, validated)
            if finish is not None:
                finish(folder)
    except KeyboardInterrupt:
        if keeping is not None and (keeping.done or keeping.begun):
            kept = _what_is_kept(keeping, cells)
            raise KeyboardInterrupt(f"interrupted; {kept}, kept aside: the same command goes on from there") from None
        raise
    return document.as_dict()


def _what_is_kept(keeping: Keeping, cells: Sequence[CellPlan]) -> str:
    begun = f", {keeping.begun} under way" if keeping.begun else ""
    return f"{len(keeping.done)} of {len(cells)} cells are done{begun}"


def _written(
    trace: Trace | WorkloadFile,
    scenario: ValidScenario,
    cells: Sequence[CellPlan],
    runner: CellRunner,
    cores: int,
    progress: Progress | None,
    validated: Validated | None,
) -> ForecastDocument:
    """Run the cells that are not kept, and write all tables and the document; gives that back."""
    folder, keeping = runner.folder, runner.keeping
    results: list[CellResult] = []

    def tick() -> None:
        try:
            if progress is not None:
                progress(len(results), count)
        except BaseException:
            if keeping is not None:
                keeping.stop()
            raise

    pools = Pools()
    count = len(cells)
    if scenario.traffic.resamples:
        count += scenario.traffic.resamples * sum(cell.seed == cells[0].seed for cell in cells)
    with contextlib.ExitStack() as stack:
        flows = stack.enter_context(_writer(folder, FLOW_FATES))
        messages = stack.enter_context(_writer(folder, MESSAGES)) if runner.asked is not None else None
        for result in _results(cells, runner, cores, tick):
            flows.write_table(result.flows)
            if messages is not None and result.messages is not None:
                messages.write_table(result.messages)
            pools.add(result.summary, result.samples)
            results.append(result.without_flows())
    _write(folder, PROFILE, runner.profile(results[0], cores, tick))
    _write_results(folder, results)
    _write_rows(folder, POOLED, pooled := pools.rows())
    drawn: list[dict[str, Any]] = []
    if scenario.traffic.resamples:
        drawn = resampled_rows(scenario, cells, partial(_ready, trace, cores), cores, tick)
        _write_rows(folder, RESAMPLES, drawn)
    summary = [result.summary for result in results]
    origin = origin_entry(trace, scenario, runner.traffic, runner.extent, runner.asked)
    document = forecast_document(origin, scenario, runner.traffic, runner.extent, (summary, pooled, drawn), validated)
    text = scenario.to_toml_with(document.sids, "forecast.json")
    (folder / "scenario.toml").write_text(text, encoding="utf-8")
    (folder / "forecast.json").write_text(json_text(document), encoding="utf-8")
    return document


def _ready(trace: Trace | WorkloadFile, cores: int, scenario: ValidScenario, folder: Path) -> CellRunner:
    return prepared(trace, scenario, False, cores)(scenario, folder)


def _results(cells: Sequence[CellPlan], runner: CellRunner, cores: int, tick: Tick) -> Iterator[CellResult]:
    """Results of all cells in their order; those that are kept do not run."""
    keeping = runner.keeping
    kept = set() if keeping is None else {plan.name for plan in cells if keeping.has(plan.name)}
    ran = runner.results([plan for plan in cells if plan.name not in kept], cores, tick)
    for plan in cells:
        if keeping is not None and plan.name in kept:
            yield CellResult(**keeping.found(plan.name))
        else:
            yield next(ran)


def larger_than_memory(trace: Trace, scenario: ValidScenario, cells: int) -> bool:
    """Whether a trace, with so many cells at a time, would take more than a quarter of this machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packet_bytes = _TRAFFIC_BYTES + len(scenario.loads) * _LOAD_BYTES + cells * _FATE_BYTES
    most = max(Fraction(1), *(one.flows for one in scenario.offered))
    return trace.packet_count * most * packet_bytes > memory // 4


def check_streams(scenario: ValidScenario, trace: Trace) -> None:
    """Raise InputError if a trace read batch by batch would need copies: those are made where memory holds it all."""
    most = max(one.flows for one in scenario.offered)
    if most > 1:
        raise scenario.wrong(
            ("growth", "factor"),
            f"{float(most):g} times the connections of {trace.packet_count:,} packets are more than this machine's "
            'memory holds; take a part of it (traffic.only, or a shorter capture), or by = "rate"',
        )


def prepared(trace: Trace | WorkloadFile, scenario: ValidScenario, stream: bool | None, together: int) -> Prepared:
    """What runs cells over a trace or a workload: of this scenario, or of one that differs in no more than its load.

    `together`: how many cells are to run at a time. `stream`: see `forecast`. Raises InputError.
    """
    spec = scenario.traffic
    check_resampled(trace, scenario)
    if isinstance(trace, WorkloadFile):
        if spec.resample:
            trace = replace(trace, workload=resampled_list(trace.workload, spec.resample, spec.block))
        return partial(ReactingRunner, asked_of_list(trace, scenario))
    if scenario.transport is not None:
        return partial(ReactingRunner, asked_of_trace(trace, scenario))
    if larger_than_memory(trace, scenario, together) if stream is None else stream:
        check_streams(scenario, trace)
        if spec.resample or spec.resamples:
            raise scenario.wrong(
                ("traffic", "resample" if spec.resample else "resamples"),
                f"{trace.packet_count:,} packets are more than this machine's memory holds, as resampling needs; "
                "take a part of it (traffic.only, or a shorter capture)",
            )
        return partial(StreamedRunner, survey(trace, scenario))
    flows = trace.flow_table()
    packets = trace.packet_table(RELEASE_COLUMNS if scenario.records else TRAFFIC_COLUMNS)
    if spec.resample:
        packets, flows = resampled(packets, flows, spec.resample, spec.block)
    traffic = prepare(packets, flows, scenario)
    releases = partial(schedule, packets, flows) if scenario.records else None
    return partial(HeldRunner, traffic, releases=releases)


def _writer(folder: Path, table: Table) -> pq.ParquetWriter:
    return pq.ParquetWriter(_file(folder, table), table.arrow_schema(), compression="zstd")


def _write_results(folder: Path, results: Sequence[CellResult]) -> None:
    _write_rows(folder, SUMMARY, [result.summary for result in results])
    _write(folder, SERIES, pa.concat_tables(result.series for result in results))
    _write_rows(folder, SIZES, [row for result in results for row in result.sizes])
    _write(folder, DISTRIBUTIONS, pa.concat_tables(result.distributions for result in results).combine_chunks())
    _write_rows(folder, LINKS, [row for result in results for row in result.links])
    _write_rows(folder, HOSTS, [row for result in results for row in result.hosts])


def _file(folder: Path, table: Table) -> Path:
    return folder / f"{table.name}.parquet"


def _write(folder: Path, table: Table, content: pa.Table) -> None:
    pq.write_table(content, _file(folder, table), compression="zstd")


def _write_rows(folder: Path, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    _write(folder, table, pa.Table.from_pylist(list(rows), schema=table.arrow_schema()))
