"""Forecasts: all cells of a scenario over one trace, on all cores, into one folder of tables."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analyzer import metrics
from analyzer.cells import CellPlan, plan_cells
from analyzer.document import forecast_document
from analyzer.engine import Cell, simulate
from analyzer.events import DROPPED, MARKED, RECEIVED, Fates, Packets
from analyzer.flowlets import profile, split_flowlets
from analyzer.parallel import in_order
from analyzer.releases import RELEASE_COLUMNS, Acknowledgements
from analyzer.scenario import Scenario
from analyzer.schema import (
    DISTRIBUTIONS,
    FLOW_FATES,
    PACKET_FATES,
    PROFILE,
    SERIES,
    SIZES,
    SUMMARY,
)
from analyzer.traffic import TRAFFIC_COLUMNS, Traffic, at_load, prepare
from traces.folders import new_folder
from traces.schema import Table
from traces.trace import Trace

PROFILE_TIMEOUTS_NS: Final = tuple(
    step * 10**power for power in range(4, 9) for step in (1, 2, 5) if (step, power) <= (5, 8)
)

# Rows of SERIES of a cell: bins of time, times paths.
_MOST_BINS: Final = 400
_FEWEST_BINS: Final = 8
_MOST_SERIES: Final = 400_000

Progress = Callable[[int, int], None]


def forecast(
    trace: Trace,
    scenario: Scenario,
    out: Path,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    finish: Callable[[Path], object] | None = None,
) -> dict[str, Any]:
    """Run the scenario over the trace and write the forecast folder `out`; returns the content of forecast.json.

    The result does not depend on `threads` (all cores unless given). `finish` is called with the complete folder before
    it gets its name, so that what it adds is there from the start. `progress` is called several times a second with the
    cells done and all cells; what it raises ends the forecast.
    Raises InputError for cells that cannot run, a trace with nothing to send, or an `out` that is not a forecast.
    """
    cells = plan_cells(scenario)
    scenario.fabric()  # refused before the trace is read, if it cannot be built
    inputs = [trace.folder, *(source.path for source in trace.sources)]
    with new_folder(out, marker="forecast.json", inputs=inputs) as folder:
        columns = RELEASE_COLUMNS if scenario.steering.ack == "recorded" else TRAFFIC_COLUMNS
        packets = trace.packet_table(columns)
        traffic = prepare(packets, trace.flow_table(), scenario)
        runner = CellRunner(traffic, scenario, folder, Acknowledgements(packets, trace.flow_table(), traffic, scenario))
        results: list[CellRows] = []
        series: list[pa.Table] = []
        cores = threads or len(os.sched_getaffinity(0))

        def tick() -> None:
            if progress is not None:
                progress(len(results), len(cells))

        flows = folder / f"{FLOW_FATES.name}.parquet"
        with pq.ParquetWriter(flows, FLOW_FATES.arrow_schema(), compression="zstd") as writer:
            for result, flow_table, series_table in in_order(runner.run, cells, cores, tick):
                results.append(result)
                series.append(series_table)
                writer.write_table(flow_table)
        profiles = list(in_order(runner.profile, runner.profile_timeouts(), cores, tick))
        _write(folder, PROFILE, pa.concat_tables(profiles))
        summary = [result.summary for result in results]
        _write_rows(folder, SUMMARY, summary)
        _write(folder, SERIES, pa.concat_tables(series))
        _write_rows(folder, SIZES, [row for result in results for row in result.sizes])
        _write_rows(folder, DISTRIBUTIONS, [row for result in results for row in result.distributions])
        (folder / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
        document = forecast_document(trace, scenario, traffic, summary)
        (folder / "forecast.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        if finish is not None:
            finish(folder)
    return document


@dataclass(frozen=True, slots=True)
class CellRows:
    """Rows of one cell for SUMMARY, SIZES and DISTRIBUTIONS."""

    summary: dict[str, Any]
    sizes: list[dict[str, Any]]
    distributions: list[dict[str, Any]]


class CellRunner:
    """Runs cells over shared traffic; safe to call from several threads."""

    def __init__(
        self, traffic: Traffic, scenario: Scenario, folder: Path, acknowledgements: Acknowledgements | None = None
    ) -> None:
        self._network = traffic.network
        self._traffic = traffic
        self._scenario = scenario
        self._folder = folder
        self._acknowledgements = acknowledgements
        plan = traffic.plan
        self._ends = None
        if plan.uplink is not None and plan.downlink is not None:
            self._ends = np.stack((plan.uplink, plan.downlink), axis=1)
        self._packets = {load: at_load(traffic.packets, load) for load in scenario.loads}
        self._flows = len(np.unique(traffic.packets.flow))

    def run(self, plan: CellPlan) -> tuple[CellRows, pa.Table, pa.Table]:
        """Rows of one cell, and its tables FLOW_FATES and SERIES; writes its packets if they are kept."""
        packets = self._packets[plan.load]
        policy, timeout = plan.policy.policy, plan.timeout
        cell = Cell(
            self._network,
            policy,
            self._traffic.plan,
            self._scenario.steering.steering(),
            timeout_ns=None if timeout is None else timeout.timeout_ns,
            seed=plan.seed,
            parameters=plan.policy.built(),
            detector=None if timeout is None else timeout.detector,
            detector_parameters=None if timeout is None else timeout.built(),
        )
        releases = None
        if cell.schedules_releases and self._acknowledgements is not None:
            releases = self._acknowledgements.releases(plan.load)
        fates = simulate(cell, packets, releases=releases)
        flows, extents = metrics.flow_fates(self._network, packets, fates, self._traffic.plan.group, self._ends)
        load = metrics.path_load(
            self._network,
            packets,
            fates,
            steered=policy.steered,
            interval_ns=self._scenario.interval,
            most_bins=max(_FEWEST_BINS, min(_MOST_BINS, _MOST_SERIES // len(self._network.paths))),
        )
        imbalance, jain = metrics.balance(load)
        columns = plan.columns()
        summary = {
            **columns,
            **metrics.packet_summary(packets, fates),
            **metrics.flow_summary(flows, extents),
            "imbalance": imbalance,
            "jain": jain,
            **self._utilisation(cell, packets, fates),
        }
        if plan.keep_packets:
            self._write_packets(plan, packets, fates)
        delay_ns, queue_ns = metrics.received_values(packets, fates)
        values = {
            "delay_ns": delay_ns,
            "queue_ns": queue_ns,
            "fct_ns": flows.fct_ns[flows.fct_ns >= 0],
            "slowdown": metrics.slowdowns(flows),
        }
        distributions = [
            {**columns, "metric": metric, "quantile": quantile, "value": value}
            for metric, of in values.items()
            for quantile, value in metrics.distribution(of)
        ]
        sizes = [{**columns, **row} for row in metrics.size_rows(flows)]
        series = self._series(plan, load)
        return CellRows(summary, sizes, distributions), _flow_table(plan, flows), series

    def _utilisation(self, cell: Cell, packets: Packets, fates: Fates) -> dict[str, float | None]:
        span_ns = int(fates.receive_ns.max()) - int(packets.send_ns[0])
        if span_ns <= 0:
            return {"utilisation_mean": None, "utilisation_max": None}
        # Over the rate that a link was built with, whatever happened to it.
        rate_bps = np.array([link.rate_bps for link in self._network.links], np.float64)
        share = cell.state.links["carried_bytes"] * 8e9 / (rate_bps * span_ns)
        return {"utilisation_mean": float(share.mean()), "utilisation_max": float(share.max())}

    def _write_packets(self, plan: CellPlan, packets: Packets, fates: Fates) -> None:
        traffic = self._traffic
        received = (fates.state & RECEIVED) > 0
        columns = {
            "file": traffic.file,
            "frame_number": traffic.frame_number,
            "flow_id": traffic.packets.flow,
            "flowlet_id": fates.flowlet,
            "path_id": fates.path,
            "send_ns": packets.send_ns,
            "receive_ns": pa.array(fates.receive_ns, mask=~received),
            "queue_ns": fates.queue_ns,
            "ecn_marked": (fates.state & MARKED) > 0,
            "dropped": (fates.state & DROPPED) > 0,
        }
        (self._folder / "packets").mkdir(exist_ok=True)
        pq.write_table(
            pa.table(columns, schema=PACKET_FATES.arrow_schema()),
            self._folder / "packets" / f"{plan.name}.parquet",
            use_dictionary=False,
            column_encoding={"send_ns": "DELTA_BINARY_PACKED", "frame_number": "DELTA_BINARY_PACKED"},
            compression="zstd",
        )

    def _series(self, plan: CellPlan, load: metrics.PathLoad) -> pa.Table:
        """Path load over time, for the first seed of each policy and timeout."""
        if not plan.keep_series:
            return SERIES.arrow_schema().empty_table()
        bins, paths = load.bytes.shape
        group = np.array([path.group for path in self._network.paths], np.uint16)
        return _cell_table(
            plan,
            SERIES,
            bins * paths,
            {
                "group": np.tile(group, bins),
                "path_id": np.tile(np.arange(paths, dtype=np.uint16), bins),
                "start_ns": np.repeat(np.arange(bins) * load.bin_ns, paths),
                "interval_ns": np.full(bins * paths, load.bin_ns),
                "bytes": load.bytes.ravel(),
                "dropped": load.dropped.ravel(),
            },
        )

    def profile_timeouts(self) -> list[int]:
        """The timeouts of the flowlet profile: a ladder, and those of the scenario."""
        return sorted({*PROFILE_TIMEOUTS_NS, *self._scenario.fixed_timeouts_ns})

    def profile(self, timeout_ns: int) -> pa.Table:
        """The flowlets of the traffic at one timeout: a row of PROFILE."""
        packets = self._traffic.packets
        closed = split_flowlets(
            packets.flow, packets.send_ns, packets.ip_bytes, len(self._traffic.plan.keys), [timeout_ns]
        )
        return profile(closed, [timeout_ns], self._flows)


def _cell_table(plan: CellPlan, table: Table, count: int, columns: dict[str, Any]) -> pa.Table:
    """A table whose rows all belong to one cell."""
    schema = table.arrow_schema()
    shared = {name: pa.repeat(pa.scalar(v, schema.field(name).type), count) for name, v in plan.columns().items()}
    arrays = shared | {name: pa.array(v).cast(schema.field(name).type) for name, v in columns.items()}
    return pa.table(arrays, schema=schema)


def _flow_table(plan: CellPlan, flows: metrics.FlowFates) -> pa.Table:
    sent = np.flatnonzero(flows.packets > 0)

    def of(values: NDArray[np.int64]) -> NDArray[np.int64]:
        return values[sent]

    done = of(flows.fct_ns) >= 0
    slowdown = np.zeros(len(sent))
    slowdown[done] = metrics.slowdowns(flows)
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
