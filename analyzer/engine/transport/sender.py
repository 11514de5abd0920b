"""What a sender does with an acknowledgement, and when its timers fire, as the RFCs have it (docs/transport.md)."""

from __future__ import annotations

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.control import grow, note_echo, reduced, set_window
from segcast.analyzer.engine.transport.hystart import hears, hystart_begins_anew
from segcast.analyzer.engine.transport.rack import adapt, lose_by_time, set_probe
from segcast.analyzer.engine.transport.recovery import (
    begin_episode,
    begin_reducing,
    reduce_in_proportion,
    told_needless,
)
from segcast.analyzer.engine.transport.scoreboard import (
    NEW,
    NOTHING,
    advance,
    commit,
    first_missing,
    has_new,
    leaves,
    let_go,
    lose_all,
    lose_below_three,
    take_sacks,
)
from segcast.analyzer.engine.transport.segments import place_of
from segcast.analyzer.engine.transport.state import (
    CUBIC,
    CWR,
    DCTCP,
    ECHO,
    FAILED,
    LOSS,
    OPEN,
    RECOVERY,
    TWICE,
    UNKNOWN,
    Connections,
    Headers,
    TransportRules,
)
from segcast.analyzer.engine.transport.timing import backed_off, restart, sample
from segcast.traces.jit import at, inlined, int64, kernel


@inlined
def acknowledged(
    connections: Connections, rules: TransportRules, headers: Headers, row: int, half: int, now_ns: int
) -> None:
    """An acknowledgement has arrived that is not below `una`."""
    halves, header = connections.halves, headers.headers[at(row)]
    number, flags = int64(header.number), int64(header.signs)
    was_limited = halves[at(half)].limited
    outstanding = int64(halves[at(half)].outstanding_bytes)
    halves[at(half)].latest_ns = -1
    halves[at(half)].latest = -1
    sacked = take_sacks(connections, rules, headers, row, half, now_ns)
    advances = number > halves[at(half)].una
    newly = sacked + advance(connections, rules, half, number, now_ns)
    acked = outstanding - int64(halves[at(half)].outstanding_bytes)
    if newly > 0 and not halves[at(half)].latest_again:
        round_trip_ns = now_ns - int64(halves[at(half)].latest_ns)
        sample(connections, rules, half, round_trip_ns)
        if rules.hystart:
            hears(connections, rules, half, round_trip_ns, now_ns)
    lost = int64(0)
    if rules.rack:
        adapt(connections, half, flags & TWICE != 0)
        if flags & TWICE:
            told_needless(connections, rules, half, int64(header.twice))
        highest = max(number - 1, int64(halves[at(half)].highest_sacked))
        halves[at(half)].fack = max(int64(halves[at(half)].fack), highest)
        lost = lose_by_time(connections, rules, half, now_ns)
    elif sacked > 0:
        lost = lose_below_three(connections, rules, half)

    # 1. What ends.
    if number >= halves[at(half)].recover and halves[at(half)].state != OPEN:
        if halves[at(half)].state == RECOVERY:
            set_window(connections, half, int64(halves[at(half)].ssthresh))
        halves[at(half)].state = OPEN
    probe_lost = False
    if halves[at(half)].probe_end != UNKNOWN and number >= halves[at(half)].probe_end:
        twice = flags & TWICE and header.twice == halves[at(half)].probe_end - 1
        probe_lost = bool(halves[at(half)].probe_again) and not twice
        halves[at(half)].probe_end = UNKNOWN
    # 2. Echoes of congestion.
    echoes = flags & ECHO != 0
    if rules.control == DCTCP:
        note_echo(connections, half, acked, echoes)
    if ((rules.ecn and echoes) or probe_lost) and halves[at(half)].state == OPEN:
        window = reduced(connections, rules, half, True)
        halves[at(half)].ssthresh = window
        set_window(connections, half, window)
        halves[at(half)].recover = halves[at(half)].nxt
        halves[at(half)].state = CWR
        halves[at(half)].reduces = 1
        halves[at(half)].undo_from = UNKNOWN
    # 3. Losses; 4. their repair; 5. growth.
    repair(connections, rules, half, newly, advances and lost == 0, now_ns)
    state = halves[at(half)].state
    if acked > 0 and (state == LOSS or (state == OPEN and was_limited)):
        grow(connections, rules, half, acked, now_ns)
    if advances:
        restart(connections, rules, half, now_ns)
        if rules.rack:
            set_probe(connections, rules, half, now_ns)
        let_go(connections, half)
    if halves[at(half)].state != OPEN or halves[at(half)].sacked > 0:
        halves[at(half)].probe_ns = NEVER_NS


