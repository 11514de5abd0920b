"""The event loop of the engine: packets of the trace and arrivals from links, in one order, through policy and queues.

One loop body serves both sources of frames, so a further source is one more branch where the next event is picked.
The rules are those of docs/model.md, by section. Packets are named by their row in the present window (see `window`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.detectors.registry import Detector, Gap, observe, starts
from analyzer.network import ETHERNET_HEADER_BYTES
from analyzer.policies.registry import PENALTY_BYTES, Decision, Fabric, Feedback, Policy, choose, learn
from analyzer.queues import END, heap_place, heap_replace_top
from traces.jit import at, int64, kernel

NANOSECOND_BITS: Final = 8_000_000_000
NEVER_NS: Final = np.iinfo(np.int64).max
UNBOUNDED_BYTES: Final = np.iinfo(np.int64).max

# State of a packet, a sum.
MARKED: Final = 1
DROPPED: Final = 2
RECEIVED: Final = 4
RELEASED: Final = 8  # its bytes have left the in-flight count, or were never in it

# What `run` returns.
DONE: Final = 0
POOL_IS_FULL: Final = 1
BAD_SLOT: Final = 2

# Rules.granularity: when the policy is asked.
PER_FLOW: Final = 0
PER_FLOWLET: Final = 1
PER_PACKET: Final = 2
ASKED: Final = 3

# Rules.ack: when bytes leave the in-flight count.
UNCOUNTED: Final = 0
LAZY: Final = 1  # modelled, released when a choice needs it: counters are sums, so the order does not matter
ORDERED: Final = 2  # modelled, each at its time
SCHEDULED: Final = 3  # at times given by the trace: recorded acknowledgements, or timeouts alone

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
        ("marked", np.int64),
        ("bounded", np.int64),
        ("estimate_bytes", np.int64),
        ("estimate_period", np.int64),
    ],
    align=True,
)
PATH: Final = np.dtype(
    [
        ("first_hop", np.int32),
        ("hops", np.int32),
        ("srv6_bytes", np.int64),
        ("ack_delay_ns", np.int64),
        ("ack_queue", np.int32),
        ("down", np.int32),
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
        ("sent_bytes", np.int64),
        ("clear_ns", np.int64),
        ("ack_delay_ns", np.int64),
        ("pending", np.int32),
        ("routing", np.int32),
        ("uplink", np.int32),
        ("downlink", np.int32),
        ("ack_queue", np.int64),
    ],
    align=True,
)
COUNTER: Final = np.dtype([("suspect_until_ns", np.int64), ("silent", np.int64)], align=True)

# Places in `scalars`.
FREE_NODE, HEAP_SIZE, NEXT_FLOWLET, LOST, NEXT_PACKET, EXPIRY, CLOCK_NS, ROUTING, SUSPECTS = range(9)
SCALARS: Final = 9

# CONGA's estimator of a link's load (Alizadeh et al., SIGCOMM 2014, section 3.2): a register that every frame raises by
# its bytes and that loses an eighth each period; over its time constant (8 periods) that is the rate.
ESTIMATE_PERIOD_NS: Final = 20_000
ESTIMATE_SHIFT: Final = 3
ESTIMATE_LEVELS: Final = 8
_FORGOTTEN: Final = 400  # periods after which nothing is left of the register


class Packets(NamedTuple):
    """Packets in send order: `send_ns` int64[n], `flow` uint32[n], `ip_bytes` uint32[n]."""

    send_ns: NDArray[np.int64]
    flow: NDArray[np.uint32]
    ip_bytes: NDArray[np.uint32]


class Fates(NamedTuple):
    """What became of each packet, and where it is until then; `state` is a sum of MARKED, DROPPED, RECEIVED, RELEASED.

    `congestion` is the highest level that the links noted, if the policy measures.
    """

    path: NDArray[np.uint16]
    flowlet: NDArray[np.uint32]
    receive_ns: NDArray[np.int64]
    queue_ns: NDArray[np.int64]
    state: NDArray[np.uint8]
    hop: NDArray[np.uint8]
    congestion: NDArray[np.uint8]


class Releases(NamedTuple):
    """When bytes leave the in-flight count, if the trace says so: in order of time, then of packet; else empty.

    `time_ns` int64[m], `packet` int64[m].
    """

    time_ns: NDArray[np.int64]
    packet: NDArray[np.int64]


class Rules(NamedTuple):
    """Scalars of a cell that do not change while it runs."""

    granularity: int
    ack: int
    minimum_frame_bytes: int
    loss_timeout_ns: int
    steered: bool
    by_counter: bool
    learns: bool
    tracks: bool
    measures: bool
    host_links: bool
    defers: bool
    suspect_after: int
    suspect_for_ns: int


class State(NamedTuple):
    """Everything a cell carries from one batch to the next.

    `links` LINK, `paths` PATH, `hops` int32 (links of all paths, path after path), `flows` FLOW, `inflight` int64
    (bytes, by counter), `counters` COUNTER, `nodes` NODE and `queues` QUEUE: first a backlog per link, then a transit
    per link, then the acknowledgement queues; `heap` ENTRY: the heads of transits (source: the link's number) and, if
    acknowledgements are ordered, of their queues (source: number of links + queue); `scalars` int64; `routes_down` says
    which links routing knows to be down.
    """

    links: NDArray[np.void]
    paths: NDArray[np.void]
    hops: NDArray[np.int32]
    flows: NDArray[np.void]
    inflight: NDArray[np.int64]
    counters: NDArray[np.void]
    nodes: NDArray[np.void]
    queues: NDArray[np.void]
    heap: NDArray[np.void]
    scalars: NDArray[np.int64]
    routes_down: NDArray[np.bool_]


Run = Callable[[State, Rules, Any, Any, Packets, Fates, Releases, int, int], int]


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
    scalars[FREE_NODE] = nodes[at(node)].next
    nodes[at(node)].time_ns = time_ns
    nodes[at(node)].index = index
    nodes[at(node)].bytes = size
    nodes[at(node)].next = END
    if queues[at(queue)].head == END:
        queues[at(queue)].head = node
    else:
        nodes[at(queues[at(queue)].tail)].next = node
    queues[at(queue)].tail = node


@kernel
def _release(
    nodes: NDArray[np.void],
    queues: NDArray[np.void],
    scalars: NDArray[np.int64],
    queue: int,
    time_ns: int,
    inflight: NDArray[np.int64],
) -> int:
    """Take what is due at `time_ns` off an acknowledgement queue and off its counters; returns how many."""
    node = int64(queues[at(queue)].head)
    released = 0
    while node != END and nodes[at(node)].time_ns <= time_ns:
        inflight[at(nodes[at(node)].index)] -= nodes[at(node)].bytes
        following = int64(nodes[at(node)].next)
        nodes[at(node)].next = scalars[FREE_NODE]
        scalars[FREE_NODE] = node
        node = following
        released += 1
    if released > 0:
        queues[at(queue)].head = node
    return released


@kernel
def _pop(
    nodes: NDArray[np.void],
    queues: NDArray[np.void],
    heap: NDArray[np.void],
    scalars: NDArray[np.int64],
    source: int,
    links: int,
) -> None:
    """Take the head off the queue of the heap's first entry, and put the next in its place."""
    queue = links + source
    node = int64(queues[at(queue)].head)
    following = int64(nodes[at(node)].next)
    nodes[at(node)].next = scalars[FREE_NODE]
    scalars[FREE_NODE] = node
    queues[at(queue)].head = following
    if following != END:
        heap_replace_top(heap, scalars[HEAP_SIZE], nodes[at(following)].time_ns, source)
    else:
        scalars[HEAP_SIZE] -= 1
        last = scalars[HEAP_SIZE]
        if last > 0:
            heap_replace_top(heap, last, heap[at(last)].time_ns, heap[at(last)].link)


@kernel
def _congestion(links: NDArray[np.void], link: int, now_ns: int, size: int) -> int:
    """Add a frame to a link's load estimator; its level, 0 to 7."""
    period = now_ns // ESTIMATE_PERIOD_NS
    passed = period - links[at(link)].estimate_period
    register = int64(links[at(link)].estimate_bytes)
    if passed >= _FORGOTTEN:
        register = int64(0)
    else:
        for _ in range(passed):
            register -= register >> ESTIMATE_SHIFT
    register += size
    links[at(link)].estimate_bytes = register
    links[at(link)].estimate_period = period
    capacity_bits = links[at(link)].rate_bps * (ESTIMATE_PERIOD_NS << ESTIMATE_SHIFT) // 1_000_000_000
    return min(ESTIMATE_LEVELS - 1, register * 8 * ESTIMATE_LEVELS // max(capacity_bits, 1))


def specialise(policy: Policy, detector: Detector) -> Run:
    """The event loop compiled for one policy and one detector.

    The digests of their sources are constants of the loop and so part of its key in the cache on disk: an edited one is
    compiled anew, wherever its file lies.
    """
    digest = policy.digest ^ (detector.digest << 1)
    # Constants of the loop too: what a policy has no use for is not compiled into it.
    steered, by_counter, measures = policy.steered, policy.by == "counter", policy.measures
    learns, tracks = policy.learns or detector.learns, detector.tracks

    @kernel
    def run(
        state: State,
        rules: Rules,
        policy_state: Any,
        detector_state: Any,
        packets: Packets,
        fates: Fates,
        releases: Releases,
        stop: int,
        until_ns: int,
    ) -> int:
        """Advance to packet `stop` and, once there, to `until_ns`; returns DONE, or POOL_IS_FULL to be called again.

        Nothing has changed for the event at hand when POOL_IS_FULL is returned. BAD_SLOT ends the cell.
        """
        _ = digest
        links, paths, hops, flows = state.links, state.paths, state.hops, state.flows
        nodes, queues, heap, scalars = state.nodes, state.queues, state.heap, state.scalars
        inflight, counters = state.inflight, state.counters
        send_ns, packet_flow, ip_bytes = packets.send_ns, packets.flow, packets.ip_bytes
        fate_path, fate_state, fate_hop = fates.path, fates.state, fates.hop
        queue_ns, receive_ns, fate_flowlet = fates.queue_ns, fates.receive_ns, fates.flowlet
        minimum_bytes, granularity, ack = rules.minimum_frame_bytes, rules.granularity, rules.ack
        fabric = Fabric(links, paths, hops)
        link_count = len(links)
        first_ack = 2 * link_count
        packet = scalars[NEXT_PACKET]
        clock_ns = scalars[CLOCK_NS]

        while True:
            # Two free nodes serve any event: one for the backlog, one for what follows.
            node = scalars[FREE_NODE]
            if node == END or nodes[at(node)].next == END:
                released = 0
                if ack == LAZY:
                    now_ns = send_ns[at(packet)] if packet < stop else until_ns
                    if scalars[HEAP_SIZE] > 0:
                        now_ns = min(now_ns, heap[0].time_ns)
                    for queue in range(first_ack, len(queues)):
                        released += _release(nodes, queues, scalars, queue, now_ns, inflight)
                # Growing is better than combing all queues again soon.
                if released <= len(nodes) >> 3:
                    scalars[NEXT_PACKET] = packet
                    scalars[CLOCK_NS] = clock_ns
                    return POOL_IS_FULL

            # The next event (Order of events).
            due_ns = send_ns[at(packet)] if packet < stop else until_ns
            expiring = int64(-1)
            expires_ns = int64(NEVER_NS)
            if ack == SCHEDULED:
                entry = scalars[EXPIRY]
                if entry < len(releases.time_ns) and releases.packet[entry] < packet:
                    expiring = releases.packet[entry]
                    expires_ns = max(releases.time_ns[entry], clock_ns)
            elif scalars[LOST] > 0:
                entry = scalars[EXPIRY]
                while fate_state[at(entry)] & (DROPPED | RELEASED) != DROPPED:
                    entry += 1
                scalars[EXPIRY] = entry
                expiring = entry
                expires_ns = max(send_ns[at(entry)] + rules.loss_timeout_ns, clock_ns)
            before_ns = min(due_ns, expires_ns)

            if scalars[HEAP_SIZE] > 0 and heap[0].time_ns <= before_ns:
                now_ns = heap[0].time_ns
                clock_ns = now_ns
                source = int64(heap[0].link)
                node = int64(queues[at(link_count + source)].head)
                subject = nodes[at(node)].index
                frame_bytes = int64(nodes[at(node)].bytes)
                _pop(nodes, queues, heap, scalars, source, link_count)
                flow = int64(packet_flow[at(subject)])
                path = int64(fate_path[at(subject)])
                if source >= link_count:  # an acknowledgement returns
                    slot = path - flows[at(flow)].first_path
                    counter = flows[at(flow)].first_counter + slot
                    inflight[at(counter)] -= frame_bytes
                    fate_state[at(subject)] |= RELEASED
                    counters[at(counter)].silent = 0
                    if learns:
                        feedback = Feedback(
                            now_ns,
                            flow,
                            int64(flows[at(flow)].first_counter),
                            int64(flows[at(flow)].first_path),
                            int64(flows[at(flow)].path_count),
                            slot,
                            frame_bytes,
                            fate_state[at(subject)] & MARKED != 0,
                            False,
                            receive_ns[at(subject)] - send_ns[at(subject)],
                            now_ns - send_ns[at(subject)],
                            int64(fates.congestion[at(subject)]),
                        )
                        learn(policy_state, feedback)
                        observe(detector_state, feedback)
                    continue
                hop = int64(fate_hop[at(subject)]) + 1
                fate_hop[at(subject)] = hop
                last_hop = int64(paths[at(path)].hops) + (1 if rules.host_links else -1)
            elif (
                expiring >= 0 and expires_ns <= due_ns
            ):  # bytes leave the in-flight count by a timeout, or as the trace says
                now_ns = expires_ns
                clock_ns = now_ns
                flow = int64(packet_flow[at(expiring)])
                slot = int64(fate_path[at(expiring)]) - flows[at(flow)].first_path
                counter = flows[at(flow)].first_counter + slot
                frame_bytes = int64(ip_bytes[at(expiring)]) + ETHERNET_HEADER_BYTES
                if steered:
                    frame_bytes += paths[at(int64(fate_path[at(expiring)]))].srv6_bytes
                frame_bytes = max(frame_bytes, minimum_bytes)
                inflight[at(counter)] -= frame_bytes
                fate_state[at(expiring)] |= RELEASED
                scalars[EXPIRY] += 1
                if ack == SCHEDULED:
                    continue
                scalars[LOST] -= 1
                if rules.suspect_after > 0 and counters[at(counter)].suspect_until_ns <= now_ns:
                    counters[at(counter)].silent += 1
                    if counters[at(counter)].silent >= rules.suspect_after:
                        counters[at(counter)].silent = 0
                        counters[at(counter)].suspect_until_ns = now_ns + rules.suspect_for_ns
                        scalars[SUSPECTS] = max(scalars[SUSPECTS], now_ns + rules.suspect_for_ns)
                if learns:
                    feedback = Feedback(
                        now_ns,
                        flow,
                        int64(flows[at(flow)].first_counter),
                        int64(flows[at(flow)].first_path),
                        int64(flows[at(flow)].path_count),
                        slot,
                        frame_bytes,
                        fate_state[at(expiring)] & MARKED != 0,
                        True,
                        int64(-1),
                        now_ns - send_ns[at(expiring)],
                        int64(0),
                    )
                    learn(policy_state, feedback)
                    observe(detector_state, feedback)
                continue
            elif packet < stop:
                subject = packet
                packet += 1
                now_ns = due_ns
                clock_ns = now_ns
                flow = int64(packet_flow[at(subject)])
                slot = int64(flows[at(flow)].slot)
                first_path = int64(flows[at(flow)].first_path)
                count = int64(flows[at(flow)].path_count)
                first_counter = int64(flows[at(flow)].first_counter)
                gap_ns = int64(-1) if slot < 0 else now_ns - flows[at(flow)].last_ns
                asks = slot < 0 or granularity >= PER_PACKET
                if slot >= 0:
                    if granularity == PER_FLOWLET:
                        travels = tracks and (flows[at(flow)].pending > 0 or flows[at(flow)].clear_ns > now_ns)
                        asks = starts(detector_state, Gap(now_ns, gap_ns, flow, first_counter, count, slot, travels))
                    elif granularity == PER_FLOW:
                        asks = not steered and flows[at(flow)].routing != scalars[ROUTING]
                if asks:
                    if ack == LAZY:
                        for candidate in range(first_path, first_path + count):
                            _release(nodes, queues, scalars, first_ack + candidate, now_ns, inflight)
                    # Slots that may be chosen.
                    usable = count
                    narrowed = scalars[SUSPECTS] > now_ns if steered else scalars[ROUTING] > 0
                    if narrowed:
                        usable = int64(0)
                        for candidate in range(count):
                            if steered:
                                barred = counters[at(first_counter + candidate)].suspect_until_ns > now_ns
                            else:
                                barred = paths[at(first_path + candidate)].down > 0
                            usable += not barred
                            if barred and by_counter:
                                inflight[at(first_counter + candidate)] += PENALTY_BYTES
                    all_or_none = usable == 0 or usable == count
                    choices = count if all_or_none or by_counter else usable
                    decision = Decision(
                        now_ns, flow, first_counter, first_path, choices, slot, flows[at(flow)].sent_bytes, gap_ns
                    )
                    chosen = int64(choose(policy_state, decision, inflight, fabric))
                    if chosen < 0 or chosen >= choices:
                        return BAD_SLOT
                    if narrowed:
                        nth = chosen
                        for candidate in range(count):
                            if steered:
                                barred = counters[at(first_counter + candidate)].suspect_until_ns > now_ns
                            else:
                                barred = paths[at(first_path + candidate)].down > 0
                            if barred and by_counter:
                                inflight[at(first_counter + candidate)] -= PENALTY_BYTES
                            if not barred and not by_counter and not all_or_none:
                                if nth == 0:
                                    chosen = int64(candidate)
                                nth -= 1
                    if granularity != ASKED or chosen != slot:
                        flows[at(flow)].slot = chosen
                        flows[at(flow)].flowlet = scalars[NEXT_FLOWLET]
                        scalars[NEXT_FLOWLET] += 1
                        slot = chosen
                    flows[at(flow)].routing = scalars[ROUTING]
                flows[at(flow)].last_ns = now_ns
                flows[at(flow)].sent_bytes += int64(ip_bytes[at(subject)])
                path = first_path + slot
                hop = 0
                frame_bytes = int64(ip_bytes[at(subject)]) + ETHERNET_HEADER_BYTES
                if steered:
                    frame_bytes += paths[at(path)].srv6_bytes
                frame_bytes = max(frame_bytes, minimum_bytes)
                fate_path[at(subject)] = path
                fate_flowlet[at(subject)] = flows[at(flow)].flowlet
                fate_hop[at(subject)] = 0
                queue_ns[at(subject)] = 0
                fates.congestion[at(subject)] = 0
                if ack == UNCOUNTED:
                    fate_state[at(subject)] = RELEASED
                else:
                    fate_state[at(subject)] = 0
                    inflight[at(first_counter + slot)] += frame_bytes
                if tracks:
                    flows[at(flow)].pending += 1
                last_hop = int64(paths[at(path)].hops) + (1 if rules.host_links else -1)
            else:
                scalars[NEXT_PACKET] = packet
                scalars[CLOCK_NS] = clock_ns
                return DONE

            # The frame meets the queue of its next link (Links), unless it has crossed its last.
            arrives_ns = now_ns
            if hop <= last_hop:
                if not rules.host_links:
                    link = int64(hops[at(paths[at(path)].first_hop + hop)])
                elif hop == 0:
                    link = int64(flows[at(flow)].uplink)
                elif hop == last_hop:
                    link = int64(flows[at(flow)].downlink)
                else:
                    link = int64(hops[at(paths[at(path)].first_hop + hop - 1)])
                rate = links[at(link)].rate_bps
                backlog = int64(0)
                fits = rate > 0
                if links[at(link)].bounded:
                    backlog = links[at(link)].backlog_bytes
                    node = int64(queues[at(link)].head)
                    while node != END and nodes[at(node)].time_ns <= now_ns:
                        backlog -= nodes[at(node)].bytes
                        following = int64(nodes[at(node)].next)
                        nodes[at(node)].next = scalars[FREE_NODE]
                        scalars[FREE_NODE] = node
                        node = following
                    queues[at(link)].head = node
                    links[at(link)].backlog_bytes = backlog
                    fits = fits and backlog + frame_bytes <= links[at(link)].buffer_bytes
                if not fits:
                    fate_state[at(subject)] |= DROPPED
                    receive_ns[at(subject)] = -1
                    if tracks:
                        flows[at(flow)].pending -= 1
                    if ack == LAZY or ack == ORDERED:
                        scalars[EXPIRY] = subject if scalars[LOST] == 0 else min(scalars[EXPIRY], subject)
                        scalars[LOST] += 1
                    continue
                if links[at(link)].bounded:
                    if backlog >= links[at(link)].ecn_bytes:
                        fate_state[at(subject)] |= MARKED
                        links[at(link)].marked += 1
                    links[at(link)].backlog_bytes = backlog + frame_bytes
                free_ns = links[at(link)].free_ns
                rest = links[at(link)].free_rest
                if now_ns > free_ns:
                    free_ns = now_ns
                    rest = int64(0)
                else:
                    queue_ns[at(subject)] += free_ns + (rest > 0) - now_ns
                # The fraction of a nanosecond is carried as `rest` / rate, so that a busy link keeps its exact rate.
                size = frame_bytes + links[at(link)].overhead_bytes
                bits = size * NANOSECOND_BITS + rest
                whole = int64(np.float64(bits) * links[at(link)].per_bit)
                rest = bits - whole * rate
                if rest < 0:
                    whole -= 1
                    rest += rate
                elif rest >= rate:
                    whole += 1
                    rest -= rate
                links[at(link)].free_ns = free_ns + whole
                links[at(link)].free_rest = rest
                links[at(link)].carried_bytes += size
                departs_ns = free_ns + whole + (rest > 0)
                if links[at(link)].bounded:
                    _push(nodes, queues, scalars, link, departs_ns, 0, frame_bytes)
                if measures:
                    level = _congestion(links, link, now_ns, size)
                    fates.congestion[at(subject)] = max(int64(fates.congestion[at(subject)]), level)

                # It goes on to another link, or is received.
                arrives_ns = departs_ns + links[at(link)].delay_ns
                if hop < last_hop or rules.defers:
                    queue = link_count + link
                    if queues[at(queue)].head == END:
                        heap_place(heap, scalars[HEAP_SIZE], arrives_ns, link)
                        scalars[HEAP_SIZE] += 1
                    _push(nodes, queues, scalars, queue, arrives_ns, subject, frame_bytes)
                    continue
            receive_ns[at(subject)] = arrives_ns
            fate_state[at(subject)] |= RECEIVED
            if tracks:
                flows[at(flow)].pending -= 1
                flows[at(flow)].clear_ns = max(flows[at(flow)].clear_ns, arrives_ns)
            if ack == LAZY or ack == ORDERED:
                acked_ns = arrives_ns + paths[at(path)].ack_delay_ns + flows[at(flow)].ack_delay_ns
                entry = paths[at(path)].ack_queue + flows[at(flow)].ack_queue
                if ack == LAZY:
                    fate_state[at(subject)] |= RELEASED  # the node knows all that is needed
                    counter = flows[at(flow)].first_counter + path - flows[at(flow)].first_path
                    _push(nodes, queues, scalars, first_ack + entry, acked_ns, counter, frame_bytes)
                else:
                    if queues[at(first_ack + entry)].head == END:
                        heap_place(heap, scalars[HEAP_SIZE], acked_ns, link_count + entry)
                        scalars[HEAP_SIZE] += 1
                    _push(nodes, queues, scalars, first_ack + entry, acked_ns, subject, frame_bytes)

    return run
