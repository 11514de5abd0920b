"""RACK-TLP (RFC 8985): losses told by time, so that reordering costs little, and probes of a tail."""

from __future__ import annotations

from typing import Final

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.scoreboard import lose
from segcast.analyzer.engine.transport.segments import place_of
from segcast.analyzer.engine.transport.state import (
    AGAIN,
    DUPTHRESH,
    LOSS,
    MISSING,
    OPEN,
    RECOVERY,
    SACKED,
    UNKNOWN,
    Connections,
    TransportRules,
)
from segcast.traces.jit import at, int64, kernel

_CALM_RECOVERIES: Final = 16
_FIRST_PROBE_NS: Final = 1_000_000_000


@kernel
def adapt(connections: Connections, half: int, twice: bool) -> None:
    """The window for reordering was too short if a duplicate is reported, once a round; after enough recoveries that
    end without one it is as at first (RFC 8985 section 6.2, step 4).
    """
    halves = connections.halves
    row = halves[at(half)]
    if twice and row.una >= row.mult_until:
        halves[at(half)].mult += 1
        halves[at(half)].mult_until = row.nxt
        halves[at(half)].calm = 0
    elif row.state in (RECOVERY, LOSS) and row.una >= row.recover:
        halves[at(half)].calm += 1
        if halves[at(half)].calm >= _CALM_RECOVERIES:
            halves[at(half)].mult = 1
            halves[at(half)].calm = 0


@kernel
def lose_by_time(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> int:
    """Segments sent so long before a delivered one that they should be there are lost; a timer is set for others.

    Returns how many became so, or became so again.
    """
    halves, flags = connections.halves, connections.flags
    row = halves[at(half)]
    halves[at(half)].reorder_ns = NEVER_NS
    lost = int64(0)
    if row.rack_ns < 0:
        return lost
    window_ns = int64(0)
    if row.reordered or not (row.state in (RECOVERY, LOSS) or row.sacked >= DUPTHRESH):
        window_ns = row.mult * row.min_rtt // 4
        if row.srtt != UNKNOWN:
            window_ns = min(window_ns, int64(row.srtt))
    # What was sent once was sent in order, so nothing beyond a segment that was, too, was sent before it.
    end = int64(row.nxt) if row.rack_again or row.resent > 0 else min(int64(row.rack_number), int64(row.nxt))
    latest_ns = int64(-1)
    for number in range(row.una, end):
        place = place_of(connections, half, number)
        known = int64(flags[at(place)])
        if known & SACKED or known & (MISSING | AGAIN) == MISSING:
            continue
        sent_ns = int64(connections.segments[at(place)].sent_ns)
        if sent_ns < row.rack_ns or (sent_ns == row.rack_ns and number < row.rack_number):
            due_ns = sent_ns + row.rack_rtt + window_ns
            if due_ns <= now_ns:
                lose(connections, rules, half, number, True)
                lost += 1
            else:
                latest_ns = max(latest_ns, due_ns)
    if latest_ns >= 0:
        halves[at(half)].reorder_ns = latest_ns
    return lost


@kernel
def set_probe(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> None:
    """Set the probe timer, if a tail may be probed, or stop it."""
    halves = connections.halves
    row = halves[at(half)]
    if row.una == row.nxt or row.state != OPEN or row.sacked > 0:
        halves[at(half)].probe_ns = NEVER_NS
        return
    if row.probe_end != UNKNOWN:
        return
    waits_ns = 2 * int64(row.srtt) if row.srtt != UNKNOWN else int64(_FIRST_PROBE_NS)
    if row.nxt - row.una == 1:
        waits_ns += rules.ack_delay_ns
    halves[at(half)].probe_ns = min(now_ns + waits_ns, int64(row.rto_ns))
