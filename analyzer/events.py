"""The event loop of the engine: packets of the trace and arrivals from links, in one order, through policy and queues.

One loop body serves both sources of frames, so a further source is one more branch where the next event is picked.
The rules are those of docs/model.md, by section.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.network import ETHERNET_HEADER_BYTES
from analyzer.policies.registry import Decision, Policy, choose
from analyzer.queues import END, heap_place, heap_replace_top
from traces.jit import int64, kernel, kernel_of

NANOSECOND_BITS: Final = 8_000_000_000
NEVER_NS: Final = np.iinfo(np.int64).max
UNBOUNDED_BYTES: Final = np.iinfo(np.int64).max

MARKED: Final = 1
DROPPED: Final = 2
RECEIVED: Final = 4

DONE: Final = 0
POOL_IS_FULL: Final = 1
BAD_SLOT: Final = 2

LINK: Final = np.dtype(
    [
        ("rate_bps", np.int64),
        ("per_bit", np.float64),
        ("delay_ns", np.int64),
        ("buffer_bytes", np.int64),
        ("ecn_bytes", np.int64),
        ("overhead_bytes", np.int64),
        ("free_ns", np.int64),
        ("free_rest", np.int64),
        ("backlog_bytes", np.int64),
        ("carried_bytes", np.int64),
        ("bounded", np.int64),
    ],
    align=True,
)
PATH: Final = np.dtype(
    [
        ("first_hop", np.int32),
        ("hops", np.int32),
        ("srv6_bytes", np.int64),
        ("ack_delay_ns", np.int64),
    ],
    align=True,
)
FLOW: Final = np.dtype(
    [
        ("last_ns", np.int64),
        ("first_counter", np.int64),
        ("first_path", np.int32),
        ("path_count", np.int32),
        ("slot", np.int32),
        ("flowlet", np.uint32),
    ],
    align=True,
)

# Places in `scalars`.
FREE_NODE, HEAP_SIZE, NEXT_FLOWLET, LOST, NEXT_PACKET = range(5)
SCALARS: Final = 5


class Packets(NamedTuple):
    """Packets in send order: `send_ns` int64[n], `flow` uint32[n], `ip_bytes` uint32[n]."""

    send_ns: NDArray[np.int64]
    flow: NDArray[np.uint32]
    ip_bytes: NDArray[np.uint32]


class Fates(NamedTuple):
    """What became of each packet, and where it is until then; `state` is a sum of MARKED, DROPPED and RECEIVED."""

    path: NDArray[np.uint16]
    flowlet: NDArray[np.uint32]
    receive_ns: NDArray[np.int64]
    queue_ns: NDArray[np.int64]
    state: NDArray[np.uint8]
    hop: NDArray[np.uint8]


class Rules(NamedTuple):
    """Scalars of a cell that do not change while it runs."""

    timeout_ns: int
    minimum_frame_bytes: int
    loss_timeout_ns: int
    steered: bool
    counts_inflight: bool


class State(NamedTuple):
    """Everything a cell carries from one batch to the next.

    `links` LINK, `paths` PATH, `hops` int32 (links of all paths, path after path), `flows` FLOW, `inflight` int64
    (bytes, a counter per host, group and slot), `nodes` NODE and `queues` QUEUE: first a backlog per link, then a
    transit per link, an acknowledgement queue per path, a loss queue per hop; `heap` ENTRY per link; `scalars` int64.
    """

    links: NDArray[np.void]
    paths: NDArray[np.void]
    hops: NDArray[np.int32]
    flows: NDArray[np.void]
    inflight: NDArray[np.int64]
    nodes: NDArray[np.void]
    queues: NDArray[np.void]
    heap: NDArray[np.void]
    scalars: NDArray[np.int64]


Run = Callable[[State, Rules, Any, Packets, Fates, int, int], int]


@kernel
def _push(
    nodes: NDArray[np.void],
    queues: NDArray[np.void],
    scalars: NDArray[np.int64],
    queue: int,
    time_ns: int,
    index: int,
    size: int,
) -> None:
    """Append a node to a queue; the caller has made sure of a free one."""
    node = scalars[FREE_NODE]
    scalars[FREE_NODE] = nodes[node].next
    nodes[node].time_ns = time_ns
    nodes[node].index = index
    nodes[node].bytes = size
    nodes[node].next = END
    if queues[queue].head == END:
        queues[queue].head = node
    else:
        nodes[queues[queue].tail].next = node
    queues[queue].tail = node


@kernel
def _release(
    nodes: NDArray[np.void],
    queues: NDArray[np.void],
    scalars: NDArray[np.int64],
    queue: int,
    time_ns: int,
    inflight: NDArray[np.int64],
) -> int:
    """Take what is due at `time_ns` off an acknowledgement or loss queue and off its counters; returns how many."""
    node = int64(queues[queue].head)
    released = 0
    while node != END and nodes[node].time_ns <= time_ns:
        inflight[nodes[node].index] -= nodes[node].bytes
        following = int64(nodes[node].next)
        nodes[node].next = scalars[FREE_NODE]
        scalars[FREE_NODE] = node
        node = following
        released += 1
    if released > 0:
        queues[queue].head = node
    return released


def specialise(policy: Policy) -> Run:
    """The event loop compiled for one policy.

    The policy's source digest is a constant of the loop and so part of its key in the cache on disk: an edited policy
    is compiled anew, wherever its file lies.
    """
    digest = policy.digest

    def run(
        state: State, rules: Rules, policy_state: Any, packets: Packets, fates: Fates, stop: int, until_ns: int
    ) -> int:
        """Advance to packet `stop` and, once there, to `until_ns`; returns DONE, or POOL_IS_FULL to be called again.

        Nothing has changed for the event at hand when POOL_IS_FULL is returned. BAD_SLOT ends the cell.
        """
        _ = digest
        links, paths, hops, flows = state.links, state.paths, state.hops, state.flows
        nodes, queues, heap, scalars, inflight = (
            state.nodes,
            state.queues,
            state.heap,
            state.scalars,
            state.inflight,
        )
        send_ns, packet_flow, ip_bytes = packets.send_ns, packets.flow, packets.ip_bytes
        fate_path, fate_state, fate_hop = fates.path, fates.state, fates.hop
        queue_ns, receive_ns, fate_flowlet = fates.queue_ns, fates.receive_ns, fates.flowlet
        timeout_ns, minimum_bytes = rules.timeout_ns, rules.minimum_frame_bytes
        link_count = len(links)
        first_ack = 2 * link_count
        first_loss = first_ack + len(paths)
        packet = scalars[NEXT_PACKET]

        while True:
            # Two free nodes serve any event: one for the backlog, one for what follows.
            node = scalars[FREE_NODE]
            if node == END or nodes[node].next == END:
                now_ns = send_ns[packet] if packet < stop else until_ns
                if scalars[HEAP_SIZE] > 0:
                    now_ns = min(now_ns, heap[0].time_ns)
                released = 0
                for queue in range(first_ack, len(queues)):
                    count = _release(nodes, queues, scalars, queue, now_ns, inflight)
                    if queue >= first_loss:
                        scalars[LOST] -= count
                    released += count
                # Growing is better than combing all queues again soon.
                if released <= len(nodes) >> 3:
                    scalars[NEXT_PACKET] = packet
                    return POOL_IS_FULL

            # The next event: what links deliver comes before what the trace sends (Order of events).
            due_ns = send_ns[packet] if packet < stop else until_ns
            if scalars[HEAP_SIZE] > 0 and heap[0].time_ns <= due_ns:
                now_ns = heap[0].time_ns
                left = heap[0].link
                queue = link_count + left
                node = int64(queues[queue].head)
                subject = nodes[node].index
                frame_bytes = int64(nodes[node].bytes)
                following = int64(nodes[node].next)
                nodes[node].next = scalars[FREE_NODE]
                scalars[FREE_NODE] = node
                queues[queue].head = following
                if following != END:
                    heap_replace_top(heap, scalars[HEAP_SIZE], nodes[following].time_ns, left)
                else:
                    scalars[HEAP_SIZE] -= 1
                    last = scalars[HEAP_SIZE]
                    if last > 0:
                        heap_replace_top(heap, last, heap[last].time_ns, heap[last].link)
                path = int64(fate_path[subject])
                flow = int64(packet_flow[subject])
                hop = int64(fate_hop[subject]) + 1
                fate_hop[subject] = hop
            elif packet < stop:
                subject = packet
                packet += 1
                now_ns = due_ns
                flow = int64(packet_flow[subject])
                slot = int64(flows[flow].slot)
                first_path = int64(flows[flow].first_path)
                if slot < 0 or now_ns - flows[flow].last_ns > timeout_ns:
                    count = int64(flows[flow].path_count)
                    if rules.counts_inflight:
                        for candidate in range(first_path, first_path + count):
                            _release(nodes, queues, scalars, first_ack + candidate, now_ns, inflight)
                            if scalars[LOST] > 0:
                                start = first_loss + paths[candidate].first_hop
                                for queue in range(start, start + paths[candidate].hops):
                                    scalars[LOST] -= _release(nodes, queues, scalars, queue, now_ns, inflight)
                    slot = choose(policy_state, Decision(now_ns, flow, flows[flow].first_counter, count), inflight)
                    if slot < 0 or slot >= count:
                        return BAD_SLOT
                    flows[flow].slot = slot
                    flows[flow].flowlet = scalars[NEXT_FLOWLET]
                    scalars[NEXT_FLOWLET] += 1
                flows[flow].last_ns = now_ns
                path = first_path + slot
                hop = 0
                frame_bytes = int64(ip_bytes[subject]) + ETHERNET_HEADER_BYTES
                if rules.steered:
                    frame_bytes += paths[path].srv6_bytes
                frame_bytes = max(frame_bytes, minimum_bytes)
                fate_path[subject] = path
                fate_flowlet[subject] = flows[flow].flowlet
                fate_hop[subject] = 0
                fate_state[subject] = 0
                queue_ns[subject] = 0
                if rules.counts_inflight:
                    inflight[flows[flow].first_counter + slot] += frame_bytes
            else:
                scalars[NEXT_PACKET] = packet
                return DONE

            # The frame meets the queue of its next link (Links).
            link = int64(hops[paths[path].first_hop + hop])
            backlog = int64(0)
            if links[link].bounded:
                backlog = links[link].backlog_bytes
                node = int64(queues[link].head)
                while node != END and nodes[node].time_ns <= now_ns:
                    backlog -= nodes[node].bytes
                    following = int64(nodes[node].next)
                    nodes[node].next = scalars[FREE_NODE]
                    scalars[FREE_NODE] = node
                    node = following
                queues[link].head = node
                if backlog + frame_bytes > links[link].buffer_bytes:
                    links[link].backlog_bytes = backlog
                    fate_state[subject] |= DROPPED
                    receive_ns[subject] = -1
                    if rules.counts_inflight:
                        counter = flows[flow].first_counter + path - flows[flow].first_path
                        lost_ns = max(now_ns, send_ns[subject] + rules.loss_timeout_ns)
                        queue = first_loss + paths[path].first_hop + hop
                        _push(nodes, queues, scalars, queue, lost_ns, counter, frame_bytes)
                        scalars[LOST] += 1
                    continue
                if backlog >= links[link].ecn_bytes:
                    fate_state[subject] |= MARKED
                links[link].backlog_bytes = backlog + frame_bytes
            rate = links[link].rate_bps
            free_ns = links[link].free_ns
            rest = links[link].free_rest
            if now_ns > free_ns:
                free_ns = now_ns
                rest = int64(0)
            else:
                queue_ns[subject] += free_ns + (rest > 0) - now_ns
            # The fraction of a nanosecond is carried as `rest` / rate, so that a busy link keeps its exact rate.
            size = frame_bytes + links[link].overhead_bytes
            bits = size * NANOSECOND_BITS + rest
            whole = int64(np.float64(bits) * links[link].per_bit)
            rest = bits - whole * rate
            if rest < 0:
                whole -= 1
                rest += rate
            elif rest >= rate:
                whole += 1
                rest -= rate
            links[link].free_ns = free_ns + whole
            links[link].free_rest = rest
            links[link].carried_bytes += size
            departs_ns = free_ns + whole + (rest > 0)
            if links[link].bounded:
                _push(nodes, queues, scalars, link, departs_ns, 0, frame_bytes)

            # It goes on to another link, or is received.
            arrives_ns = departs_ns + links[link].delay_ns
            if hop + 1 < paths[path].hops:
                queue = link_count + link
                if queues[queue].head == END:
                    heap_place(heap, scalars[HEAP_SIZE], arrives_ns, link)
                    scalars[HEAP_SIZE] += 1
                _push(nodes, queues, scalars, queue, arrives_ns, subject, frame_bytes)
            else:
                receive_ns[subject] = arrives_ns
                fate_state[subject] |= RECEIVED
                if rules.counts_inflight:
                    counter = flows[flow].first_counter + path - flows[flow].first_path
                    acked_ns = arrives_ns + paths[path].ack_delay_ns
                    _push(nodes, queues, scalars, first_ack + path, acked_ns, counter, frame_bytes)

    return kernel_of(policy.state, run)
