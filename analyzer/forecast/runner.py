"""Runs the cells of a forecast over one traffic: held in memory, or streamed from the trace."""

from __future__ import annotations

import functools
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from operator import call
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segcast.analyzer.engine.cell import Cell, simulate
from segcast.analyzer.flowlets.split import StreamedProfile, profile, split_flowlets
from segcast.analyzer.forecast.asked import Asked
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.resuming.keeping import Keeping
from segcast.analyzer.forecast.resuming.saved import Resumable
from segcast.analyzer.forecast.running import PACKETS_WRITTEN, Running, packet_table
from segcast.analyzer.metrics import rows as cell_rows
from segcast.analyzer.metrics.accumulator import Accumulator, watched_hosts
from segcast.analyzer.metrics.families.delays import DelayFamily
from segcast.analyzer.metrics.families.path_load import PathLoad, PathLoadFamily, bin_ns, bins_used
from segcast.analyzer.metrics.families.registry import FAMILIES
from segcast.analyzer.metrics.family import Ending, Family, FlowColumns
from segcast.analyzer.metrics.tables import FLOW_FATES
from segcast.analyzer.metrics.unloaded import unloaded_times
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import Fates, Packets, Releases, empty_fates
from segcast.analyzer.parallel import in_order
from segcast.analyzer.scenario.growth import Offered
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.schema import DISTRIBUTIONS, SERIES
from segcast.analyzer.statistics.pooled import Sample, sample_of_histogram
from segcast.analyzer.statistics.pools import no_samples, sample_table
from segcast.analyzer.statistics.tails import TAILS, condensed, packed
from segcast.analyzer.traffic.prepare import Extent, Traffic, at_load
from segcast.analyzer.traffic.recorded_acks import Schedule
from segcast.analyzer.traffic.streamed import StreamedTraffic
from segcast.traces.schema import Table

PROFILE_TIMEOUTS_NS: Final = tuple(
    step * 10**power for power in range(4, 9) for step in (1, 2, 5) if (step, power) <= (5, 8)
)

# Memory of a cell that advances with others, and of each of its flows.
_CELL_BYTES: Final = 1 << 26
_FLOW_BYTES: Final = 400

_NO_HOSTS: Final = np.empty(0, np.int64)  # of them no summary speaks

Tick = Callable[[], object]


