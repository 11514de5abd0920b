"""Resampled traces, connection by connection and packet by packet: a slow second implementation.

Written from docs/statistics.md, The traffic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tests.twins.hashing import mix


class Flow(NamedTuple):
    """A flow: its other direction or None, and its ports, or None without any."""

    reverse: int | None
    src_port: int | None
    dst_port: int | None


class Sent(NamedTuple):
    """A packet of a resample: when, which packet of the trace, of which copy of its flow, with which ports."""

    time_ns: int
    row: int
    copy: tuple[int, int, bool]
    ports: tuple[int | None, int | None]


def resample(
    packets: Sequence[tuple[int, int]], flows: Sequence[Flow], number: int, block_ns: int | None
) -> list[Sent]:
    """Packets of resample `number`; those of the trace are (time_ns, flow), in order of time."""

    def draw(purpose: int, place: int, below: int) -> int:
        return mix(place ^ mix(mix(number) ^ purpose)) % below

    def connection_of(flow: int) -> int:
        back = flows[flow].reverse
        return flow if back is None or flows[back].reverse != flow else min(flow, back)

    start, end = packets[0][0], max(time for time, _ in packets)
    took = end - start + 1
    count = 20 if block_ns is None else round(took / block_ns)
    count = max(2, min(count, took))
    length = -(-took // count)
    period = length * count

    times: dict[int, list[int]] = {}
    for time, flow in packets:
        times.setdefault(connection_of(flow), []).append(time)
    long = [c for c in sorted(times) if max(times[c]) - min(times[c]) >= length]
    drawn: list[tuple[int, int]] = []  # connection, shift
    for place in range(count):
        source = draw(1, place, count)
        there = [c for c in sorted(times) if c not in long and (min(times[c]) - start) // length == source]
        drawn += [(connection, (place - source) * length) for connection in there]
    drawn += [(long[draw(2, place, len(long))], draw(3, place, period)) for place in range(len(long))]

    sent, seen = [], Counter[int]()
    for copy, (connection, own_shift) in enumerate(drawn):
        again = seen[connection] > 0
        shift = 0 if connection in long and not again else own_shift
        seen[connection] += 1
        for row, (time, flow) in enumerate(packets):
            if connection_of(flow) != connection:
                continue
            past = time + shift >= start + period
            ports = flows[flow].src_port, flows[flow].dst_port
            if again or past:
                ports = _fresh(flows, flow, connection, 1024 + mix((2 * copy + past) ^ mix(number)) % 64512)
            sent.append(Sent(time + shift - period * past, row, (copy, flow, past), ports))
    return sorted(sent, key=lambda packet: (packet.time_ns, packet.row))


def _fresh(flows: Sequence[Flow], flow: int, connection: int, port: int) -> tuple[int | None, int | None]:
    """The ports of a flow of a copy: the higher one is another, at the same end for both directions."""
    first = flows[connection]
    of_opener = (-1 if first.src_port is None else first.src_port) >= (-1 if first.dst_port is None else first.dst_port)
    source, target = flows[flow].src_port, flows[flow].dst_port
    if of_opener == (flow == connection):
        return None if source is None else port, target
    return source, None if target is None else port
