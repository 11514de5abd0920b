"""The event loop of the engine: packets of the trace and arrivals from links, in one order, through policy and queues.

One loop body serves both sources of frames, so a further source is one more branch where the next event is picked.
The rules are those of docs/model.md, by section. Packets are named by their row in the present window (see `window`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


from segcast.analyzer.detectors.registry import Detector, Gap, observe, starts
from segcast.analyzer.engine.queues import END, heap_place, pop, push, release
from segcast.analyzer.engine.state import (
    ASKED,
    BAD_SLOT,
    CLOCK_NS,
    DONE,
    DROPPED,
    EXPIRY,
    FREE_NODE,
    HEAP_SIZE,
    LAZY,
    LOST,
    MARKED,
    NEVER_NS,
    NEXT_FLOWLET,
    NEXT_PACKET,
    ORDERED,
    PER_FLOW,
    PER_FLOWLET,
    PER_PACKET,
    POOL_IS_FULL,
    RECEIVED,
    RELEASED,
    ROUTING,
    SCHEDULED,
    SUSPECTS,
    UNACKED,
    UNCOUNTED,
    Fates,
    Packets,
    Releases,
    Rules,
    State,
)
from segcast.analyzer.engine.unseen import unseen
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES
from segcast.analyzer.network.transmitter import Transmitter, transmit
from segcast.analyzer.policies.link_load import add_load
from segcast.analyzer.policies.registry import PENALTY_BYTES, Decision, Fabric, Feedback, Policy, choose, learn
from segcast.traces.jit import at, int64, kernel_of

Run = Callable[[State, Rules, Any, Any, Packets, Fates, Releases, int, int], int]


def specialise(policy: Policy, detector: Detector) -> Run:
    """The event loop compiled for one policy and one detector.

    The digests of their sources are constants of the loop and so part of its key in the cache on disk: an edited one is
    compiled anew, wherever its file lies.
    """
    digest = policy.digest ^ (detector.digest << 1)
    # Constants of the loop too: what a policy has no use for is not compiled into it.
    steered, by_counter, measures = policy.steered, policy.by == "counter", policy.measures
    learns, tracks = policy.learns or detector.learns, detector.tracks

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
        inflight, counters, watched = state.inflight, state.counters, state.watched
        send_ns, packet_flow, ip_bytes = packets.send_ns, packets.flow, packets.ip_bytes
        fate_path, fate_state, fate_hop = fates.path, fates.state, fates.hop
        queue_ns, receive_ns, fate_flowlet = fates.queue_ns, fates.receive_ns, fates.flowlet
        minimum_bytes, granularity, ack = rules.minimum_frame_bytes, rules.granularity, rules.ack
        modelled = ack in (LAZY, ORDERED)
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
                        released += release(nodes, queues, scalars, queue, now_ns, inflight)
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
                while fate_state[at(entry)] & RELEASED or not fate_state[at(entry)] & (DROPPED | UNACKED):
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
                pop(nodes, queues, heap, scalars, source, link_count)
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
                        first_watched = int64(flows[at(flow)].first_watched)
                        for entry in range(first_watched, first_watched + int64(flows[at(flow)].watched)):
                            release(nodes, queues, scalars, first_ack + watched[at(entry)], now_ns, inflight)
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
                    if modelled and rules.ack_loss > 0 and unseen(rules.ack_loss, rules.seed, now_ns, flow):
                        fate_state[at(subject)] = UNACKED
                        scalars[EXPIRY] = subject if scalars[LOST] == 0 else min(scalars[EXPIRY], subject)
                        scalars[LOST] += 1
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
                    if modelled and not fate_state[at(subject)] & UNACKED:
                        scalars[EXPIRY] = subject if scalars[LOST] == 0 else min(scalars[EXPIRY], subject)
                        scalars[LOST] += 1
                    continue
                if links[at(link)].bounded:
                    if backlog >= links[at(link)].ecn_bytes:
                        fate_state[at(subject)] |= MARKED
                        links[at(link)].marked += 1
                    links[at(link)].backlog_bytes = backlog + frame_bytes
                transmitter = Transmitter(
                    rate,
                    links[at(link)].per_bit,
                    links[at(link)].burst_ns,
                    links[at(link)].free_ns,
                    links[at(link)].free_rest,
                )
                size = frame_bytes + links[at(link)].overhead_bytes
                sent = transmit(transmitter, now_ns, size)
                links[at(link)].free_ns = sent.free_ns
                links[at(link)].free_rest = sent.free_rest
                links[at(link)].carried_bytes += size
                if sent.waited_ns > 0:
                    queue_ns[at(subject)] += sent.waited_ns
                departs_ns = sent.departs_ns
                if links[at(link)].bounded:
                    push(nodes, queues, scalars, link, departs_ns, 0, frame_bytes)
                if measures:
                    level = add_load(links, link, now_ns, size)
                    fates.congestion[at(subject)] = max(int64(fates.congestion[at(subject)]), level)

                # It goes on to another link, or is received.
                arrives_ns = departs_ns + links[at(link)].delay_ns
                if hop < last_hop or rules.defers:
                    queue = link_count + link
                    if queues[at(queue)].head == END:
                        heap_place(heap, scalars[HEAP_SIZE], arrives_ns, link)
                        scalars[HEAP_SIZE] += 1
                    push(nodes, queues, scalars, queue, arrives_ns, subject, frame_bytes)
                    continue
            receive_ns[at(subject)] = arrives_ns
            fate_state[at(subject)] |= RECEIVED
            if tracks:
                flows[at(flow)].pending -= 1
                flows[at(flow)].clear_ns = max(flows[at(flow)].clear_ns, arrives_ns)
            if modelled and not fate_state[at(subject)] & UNACKED:
                acked_ns = arrives_ns + paths[at(path)].ack_delay_ns + flows[at(flow)].ack_delay_ns
                entry = paths[at(path)].ack_queue + flows[at(flow)].ack_queue
                if ack == LAZY:
                    fate_state[at(subject)] |= RELEASED  # the node knows all that is needed
                    counter = flows[at(flow)].first_counter + path - flows[at(flow)].first_path
                    push(nodes, queues, scalars, first_ack + entry, acked_ns, counter, frame_bytes)
                else:
                    if queues[at(first_ack + entry)].head == END:
                        heap_place(heap, scalars[HEAP_SIZE], acked_ns, link_count + entry)
                        scalars[HEAP_SIZE] += 1
                    push(nodes, queues, scalars, first_ack + entry, acked_ns, subject, frame_bytes)

    return kernel_of((policy.state, detector.state), run)
