"""Forecasts: all cells of a scenario over one trace, on all cores, into one folder of tables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import call
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.flowlets.split import StreamedProfile, profile, split_flowlets
from segcast.analyzer.forecast.cells import CellPlan, plan_cells
from segcast.analyzer.forecast.writing import forecast_document
from segcast.analyzer.metrics import path_load
from segcast.analyzer.metrics import rows as cell_rows
from segcast.analyzer.metrics.accumulator import Accumulator, FlowFates, watched_hosts
from segcast.analyzer.parallel import in_order
from segcast.analyzer.scenario.model import Scenario
from segcast.analyzer.schema import (
    DISTRIBUTIONS,
    FLOW_FATES,
    HOSTS,
    LINKS,
    PROFILE,
    SERIES,
    SIZES,
    SUMMARY,
)
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, Traffic, at_load, prepare
from segcast.analyzer.traffic.recorded_acks import RELEASE_COLUMNS, Schedule, schedule
from segcast.analyzer.traffic.streamed import PACKETS_WRITTEN, Running, StreamedTraffic, packet_table, survey
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.schema import Table
from segcast.traces.trace import Trace

PROFILE_TIMEOUTS_NS: Final = tuple(
    step * 10**power for power in range(4, 9) for step in (1, 2, 5) if (step, power) <= (5, 8)
)

# Memory: a packet in the traffic and while it is made, its time at a load, its fate in a cell; a cell, and its flow.
_TRAFFIC_BYTES: Final = 90
_LOAD_BYTES: Final = 8
_FATE_BYTES: Final = 25
_CELL_BYTES: Final = 1 << 26
_FLOW_BYTES: Final = 400

Progress = Callable[[int, int], None]


def forecast(
    trace: Trace,
    scenario: Scenario,
    out: Path,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    stream: bool | None = None,
    finish: Callable[[Path], object] | None = None,
) -> dict[str, Any]:
    """Run the scenario over the trace and write the forecast folder `out`; returns the content of forecast.json.

    The result does not depend on `threads` (all cores unless given), nor on `stream`: whether the trace is read batch
    by batch, once for each group of cells that advance together, or held in memory (by its size, unless given).
    `finish` is called with the complete folder before it gets its name, so that what it adds is there from the start.
    `progress` is called several times a second with the cells done and all cells; what it raises ends the forecast.
    Raises InputError for cells that cannot run, a trace with nothing to send, or an `out` that is not a forecast.
    """
    cells = plan_cells(scenario)
    scenario.fabric()  # refused before the trace is read, if it cannot be built
    inputs = [trace.folder, *(source.path for source in trace.sources)]
    with new_folder(out, marker="forecast.json", inputs=inputs) as folder:
        cores = threads or len(os.sched_getaffinity(0))
        streamed = None
        if stream if stream is not None else _larger_than_memory(trace, scenario, min(len(cells), cores)):
            streamed = survey(trace, scenario)
            runner = CellRunner(streamed.outline, scenario, folder, flow_bytes=streamed.flow_bytes)
            extent = streamed.extent
        else:
            runner = _in_memory(trace, scenario, folder)
            extent = runner.traffic.extent
        results: list[CellRows] = []
        series: list[pa.Table] = []

        def tick() -> None:
            if progress is not None:
                progress(len(results), len(cells))

        flows = folder / f"{FLOW_FATES.name}.parquet"
        with pq.ParquetWriter(flows, FLOW_FATES.arrow_schema(), compression="zstd") as writer:
            done = (
                in_order(runner.run, cells, cores, tick)
                if streamed is None
                else runner.run_together(cells, streamed, cores, tick)
            )
            for result, flow_table, series_table in done:
                results.append(result)
                series.append(series_table)
                writer.write_table(flow_table)
        if streamed is None:
            profiles = list(in_order(runner.profile, runner.profile_timeouts(), cores, tick))
        else:
            profiles = [runner.profile_together(streamed)]
        _write(folder, PROFILE, pa.concat_tables(profiles))
        summary = [result.summary for result in results]
        _write_rows(folder, SUMMARY, summary)
        _write(folder, SERIES, pa.concat_tables(series))
        _write_rows(folder, SIZES, [row for result in results for row in result.sizes])
        _write_rows(folder, DISTRIBUTIONS, [row for result in results for row in result.distributions])
        _write_rows(folder, LINKS, [row for result in results for row in result.links])
        _write_rows(folder, HOSTS, [row for result in results for row in result.hosts])
        (folder / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
        document = forecast_document(trace, scenario, runner.traffic, extent, summary)
        (folder / "forecast.json").write_text(json_text(document), encoding="utf-8")
        if finish is not None:
            finish(folder)
    return document.as_dict()


def _larger_than_memory(trace: Trace, scenario: Scenario, cells: int) -> bool:
    """Whether a trace, with so many cells at a time, would take more than a quarter of this machine's memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    packet_bytes = _TRAFFIC_BYTES + len(scenario.loads) * _LOAD_BYTES + cells * _FATE_BYTES
    return trace.packet_count * packet_bytes > memory // 4


