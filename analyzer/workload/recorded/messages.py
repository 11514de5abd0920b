"""Finds the messages of TCP connections: one pass over the packets, in the order of the trace.

The rules are those of docs/workloads.md, "From a trace". What the network does (windows, repeats, delayed
acknowledgements) continues a message; what the application does ends it.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.workload.recorded.state import CUT, JUMP, NEVER_NS, NO_ROW, Batch, Book
from segcast.traces.jit import int64, kernel
from segcast.traces.protocols import ACK, FIN, PSH, RST, SYN

QUIET_NS: Final = 100_000_000
"""A sender that had nothing to wait for and sent nothing for so long had nothing to send."""

PROBE_NS: Final = 100_000_000
"""The end of a message that is repeated sooner is a probe for a late acknowledgement (RFC 8985), not a loss."""

TIMEOUT_NS: Final = 200_000_000
"""What retransmission timeouts are beyond a round trip, on Linux; RFC 6298 would have a second, and none has less."""

SETTLE_NS: Final = 1_000_000
ROWS_A_PACKET: Final = 2

_MOST_MISSING: Final = 3
_LONGEST_PAYLOAD: Final = 1460  # beyond it a packet may be a super-frame, which takes several identifications

_FAR: Final = 1 << 30  # no window is wider (RFC 7323 section 2.3)
_M: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


class _Data(NamedTuple):
    """New bytes of a direction: up to `end`, seen at `now`, with PSH or not; `ends`: a message may end with them.

    `again`: they were sent before, and lost before the capture point; `late`: so is the answer that they are.
    """

    end: int
    now: int
    pushed: bool
    ends: bool
    again: bool
    late: bool


@kernel
def find_messages(book: Book, batch: Batch, messages: NDArray[np.void], begin: int) -> int:
    """Pass over the packets from `begin` on; the packet reached, short of n if `messages` may not have room."""
    places, connections, sides, tally = book.place, book.connection, book.side, book.tally[0]
    for i in range(begin, len(batch.flow)):
        place = places[batch.flow[i]]
        if place < 0:
            continue
        if tally.messages + ROWS_A_PACKET > len(messages):
            return i
        connection = connections[place >> 1]
        if connection.fault:
            continue
        if not batch.whole[i]:
            connection.fault = CUT
            continue
        flags = int64(batch.flags[i])
        if flags & RST:
            continue
        mine, theirs = sides[place], sides[place ^ 1]
        now, payload = batch.time_ns[i], int64(batch.payload[i])
        seq = int64(batch.seq[i])
        if flags & SYN:
            if mine.row != NO_ROW:
                continue
            seq = (seq + 1) & _M
            mine.next, mine.acked, mine.known = seq, seq, True
            mine.arrival_ns = now
            if flags & ACK == 0 and connection.syn_ns == NEVER_NS:
                connection.syn_ns = now
        elif not mine.known:
            mine.next, mine.acked, mine.known = seq, seq, True
        gap = ((seq - mine.next) & _M ^ _HALF) - _HALF
        if abs(gap) >= _FAR:
            connection.fault = JUMP
            continue
        skipped = _skips(mine, int64(batch.ip_id[i]), flags)
        mine.payload = payload
        lost, all_acked = skipped and gap == 0, theirs.all_acked
        if flags & ACK:
            if lost and payload == 0:  # an acknowledgement was lost on its way here, and caused the repeat
                theirs.end_again_ns = NEVER_NS
            unseen = _acknowledge(mine, theirs, int64(batch.ack[i]), now)
            if unseen > 0:
                data = _Data(unseen, now - theirs.path_ns, False, True, False, False)
                _send(connection, theirs, mine, messages, tally, place ^ 1, data)
                _acknowledge(mine, theirs, int64(batch.ack[i]), now)
            if batch.window[i] == 0 and flags & SYN == 0:
                theirs.shut = True
            elif theirs.shut:
                theirs.shut, theirs.open_ns = False, now
        if flags & FIN:
            mine.fin = True
        if payload == 0:
            continue
        end = mine.next + gap + payload
        if end <= mine.next:
            if payload > 1 or end < mine.next:  # else it is a keep-alive, or a probe of a shut window
                _repeat(mine, end, now)
            continue
        if flags & ACK and theirs.row != NO_ROW and (int64(batch.ack[i]) - theirs.next) & _M >= _HALF:
            connection.crossing = True
        pushed = flags & PSH != 0
        ends = pushed or payload < mine.largest
        _send(connection, mine, theirs, messages, tally, place, _Data(end, now, pushed, ends, lost, lost and all_acked))
        mine.pushes = mine.pushes or pushed
        mine.largest = max(int64(mine.largest), payload)
    return len(batch.flow)


@kernel
def _skips(mine: Any, ip_id: int, flags: int) -> bool:
    """Whether this side sent packets just before this one that were lost before the capture point.

    Hosts that count up the identifications of a connection's packets tell it.
    """
    skips = False
    if mine.has_id and mine.payload <= _LONGEST_PAYLOAD:
        step = (ip_id - mine.ip_id) & 0xFFFF
        counts = mine.in_turn >= 2 and mine.out_of_turn * 8 <= mine.in_turn
        skips = bool(counts and 1 < step <= 1 + _MOST_MISSING)
        if step == 1:
            mine.in_turn += 1
        elif step > 1:
            mine.out_of_turn += 1
    mine.ip_id, mine.has_id = ip_id & 0xFFFF, flags & SYN == 0
    return skips


@kernel
def _acknowledge(mine: Any, theirs: Any, ack: int, now: int) -> int:
    """This side acknowledges the other's data; the end of bytes that were acknowledged and never seen, 0 if none."""
    if not theirs.known:
        theirs.next, theirs.acked, theirs.known = ack, ack, True
        return 0
    ahead = ((ack - theirs.next) & _M ^ _HALF) - _HALF
    if abs(ahead) >= _FAR:
        return 0
    if ahead > 1:  # one more may be a FIN that was not captured
        return int64(theirs.next + ahead - (1 if theirs.fin else 0))
    theirs.acked = max(theirs.acked, theirs.next + min(ahead, 0))
    if ahead >= 0 and not theirs.all_acked:
        theirs.all_acked, theirs.acked_ns = True, now
        # A repeat that the peer cannot have had when it acknowledged was not what it waited for.
        back_ns = theirs.path_ns - theirs.path_ns // 8
        if theirs.again_ns != NEVER_NS and theirs.again_ns + back_ns <= now:
            theirs.arrival_ns = max(theirs.arrival_ns, theirs.again_ns)
        elif theirs.before_ns != NEVER_NS and theirs.before_ns + back_ns <= now:
            theirs.arrival_ns = max(theirs.arrival_ns, theirs.before_ns)
        if theirs.end_again_ns != NEVER_NS and theirs.end_again_ns + back_ns <= now:
            theirs.arrival_ns = max(theirs.arrival_ns, theirs.end_again_ns)
    return 0


