"""What is known of each TCP connection of a trace while its packets are passed over, and the messages found so far.

Memory follows connections and messages, never packets.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

NEVER_NS: Final = -(1 << 63)
NO_ROW: Final = -1

# Packed, the widest first. Sequence numbers of 64 bits have those of the packets in their lower half, and never wrap.
SIDE: Final = np.dtype(
    [
        ("next", np.int64),  # the sequence number after the highest byte known to be sent
        ("acked", np.int64),  # the highest acknowledgement by the peer, at most `next`
        ("path_ns", np.int64),  # from the capture point to the host that receives this side's data, and back
        ("sent_ns", np.int64),  # when data was last seen, repeated or not
        ("arrival_ns", np.int64),  # when that passed by with which the peer had all of it
        ("again_ns", np.int64),  # when unacknowledged data was last repeated, but for its end
        ("before_ns", np.int64),  # and the time before that
        ("end_again_ns", np.int64),  # when its end was
        ("acked_ns", np.int64),  # when all data was acknowledged
        ("open_ns", np.int64),  # when the peer's window opened after it had been shut
        ("row", np.int64),  # the latest message, NO_ROW if there is none
        ("largest", np.uint32),  # payload of a packet
        ("payload", np.uint32),  # of its latest packet
        ("in_turn", np.uint32),  # packets whose IP identification was one more than that before
        ("out_of_turn", np.uint32),  # and whose was not
        ("ip_id", np.uint16),  # of its latest packet, if `has_id`
        ("has_id", np.bool_),
        ("known", np.bool_),  # whether `next` means something
        ("fin", np.bool_),  # its FIN was seen, which is acknowledged like a byte
        ("shut", np.bool_),  # the peer's window is 0
        ("pushes", np.bool_),  # it has set PSH
        ("ended", np.bool_),  # its last data may be the end of a message
        ("all_acked", np.bool_),
    ]
)

CONNECTION: Final = np.dtype(
    [
        ("syn_ns", np.int64),  # when its first SYN was seen
        ("shift_ns", np.int64),  # how much earlier its messages start than they were seen, because of the handshake
        ("talker", np.int8),  # the side of the latest message, -1 if there is none
        ("crossing", np.bool_),  # data has crossed data of the other direction
        ("fault", np.uint8),  # why it cannot be told, 0 if it can
    ]
)
CUT, JUMP = 1, 2

MESSAGE: Final = np.dtype(
    [
        ("connection", np.int64),
        ("seen_ns", np.int64),  # when its first byte was seen
        ("bytes", np.int64),
        ("after", np.int64),  # the message of the other side that it answers, or NO_ROW
        ("think_ns", np.int64),  # from when that had arrived to when this left
        ("side", np.uint8),
        ("quiet", np.bool_),  # whether it begins a message of its direction taken alone
    ]
)

TALLY: Final = np.dtype([("messages", np.int64)])


class Batch(NamedTuple):
    """Packets with a flow, in order: `time_ns` int64[n], `flow`, `seq`, `ack`, `payload`, `ip_id` uint32[n], `window`
    uint16[n], `flags` uint8[n]; `whole` bool[n]: all of these were captured, but for `ip_id`, which may be 0.
    """

    time_ns: NDArray[np.int64]
    flow: NDArray[np.uint32]
    seq: NDArray[np.uint32]
    ack: NDArray[np.uint32]
    payload: NDArray[np.uint32]
    ip_id: NDArray[np.uint32]
    window: NDArray[np.uint16]
    flags: NDArray[np.uint8]
    whole: NDArray[np.bool_]


class Book(NamedTuple):
    """The connections: c of them, f flows.

    `place` int64[f] is twice the connection of a flow, and one more for its second direction; -1 if it is in none.
    `connection` CONNECTION[c], `side` SIDE[2 c] by place, `tally` TALLY[1].
    """

    place: NDArray[np.int64]
    connection: NDArray[np.void]
    side: NDArray[np.void]
    tally: NDArray[np.void]


def new_book(place: NDArray[np.int64], path_ns: NDArray[np.int64]) -> Book:
    """Connections of which nothing was seen; `path_ns` int64[2 c] by place."""
    side = np.zeros(len(path_ns), SIDE)
    side["path_ns"], side["row"] = path_ns, NO_ROW
    for name in ("sent_ns", "arrival_ns", "again_ns", "before_ns", "end_again_ns", "acked_ns", "open_ns"):
        side[name] = NEVER_NS
    connection = np.zeros(len(path_ns) // 2, CONNECTION)
    connection["syn_ns"], connection["talker"] = NEVER_NS, -1
    return Book(place, connection, side, np.zeros(1, TALLY))