def _in_memory(trace: Trace, scenario: Scenario, folder: Path) -> CellRunner:
    flows = trace.flow_table()
    packets = trace.packet_table(RELEASE_COLUMNS if scenario.records else TRAFFIC_COLUMNS)
    traffic = prepare(packets, flows, scenario)
    releases = schedule(packets, flows, traffic) if scenario.records else None
    return CellRunner(traffic, scenario, folder, releases=releases)


@dataclass(frozen=True, slots=True)
class CellRows:
    """Rows of one cell for SUMMARY, SIZES, DISTRIBUTIONS, LINKS and HOSTS."""

    summary: dict[str, Any]
    sizes: list[dict[str, Any]]
    distributions: list[dict[str, Any]]
    links: list[dict[str, Any]]
    hosts: list[dict[str, Any]]


class CellRunner:
    """Runs cells over shared traffic; safe to call from several threads."""

    def __init__(
        self,
        traffic: Traffic,
        scenario: Scenario,
        folder: Path,
        *,
        releases: Schedule | None = None,
        flow_bytes: NDArray[np.int64] | None = None,
    ) -> None:
        """`releases` if any acknowledgements are recorded; `flow_bytes` int64[flows] if not all packets are there."""
        self.traffic = traffic
        self._network = traffic.network
        self._scenario = scenario
        self._folder = folder
        self._releases = releases
        self._flows, self._first_ns = traffic.extent.flows, traffic.extent.first_ns
        self._packets = {load: at_load(traffic.packets, load, self._first_ns) for load in scenario.loads}
        self._hosts = watched_hosts(traffic.plan, traffic.flow_bytes if flow_bytes is None else flow_bytes)

    def run(self, plan: CellPlan) -> tuple[CellRows, pa.Table, pa.Table]:
        """Rows of one cell, and its tables FLOW_FATES and SERIES; writes its packets if they are kept."""
        packets, traffic = self._packets[plan.load], self.traffic
        cell, counted = self._cell(plan), self._metrics(plan)
        releases = None
        if cell.schedules_releases and self._releases is not None:
            releases = self._releases(packets, self._scenario.steering_of(plan.policy), plan.seed)
        fates = simulate(cell, packets, releases=releases)
        counted.add(packets, fates)
        if plan.keep_packets:
            (self._folder / "packets").mkdir(exist_ok=True)
            table = packet_table(packets, fates, traffic.file, traffic.frame_number)
            pq.write_table(table, self._packets_file(plan), **PACKETS_WRITTEN)
        return self._rows(plan, counted, cell)

    def run_together(
        self, plans: Sequence[CellPlan], traffic: StreamedTraffic, threads: int, tick: Callable[[], object]
    ) -> Iterator[tuple[CellRows, pa.Table, pa.Table]]:
        """As `run` for each of the cells, which advance batch by batch, as many together as memory allows."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
        together = max(threads, memory // (_CELL_BYTES + len(self.traffic.plan.keys) * _FLOW_BYTES))
        (self._folder / "packets").mkdir(exist_ok=True)
        for begin in range(0, len(plans), together):
            group = []
            for plan in plans[begin : begin + together]:
                file = self._packets_file(plan) if plan.keep_packets else None
                group.append((Running(self._cell(plan), self._metrics(plan), file), plan))
            for piece in traffic.pieces():
                pieces = {load: piece.at_load(load, self._first_ns) for load in self._scenario.loads}
                feeds = [partial(running.feed, pieces[plan.load]) for running, plan in group]
                for _ in in_order(call, feeds, threads, tick):
                    pass
            for _ in in_order(Running.drain, [running for running, _ in group], threads, tick):
                pass
            for running, plan in group:
                yield self._rows(plan, running.metrics, running.window.cell)
        with contextlib.suppress(OSError):
            (self._folder / "packets").rmdir()  # unless something was kept

    def _packets_file(self, plan: CellPlan) -> Path:
        return self._folder / "packets" / f"{plan.name}.parquet"

    def _metrics(self, plan: CellPlan) -> Accumulator:
        return Accumulator(
            self._network,
            self.traffic.plan,
            steered=plan.policy.policy.steered,
            interval_ns=self._scenario.interval,
            hosts=self._hosts,
        )

    def _cell(self, plan: CellPlan) -> Cell:
        timeout = plan.timeout
        return Cell(
            self._network,
            plan.policy.policy,
            self.traffic.plan,
            self._scenario.steering_of(plan.policy).steering(),
            timeout_ns=None if timeout is None else timeout.timeout_ns,
            seed=plan.seed,
            parameters=plan.policy.built(),
            detector=None if timeout is None else timeout.detector,
            detector_parameters=None if timeout is None else timeout.built(),
        )

    def _rows(self, plan: CellPlan, counted: Accumulator, cell: Cell) -> tuple[CellRows, pa.Table, pa.Table]:
        flows = counted.finish()
        columns = plan.columns()
        links = cell_rows.link_rows(counted, cell.state.links)
        summary = {
            **columns,
            **cell_rows.packet_summary(counted),
            **cell_rows.flow_summary(counted, flows),
            **cell_rows.utilisation(links),
        }

        def of_cell(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [{**columns, **row} for row in rows]

        rows = CellRows(
            summary,
            of_cell(cell_rows.size_rows(flows)),
            of_cell(cell_rows.distribution_rows(counted, flows)),
            of_cell(links),
            of_cell(cell_rows.host_rows(counted, self.traffic.hosts)),
        )
        return rows, _flow_table(plan, flows), self._series(plan, counted.counts.load)

    def _series(self, plan: CellPlan, over_time: path_load.Load) -> pa.Table:
        """Path load over time, for the first seed of each policy and timeout."""
        if not plan.keep_series:
            return SERIES.arrow_schema().empty_table()
        bins, paths = path_load.bins_used(over_time), len(self._network.paths)
        bin_ns = path_load.bin_ns(over_time)
        group = np.array([path.group for path in self._network.paths], np.uint16)
        return _cell_table(
            plan,
            SERIES,
            bins * paths,
            {
                "group": np.tile(group, bins),
                "path_id": np.tile(np.arange(paths, dtype=np.uint16), bins),
                "start_ns": np.repeat(np.arange(bins) * bin_ns, paths),
                "interval_ns": np.full(bins * paths, bin_ns),
                "bytes": over_time.bytes[:bins].ravel(),
                "dropped": over_time.dropped[:bins].ravel(),
            },
        )

    def profile_timeouts(self) -> list[int]:
        """The timeouts of the flowlet profile: a ladder, and those of the scenario."""
        return sorted({*PROFILE_TIMEOUTS_NS, *self._scenario.fixed_timeouts_ns})

    def profile_together(self, traffic: StreamedTraffic) -> pa.Table:
        """All rows of PROFILE, in one pass."""
        whole = StreamedProfile(len(self.traffic.plan.keys), self.profile_timeouts())
        for piece in traffic.pieces():
            whole.add(piece.packets.flow, piece.packets.send_ns, piece.packets.ip_bytes)
        return whole.finish()

    def profile(self, timeout_ns: int) -> pa.Table:
        """The flowlets of the traffic at one timeout: a row of PROFILE."""
        packets = self.traffic.packets
        closed = split_flowlets(
            packets.flow, packets.send_ns, packets.ip_bytes, len(self.traffic.plan.keys), [timeout_ns]
        )
        return profile(closed, [timeout_ns], self._flows)


def _cell_table(plan: CellPlan, table: Table, count: int, columns: dict[str, Any]) -> pa.Table:
    """A table whose rows all belong to one cell."""
    schema = table.arrow_schema()
    shared = {name: pa.repeat(pa.scalar(v, schema.field(name).type), count) for name, v in plan.columns().items()}
    arrays = shared | {name: pa.array(v).cast(schema.field(name).type) for name, v in columns.items()}
    return pa.table(arrays, schema=schema)


def _flow_table(plan: CellPlan, flows: FlowFates) -> pa.Table:
    sent = np.flatnonzero(flows.packets > 0)

    def of(values: NDArray[np.int64]) -> NDArray[np.int64]:
        return values[sent]

    done = of(flows.fct_ns) >= 0
    slowdown = np.zeros(len(sent))
    slowdown[done] = cell_rows.slowdowns(flows)
    return _cell_table(
        plan,
        FLOW_FATES,
        len(sent),
        {
            "flow_id": sent,
            "bytes": of(flows.bytes),
            "packets": of(flows.packets),
            "delivered": of(flows.delivered),
            "fct_ns": pa.array(of(flows.fct_ns), mask=~done),
            "slowdown": pa.array(slowdown, mask=~done),
            "reordered": of(flows.reordered),
            "flowlets": of(flows.flowlets),
            "path_changes": of(flows.path_changes),
        },
    )


def _write(folder: Path, table: Table, content: pa.Table) -> None:
    pq.write_table(content, folder / f"{table.name}.parquet", compression="zstd")


def _write_rows(folder: Path, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    _write(folder, table, pa.Table.from_pylist(list(rows), schema=table.arrow_schema()))
