"""Follows TCP connections packet by packet: round trips, retransmissions, reordering, and what the capture missed.

What a segment deserves follows from which bytes of its direction have been seen: next, and the holes below it. State is
kept per connection in the pool of `connections`, and is bounded there. docs/captures.md has the rules.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, be16
from segcast.traces.flows.connections import (
    BOTH_SIDES,
    DIRECTION,
    NOT_TIMED,
    RESET,
    SAMPLES,
    TIMED,
    TIMED_SYN,
    Connections,
    keep_round_trip,
)
from segcast.traces.flows.holes import Holes, acknowledged, fill, open_above, open_below, release
from segcast.traces.flows.prefetch import prefetch
from segcast.traces.headers.ip import HAS_TCP, Headers
from segcast.traces.jit import inlined, int64, kernel
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

IDLE_NS: Final = 7440 * 10**9  # 2 h 4 min (RFC 5382 section 5): keep-alives come every two hours or more often
CLOSED_NS: Final = 240 * 10**9  # TIME-WAIT: twice the longest lifetime of a segment (RFC 9293 section 3.4.2)
REORDER_NS: Final = 3_000_000
FAST_NS: Final = 20_000_000
FAR: Final = 1 << 30  # no window is wider (RFC 7323 section 2.3)
DEFAULT_MTU: Final = 1500
_LEAST_MSS: Final = 64
_AHEAD: Final = 16  # rows whose connections are fetched from memory before they are needed
_LATEST: Final = (1 << 63) - 1
_FRESH: Final = np.zeros(1, DIRECTION)

_M: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


class Segment(NamedTuple):
    """A segment that is no reset. `length` counts SYN and FIN; `gap`: it begins so far above next, 0 if it is first."""

    seq: int
    gap: int
    length: int
    payload: int
    flags: int
    ack: int
    window: int
    now: int


@kernel
def _look_ahead(
    pool: Connections, reverse: npt.NDArray[np.int64], flow_id: npt.NDArray[np.uint32], begin: int, end: int
) -> None:
    """Have the connections of these rows fetched from memory."""
    for i in range(begin, end):
        prefetch(reverse, flow_id[i])
        prefetch(pool.slot, flow_id[i])
    for i in range(begin, end):
        flow = int64(flow_id[i])
        back = reverse[flow]
        slot = pool.slot[back if 0 <= back < flow else flow]
        if slot >= 0:
            prefetch(pool.state, 2 * slot)
            prefetch(pool.state, 2 * slot + 1)
            prefetch(pool.life, slot)


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
    announced maximum segment size that they exceed, 0 if none was seen.
    """
    state, tally = pool.state, pool.tally[0]
    slots, lives, free, results, totals = pool.slot, pool.life, pool.free, pool.results, pool.totals
    samples, free_blocks, holes = pool.samples, pool.free_blocks, pool.holes
    room = samples.size - SAMPLES
    for i in range(begin, time_ns.size):
        if (i - begin) % _AHEAD == 0:
            _look_ahead(pool, reverse, flow_id, i, min(i + _AHEAD, time_ns.size))
        marks[i] = 0
        if headers.valid[i] & HAS_TCP == 0:
            continue
        if tally.samples_used > room or (tally.free_hole1 == 0 and tally.holes_used == holes.size):
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
            _restart(holes, tally, state, 2 * slot)
            _restart(holes, tally, state, 2 * slot + 1)
            life.closed = 0
        flags = int64(headers.tcp_flags[i])
        seq = int64(headers.tcp_seq[i])
        ack = int64(headers.tcp_ack[i])
        payload = int64(headers.payload_bytes[i])
        length = payload
        if flags & SYN:
            length += 1
            if flags & RST == 0 and (not mine.has_syn or mine.syn != seq or life.closed & BOTH_SIDES == BOTH_SIDES):
                _restart(holes, tally, state, 2 * slot + side)
                if not _belongs(theirs, seq, ack, flags):
                    _restart(holes, tally, state, 2 * slot + 1 - side)
                mine.has_syn = True
                mine.syn = seq
                life.closed = 0
            if mss[i] >= _LEAST_MSS:
                mine.mss = mss[i]
        if flags & FIN:
            length += 1
            life.closed |= 1 << side
        if flags & ACK and theirs.timed != NOT_TIMED and (ack - theirs.timed_end) & _M < _HALF:
            elapsed_ns = now - theirs.timed_ns
            if elapsed_ns >= 0:
                if theirs.timed == TIMED_SYN:
                    theirs.handshake1_ns = elapsed_ns + 1
                # Rows and single arrays cost nothing to hand over; the pool as a whole would double the time of all.
                keep_round_trip(results[back], samples, free_blocks, tally, elapsed_ns, theirs.timed == TIMED_SYN)
            theirs.timed = NOT_TIMED
        if flags & RST:
            life.closed |= RESET
            life.retires_ns = min(clock, _LATEST - IDLE_NS) + CLOSED_NS
            continue
        gap = ((seq - mine.next) & _M ^ _HALF) - _HALF if mine.has_packets else int64(0)
        s = Segment(seq, gap, length, payload, flags, ack, int64(headers.tcp_window[i]), now)
        mark = int64(0)
        if gap != 0 or not mine.has_packets:
            mark = _place(holes, tally, mine, theirs, s)
        _advance(mine, s)
        if flags & ACK:
            mark |= _acknowledge(holes, tally, mine, theirs, s)
        mine.kept_alive = mark & KEEP_ALIVE != 0
        stays_ns = int64(IDLE_NS)
        if life.closed >= BOTH_SIDES or (not theirs.has_packets and mine.has_syn and mine.next - mine.first == 1):
            stays_ns = CLOSED_NS
        life.retires_ns = min(clock, _LATEST - IDLE_NS) + stays_ns
        if payload > 0:
            if not mine.has_data:
                mine.has_data = True
                results[flow].has_data = 1
            most = int64(theirs.mss if theirs.mss > 0 else mine.mss)
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
def _restart(holes: Holes, tally: Any, state: npt.NDArray[np.void], row: int) -> None:
    """Forget all of a direction."""
    release(holes, tally, state[row])
    state[row] = _FRESH[0]


