"""Congestion control as the RFCs have it: how the window grows with what is acknowledged, and what it is reduced to.

NewReno (RFC 5681, with the bytes of RFC 3465), DCTCP (RFC 8257) and CUBIC (RFC 9438).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.state import CUBIC, DCTCP, UNKNOWN, Connections, TransportRules
from segcast.analyzer.engine.transport.timing import known
from segcast.traces.jit import at, inlined, int64, kernel

ALPHA_BITS: Final = 20
_GAIN_BITS: Final = 4
_C: Final = 0.4
_BETA: Final = 0.7
_CONVERGES: Final = 0.85  # (1 + _BETA) / 2
_FRIENDLY: Final = 0.9 / 1.7  # 3 (1 - _BETA) / (1 + _BETA)


@kernel
def cube_root(x: float) -> float:
    """The cube root of what is not negative, by steps that are the same on every machine."""
    y = max(x, 1.0)
    while True:
        better = y - (y * y * y - x) / (3.0 * y * y)
        if not better < y:
            return y
        y = better


@kernel
def window_of(connections: Connections, rules: TransportRules, half: int) -> float:
    """The window in segments, with the fraction that `cwnd` has not."""
    halves = connections.halves
    if halves[at(half)].cwnd != halves[at(half)].w_cwnd:
        halves[at(half)].w = np.float64(halves[at(half)].cwnd) / rules.mss
        halves[at(half)].w_cwnd = halves[at(half)].cwnd
    return float(halves[at(half)].w)


@kernel
def cubic_reduces(connections: Connections, rules: TransportRules, half: int, for_echo: bool) -> int:
    """What the window becomes; an epoch ends."""
    halves = connections.halves
    w = window_of(connections, rules, half)
    halves[at(half)].w_prior = w
    halves[at(half)].w_max = w * _CONVERGES if w < halves[at(half)].w_max else w
    halves[at(half)].epoch_ns = NEVER_NS
    full = halves[at(half)].cwnd if for_echo else halves[at(half)].outstanding_bytes
    return int64(np.float64(full) * _BETA)


@kernel
def cubic_avoids(connections: Connections, rules: TransportRules, half: int, acked: int, now_ns: int) -> None:
    """Congestion avoidance, `acked` bytes on."""
    halves = connections.halves
    w = window_of(connections, rules, half)
    if halves[at(half)].epoch_ns == NEVER_NS:
        halves[at(half)].epoch_ns = now_ns
        halves[at(half)].w_est = w
        if w >= halves[at(half)].w_max:
            halves[at(half)].w_max = w
            halves[at(half)].k = 0.0
        else:
            halves[at(half)].k = cube_root((halves[at(half)].w_max - w) / _C)
    row = halves[at(half)]
    segments = np.float64(acked) / rules.mss
    t = np.float64(now_ns - row.epoch_ns) / 1e9
    srtt = np.float64(known(int64(row.srtt))) / 1e9
    off = t + srtt - row.k
    target = min(max(_C * (off * off * off) + row.w_max, w), 1.5 * w)
    gain = _FRIENDLY if row.w_est < row.w_prior else 1.0
    halves[at(half)].w_est += gain * segments / w
    off = t - row.k
    if _C * (off * off * off) + row.w_max < halves[at(half)].w_est:
        w = max(w, float(halves[at(half)].w_est))
    else:
        w += (target - w) / w * segments
    halves[at(half)].w = w
    halves[at(half)].cwnd = int64(w * rules.mss)
    halves[at(half)].w_cwnd = halves[at(half)].cwnd


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
