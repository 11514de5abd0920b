"""The event loop of a cell whose senders react: messages, segments and acknowledgements over the links of the engine.

What hosts and links do is that of the loop of recorded packets (`hosts`, `links`); what connections do is in this
folder. An event may let several packets leave; they do one at a time, before the next event, so that the loop can stop
for more room between any two of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from segcast.analyzer.detectors.registry import Detector
from segcast.analyzer.engine.calendar import NEVER_NS, NUMBERS, Frame, open_bucket, put, take
from segcast.analyzer.engine.hosts import Returned, Sent, counter_of, frame_bytes_of, returned, send, suspect, uses_of
from segcast.analyzer.engine.links import ARRIVED, GOES_ON, Travelling, cross
from segcast.analyzer.engine.state import (
    BAD_SLOT,
    BUCKET_IS_FULL,
    DONE,
    NO_ROOM,
    ROWS_ARE_FULL,
    Rules,
    State,
)
from segcast.analyzer.engine.transport.ahead import look_ahead
from segcast.analyzer.engine.transport.leaving import describe, fixed_flowlet, is_awaited, is_fixed, note_way
from segcast.analyzer.engine.transport.ns3.sender import acknowledged_ns3, note_sent_ns3, times_out_ns3
from segcast.analyzer.engine.transport.opening import ask, complete, greet, hello_times_out, opens
from segcast.analyzer.engine.transport.rack import set_probe
from segcast.analyzer.engine.transport.receiver import acknowledge, answers_first, receive, thank
from segcast.analyzer.engine.transport.scoreboard import NEW, NOTHING, commit, what_next
from segcast.analyzer.engine.transport.segments import is_short, place_of
from segcast.analyzer.engine.transport.sender import acknowledged, fails, overtaken, probes, reorders, times_out
from segcast.analyzer.engine.transport.state import (
    ACK,
    DATA,
    ECHO,
    FAILED,
    RECORDED,
    SYN,
    SYN_ACK,
    TWICE,
    UNKNOWN,
    Connections,
    Headers,
    TransportRules,
)
from segcast.analyzer.packets import MARKED, RELEASED, Fates, Packets
from segcast.analyzer.policies.registry import Policy
from segcast.traces.jit import at, inlined, int64, kernel, kernel_of

SPARE_EVENTS: Final = 8  # that an event may put, at most

Run = Callable[[State, Rules, Any, Any, Packets, Fates, Connections, TransportRules, Headers, Packets, int], int]


@inlined
def _send_fixed(
    state: State, rules: Rules, packets: Packets, fates: Fates, row: int, slot: int, flowlet: int, plain: bool
) -> Sent:
    """Send a packet on a slot that no policy is asked for."""
    flow = int64(packets.flow[at(row)])
    path = int64(state.flows[at(flow)].first_path) + slot
    srv6_bytes = int64(0) if plain else int64(state.paths[at(path)].srv6_bytes)
    fates.path[at(row)] = path
    fates.flowlet[at(row)] = flowlet
    fates.hop[at(row)] = 0
    fates.queue_ns[at(row)] = 0
    fates.congestion[at(row)] = 0
    fates.state[at(row)] = RELEASED
    return Sent(path, frame_bytes_of(int64(packets.ip_bytes[at(row)]), srv6_bytes, rules.minimum_frame_bytes))


@inlined
def _arm(state: State, connections: Connections, half: int, now_ns: int) -> None:
    """See that there is an event for the first timer of a half that runs: one for all, put only if it is earlier.

    A timer that is set later finds the event too early, which then puts the next.
    """
    row = connections.halves[at(half)]
    first_ns = min(int64(row.hello_ns), int64(row.rto_ns))
    second_ns = min(int64(row.probe_ns), int64(row.reorder_ns))
    due_ns = min(min(first_ns, second_ns), min(int64(row.pace_ns), int64(row.ack_ns)))
    if due_ns < row.armed_ns:
        connections.halves[at(half)].armed_ns = due_ns
        put(state.calendar, due_ns, len(state.links) + half, Frame(half, 0, 0, 0), now_ns)


@kernel
def _wake(state: State, connections: Connections, now_ns: int) -> None:
    """Put the start of a message that waits for no other any more."""
    lot, messages = connections.lot, connections.messages
    message = int64(lot[0].woken)
    lot[0].woken = messages[at(message)].woken
    begins_ns = max(int64(messages[at(message)].start_ns), now_ns + messages[at(message)].think_ns)
    source = len(state.links) + len(connections.halves) + message
    put(state.calendar, begins_ns, source, Frame(message, 0, 0, 0), now_ns)


@kernel
def _ask(state: State, connections: Connections, transport: TransportRules, message: int) -> None:
    """A message is asked to be sent now."""
    now_ns = int64(state.progress[0].clock_ns)
    ask(connections, transport, message, now_ns)
    if connections.lot[0].greets != UNKNOWN:
        _arm(state, connections, int64(connections.lot[0].greets), now_ns)


@kernel
def _sort_gone(connections: Connections) -> None:
    """Sort what leaves the in-flight count: what was delivered before what is lost, each by number."""
    gone, count = connections.gone, connections.lot[0].gone
    for last in range(1, count):
        gone[count] = gone[last]  # which is free
        place = last
        while place > 0 and (
            gone[place - 1].lost > gone[count].lost
            or (gone[place - 1].lost == gone[count].lost and gone[place - 1].number > gone[count].number)
        ):
            gone[place] = gone[place - 1]
            place -= 1
        gone[place] = gone[count]


@kernel
def _fires(state: State, rules: Rules, connections: Connections, transport: TransportRules, half: int) -> None:
    """Let the first timer of a half fire that is due; the next that is has an event of its own."""
    halves, lot, now_ns = connections.halves, connections.lot, int64(state.progress[0].clock_ns)
    if halves[at(half)].armed_ns != now_ns:  # set later since, or fired
        return
    halves[at(half)].armed_ns = NEVER_NS
    lot[0].gone_half = half
    lot[0].cause = UNKNOWN
    lot[0].marks = 0
    if halves[at(half)].hello_ns <= now_ns:
        if not hello_times_out(connections, transport, half, now_ns) and half & 1 == 0:
            lot[0].fails = half
            return
    elif halves[at(half)].ack_ns <= now_ns:
        halves[at(half)].ack_ns = NEVER_NS
        lot[0].replies = half
    elif halves[at(half)].reorder_ns <= now_ns:
        reorders(connections, transport, half, now_ns)
        lot[0].ready = half
    elif halves[at(half)].probe_ns <= now_ns:
        probes(connections, transport, half, now_ns)
        lot[0].ready = half
    elif halves[at(half)].rto_ns <= now_ns:
        una = connections.segments[at(place_of(connections, half, int64(halves[at(half)].una)))]
        suspect(state.counters, state.progress, counter_of(state, half, int64(una.path)), rules, now_ns)
        if transport.ns3:
            goes_on = times_out_ns3(connections, transport, half, now_ns)
        else:
            goes_on = times_out(connections, transport, half, now_ns)
        if not goes_on:
            lot[0].fails = half
            return
        lot[0].ready = half
    elif halves[at(half)].pace_ns <= now_ns:
        halves[at(half)].pace_ns = NEVER_NS
        lot[0].ready = half
    _arm(state, connections, half, now_ns)


@kernel
def _fail(connections: Connections) -> None:
    """One half of a connection that has failed sends no more; at the second call the other."""
    lot = connections.lot
    half = int64(lot[0].fails) & ~1
    if connections.halves[at(half)].stage == FAILED:
        half += 1
        lot[0].fails = UNKNOWN
    lot[0].gone_half = half
    lot[0].cause = UNKNOWN
    fails(connections, half)


@inlined
def _take(
    state: State,
    connections: Connections,
    transport: TransportRules,
    headers: Headers,
    packets: Packets,
    fates: Fates,
    row: int,
) -> None:
    """A receiver takes a data segment."""
    now_ns, half = int64(state.progress[0].clock_ns), int64(packets.flow[at(row)])
    halves = connections.halves
    halves[at(half)].cause = headers.headers[at(row)].number
    halves[at(half)].cause_delay_ns = now_ns - packets.send_ns[at(row)]
    halves[at(half)].cause_level = fates.congestion[at(row)]
    marked = fates.state[at(row)] & MARKED != 0
    if receive(connections, transport, headers, row, half, marked, now_ns):
        connections.lot[0].replies = half
    else:
        _arm(state, connections, half, now_ns)
    complete(connections, half, now_ns)


@inlined
def _arrive(
    state: State,
    connections: Connections,
    transport: TransportRules,
    headers: Headers,
    packets: Packets,
    fates: Fates,
    row: int,
) -> None:
    """A packet has reached its host."""
    halves, lot, now_ns = connections.halves, connections.lot, int64(state.progress[0].clock_ns)
    header, flow = headers.headers[at(row)], int64(packets.flow[at(row)])
    if header.kind == RECORDED or halves[at(flow)].stage == FAILED:
        return
    if header.kind == SYN:
        greet(connections, transport, flow ^ 1, now_ns)
        _arm(state, connections, flow ^ 1, now_ns)
        return
    opens(connections, transport, flow ^ 1, now_ns)
    if header.kind == SYN_ACK:
        lot[0].thanks = flow
    elif header.kind == DATA:
        if answers_first(connections, transport, flow, fates.state[at(row)] & MARKED != 0):
            lot[0].replies = flow
            lot[0].held_row = row
        else:
            _take(state, connections, transport, headers, packets, fates, row)
    elif header.number >= halves[at(flow ^ 1)].una:
        half = flow ^ 1
        lot[0].gone_half = half
        lot[0].cause = header.cause
        lot[0].cause_delay_ns = header.delay_ns
        lot[0].level = header.level
        lot[0].marks = header.signs & ECHO
        if transport.ns3:
            acknowledged_ns3(connections, transport, headers, row, half, now_ns)
        else:
            acknowledged(connections, transport, headers, row, half, now_ns)
        lot[0].ready = half
    elif header.signs & TWICE:
        overtaken(connections, transport, headers, row, flow ^ 1)
        lot[0].ready = flow ^ 1


def specialise(policy: Policy, detector: Detector) -> Run:
    """The loop compiled for one policy and one detector; see `engine.loop.specialise`."""
    uses = uses_of(policy, detector)
    tracks, measures, counts, steered = uses.tracks, uses.measures, uses.counted, uses.steered
    awaits = uses.awaits

    def run(
        state: State,
        rules: Rules,
        policy_state: Any,
        detector_state: Any,
        packets: Packets,
        fates: Fates,
        connections: Connections,
        transport: TransportRules,
        headers: Headers,
        recorded: Packets,
        until_ns: int,
    ) -> int:
        """Advance to `until_ns`; returns DONE, or what is missing to be called again: see `engine.loop`."""
        calendar, progress, rings, flows = state.calendar, state.progress, state.rings, state.flows
        halves, lot, messages, header = connections.halves, connections.lot, connections.messages, headers.headers
        days, wanted, first_id = calendar.row, rings.wanted, int64(progress[0].first_id)
        link_count = len(state.links)
        start_source = link_count + len(halves)
        while True:
            row = int64(progress[0].next_packet)
            if days[0].pending + SPARE_EVENTS > calendar.events.size or wanted[0] & wanted[1] != -1:
                return NO_ROOM
            if is_short(connections):
                return NO_ROOM
            if row >= packets.flow.size:
                return ROWS_ARE_FULL
            now_ns = int64(progress[0].clock_ns)

            # What leaves the in-flight count does so before anything is sent.
            if lot[0].gone > 0:
                if counts:
                    _sort_gone(connections)
                    for entry in range(lot[0].gone):
                        gone = connections.gone[at(entry)]
                        trip_ns = now_ns - gone.sent_ns
                        is_cause = gone.number == lot[0].cause and not gone.lost
                        packet_back = Returned(
                            int64(lot[0].gone_half),
                            int64(gone.path),
                            int64(gone.frame_bytes),
                            int64(gone.sent_ns),
                            gone.sent_ns + (int64(lot[0].cause_delay_ns) if is_cause else trip_ns // 2),
                            lot[0].marks != 0 and not gone.lost,
                            gone.lost != 0,
                            int64(lot[0].level),
                        )
                        returned(state, policy_state, detector_state, uses, packet_back, now_ns)
                lot[0].gone = 0

            # What is still to be done at this instant.
            flow, half, kind = int64(UNKNOWN), int64(UNKNOWN), int64(DATA)
            joins = False
            if lot[0].fails != UNKNOWN:
                _fail(connections)
                continue
            if lot[0].woken != UNKNOWN:
                _wake(state, connections, now_ns)
                continue
            if lot[0].replies != UNKNOWN:
                half, kind = int64(lot[0].replies), int64(ACK)
                lot[0].replies = half if halves[at(half)].ends else UNKNOWN
                halves[at(half)].ends = 0
                packets.ip_bytes[at(row)] = acknowledge(connections, transport, headers, row, half)
                flow = half ^ 1
            elif lot[0].held_row != UNKNOWN:
                subject = int64(lot[0].held_row)
                lot[0].held_row = UNKNOWN
                _take(state, connections, transport, headers, packets, fates, subject)
                continue
            elif lot[0].thanks != UNKNOWN:
                half, kind = int64(lot[0].thanks), int64(ACK)
                lot[0].thanks = UNKNOWN
                packets.ip_bytes[at(row)] = thank(transport, headers, row)
                flow = half ^ 1
            elif lot[0].greets != UNKNOWN:
                half, kind = int64(lot[0].greets), int64(lot[0].greets_kind)
                lot[0].greets = UNKNOWN
                header[at(row)].number = 0
                packets.ip_bytes[at(row)] = transport.header_bytes + 8
                flow = half
            elif lot[0].ready != UNKNOWN:
                half = int64(lot[0].ready)
                number = int64(halves[at(half)].owed)
                if number != UNKNOWN:
                    halves[at(half)].owed = halves[at(half)].also_owed
                    halves[at(half)].also_owed = UNKNOWN
                else:
                    choice = what_next(connections, transport, half, now_ns)
                    if choice == NOTHING:
                        lot[0].ready = UNKNOWN
                        _arm(state, connections, half, now_ns)
                        continue
                    number = commit(connections, transport, half, choice, now_ns)
                    if transport.ns3:
                        note_sent_ns3(connections, half, number, choice == NEW)
                    if lot[0].gone > 0:  # a transmission that this one replaces still counts
                        lot[0].gone_half = half
                        lot[0].cause = UNKNOWN
                        halves[at(half)].owed = number
                        continue
                    joins = halves[at(half)].joins != 0
                if transport.rack:
                    set_probe(connections, transport, half, now_ns)
                packets.ip_bytes[at(row)] = describe(connections, transport, headers, row, half, number)
                flow = half

            if flow == UNKNOWN:
                # The next event (Order of events).
                start = int64(lot[0].next_start)
                starts_ns = int64(NEVER_NS)
                if start < connections.starts.size:
                    starts_ns = int64(messages[at(connections.starts[at(start)])].start_ns)
                next_recorded = int64(lot[0].next_recorded)
                recorded_ns = int64(NEVER_NS)
                if next_recorded < recorded.flow.size:
                    recorded_ns = recorded.send_ns[at(next_recorded)]
                before_ns = min(min(starts_ns, recorded_ns), until_ns)
                is_due = days[0].pending > 0 and days[0].next_ns <= before_ns
                if is_due and days[0].begin == days[0].end:
                    if not open_bucket(calendar):
                        return BUCKET_IS_FULL
                    look_ahead(state, rules, packets, fates, connections, headers)
                    is_due = days[0].next_ns <= before_ns
                if is_due and days[0].next_ns == starts_ns:
                    following = int64(calendar.order[at(days[0].begin)].event)
                    is_due = calendar.events[at(following)].source < start_source
                if not is_due and starts_ns <= min(recorded_ns, until_ns) and starts_ns != NEVER_NS:
                    progress[0].clock_ns = starts_ns
                    lot[0].next_start = start + 1
                    _ask(state, connections, transport, int64(connections.starts[at(start)]))
                    continue
                if not is_due and (recorded_ns > until_ns or recorded_ns == NEVER_NS):
                    return DONE
                now_ns = int64(days[0].next_ns) if is_due else recorded_ns
                progress[0].clock_ns = now_ns
                if not is_due:
                    lot[0].next_recorded = next_recorded + 1
                    flow, kind = int64(recorded.flow[at(next_recorded)]), int64(RECORDED)
                    packets.ip_bytes[at(row)] = recorded.ip_bytes[at(next_recorded)]
                    header[at(row)].number = next_recorded

            if flow == UNKNOWN:
                event = take(calendar)
                source = int64(calendar.events[at(event)].source)
                subject = int64(calendar.events[at(event)].packet)
                if source >= start_source:
                    _ask(state, connections, transport, subject)
                    continue
                if source >= link_count:
                    _fires(state, rules, connections, transport, subject)
                    continue
                subject = (subject - first_id) & NUMBERS
                frame_bytes = int64(calendar.events[at(event)].bytes)
                path = int64(calendar.events[at(event)].path)
                hop = int64(calendar.events[at(event)].hop) + 1
                flow = int64(packets.flow[at(subject)])
            else:
                # A packet leaves its host.
                subject, hop = row, int64(0)
                packets.send_ns[at(row)] = now_ns
                packets.flow[at(row)] = flow
                header[at(row)].kind = kind
                if is_fixed(connections, headers, flow, row):
                    flowlet = fixed_flowlet(state, connections, flow)
                    plain = not steered or connections.pins[at(flow)] == 0
                    slot = int64(connections.fixed_slot[at(flow)])
                    sent = _send_fixed(state, rules, packets, fates, row, slot, flowlet, plain)
                elif joins:
                    slot, flowlet = int64(flows[at(flow)].slot), int64(flows[at(flow)].flowlet)
                    sent = _send_fixed(state, rules, packets, fates, row, slot, flowlet, not steered)
                    flows[at(flow)].last_ns = now_ns
                    flows[at(flow)].sent_bytes += int64(packets.ip_bytes[at(row)])
                    if tracks:
                        flows[at(flow)].pending += 1
                else:
                    if awaits:
                        flows[at(flow)].awaited = is_awaited(state, connections, headers, rules, flow, row, now_ns)
                    sent = send(state, rules, policy_state, detector_state, packets, fates, uses, row, now_ns)
                    if sent.path < 0:
                        return BAD_SLOT
                path, frame_bytes = sent.path, sent.frame_bytes
                if kind == DATA:
                    note_way(connections, headers, fates, row, half, path, frame_bytes if counts else int64(0))
                    if counts:
                        state.inflight[at(counter_of(state, flow, path))] += frame_bytes
                progress[0].next_packet = row + 1

            fate = cross(state, rules, fates, Travelling(subject, flow, frame_bytes, path, hop), measures, now_ns)
            if tracks and fate != GOES_ON and not is_fixed(connections, headers, flow, subject):
                flows[at(flow)].pending -= 1
                if fate == ARRIVED:
                    flows[at(flow)].clear_ns = max(flows[at(flow)].clear_ns, now_ns)
            if fate == ARRIVED:
                _arrive(state, connections, transport, headers, packets, fates, subject)

    return kernel_of((policy.choose, policy.learn, detector.starts, detector.observe), run)
