"""When bytes leave the in-flight count if the trace itself says so: recorded acknowledgements.

The rules are those of docs/model.md, In-flight bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segcast.analyzer.engine.unseen import SHARES, all_unseen, threshold
from segcast.analyzer.packets import Packets, Releases
from segcast.analyzer.scenario.steering import SteeringSpec
from segcast.analyzer.traffic.prepare import TRAFFIC_COLUMNS, Traffic
from segcast.traces.errors import InputError
from segcast.traces.jit import int64, kernel
from segcast.traces.protocols import ACK

RELEASE_COLUMNS: Final = [*TRAFFIC_COLUMNS, "tcp_seq", "tcp_ack", "payload_bytes"]

Schedule = Callable[[Packets, SteeringSpec, int], Releases]

_NONE: Final = -1
_MASK: Final = (1 << 32) - 1
_HALF: Final = 1 << 31


class TcpSegments(NamedTuple):
    """What TCP says in each packet: `seq`, `ack`, `payload_bytes` uint32[n], `flags` uint8[n]; `known` bool[n].

    Where not `known` (no TCP, or not captured) the others mean nothing.
    """

    seq: NDArray[np.uint32]
    ack: NDArray[np.uint32]
    flags: NDArray[np.uint8]
    payload_bytes: NDArray[np.uint32]
    known: NDArray[np.bool_]


class _Outstanding(NamedTuple):
    """Segments sent and neither acknowledged nor timed out: two lists per flow, in send order.

    The first list of a flow, number `2 * flow`, holds segments whose ends ascend and span less than 2**31; whatever
    would break that goes to the second (retransmissions). `following` int64[n] chains the packets of a list; `head` and
    `tail` are int64[2 * flows].
    """

    following: NDArray[np.int64]
    head: NDArray[np.int64]
    tail: NDArray[np.int64]


def schedule(packets: pa.Table, flows: pa.Table, traffic: Traffic) -> Schedule:
    """How the releases of the traffic follow from when it is sent, what hosts see of it and the seed.

    `packets` are those of the trace: RELEASE_COLUMNS of PACKETS.
    """
    segments = segments_of(packets, traffic.row)
    reverse_flow = flows.column("reverse_flow_id").cast(pa.int64()).fill_null(_NONE).to_numpy()
    if traffic.growth is not None:
        reverse_flow = traffic.growth.reverse

    def releases(sent: Packets, steering: SteeringSpec, seed: int) -> Releases:
        seen = segments
        if steering.unseen:
            # A packet keeps its time before any load, so that it is seen or not whatever the load.
            limit = threshold(round(steering.unseen * SHARES))
            hidden = all_unseen(limit, seed, traffic.packets.send_ns, traffic.packets.flow)
            seen = segments._replace(known=segments.known & ~hidden)
        return recorded(sent, seen, reverse_flow, steering.loss_timeout)

    return releases


def segments_of(packets: pa.Table, rows: NDArray[np.int64]) -> TcpSegments:
    """What TCP says in these rows of PACKETS."""
    of = packets.select(["tcp_seq", "tcp_ack", "tcp_flags", "payload_bytes"]).take(rows)

    def column(name: str) -> NDArray[np.uint32]:
        values: NDArray[np.uint32] = of.column(name).fill_null(0).to_numpy().astype(np.uint32)
        return values

    acknowledges = pc.is_valid(of.column("tcp_ack")).to_numpy()
    flags = np.where(acknowledges, column("tcp_flags"), 0).astype(np.uint8)
    known = pc.is_valid(of.column("tcp_seq")).to_numpy()
    return TcpSegments(column("tcp_seq"), column("tcp_ack"), flags, column("payload_bytes"), known)


def recorded(
    packets: Packets, segments: TcpSegments, reverse_flow: NDArray[np.int64], loss_timeout_ns: int
) -> Releases:
    """Releases of `ack = "recorded"`: when the trace acknowledges a packet, at the latest when it times out.

    `packets` are in send order and `segments` are theirs; `reverse_flow` int64[flows] is each flow's other direction,
    -1 if it has none. Raises InputError if the lengths differ or a reverse flow does not exist.
    """
    count, flows = len(packets.send_ns), len(reverse_flow)
    if any(len(column) != count for column in segments):
        raise InputError(f"acknowledgements: {count} packets, but TCP numbers of {len(segments.known)}")
    if flows and (int(reverse_flow.max()) >= flows or int(reverse_flow.min()) < _NONE):
        raise InputError("acknowledgements: a flow's reverse flow does not exist")
    if count and int(packets.flow.max()) >= flows:
        raise InputError("acknowledgements: a packet's flow does not exist")
    time_ns = packets.send_ns + loss_timeout_ns
    outstanding = _Outstanding(
        np.full(count, _NONE, np.int64), np.full(2 * flows, _NONE, np.int64), np.full(2 * flows, _NONE, np.int64)
    )
    _acknowledge(packets, segments, reverse_flow, outstanding, time_ns)
    packet = np.argsort(time_ns, kind="stable")
    return Releases(time_ns[packet], packet)


@kernel
def _end(segments: TcpSegments, packet: int) -> int:
    """The sequence number beyond a segment; one of no length is as if a byte long."""
    return (int64(segments.seq[packet]) + max(int64(1), int64(segments.payload_bytes[packet]))) & _MASK


@kernel
def _acknowledge(
    packets: Packets,
    segments: TcpSegments,
    reverse_flow: NDArray[np.int64],
    outstanding: _Outstanding,
    time_ns: NDArray[np.int64],
) -> None:
    """Lower `time_ns`, at first each packet's timeout, to its acknowledgement; one pass in send order.

    A difference of serial numbers is "at or beyond" when it is below 2**31 (RFC 1982, RFC 9293 section 3.4).
    """
    following, head, tail = outstanding
    for packet in range(len(time_ns)):
        if not segments.known[packet]:
            continue
        now_ns = packets.send_ns[packet]
        flow = int64(packets.flow[packet])
        reverse = reverse_flow[flow]

        if reverse != _NONE and segments.flags[packet] & ACK:
            number = int64(segments.ack[packet])
            for queue in range(2 * reverse, 2 * reverse + 2):
                entry = head[queue]
                while entry != _NONE and time_ns[entry] <= now_ns:  # timed out
                    entry = following[entry]
                if queue == 2 * reverse:
                    # Ends ascend: what is acknowledged comes first, unless the number is so old that it wraps.
                    while entry != _NONE and (number - _end(segments, entry)) & _MASK < _HALF:
                        time_ns[entry] = now_ns
                        entry = following[entry]
                    head[queue] = entry
                    if entry == _NONE or (number - _end(segments, tail[queue])) & _MASK >= _HALF:
                        continue
                before = int64(_NONE)
                head[queue] = entry
                while entry != _NONE:
                    after = following[entry]
                    if time_ns[entry] <= now_ns or (number - _end(segments, entry)) & _MASK < _HALF:
                        time_ns[entry] = min(time_ns[entry], now_ns)
                        if before == _NONE:
                            head[queue] = after
                        else:
                            following[before] = after
                    else:
                        before = entry
                    entry = after
                tail[queue] = before

        if reverse == _NONE:
            continue
        queue = 2 * flow
        if head[queue] != _NONE:
            end = _end(segments, packet)
            first, last = _end(segments, head[queue]), _end(segments, tail[queue])
            span = (last - first) & _MASK
            if (end - last) & _MASK >= _HALF or span + ((end - last) & _MASK) >= _HALF:
                queue += 1
        if head[queue] == _NONE:
            head[queue] = packet
        else:
            following[tail[queue]] = packet
        tail[queue] = packet