@dataclass(frozen=True, slots=True)
class CellResult:
    """What a cell gives to the tables: rows of SUMMARY (one), SIZES, LINKS and HOSTS, and its tables DISTRIBUTIONS,
    FLOW_FATES and SERIES. `samples` are its values that are pooled with those of other seeds, by metric.
    """

    summary: dict[str, Any]
    sizes: list[dict[str, Any]]
    links: list[dict[str, Any]]
    hosts: list[dict[str, Any]]
    distributions: pa.Table
    flows: pa.Table
    series: pa.Table
    samples: pa.Table
    messages: pa.Table | None = None
    profile: pa.Table | None = None

    def tables(self) -> dict[str, Any]:
        """Its parts by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def without_flows(self) -> CellResult:
        """This result without its flows, messages and samples, by far the largest part, once they are dealt with."""
        return replace(self, flows=FLOW_FATES.arrow_schema().empty_table(), messages=None, samples=no_samples())


class CellRunner(ABC):
    """Runs cells over shared traffic, and writes the packets of those that keep them into `folder`.

    With `only_summary` results have the row of the summary and nothing else; with `tails` the row has TAILS as well,
    what is needed of its values to pool them. `asked` is what senders that react are
    asked to send; None: all packets leave as captured. `families` are measured.
    What cells have done goes to `keeping`, if that is given.
    """

    asked: Asked | None = None
    keeping: Keeping | None = None
    only_summary = False
    tails = False
    families: Sequence[type[Family]] = FAMILIES

    def __init__(
        self, traffic: Traffic, extent: Extent, flow_bytes: NDArray[np.int64], scenario: ValidScenario, folder: Path
    ) -> None:
        """`traffic` settles where flows go; `extent` and `flow_bytes` int64[flows] say what they send."""
        self.traffic = traffic
        self.extent = extent
        self.flow_bytes = flow_bytes
        self._network = traffic.network
        self._scenario = scenario
        self.folder = folder
        self._hosts = watched_hosts(traffic.plan, flow_bytes)
        self._unloaded_ns: dict[Fraction, NDArray[np.int64]] = {}
        self._known: dict[str, Any] = {}

    @abstractmethod
    def results(self, plans: Sequence[CellPlan], threads: int, tick: Tick) -> Iterator[CellResult]:
        """Results of cells in their order, on so many threads; see `in_order` for `tick`."""

    @abstractmethod
    def profile(self, first: CellResult, threads: int, tick: Tick) -> pa.Table:
        """PROFILE: the flowlets of the traffic at a ladder of timeouts and those of the scenario.

        `first` is the result of the cell that is `profiled`.
        """

    @abstractmethod
    def sent(self, offered: Offered) -> Iterator[Packets]:
        """Packets that leave as captured, piece by piece in send order, of what the scenario offers."""

    def _new_packets_file(self, plan: CellPlan) -> Path | None:
        """Where the packets of a cell go; None if they are not kept."""
        if not plan.keep_packets:
            return None
        (self.folder / "packets").mkdir(exist_ok=True)
        return self.folder / "packets" / f"{plan.name}.parquet"

    def _kept(self, plan: CellPlan, result: CellResult) -> CellResult:
        """The result, which is kept in case that the forecast is interrupted."""
        if self.keeping is not None:
            self.keeping.ended(plan.name, result.tables(), self._new_packets_file(plan))
        return result

    def _resting(self, plan: CellPlan, *parts: Resumable) -> Callable[[], None]:
        """What is to be called between the pieces of a cell of these parts, which may go on from where it was."""
        return (lambda: None) if self.keeping is None else self.keeping.of(plan.name, *parts).rest

    def _metrics(self, plan: CellPlan) -> Accumulator:
        return Accumulator(
            self._network,
            self.traffic.plan,
            steered=plan.policy.policy.steered,
            interval_ns=self._scenario.interval,
            hosts=_NO_HOSTS if self.only_summary else self._hosts,
            unloaded_ns=self._unloaded_ns.get(plan.load),
            families=self.families,
            known=self._known,
        )

    def _cell(self, plan: CellPlan) -> Cell:
        return self._cell_on(plan, self._network)

    def _cell_on(self, plan: CellPlan, network: Network) -> Cell:
        """The cell on a network, which may be the runner's own with other changes."""
        steering = self._scenario.steering_of(plan.policy).steering()
        chosen = self._chosen(plan)
        return Cell(network, plan.policy.policy, self.traffic.plan, steering, ties=self._scenario.ties, **chosen)

    def _chosen(self, plan: CellPlan) -> dict[str, Any]:
        """What a cell is told of its timeout, its seed and their parameters."""
        timeout = plan.timeout
        return {
            "timeout_ns": None if timeout is None else timeout.timeout_ns,
            "seed": plan.seed,
            "parameters": plan.policy.built(),
            "detector": None if timeout is None else timeout.detector,
            "detector_parameters": None if timeout is None else timeout.built(),
        }

    def _result(self, plan: CellPlan, counted: Accumulator, cell: Cell) -> CellResult:
        flows = counted.finish()
        return self._rows(plan, counted, counted.ending(flows, cell.state.links), flows, flows)

    def _rows(
        self, plan: CellPlan, counted: Accumulator, ending: Ending, flows: FlowColumns, completions: FlowColumns
    ) -> CellResult:
        """Rows of a cell that has ended; `completions` are `bytes`, `fct_ns` and `slowdown` of what is completed."""
        columns = plan.columns()
        summary = {**columns, **plan.growth(), **counted.summary(ending)}
        if self.only_summary:
            return _summarised(summary | self._tails(delay_ns=self._delays(counted)))

        def of_cell(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [{**columns, **row} for row in rows]

        return CellResult(
            summary,
            of_cell(cell_rows.size_rows(completions)),
            of_cell(cell_rows.link_rows(counted, ending)),
            of_cell(cell_rows.host_rows(counted, self.traffic.hosts)),
            _distributions(plan, cell_rows.distribution_columns(counted, completions)),
            _flow_table(plan, flows),
            self._series(plan, counted.family(PathLoadFamily).counts),
            sample_table(delay_ns=self._delays(counted)),
        )

    @staticmethod
    def _delays(counted: Accumulator) -> Sample:
        return sample_of_histogram(counted.family(DelayFamily).counts.delays)

    def _tails(self, **samples: Sample) -> dict[str, Any]:
        """Samples as a row of the summary has them, if it is to."""
        return {TAILS: {metric: packed(condensed(one)) for metric, one in samples.items()}} if self.tails else {}

    def _series(self, plan: CellPlan, over_time: PathLoad) -> pa.Table:
        """Path load over time, for the first seed of each policy and timeout."""
        if not plan.keep_series:
            return SERIES.arrow_schema().empty_table()
        bins, paths = bins_used(over_time), len(self._network.paths)
        length_ns = bin_ns(over_time)
        group = np.array([path.group for path in self._network.paths], np.uint16)
        return _cell_table(
            plan,
            SERIES,
            bins * paths,
            {
                "group": np.tile(group, bins),
                "path_id": np.tile(np.arange(paths, dtype=np.uint16), bins),
                "start_ns": np.repeat(np.arange(bins) * length_ns, paths),
                "interval_ns": np.full(bins * paths, length_ns),
                "bytes": over_time.bytes[:bins].ravel(),
                "dropped": over_time.dropped[:bins].ravel(),
            },
        )

    def _profile_timeouts(self) -> list[int]:
        return sorted({*PROFILE_TIMEOUTS_NS, *self._scenario.fixed_timeouts_ns})


class HeldRunner(CellRunner):
    """Runs cells over traffic held in memory, each on its own; `run` may be called from several threads."""

    def __init__(
        self,
        traffic: Traffic,
        scenario: ValidScenario,
        folder: Path,
        releases: Callable[[Traffic], Schedule] | None = None,
    ) -> None:
        """`releases` if any acknowledgements are recorded. Raises InputError for a load out of range."""
        super().__init__(traffic, traffic.extent, traffic.flow_bytes, scenario, folder)
        self._of_thread = threading.local()
        self._grown = {one.flows: traffic.at_growth(one.flows) for one in scenario.offered}
        self._releases = {factor: releases(grown) for factor, grown in self._grown.items()} if releases else {}
        self._packets = {
            one.load: at_load(self._grown[one.flows].packets, one.rate, self.extent.first_ns)
            for one in scenario.offered
        }

    def results(self, plans: Sequence[CellPlan], threads: int, tick: Tick) -> Iterator[CellResult]:
        """Results of cells in their order."""
        # Alone in the network a flow meets no policy, timeout or seed: once for each load.
        if not plans:
            return
        if not self._unloaded_ns:
            alone = functools.partial(unloaded_times, self._network, self.traffic.plan)
            times = in_order(alone, self._packets.values(), threads, tick)
            self._unloaded_ns = dict(zip(self._packets, times, strict=True))
        yield from in_order(self.run, plans, threads, tick)

    def run(self, plan: CellPlan) -> CellResult:
        """The result of one cell; writes its packets if they are kept."""
        packets, traffic = self._packets[plan.load], self._grown[plan.offered.flows]
        cell, counted = self._cell(plan), self._metrics(plan)
        fates = simulate(cell, packets, releases=self._released(plan, cell), room=self._room(len(packets.flow)))
        counted.add(packets, fates)
        if (file := self._new_packets_file(plan)) is not None:
            table = packet_table(packets, fates, traffic.file, traffic.frame_number)
            pq.write_table(table, file, **PACKETS_WRITTEN)
        return self._kept(plan, self._result(plan, counted, cell))

    def sent(self, offered: Offered) -> Iterator[Packets]:
        """All packets, in one piece."""
        yield self._packets[offered.load]

    def _released(self, plan: CellPlan, cell: Cell) -> Releases | None:
        """When bytes leave the count in a cell, where the trace says so; else None."""
        if not cell.schedules_releases or not self._releases:
            return None
        schedule = self._releases[plan.offered.flows]
        return schedule(self._packets[plan.load], self._scenario.steering_of(plan.policy), plan.seed)

    def _room(self, count: int) -> Fates:
        """Room for fates that cells of one thread use in turn: fresh memory costs a page fault every 160 packets."""
        try:
            room: Fates = self._of_thread.room
        except AttributeError:
            room = self._of_thread.room = empty_fates(max(len(packets.flow) for packets in self._packets.values()))
        return Fates._make(column[:count] for column in room)

    def profile(self, first: CellResult, threads: int, tick: Tick) -> pa.Table:
        """PROFILE, a timeout at a time."""
        return pa.concat_tables(in_order(self._profile, self._profile_timeouts(), threads, tick))

    def _profile(self, timeout_ns: int) -> pa.Table:
        packets, flows = self.traffic.packets, len(self.traffic.plan.keys)
        closed = split_flowlets(packets.flow, packets.send_ns, packets.ip_bytes, flows, [timeout_ns])
        return profile(closed, [timeout_ns], self.extent.flows)


class StreamedRunner(CellRunner):
    """Runs cells over traffic that is read from the trace, once for each group of cells that advance together."""

    def __init__(self, traffic: StreamedTraffic, scenario: ValidScenario, folder: Path) -> None:
        """Prepare to read the trace; reading begins with the first cell."""
        super().__init__(traffic.outline, traffic.extent, traffic.flow_bytes, scenario, folder)
        self._streamed = traffic

    def results(self, plans: Sequence[CellPlan], threads: int, tick: Tick) -> Iterator[CellResult]:
        """Results of cells in their order; as many cells advance together, batch by batch, as memory allows."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4
        together = max(threads, memory // (_CELL_BYTES + len(self.traffic.plan.keys) * _FLOW_BYTES))
        for begin in range(0, len(plans), together):
            group = [
                (Running(self._cell(plan), self._metrics(plan), self._new_packets_file(plan)), plan)
                for plan in plans[begin : begin + together]
            ]
            for piece in self._streamed.pieces():
                pieces = {
                    one.load: piece.at_growth(one.flows, self.traffic.growth).at_load(one.rate, self.extent.first_ns)
                    for one in self._scenario.offered
                }
                feeds = [functools.partial(running.feed, pieces[plan.load]) for running, plan in group]
                for _ in in_order(call, feeds, threads, tick):
                    pass
            for _ in in_order(Running.drain, [running for running, _ in group], threads, tick):
                pass
            for running, plan in group:
                yield self._kept(plan, self._result(plan, running.metrics, running.window.cell))

    def sent(self, offered: Offered) -> Iterator[Packets]:
        """All packets, as they are read."""
        for piece in self._streamed.pieces():
            grown = piece.at_growth(offered.flows, self.traffic.growth)
            yield grown.at_load(offered.rate, self.extent.first_ns).packets

    def profile(self, first: CellResult, threads: int, tick: Tick) -> pa.Table:
        """PROFILE, all timeouts in one pass."""
        whole = StreamedProfile(len(self.traffic.plan.keys), self._profile_timeouts())
        for piece in self._streamed.pieces():
            whole.add(piece.packets.flow, piece.packets.send_ns, piece.packets.ip_bytes)
        return whole.finish()


def _summarised(summary: dict[str, Any]) -> CellResult:
    """The result of a cell of which only the row of the summary is wanted."""
    return CellResult(summary, [], [], [], *_no_tables())


@functools.cache
def _no_tables() -> tuple[pa.Table, ...]:
    """Empty DISTRIBUTIONS, FLOW_FATES and SERIES, and no samples."""
    return *(table.arrow_schema().empty_table() for table in (DISTRIBUTIONS, FLOW_FATES, SERIES)), no_samples()


def _cell_table(plan: CellPlan, table: Table, count: int, columns: dict[str, Any]) -> pa.Table:
    """A table whose rows all belong to one cell."""
    schema = table.arrow_schema()
    shared = {name: pa.repeat(pa.scalar(v, schema.field(name).type), count) for name, v in plan.columns().items()}
    arrays = shared | {name: pa.array(v).cast(schema.field(name).type) for name, v in columns.items()}
    return pa.table(arrays, schema=schema)


def _distributions(plan: CellPlan, columns: dict[str, NDArray[Any]]) -> pa.Table:
    """DISTRIBUTIONS of one cell."""
    return _cell_table(plan, DISTRIBUTIONS, len(columns["value"]), columns)


def _flow_table(plan: CellPlan, flows: FlowColumns) -> pa.Table:
    """FLOW_FATES of the flows that sent anything."""
    sent = np.flatnonzero(flows["packets"] > 0)
    columns: dict[str, Any] = {"flow_id": sent}
    for column in FLOW_FATES.columns:
        if column.name in flows:
            values = flows[column.name][sent]
            columns[column.name] = pa.array(values, mask=values < 0) if column.nullable else values
    return _cell_table(plan, FLOW_FATES, len(sent), columns)
