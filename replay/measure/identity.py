"""The identity of a packet: a digest of what no network changes, the same with SRv6 around it, inserted in it, or gone.

Sources: RFC 8754 section 2 (segment routing header), RFC 8986 sections 5.1 to 5.4 (what encapsulates), RFC 8200
section 4 (extension headers), RFC 6040 (ECN may change on the way), RFC 1624 (and with it the IPv4 checksum).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.traces.byteorder import Bytes, Word, be16, be64
from segcast.traces.hashing import finalise
from segcast.traces.headers.announced import after_type
from segcast.traces.headers.tenants import MOST_PARTS
from segcast.traces.jit import allocating, int64, kernel
from segcast.traces.reasons import IP_FOUND

IDENTITY_BYTES: Final = 256
LEAST_BYTES: Final = 60  # IPv6 header, ports, sequence numbers; packets cut shorter cannot be told apart

# Identity.state
NO_IP: Final = 0
BARE: Final = 1  # nothing of SRv6 on it, or no segment left of what was inserted: not steered, or arrived
STEERED: Final = 2
CUT: Final = 3  # fewer bytes captured than the digest covers

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_ROUTING: Final = 43
_SEGMENT_ROUTING: Final = 4
_MOST_HEADERS: Final = 8


class Marks(NamedTuple):
    """How steered packets are known: outer source in `prefix` uint64[2] under `mask` uint64[2]; or, with `insert`, a
    segment routing header in the packet itself, whose last segment is its destination.
    """

    prefix: NDArray[np.uint64]
    mask: NDArray[np.uint64]
    insert: bool


class Identity(NamedTuple):
    """By frame: digest `high` and `low` uint64, `segments` uint64 (`list_key` of the segment list, 0 if there is none),
    `total` int64 (IP bytes without SRv6), `kept` int64 (those captured), `place` int64 (of the packet's IP header, from
    the frame's start; that of the outer one if SRv6 is inserted), `version`, `ecn`, `state` uint8.
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    segments: NDArray[np.uint64]
    total: NDArray[np.int64]
    kept: NDArray[np.int64]
    place: NDArray[np.int64]
    version: NDArray[np.uint8]
    ecn: NDArray[np.uint8]
    state: NDArray[np.uint8]


def no_identities(rows: int) -> Identity:
    """Room for so many frames."""
    u1, i8, u8 = np.uint8, np.int64, np.uint64
    return Identity._make(np.zeros(rows, kind) for kind in (u8, u8, u8, i8, i8, i8, u1, u1, u1))


@kernel
def add_segment(key: np.uint64, high: np.uint64, low: np.uint64) -> np.uint64:
    """The key of a segment list with one segment more; that of an empty list is 0."""
    return finalise(np.uint64(finalise(np.uint64((key ^ high) + _GOLDEN)) ^ low) + _GOLDEN)


def list_key(segments: tuple[bytes, ...]) -> int:
    """The key of a segment list in the order of travel, 16 bytes per segment."""
    key = np.uint64(0)
    for sid in segments:
        key = np.uint64(
            add_segment(key, np.uint64(int.from_bytes(sid[:8], "big")), np.uint64(int.from_bytes(sid[8:], "big")))
        )
    return int(key)


@kernel
def _listed(data: Bytes, destination: Word, header: Word, insert: bool) -> np.uint64:
    """Key of the list in the segment routing header at `header` (-1: none), as it was when the packet was sent.

    Reduced, Segments Left is one beyond the list and the destination is the first segment (RFC 8754 section 4.1.1).
    The last segment of an inserted list is the packet's own destination and does not count.
    """
    key = np.uint64(0)
    if header < 0:
        return add_segment(key, be64(data, destination), be64(data, destination + 8))
    last = np.int64(data[header + 4])
    if np.int64(data[header + 3]) > last:
        key = add_segment(key, be64(data, destination), be64(data, destination + 8))
    for k in range(last, 0 if insert else -1, -1):
        key = add_segment(key, be64(data, header + 8 + 16 * k), be64(data, header + 16 + 16 * k))
    return key


@kernel
def _segment_header(data: Bytes, ip: Word, end: Word) -> tuple[int, int]:
    """(segment routing header of the IPv6 packet at `ip`, place of the byte that announces it); -1 if not there."""
    announced = ip + 6
    at = ip + 40
    for _ in range(_MOST_HEADERS):
        kind = np.int64(data[announced])
        if (kind != 0 and kind != 60 and kind != _ROUTING) or end - at < 8:
            break
        size = (np.int64(data[at + 1]) + 1) * 8
        if kind == _ROUTING:
            whole = data[at + 2] == _SEGMENT_ROUTING and end - at >= size
            if whole and 8 + 16 * (np.int64(data[at + 4]) + 1) <= size:
                return at, announced
            break
        announced = at
        at += size
    return int64(-1), int64(-1)


@allocating
def identify(
    data: Bytes,
    start: NDArray[np.int64],
    captured: NDArray[np.uint32],
    ip_start: NDArray[np.int32],
    version: NDArray[np.uint8],
    marks: Marks,
    limit: int,
    out: Identity,
) -> None:
    """Identities of frames whose outermost IP header begins at `ip_start` (-1: none) and is of `version`.

    The digest covers the first `limit` bytes of the IP packet, its length among them, without: hop limit or TTL, the
    IPv4 header checksum, the ECN field, and whatever SRv6 put there.
    """
    packet = np.empty(limit + 8, np.uint8)
    parts = np.zeros(MOST_PARTS + 1, np.uint64)  # what tells tenants apart is not looked at
    for i in range(start.size):
        out.state[i] = NO_IP
        out.segments[i] = 0
        if ip_start[i] < 0:
            continue
        ip: Word = start[i] + np.int64(ip_start[i])
        end: Word = start[i] + np.int64(captured[i])
        family = np.int64(version[i])
        state = BARE
        header, announced = int64(-1), int64(-1)
        if family == 6 and end - ip >= 40:
            ours = (be64(data, ip + 8) & marks.mask[0]) == marks.prefix[0] and (
                be64(data, ip + 16) & marks.mask[1]
            ) == marks.prefix[1]
            if marks.insert or ours:
                header, announced = _segment_header(data, ip, end)
            if marks.insert and header >= 0:
                if data[header + 3] > 0:
                    state = STEERED
                out.segments[i] = _listed(data, ip + 24, header, True)
            elif ours and not marks.insert:
                kind = np.int64(data[ip + 6])
                inner = ip + 40
                if header >= 0:
                    kind = np.int64(data[header])
                    inner = header + (np.int64(data[header + 1]) + 1) * 8
                found = 0
                if kind == 4 or kind == 41:
                    found = 4 if kind == 4 else 6
                elif kind == 143 and end - inner >= 14:
                    inner, found, code = after_type(data, parts, inner + 14, end, be16(data, inner + 12), True)
                    if code != IP_FOUND:
                        found = 0
                if found > 0:
                    state = STEERED
                    out.segments[i] = _listed(data, ip + 24, header, False)
                    ip, family = inner, np.int64(found)
                header = int64(-1)
        fixed = 20 if family == 4 else 40
        if end - ip < fixed or np.int64(data[ip]) >> 4 != family:
            continue
        gone = (np.int64(data[header + 1]) + 1) * 8 if header >= 0 else int64(0)
        total = be16(data, ip + 2) if family == 4 else 40 + be16(data, ip + 4) - gone
        kept = min(end - ip - gone, total)
        out.total[i] = total
        out.kept[i] = kept
        out.place[i] = ip - start[i]
        out.version[i] = family
        out.ecn[i] = data[ip + 1] & 3 if family == 4 else data[ip + 1] >> 4 & 3
        if kept < total and kept < limit:
            out.state[i] = CUT
            continue
        out.state[i] = state
        count = min(int64(limit), kept)
        before = min(count, header - ip) if header >= 0 else count
        packet[:before] = data[ip : ip + before]
        if before < count:
            packet[before:count] = data[ip + before + gone : ip + count + gone]
        packet[count : count + 8] = 0
        if family == 4:
            packet[1] &= 0xFC
            packet[8] = 0
            packet[10] = 0
            packet[11] = 0
        else:
            packet[1] &= 0xCF
            packet[4] = (total - 40) >> 8
            packet[5] = (total - 40) & 255
            packet[7] = 0
            if header >= 0 and announced - ip < count:
                packet[announced - ip] = data[header]
                packet[24:40] = data[header + 8 : header + 24]
        high, low = np.uint64(total), np.uint64(_GOLDEN)
        for at in range(0, count, 8):
            word = be64(packet, at)
            high = finalise(np.uint64((high ^ word) + _GOLDEN))
            low = finalise(np.uint64(np.uint64(low + word) * _GOLDEN))
        out.high[i] = high
        out.low[i] = low
