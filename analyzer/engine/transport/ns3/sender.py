"""What a sender does with an acknowledgement, and when its timer fires, as ns-3 3.37 has it (docs/transport.md)."""

from __future__ import annotations

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.ns3.control import (
    IDLE,
    RECEIVED,
    counted,
    cubic_begins_anew,
    grow_ns3,
    reduced_ns3,
)
from segcast.analyzer.engine.transport.scoreboard import (
    NEW,
    NOTHING,
    advance,
    commit,
    first_missing,
    has_new,
    let_go,
    lose,
    lose_all,
    lose_below_three,
    take_sacks,
)
from segcast.analyzer.engine.transport.segments import place_of
from segcast.analyzer.engine.transport.sender import owe
from segcast.analyzer.engine.transport.state import (
    AGAIN,
    CUBIC,
    CWR,
    DCTCP,
    DISORDER,
    DUPTHRESH,
    ECHO,
    LOSS,
    MISSING,
    OPEN,
    RECOVERY,
    SACKED,
    UNTIMED,
    Connections,
    Headers,
    TransportRules,
)
from segcast.analyzer.engine.transport.timing import restart, sample
from segcast.traces.jit import at, inlined, int64, kernel

_MODULUS = 1 << 32


@inlined
def acknowledged_ns3(
    connections: Connections, rules: TransportRules, headers: Headers, row: int, half: int, now_ns: int
) -> None:
    """An acknowledgement has arrived that is not below `una`."""
    halves, header = connections.halves, headers.headers[at(row)]
    number, old = int64(header.number), int64(halves[at(half)].una)
    outstanding = int64(halves[at(half)].outstanding_bytes)
    if number > old:
        place = place_of(connections, half, old)
        if not connections.flags[at(place)] & UNTIMED:
            sample(connections, rules, half, now_ns - int64(connections.segments[at(place)].sent_ns))
    sacked = take_sacks(connections, rules, headers, row, half, now_ns)
    dup = sacked > 0
    again = False
    if halves[at(half)].state == RECOVERY and number < halves[at(half)].recover:
        for segment in range(old, number):
            flags = int64(connections.flags[at(place_of(connections, half, segment))])
            again = again or flags & (AGAIN | SACKED) == AGAIN
    delivered = sacked + advance(connections, rules, half, number, now_ns)
    acked = outstanding - int64(halves[at(half)].outstanding_bytes)
    if dup:
        lose_below_three(connections, rules, half)
    if halves[at(half)].state == CWR and number > halves[at(half)].recover:
        halves[at(half)].state = OPEN
        halves[at(half)].cwnd = halves[at(half)].ssthresh
    echoes = header.signs & ECHO != 0
    if rules.control == DCTCP:
        if number > old and echoes:
            halves[at(half)].echo = RECEIVED
            halves[at(half)].echo_number = number
            if halves[at(half)].state != CWR:
                _enter(connections, rules, half, CWR, delivered, again)
        elif halves[at(half)].echo == RECEIVED and not echoes:
            halves[at(half)].echo = IDLE
    before = int64(halves[at(half)].dupacks)
    if dup and halves[at(half)].state != LOSS:
        _duplicate(connections, rules, half, delivered, again, now_ns)
    if number == old:
        if old < halves[at(half)].nxt:
            counted(connections, rules, half, int64(1), now_ns)
    else:
        _advanced(connections, rules, half, acked, delivered, dup, again, before, now_ns)
        let_go(connections, half)


@kernel
def _duplicate(
    connections: Connections, rules: TransportRules, half: int, delivered: int, again: bool, now_ns: int
) -> None:
    """The acknowledgement newly sacks something (DupAck)."""
    halves = connections.halves
    if halves[at(half)].state != RECOVERY:
        halves[at(half)].dupacks += 1
    if halves[at(half)].state == OPEN:
        halves[at(half)].state = DISORDER
    row = halves[at(half)]
    if row.state == RECOVERY:
        _reduce_in_proportion(connections, rules, half, delivered, again)
    elif row.state == DISORDER and (
        (row.dupacks == DUPTHRESH and (row.una >= row.recover or not row.guards)) or _next_is_lost(connections, half)
    ):
        if row.una < row.nxt and not connections.flags[at(place_of(connections, half, int64(row.una)))] & MISSING:
            lose(connections, rules, half, int64(row.una), True)
        halves[at(half)].guards = 1
        halves[at(half)].recoveries += 1
        halves[at(half)].first_open = row.una
        _enter(connections, rules, half, RECOVERY, delivered, again)
        _resend(connections, rules, half, now_ns)


@kernel
def _next_is_lost(connections: Connections, half: int) -> bool:
    """Whether the first segment beyond `una` that is lost or sacked is lost, and below the highest sacked."""
    row = connections.halves[at(half)]
    for number in range(row.una + 1, min(int64(row.highest_sacked), int64(row.nxt))):
        flags = int64(connections.flags[at(place_of(connections, half, number))])
        if flags & SACKED:
            return False
        if flags & MISSING:
            return True
    return False


