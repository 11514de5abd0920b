"""Forecasts packets as they were sent: given departures, frame sizes and paths, through the links of a network.

No policy decides anything again, so links can be run one after the other: each once all links before it have been. What
becomes of a packet is what the event loop would say of it, but for one case: a token bucket without delay passes frames
on in no time, and the event loop then serves what is sent at that instant in the order in which it happens to arise.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.state import ALWAYS_NS, UNBOUNDED_BYTES
from segcast.analyzer.network.model import Link
from segcast.analyzer.network.transmitter import Transmitter, transmit
from segcast.analyzer.packets import LOST
from segcast.traces.errors import InputError
from segcast.traces.jit import int64, kernel
from segcast.traces.units import NANOSECOND_BITS


class LinkModel(NamedTuple):
    """A link: `burst_bytes` may leave at once after an idle time; a frame takes its bytes and `overhead_bytes`."""

    rate_bps: int
    delay_ns: int
    buffer_bytes: int
    overhead_bytes: int
    burst_bytes: int
    buffer_packets: int = UNBOUNDED_BYTES


def link_model(link: Link, burst_bytes: int | None = None) -> LinkModel:
    """The model of a network's link; `burst_bytes`, if given, stands for the link's own burst."""
    buffer_bytes = UNBOUNDED_BYTES if link.buffer_bytes is None else link.buffer_bytes
    burst = link.burst_bytes if burst_bytes is None else burst_bytes
    packets = UNBOUNDED_BYTES if link.buffer_packets is None else link.buffer_packets
    return LinkModel(link.rate_bps, link.delay_ns, buffer_bytes, link.overhead_bytes, burst, packets)


class Served(NamedTuple):
    """Frames of a link in order of arrival, int64[n]: when each arrived, and when it had left; LOST if dropped."""

    arrival_ns: NDArray[np.int64]
    depart_ns: NDArray[np.int64]


class AsSent(NamedTuple):
    """By packet, as in `Fates`: `receive_ns` int64, LOST if dropped; `queue_ns` int64, the time waited before links."""

    receive_ns: NDArray[np.int64]
    queue_ns: NDArray[np.int64]


@kernel
def through_link(
    arrival_ns: NDArray[np.int64],
    frame_bytes: NDArray[np.int64],
    link: LinkModel,
    depart_ns: NDArray[np.int64],
    queue_ns: NDArray[np.int64],
) -> None:
    """Departures of frames from one link, int64[n] in order of arrival; LOST if dropped. Adds to `queue_ns`.

    A frame is dropped if it and the frames that have not left yet exceed the buffer.
    """
    rate_bps = int64(link.rate_bps)
    burst_ns = int64(link.burst_bytes) * NANOSECOND_BITS // rate_bps
    per_bit = 1.0 / rate_bps
    free_ns, free_rest = int64(ALWAYS_NS), int64(0)
    backlog, held, leaving = int64(0), int64(0), 0
    for i in range(len(arrival_ns)):
        now_ns = arrival_ns[i]
        while leaving < i and (depart_ns[leaving] == LOST or depart_ns[leaving] <= now_ns):
            if depart_ns[leaving] != LOST:
                backlog -= frame_bytes[leaving]
                held -= 1
            leaving += 1
        if frame_bytes[i] > link.buffer_bytes - backlog or held >= link.buffer_packets:
            depart_ns[i] = LOST
            continue
        backlog += frame_bytes[i]
        held += 1
        transmitter = Transmitter(rate_bps, per_bit, burst_ns, free_ns, free_rest)
        sent = transmit(transmitter, now_ns, frame_bytes[i] + link.overhead_bytes)
        free_ns, free_rest = sent.free_ns, sent.free_rest
        depart_ns[i] = sent.departs_ns
        queue_ns[i] += sent.waited_ns


def as_sent(
    links: Sequence[LinkModel],
    ways: Sequence[Sequence[int]],
    path: NDArray[np.int64],
    send_ns: NDArray[np.int64],
    frame_bytes: NDArray[np.int64],
    served: dict[int, Served] | None = None,
) -> AsSent:
    """What becomes of packets sent at `send_ns` along `ways[path]`, links by number; all int64[n], any order.

    Frames that arrive at one instant are served in order of the number of the link they come from, and of one link in
    the order in which they left it; then those just sent, in their order. What links served is put into `served`, by
    link. Raises InputError if paths use links in orders that contradict each other.
    """
    hops = max((len(way) for way in ways), default=0)
    chain = np.full((len(ways), hops + 1), -1, np.int64)
    for number, way in enumerate(ways):
        chain[number, : len(way)] = way
    now = send_ns.astype(np.int64, copy=True)
    hop = np.zeros(len(now), np.int64)
    alive = np.ones(len(now), np.bool_)
    queue_ns = np.zeros(len(now), np.int64)
    last = np.full(len(now), len(links), np.int64)
    place = np.arange(len(now))  # in the queue that a packet left last, or among those sent
    at = chain[path, 0] if len(now) else np.empty(0, np.int64)
    for link in _in_order(ways):
        rows = np.flatnonzero(alive & (at == link))
        rows = rows[np.lexsort((place[rows], last[rows], now[rows]))]
        depart_ns, waited = np.empty(len(rows), np.int64), np.zeros(len(rows), np.int64)
        arrival_ns = now[rows]
        through_link(arrival_ns, frame_bytes[rows].astype(np.int64), links[link], depart_ns, waited)
        if served is not None:
            served[link] = Served(arrival_ns, depart_ns)
        queue_ns[rows] += waited
        place[rows] = np.arange(len(rows))
        gone, left = rows[depart_ns == LOST], rows[depart_ns != LOST]
        alive[gone] = False
        now[left] = depart_ns[depart_ns != LOST] + links[link].delay_ns
        hop[left] += 1
        last[left] = link
        at[left] = chain[path[left], hop[left]]
    now[~alive] = LOST
    return AsSent(now, queue_ns)


def _in_order(ways: Sequence[Sequence[int]]) -> list[int]:
    """The links used, each after all that come before it on any path."""
    before: dict[int, set[int]] = {link: set() for way in ways for link in way}
    for way in ways:
        for a, b in itertools.pairwise(way):
            before[b].add(a)
    order: list[int] = []
    while before:
        ready = sorted(link for link, others in before.items() if not others)
        if not ready:
            raise InputError(
                "paths of this network use some links in opposite orders, so packets as sent cannot be run link by "
                "link; give fewer paths (network.paths, network.max_paths)"
            )
        order += ready
        before = {link: others - set(ready) for link, others in before.items() if link not in ready}
    return order
