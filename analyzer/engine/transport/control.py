"""Congestion control as the RFCs have it: how the window grows with what is acknowledged, and what it is reduced to.

NewReno (RFC 5681, with the bytes of RFC 3465), DCTCP (RFC 8257) and, beside it in `cubic`, CUBIC (RFC 9438).
"""

from __future__ import annotations

from typing import Final

from segcast.analyzer.engine.transport.cubic import cubic_avoids, cubic_reduces
from segcast.analyzer.engine.transport.state import CUBIC, DCTCP, UNKNOWN, Connections, TransportRules
from segcast.traces.jit import at, inlined, int64, kernel

ALPHA_BITS: Final = 20
_GAIN_BITS: Final = 4


@inlined
def grow(connections: Connections, rules: TransportRules, half: int, acked: int, now_ns: int) -> None:
    """`acked` bytes were acknowledged: slow start up to `ssthresh`, congestion avoidance beyond."""
    halves = connections.halves
    row = halves[at(half)]
    if row.cwnd < row.ssthresh:
        slow = min(acked, row.ssthresh - row.cwnd)
        set_window(connections, half, row.cwnd + slow)
        acked -= slow
    if acked == 0:
        return
    if rules.control == CUBIC:
        cubic_avoids(connections, rules, half, acked, now_ns)
        return
    halves[at(half)].count += acked
    if halves[at(half)].count >= halves[at(half)].cwnd:
        halves[at(half)].count -= halves[at(half)].cwnd
        halves[at(half)].cwnd += rules.mss


@inlined
def set_window(connections: Connections, half: int, cwnd: int) -> None:
    """The window is so large; if that is another, CUBIC keeps no fraction of a byte of it."""
    halves = connections.halves
    if halves[at(half)].cwnd != cwnd:
        halves[at(half)].cwnd = cwnd
        halves[at(half)].w_cwnd = UNKNOWN


@kernel
def reduced(connections: Connections, rules: TransportRules, half: int, for_echo: bool) -> int:
    """What the window becomes after a loss, or an echo of congestion: at least two segments."""
    row = connections.halves[at(half)]
    if rules.control == CUBIC:
        window = cubic_reduces(connections, rules, half, for_echo)
    elif not for_echo:
        window = int64(row.outstanding_bytes) // 2
    elif rules.control == DCTCP:
        window = row.cwnd - (row.cwnd * row.alpha >> (ALPHA_BITS + 1))
    else:
        window = int64(row.cwnd) // 2
    return max(window, 2 * rules.mss)


@kernel
def note_echo(connections: Connections, half: int, acked: int, echoes: bool) -> None:
    """DCTCP's estimate of the share of bytes that were marked, renewed once a window (RFC 8257 section 3.3)."""
    halves = connections.halves
    halves[at(half)].acked_bytes += acked
    halves[at(half)].marked_bytes += acked if echoes else 0
    row = halves[at(half)]
    if row.una > row.window_end:
        if row.acked_bytes > 0:
            share = (int64(row.marked_bytes) << ALPHA_BITS) // row.acked_bytes
            halves[at(half)].alpha += (share - row.alpha) >> _GAIN_BITS
        halves[at(half)].acked_bytes = 0
        halves[at(half)].marked_bytes = 0
        halves[at(half)].window_end = row.nxt