@kernel
def _belongs(theirs: Any, seq: int, ack: int, flags: int) -> bool:
    """Whether what the peer has sent is of the connection that a new SYN opens or accepts."""
    if flags & ACK:  # it accepts a SYN, and perhaps the data in it
        data = (ack - theirs.syn - 1) & _M
        most = 0 if theirs.has_acked else theirs.next - theirs.first - 1
        return bool(theirs.has_syn and data <= most)
    if theirs.has_acked:  # an answer that was captured before the SYN
        return bool((theirs.acked - seq - 1) & _M == 0)
    return bool(theirs.has_syn and theirs.next - theirs.first == 1)  # both sides open at once


@kernel
def _place(holes: Holes, tally: Any, mine: Any, theirs: Any, s: Segment) -> int:
    """The mark of a segment that does not begin at next, by its place among the bytes seen, which it joins."""
    begin = mine.next + s.gap
    if not mine.has_packets or abs(s.gap) >= FAR:
        release(holes, tally, mine)
        mark = AFTER_GAP if mine.has_packets else 0
        mine.next, mine.first, mine.first_ns = s.seq, s.seq, s.now
        mine.forgetful, mine.timed = False, NOT_TIMED
        behind = ((theirs.acked - s.seq) & _M ^ _HALF) - _HALF
        mine.is_covered = theirs.has_acked and abs(behind) < FAR
        mine.covered = s.seq + behind
        return mark
    if s.gap > 0:
        open_above(holes, tally, mine, max(mine.next, mine.covered) if mine.is_covered else mine.next, begin, s.now)
        return AFTER_GAP
    upto = min(begin + s.length, mine.next)
    missing, since_ns = int64(0), int64(0)
    if s.length > 0 and mine.holes > 0:
        missing, since_ns = fill(holes, tally, mine, begin, upto)
    if s.gap == -1 and missing == 0 and s.flags & (SYN | FIN) == 0:
        if s.payload <= 1:
            return KEEP_ALIVE
        if not mine.forgetful:
            mine.first = min(int64(mine.first), begin)
        return 0  # the byte of a probe or keep-alive, and new ones
    if s.length == 0:
        return 0
    if begin < mine.first and not mine.forgetful:
        known = max(begin, mine.covered) if mine.is_covered else begin
        before = max(min(upto, mine.first) - known, 0)
        if before > 0:
            missing += before
            since_ns = mine.first_ns
        lowest = mine.first
        mine.first = begin
        open_below(holes, tally, mine, max(upto, known), lowest)
    if missing < upto - begin:
        return RETRANSMISSION
    fast = theirs.has_acked and theirs.repeats >= 2 and theirs.acked == s.seq
    if fast and 0 <= s.now - theirs.acked_ns < FAST_NS:
        return RETRANSMISSION
    limit = int64(REORDER_NS)
    if mine.handshake1_ns > 0 and theirs.handshake1_ns > 0:
        both = mine.handshake1_ns + theirs.handshake1_ns - 2
        limit = both if both > 0 else limit
    return OUT_OF_ORDER if 0 <= s.now - since_ns < limit else RETRANSMISSION


@inlined
def _acknowledge(holes: Holes, tally: Any, mine: Any, theirs: Any, s: Segment) -> int:
    """The direction acknowledges; the marks that this deserves."""
    mark = int64(0)
    again = mine.has_acked and mine.acked == s.ack
    if not again:
        mine.repeats = 0
    elif s.length == 0 and s.gap == 0 and s.window == mine.window != 0 and not theirs.kept_alive:
        mark = DUPLICATE_ACK
        mine.repeats += 1
    if theirs.has_packets:
        known = theirs.covered if theirs.is_covered else theirs.next
        ahead = ((s.ack - known) & _M ^ _HALF) - _HALF
        upto = known + ahead
        if abs(ahead) >= FAR:  # of other bytes than these
            if ahead > 0 and not again:
                mark |= ACK_OF_UNSEEN
        elif ahead > 0 or not theirs.is_covered:
            theirs.covered, theirs.is_covered = upto, True
            if upto > theirs.next or (theirs.holes > 0 and holes[theirs.lowest_hole1 - 1].begin < upto):
                acknowledged(holes, tally, theirs, upto)
                mark |= ACK_OF_UNSEEN
    mine.has_acked = True
    mine.acked = s.ack
    mine.acked_ns = s.now
    mine.window = s.window
    return mark


@inlined
def _advance(mine: Any, s: Segment) -> None:
    """Next is above all that the direction has sent; one segment at a time waits for its acknowledgement."""
    gap = ((s.seq - mine.next) & _M ^ _HALF) - _HALF
    begin = mine.next + gap
    end = begin + s.length
    if s.length > 0:
        if gap < 0:
            if mine.timed_end > begin:
                mine.timed = NOT_TIMED
        elif mine.timed == NOT_TIMED:
            mine.timed = TIMED_SYN if s.flags & SYN and not mine.has_packets else TIMED
            mine.timed_end = end
            mine.timed_ns = s.now
    if end > mine.next:
        mine.next = end
    mine.has_packets = True


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
