"""What a sender knows of its segments: sacked, lost, sent again; what is in the network by that, and what is sent next.

The rules are those of docs/transport.md (The sender's scoreboard, What may be sent), after RFC 6675.
"""

from __future__ import annotations

from typing import Final

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.segments import give_back, make_place, place_of
from segcast.analyzer.engine.transport.state import (
    AGAIN,
    CWR,
    DUPTHRESH,
    ESTABLISHED,
    EVER_AGAIN,
    MISSING,
    MOST_BLOCKS,
    OPEN,
    RECOVERY,
    SACKED,
    UNTIMED,
    Connections,
    Headers,
    TransportRules,
)
from segcast.analyzer.engine.transport.timing import backed_off
from segcast.traces.jit import at, inlined, int64, kernel

# What `what_next` returns besides a segment's number.
NOTHING: Final = -1
NEW: Final = -2


@inlined
def _weight(flags: int, ns3: bool) -> int:
    """How often a segment counts as in the network (RFC 6675, SetPipe)."""
    if flags & SACKED:
        return int64(1) if ns3 and flags & AGAIN else int64(0)
    return int64(flags & MISSING == 0) + int64(flags & AGAIN != 0)


@inlined
def _is_missing(flags: int) -> int:
    return int64(flags & (MISSING | AGAIN | SACKED) == MISSING)


@inlined
def reflag(connections: Connections, rules: TransportRules, half: int, place: int, flags: int) -> None:
    """Give a segment other flags, and let what is counted of them follow."""
    halves, old = connections.halves, int64(connections.flags[at(place)])
    size = int64(connections.segments[at(place)].bytes)
    halves[at(half)].pipe += (_weight(flags, rules.ns3) - _weight(old, rules.ns3)) * size
    halves[at(half)].missing += _is_missing(flags) - _is_missing(old)
    halves[at(half)].resent += int64(flags & AGAIN != 0) - int64(old & AGAIN != 0)
    connections.flags[at(place)] = flags


@inlined
def leaves(connections: Connections, number: int, place: int, lost: bool) -> None:
    """Note that a segment's bytes leave the in-flight count, if they have not."""
    segment = connections.segments[at(place)]
    if segment.frame_bytes > 0:
        entry = int64(connections.lot[0].gone)
        connections.gone[at(entry)].number = number
        connections.gone[at(entry)].sent_ns = segment.sent_ns
        connections.gone[at(entry)].frame_bytes = segment.frame_bytes
        connections.gone[at(entry)].path = segment.path
        connections.gone[at(entry)].lost = lost
        connections.segments[at(place)].frame_bytes = 0
        connections.lot[0].gone = entry + 1


@kernel
def lose(connections: Connections, rules: TransportRules, half: int, number: int, again: bool) -> None:
    """A segment is lost; if it had been sent `again`, that is lost, too."""
    place = place_of(connections, half, number)
    flags = int64(connections.flags[at(place)]) | MISSING
    if again:
        flags &= ~AGAIN
    reflag(connections, rules, half, place, flags)
    row = connections.halves[at(half)]
    if number < row.first_missing:
        connections.halves[at(half)].first_missing = number
    leaves(connections, number, place, True)


@inlined
def _delivered(
    connections: Connections, rules: TransportRules, half: int, number: int, place: int, now_ns: int
) -> None:
    """The receiver has a segment, as its sender learns now: what that says of round trips and of reordering."""
    halves = connections.halves
    sent_ns = int64(connections.segments[at(place)].sent_ns)
    again = int64(connections.flags[at(place)]) & EVER_AGAIN
    row = halves[at(half)]
    if sent_ns > row.latest_ns or (sent_ns == row.latest_ns and number > row.latest):
        halves[at(half)].latest_ns = sent_ns
        halves[at(half)].latest = number
        halves[at(half)].latest_again = again
    if rules.rack:
        if number < row.fack and not again:
            halves[at(half)].reordered = 1
        timely = not again or now_ns - sent_ns >= row.min_rtt
        if timely and (sent_ns > row.rack_ns or (sent_ns == row.rack_ns and number > row.rack_number)):
            halves[at(half)].rack_ns = sent_ns
            halves[at(half)].rack_number = number
            halves[at(half)].rack_again = again
            halves[at(half)].rack_rtt = now_ns - sent_ns