@kernel
def _repeat(mine: Any, end: int, now: int) -> None:
    """Bytes below next were seen: sent again, or late because of another way or a loss before the capture point."""
    if mine.row == NO_ROW:
        return
    if end == mine.next:
        if end > mine.acked and now - mine.sent_ns >= PROBE_NS:
            mine.end_again_ns = now
    elif end > mine.acked:
        mine.before_ns = mine.again_ns
        mine.again_ns = now
    mine.sent_ns = max(mine.sent_ns, now)


@kernel
def _send(
    connection: Any, mine: Any, theirs: Any, messages: NDArray[np.void], tally: Any, place: int, data: _Data
) -> None:
    """New bytes of a direction: they continue its message, or begin one."""
    side, quiet = place & 1, _was_quiet(mine, theirs, data)
    turns = not connection.crossing and connection.talker != side
    if mine.row == NO_ROW or quiet or turns:
        answers = theirs.row != NO_ROW
        idle_ns = int64(0)
        if theirs.arrival_ns != NEVER_NS:
            idle_ns = max(int64(0), data.now - theirs.arrival_ns - theirs.path_ns)
        timeout_ns = TIMEOUT_NS + mine.path_ns + theirs.path_ns
        if data.late and idle_ns >= timeout_ns:
            idle_ns -= timeout_ns
        if connection.talker < 0 and connection.syn_ns != NEVER_NS:
            connection.shift_ns = max(int64(0), data.now - connection.syn_ns - idle_ns)
        message = messages[tally.messages]
        message.connection, message.side = place >> 1, side
        message.seen_ns, message.bytes = data.now, 0
        message.after = theirs.row if answers else NO_ROW
        message.think_ns = idle_ns if answers else 0
        message.quiet = quiet or mine.row == NO_ROW
        mine.row = tally.messages
        tally.messages += 1
        connection.talker = side
    messages[mine.row].bytes += data.end - mine.next
    mine.next = data.end
    mine.sent_ns = mine.arrival_ns = data.now
    mine.again_ns = mine.before_ns = mine.end_again_ns = NEVER_NS
    mine.all_acked = False
    mine.ended = data.ends


@kernel
def _was_quiet(mine: Any, theirs: Any, data: _Data) -> bool:
    """Whether the sender of new data could have sent it long before, and had nothing to send."""
    if mine.row == NO_ROW or not mine.all_acked or mine.shut or data.again:
        return False
    if not mine.ended and (mine.pushes or data.pushed):
        return False  # it had more to send, or PSH would have said that this was all
    if data.now - max(mine.sent_ns, mine.open_ns) < QUIET_NS:
        return False
    idle_ns = data.now - max(mine.acked_ns, mine.open_ns) - theirs.path_ns
    return bool(idle_ns >= SETTLE_NS + theirs.path_ns // 4)
