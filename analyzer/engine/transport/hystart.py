"""HyStart: slow start ends before the queue is full (docs/transport.md, Congestion control)."""

from __future__ import annotations

from typing import Final

from segcast.analyzer.engine.calendar import NEVER_NS
from segcast.analyzer.engine.transport.state import LOSS, OPEN, Connections, TransportRules
from segcast.analyzer.engine.transport.timing import known
from segcast.traces.jit import at, inlined, int64, kernel

_QUIET_NS: Final = 1_000_000_000  # after an epoch began
_TRAIN_NS: Final = 2_000_000
_SUPER_FRAMES_BYTES: Final = 4 * 65_536
_MOST_SLACK_NS: Final = 1_000_000
_LEAST_MORE_NS: Final = 4_000_000
_MOST_MORE_NS: Final = 16_000_000
_LOW_WINDOW: Final = 16
_SAMPLES: Final = 8


@inlined
def hears(connections: Connections, rules: TransportRules, half: int, round_trip_ns: int, now_ns: int) -> None:
    """A round trip was measured, which may show that slow start should end."""
    halves = connections.halves
    row = halves[at(half)]
    if row.found or not (row.state == OPEN or row.state == LOSS):
        return
    if row.epoch_ns != NEVER_NS and now_ns - row.epoch_ns < _QUIET_NS:
        return
    halves[at(half)].delay_min_ns = min(int64(row.delay_min_ns), round_trip_ns)
    if row.cwnd < row.ssthresh and row.cwnd >= _LOW_WINDOW * rules.mss:
        _look(connections, rules, half, round_trip_ns, now_ns)


@kernel
def _look(connections: Connections, rules: TransportRules, half: int, round_trip_ns: int, now_ns: int) -> None:
    halves = connections.halves
    if halves[at(half)].una > halves[at(half)].round_end:
        begin_round(connections, half, now_ns)
    found = False
    delay_min_ns = int64(halves[at(half)].delay_min_ns)
    if now_ns - halves[at(half)].last_ack_ns <= _TRAIN_NS:
        halves[at(half)].last_ack_ns = now_ns
        srtt = known(int64(halves[at(half)].srtt))
        slack_ns = min(int64(_MOST_SLACK_NS), _SUPER_FRAMES_BYTES * srtt // (2 * int64(halves[at(half)].cwnd)))
        longest_ns = delay_min_ns + slack_ns
        found = now_ns - halves[at(half)].round_ns > (longest_ns if rules.pacing else longest_ns // 2)
    halves[at(half)].round_rtt = min(int64(halves[at(half)].round_rtt), round_trip_ns)
    if halves[at(half)].round_samples < _SAMPLES:
        halves[at(half)].round_samples += 1
    elif halves[at(half)].round_rtt > delay_min_ns + min(max(delay_min_ns // 8, _LEAST_MORE_NS), _MOST_MORE_NS):
        found = True
    if found:
        halves[at(half)].found = 1
        halves[at(half)].ssthresh = halves[at(half)].cwnd


@kernel
def hystart_begins_anew(connections: Connections, half: int, now_ns: int) -> None:
    """After a timeout slow start is looked at again, and round trips may be others."""
    connections.halves[at(half)].delay_min_ns = NEVER_NS
    connections.halves[at(half)].found = 0
    begin_round(connections, half, now_ns)


@kernel
def begin_round(connections: Connections, half: int, now_ns: int) -> None:
    """HyStart's round begins."""
    halves = connections.halves
    halves[at(half)].round_ns = now_ns
    halves[at(half)].last_ack_ns = now_ns
    halves[at(half)].round_end = halves[at(half)].nxt
    halves[at(half)].round_rtt = NEVER_NS
    halves[at(half)].round_samples = 0
