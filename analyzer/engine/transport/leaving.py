"""What a packet says as it leaves its host, and which packets no policy is asked for (docs/transport.md, Packets)."""

from __future__ import annotations

from segcast.analyzer.engine.state import Rules, State
from segcast.analyzer.engine.transport.segments import place_of
from segcast.analyzer.engine.transport.state import (
    ACK,
    DATA,
    RECORDED,
    REDUCED,
    UNKNOWN,
    Connections,
    Headers,
    TransportRules,
)
from segcast.analyzer.packets import Fates
from segcast.traces.jit import at, inlined, int64


@inlined
def describe(
    connections: Connections, rules: TransportRules, headers: Headers, row: int, half: int, number: int
) -> int:
    """Write a data segment into `row`; its IP bytes."""
    halves, header, place = connections.halves, headers.headers, place_of(connections, half, number)
    header[at(row)].number = number
    header[at(row)].signs = 0
    header[at(row)].blocks = 0
    if halves[at(half)].reduces and connections.flags[at(place)] == 0:  # a new one tells it
        header[at(row)].signs = REDUCED
        halves[at(half)].reduces = 0
    return rules.header_bytes + int64(connections.segments[at(place)].bytes)


@inlined
def is_fixed(connections: Connections, headers: Headers, flow: int, row: int) -> bool:
    """Whether a packet's path is fixed, because its flow is pinned, or because acknowledgements are hashed."""
    if connections.fixed_slot[at(flow)] < 0:
        return False
    return bool(connections.pins[at(flow)] != 0 or headers.headers[at(row)].kind == ACK)


@inlined
def is_awaited(
    state: State, connections: Connections, headers: Headers, rules: Rules, flow: int, row: int, now_ns: int
) -> bool:
    """Whether the host of a packet awaits an acknowledgement of what its flow sent before it.

    What nobody acknowledges is given up after a while.
    """
    header = headers.headers[at(row)]
    if header.kind != RECORDED:
        half = connections.halves[at(flow)]
        before = int64(half.nxt)
        if header.kind == DATA and connections.flags[at(place_of(connections, flow, int64(header.number)))] == 0:
            before -= 1  # a new segment is counted already
        if half.una < before:
            return True
        if header.kind == DATA:
            return False
    return bool(now_ns - state.flows[at(flow)].last_ns < rules.loss_timeout_ns)


@inlined
def fixed_flowlet(state: State, connections: Connections, flow: int) -> int:
    """The one flowlet of packets whose path is fixed."""
    if connections.fixed_flowlet[at(flow)] == UNKNOWN:
        connections.fixed_flowlet[at(flow)] = state.progress[0].next_flowlet
        state.progress[0].next_flowlet += 1
    return int64(connections.fixed_flowlet[at(flow)])


@inlined
def note_way(
    connections: Connections, headers: Headers, fates: Fates, row: int, half: int, path: int, frame_bytes: int
) -> None:
    """Note which way a data segment went, and the bytes for which it counts."""
    halves, place = connections.halves, place_of(connections, half, int64(headers.headers[at(row)].number))
    connections.segments[at(place)].path = path
    connections.segments[at(place)].frame_bytes = frame_bytes
    flowlet = int64(fates.flowlet[at(row)])
    if flowlet != halves[at(half)].last_flowlet:
        halves[at(half)].flowlets += 1
        halves[at(half)].path_changes += halves[at(half)].last_path not in (UNKNOWN, path)
        halves[at(half)].last_flowlet = flowlet
        halves[at(half)].last_path = path
