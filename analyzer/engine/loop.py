"""The event loop of the engine: packets of the trace and arrivals from links, in one order, through policy and queues.

One loop body serves both sources of frames, so a further source is one more branch where the next event is picked.
The rules are those of docs/model.md, by section. Packets are named by their row in the present window (see `window`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from segcast.analyzer.detectors.registry import Detector, Gap, observe, starts
from segcast.analyzer.engine.calendar import END, NEVER_NS, NUMBERS, Frame, open_bucket, put, take
from segcast.analyzer.engine.hosts import (
    Slots,
    expect_timeout,
    frame_bytes_of,
    next_lost,
    nth_usable,
    penalise,
    suspect,
)
from segcast.analyzer.engine.rings import append, leave, make_room, release
from segcast.analyzer.engine.state import (
    ASKED,
    BAD_SLOT,
    BUCKET_IS_FULL,
    DONE,
    LAZY,
    NO_ROOM,
    ORDERED,
    PER_FLOW,
    PER_FLOWLET,
    PER_PACKET,
    SCHEDULED,
    UNCOUNTED,
    Rules,
    State,
)
from segcast.analyzer.engine.unseen import unseen
from segcast.analyzer.network.transmitter import transmit_on
from segcast.analyzer.packets import DROPPED, LOST, MARKED, RECEIVED, RELEASED, UNACKED, Fates, Packets, Releases
from segcast.analyzer.policies.link_load import add_load
from segcast.analyzer.policies.registry import PENALTY_BYTES, Decision, Feedback, NetworkState, Policy, choose, learn
from segcast.traces.jit import at, int64, kernel_of

_BYTES_A_NS: Final = 1.25e-10  # of a rate of 1 bit/s

Run = Callable[[State, Rules, Any, Any, Packets, Fates, Releases, int, int], int]


def specialise(policy: Policy, detector: Detector) -> Run:
    """The event loop compiled for one policy and one detector.

    Their functions are bound by the types of their states, so the cache on disk is told of them: an edited one is
    compiled anew, wherever its file lies.
    """
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
        """Advance to packet `stop` and, once there, to `until_ns`; returns DONE, or what is missing to be called again.

        NO_ROOM: the calendar or rings must grow. BUCKET_IS_FULL: the calendar's buckets should be narrower. Nothing has
        changed then for the event at hand. BAD_SLOT ends the cell.
        """
        links, paths, hops, flows = state.links, state.paths, state.hops, state.flows
        rings, calendar, progress = state.rings, state.calendar, state.progress
        days, wanted, first_id = calendar.row, rings.wanted, int64(progress[0].first_id)
        inflight, counters, watched = state.inflight, state.counters, state.watched
        send_ns, packet_flow, ip_bytes = packets.send_ns, packets.flow, packets.ip_bytes
        fate_path, fate_state, fate_hop = fates.path, fates.state, fates.hop
        queue_ns, receive_ns, fate_flowlet = fates.queue_ns, fates.receive_ns, fates.flowlet
        minimum_bytes, granularity, ack = rules.minimum_frame_bytes, rules.granularity, rules.ack
        modelled = ack in (LAZY, ORDERED)
        fabric = NetworkState(links, paths, hops)
        link_count = len(links)
        packet = progress[0].next_packet
        clock_ns = progress[0].clock_ns

        while True:
            if days[0].free == END or wanted[0] & wanted[1] != -1:  # one free event serves whatever happens
                progress[0].next_packet = packet
                progress[0].clock_ns = clock_ns
                return NO_ROOM

            # The next event (Order of events).
            due_ns = send_ns[at(packet)] if packet < stop else until_ns
            expiring = int64(-1)
            expires_ns = int64(NEVER_NS)
            if ack == SCHEDULED:
                entry = progress[0].next_expiry
                if entry < len(releases.time_ns) and releases.packet[entry] < packet:
                    expiring = releases.packet[entry]
                    expires_ns = max(releases.time_ns[entry], clock_ns)
            elif progress[0].lost > 0:
                expiring = next_lost(fate_state, progress[0].next_expiry)
                expires_ns = max(send_ns[at(expiring)] + rules.loss_timeout_ns, clock_ns)
                progress[0].next_expiry = expiring
            before_ns = min(due_ns, expires_ns)

            leaving = int64(-1)  # the packet whose bytes leave the in-flight count, if that is the event
            lost = False
            is_due = days[0].pending > 0 and days[0].next_ns <= before_ns
            if is_due and days[0].begin == days[0].end:
                if not open_bucket(calendar):
                    progress[0].next_packet = packet
                    progress[0].clock_ns = clock_ns
                    return BUCKET_IS_FULL
                is_due = days[0].next_ns <= before_ns
            if is_due:
                now_ns = int64(days[0].next_ns)
                event = take(calendar)
                source = int64(calendar.events[at(event)].source)
                subject = (int64(calendar.events[at(event)].packet) - first_id) & NUMBERS
                frame_bytes = int64(calendar.events[at(event)].bytes)
                path = int64(calendar.events[at(event)].path)
                hop = int64(calendar.events[at(event)].hop) + 1
                flow = int64(packet_flow[at(subject)])
                if source >= link_count:  # its acknowledgement returns
                    leaving = subject
            elif expiring >= 0 and expires_ns <= due_ns:  # its timeout expires, or the trace says so
                now_ns = expires_ns
                leaving = expiring
                lost = ack != SCHEDULED
                flow = int64(packet_flow[at(leaving)])
                path = int64(fate_path[at(leaving)])
                srv6_bytes = paths[at(path)].srv6_bytes if steered else int64(0)
                frame_bytes = frame_bytes_of(ip_bytes[at(leaving)], srv6_bytes, minimum_bytes)
                progress[0].next_expiry += 1
                progress[0].lost -= lost
            elif packet < stop:
                subject = packet
                packet += 1
                now_ns = due_ns
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
                        asks = not steered and flows[at(flow)].routing != progress[0].routing
                if asks:
                    if ack == LAZY:
                        first_watched = int64(flows[at(flow)].first_watched)
                        for entry in range(first_watched, first_watched + int64(flows[at(flow)].watched)):
                            release(rings, link_count + watched[at(entry)], now_ns, inflight)
                    # Slots that may be chosen.
                    slots = Slots(first_counter, first_path, count)
                    usable = count
                    narrowed = progress[0].suspects_until_ns > now_ns if steered else progress[0].routing > 0
                    if narrowed:
                        penalty_bytes = PENALTY_BYTES if by_counter else 0
                        usable = penalise(counters, paths, inflight, slots, steered, now_ns, penalty_bytes)
                    all_or_none = usable == 0 or usable == count
                    choices = count if all_or_none or by_counter else usable
                    decision = Decision(
                        now_ns, flow, first_counter, first_path, choices, slot, flows[at(flow)].sent_bytes, gap_ns
                    )
                    chosen = int64(choose(policy_state, decision, inflight, fabric))
                    if chosen < 0 or chosen >= choices:
                        return BAD_SLOT
                    if narrowed and by_counter:
                        penalise(counters, paths, inflight, slots, steered, now_ns, -PENALTY_BYTES)
                    elif narrowed and not all_or_none:
                        chosen = nth_usable(counters, paths, slots, chosen, steered, now_ns)
                    if granularity != ASKED or chosen != slot:
                        flows[at(flow)].slot = chosen
                        flows[at(flow)].flowlet = progress[0].next_flowlet
                        progress[0].next_flowlet += 1
                        slot = chosen
                    flows[at(flow)].routing = progress[0].routing
                flows[at(flow)].last_ns = now_ns
                flows[at(flow)].sent_bytes += int64(ip_bytes[at(subject)])
                path = first_path + slot
                hop = 0
                srv6_bytes = paths[at(path)].srv6_bytes if steered else int64(0)
                frame_bytes = frame_bytes_of(ip_bytes[at(subject)], srv6_bytes, minimum_bytes)
                fate_path[at(subject)] = path
                fate_flowlet[at(subject)] = flows[at(flow)].flowlet
                fate_hop[at(subject)] = 0
                queue_ns[at(subject)] = 0
                if measures:
                    fates.congestion[at(subject)] = 0
                if ack == UNCOUNTED:
                    fate_state[at(subject)] = RELEASED
                else:
                    fate_state[at(subject)] = 0
                    inflight[at(first_counter + slot)] += frame_bytes
                    if modelled and rules.ack_loss > 0 and unseen(rules.ack_loss, rules.seed, now_ns, flow):
                        expect_timeout(progress, ack, int64(0), subject)
                        fate_state[at(subject)] = UNACKED
                if tracks:
                    flows[at(flow)].pending += 1
            else:
                progress[0].next_packet = packet
                progress[0].clock_ns = clock_ns
                return DONE

            clock_ns = now_ns
            if leaving >= 0:  # the bytes leave the count, and the host learns what became of the packet
                slot = path - flows[at(flow)].first_path
                counter = flows[at(flow)].first_counter + slot
                inflight[at(counter)] -= frame_bytes
                fate_state[at(leaving)] |= RELEASED
                if ack == SCHEDULED:
                    continue
                if lost:
                    suspect(counters, progress, counter, rules, now_ns)
                else:
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
                        fate_state[at(leaving)] & MARKED != 0,
                        lost,
                        int64(-1) if lost else receive_ns[at(leaving)] - send_ns[at(leaving)],
                        now_ns - send_ns[at(leaving)],
                        int64(0) if lost else int64(fates.congestion[at(leaving)]),
                    )
                    learn(policy_state, feedback)
                    observe(detector_state, feedback)
                continue

            # The frame meets the queue of its next link (Links), unless it has crossed its last.
            arrives_ns = departs_ns = now_ns
            link = int64(0)
            last_hop = int64(paths[at(path)].hops) + (1 if rules.host_links else -1)
            meets = hop <= last_hop
            if meets:
                if not rules.host_links:
                    link = int64(hops[at(paths[at(path)].first_hop + hop)])
                elif hop == 0:
                    link = int64(flows[at(flow)].uplink)
                elif hop == last_hop:
                    link = int64(flows[at(flow)].downlink)
                else:
                    link = int64(hops[at(paths[at(path)].first_hop + hop - 1)])
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
                if not fits:
                    fate_state[at(subject)] |= DROPPED
                    fate_hop[at(subject)] = hop
                    receive_ns[at(subject)] = LOST
                    if tracks:
                        flows[at(flow)].pending -= 1
                    expect_timeout(progress, ack, fate_state[at(subject)], subject)
                    continue
                if marks:
                    fate_state[at(subject)] |= MARKED
                    links[at(link)].marked += 1
                size = frame_bytes + links[at(link)].overhead_bytes
                sent = transmit_on(links, link, now_ns, size)
                links[at(link)].carried_bytes += size
                queue_ns[at(subject)] += sent.waited_ns
                if measures:
                    level = add_load(links, link, now_ns, size)
                    fates.congestion[at(subject)] = max(int64(fates.congestion[at(subject)]), level)

                arrives_ns = sent.departs_ns + links[at(link)].delay_ns
                departs_ns = sent.departs_ns

            # It goes on to another link, or is received. One event at most follows.
            follows_ns, source = arrives_ns, link
            follows = meets and (hop < last_hop or rules.defers)
            if not follows:
                receive_ns[at(subject)] = arrives_ns
                fate_state[at(subject)] |= RECEIVED
                if tracks:
                    flows[at(flow)].pending -= 1
                    flows[at(flow)].clear_ns = max(flows[at(flow)].clear_ns, arrives_ns)
                if modelled and not fate_state[at(subject)] & UNACKED:
                    follows_ns = arrives_ns + paths[at(path)].ack_delay_ns + flows[at(flow)].ack_delay_ns
                    source = link_count + paths[at(path)].ack_queue + flows[at(flow)].ack_queue
                    if ack == LAZY:
                        fate_state[at(subject)] |= RELEASED  # the ring knows all that is needed
                        counter = flows[at(flow)].first_counter + path - flows[at(flow)].first_path
                        if append(rings, source, follows_ns, frame_bytes, counter):
                            release(rings, source, now_ns, inflight)
                            make_room(rings, source, 1)
                    else:
                        follows = True
            event = int64(END)
            if follows:
                event = put(calendar, follows_ns, source, Frame(subject + first_id, frame_bytes, path, hop), now_ns)
            if meets and links[at(link)].remembers:
                links[at(link)].backlog_bytes += frame_bytes
                links[at(link)].largest_bytes = max(int64(links[at(link)].largest_bytes), frame_bytes)
                if append(rings, link, departs_ns, frame_bytes, event):
                    links[at(link)].backlog_bytes -= leave(rings, link, now_ns)
                    make_room(rings, link, 0)

    return kernel_of((policy.choose, policy.learn, detector.starts, detector.observe), run)
