"""Finds packets captured twice, as mirrors and bridges make them: the same IP packet again within a short time.

Two packets are the same if all bytes that were captured of both are, from the IP header on, but for those that a
network changes on the way. docs/captures.md lists these, and what has to stand for bytes that were not captured.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be16, be64
from segcast.traces.headers.ip import HAS_FRAGMENT, HAS_ID, HAS_IP, HAS_PAYLOAD, HAS_SRH, HAS_TCP, Headers
from segcast.traces.jit import int64, kernel

WITHIN_NS: Final = 10_000_000
WITHOUT_ID_NS: Final = 1_000_000  # where no identification tells a packet from one sent again alike
REACH_BYTES: Final = 1 << 19
WAYS: Final = 4
_SETS: Final = 1 << 12
_HASHED: Final = 96  # bytes from the transport header on, where the columns alone tell too little
_TCP_FIELDS: Final = 16

NONE_CUT: Final = 1 << 62
TALLY: Final = np.dtype(
    [
        ("copies", np.int64),
        ("cut", np.int64),  # copies that were not captured whole
        ("headers_only", np.int64),  # of these, without a byte of their payload
        ("cut_bytes", np.int64),  # the fewest bytes captured of one, NONE_CUT if there is none
        ("undecided", np.int64),
        ("undecided_bytes", np.int64),
        ("rows", np.int64),  # frames so far
        ("bytes", np.int64),  # captured of them
    ]
)


class Recent(NamedTuple):
    """Packets seen last: s sets of WAYS, the newest of a set first, and n = s * WAYS rows of notes.

    `entry` uint64[s, WAYS]: half a hash, and in the lower 32 bits which frame of the trace it was. `place` int64[n], at
    that number modulo n: where its IP header is in all captured bytes of the trace. Of frames before the batch also
    `time_ns` int64[n] and `size` int64[n], bytes captured from there on; `bytes` uint8[reach] are those captured last,
    by their place. `tally` is one row of TALLY. All these sizes are powers of two.
    """

    entry: npt.NDArray[np.uint64]
    place: npt.NDArray[np.int64]
    time_ns: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]
    bytes: Bytes
    tally: npt.NDArray[np.void]


def nothing_seen(sets: int = _SETS, reach_bytes: int = REACH_BYTES) -> Recent:
    """No packet seen yet."""
    tally = np.zeros(1, TALLY)
    tally["cut_bytes"] = tally["undecided_bytes"] = NONE_CUT
    place, time_ns, size = (np.zeros(sets * WAYS, np.int64) for _ in range(3))
    long_ago = np.full((sets, WAYS), 1 << 31, np.uint64)
    return Recent(long_ago, place, time_ns, size, np.zeros(reach_bytes, np.uint8), tally)


@kernel
def _routing(data: Bytes, ip: Word, stop: Word) -> tuple[int, int]:
    """Where in the IPv6 packet at `ip` its first segment routing header begins, and its segment list ends; -1 twice."""
    kind: Word = np.int64(data[ip + 6])
    at = ip + 40
    while stop - at >= 5 and (kind == 0 or kind == 43 or kind == 60 or kind == 135 or kind == 139 or kind == 140):
        if kind == 43 and data[at + 2] == 4:
            units, segments = np.int64(data[at + 1]) + 1, np.int64(data[at + 4]) + 1
            return at - ip, at - ip + min(units * 8, 8 + 16 * segments)
        kind = np.int64(data[at])
        at += (np.int64(data[at + 1]) + 1) * 8
    return -1, -1


@kernel
def _changes(place: Word, mine: Word, other: Word, six: bool) -> bool:
    """Whether routers may have made the byte at `place` of an IP header `mine` where it was `other`."""
    if not six:
        return bool(place == 1 or place == 8 or place == 10 or place == 11)  # TOS, TTL, checksum
    if place < 2:  # the traffic class
        return bool(mine >> 4 == other >> 4 if place == 0 else mine & 15 == other & 15)
    return bool(place == 7)


@kernel
def _same(
    data: Bytes,
    ip: Word,
    size: Word,
    others: Bytes,
    at: Word,
    sum_at: Word,
    sum_bytes: Word,
    inner: Word,
    srh: bool,
) -> bool:
    """Whether `size` bytes of the packet at `ip` are those at `at` of `others`, a ring, but for what may change.

    So may the checksum of `sum_bytes` at `sum_at` of the packet, and what routers changed of an IP header at `inner`
    (0: none) before the packet was enclosed. Of a packet with a segment routing header the way to the last segment,
    which comes first in the list, counts for nothing. `others` may be `data`.
    """
    six = data[ip] >> 4 == 6
    routing, list_end = _routing(data, ip, ip + size) if srh else (-1, -1)
    k = np.int64(0)
    room = others.size
    at %= room
    while k < size:
        if at + k >= room:
            at -= room
        if k + 8 <= size and at + k + 8 <= room and be64(data, ip + k) == be64(others, at + k):
            k += 8
            continue
        last = min(k + 8, size, room - at)
        while k < last:
            mine, other = np.int64(data[ip + k]), np.int64(others[at + k])
            if (
                mine != other
                and not _changes(k, mine, other, six)
                and not sum_at <= k < sum_at + sum_bytes
                and not (0 < inner <= k and _changes(k - inner, mine, other, data[ip + inner] >> 4 == 6))
                and not (
                    routing >= 0
                    and (
                        24 <= k < 40
                        or k == routing + 3
                        or routing + 5 <= k < routing + 8
                        or routing + 24 <= k < list_end
                    )
                )
            ):
                return False
            k += 1
    return True


@kernel
def _only_pseudo(data: Bytes, ip: Word, at: Word, found: Word) -> bool:
    """Whether the checksum `found` of the UDP header at `at` is that of the pseudo header alone, as for a card."""
    total: Word = 17 + be16(data, at + 4)
    six = data[ip] >> 4 == 6
    place = ip + 8 if six else ip + 12
    for _ in range(16 if six else 4):
        total += be16(data, place)
        place += 2
    while total >> 16 != 0:
        total = (total & 0xFFFF) + (total >> 16)
    return bool(found == total)


@kernel
def _tells(data: Bytes, ip: Word, at: Word, stop: Word, protocol: Word) -> bool:
    """Whether a checksum that the sender computed stands for the bytes that are missing of a cut packet.

    Its transport header begins at `at`, and what was captured ends at `stop`.
    """
    if at < ip:
        return False
    if protocol == 1 or protocol == 58:
        return bool(at + 4 <= stop and be16(data, at + 2) != 0)
    if protocol == 132:
        return bool(at + 12 <= stop and (be16(data, at + 8) != 0 or be16(data, at + 10) != 0))
    if protocol != 17 or at + 8 > stop:
        return False
    found = be16(data, at + 6)
    return bool(found != 0 and not _only_pseudo(data, ip, at, found))


@kernel
def _identified(data: Bytes, ip: Word) -> bool:
    """Whether its identification tells the IPv4 packet at `ip` from others.

    A datagram that is never fragmented may have any (RFC 6864 section 4.1), but TCP senders count it up.
    """
    fragment = be16(data, ip + 6)
    if fragment & 0x3FFF != 0:
        return True
    return bool(be16(data, ip + 4) != 0 and (data[ip + 9] == 6 or fragment & 0x4000 == 0))


@kernel
def find_duplicates(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    headers: Headers,
    time_ns: npt.NDArray[np.int64],
    recent: Recent,
    duplicate: npt.NDArray[np.bool_],
) -> None:
    """Say of each row whether it repeats a packet of at most WITHIN_NS (WITHOUT_ID_NS) before, and tally them.

    A packet that was cut where nothing stands for what is missing is not called a copy: it is undecided. A copy is
    missed if more than the reach of `recent` was captured between, or thousands of packets.
    """
    c1, c2, s32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93), np.uint64(32)
    tally, entry = recent.tally[0], recent.entry
    low, mask, note_mask = np.uint64(0xFFFFFFFF), np.uint64(entry.shape[0] - 1), recent.place.size - 1
    first, reached = tally["rows"], tally["bytes"]
    for i in range(start.size):
        duplicate[i] = False
        valid = headers.valid[i]
        begin = reached
        reached += np.int64(captured[i])
        if valid & HAS_IP == 0:
            continue
        offset = np.int64(headers.ip_start[i])
        ip: Word = start[i] + offset
        ip_end = offset + np.int64(headers.ip_bytes[i])
        size = min(np.int64(captured[i]), ip_end) - offset
        protocol = np.int64(headers.protocol[i])
        ip_id = np.uint64(headers.ip_id[i])
        x = headers.src_low[i] * c1
        y = c2 if valid & HAS_SRH else headers.dst_low[i] * c2
        ports = np.uint64(headers.src_port[i]) << np.uint64(16) | np.uint64(headers.dst_port[i])
        x = ((x ^ (x >> s32)) ^ (ports << s32 | np.uint64(headers.ip_bytes[i]))) * c1
        tail = np.uint64(headers.tcp_flags[i]) << np.uint64(16) | np.uint64(headers.tcp_window[i])
        kind = np.uint64(protocol) << np.uint64(24) | tail | np.uint64(headers.fragment_offset[i]) << s32
        y = ((y ^ (y >> s32)) ^ (np.uint64(headers.tcp_seq[i]) << s32 | np.uint64(headers.tcp_ack[i]))) * c2
        x = ((x ^ (x >> s32)) ^ kind) * c1
        y = ((y ^ (y >> s32)) ^ ip_id) * c2
        if (protocol != 6 or ip_id == 0) and headers.transport_start[i] >= 0:  # else TCP's numbers tell
            at: Word = start[i] + np.int64(headers.transport_start[i])
            stop = min(ip + size, at + _HASHED)
            if protocol == 6:  # whose fields are columns; beyond what may change
                at += 20
            elif protocol == 17 or protocol == 41:
                at += 8
            elif protocol == 132 or protocol == 4:
                at += 12
            while at + 16 <= stop:
                x = ((x ^ (x >> s32)) ^ be64(data, at)) * c1
                y = ((y ^ (y >> s32)) ^ be64(data, at + 8)) * c2
                at += 16
            while at < stop:
                x = ((x ^ (x >> s32)) ^ np.uint64(data[np.uint64(at)])) * c1
                at += 1
        key = (x ^ (x >> s32)) ^ ((y ^ (y >> s32)) * c1)
        group = np.int64((key ^ (key >> s32)) & mask)
        row = np.uint64(first + i)
        mine = key & ~low | row & low
        known, whole, same = False, False, False
        shorter, transport, place = np.int64(0), np.int64(0), np.int64(0)
        for way in range(WAYS):
            if (entry[group, way] ^ key) > low:
                continue
            ago = np.int64((row - entry[group, way]) & low)
            note = np.int64(row - np.uint64(ago)) & note_mask
            if ago > note_mask or begin - recent.place[note] > recent.bytes.size:
                continue
            j = i - ago  # below 0 in an earlier batch
            since = time_ns[i] - (time_ns[j] if j >= 0 else recent.time_ns[note])
            transport = np.int64(headers.transport_start[i]) - offset
            known = valid & (HAS_ID | HAS_FRAGMENT) != 0
            if known and valid & HAS_FRAGMENT == 0 and data[ip] >> 4 == 4:
                known = _identified(data, ip)
            if not known and protocol == 4 and transport >= 0 and transport + 20 <= size:
                known = _identified(data, ip + transport)
            if since < 0 or since > (WITHIN_NS if known else WITHOUT_ID_NS):
                continue
            other_size = recent.size[note]
            if j >= 0:
                place = np.int64(headers.ip_start[j])
                other_size = min(np.int64(captured[j]) - place, np.int64(headers.ip_bytes[j]))
            shorter = min(size, other_size)
            whole = shorter == ip_end - offset
            hashed = _TCP_FIELDS if protocol == 6 and ip_id != 0 else _HASHED
            if size != other_size and (transport < 0 or shorter < transport + hashed):
                continue
            sum_bytes, sum_at = int64(0), transport
            if whole and transport >= 0 and valid & HAS_FRAGMENT == 0:
                # it follows from what is compared, but for senders that leave it to the network card
                if protocol == 6 or protocol == 17:
                    sum_at, sum_bytes = transport + (16 if protocol == 6 else 6), int64(2)
                elif protocol == 132:
                    sum_at, sum_bytes = transport + 8, int64(4)
            srh = valid & HAS_SRH != 0
            inner = np.int64(0)
            if (protocol == 4 or protocol == 41) and headers.fragment_offset[i] == 0 and 0 < transport < size:
                inner = transport if data[ip + transport] >> 4 == (4 if protocol == 4 else 6) else inner
            if j >= 0:
                same = _same(data, ip, shorter, data, start[j] + place, sum_at, sum_bytes, inner, srh)
            else:
                same = _same(data, ip, shorter, recent.bytes, recent.place[note], sum_at, sum_bytes, inner, srh)
            if same:
                break
        recent.place[np.int64(row) & note_mask] = begin + offset
        if not same:
            for way in range(WAYS - 1, 0, -1):
                entry[group, way] = entry[group, way - 1]
            entry[group, 0] = mine
        elif (
            whole
            or known
            or valid & HAS_TCP
            or (headers.fragment_offset[i] == 0 and _tells(data, ip, ip + transport, ip + shorter, protocol))
        ):
            duplicate[i] = True
            tally["copies"] += 1
            if not whole:
                tally["cut"] += 1
                tally["cut_bytes"] = min(tally["cut_bytes"], offset + shorter)
                payload = np.int64(headers.payload_bytes[i])
                if valid & HAS_PAYLOAD and payload > 0 and offset + shorter <= ip_end - payload:
                    tally["headers_only"] += 1
        else:
            tally["undecided"] += 1
            tally["undecided_bytes"] = min(tally["undecided_bytes"], offset + shorter)
    tally["rows"] += start.size
    tally["bytes"] = reached
    _keep(data, start, captured, headers.ip_start, headers.ip_bytes, time_ns, recent)


@kernel
def _keep(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    ip_start: npt.NDArray[np.int32],
    ip_bytes: npt.NDArray[np.uint32],
    time_ns: npt.NDArray[np.int64],
    recent: Recent,
) -> None:
    """Copy the frames at the end of a batch that later packets may be compared with, and note their times."""
    ring, rows = recent.bytes, int64(recent.tally[0]["rows"])
    end: Word = int64(recent.tally[0]["bytes"])
    place = end
    least = max(0, start.size - recent.place.size)
    for i in range(start.size - 1, least - 1, -1):
        if end - place >= ring.size:
            break
        note = (rows - start.size + i) & (recent.place.size - 1)
        recent.time_ns[note] = time_ns[i]
        recent.size[note] = min(np.int64(captured[i]) - np.int64(ip_start[i]), np.int64(ip_bytes[i]))
        size = np.int64(captured[i])
        cut = max(0, end - place + size - ring.size)  # bytes of the frame that are out of reach
        place -= size
        at = np.uint64(start[i] + cut)
        there = np.uint64((place + cut) & (ring.size - 1))
        until_end = min(size - cut, ring.size - np.int64(there))
        for k in range(np.uint64(until_end)):
            ring[there + k] = data[at + k]
        at += np.uint64(until_end)
        for k in range(np.uint64(size - cut - until_end)):
            ring[k] = data[at + k]