@inlined
def take_sacks(
    connections: Connections, rules: TransportRules, headers: Headers, row: int, half: int, now_ns: int
) -> int:
    """Mark what the blocks of an acknowledgement say; the bytes newly sacked."""
    halves, flags, seen, sacks = connections.halves, connections.flags, connections.seen, headers.sacks
    count = int64(headers.headers[at(row)].blocks)
    if count == 0 and not halves[at(half)].reported:
        return int64(0)
    halves[at(half)].reported = count > 0
    una, nxt = int64(halves[at(half)].una), int64(halves[at(half)].nxt)
    bytes_sacked = int64(0)
    for block in range(count):
        number = max(int64(sacks[at(row), at(2 * block)]), una)
        end = min(int64(sacks[at(row), at(2 * block + 1)]), nxt)
        while number < end:
            beyond = number
            for other in range(MOST_BLOCKS):  # what the acknowledgement before said is marked
                if seen[at(half), at(2 * other)] <= number < seen[at(half), at(2 * other + 1)]:
                    beyond = max(beyond, int64(seen[at(half), at(2 * other + 1)]))
            if beyond > number:
                number = beyond
                continue
            place = place_of(connections, half, number)
            if not flags[at(place)] & SACKED:
                size = int64(connections.segments[at(place)].bytes)
                bytes_sacked += size
                _delivered(connections, rules, half, number, place, now_ns)
                reflag(connections, rules, half, place, (int64(flags[at(place)]) | SACKED) & ~MISSING)
                halves[at(half)].sacked += 1
                halves[at(half)].highest_sacked = max(int64(halves[at(half)].highest_sacked), number)
                leaves(connections, number, place, False)
            number += 1
    for block in range(MOST_BLOCKS):
        seen[at(half), at(2 * block)] = sacks[at(row), at(2 * block)] if block < count else 0
        seen[at(half), at(2 * block + 1)] = sacks[at(row), at(2 * block + 1)] if block < count else 0
    return bytes_sacked


@inlined
def advance(connections: Connections, rules: TransportRules, half: int, number: int, now_ns: int) -> int:
    """All segments below `number` are acknowledged; the bytes of those that had not been sacked."""
    halves = connections.halves
    fresh = int64(0)
    for segment in range(halves[at(half)].una, number):
        place = place_of(connections, half, segment)
        flags, size = int64(connections.flags[at(place)]), int64(connections.segments[at(place)].bytes)
        if flags & SACKED:
            halves[at(half)].sacked -= 1
        else:
            fresh += size
            _delivered(connections, rules, half, segment, place, now_ns)
            leaves(connections, segment, place, False)
        halves[at(half)].pipe -= _weight(flags, rules.ns3) * size
        halves[at(half)].missing -= _is_missing(flags)
        halves[at(half)].resent -= int64(flags & AGAIN != 0)
        halves[at(half)].outstanding_bytes -= size
    halves[at(half)].una = number
    return fresh


@kernel
def lose_below_three(connections: Connections, rules: TransportRules, half: int) -> int:
    """Segments above which three are sacked are lost (RFC 6675, IsLost); how many became so."""
    halves, flags = connections.halves, connections.flags
    lost = int64(0)
    if halves[at(half)].sacked < DUPTHRESH:
        return lost
    number, found = int64(halves[at(half)].highest_sacked), int64(0)
    while True:
        found += int64(flags[at(place_of(connections, half, number))]) & SACKED
        if found == DUPTHRESH:
            break
        number -= 1
    for segment in range(max(int64(halves[at(half)].third), int64(halves[at(half)].una)), number):
        if not flags[at(place_of(connections, half, segment))] & (SACKED | MISSING):
            lose(connections, rules, half, segment, False)
            lost += 1
    halves[at(half)].third = number
    return lost


@kernel
def lose_all(connections: Connections, rules: TransportRules, half: int) -> None:
    """All that is not sacked is lost, whatever was sent again (RFC 6675 section 5.1)."""
    halves, flags = connections.halves, connections.flags
    for segment in range(halves[at(half)].una, halves[at(half)].nxt):
        place = place_of(connections, half, segment)
        if not flags[at(place)] & SACKED:
            lose(connections, rules, half, segment, True)
        elif flags[at(place)] & AGAIN:
            reflag(connections, rules, half, place, int64(flags[at(place)]) & ~AGAIN)
        flags[at(place)] |= UNTIMED
    halves[at(half)].first_open = halves[at(half)].una


@inlined
def first_missing(connections: Connections, half: int) -> int:
    """The lowest segment that is lost and neither sacked nor sent again, or NOTHING (NextSeg, rule 1)."""
    row = connections.halves[at(half)]
    if row.missing == 0:
        return int64(NOTHING)
    number = max(int64(row.first_missing), int64(row.una))
    while not _is_missing(int64(connections.flags[at(place_of(connections, half, number))])):
        number += 1
    connections.halves[at(half)].first_missing = number
    return number


@inlined
def has_new(connections: Connections, rules: TransportRules, half: int) -> bool:
    """Whether there are bytes that were never sent, and the receiver's window takes them (rule 2)."""
    row = connections.halves[at(half)]
    return bool(row.left > 0 and row.outstanding_bytes + min(int64(rules.mss), int64(row.left)) <= rules.receive_window)


@kernel
def _first_open(connections: Connections, rules: TransportRules, half: int) -> int:
    """The lowest segment that is neither sacked nor sent again, or NOTHING (rule 3)."""
    row = connections.halves[at(half)]
    number = max(int64(row.first_open), int64(row.una))
    end = int64(row.nxt) if rules.ns3 else min(int64(row.highest_sacked), int64(row.nxt))
    while number < end and int64(connections.flags[at(place_of(connections, half, number))]) & (SACKED | AGAIN):
        number += 1
    connections.halves[at(half)].first_open = number
    return number if number < end else int64(NOTHING)


