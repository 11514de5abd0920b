"""Decodes IPv4, IPv6 and transport headers from where the IP header begins: one kernel and its columns.

RFC 791, 8200 (IPv6 and its extension headers), 4302 (AH), 2675 (jumbograms), 9293 (TCP), 768, 3828, 4340, 9260.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be16, be32, be64
from segcast.traces.jit import kernel
from segcast.traces.reasons import IP_FOUND, MALFORMED, TRUNCATED

HAS_IP: Final = 1  # addresses, protocol, ip_bytes, tos
HAS_PORTS: Final = 2
HAS_PAYLOAD: Final = 4
HAS_TCP: Final = 8
HAS_ID: Final = 16
HAS_FRAGMENT: Final = 32
HAS_SRH: Final = 64  # a routing header of type 4 (RFC 8754), at least its type
HAS_SEGMENTS: Final = 128  # segment_list_id; it stays when a tunnel is looked through

_MOST: Final = 0xFFFFFFFF


class Headers(NamedTuple):
    """What the headers of n frames say; rows without a value hold 0, and `valid` says which have one.

    `ip_start` is the place of the IP header from the frame's first byte (-1: none readable, `reason` says why, see
    `reasons.REASONS`); `transport_start` that of the transport header or a fragment's payload (-1: unknown; it may lie
    beyond the captured bytes). IPv4 addresses are the low 32 bits of the low word. `tenant` is a number of `tenants`.
    """

    ip_start: npt.NDArray[np.int32]
    transport_start: npt.NDArray[np.int32]
    version: npt.NDArray[np.uint8]
    protocol: npt.NDArray[np.uint8]
    src_high: npt.NDArray[np.uint64]
    src_low: npt.NDArray[np.uint64]
    dst_high: npt.NDArray[np.uint64]
    dst_low: npt.NDArray[np.uint64]
    src_port: npt.NDArray[np.uint16]
    dst_port: npt.NDArray[np.uint16]
    ip_bytes: npt.NDArray[np.uint32]
    payload_bytes: npt.NDArray[np.uint32]
    tcp_seq: npt.NDArray[np.uint32]
    tcp_ack: npt.NDArray[np.uint32]
    tcp_flags: npt.NDArray[np.uint8]
    tcp_window: npt.NDArray[np.uint16]
    ip_id: npt.NDArray[np.uint32]
    tos: npt.NDArray[np.uint8]
    fragment_offset: npt.NDArray[np.uint16]
    segment_list_id: npt.NDArray[np.uint32]
    tenant: npt.NDArray[np.uint32]
    valid: npt.NDArray[np.uint8]
    reason: npt.NDArray[np.uint8]


def allocate(rows: int) -> Headers:
    """Headers for at most `rows` frames."""
    i4, u1, u2, u4, u8 = np.int32, np.uint8, np.uint16, np.uint32, np.uint64
    types = (i4, i4, u1, u1, u8, u8, u8, u8, u2, u2, u4, u4, u4, u4, u1, u2, u4, u1, u2, u4, u4, u1, u1)
    return Headers._make(np.zeros(rows, dtype) for dtype in types)


@kernel
def any_valid(valid: npt.NDArray[np.uint8]) -> int:
    """The HAS_ bits that any row has."""
    bits = np.uint8(0)
    for i in range(valid.size):
        bits |= valid[i]
    return np.int64(bits)  # type: ignore[return-value]


@kernel
def _jumbo_bytes(data: Bytes, at: Word, end: int) -> Word:
    """Payload length of a jumbogram (RFC 2675) from the hop-by-hop header at `at`, or -1."""
    if end - at < 2:
        return np.int64(-1)
    stop = at + (np.int64(data[at + 1]) + 1) * 8
    at += 2
    while at < stop and at < end:
        option = data[at]
        if option == 0:
            at += 1
            continue
        if end - at < 2:
            break
        length = np.int64(data[at + 1])
        if option == 0xC2 and length == 4:
            return be32(data, at + 2) if end - at >= 6 else np.int64(-1)
        at += 2 + length
    return np.int64(-1)


@kernel
def decode_ip(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    wire: npt.NDArray[np.uint32],
    out: Headers,
) -> int:
    """Decode every frame whose `out.ip_start` is known; `out.version` holds the IP version its link header announced.

    Writes all columns but `segment_list_id` and `tenant`.

    A frame whose IP header turns out unreadable loses `ip_start` and gets its `reason`. Returns how many packets are
    longer, by their headers, than their frames.
    """
    beyond = 0
    for i in range(start.size):
        place = np.int64(out.ip_start[i])
        version = out.version[i]
        why = out.reason[i]
        ip = start[i] + place
        end = start[i] + np.int64(captured[i])  # of the captured bytes that belong to the packet
        header, protocol, valid = np.int64(0), np.int64(0), 0
        length: Word = np.int64(0)
        fragment = np.int64(0)  # its offset
        identity = np.int64(0)
        tos = np.int64(0)
        if why == IP_FOUND:
            fixed = 20 if version == 4 else 40
            if end > ip and np.int64(data[ip]) >> 4 != version:
                why = MALFORMED
            elif end - ip < fixed:
                why = TRUNCATED
            elif version == 4:
                header = (np.int64(data[ip]) & 15) * 4
                length = be16(data, ip + 2)
                if length == 0:  # TSO: the card had yet to cut it
                    length = np.int64(wire[i]) - place
                if header < 20 or length < header:
                    why = MALFORMED
                else:
                    valid = HAS_IP | HAS_ID
                    tos = np.int64(data[ip + 1])
                    identity = be16(data, ip + 4)
                    fragment = be16(data, ip + 6)
                    if fragment & 0x3FFF != 0:
                        valid |= HAS_FRAGMENT
                    fragment = (fragment & 0x1FFF) * 8
                    protocol = np.int64(data[ip + 9])
                    out.src_high[i] = 0
                    out.dst_high[i] = 0
                    out.src_low[i] = be32(data, ip + 12)
                    out.dst_low[i] = be32(data, ip + 16)
            else:
                header = np.int64(40)
                protocol = np.int64(data[ip + 6])
                length = 40 + be16(data, ip + 4)
                if length == 40 and protocol != 59:
                    jumbo = _jumbo_bytes(data, ip + 40, end) if protocol == 0 else np.int64(-1)
                    length = min(40 + jumbo, _MOST) if jumbo >= 0 else np.int64(wire[i]) - place
                if length < 40:
                    why = MALFORMED
                else:
                    valid = HAS_IP
                    tos = be16(data, ip) >> 4 & 0xFF
                    out.src_high[i] = be64(data, ip + 8)
                    out.src_low[i] = be64(data, ip + 16)
                    out.dst_high[i] = be64(data, ip + 24)
                    out.dst_low[i] = be64(data, ip + 32)
        if valid == 0:
            out.ip_start[i] = -1
            out.version[i] = 0
            out.src_high[i] = 0
            out.src_low[i] = 0
            out.dst_high[i] = 0
            out.dst_low[i] = 0
        elif place + length > max(np.int64(wire[i]), np.int64(captured[i])):
            beyond += 1
        out.reason[i] = why
        end = min(end, ip + length)
        at = ip + header
        whole = valid != 0  # whether the chain of headers is known to its end
        while whole and fragment == 0:
            if protocol == 51 or (
                version == 6
                and (
                    protocol == 0
                    or protocol == 43
                    or protocol == 60
                    or protocol == 135
                    or protocol == 139
                    or protocol == 140
                )
            ):
                if end - at < 2:
                    whole = False
                    break
                if protocol == 43 and end - at >= 3 and data[at + 2] == 4:
                    valid |= HAS_SRH
                units = np.int64(data[at + 1])
                size = (units + 2) * 4 if protocol == 51 else (units + 1) * 8
                protocol = np.int64(data[at])
                at += size
            elif version == 6 and protocol == 44:
                if end - at < 8:
                    whole = False
                    break
                valid |= HAS_ID
                identity = be32(data, at + 4)
                fragment = be16(data, at + 2)
                if fragment & 0xFFF9 != 0:
                    valid |= HAS_FRAGMENT
                fragment &= 0xFFF8
                protocol = np.int64(data[at])
                at += 8
            else:
                break
        left = ip + length - at
        payload: Word = np.int64(0)
        ports = np.int64(0)
        if whole and fragment != 0:
            payload = left
            valid |= HAS_PAYLOAD
        elif whole:
            if protocol == 6:
                if end - at > 12:
                    payload = left - (np.int64(data[at + 12]) >> 4) * 4
                    valid |= HAS_PAYLOAD
            elif protocol == 33:
                if end - at > 4:
                    payload = left - np.int64(data[at + 4]) * 4
                    valid |= HAS_PAYLOAD
            else:
                payload = left
                if protocol == 17 or protocol == 136:
                    payload = left - 8
                elif protocol == 132:
                    payload = left - 12
                valid |= HAS_PAYLOAD
            if protocol == 6 or protocol == 17 or protocol == 132 or protocol == 33 or protocol == 136:
                if end - at >= 4:
                    ports = be32(data, at)
                    valid |= HAS_PORTS
                if protocol == 6 and end - at >= 16:
                    valid |= HAS_TCP
        if valid & HAS_TCP:
            out.tcp_seq[i] = be32(data, at + 4)
            out.tcp_ack[i] = be32(data, at + 8)
            out.tcp_flags[i] = data[at + 13]
            out.tcp_window[i] = be16(data, at + 14)
        else:
            out.tcp_seq[i] = 0
            out.tcp_ack[i] = 0
            out.tcp_flags[i] = 0
            out.tcp_window[i] = 0
        out.transport_start[i] = at - start[i] if whole else -1
        out.protocol[i] = protocol
        out.src_port[i] = ports >> 16
        out.dst_port[i] = ports & 0xFFFF
        out.ip_bytes[i] = length if valid != 0 else 0
        out.payload_bytes[i] = max(payload, 0)
        out.ip_id[i] = identity
        out.tos[i] = tos
        out.fragment_offset[i] = fragment
        out.valid[i] = valid
    return beyond
