"""Runs the cells of a forecast whose senders react: a workload over a network (docs/transport.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.engine.transport.cell import Messages, Piece, TransportCell
from segcast.analyzer.engine.transport.state import DATA, RECORDED
from segcast.analyzer.flowlets.split import StreamedProfile
from segcast.analyzer.forecast.asked import Asked
from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.runner import CellResult, CellRunner, Tick
from segcast.analyzer.forecast.running import PartedTable, fate_columns
from segcast.analyzer.metrics.families.registry import FAMILIES
from segcast.analyzer.metrics.families.slowdown import SlowdownFamily
from segcast.analyzer.metrics.messages import MessageColumns, least_ns
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import Packets
from segcast.analyzer.parallel import in_order
from segcast.analyzer.scenario.growth import Offered
from segcast.analyzer.scenario.transport import TransportSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.schema import SENT_PACKETS
from segcast.analyzer.statistics.pooled import sample_of
from segcast.analyzer.statistics.pools import sample_table
from segcast.analyzer.statistics.tails import TAILS
from segcast.analyzer.traffic.prepare import at_load, scaled_ns

KINDS: Final = ("data", "ack", "syn", "syn-ack", "recorded")


class ReactingRunner(CellRunner):
    """Runs cells over a workload, each on its own; `run` may be called from several threads."""

    families = tuple(family for family in FAMILIES if family is not SlowdownFamily)

    def __init__(self, asked: Asked, scenario: ValidScenario, folder: Path) -> None:
        """Prepare to run `asked` at the scenario's loads. Raises InputError for a load out of range."""
        super().__init__(asked.traffic, asked.extent, asked.flow_bytes, scenario, folder)
        self._transport = (scenario.transport or TransportSpec()).transport(scenario.ties)
        self.asked: Asked = asked
        flow, size = asked.messages.half, asked.messages.bytes
        self._least_ns = least_ns(self._network, self.traffic.plan, self._transport, flow, size, asked.opens)
        self._sent = {flows: asked.sent_at(flows) for flows in dict.fromkeys(one.flows for one in scenario.offered)}
        self._messages = {one.load: self._at_load(one) for one in scenario.offered}
        self._recorded = {
            one.load: at_load(self._sent[one.flows].recorded, one.rate, self.extent.first_ns)
            for one in scenario.offered
        }

    def results(self, plans: Sequence[CellPlan], threads: int, tick: Tick) -> Iterator[CellResult]:
        """Results of cells in their order."""
        yield from in_order(self.run, plans, threads, tick)

    def run(self, plan: CellPlan) -> CellResult:
        """The result of one cell; writes its packets if they are kept."""
        asked = self.asked
        cell = self.reacting(plan, self._network)
        counted = self._metrics(plan)
        profile = StreamedProfile(len(self.traffic.plan.keys), self._profile_timeouts()) if plan.profiled else None
        file = self._new_packets_file(plan)
        beside = None if self.keeping is None else self.keeping.beside(plan.name)
        written = None if file is None else PartedTable(file, SENT_PACKETS.arrow_schema(), beside)
        resting = self._resting(plan, *(part for part in (cell, counted, profile, written) if part is not None))
        for piece in cell.pieces():
            counted.add(piece.packets, piece.fates)
            if profile is not None:
                data = np.isin(piece.headers["kind"], (DATA, RECORDED))
                sent = piece.packets
                profile.add(sent.flow[data], sent.send_ns[data], sent.ip_bytes[data])
            if written is not None and len(piece.packets.flow):
                written.write(sent_table(piece, asked.flow_id))
            resting()
        if written is not None:
            written.close()
        rows = self._sent[plan.offered.flows].rows
        messages = self.completed(plan, cell)
        flows = counted.finish() | messages.flow_columns()
        ending = counted.ending(flows, cell.state.links)
        result = self._rows(plan, counted, ending, flows, messages.completions())
        summary = result.summary | messages.summary(ending.window_ns)
        done_ns = messages.fct_ns[messages.fct_ns >= 0]
        if self.only_summary:
            if self.tails:
                summary[TAILS] = result.summary[TAILS] | self._tails(fct_ns=sample_of(done_ns))[TAILS]
            return replace(result, summary=summary)
        table = messages.table(plan.columns(), asked.names.take(pa.array(rows)))
        result = replace(
            result,
            summary=summary,
            messages=table,
            flows=_named(result.flows, asked.flow_id),
            samples=pa.concat_tables([result.samples, sample_table(fct_ns=sample_of(done_ns))]),
            profile=None if profile is None else profile.finish(),
        )
        return self._kept(plan, result)

    def completed(self, plan: CellPlan, cell: TransportCell) -> MessageColumns:
        """The messages of a cell that has run."""
        return MessageColumns(cell, self._least_ns[self._sent[plan.offered.flows].rows])

    def reacting(self, plan: CellPlan, network: Network) -> TransportCell:
        """The cell on a network, which may be the runner's own with other changes."""
        return TransportCell(
            network,
            plan.policy.policy,
            self.traffic.plan,
            self._scenario.steering_of(plan.policy).steering(),
            self._transport,
            self._messages[plan.load],
            pin=self.asked.pin,
            recorded=self._recorded[plan.load],
            **self._chosen(plan),
        )

    def sent(self, offered: Offered) -> Iterator[Packets]:
        """Packets beside the connections, in one piece."""
        yield self._recorded[offered.load]

    def profile(self, first: CellResult, threads: int, tick: Tick) -> pa.Table:
        """PROFILE of the data segments of the first cell, and of packets that leave as captured."""
        return first.profile

    def _at_load(self, one: Offered) -> Messages:
        messages, first_ns = self._sent[one.flows].messages, self.extent.first_ns
        if one.rate == 1:
            return messages
        return messages._replace(
            start_ns=np.maximum(scaled_ns(messages.start_ns, first_ns, one.rate), 0),
            think_ns=scaled_ns(messages.think_ns, 0, one.rate),
        )


def _named(flows: pa.Table, flow_id: NDArray[np.uint32] | None) -> pa.Table:
    """FLOW_FATES with the flows' own numbers in place of those of the plan, in their order."""
    if flow_id is None:
        return flows
    column = flows.schema.get_field_index("flow_id")
    own = flow_id[flows.column(column).to_numpy()]
    return flows.set_column(column, flows.schema.field(column), pa.array(own)).take(np.argsort(own))


def sent_table(piece: Piece, flow_id: NDArray[np.uint32] | None = None) -> pa.Table:
    """SENT_PACKETS of packets that have ended; `flow_id` uint32[flows] is what flows are called, None: their number."""
    packets, header = piece.packets, piece.headers
    columns = {
        "flow_id": packets.flow if flow_id is None else flow_id[packets.flow],
        **fate_columns(packets, piece.fates),
        "ip_bytes": packets.ip_bytes,
        "kind": pa.array(np.array(KINDS)[header["kind"]]),
        "number": header["number"].astype(np.uint32),
    }
    return pa.table(columns, schema=SENT_PACKETS.arrow_schema())
