"""What a receiver does with data: it keeps what is above a hole, says so in SACK blocks, and delays acknowledgements.

The rules are those of docs/transport.md (The receiver), after RFC 5681 section 4.2, RFC 2018, RFC 2883 and RFC 8257.
"""

from __future__ import annotations

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.scoreboard import has_closed
from segcast.analyzer.engine.transport.segments import place_of
from segcast.analyzer.engine.transport.state import (
    DCTCP,
    ECHO,
    MOST_BLOCKS,
    REDUCED,
    TWICE,
    UNKNOWN,
    Connections,
    Headers,
    TransportRules,
)
from segcast.traces.jit import at, inlined, int64, kernel


@inlined
def answers_first(connections: Connections, rules: TransportRules, half: int, marked: bool) -> bool:
    """Whether what waits for a delayed acknowledgement must be acknowledged before this segment is looked at."""
    row = connections.halves[at(half)]
    return bool(rules.control == DCTCP and not rules.ns3 and marked != row.congested and row.unacked > 0)


@inlined
def receive(
    connections: Connections, rules: TransportRules, headers: Headers, row: int, half: int, marked: bool, now_ns: int
) -> bool:
    """Take a data segment; whether it is acknowledged at once."""
    halves, have = connections.halves, connections.have
    number = int64(headers.headers[at(row)].number)
    if rules.control == DCTCP and rules.ns3:
        halves[at(half)].congested = marked and number > halves[at(half)].last_marked
        if halves[at(half)].congested:
            halves[at(half)].last_marked = number
    elif rules.control == DCTCP:
        halves[at(half)].congested = marked
    elif rules.ecn:
        if headers.headers[at(row)].signs & REDUCED:
            halves[at(half)].congested = 0
        if marked:
            halves[at(half)].congested = 1
    following = int64(halves[at(half)].next)
    if number < following or have[at(place_of(connections, half, number))]:
        halves[at(half)].needless += 1
        halves[at(half)].twice = number
        return True
    have[at(place_of(connections, half, number))] = 1
    if number > following:
        halves[at(half)].held += 1
        _report(connections, half, number)
        return True
    had_some = halves[at(half)].held > 0
    following += 1
    # The end of all data in its place is acknowledged once more, for itself.
    if rules.ns3 and following == halves[at(half)].nxt and has_closed(connections, half):
        halves[at(half)].ends = 1
    while halves[at(half)].held > 0 and have[at(place_of(connections, half, following))]:
        following += 1
        halves[at(half)].held -= 1
    halves[at(half)].next = following
    if had_some:
        _keep(connections, half, int64(0), int64(0), following)
    halves[at(half)].unacked += 1
    if had_some or rules.ns3 or halves[at(half)].unacked >= rules.ack_every or following <= rules.quick_acks:
        return True
    if halves[at(half)].ack_ns == NEVER_NS:
        halves[at(half)].ack_ns = now_ns + rules.ack_delay_ns
    return False


@kernel
def _report(connections: Connections, half: int, number: int) -> None:
    """The run around a segment that is above a hole is reported first, in place of those that it contains."""
    blocks, have, row = connections.blocks, connections.have, connections.halves[at(half)]
    begin, end = number, number + 1
    while begin - 1 > row.next and have[at(place_of(connections, half, begin - 1))]:
        begin -= 1
        for block in range(MOST_BLOCKS):
            if blocks[at(half), at(2 * block)] <= begin < blocks[at(half), at(2 * block + 1)]:
                begin = int64(blocks[at(half), at(2 * block)])
    while end < row.nxt and have[at(place_of(connections, half, end))]:
        for block in range(MOST_BLOCKS):
            if blocks[at(half), at(2 * block)] <= end < blocks[at(half), at(2 * block + 1)]:
                end = int64(blocks[at(half), at(2 * block + 1)]) - 1
        end += 1
    kept = _keep(connections, half, begin, end, int64(0))
    for block in range(min(kept, MOST_BLOCKS - 1), 0, -1):
        blocks[at(half), at(2 * block)] = blocks[at(half), at(2 * block - 2)]
        blocks[at(half), at(2 * block + 1)] = blocks[at(half), at(2 * block - 1)]
    blocks[at(half), 0] = begin
    blocks[at(half), 1] = end


@kernel
def _keep(connections: Connections, half: int, begin: int, end: int, above: int) -> int:
    """Keep those blocks that are not in [begin, end) and end above `above`, in their order; how many there are."""
    blocks = connections.blocks
    kept = int64(0)
    for block in range(MOST_BLOCKS):
        first, last = int64(blocks[at(half), at(2 * block)]), int64(blocks[at(half), at(2 * block + 1)])
        if last > above and not (begin <= first and last <= end):
            blocks[at(half), at(2 * kept)] = first
            blocks[at(half), at(2 * kept + 1)] = last
            kept += 1
    for place in range(2 * kept, 2 * MOST_BLOCKS):
        blocks[at(half), at(place)] = 0
    return kept


@inlined
def acknowledge(connections: Connections, rules: TransportRules, headers: Headers, row: int, half: int) -> int:
    """Write an acknowledgement of the half into `row`; its IP bytes."""
    halves, blocks, header = connections.halves, connections.blocks, headers.headers
    header[at(row)].number = halves[at(half)].next
    header[at(row)].cause = halves[at(half)].cause
    header[at(row)].delay_ns = halves[at(half)].cause_delay_ns
    header[at(row)].level = halves[at(half)].cause_level
    header[at(row)].signs = ECHO if halves[at(half)].congested else 0
    header[at(row)].twice = UNKNOWN
    extra = int64(0)
    if rules.rack and halves[at(half)].twice != UNKNOWN:
        header[at(row)].signs |= TWICE
        header[at(row)].twice = halves[at(half)].twice
        extra = int64(1)
    count = int64(0)
    some = halves[at(half)].held > 0
    while some and count < MOST_BLOCKS - extra and blocks[at(half), at(2 * count + 1)] > 0:
        headers.sacks[at(row), at(2 * count)] = blocks[at(half), at(2 * count)]
        headers.sacks[at(row), at(2 * count + 1)] = blocks[at(half), at(2 * count + 1)]
        count += 1
    header[at(row)].blocks = count
    halves[at(half)].twice = UNKNOWN
    halves[at(half)].echoes += halves[at(half)].congested
    halves[at(half)].unacked = 0
    halves[at(half)].ack_ns = NEVER_NS
    shown = count + extra
    return rules.header_bytes + (4 + 8 * shown if shown > 0 else 0)


@kernel
def thank(rules: TransportRules, headers: Headers, row: int) -> int:
    """Write the answer to SYN/ACK into `row`; its IP bytes."""
    header = headers.headers
    header[at(row)].number = 0
    header[at(row)].cause = UNKNOWN
    header[at(row)].delay_ns = 0
    header[at(row)].level = 0
    header[at(row)].signs = 0
    header[at(row)].blocks = 0
    header[at(row)].twice = UNKNOWN
    return rules.header_bytes
