"""How connections open, and how messages are asked, completed and woken (docs/transport.md, Messages, Opening)."""

from __future__ import annotations

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.control import set_window
from segcast.analyzer.engine.transport.scoreboard import begin_message
from segcast.analyzer.engine.transport.state import (
    CLOSED,
    ESTABLISHED,
    FAILED,
    OPENING,
    SYN,
    SYN_ACK,
    UNKNOWN,
    Connections,
    TransportRules,
)
from segcast.analyzer.engine.transport.timing import sample
from segcast.traces.jit import at, inlined, int64, kernel


@kernel
def ask(connections: Connections, rules: TransportRules, message: int, now_ns: int) -> None:
    """A message is asked to be sent: it queues behind those of its half, and its connection opens if need be."""
    halves, messages, lot = connections.halves, connections.messages, connections.lot
    half = int64(messages[at(message)].half)
    messages[at(message)].asked_ns = now_ns
    if halves[at(half)].stage == FAILED:
        return
    last = int64(halves[at(half)].last_message)
    if last != UNKNOWN:
        messages[at(last)].following = message
    halves[at(half)].last_message = message
    if halves[at(half)].arriving == UNKNOWN:
        halves[at(half)].arriving = message
    row = halves[at(half)]
    if row.message == UNKNOWN:
        begin_message(connections, half, message)
        idle = row.una == row.nxt and row.segments > 0 and now_ns - row.last_sent_ns > row.rto
        if rules.idle_restarts and idle:
            set_window(connections, half, min(int64(row.cwnd), rules.initial_window * rules.mss))
    if row.stage == ESTABLISHED:
        lot[0].ready = half
    elif row.stage == CLOSED:
        halves[at(half)].stage = OPENING
        halves[at(half ^ 1)].stage = OPENING
        greet(connections, rules, half & ~1, now_ns)


@kernel
def greet(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> None:
    """SYN or SYN/ACK of the half will be sent, and sent again if it is not answered."""
    halves = connections.halves
    connections.lot[0].greets = half
    connections.lot[0].greets_kind = SYN_ACK if half & 1 else SYN
    halves[at(half)].syns += 1
    halves[at(half)].greeted_ns = now_ns
    if halves[at(half)].hello_ns == NEVER_NS and halves[at(half)].hello_count == 0:
        wait_for_answer(connections, rules, half, now_ns)


@kernel
def wait_for_answer(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> None:
    """Set the timer of SYN or SYN/ACK, twice as long each time."""
    halves = connections.halves
    count = min(int64(halves[at(half)].hello_count), int64(16))
    halves[at(half)].hello_ns = now_ns + min(rules.initial_rto_ns << count, rules.max_rto_ns)
    halves[at(half)].hello_count += 1


@kernel
def hello_times_out(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> bool:
    """SYN or SYN/ACK was not answered; whether it is sent again."""
    halves = connections.halves
    halves[at(half)].hello_ns = NEVER_NS
    if halves[at(half)].hello_count > rules.syn_retries:
        return False
    wait_for_answer(connections, rules, half, now_ns)
    greet(connections, rules, half, now_ns)
    return True


@inlined
def opens(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> None:
    """The end that sends this half learns that the other end is there."""
    halves = connections.halves
    if halves[at(half)].stage != OPENING:
        return
    halves[at(half)].stage = ESTABLISHED
    halves[at(half)].hello_ns = NEVER_NS
    if halves[at(half)].syns == 1:
        round_trip_ns = now_ns - int64(halves[at(half)].greeted_ns)
        sample(connections, rules, half, round_trip_ns)
        if rules.hystart and half & 1 == 0:
            halves[at(half)].delay_min_ns = round_trip_ns
    connections.lot[0].ready = half


@inlined
def complete(connections: Connections, half: int, now_ns: int) -> None:
    """Messages of which all has arrived are complete, and those that waited for them wake."""
    halves, messages, lot = connections.halves, connections.messages, connections.lot
    while True:
        message = int64(halves[at(half)].arriving)
        if message == UNKNOWN or messages[at(message)].end < 0 or messages[at(message)].end > halves[at(half)].next:
            return
        messages[at(message)].complete_ns = now_ns
        messages[at(message)].retransmissions += halves[at(half)].retransmissions
        messages[at(message)].timeouts += halves[at(half)].timeouts_all
        messages[at(message)].flowlets += halves[at(half)].flowlets
        messages[at(message)].path_changes += halves[at(half)].path_changes
        halves[at(half)].arriving = messages[at(message)].following
        first, end = int64(messages[at(message)].first_waiting), int64(messages[at(message + 1)].first_waiting)
        for entry in range(first, end):
            other = connections.waiting[at(entry)]
            messages[at(other)].waits -= 1
            if messages[at(other)].waits == 0:
                messages[at(other)].woken = lot[0].woken
                lot[0].woken = other
