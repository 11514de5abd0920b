"""Has memory fetched that the events of a bucket will need: packets, links and halves lie anywhere in large tables."""

from __future__ import annotations

from segcast.analyzer.engine.calendar import NUMBERS
from segcast.analyzer.engine.state import Rules, State
from segcast.analyzer.engine.transport.state import Connections, Headers
from segcast.analyzer.packets import Fates, Packets
from segcast.traces.flows.prefetch import prefetch, prefetch_begin
from segcast.traces.jit import at, inlined, int64


@inlined
def look_ahead(
    state: State, rules: Rules, packets: Packets, fates: Fates, connections: Connections, headers: Headers
) -> None:
    """Fetch what frames will need that arrive within the bucket just opened: first their rows, then what these name."""
    calendar, paths, link_count = state.calendar, state.paths, len(state.links)
    first_id = int64(state.progress[0].first_id)
    begin, end = int64(calendar.row[0].begin), int64(calendar.row[0].end)
    for place in range(begin, end):
        event = calendar.events[at(calendar.order[at(place)].event)]
        if event.source < link_count:
            row = (int64(event.packet) - first_id) & NUMBERS
            prefetch(packets.flow, at(row))
            prefetch(fates.queue_ns, at(row))
            prefetch(fates.state, at(row))
            prefetch(headers.headers, at(row))
    for place in range(begin, end):
        event = calendar.events[at(calendar.order[at(place)].event)]
        if event.source < link_count:
            row = (int64(event.packet) - first_id) & NUMBERS
            flow, hop = int64(packets.flow[at(row)]), int64(event.hop) + 1
            last_hop = int64(paths[at(event.path)].hops) + (1 if rules.host_links else -1)
            if hop > last_hop:
                prefetch_begin(connections.halves, at(flow ^ 1))
                prefetch_begin(connections.halves, at(flow))
            elif hop == last_hop and rules.host_links:
                prefetch(state.links, at(state.flows[at(flow)].downlink))
            else:
                first = int64(paths[at(event.path)].first_hop) - int64(rules.host_links)
                link = int64(state.hops[at(first + hop)])
                prefetch(state.links, at(link))
                prefetch(state.rings.rings, at(link))
