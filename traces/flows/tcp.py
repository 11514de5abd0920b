"""Follows TCP connections packet by packet: round trips, retransmissions, reordering, and what the capture missed.

State is kept per connection (both directions of a five-tuple) in a pool of slots. A connection without a packet for
IDLE_NS of capture time, or CLOSED_NS after a reset or a FIN of either side, has retired: its slot is free for another,
and a packet that comes yet starts afresh. So memory follows the connections alive at one time. Whether a connection
has retired depends on the packets alone, never on when slots are reclaimed.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, be16
from segcast.traces.hashing import finalise
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
SAMPLES: Final = 128  # round trips of a flow kept for its median
REORDER_NS: Final = 3_000_000
FAST_NS: Final = 20_000_000
DEFAULT_MTU: Final = 1500
_LEAST_MSS: Final = 64
_LATEST: Final = (1 << 63) - 1
_FIRST_SLOTS: Final = 1 << 10

_M: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000

# State of a direction, int64 each; 0 is "none" throughout, so values that may be 0 are kept one higher where marked.
_STARTED, _NEXT, _NEXT_NS, _WAITING, _WAIT_END, _WAIT_NS, _HAS_ACK, _ACKED = 0, 1, 2, 3, 4, 5, 6, 7
_ACKED_NS, _WINDOW, _REPEATS, _KEPT_ALIVE, _ISN1, _HANDSHAKE1, _UNSEEN1, _MSS = 8, 9, 10, 11, 12, 13, 14, 15
_STATE: Final = 16
_DEADLINE, _OWNER, _CLOSING = 0, 1, 2  # of a connection
_FREE, _CLOCK = 0, 1  # of the pool
# Results of a flow.
R_RETRANSMISSIONS, R_OUT_OF_ORDER, R_HANDSHAKE1, R_SAMPLES, R_LEAST, R_DATA, R_BLOCK, R_ROOM = 0, 1, 2, 3, 4, 5, 6, 7
_RESULTS: Final = 8
_LEAST_ROOM: Final = 4  # a flow's block of samples doubles from here to SAMPLES
_FIRST_SAMPLES: Final = 1 << 12
_USED: Final = 8  # in `blocks`


class Connections(NamedTuple):
    """The pool: p slots; f flows.

    `slot` int64[f]: the slot of the connection whose lower flow id this is, -1 if none. `state` int64[2 p, 16]: rows
    2 s and 2 s + 1 are the directions of slot s, that of the lower flow id first. `life` int64[p, 3]: when it retires,
    lower flow id (-1: free), bits of closing. `free` int64[p]: a stack of free slots. `control` int64[2]: its height,
    the latest time so far. `results` int64[f, 8]: R_BLOCK and R_ROOM say which part of `samples` int64[s] the flow's
    round trips are. `blocks` int64[9]: the first free block of each size plus 1 (its first word leads on), and how much
    of `samples` was ever used. `totals` int64[128]: packets by marks.
    """

    slot: npt.NDArray[np.int64]
    state: npt.NDArray[np.int64]
    life: npt.NDArray[np.int64]
    free: npt.NDArray[np.int64]
    control: npt.NDArray[np.int64]
    results: npt.NDArray[np.int64]
    samples: npt.NDArray[np.int64]
    blocks: npt.NDArray[np.int64]
    totals: npt.NDArray[np.int64]


@kernel
def _widen(
    results: npt.NDArray[np.int64], samples: npt.NDArray[np.int64], blocks: npt.NDArray[np.int64], flow: int
) -> None:
    """Give a flow a block of samples twice as large; the caller has made sure that there is room for one."""
    old, room = results[flow, R_BLOCK], results[flow, R_ROOM]
    wider = 2 * room if room > 0 else _LEAST_ROOM
    size = 0
    while _LEAST_ROOM << size < wider:
        size += 1
    if blocks[size] > 0:
        block = blocks[size] - 1
        blocks[size] = samples[block]
    else:
        block = blocks[_USED]
        blocks[_USED] += wider
    for n in range(room):
        samples[block + n] = samples[old + n]
    if room > 0:
        samples[old] = blocks[size - 1]
        blocks[size - 1] = old + 1
    results[flow, R_BLOCK], results[flow, R_ROOM] = block, wider


@kernel
def _sample(
    results: npt.NDArray[np.int64],
    samples: npt.NDArray[np.int64],
    blocks: npt.NDArray[np.int64],
    flow: int,
    elapsed: int,
) -> None:
    """Keep a round trip: the first SAMPLES of a flow, of later ones a fair share (Vitter's algorithm R).

    The n-th (from 0) goes to place `(finalise(n + 1) >> 32) * (n + 1) >> 32`, if that is below SAMPLES.
    """
    n = results[flow, R_SAMPLES]
    results[flow, R_SAMPLES] = n + 1
    if n == 0 or elapsed < results[flow, R_LEAST]:
        results[flow, R_LEAST] = elapsed
    place = np.uint64(n)
    if n >= SAMPLES:
        x = finalise(np.uint64(n + 1) * np.uint64(0x9E3779B97F4A7C15))
        place = ((x >> np.uint64(32)) * np.uint64(n + 1)) >> np.uint64(32)
        if place >= np.uint64(SAMPLES):
            return
    if np.int64(place) >= results[flow, R_ROOM]:
        _widen(results, samples, blocks, flow)
    samples[results[flow, R_BLOCK] + np.int64(place)] = elapsed


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
    state, life, results, totals = pool.state, pool.life, pool.results, pool.totals
    samples, blocks = pool.samples, pool.blocks
    for i in range(begin, time_ns.size):
        marks[i] = 0
        if headers.valid[i] & HAS_TCP == 0:
            continue
        if blocks[_USED] + SAMPLES > samples.size:
            return i
        now = time_ns[i]
        clock = max(pool.control[_CLOCK], now)
        flow = np.int64(flow_id[i])
        back = reverse[flow]
        side = 1 if 0 <= back < flow else 0
        root = back if side == 1 else flow
        slot = pool.slot[root]
        if slot < 0:
            if pool.control[_FREE] == 0:
                return i
            pool.control[_FREE] -= 1
            slot = pool.free[pool.control[_FREE]]
            pool.slot[root] = slot
            life[slot, _OWNER] = root
            life[slot, _DEADLINE] = clock - 1
        pool.control[_CLOCK] = clock
        a = 2 * slot + side
        b = a ^ 1
        if clock > life[slot, _DEADLINE]:
            state[a, :] = 0
            state[b, :] = 0
            life[slot, _CLOSING] = 0
        flags = np.int64(headers.tcp_flags[i])
        seq = np.int64(headers.tcp_seq[i])
        ack = np.int64(headers.tcp_ack[i])
        payload = np.int64(headers.payload_bytes[i])
        length = payload
        if flags & SYN:
            length += 1
            if flags & RST == 0 and state[a, _ISN1] != seq + 1:  # a new connection
                state[a, :] = 0
                state[a, _ISN1] = seq + 1
                life[slot, _CLOSING] = 0
            if mss[i] >= _LEAST_MSS:
                state[a, _MSS] = np.int64(mss[i])
        if flags & FIN:
            length += 1
            life[slot, _CLOSING] |= 1 << side
        if flags & RST:
            life[slot, _CLOSING] = 3
        life[slot, _DEADLINE] = min(clock, _LATEST - IDLE_NS) + (CLOSED_NS if life[slot, _CLOSING] == 3 else IDLE_NS)
        if flags & ACK and state[b, _WAITING] != 0 and (ack - state[b, _WAIT_END]) & _M < _HALF:
            elapsed = now - state[b, _WAIT_NS]
            if elapsed >= 0:
                _sample(results, samples, blocks, back, elapsed)
                if state[b, _WAITING] == 2:
                    state[b, _HANDSHAKE1] = elapsed + 1
                    if results[back, R_HANDSHAKE1] == 0:
                        results[back, R_HANDSHAKE1] = elapsed + 1
            state[b, _WAITING] = 0
        if flags & RST:
            continue
        mark = 0
        end = (seq + length) & _M
        gap = int64(0)
        if state[a, _STARTED] == 0:
            state[a, _STARTED] = 1
            state[a, _NEXT] = end
            state[a, _NEXT_NS] = now
            if length > 0:
                state[a, _WAITING] = 2 if flags & SYN else 1
                state[a, _WAIT_END] = end
                state[a, _WAIT_NS] = now
        else:
            gap = (seq - state[a, _NEXT]) & _M
            if gap == _M and payload <= 1 and flags & (SYN | FIN) == 0:
                mark = KEEP_ALIVE
            elif gap >= _HALF:
                if length > 0:
                    since = now - state[a, _NEXT_NS]
                    limit = int64(REORDER_NS)
                    if state[a, _HANDSHAKE1] > 0 and state[b, _HANDSHAKE1] > 0:
                        both = state[a, _HANDSHAKE1] + state[b, _HANDSHAKE1] - 2
                        limit = both if both > 0 else limit
                    recent = now - state[b, _ACKED_NS]
                    acked = state[b, _HAS_ACK] != 0
                    if payload > 0 and acked and (state[b, _ACKED] - end) & _M < _HALF:
                        mark = RETRANSMISSION
                    elif gap == _M and payload > 1:
                        mark = 0  # the byte of a probe or keep-alive, and new ones
                    elif acked and state[b, _REPEATS] >= 2 and state[b, _ACKED] == seq and 0 <= recent < FAST_NS:
                        mark = RETRANSMISSION
                    elif end != state[a, _NEXT] and 0 <= since < limit:
                        mark = OUT_OF_ORDER
                    else:
                        mark = RETRANSMISSION
            elif gap > 0:
                mark = AFTER_GAP
            if length > 0:
                if gap < _HALF:
                    if state[a, _WAITING] == 0:
                        state[a, _WAITING] = 1
                        state[a, _WAIT_END] = end
                        state[a, _WAIT_NS] = now
                elif state[a, _WAITING] != 0 and (state[a, _WAIT_END] - seq - 1) & _M < _HALF:
                    state[a, _WAITING] = 0
            if length > (_M + 1 - gap if gap >= _HALF else -gap):  # it ends above next
                state[a, _NEXT] = end
                state[a, _NEXT_NS] = now
        if flags & ACK:
            window = np.int64(headers.tcp_window[i])
            if state[a, _HAS_ACK] == 0 or ack != state[a, _ACKED]:
                state[a, _REPEATS] = 0
            elif length == 0 and gap == 0 and window == state[a, _WINDOW] != 0 and state[b, _KEPT_ALIVE] == 0:
                mark |= DUPLICATE_ACK
                state[a, _REPEATS] += 1
            if state[b, _STARTED] != 0 and (ack - state[b, _NEXT] - 1) & _M < _HALF - 1:
                seen = state[b, _UNSEEN1]
                if seen == 0 or (ack - seen) & _M < _HALF - 1:
                    mark |= ACK_OF_UNSEEN
                    state[b, _UNSEEN1] = ack + 1
            state[a, _HAS_ACK] = 1
            state[a, _ACKED] = ack
            state[a, _ACKED_NS] = now
            state[a, _WINDOW] = window
        state[a, _KEPT_ALIVE] = mark & KEEP_ALIVE
        if payload > 0:
            if state[a, _STARTED] == 1:
                state[a, _STARTED] = 2
                results[flow, R_DATA] = 1
            most = state[b, _MSS] if state[b, _MSS] > 0 else state[a, _MSS]
            if (most > 0 and payload > most) or (most == 0 and headers.ip_bytes[i] > DEFAULT_MTU):
                mark |= SUPER_FRAME
                limit_bytes[i] = most
        if mark:
            marks[i] = mark
            totals[mark] += 1
            if mark & (RETRANSMISSION | OUT_OF_ORDER):
                results[flow, R_RETRANSMISSIONS] += mark & 1
                results[flow, R_OUT_OF_ORDER] += (mark >> 1) & 1
    return time_ns.size


@kernel
def reclaim(pool: Connections) -> int:
    """Free the slots of retired connections; how many are free now."""
    for slot in range(pool.life.shape[0]):
        root = pool.life[slot, _OWNER]
        if root >= 0 and pool.control[_CLOCK] > pool.life[slot, _DEADLINE]:
            pool.slot[root] = -1
            pool.life[slot, _OWNER] = -1
            pool.free[pool.control[_FREE]] = slot
            pool.control[_FREE] += 1
    return int64(pool.control[_FREE])


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


@kernel
def medians(pool: Connections, median: npt.NDArray[np.int64]) -> None:
    """Write the median of each flow's samples (of two, floor of the mean); flows without samples stay as they are."""
    for flow in range(median.size):
        count = min(pool.results[flow, R_SAMPLES], SAMPLES)
        if count > 0:
            block = pool.results[flow, R_BLOCK]
            group = np.sort(pool.samples[block : block + count])
            low = group[(count - 1) // 2]
            median[flow] = low + (group[count // 2] - low) // 2


def marked(pool: Connections) -> dict[str, int]:
    """Packets by mark."""
    return {name: int(sum(pool.totals[sum_] for sum_ in range(128) if sum_ & bit)) for name, bit in MARKS.items()}


def new_pool(flows: int, slots: int = _FIRST_SLOTS) -> Connections:
    """An empty pool for `flows` flows."""
    return Connections(
        np.full(flows, -1, np.int64),
        np.zeros((2 * slots, _STATE), np.int64),
        np.full((slots, 3), -1, np.int64),
        np.arange(slots, dtype=np.int64)[::-1].copy(),
        np.array([slots, -(1 << 63)], np.int64),
        np.zeros((flows, _RESULTS), np.int64),
        np.zeros(_FIRST_SAMPLES, np.int64),
        np.zeros(_USED + 1, np.int64),
        np.zeros(128, np.int64),
    )


def with_flows(pool: Connections, flows: int) -> Connections:
    """A pool with room for more flows, holding what this one holds."""
    old = len(pool.slot)
    slot = np.full(flows, -1, np.int64)
    results = np.zeros((flows, _RESULTS), np.int64)
    slot[:old], results[:old] = pool.slot, pool.results
    return pool._replace(slot=slot, results=results)


def with_room(pool: Connections) -> Connections:
    """The same pool with room: a free slot (retired connections give theirs, or the pool doubles), and for samples."""
    if pool.blocks[_USED] + SAMPLES > len(pool.samples):
        pool = pool._replace(samples=np.concatenate([pool.samples, np.zeros_like(pool.samples)]))
    if pool.control[_FREE] > 0:
        return pool
    slots = len(pool.life)
    free = reclaim(pool)
    if free * 4 >= slots:
        return pool
    state = np.zeros((4 * slots, _STATE), np.int64)
    life = np.full((2 * slots, 3), -1, np.int64)
    stack = np.empty(2 * slots, np.int64)
    state[: 2 * slots], life[:slots] = pool.state, pool.life
    stack[:free] = pool.free[:free]
    stack[free : free + slots] = np.arange(2 * slots - 1, slots - 1, -1)
    pool.control[_FREE] = free + slots
    return pool._replace(state=state, life=life, free=stack)