@inlined
def has_closed(connections: Connections, half: int) -> bool:
    """Whether all that the half will ever send was sent once, so that its last segment says so."""
    row = connections.halves[at(half)]
    return bool(row.rows_left == 0 and row.left == 0)


@inlined
def what_next(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> int:
    """The segment that may be sent now: a number to be sent again, NEW or NOTHING."""
    halves = connections.halves
    row = halves[at(half)]
    if row.stage != ESTABLISHED or (rules.ns3 and row.state == OPEN and has_closed(connections, half)):
        return int64(NOTHING)
    number = first_missing(connections, half)
    if number == NOTHING and has_new(connections, rules, half):
        number = int64(NEW)
    elif number == NOTHING and row.state == RECOVERY:
        number = _first_open(connections, rules, half)
    if number == NOTHING:
        halves[at(half)].limited = 0
        halves[at(half)].burst = 0
        return number
    room = row.cwnd - row.pipe
    size = min(int64(rules.mss), int64(row.left))
    if number >= 0:
        size = int64(connections.segments[at(place_of(connections, half, number))].bytes)
        halves[at(half)].burst = 0
    joins = int64(0)
    if number == NEW and rules.tso_segments > 0:
        if row.burst > 0:
            joins = int64(1)
        else:
            count = min(int64(rules.tso_segments), (row.left + rules.mss - 1) // rules.mss)
            size = min(count * rules.mss, int64(row.left)) if row.pipe > 0 else int64(0)
            halves[at(half)].burst = count
    if size > room:
        halves[at(half)].limited = 1
        halves[at(half)].burst = 0
        return int64(NOTHING)
    if rules.pacing and not joins and row.next_ns > now_ns:
        halves[at(half)].pace_ns = row.next_ns
        halves[at(half)].burst = 0
        halves[at(half)].limited = 0
        return int64(NOTHING)
    if number == NEW:
        halves[at(half)].burst = max(int64(halves[at(half)].burst) - 1, int64(0))
    halves[at(half)].joins = joins
    return number


@inlined
def commit(connections: Connections, rules: TransportRules, half: int, number: int, now_ns: int) -> int:
    """Take it that a segment is sent now, NEW or again; its number."""
    halves, segments, messages = connections.halves, connections.segments, connections.messages
    if number == NEW:
        make_place(connections, half)
        number = int64(halves[at(half)].nxt)
        place = place_of(connections, half, number)
        size = min(int64(rules.mss), int64(halves[at(half)].left))
        segments[at(place)].bytes = size
        segments[at(place)].frame_bytes = 0
        connections.flags[at(place)] = 0
        connections.have[at(place)] = 0
        halves[at(half)].nxt += 1
        halves[at(half)].outstanding_bytes += size
        halves[at(half)].pipe += size
        halves[at(half)].left -= size
        halves[at(half)].segments += 1
        if halves[at(half)].left == 0:
            message = int64(halves[at(half)].message)
            messages[at(message)].end = halves[at(half)].nxt
            halves[at(half)].rows_left -= 1
            begin_message(connections, half, int64(messages[at(message)].following))
    else:
        place = place_of(connections, half, number)
        size = int64(segments[at(place)].bytes)
        leaves(connections, number, place, True)
        flags = int64(connections.flags[at(place)]) | AGAIN | EVER_AGAIN | UNTIMED
        reflag(connections, rules, half, place, flags)
        halves[at(half)].retransmissions += 1
        halves[at(half)].undo_left += 1
    segments[at(place)].sent_ns = now_ns
    halves[at(half)].last_sent_ns = now_ns
    row = halves[at(half)]
    if row.rto_ns == NEVER_NS:
        halves[at(half)].rto_ns = now_ns + backed_off(connections, rules, half)
    if rules.pacing and row.srtt >= 0:
        begins_ns = max(now_ns, int64(row.next_ns))
        if row.cwnd < row.ssthresh:
            halves[at(half)].next_ns = begins_ns + size * row.srtt // (row.cwnd * 2)
        else:
            halves[at(half)].next_ns = begins_ns + size * row.srtt * 5 // (row.cwnd * 6)
    if row.state == RECOVERY or (rules.ns3 and row.state == CWR):
        halves[at(half)].prr_out += size
    return number


@kernel
def begin_message(connections: Connections, half: int, message: int) -> None:
    """The half's next message, -1 if there is none, is what it sends now."""
    halves, messages = connections.halves, connections.messages
    halves[at(half)].message = message
    if message >= 0:
        halves[at(half)].left = messages[at(message)].bytes
        messages[at(message)].retransmissions = -halves[at(half)].retransmissions
        messages[at(message)].timeouts = -halves[at(half)].timeouts_all
        messages[at(message)].flowlets = -halves[at(half)].flowlets
        messages[at(message)].path_changes = -halves[at(half)].path_changes


@kernel
def let_go(connections: Connections, half: int) -> None:
    """A half that has nothing outstanding and nothing more to send gives its ring back."""
    row = connections.halves[at(half)]
    if row.una == row.nxt and row.rows_left == 0:
        give_back(connections, half)
