"""CUBIC (RFC 9438): a window that is a cubic function of the time since it was last reduced."""

from __future__ import annotations

from typing import Final

import numpy as np

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.state import Connections, TransportRules
from segcast.analyzer.engine.transport.timing import known
from segcast.traces.jit import at, int64, kernel

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
