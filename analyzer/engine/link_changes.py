"""Changes of links while frames are under way: failures, slower rates, recoveries (docs/model.md, Changes of links)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.calendar import NUMBERS, with_times_of_now
from segcast.analyzer.engine.hosts import expect_timeout
from segcast.analyzer.engine.rings import leave
from segcast.analyzer.engine.state import Rules, State
from segcast.analyzer.network.model import Change
from segcast.analyzer.network.transmitter import transmit_on
from segcast.analyzer.packets import AT_DEAD_LINK, DROPPED, LOST, UNDETECTED, Fates
from segcast.traces.jit import int64, kernel


class Step(NamedTuple):
    """What happens before everything else at `time_ns`: a link gets a rate, or (`routing`) routing learns of it."""

    time_ns: int
    link: int
    rate_bps: int
    routing: bool


def steps(changes: Sequence[Change], detection_ns: int) -> list[Step]:
    """Changes and what routing learns of them, in order of time; at one instant, changes first, as given."""
    made = [Step(c.time_ns, c.link, c.rate_bps, False) for c in changes]
    seen = [Step(c.time_ns + detection_ns, c.link, c.rate_bps, True) for c in changes]
    return sorted([*made, *seen], key=lambda step: (step.time_ns, step.routing))


@kernel
def take_down(state: State, rules: Rules, flow_of: NDArray[np.uint32], fates: Fates, link: int, now_ns: int) -> None:
    """The link fails: whatever has not left it is dropped."""
    rings, events, progress, links = state.rings, state.calendar.events, state.progress, state.links
    leave(rings, link, now_ns)
    ring = rings.rings[link]
    for number in range(ring.first, ring.next):
        entry = rings.entries[ring.begin + (number & ring.mask)]
        subject = (int64(events[entry.index].packet) - progress[0].first_id) & NUMBERS
        events[entry.index].source = -1
        fates.hop[subject] = events[entry.index].hop
        fates.state[subject] |= DROPPED | AT_DEAD_LINK
        if not state.routes_down[link]:
            fates.state[subject] |= UNDETECTED
        fates.receive_ns[subject] = LOST
        links[link].carried_bytes -= int64(entry.bytes) + links[link].overhead_bytes
        if rules.tracks:
            state.flows[flow_of[subject]].pending -= 1
        expect_timeout(progress, rules.ack, fates.state[subject], subject)
    rings.rings[link].first = ring.next
    links[link].backlog_bytes = 0
    links[link].rate_bps = 0
    links[link].free_ns = now_ns
    links[link].free_rest = 0


@kernel
def set_rate(state: State, fates: Fates, link: int, rate_bps: int, now_ns: int) -> None:
    """The link goes on at another rate: the frame in transmission ends as it would have, the others follow it."""
    rings, events, links = state.rings, state.calendar.events, state.links
    links[link].backlog_bytes -= leave(rings, link, now_ns)
    links[link].rate_bps = rate_bps
    links[link].per_bit = 1.0 / rate_bps
    ring = rings.rings[link]
    if ring.first == ring.next:
        return
    free_ns = rings.entries[ring.begin + (ring.first & ring.mask)].time_ns
    before_ns = free_ns  # when the frame ahead left at the old rate
    links[link].free_ns = free_ns
    links[link].free_rest = 0
    for number in range(ring.first + 1, ring.next):
        place = ring.begin + (number & ring.mask)
        event = rings.entries[place].index
        queues_ns = links[link].free_ns + (links[link].free_rest > 0) - before_ns
        before_ns = rings.entries[place].time_ns
        sent = transmit_on(links, link, now_ns, int64(rings.entries[place].bytes) + links[link].overhead_bytes)
        fates.queue_ns[(int64(events[event].packet) - state.progress[0].first_id) & NUMBERS] += queues_ns
        events[event].time_ns = sent.departs_ns + links[link].delay_ns
        rings.entries[place].time_ns = sent.departs_ns


def apply(step: Step, state: State, rules: Rules, flow_of: NDArray[np.uint32], fates: Fates) -> State:
    """Make a step of a cell's state, and give that back; `flow_of` and `fates` are those of its present window."""
    links = state.links
    if step.routing:
        _route(step, state)
        return state
    if step.rate_bps == links[step.link]["rate_bps"]:
        return state
    state.progress["clock_ns"] = step.time_ns  # no timeout of what is dropped now expires earlier
    if step.rate_bps == 0:
        take_down(state, rules, flow_of, fates, step.link, step.time_ns)
    elif links[step.link]["rate_bps"] == 0:
        links["rate_bps"][step.link] = step.rate_bps
        links["per_bit"][step.link] = 1.0 / step.rate_bps
        links["free_ns"][step.link] = step.time_ns
        links["free_rest"][step.link] = 0
    else:
        set_rate(state, fates, step.link, step.rate_bps, step.time_ns)
    return state._replace(calendar=with_times_of_now(state.calendar))


def _route(step: Step, state: State) -> None:
    """Routing learns that a link is down or up; `down` of a path counts its links that routing knows to be down."""
    known = state.routes_down
    if bool(known[step.link]) == (step.rate_bps == 0):
        return
    known[step.link] = step.rate_bps == 0
    change = 1 if step.rate_bps == 0 else -1
    for path in _through(state, step.link):
        state.paths["down"][path] += change
    state.progress["routing"] += 1


def _through(state: State, link: int) -> Iterator[int]:
    for number, path in enumerate(state.paths):
        hops = state.hops[path["first_hop"] : path["first_hop"] + path["hops"]]
        if link in hops:
            yield number
