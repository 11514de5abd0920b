"""What a trace asks senders that react to send: its TCP connections as messages, all else as captured."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segcast.analyzer.engine.transport.cell import no_packets
from segcast.analyzer.forecast.asked import Asked, check_segments, messages_of, opening
from segcast.analyzer.packets import FlowPlan, Packets
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import Extent, check_mtu
from segcast.analyzer.traffic.streamed import StreamedTraffic, survey
from segcast.analyzer.workload.recorded.rest import MEANINGS, Reason
from segcast.analyzer.workload.recorded.run import why_none, workload_of_trace
from segcast.analyzer.workload.table import UNPINNED, Workload, first_rows, of_rows, streams
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace

_INSTEAD: Final = "without [transport] and --transport all packets leave as captured"


def asked_of_trace(trace: Trace, scenario: ValidScenario) -> Asked:
    """The trace on the scenario's network. Raises InputError if no TCP connection of it is left to react."""
    workload, rest = workload_of_trace(trace)
    if workload is None:
        raise InputError(f"{why_none(trace, rest)}; {_INSTEAD}")
    surveyed = survey(trace, scenario, as_captured=False)
    workload, pairs, number = _crossing(workload, _reverse(trace), surveyed.crosses)
    if len(workload) == 0:
        raise InputError(
            f"{trace.folder}: no TCP connection whose messages can be told crosses the network; {_INSTEAD}"
        )
    connected = np.zeros(len(surveyed.crosses), np.bool_)
    connected[pairs] = True
    apart = np.flatnonzero(surveyed.crosses & ~connected)
    flow_id = np.concatenate([pairs.reshape(-1), apart])
    recorded = _packets_of(surveyed, apart, 2 * len(pairs), rest.origin_ns)

    outline = surveyed.outline
    plan = _picked(outline.plan, flow_id)
    asked = workload.start_ns[~workload.waits]
    times = np.concatenate([asked, recorded.send_ns[:1], recorded.send_ns[-1:]])
    extent = Extent(len(recorded.flow), len(flow_id), int(times.min()), int(times.max()))
    # Events count from what is sent first, which no longer is the first packet.
    shift_ns = extent.first_ns - int(outline.packets.send_ns[0])
    changes = tuple(replace(change, time_ns=change.time_ns + shift_ns) for change in outline.network.changes)
    network = replace(outline.network, changes=changes)
    check_segments(network, plan, 2 * len(pairs), scenario)
    check_mtu(network, plan.group[recorded.flow], recorded.ip_bytes, scenario, "packets that leave as captured")
    flow = 2 * number[workload.connection] + streams(workload) % 2
    sent_bytes = np.bincount(flow, workload.bytes, len(flow_id)).astype(np.int64)
    return Asked(
        workload.flow,
        messages_of(workload, flow),
        opening(workload),
        np.full(len(flow_id), UNPINNED, np.int64),
        replace(outline, packets=recorded, plan=plan, placed=outline.placed[flow_id], network=network),
        extent,
        sent_bytes + np.bincount(recorded.flow, recorded.ip_bytes, len(flow_id)).astype(np.int64),
        len(pairs),
        surveyed.demand.span_ns,
        flow_id.astype(np.uint32),
        _counted(rest.reason[apart], np.bincount(recorded.flow, minlength=len(flow_id))[2 * len(pairs) :]),
    )


def _reverse(trace: Trace) -> pl.DataFrame:
    """The sources of the trace's flows, and the flows back, -1 where there is none."""
    flows = pl.from_arrow(trace.flow_table(["src", "reverse_flow_id"]))
    assert isinstance(flows, pl.DataFrame)
    return flows.with_columns(pl.col("reverse_flow_id").cast(pl.Int64).fill_null(-1))


def _crossing(
    workload: Workload, flows: pl.DataFrame, crosses: NDArray[np.bool_]
) -> tuple[Workload, NDArray[np.int64], NDArray[np.int64]]:
    """The rows of connections both of whose flows cross the network; the two flows of each, int64[connections, 2].

    The first flow is that of the host that sends the connection's first row. Connections come in the order in which
    they begin; the last is the place there of each connection of the list.
    """
    lower = np.array([int(name) for name in workload.connection_name.to_pylist()], np.int64)
    higher = flows["reverse_flow_id"].to_numpy()[lower]
    first = first_rows(workload.connection)
    hosts = pl.Series(workload.addresses, dtype=pl.String).gather(workload.source[first])
    forward = (flows["src"].gather(lower) == hosts).to_numpy()
    kept = crosses[lower] & crosses[higher]
    pairs = np.stack([np.where(forward, lower, higher), np.where(forward, higher, lower)], axis=1)[kept]
    order = np.argsort(workload.start_ns[first[kept]], kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return of_rows(workload, kept[workload.connection]), pairs[order], number


def _packets_of(surveyed: StreamedTraffic, apart: NDArray[np.int64], first: int, origin_ns: int) -> Packets:
    """The packets of the flows `apart`, which are numbered from `first` on; times count from `origin_ns`."""
    number = np.full(len(surveyed.crosses), -1, np.int64)
    number[apart] = np.arange(first, first + len(apart))
    parts = [no_packets()]
    for piece in surveyed.pieces():
        of_plan = number[piece.packets.flow]
        chosen = of_plan >= 0
        send_ns, ip_bytes = piece.packets.send_ns[chosen], piece.packets.ip_bytes[chosen]
        parts.append(Packets(send_ns - origin_ns, of_plan[chosen].astype(np.uint32), ip_bytes))
    return Packets._make(np.concatenate(columns) for columns in zip(*parts, strict=True))


def _picked(plan: FlowPlan, flows: NDArray[np.int64]) -> FlowPlan:
    """The plan of these flows alone."""
    return FlowPlan._make(None if column is None else column[flows] for column in plan)


def _counted(reason: NDArray[np.uint8], packets: NDArray[np.int64]) -> tuple[tuple[str, int, int], ...]:
    """Flows and packets by reason, the most packets first."""
    meanings = MEANINGS | {Reason.LISTED: "TCP of which one direction has no packet that the network takes"}
    found = [
        (meanings[why], int((reason == why).sum()), int(packets[reason == why].sum()))
        for why in Reason
        if (reason == why).any()
    ]
    return tuple(sorted(found, key=lambda entry: -entry[2]))
