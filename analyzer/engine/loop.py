"""The event loop of the engine: packets of the trace and arrivals from links, in one order, through policy and queues.

What hosts and links do is in `hosts` and `links`, which the loop of senders that react (`transport.loop`) shares. The
rules are those of docs/model.md, by section. Packets are named by their row in the present window (see `window`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from segcast.analyzer.detectors.registry import Detector
from segcast.analyzer.engine.calendar import END, NEVER_NS, NUMBERS, Frame, open_bucket, put, take
from segcast.analyzer.engine.hosts import (
    Returned,
    counter_of,
    expect_timeout,
    frame_bytes_of,
    next_lost,
    returned,
    send,
    suspect,
    uses_of,
)
from segcast.analyzer.engine.links import ARRIVED, GONE, Travelling, cross
from segcast.analyzer.engine.rings import append, make_room, release
from segcast.analyzer.engine.state import (
    BAD_SLOT,
    BUCKET_IS_FULL,
    DONE,
    LAZY,
    NO_ROOM,
    ORDERED,
    SCHEDULED,
    UNCOUNTED,
    Rules,
    State,
)
from segcast.analyzer.packets import MARKED, RELEASED, UNACKED, Fates, Packets, Releases
from segcast.analyzer.policies.registry import Policy
from segcast.traces.jit import at, int64, kernel_of

Run = Callable[[State, Rules, Any, Any, Packets, Fates, Releases, int, int], int]


def specialise(policy: Policy, detector: Detector) -> Run:
    """The event loop compiled for one policy and one detector.

    Their functions are bound by the types of their states, so the cache on disk is told of them: an edited one is
    compiled anew, wherever its file lies.
    """
    uses = uses_of(policy, detector)
    counted, tracks, steered, measures = uses.counted, uses.tracks, uses.steered, uses.measures
    awaits = uses.awaits

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
        paths, flows, rings, calendar = state.paths, state.flows, state.rings, state.calendar
        inflight, progress = state.inflight, state.progress
        days, wanted, first_id = calendar.row, rings.wanted, int64(progress[0].first_id)
        send_ns, packet_flow, ip_bytes = packets.send_ns, packets.flow, packets.ip_bytes
        fate_path, fate_state, receive_ns = fates.path, fates.state, fates.receive_ns
        ack = rules.ack if counted else UNCOUNTED
        modelled = ack in (LAZY, ORDERED)
        link_count = len(state.links)
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
                frame_bytes = frame_bytes_of(ip_bytes[at(leaving)], srv6_bytes, rules.minimum_frame_bytes)
                progress[0].next_expiry += 1
                progress[0].lost -= lost
            elif packet < stop:
                subject = packet
                packet += 1
                now_ns = due_ns
                flow = int64(packet_flow[at(subject)])
                sent = send(state, rules, policy_state, detector_state, packets, fates, uses, subject, now_ns)
                path, frame_bytes = sent.path, sent.frame_bytes
                hop = int64(0)
                if path < 0:
                    return BAD_SLOT
            else:
                progress[0].next_packet = packet
                progress[0].clock_ns = clock_ns
                return DONE

            clock_ns = now_ns
            if leaving >= 0:
                fate_state[at(leaving)] |= RELEASED
                if awaits:
                    flows[at(flow)].awaited -= 1
                if ack == SCHEDULED:
                    inflight[at(counter_of(state, flow, path))] -= frame_bytes
                    continue
                packet_back = Returned(
                    flow,
                    path,
                    frame_bytes,
                    send_ns[at(leaving)],
                    receive_ns[at(leaving)],
                    fate_state[at(leaving)] & MARKED != 0,
                    lost,
                    int64(fates.congestion[at(leaving)]),
                )
                if lost:
                    suspect(state.counters, progress, counter_of(state, flow, path), rules, now_ns)
                returned(state, policy_state, detector_state, uses, packet_back, now_ns)
                continue

            fate = cross(state, rules, fates, Travelling(subject, flow, frame_bytes, path, hop), measures, now_ns)
            if fate == GONE:
                if tracks:
                    flows[at(flow)].pending -= 1
                expect_timeout(progress, ack, fate_state[at(subject)], subject)
            elif fate == ARRIVED:
                arrives_ns = receive_ns[at(subject)]
                if tracks:
                    flows[at(flow)].pending -= 1
                    flows[at(flow)].clear_ns = max(flows[at(flow)].clear_ns, arrives_ns)
                if modelled and not fate_state[at(subject)] & UNACKED:
                    back_ns = arrives_ns + paths[at(path)].ack_delay_ns + flows[at(flow)].ack_delay_ns
                    queue = link_count + paths[at(path)].ack_queue + flows[at(flow)].ack_queue
                    if ack == LAZY:
                        fate_state[at(subject)] |= RELEASED  # the ring knows all that is needed
                        if append(rings, queue, back_ns, frame_bytes, counter_of(state, flow, path)):
                            release(rings, queue, now_ns, inflight)
                            make_room(rings, queue, 1)
                    else:
                        put(calendar, back_ns, queue, Frame(subject + first_id, frame_bytes, path, hop), now_ns)

    return kernel_of((policy.choose, policy.learn, detector.starts, detector.observe), run)
