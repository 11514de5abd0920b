"""The tables that the program in the kernel shares with Python: those of program/layout.h, as records."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

import numpy as np

MOST_SLOTS: Final = 64
MOST_HEADER_BYTES: Final = 244
WAYS: Final = 8
NOWHERE: Final = (1 << 32) - 1


class PolicyCode(IntEnum):
    """How the program knows a policy."""

    HOST_ECMP = 0
    RANDOM = 1
    INFLIGHT = 2
    ROUND_ROBIN = 3
    TWO_CHOICES = 4


class Granularity(IntEnum):
    """What it is asked for."""

    FLOW = 0
    FLOWLET = 1
    PACKET = 2


class Flag(IntFlag):
    """What else the program is told; program/layout.h says what each means."""

    BY_RTT = 1
    DRAINED = 2
    READS_SACK = 4
    COUNTS_BARE = 8
    COPIES_HOPS = 16
    PACKET_CLOCK = 32
    LOGS = 64


NO_FLAGS: Final = Flag(0)


def _record(text: str) -> np.dtype[np.void]:
    """A record from lines of C-like declarations, `type name [count]`."""
    fields = []
    for line in text.split(";"):
        kind, name, *count = line.split()
        fields.append((name, kind, (int(count[0]),)) if count else (name, kind))
    return np.dtype(fields, align=True)


CONFIG: Final = _record(
    "u8 timeout_ns; u8 low_ns; u8 high_ns; u8 times_permille; u8 loss_timeout_ns; u8 suspect_for_ns; u8 mixed_seed;"
    "u4 suspect_after; u4 policy; u4 granularity; u4 flags; u4 enabled; u4 mtu_bytes; u4 minimum_frame_bytes;"
    "u4 targets; u4 bucket_mask; u4 outstanding_mask; u4 log_mask; u4 spare; u8 zero"
)
TALLY: Final = _record(
    "u8 steered; u8 steered_bytes; u8 acknowledged; u8 timed_out; u8 flowlets; u8 path_changes; u8 flows; u8 evicted;"
    "u8 not_targeted; u8 not_touched; u8 too_long; u8 push_failed; u8 dropped; u8 contended; u8 uncounted; u8 behind;"
    "u8 log_lost; u8 resets"
)
STATE: Final = np.dtype(
    [
        ("lock", "u4"),
        ("last_slot", "u4"),
        ("generator", "u8"),
        ("next_flowlet", "u8"),
        ("suspects_until_ns", "u8"),
        ("first_outstanding", "u8"),
        ("next_outstanding", "u8"),
        ("log_written", "u8"),
        ("log_read", "u8"),
        ("last_flowlet", "u8"),
        ("tally", TALLY),
    ],
    align=True,
)
COUNTER: Final = _record("i8 inflight_bytes; u8 suspect_until_ns; u8 silent; u8 made; i8 round_trip_ns; u8 sent_bytes")
PAIR: Final = _record("u4 first_counter; u4 first_path; u4 slots; u4 first_header; u4 most_bytes; u4 spare")
HEADER: Final = _record(f"u1 bytes {MOST_HEADER_BYTES}; u4 size; u4 leaves_by; u4 spare")
FLOW: Final = _record(
    "u8 words 5; u8 last_ns; u8 sent_bytes; i8 round_trip_ns; u8 flowlet; u8 flowlet_start_ns; u8 flowlet_packets;"
    "u8 flowlet_bytes; u8 flowlet_gap_ns; u4 first 2; u4 last 2; u4 awaited; u4 slot; u4 pair; u4 vlan; u4 generation;"
    "u4 syn; u4 knows_syn; u4 dead"
)
OUTSTANDING: Final = _record(
    "u8 sent_ns; u4 start; u4 end; u4 frame_bytes; u4 counter; u4 flow; u4 generation; u4 next; u4 live; u4 list;"
    "u4 first_counter; u4 payload_bytes; u4 spare"
)
RECORD: Final = _record(
    "u8 words 5; u8 flowlet; u8 start_ns; u8 last_ns; u8 packets; u8 bytes; u8 gap_ns; u4 path; u4 vlan"
)

RECORDS: Final = {
    "settings": CONFIG,
    "states": STATE,
    "counters": COUNTER,
    "pairs": PAIR,
    "headers": HEADER,
    "flows": FLOW,
    "outstandings": OUTSTANDING,
    "records": RECORD,
}
"""By map, the record of an entry."""
