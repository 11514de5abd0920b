"""What senders that react are asked to send, put on the network: a flow list's messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.engine.transport.cell import Messages, no_packets
from segcast.analyzer.network.model import Network
from segcast.analyzer.packets import FlowPlan, Packets
from segcast.analyzer.scenario.transport import TransportSpec
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.growth import Growth
from segcast.analyzer.traffic.prepare import Extent, Traffic, check_mtu
from segcast.analyzer.traffic.selection import Selection
from segcast.analyzer.traffic.share import Demand
from segcast.analyzer.workload.attach import AttachedWorkload, attach
from segcast.analyzer.workload.earliest import earliest_ns
from segcast.analyzer.workload.source import WorkloadFile
from segcast.analyzer.workload.table import Workload, first_rows


class Sent(NamedTuple):
    """What is asked at a factor of growth: the messages with these `rows` int64[n], and packets as captured."""

    rows: NDArray[np.int64]
    messages: Messages
    recorded: Packets


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """Messages on a network, and packets that leave as captured beside them.

    Flows 2c and 2c + 1 of `traffic.plan` are those of connection c, further ones those of `traffic.packets`; `pin`
    int64[flows] is the slot that each is pinned to, or -1. `names` are those of the messages, `opens` bool[messages]
    says which are the first of their connection. `flow_id` uint32[flows] is what tables call each flow, None: its
    number. `open_loop` are the flows and packets that leave as captured, by reason. `span_ns` is how long it is asked
    for: the time of the trace, or from the first to the last start that the list says.

    The first `own` messages are those of the list or trace; where that grows by flows, the others are of copies, and
    `growth` is of the flows here: their `origin` is among them. `recorded_at` gives what leaves as captured then.
    """

    names: pa.StringArray
    messages: Messages
    opens: NDArray[np.bool_]
    pin: NDArray[np.int64]
    traffic: Traffic
    extent: Extent
    flow_bytes: NDArray[np.int64]
    connections: int
    span_ns: int
    flow_id: NDArray[np.uint32] | None = None
    open_loop: tuple[tuple[str, int, int], ...] = ()
    growth: Growth | None = None
    recorded_at: Callable[[Fraction], Packets] | None = None

    @property
    def own(self) -> int:
        """How many messages are not of copies."""
        if self.growth is None:
            return len(self.names)
        return int(np.count_nonzero(self.growth.copy[self.messages.half] == 0))

    def sent_at(self, factor: Fraction) -> Sent:
        """What is asked to be sent at a factor of growth by flows."""
        if self.growth is None:
            return Sent(np.arange(len(self.names)), self.messages, self.traffic.packets)
        messages = self.messages
        sends = self.growth.sent(factor)[messages.half]
        waits = np.diff(messages.after_first)
        rows = np.flatnonzero(sends)
        return Sent(
            rows,
            Messages(
                messages.half[rows],
                messages.bytes[rows],
                messages.start_ns[rows],
                messages.think_ns[rows],
                np.concatenate([[0], np.cumsum(waits[rows])]),
                (np.cumsum(sends) - 1)[messages.after_row[np.repeat(sends, waits)]],
            ),
            self.traffic.packets if self.recorded_at is None else self.recorded_at(factor),
        )

    def demand(self, spec: TransportSpec) -> Demand:
        """What flows send if nothing is lost: segments, acknowledgements of every `ack_every`, packets as captured.

        Without copies.
        """
        flows, flow = len(self.traffic.plan.keys), self.messages.half[: self.own]
        segments = -(-self.messages.bytes[: self.own] // spec.mss)
        acks = -(-segments // spec.ack_every)
        of_message = np.bincount(flow, segments, flows) + np.bincount(flow ^ 1, acks, flows)
        recorded = np.bincount(self.traffic.packets.flow, minlength=flows)
        data = np.bincount(flow, self.messages.bytes[: self.own], flows) + of_message * spec.header
        data += np.bincount(self.traffic.packets.flow, self.traffic.packets.ip_bytes, flows)
        return Demand(data.astype(np.int64), (of_message + recorded).astype(np.int64), self.span_ns)


def asked_of_list(source: WorkloadFile, scenario: ValidScenario) -> Asked:
    """A flow list on the scenario's network. Raises InputError if it does not fit."""
    attached = attach(source.workload, scenario)
    workload, flow, own = attached.workload, attached.flow_of_row, len(source.workload)
    check_segments(attached.network, attached.plan, len(attached.plan.keys), scenario)
    return Asked(
        workload.flow,
        messages_of(workload, flow),
        opening(workload),
        attached.pin,
        _traffic(attached, len(scenario.fabric().attachments)),
        Extent(0, own, int(source.workload.start_ns.min()), int(source.workload.start_ns.max())),
        np.bincount(flow, workload.bytes, len(attached.plan.keys)).astype(np.int64),
        int(source.workload.connection.max()) + 1,
        int(np.ptp(earliest_ns(source.workload))),
        growth=attached.growth,
    )


def messages_of(workload: Workload, flow: NDArray[np.int64]) -> Messages:
    """The rows of a list as the engine takes them; `flow` int64[rows] carries their bytes."""
    return Messages(
        flow, workload.bytes, workload.start_ns, workload.think_ns, workload.after_first, workload.after_row
    )


def opening(workload: Workload) -> NDArray[np.bool_]:
    """Which rows are the first of their connection, bool[rows]."""
    opens = np.zeros(len(workload), np.bool_)
    opens[first_rows(workload.connection)] = True
    return opens


def check_segments(network: Network, plan: FlowPlan, flows: int, scenario: ValidScenario) -> None:
    """Raise InputError if full segments of the first `flows` flows are larger than links carry, once steered."""
    if scenario.network.mtu is None:
        return
    spec = scenario.transport or TransportSpec()
    sizes = np.full(flows, spec.mss + spec.header, np.int64)
    check_mtu(network, plan.group[:flows], sizes, scenario, "flows' full segments")


def _traffic(attached: AttachedWorkload, attachments: int) -> Traffic:
    """The part of a Traffic that needs no packets."""
    none = np.zeros(len(attached.plan.keys), np.bool_)
    return Traffic(
        no_packets(),
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
        attached.assembled.edges,
        attached.dealt,
        attachments,
        attached.growth,
    )
