"""What the connections of a cell hold: halves, their segments, messages and packets under way (docs/transport.md)."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

UNKNOWN: Final = -1
UNBOUNDED: Final = 1 << 62  # of ssthresh, before the first loss

# TransportRules.control, .receiver and .rules.
NEWRENO: Final = 0
CUBIC: Final = 1
DCTCP: Final = 2

# HALF.state.
OPEN: Final = 0
RECOVERY: Final = 1
LOSS: Final = 2
CWR: Final = 3
DISORDER: Final = 4  # of ns-3 alone

# HALF.stage, of the end that sends.
CLOSED: Final = 0
OPENING: Final = 1
ESTABLISHED: Final = 2
FAILED: Final = 3

# HEADER.kind.
DATA: Final = 0
ACK: Final = 1
SYN: Final = 2
SYN_ACK: Final = 3
RECORDED: Final = 4  # of no connection: it leaves when it was captured

# HEADER.signs.
ECHO: Final = 1
REDUCED: Final = 2  # CWR
TWICE: Final = 4  # D-SACK

# A segment's flags.
SACKED: Final = 1
MISSING: Final = 2  # lost
AGAIN: Final = 4  # retransmitted
UNTIMED: Final = 8  # its round trip is no sample
EVER_AGAIN: Final = 16  # was sent more than once

MOST_BLOCKS: Final = 4
DUPTHRESH: Final = 3  # RFC 6675


def _fields(names: str, kind: type = np.int64) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


HALF: Final = np.dtype(
    [
        # First, line of the cache by line, what is used for every packet: both ends' timers (deadlines are NEVER_NS if
        # they do not run) and the receiver,
        *_fields("stage hello_ns rto_ns probe_ns reorder_ns pace_ns ack_ns armed_ns"),
        *_fields("first_place mask next held unacked congested arriving una"),
        *_fields("cause cause_delay_ns cause_level twice echoes last_marked last_flowlet last_path"),
        # the sender's scoreboard and window, what it sends: the message at hand and what is left of it,
        *_fields("nxt outstanding_bytes pipe cwnd ssthresh state left recover"),
        *_fields("owed also_owed limited burst joins reduces last_sent_ns segments"),
        *_fields("sacked missing highest_sacked resent latest_ns latest latest_again reported"),
        # round trips, RACK,
        *_fields("srtt rttvar rto backoff timeouts min_rtt rack_ns rack_number"),
        *_fields("rack_again rack_rtt reordered mult fack probe_end window_end count"),
        # and congestion control.
        *_fields("acked_bytes marked_bytes alpha w_cwnd next_ns message flowlets path_changes"),
        *_fields("w w_max w_prior w_est k share", np.float64),
        *_fields("epoch_ns last_ack_ns round_ns round_end round_rtt round_samples found delay_min_ns"),
        # ns-3.
        *_fields("dupacks guards rest first next_sent"),
        *_fields("echo echo_number cwr_number boundary"),
        # What is seldom used.
        *_fields("last_message rows_left third first_missing first_open hello_count greeted_ns"),
        *_fields("mult_until calm probe_again ends"),
        # Reduction in proportion, and what undoing it needs.
        *_fields("prr_out prr_delivered prr_flight"),
        *_fields("undo_from undo_left prior_cwnd prior_ssthresh prior_epoch_ns"),
        *_fields("prior_w_max prior_w_prior prior_w_est prior_k", np.float64),
        # What is counted.
        *_fields("retransmissions timeouts_all recoveries undone needless syns"),
    ],
    align=True,
)
"""Half of a connection, of which 2c sends the initiator's data and 2c + 1 the responder's: its sender and its receiver.

