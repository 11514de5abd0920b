"""Changes of links while frames are under way: failures, slower rates, recoveries (docs/model.md, Changes of links)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.engine.hosts import expect_timeout
from segcast.analyzer.engine.queues import END, depart, free, heap_place
from segcast.analyzer.engine.state import NEVER_NS, Rules, State
from segcast.analyzer.network.model import Change
from segcast.analyzer.network.transmitter import transmit_on
from segcast.analyzer.packets import DROPPED, LOST, Fates
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
    nodes, queues, progress, links = state.nodes, state.queues, state.progress, state.links
    depart(nodes, queues, progress, link, int64(NEVER_NS))
    transit = len(links) + link
    node = int64(queues[transit].head)
    last = int64(END)
    while node != END and nodes[node].time_ns - links[link].delay_ns <= now_ns:
        last = node
        node = int64(nodes[node].next)
    if last == END:
        queues[transit].head = END
    else:
        nodes[last].next = END
        queues[transit].tail = last
    while node != END:
        subject = nodes[node].index
        fates.state[subject] |= DROPPED
        fates.receive_ns[subject] = LOST
        links[link].carried_bytes -= int64(nodes[node].bytes) + links[link].overhead_bytes
        if rules.tracks:
            state.flows[flow_of[subject]].pending -= 1
        expect_timeout(progress, rules.ack, fates.state[subject], subject)
        node = free(nodes, progress, node)
    links[link].backlog_bytes = 0
    links[link].rate_bps = 0
    links[link].free_ns = now_ns
    links[link].free_rest = 0


@kernel
def set_rate(state: State, fates: Fates, link: int, rate_bps: int, now_ns: int) -> None:
    """The link goes on at another rate: the frame in transmission ends as it would have, the others follow it."""
    nodes, queues, links = state.nodes, state.queues, state.links
    links[link].backlog_bytes -= depart(nodes, queues, state.progress, link, now_ns)
    transit = len(links) + link
    node = int64(queues[transit].head)
    while node != END and nodes[node].time_ns - links[link].delay_ns <= now_ns:
        node = int64(nodes[node].next)
    links[link].rate_bps = rate_bps
    links[link].per_bit = 1.0 / rate_bps
    waiting = int64(queues[link].head)
    if node == END:
        return
    free_ns = nodes[node].time_ns - links[link].delay_ns
    before_ns = free_ns  # when the frame ahead left at the old rate
    links[link].free_ns = free_ns
    links[link].free_rest = 0
    node = int64(nodes[node].next)
    if links[link].bounded:
        waiting = int64(nodes[waiting].next)
    while node != END:
        queues_ns = links[link].free_ns + (links[link].free_rest > 0) - before_ns
        before_ns = nodes[node].time_ns - links[link].delay_ns
        sent = transmit_on(links, link, now_ns, int64(nodes[node].bytes) + links[link].overhead_bytes)
        fates.queue_ns[nodes[node].index] += queues_ns
        nodes[node].time_ns = sent.departs_ns + links[link].delay_ns
        if links[link].bounded:
            nodes[waiting].time_ns = sent.departs_ns
            waiting = int64(nodes[waiting].next)
        node = int64(nodes[node].next)


@kernel
def rebuild_heap(state: State) -> None:
    """Place the heads of all transits and acknowledgement queues anew."""
    links = len(state.links)
    heap, progress = state.heap, state.progress
    held = np.zeros(len(state.queues) - links, np.bool_)
    for entry in range(progress[0].heap_size):
        held[heap[entry].link] = True
    progress[0].heap_size = 0
    for source in range(len(held)):
        node = int64(state.queues[links + source].head)
        if held[source] and node != END:
            heap_place(heap, progress[0].heap_size, state.nodes[node].time_ns, int64(source))
            progress[0].heap_size += 1


def apply(step: Step, state: State, rules: Rules, flow_of: NDArray[np.uint32], fates: Fates) -> None:
    """Make a step of a cell's state; `flow_of` and `fates` are those of its present window."""
    links = state.links
    if step.routing:
        _route(step, state)
        return
    if step.rate_bps == links[step.link]["rate_bps"]:
        return
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
    rebuild_heap(state)


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