@kernel
def overtaken(connections: Connections, rules: TransportRules, headers: Headers, row: int, half: int) -> None:
    """An acknowledgement has arrived that is below `una`, because another overtook it: of it only D-SACK counts."""
    twice = int64(headers.headers[at(row)].twice)
    if connections.halves[at(half)].una >= connections.halves[at(half)].mult_until:
        adapt(connections, half, True)
    told_needless(connections, rules, half, twice)


@kernel
def repair(
    connections: Connections, rules: TransportRules, half: int, delivered: int, is_safe: bool, now_ns: int
) -> None:
    """Begin to repair losses, or go on with it, after an event that `delivered` so many bytes.

    The first segment is sent at once, whatever the pace (RFC 6675, step 4).
    """
    halves = connections.halves
    if halves[at(half)].state == RECOVERY:
        reduce_in_proportion(connections, rules, half, delivered, is_safe)
    if halves[at(half)].missing == 0 or halves[at(half)].state not in (OPEN, CWR):
        return
    begin_episode(connections, half)
    window = reduced(connections, rules, half, False)
    halves[at(half)].ssthresh = window
    halves[at(half)].recover = halves[at(half)].nxt
    halves[at(half)].state = RECOVERY
    halves[at(half)].recoveries += 1
    halves[at(half)].first_open = halves[at(half)].una
    begin_reducing(connections, half, delivered)
    reduce_in_proportion(connections, rules, half, delivered, is_safe)
    number = first_missing(connections, half)
    if number != NOTHING:
        owe(connections, half, commit(connections, rules, half, number, now_ns))


@kernel
def owe(connections: Connections, half: int, number: int) -> None:
    """A segment that counts as sent leaves before all others."""
    halves = connections.halves
    halves[at(half)].burst = 0
    if halves[at(half)].owed == UNKNOWN:
        halves[at(half)].owed = number
    else:
        halves[at(half)].also_owed = number


@kernel
def reorders(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> None:
    """The reordering timer has fired."""
    halves = connections.halves
    lose_by_time(connections, rules, half, now_ns)
    repair(connections, rules, half, int64(0), False, now_ns)
    if halves[at(half)].state != OPEN:
        halves[at(half)].probe_ns = NEVER_NS


@kernel
def probes(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> None:
    """The probe timer has fired: a new segment goes out whatever the window, or the last one again."""
    halves = connections.halves
    halves[at(half)].probe_ns = NEVER_NS
    again = not has_new(connections, rules, half)
    number = halves[at(half)].nxt - 1 if again else int64(NEW)
    number = commit(connections, rules, half, number, now_ns)
    owe(connections, half, number)
    halves[at(half)].probe_end = halves[at(half)].nxt
    halves[at(half)].probe_again = again
    halves[at(half)].rto_ns = now_ns + backed_off(connections, rules, half)


@kernel
def times_out(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> bool:
    """The retransmission timer has fired; whether the connection goes on."""
    halves = connections.halves
    begin_episode(connections, half)
    if halves[at(half)].state != LOSS:
        halves[at(half)].ssthresh = reduced(connections, rules, half, False)
        if rules.control == CUBIC:
            halves[at(half)].w_max = 0.0  # RFC 9438 section 4.8
    if rules.hystart:
        hystart_begins_anew(connections, half, now_ns)
    halves[at(half)].timeouts += 1
    halves[at(half)].timeouts_all += 1
    lose_all(connections, rules, half)
    if halves[at(half)].timeouts >= rules.retries:
        return False
    halves[at(half)].state = LOSS
    halves[at(half)].recover = halves[at(half)].nxt
    set_window(connections, half, rules.mss)
    halves[at(half)].backoff += 1
    halves[at(half)].next_ns = 0
    halves[at(half)].rto_ns = NEVER_NS  # set when the first is sent again, which is now
    halves[at(half)].probe_ns = NEVER_NS
    halves[at(half)].reorder_ns = NEVER_NS
    return True


@kernel
def fails(connections: Connections, half: int) -> None:
    """A half sends no more; what it has outstanding is lost."""
    halves = connections.halves
    halves[at(half)].stage = FAILED
    for number in range(halves[at(half)].una, halves[at(half)].nxt):
        leaves(connections, number, place_of(connections, half, number), True)
    halves[at(half)].owed = UNKNOWN
    halves[at(half)].also_owed = UNKNOWN
    for_ever = NEVER_NS
    halves[at(half)].hello_ns = for_ever
    halves[at(half)].rto_ns = for_ever
    halves[at(half)].probe_ns = for_ever
    halves[at(half)].reorder_ns = for_ever
    halves[at(half)].pace_ns = for_ever
    halves[at(half)].ack_ns = for_ever