Sequence numbers are those of segments; sizes, windows and `pipe` are bytes. Its ring of segments is `mask` + 1 places
from `first_place` on (`mask` -1: none): segment n at `first_place` + (n & `mask`). `hello_ns` is when SYN or SYN/ACK is
sent again. `armed_ns` is the time of its earliest event in the calendar. `reported`: the last acknowledgement had SACK
blocks; `ends`: the end of all data is still to be acknowledged by itself."""

SEGMENT: Final = np.dtype(
    [("sent_ns", np.int64), ("bytes", np.int32), ("frame_bytes", np.int32), ("path", np.int32), ("spare", np.int32)],
    align=True,
)
"""A segment outstanding: `frame_bytes` are counted in flight on `path` for it, 0 once they have left the count. In
places that are free `sent_ns` is the next free ring of the size."""

MESSAGE: Final = np.dtype(
    [
        ("half", np.int64),
        ("bytes", np.int64),
        ("start_ns", np.int64),
        ("think_ns", np.int64),
        ("waits", np.int64),
        ("first_waiting", np.int64),
        ("asked_ns", np.int64),
        ("complete_ns", np.int64),
        ("end", np.int64),
        ("following", np.int64),
        ("woken", np.int64),
        ("retransmissions", np.int64),
        ("timeouts", np.int64),
        ("flowlets", np.int64),
        ("path_changes", np.int64),
    ],
    align=True,
)
"""A row of a workload: it `waits` for so many that are not complete; those that wait for it are
`waiting[first_waiting:]` up to the next message's. `asked_ns`, `complete_ns` and `end` (the segment after its last) are
-1 until known. `following` chains the messages of its half, in the order asked; `woken` those that have just ceased to
wait. The counts are less those of the half when it began, until it is complete: then what came between."""

HEADER: Final = np.dtype(
    [
        ("delay_ns", np.int64),
        ("number", np.int32),
        ("cause", np.int32),
        ("kind", np.uint8),
        ("signs", np.uint8),
        ("blocks", np.uint8),
        ("level", np.uint8),
        ("twice", np.int32),
    ],
    align=True,
)
"""What a packet says, by row: the number of its segment, or of what is acknowledged. An acknowledgement names the
segment that caused it, the one-way delay and the level of that, and the duplicate it tells of (`twice`)."""

LOT: Final = np.dtype(
    [
        *_fields("used largest next_start next_recorded"),
        *_fields("woken ready replies thanks greets greets_kind held_row fails"),
        *_fields("gone gone_half cause cause_delay_ns level marks"),
    ],
    align=True,
)
"""One row: places of the pool that belong to a ring or did (`used`), the size of the largest ring, the next of
`starts`, and of recorded packets.

What is still to be done at the present instant, -1 for none: `woken` heads the messages that wait no more; `ready` is
the half that may send, `replies` one to be acknowledged, `thanks` one whose SYN/ACK is answered, `greets` one that
sends SYN or SYN/ACK (`greets_kind`), `held_row` a data segment that has arrived but not been looked at, `fails` a half
whose connection has failed. `gone` entries of that list, of half `gone_half`, leave the in-flight count; an
acknowledgement caused by segment `cause`, whose one-way delay and level it tells, says so, with `marks` if it
echoes."""

GONE: Final = np.dtype(
    [
        ("number", np.int64),
        ("sent_ns", np.int64),
        ("frame_bytes", np.int64),
        ("path", np.int64),
        ("lost", np.int64),
    ],
    align=True,
)
"""A transmission of a segment whose bytes leave the in-flight count."""


class TransportRules(NamedTuple):
    """The `[transport]` of a scenario (docs/transport.md), times in ns and sizes in bytes."""

    control: int
    ns3: bool
    rack: bool
    mss: int
    header_bytes: int
    initial_window: int
    receive_window: int
    min_rto_ns: int
    initial_rto_ns: int
    max_rto_ns: int
    granularity_ns: int
    ack_delay_ns: int
    ack_every: int
    quick_acks: int
    ecn: bool
    tso_segments: int
    pacing: bool
    hystart: bool
    idle_restarts: bool
    retries: int
    syn_retries: int


class Connections(NamedTuple):
    """All connections of a cell.

    `halves` HALF. By place of the pool: `segments` SEGMENT, `flags` uint8 (what the sender knows of a segment), `have`
    uint8 (whether the receiver has it). `free_rings` int64[64]: the first free ring of each size, by its power of two.
    `blocks` and `seen` int64[halves, 8]: SACK blocks that a receiver reports, and those that its sender saw last.
    `messages` MESSAGE[n + 1], `waiting` int64 (rows that wait for a message, message after message), `starts` int64:
    the rows that wait for none, in order of start. `fixed_slot` int64[flows]: the slot of packets that no policy is
    asked for, or -1: of all if `pins` uint8[flows], else of acknowledgements; `fixed_flowlet` int64[flows]: their
    flowlet, -1 before the first. `gone` GONE; `lot` LOT[1].
    """

    halves: NDArray[np.void]
    segments: NDArray[np.void]
    flags: NDArray[np.uint8]
    have: NDArray[np.uint8]
    free_rings: NDArray[np.int64]
    blocks: NDArray[np.int64]
    seen: NDArray[np.int64]
    messages: NDArray[np.void]
    waiting: NDArray[np.int64]
    starts: NDArray[np.int64]
    fixed_slot: NDArray[np.int64]
    pins: NDArray[np.uint8]
    fixed_flowlet: NDArray[np.int64]
    gone: NDArray[np.void]
    lot: NDArray[np.void]


class Headers(NamedTuple):
    """What packets say, by row of the window: `headers` HEADER, `sacks` int32[rows, 8]: blocks, from begin to end."""

    headers: NDArray[np.void]
    sacks: NDArray[np.int32]
