"""Finds packets captured twice, as mirrors and bridges make them: the same IP packet again within a short time."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, be64
from segcast.traces.headers.ip import HAS_IP, Headers
from segcast.traces.jit import int64, kernel

WITHIN_NS: Final = 10_000_000
WITHOUT_ID_NS: Final = 1_000_000  # where no IPv4 identification tells a packet from a repetition
COMPARED: Final = 40  # bytes from the transport header on, where there is no identification
_SLOTS: Final = 1 << 14


class Recent(NamedTuple):
    """Packets seen last, one per slot (a power of two of them): uint64[s] keys, int64[s] times."""

    key: npt.NDArray[np.uint64]
    time_ns: npt.NDArray[np.int64]


def nothing_seen(slots: int = _SLOTS) -> Recent:
    """No packet seen yet."""
    return Recent(np.zeros(slots, np.uint64), np.full(slots, -(1 << 62), np.int64))


@kernel
def find_duplicates(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    headers: Headers,
    time_ns: npt.NDArray[np.int64],
    recent: Recent,
    duplicate: npt.NDArray[np.bool_],
) -> int:
    """Say of each row whether it repeats a packet of at most WITHIN_NS (WITHOUT_ID_NS) before; how many do.

    Two packets are the same if addresses, ports, protocol, lengths, identification, fragment offset and the TCP fields
    are; without an IPv4 identification also the first COMPARED captured bytes from the transport header on. What
    routers change (TTL, TOS, checksum) does not count, nor what encloses the IP packet. Keys are 64-bit hashes, the
    latest per slot: a copy is missed if some 16,000 other packets lie between.
    """
    c1, c2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
    s32 = np.uint64(32)
    found = 0
    mask = np.uint64(recent.key.size - 1)
    for i in range(start.size):
        duplicate[i] = False
        valid = headers.valid[i]
        if valid & HAS_IP == 0:
            continue
        ip_id = np.uint64(headers.ip_id[i])
        x = headers.src_low[i] * c1
        y = headers.dst_low[i] * c2
        ports = np.uint64(headers.src_port[i]) << np.uint64(16) | np.uint64(headers.dst_port[i])
        x = ((x ^ (x >> s32)) ^ (ports << s32 | np.uint64(headers.ip_bytes[i]))) * c1
        tail = np.uint64(headers.tcp_flags[i]) << np.uint64(16) | np.uint64(headers.tcp_window[i])
        kind = np.uint64(headers.protocol[i]) << np.uint64(24) | tail | np.uint64(headers.fragment_offset[i]) << s32
        y = ((y ^ (y >> s32)) ^ (np.uint64(headers.tcp_seq[i]) << s32 | np.uint64(headers.tcp_ack[i]))) * c2
        x = ((x ^ (x >> s32)) ^ kind) * c1
        y = ((y ^ (y >> s32)) ^ ip_id) * c2
        within = int64(WITHIN_NS)
        if headers.version[i] == 6 or ip_id == 0:
            within = int64(WITHOUT_ID_NS)
            x = ((x ^ (x >> s32)) ^ headers.src_high[i]) * c1
            y = ((y ^ (y >> s32)) ^ headers.dst_high[i]) * c2
            at = np.int64(headers.transport_start[i])
            stop = min(np.int64(captured[i]), np.int64(headers.ip_start[i]) + np.int64(headers.ip_bytes[i]))
            if at < 0 or at >= stop:
                continue
            stop = start[i] + min(stop, at + COMPARED)
            at += start[i]
            while at + 8 <= stop:
                x = ((x ^ (x >> s32)) ^ be64(data, at)) * c1
                at += 8
            while at < stop:
                x = ((x ^ (x >> s32)) ^ np.uint64(data[at])) * c1
                at += 1
        key = (x ^ (x >> s32)) ^ ((y ^ (y >> s32)) * c1)
        slot = (key ^ (key >> s32)) & mask
        if recent.key[slot] == key and 0 <= time_ns[i] - recent.time_ns[slot] <= within:
            duplicate[i] = True
            found += 1
        else:
            recent.key[slot] = key
            recent.time_ns[slot] = time_ns[i]
    return found
