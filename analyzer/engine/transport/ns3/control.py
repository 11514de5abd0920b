"""Congestion control as ns-3 3.37 has it (docs/transport.md): TcpNewReno, TcpDctcp and TcpCubic with HyStart."""

from __future__ import annotations

from typing import Final

import numpy as np

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.control import cube_root
from segcast.analyzer.engine.transport.hystart import begin_round, hystart_begins_anew
from segcast.analyzer.engine.transport.state import CUBIC, DCTCP, UNKNOWN, Connections, TransportRules
from segcast.analyzer.engine.transport.timing import known
from segcast.traces.jit import at, inlined, int64, kernel

# HALF.echo.
IDLE: Final = 0
RECEIVED: Final = 1
SENT: Final = 2

_QUIET_NS: Final = 10_000_000  # after an epoch began
_TRAIN_NS: Final = 2_000_000
_LEAST_MORE_NS: Final = 4_000_000
_MOST_MORE_NS: Final = 1_000_000_000
_LOW_WINDOW: Final = 16
_SAMPLES: Final = 8
_CLAMP: Final = 20


@inlined
def grow_ns3(connections: Connections, rules: TransportRules, half: int, segments: int, now_ns: int) -> None:
    """So many segments were acknowledged."""
    halves, seg = connections.halves, rules.mss
    row = halves[at(half)]
    if rules.control == CUBIC:
        if row.cwnd < row.ssthresh:
            if row.una > row.round_end:
                begin_round(connections, half, now_ns)
            halves[at(half)].cwnd += segments * seg
        elif segments > 0:
            halves[at(half)].count += segments
            count = _cubic_count(connections, rules, half, now_ns)
            if halves[at(half)].count >= count:
                halves[at(half)].cwnd += seg
                halves[at(half)].count -= count
    elif rules.control == DCTCP:
        if row.cwnd < row.ssthresh:
            halves[at(half)].cwnd = min(row.cwnd + segments * seg, int64(row.ssthresh))
            return
        window = max(row.cwnd // seg, int64(1))
        if halves[at(half)].count >= window:
            halves[at(half)].count = 0
            halves[at(half)].cwnd += seg
        halves[at(half)].count += segments
        if halves[at(half)].count >= window:
            rounds = halves[at(half)].count // window
            halves[at(half)].count -= rounds * window
            halves[at(half)].cwnd += rounds * seg
    else:
        if row.cwnd < row.ssthresh and segments >= 1:
            halves[at(half)].cwnd += seg
            segments -= 1
        if halves[at(half)].cwnd >= row.ssthresh and segments > 0:
            halves[at(half)].cwnd += max(int64(1), seg * seg // int64(halves[at(half)].cwnd))


@kernel
def reduced_ns3(connections: Connections, rules: TransportRules, half: int, in_flight: int) -> int:
    """What `ssthresh` becomes after a loss or an echo."""
    halves, seg = connections.halves, rules.mss
    cwnd = int64(halves[at(half)].cwnd)
    if rules.control == CUBIC:
        window = cwnd // seg
        last = halves[at(half)].w_max
        halves[at(half)].w_max = np.float64(int64(window * 1.7 / 2.0)) if window < last else np.float64(window)
        halves[at(half)].epoch_ns = NEVER_NS
        return max(int64(window * 0.7), int64(2)) * seg
    if rules.control == DCTCP:
        return int64((1.0 - halves[at(half)].share / 2.0) * cwnd)
    return max(2 * seg, in_flight // 2)


@inlined
def counted(connections: Connections, rules: TransportRules, half: int, segments: int, now_ns: int) -> None:
    """What PktsAcked does: DCTCP's share of marks, CUBIC's HyStart."""
    halves = connections.halves
    if rules.control == DCTCP:
        halves[at(half)].acked_bytes += segments * rules.mss
        if halves[at(half)].echo == RECEIVED:
            halves[at(half)].marked_bytes += segments * rules.mss
        if halves[at(half)].boundary == UNKNOWN:
            halves[at(half)].boundary = halves[at(half)].next_sent
        if halves[at(half)].una >= halves[at(half)].boundary:
            total, marked = int64(halves[at(half)].acked_bytes), int64(halves[at(half)].marked_bytes)
            share = np.float64(marked) / np.float64(total) if total > 0 else 0.0
            halves[at(half)].share = (1.0 - 0.0625) * halves[at(half)].share + 0.0625 * share
            halves[at(half)].boundary = halves[at(half)].next_sent
            halves[at(half)].acked_bytes = 0
            halves[at(half)].marked_bytes = 0
    elif rules.control == CUBIC:
        epoch_ns = int64(halves[at(half)].epoch_ns)
        if epoch_ns != NEVER_NS and now_ns - epoch_ns < _QUIET_NS:
            return
        srtt = known(int64(halves[at(half)].srtt))
        halves[at(half)].delay_min_ns = min(int64(halves[at(half)].delay_min_ns), srtt)
        row = halves[at(half)]
        if not row.found and row.cwnd <= row.ssthresh and row.cwnd >= _LOW_WINDOW * rules.mss:
            _hystart(connections, half, srtt, now_ns)


@kernel
def _hystart(connections: Connections, half: int, srtt: int, now_ns: int) -> None:
    halves = connections.halves
    found = False
    delay_min_ns = int64(halves[at(half)].delay_min_ns)
    if now_ns - halves[at(half)].last_ack_ns <= _TRAIN_NS:
        halves[at(half)].last_ack_ns = now_ns
        found = now_ns - halves[at(half)].round_ns > delay_min_ns
    if halves[at(half)].round_samples < _SAMPLES:
        halves[at(half)].round_rtt = min(int64(halves[at(half)].round_rtt), srtt)
        halves[at(half)].round_samples += 1
    elif halves[at(half)].round_rtt > delay_min_ns + min(max(delay_min_ns, _LEAST_MORE_NS), _MOST_MORE_NS):
        found = True
    if found:
        halves[at(half)].found = 1
        halves[at(half)].ssthresh = halves[at(half)].cwnd


@kernel
def cubic_begins_anew(connections: Connections, half: int, now_ns: int) -> None:
    """What a timeout does to CUBIC, besides what any loss does."""
    halves = connections.halves
    halves[at(half)].w_max = 0.0
    halves[at(half)].w_prior = 0.0
    halves[at(half)].k = 0.0
    hystart_begins_anew(connections, half, now_ns)


@kernel
def _cubic_count(connections: Connections, rules: TransportRules, half: int, now_ns: int) -> int:
    """After how many segments the window grows by one; `w_prior` is the origin of the cubic."""
    halves = connections.halves
    window, last = int64(halves[at(half)].cwnd) // rules.mss, int64(halves[at(half)].w_max)
    if halves[at(half)].epoch_ns == NEVER_NS:
        halves[at(half)].epoch_ns = now_ns
        halves[at(half)].k = cube_root(np.float64(last - window) / 0.4) if last > window else 0.0
        halves[at(half)].w_prior = np.float64(max(last, window))
    delay_min_ns = int64(halves[at(half)].delay_min_ns)
    delay_min_ns = int64(0) if delay_min_ns == NEVER_NS else delay_min_ns
    t = np.float64(now_ns + delay_min_ns - halves[at(half)].epoch_ns) / 1e9
    k, origin = float(halves[at(half)].k), int64(halves[at(half)].w_prior)
    off = k - t if t < k else t - k
    more = int64(0.4 * (off * off * off))
    target = origin - more if t < k else origin + more
    count = window // (target - window) if target > window else 100 * window
    if last == 0:
        count = min(count, int64(_CLAMP))
    return max(count, int64(2))
