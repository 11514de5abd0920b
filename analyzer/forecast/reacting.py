"""Runs the cells of a forecast whose senders react: a workload over a network (docs/transport.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from segcast.analyzer.engine.transport.cell import Messages, Piece, TransportCell
from segcast.analyzer.flowlets.split import StreamedProfile
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.runner import CellResult, CellRunner, Tick
from segcast.analyzer.forecast.running import PACKETS_WRITTEN
from segcast.analyzer.metrics.accumulator import Accumulator
from segcast.analyzer.metrics.families.registry import FAMILIES
from segcast.analyzer.metrics.families.slowdown import SlowdownFamily
from segcast.analyzer.metrics.messages import MessageColumns, least_ns
from segcast.analyzer.packets import DROPPED, MARKED, RECEIVED, Packets
from segcast.analyzer.parallel import in_order
from segcast.analyzer.scenario.transport import TransportSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.schema import SENT_PACKETS
from segcast.analyzer.traffic.prepare import Extent, Traffic, scaled_ns
from segcast.analyzer.traffic.selection import Selection
from segcast.analyzer.workload.attach import AttachedWorkload, attach
from segcast.analyzer.workload.source import WorkloadFile

_FAMILIES: Final = tuple(family for family in FAMILIES if family is not SlowdownFamily)
KINDS: Final = ("data", "ack", "syn", "syn-ack", "recorded")
_DATA: Final = 0


class ReactingRunner(CellRunner):
    """Runs cells over a workload, each on its own; `run` may be called from several threads."""

    def __init__(self, source: WorkloadFile, scenario: ValidScenario, folder: Path) -> None:
        """Put the workload on the network. Raises InputError if it does not fit."""
        attached = attach(source.workload, scenario)
        super().__init__(_traffic(attached), _extent(attached), _flow_bytes(attached), scenario, folder)
        self._spec = scenario.transport or TransportSpec()
        self._attached = attached
        transport = self._spec.transport()
        opens = np.zeros(len(attached.workload), np.bool_)
        opens[np.unique(attached.connection, return_index=True)[1]] = True
        self._least_ns = least_ns(
            attached.network, attached.plan, transport, attached.flow_of_row, attached.workload.bytes, opens
        )
        self._messages = {load: self._at_load(load) for load in scenario.loads}
        self._profile = StreamedProfile(len(attached.plan.keys), self._profile_timeouts())
        self._profiled: CellPlan | None = None

    def results(self, plans: Sequence[CellPlan], threads: int, tick: Tick) -> Iterator[CellResult]:
        """Results of cells in their order."""
        self._profiled = plans[0]
        yield from in_order(self.run, plans, threads, tick)

    def run(self, plan: CellPlan) -> CellResult:
        """The result of one cell; writes its packets if they are kept."""
        attached, timeout = self._attached, plan.timeout
        cell = TransportCell(
            self._network,
            plan.policy.policy,
            attached.plan,
            self._scenario.steering_of(plan.policy).steering(),
            self._spec.transport(),
            self._messages[plan.load],
            pin=attached.pin,
            timeout_ns=None if timeout is None else timeout.timeout_ns,
            seed=plan.seed,
            parameters=plan.policy.built(),
            detector=None if timeout is None else timeout.detector,
            detector_parameters=None if timeout is None else timeout.built(),
        )
        counted = self._metrics(plan)
        writer = None
        if plan.keep_packets:
            (self._folder / "packets").mkdir(exist_ok=True)
            writer = pq.ParquetWriter(self._packets_file(plan), SENT_PACKETS.arrow_schema(), **PACKETS_WRITTEN)
        for piece in cell.pieces():
            counted.add(piece.packets, piece.fates)
            if plan is self._profiled:
                data = piece.headers.headers["kind"] == _DATA
                self._profile.add(
                    *(column[data] for column in (piece.packets.flow, piece.packets.send_ns, piece.packets.ip_bytes))
                )
            if writer is not None:
                writer.write_table(sent_table(piece))
        if writer is not None:
            writer.close()
        messages = MessageColumns(cell, self._least_ns)
        flows = counted.finish() | messages.flow_columns()
        ending = counted.ending(flows, cell.state.links)
        result = self._rows(plan, counted, ending, flows, messages.completions())
        summary = result.summary | messages.summary(ending.window_ns)
        return replace(result, summary=summary, messages=messages.table(plan.columns(), attached.workload.flow))

    def profile(self, threads: int, tick: Tick) -> pa.Table:
        """PROFILE of the data segments of the first cell: what leaves depends on the network."""
        return self._profile.finish()

    def _metrics(self, plan: CellPlan) -> Accumulator:
        return Accumulator(
            self._network,
            self.traffic.plan,
            steered=plan.policy.policy.steered,
            interval_ns=self._scenario.interval,
            hosts=self._hosts,
            families=_FAMILIES,
        )

    def _at_load(self, load: Fraction) -> Messages:
        workload = self._attached.workload
        start_ns, think_ns = workload.start_ns, workload.think_ns
        if load != 1:
            start_ns = scaled_ns(start_ns, int(start_ns.min()), load)
            think_ns = scaled_ns(think_ns, 0, load)
        return Messages(
            self._attached.flow_of_row,
            workload.bytes,
            start_ns,
            think_ns,
            workload.after_first,
            workload.after_row,
        )


def sent_table(piece: Piece) -> pa.Table:
    """SENT_PACKETS of packets that have ended."""
    packets, fates, header = piece.packets, piece.fates, piece.headers.headers
    columns = {
        "flow_id": packets.flow,
        "flowlet_id": fates.flowlet,
        "path_id": fates.path,
        "send_ns": packets.send_ns,
        "receive_ns": pa.array(fates.receive_ns, mask=(fates.state & RECEIVED) == 0),
        "queue_ns": fates.queue_ns,
        "ecn_marked": (fates.state & MARKED) > 0,
        "dropped": (fates.state & DROPPED) > 0,
        "ip_bytes": packets.ip_bytes,
        "kind": pa.array(np.array(KINDS)[header["kind"]]),
        "number": header["number"].astype(np.uint32),
    }
    return pa.table(columns, schema=SENT_PACKETS.arrow_schema())


def _traffic(attached: AttachedWorkload) -> Traffic:
    """The part of a Traffic that needs no packets."""
    flows = len(attached.plan.keys)
    none = np.zeros(flows, np.bool_)
    return Traffic(
        Packets(np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.uint32)),
        np.empty(0, np.uint16),
        np.empty(0, np.uint64),
        np.empty(0, np.int64),
        attached.plan,
        attached.hosts,
        ~none,
        {},
        attached.network,
        attached.groups,
        Selection(none, none),
        attached.sides,
    )


def _extent(attached: AttachedWorkload) -> Extent:
    workload = attached.workload
    return Extent(0, len(workload), int(workload.start_ns.min()), int(workload.start_ns.max()))


def _flow_bytes(attached: AttachedWorkload) -> NDArray[np.int64]:
    counts = np.bincount(attached.flow_of_row, attached.workload.bytes, len(attached.plan.keys))
    return counts.astype(np.int64)
