"""A frame meets the queue of its next link, or has crossed its last (docs/model.md, Links)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from segcast.analyzer.engine.calendar import END, Frame, put
from segcast.analyzer.engine.rings import append, leave, make_room
from segcast.analyzer.engine.state import Rules, State
from segcast.analyzer.network.transmitter import transmit_on
from segcast.analyzer.packets import AT_DEAD_LINK, DROPPED, LOST, MARKED, RECEIVED, UNDETECTED, Fates
from segcast.analyzer.policies.link_load import add_load
from segcast.traces.jit import at, inlined, int64

_BYTES_A_NS: Final = 1.25e-10  # of a rate of 1 bit/s

# What `cross` returns.
GONE: Final = 0
GOES_ON: Final = 1
ARRIVED: Final = 2


class Travelling(NamedTuple):
    """A frame: the row of its packet, its bytes, its path and the number of the link on its way that is its next."""

    row: int
    flow: int
    bytes: int
    path: int
    hop: int


@inlined
def cross(state: State, rules: Rules, fates: Fates, frame: Travelling, measures: bool, now_ns: int) -> int:
    """Let a frame meet its next link at `now_ns`: GONE if it is dropped there, GOES_ON if an event will follow.

    ARRIVED: it has been or will be received at `fates.receive_ns`, which is known as soon as it is on its last link,
    unless links change or whoever receives it acts on it (`Rules.defers`).
    """
    links, paths, rings, calendar = state.links, state.paths, state.rings, state.calendar
    row, path, hop, frame_bytes = frame.row, frame.path, frame.hop, frame.bytes
    last_hop = int64(paths[at(path)].hops) + (1 if rules.host_links else -1)
    if hop > last_hop:
        fates.receive_ns[at(row)] = now_ns
        fates.state[at(row)] |= RECEIVED
        return ARRIVED
    if not rules.host_links:
        link = int64(state.hops[at(paths[at(path)].first_hop + hop)])
    elif hop == 0:
        link = int64(state.flows[at(frame.flow)].uplink)
    elif hop == last_hop:
        link = int64(state.flows[at(frame.flow)].downlink)
    else:
        link = int64(state.hops[at(paths[at(path)].first_hop + hop - 1)])
    fits, marks = links[at(link)].rate_bps > 0, False
    if links[at(link)].bounded:
        # What has not left fits between now and when the transmitter is free, and one frame more.
        most = np.float64(links[at(link)].largest_bytes + 1)
        if links[at(link)].free_ns >= now_ns:
            most += (links[at(link)].free_ns - now_ns + 1) * _BYTES_A_NS * links[at(link)].rate_bps
        if most + frame_bytes > links[at(link)].buffer_bytes or most >= links[at(link)].ecn_bytes:
            backlog = links[at(link)].backlog_bytes - leave(rings, link, now_ns)
            links[at(link)].backlog_bytes = backlog
            fits = fits and backlog + frame_bytes <= links[at(link)].buffer_bytes
            marks = backlog >= links[at(link)].ecn_bytes
        if links[at(link)].counted:
            links[at(link)].backlog_bytes -= leave(rings, link, now_ns)
            held = int64(rings.rings[at(link)].next) - int64(rings.rings[at(link)].first)
            fits = fits and held < links[at(link)].buffer_frames
            marks = marks or held >= links[at(link)].ecn_frames
    if not fits:
        fates.state[at(row)] |= DROPPED
        if links[at(link)].rate_bps == 0:
            fates.state[at(row)] |= AT_DEAD_LINK
            if not state.routes_down[at(link)]:
                fates.state[at(row)] |= UNDETECTED
        fates.hop[at(row)] = hop
        fates.receive_ns[at(row)] = LOST
        return GONE
    if marks:
        fates.state[at(row)] |= MARKED
        links[at(link)].marked += 1
    size = frame_bytes + links[at(link)].overhead_bytes
    sent = transmit_on(links, link, now_ns, size)
    links[at(link)].carried_bytes += size
    fates.queue_ns[at(row)] += sent.waited_ns
    if measures:
        level = add_load(links, link, now_ns, size)
        fates.congestion[at(row)] = max(int64(fates.congestion[at(row)]), level)
    arrives_ns = sent.departs_ns + links[at(link)].delay_ns
    follows = hop < last_hop or rules.defers
    event = int64(END)
    if follows:
        packet = row + state.progress[0].first_id
        event = put(calendar, arrives_ns, link, Frame(packet, frame_bytes, path, hop), now_ns)
    else:
        fates.receive_ns[at(row)] = arrives_ns
        fates.state[at(row)] |= RECEIVED
    if links[at(link)].remembers:
        links[at(link)].backlog_bytes += frame_bytes
        links[at(link)].largest_bytes = max(int64(links[at(link)].largest_bytes), frame_bytes)
        if append(rings, link, sent.departs_ns, frame_bytes, event):
            links[at(link)].backlog_bytes -= leave(rings, link, now_ns)
            make_room(rings, link, 0)
    return GOES_ON if follows else ARRIVED
