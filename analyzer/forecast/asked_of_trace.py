"""What a trace asks senders that react to send: its TCP connections as messages, all else as captured."""

from __future__ import annotations

import weakref
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from segcast.analyzer.engine.transport.cell import no_packets
from segcast.analyzer.forecast.asked import Asked, check_segments, messages_of, opening
from segcast.analyzer.packets import FlowPlan, Packets
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.growth import Growth
from segcast.analyzer.traffic.prepare import Extent, check_mtu
from segcast.analyzer.traffic.streamed import StreamedTraffic, survey
from segcast.analyzer.workload.grown import Copies, with_copies
from segcast.analyzer.workload.recorded.rest import MEANINGS, Reason, Rest
from segcast.analyzer.workload.recorded.run import why_none, workload_of_trace
from segcast.analyzer.workload.table import UNPINNED, Workload, first_rows, of_rows, streams
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace

_INSTEAD: Final = "without [transport] and --transport all packets leave as captured"


def asked_of_trace(trace: Trace, scenario: ValidScenario) -> Asked:
    """The trace on the scenario's network. Raises InputError if no TCP connection of it is left to react."""
    workload, rest = _told(trace)
    if workload is None:
        raise InputError(f"{why_none(trace, rest)}; {_INSTEAD}")
    surveyed = survey(trace, scenario, as_captured=False)
    workload, pairs, number = _crossing(workload, _reverse(trace), surveyed.crosses)
    if len(workload) == 0:
        raise InputError(
            f"{trace.folder}: no TCP connection whose messages can be told crosses the network; {_INSTEAD}"
        )
    outline, own = surveyed.outline, len(pairs)
    growth = outline.growth
    connected = np.zeros(len(surveyed.crosses), np.bool_)
    connected[pairs] = True
    apart = surveyed.crosses & ~connected
    asked = workload.start_ns[~workload.waits]
    if growth is not None:
        heads, copies = _copied(growth, pairs, number)
        pairs = np.concatenate([pairs, heads])
        number = np.concatenate([number, np.arange(own, len(pairs))])
        workload = with_copies(workload, copies)
    flow_id = np.concatenate([pairs.reshape(-1), np.flatnonzero(apart if growth is None else apart[growth.origin])])
    captured = _packets_of(surveyed, apart)
    recorded_at = partial(_recorded, captured, growth, flow_id, 2 * len(pairs), rest.origin_ns)
    recorded = recorded_at(None)
    plan = _picked(outline.plan, flow_id)
    times = np.concatenate([asked, recorded.send_ns[:1], recorded.send_ns[-1:]])
    flows = 2 * own + int(apart.sum())
    extent = Extent(len(recorded.flow), flows, int(times.min()), int(times.max()))
    # Events count from what is sent first, which no longer is the first packet.
    shift_ns = extent.first_ns - int(outline.packets.send_ns[0])
    changes = tuple(replace(change, time_ns=change.time_ns + shift_ns) for change in outline.network.changes)
    network = replace(outline.network, changes=changes)
    check_segments(network, plan, 2 * len(pairs), scenario)
    check_mtu(network, plan.group[recorded.flow], recorded.ip_bytes, scenario, "packets that leave as captured")
    flow = 2 * number[workload.connection] + streams(workload) % 2
    sent_bytes = np.bincount(flow, workload.bytes, len(flow_id)).astype(np.int64)
    origin = flow_id if growth is None else growth.origin[flow_id]
    as_captured = np.bincount(captured.flow, captured.ip_bytes, len(apart)).astype(np.int64)[origin]
    return Asked(
        workload.flow,
        messages_of(workload, flow),
        opening(workload),
        np.full(len(flow_id), UNPINNED, np.int64),
        replace(outline, packets=recorded, plan=plan, placed=outline.placed[origin], network=network),
        extent,
        sent_bytes + as_captured,
        own,
        surveyed.demand.span_ns,
        flow_id.astype(np.uint32),
        _counted(rest.reason[apart], np.bincount(captured.flow, minlength=len(apart))[apart]),
        None if growth is None else _renumbered(growth, flow_id),
        None if growth is None else recorded_at,
    )


_LAST: Final[list[tuple[weakref.ref[Trace], tuple[Workload | None, Rest]]]] = []


def _told(trace: Trace) -> tuple[Workload | None, Rest]:
    """What `workload_of_trace` says; of the same trace, which is asked again for each of many networks, at once."""
    for kept, found in _LAST:
        if kept() is trace:
            return found
    found = workload_of_trace(trace)
    _LAST[:] = [(weakref.ref(trace), found)]
    return found


def _copied(growth: Growth, pairs: NDArray[np.int64], number: NDArray[np.int64]) -> tuple[NDArray[np.int64], Copies]:
    """The copies of connections: their two flows, int64[copies, 2], and what they copy, as the list numbers it.

    `pairs` are the flows of connections, `number` where each connection of the list is among these. A copy does not
    turn around the end of the trace: what is sent then depends on when the rest of it was.
    """
    of_flow = np.full(len(growth.bytes), -1, np.int64)
    of_flow[pairs[number, 0]] = np.arange(len(number))
    heads = np.flatnonzero((growth.copy > 0) & (growth.wraps == 0) & (of_flow[growth.origin] >= 0))
    connection = of_flow[growth.origin[heads]]
    order = np.lexsort((connection, growth.copy[heads]))
    heads, connection = heads[order], connection[order]
    both = np.stack([heads, growth.reverse[heads]], axis=1)
    return both, Copies(connection, growth.copy[heads], growth.shift_ns[heads])


def _recorded(
    captured: Packets,
    growth: Growth | None,
    flow_id: NDArray[np.int64],
    first: int,
    origin_ns: int,
    factor: Fraction | None,
) -> Packets:
    """The packets that leave as captured at a factor of growth, None: of the trace; their flows are `flow_id[first:]`.

    Times count from `origin_ns`.
    """
    packets = captured if growth is None or factor is None else growth.packets(captured, factor)[0]
    number = np.zeros(int(flow_id.max()) + 1, np.uint32)
    number[flow_id[first:]] = np.arange(first, len(flow_id))
    return Packets(packets.send_ns - origin_ns, number[packets.flow], packets.ip_bytes)


def _renumbered(growth: Growth, flow_id: NDArray[np.int64]) -> Growth:
    """The growth of the flows `flow_id`, which are numbered in that order."""
    number = np.full(len(growth.origin), -1, np.int64)
    number[flow_id] = np.arange(len(flow_id))
    picked = {name: getattr(growth, name)[flow_id] for name in ("copy", "wraps", "threshold", "shift_ns")}
    reverse = growth.reverse[flow_id]
    reverse = np.where(reverse >= 0, number[reverse], -1)
    return replace(growth, origin=number[growth.origin[flow_id]], reverse=reverse, **picked)


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


def _packets_of(surveyed: StreamedTraffic, apart: NDArray[np.bool_]) -> Packets:
    """The packets of the trace that are of the flows `apart`, bool[flows]."""
    parts = [no_packets()]
    for piece in surveyed.pieces():
        chosen = apart[piece.packets.flow]
        parts.append(Packets._make(column[chosen] for column in piece.packets))
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
