"""What is sent while losses are repaired, and how a window that was reduced for nothing is given back.

Proportional rate reduction (RFC 9937) and undoing by D-SACK (RFC 3708, 4015), as docs/transport.md has them.
"""

from __future__ import annotations

from segcast.analyzer.engine.transport.control import set_window
from segcast.analyzer.engine.transport.scoreboard import reflag
from segcast.analyzer.engine.transport.segments import place_of
from segcast.analyzer.engine.transport.state import (
    AGAIN,
    CUBIC,
    CWR,
    MISSING,
    OPEN,
    SACKED,
    UNKNOWN,
    Connections,
    TransportRules,
)
from segcast.traces.jit import at, int64, kernel


@kernel
def begin_reducing(connections: Connections, half: int, delivered: int) -> None:
    """RECOVERY begins, at an event that `delivered` so many bytes."""
    halves, flags = connections.halves, connections.flags
    unsacked_bytes = int64(0)
    for number in range(halves[at(half)].una, halves[at(half)].nxt):
        place = place_of(connections, half, number)
        if not flags[at(place)] & SACKED:
            unsacked_bytes += int64(connections.segments[at(place)].bytes)
    halves[at(half)].prr_out = 0
    halves[at(half)].prr_delivered = 0
    halves[at(half)].prr_flight = unsacked_bytes + delivered


@kernel
def reduce_in_proportion(
    connections: Connections, rules: TransportRules, half: int, delivered: int, is_safe: bool
) -> None:
    """Let the window follow what is delivered (RFC 9937 section 6)."""
    halves = connections.halves
    halves[at(half)].prr_delivered += delivered
    row = halves[at(half)]
    owed = int64(row.prr_delivered) - int64(row.prr_out)
    if row.pipe > row.ssthresh:
        product, flight = int64(row.prr_delivered) * int64(row.ssthresh), int64(row.prr_flight)
        count = (product + flight - 1) // flight - int64(row.prr_out)
    else:
        count = max(owed, delivered) + (rules.mss if is_safe else int64(0))
        count = min(count, int64(row.ssthresh) - int64(row.pipe))
    if row.prr_out == 0 or row.pipe == 0:  # no acknowledgement would ask for it
        count = max(count, rules.mss)
    set_window(connections, half, int64(row.pipe) + max(count, int64(0)))


@kernel
def begin_episode(connections: Connections, half: int) -> None:
    """Keep what an undo gives back, if losses begin to be repaired now; before anything is reduced."""
    halves = connections.halves
    if halves[at(half)].state not in (OPEN, CWR):
        return
    again = int64(0)
    for number in range(halves[at(half)].una, halves[at(half)].nxt):
        again += int64(connections.flags[at(place_of(connections, half, number))] & (AGAIN | SACKED) == AGAIN)
    halves[at(half)].undo_from = halves[at(half)].una
    halves[at(half)].undo_left = again
    halves[at(half)].prior_cwnd = halves[at(half)].cwnd
    halves[at(half)].prior_ssthresh = halves[at(half)].ssthresh
    halves[at(half)].prior_epoch_ns = halves[at(half)].epoch_ns
    halves[at(half)].prior_w_max = halves[at(half)].w_max
    halves[at(half)].prior_w_prior = halves[at(half)].w_prior
    halves[at(half)].prior_w_est = halves[at(half)].w_est
    halves[at(half)].prior_k = halves[at(half)].k


@kernel
def told_needless(connections: Connections, rules: TransportRules, half: int, number: int) -> None:
    """A duplicate of a segment was reported; if all that was sent again was needless, so was the reduction."""
    halves = connections.halves
    row = halves[at(half)]
    if row.undo_from == UNKNOWN or number < row.undo_from or row.undo_left == 0:
        return
    halves[at(half)].undo_left -= 1
    if halves[at(half)].undo_left == 0:
        _undo(connections, rules, half)


@kernel
def _undo(connections: Connections, rules: TransportRules, half: int) -> None:
    """The window is what it was before losses began to be repaired, and nothing is lost."""
    halves, flags = connections.halves, connections.flags
    for number in range(halves[at(half)].una, halves[at(half)].nxt):
        place = place_of(connections, half, number)
        if flags[at(place)] & MISSING:
            reflag(connections, rules, half, place, int64(flags[at(place)]) & ~MISSING)
    halves[at(half)].state = OPEN
    halves[at(half)].undo_from = UNKNOWN
    halves[at(half)].undone += 1
    if halves[at(half)].cwnd < halves[at(half)].prior_cwnd:
        if rules.control == CUBIC:
            halves[at(half)].epoch_ns = halves[at(half)].prior_epoch_ns
            halves[at(half)].w_max = halves[at(half)].prior_w_max
            halves[at(half)].w_prior = halves[at(half)].prior_w_prior
            halves[at(half)].w_est = halves[at(half)].prior_w_est
            halves[at(half)].k = halves[at(half)].prior_k
        set_window(connections, half, int64(halves[at(half)].prior_cwnd))
    halves[at(half)].ssthresh = max(int64(halves[at(half)].ssthresh), int64(halves[at(half)].prior_ssthresh))