@inlined
def _advanced(
    connections: Connections,
    rules: TransportRules,
    half: int,
    acked: int,
    delivered: int,
    dup: bool,
    again: bool,
    before: int,
    now_ns: int,
) -> None:
    """The rest of ProcessAck, where `una` has advanced by `acked` bytes."""
    halves, seg = connections.halves, rules.mss
    segments = acked // seg
    halves[at(half)].rest += acked % seg
    if halves[at(half)].rest >= seg:
        segments += 1
        halves[at(half)].rest -= seg
    if not dup:
        halves[at(half)].dupacks = 0
    row = halves[at(half)]
    state, inside = row.state, row.una < row.recover
    if state == RECOVERY and inside:
        if segments >= 1:
            _reduce_in_proportion(connections, rules, half, delivered, again)
        flags = int64(connections.flags[at(place_of(connections, half, int64(row.una)))])
        if flags & (AGAIN | SACKED) != AGAIN:
            _resend(connections, rules, half, now_ns)
        counted(connections, rules, half, int64(1), now_ns)
        if row.first:
            restart(connections, rules, half, now_ns)
        halves[at(half)].timeouts = 0
        halves[at(half)].first = 0
        return
    if state == LOSS and inside:
        counted(connections, rules, half, segments, now_ns)
        grow_ns3(connections, rules, half, segments, now_ns)
        restart(connections, rules, half, now_ns)
        return
    if state == CWR:
        counted(connections, rules, half, segments, now_ns)
        if segments >= 1:
            _reduce_in_proportion(connections, rules, half, delivered, again)
        restart(connections, rules, half, now_ns)
        return
    left = state == RECOVERY
    if state == OPEN:
        counted(connections, rules, half, segments, now_ns)
    elif state == DISORDER:
        if segments >= before:
            counted(connections, rules, half, segments - before, now_ns)
        if not dup:
            halves[at(half)].state = OPEN
    else:
        halves[at(half)].first = 1
        segments = acked // seg
        if not left:
            beyond = int64(0)
            for number in range(row.recover, row.una):  # their places are not taken yet
                beyond += int64(connections.segments[at(place_of(connections, half, number))].bytes)
            segments = beyond // seg
        counted(connections, rules, half, segments, now_ns)
        halves[at(half)].state = OPEN
        if left:
            halves[at(half)].dupacks = 0
    if not inside:
        halves[at(half)].guards = 0
    if left:
        restart(connections, rules, half, now_ns)
        halves[at(half)].cwnd = halves[at(half)].ssthresh
    if halves[at(half)].state == OPEN:
        grow_ns3(connections, rules, half, segments, now_ns)
        restart(connections, rules, half, now_ns)


@kernel
def _enter(connections: Connections, rules: TransportRules, half: int, state: int, delivered: int, again: bool) -> None:
    """Begin to reduce the window, after a loss (RECOVERY) or an echo (CWR)."""
    halves = connections.halves
    halves[at(half)].ssthresh = reduced_ns3(connections, rules, half, int64(halves[at(half)].pipe))
    halves[at(half)].state = state
    halves[at(half)].recover = halves[at(half)].nxt
    halves[at(half)].prr_out = 0
    halves[at(half)].prr_delivered = 0
    halves[at(half)].prr_flight = halves[at(half)].outstanding_bytes
    _reduce_in_proportion(connections, rules, half, delivered, again)


@kernel
def _reduce_in_proportion(
    connections: Connections, rules: TransportRules, half: int, delivered: int, again: bool
) -> None:
    """Proportional rate reduction (RFC 6937), with a product of 32 bits."""
    halves = connections.halves
    halves[at(half)].prr_delivered += delivered
    row = halves[at(half)]
    if row.pipe > row.ssthresh:
        product = row.prr_delivered * row.ssthresh % _MODULUS
        flight = max(int64(row.prr_flight), int64(1))
        count = (product + flight - 1) // flight - row.prr_out
    else:
        limit = delivered
        if again:
            limit = max((row.prr_delivered - row.prr_out) % _MODULUS, delivered) + rules.mss
        count = min(limit, row.ssthresh - row.pipe)
    least = int64(0) if row.prr_out > 0 else rules.mss
    halves[at(half)].cwnd = row.pipe + max(int64(count), least)


@kernel
def _resend(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> None:
    """A segment leaves whatever the window: what is lost, else a new one, else `una` again."""
    halves = connections.halves
    number = first_missing(connections, half)
    if number == NOTHING and has_new(connections, rules, half):
        number = int64(NEW)
    elif number == NOTHING:
        number = int64(halves[at(half)].una)
    number = commit(connections, rules, half, number, now_ns)
    halves[at(half)].next_sent = number
    owe(connections, half, number)


@kernel
def times_out_ns3(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> bool:
    """The retransmission timer has fired; whether the connection goes on."""
    halves = connections.halves
    halves[at(half)].timeouts_all += 1
    if halves[at(half)].timeouts >= rules.retries:
        return False
    halves[at(half)].timeouts += 1
    in_flight = int64(halves[at(half)].pipe)
    halves[at(half)].dupacks = 0
    lose_all(connections, rules, half)
    halves[at(half)].recover = halves[at(half)].nxt
    halves[at(half)].guards = 1
    halves[at(half)].rto = min(2 * int64(halves[at(half)].rto), rules.max_rto_ns)
    halves[at(half)].ssthresh = reduced_ns3(connections, rules, half, in_flight)
    if rules.control == CUBIC:
        cubic_begins_anew(connections, half, now_ns)
    halves[at(half)].state = LOSS
    halves[at(half)].cwnd = rules.mss
    halves[at(half)].rto_ns = NEVER_NS
    return True


@inlined
def note_sent_ns3(connections: Connections, half: int, number: int, is_new: bool) -> None:
    """A segment that the window let through was sent."""
    halves = connections.halves
    halves[at(half)].next_sent = number + 1
    row = halves[at(half)]
    if is_new and row.echo == RECEIVED and row.echo_number > row.cwr_number:
        halves[at(half)].cwr_number = number
        halves[at(half)].echo = 2
