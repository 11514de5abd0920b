"""Follows TCP connections packet by packet: round trips, retransmissions, reordering, and what the capture missed.

State is kept per connection in the pool of `connections`. A connection without a packet for IDLE_NS of capture time, or
CLOSED_NS after a reset or a FIN of either side, has retired: a packet that comes yet starts afresh.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, be16
from segcast.traces.flows.connections import (
    DIRECTION,
    NOT_TIMED,
    SAMPLES,
    TIMED,
    TIMED_SYN,
    Connections,
    keep_round_trip,
)
from segcast.traces.headers.ip import HAS_TCP, Headers
from segcast.traces.jit import int64, kernel
from segcast.traces.protocols import ACK, FIN, RST, SYN

RETRANSMISSION: Final = 1
OUT_OF_ORDER: Final = 2
KEEP_ALIVE: Final = 4
DUPLICATE_ACK: Final = 8
ACK_OF_UNSEEN: Final = 16
AFTER_GAP: Final = 32
SUPER_FRAME: Final = 64
MARKS: Final = {
    "retransmission": RETRANSMISSION,
    "out_of_order": OUT_OF_ORDER,
    "keep_alive": KEEP_ALIVE,
    "duplicate_ack": DUPLICATE_ACK,
    "ack_of_unseen": ACK_OF_UNSEEN,
    "after_gap": AFTER_GAP,
    "super_frame": SUPER_FRAME,
}

IDLE_NS: Final = 120 * 10**9
CLOSED_NS: Final = 10 * 10**9
REORDER_NS: Final = 3_000_000
FAST_NS: Final = 20_000_000
DEFAULT_MTU: Final = 1500
_LEAST_MSS: Final = 64
_LATEST: Final = (1 << 63) - 1
_BOTH_SIDES: Final = 3
_FRESH: Final = np.zeros(1, DIRECTION)

_M: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


@kernel
def track_tcp(
    pool: Connections,
    reverse: npt.NDArray[np.int64],
    headers: Headers,
    mss: npt.NDArray[np.uint16],
    time_ns: npt.NDArray[np.int64],
    flow_id: npt.NDArray[np.uint32],
    marks: npt.NDArray[np.uint8],
    limit_bytes: npt.NDArray[np.uint16],
    begin: int,
) -> int:
    """Follow the rows from `begin` on, write their `marks`; the row reached, short of n if there is no room.

    `reverse` as in `FlowTable`, `mss` what the packet announces (0: nothing). Of super-frames `limit_bytes` gets the
    announced maximum segment size that they exceed, 0 if none was seen. The rules are in docs/captures.md.
    """
    state, tally = pool.state, pool.tally[0]
    slots, lives, free, results, totals = pool.slot, pool.life, pool.free, pool.results, pool.totals
    samples, free_blocks = pool.samples, pool.free_blocks
    room = pool.samples.size - SAMPLES
    for i in range(begin, time_ns.size):
        marks[i] = 0
        if headers.valid[i] & HAS_TCP == 0:
            continue
        if tally.samples_used > room:
            return i
        now = int64(time_ns[i])
        clock = max(tally.clock_ns, now)
        flow = int64(flow_id[i])
        back = reverse[flow]
        side = 1 if 0 <= back < flow else 0
        root = back if side == 1 else flow
        slot = slots[root]
        if slot < 0:
            if tally.free_slots == 0:
                return i
            tally.free_slots -= 1
            slot = free[tally.free_slots]
            slots[root] = slot
            lives[slot].owner = root
            lives[slot].retires_ns = clock - 1
        tally.clock_ns = clock
        life = lives[slot]
        mine, theirs = state[2 * slot + side], state[2 * slot + 1 - side]
        if clock > life.retires_ns:
            state[2 * slot] = _FRESH[0]
            state[2 * slot + 1] = _FRESH[0]
            life.closed_sides = 0
        flags = int64(headers.tcp_flags[i])
        seq = int64(headers.tcp_seq[i])
        ack = int64(headers.tcp_ack[i])
        payload = int64(headers.payload_bytes[i])
        length = payload
        if flags & SYN:
            length += 1
            if flags & RST == 0 and mine.syn1 != seq + 1:  # a new connection
                state[2 * slot + side] = _FRESH[0]
                mine.syn1 = seq + 1
                life.closed_sides = 0
            if mss[i] >= _LEAST_MSS:
                mine.mss = int64(mss[i])
        if flags & FIN:
            length += 1
            life.closed_sides |= 1 << side
        if flags & RST:
            life.closed_sides = _BOTH_SIDES
        stays = CLOSED_NS if life.closed_sides == _BOTH_SIDES else IDLE_NS
        life.retires_ns = min(clock, _LATEST - IDLE_NS) + stays
        if flags & ACK and theirs.timed != NOT_TIMED and (ack - theirs.timed_end) & _M < _HALF:
            elapsed = now - theirs.timed_ns
            if elapsed >= 0:
                if theirs.timed == TIMED_SYN:
                    theirs.handshake1_ns = elapsed + 1
                keep_round_trip(results[back], samples, free_blocks, tally, elapsed, theirs.timed == TIMED_SYN)
            theirs.timed = NOT_TIMED
        if flags & RST:
            continue
        gap = int64(0)
        mark = int64(0)
        if mine.has_packets:
            gap = (seq - mine.next) & _M
            mark = _place(mine, theirs, seq, length, payload, flags, now)
        _advance(mine, seq, length, gap, flags, now)
        if flags & ACK:
            window = int64(headers.tcp_window[i])
            plain = length == 0 and gap == 0
            mark |= _acknowledge(mine, theirs, ack, window, plain, now)
        mine.kept_alive = mark & KEEP_ALIVE != 0
        if payload > 0:
            if not mine.has_data:
                mine.has_data = True
                results[flow].has_data = 1
            most = theirs.mss if theirs.mss > 0 else mine.mss
            if (most > 0 and payload > most) or (most == 0 and headers.ip_bytes[i] > DEFAULT_MTU):
                mark |= SUPER_FRAME
                limit_bytes[i] = most
        if mark:
            marks[i] = mark
            totals[mark] += 1
            if mark & (RETRANSMISSION | OUT_OF_ORDER):
                results[flow].retransmissions += mark & 1
                results[flow].out_of_order += (mark >> 1) & 1
    return time_ns.size


@kernel
def _place(mine: Any, theirs: Any, seq: int, length: int, payload: int, flags: int, now: int) -> int:
    """The mark that a segment deserves by its place among the bytes seen."""
    gap = (seq - mine.next) & _M
    end = (seq + length) & _M
    if gap == _M and payload <= 1 and flags & (SYN | FIN) == 0:
        return KEEP_ALIVE
    if gap < _HALF:
        return AFTER_GAP if gap > 0 else 0
    if length == 0:
        return 0
    acked = theirs.has_acked
    if payload > 0 and acked and (theirs.acked - end) & _M < _HALF:
        return RETRANSMISSION
    if gap == _M and payload > 1:
        return 0  # the byte of a probe or keep-alive, and new ones
    if acked and theirs.repeats >= 2 and theirs.acked == seq and 0 <= now - theirs.acked_ns < FAST_NS:
        return RETRANSMISSION
    limit = int64(REORDER_NS)
    if mine.handshake1_ns > 0 and theirs.handshake1_ns > 0:
        both = mine.handshake1_ns + theirs.handshake1_ns - 2
        limit = both if both > 0 else limit
    return OUT_OF_ORDER if end != mine.next and 0 <= now - mine.next_ns < limit else RETRANSMISSION


@kernel
def _advance(mine: Any, seq: int, length: int, gap: int, flags: int, now: int) -> None:
    """The direction has sent a segment that begins `gap` above its next (a 32-bit number): move next, time it."""
    end = (seq + length) & _M
    first = not mine.has_packets
    if length > 0:
        if gap < _HALF:
            if mine.timed == NOT_TIMED:
                mine.timed = TIMED_SYN if first and flags & SYN else TIMED
                mine.timed_end = end
                mine.timed_ns = now
        elif mine.timed != NOT_TIMED and (mine.timed_end - seq - 1) & _M < _HALF:
            mine.timed = NOT_TIMED
    if first or length > (_M + 1 - gap if gap >= _HALF else -gap):  # it ends above next
        mine.has_packets = True
        mine.next = end
        mine.next_ns = now


@kernel
def _acknowledge(mine: Any, theirs: Any, ack: int, window: int, plain: bool, now: int) -> int:
    """The direction acknowledges; the marks that this deserves. `plain`: it carries nothing and begins at next."""
    mark = int64(0)
    if not mine.has_acked or ack != mine.acked:
        mine.repeats = 0
    elif plain and window == mine.window != 0 and not theirs.kept_alive:
        mark |= DUPLICATE_ACK
        mine.repeats += 1
    if theirs.has_packets and (ack - theirs.next - 1) & _M < _HALF - 1:
        seen = theirs.unseen1
        if seen == 0 or (ack - seen) & _M < _HALF - 1:
            mark |= ACK_OF_UNSEEN
            theirs.unseen1 = ack + 1
    mine.has_acked = True
    mine.acked = ack
    mine.acked_ns = now
    mine.window = window
    return mark


@kernel
def announced_mss(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    headers: Headers,
    mss: npt.NDArray[np.uint16],
) -> None:
    """The maximum segment size in the options of each SYN (RFC 9293 section 3.7.1), 0 elsewhere."""
    for i in range(start.size):
        mss[i] = 0
        if headers.tcp_flags[i] & SYN == 0:
            continue
        at = start[i] + np.int64(headers.transport_start[i])
        stop = min(at + (np.int64(data[at + 12]) >> 4) * 4, start[i] + np.int64(captured[i]))
        at += 20
        while at < stop:
            kind = data[at]
            if kind == 0:
                break
            if kind == 1:
                at += 1
                continue
            if stop - at < 2 or data[at + 1] < 2:
                break
            if kind == 2 and data[at + 1] == 4 and stop - at >= 4:
                mss[i] = be16(data, at + 2)
                break
            at += np.int64(data[at + 1])


def marked(pool: Connections) -> dict[str, int]:
    """Packets by mark."""
    return {name: int(sum(pool.totals[sum_] for sum_ in range(128) if sum_ & bit)) for name, bit in MARKS.items()}
