"""Looks through tunnels: finds the IP header that an IP packet carries, one layer at a time.

VXLAN (RFC 7348), Geneve (RFC 8926), GRE (RFC 2784, 2890; version 1: RFC 2637), ERSPAN (draft-foschiano-erspan-03),
GTP-U (3GPP TS 29.281), IP in IP (RFC 2003, 2473, 4213), SRv6 and Ethernet in IP (RFC 8754, 8986), and Ethernet
pseudowires in MPLS (RFC 4448). Lengths of UDP and of the tunnels themselves are not consulted: the IP lengths bound.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be16
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS, HAS_SRH, Headers
from segcast.traces.headers.link import (
    IP_FOUND,
    MALFORMED,
    OTHER_MPLS,
    OTHER_PAYLOAD,
    PPPOE_CONTROL,
    TRUNCATED,
    after_type,
    announced,
)
from segcast.traces.jit import kernel

VXLAN: Final = 0
GENEVE: Final = 1
GTP_U: Final = 2
GRE: Final = 3
ERSPAN: Final = 4
IPIP: Final = 5
SIXIN4: Final = 6
FOURIN6: Final = 7
SIXIN6: Final = 8
SRV6: Final = 9
ETHERNET: Final = 10
PSEUDOWIRE: Final = 11

TUNNELS: Final = (
    "vxlan",
    "geneve",
    "gtp-u",
    "gre",
    "erspan",
    "ip in ip",
    "6in4",
    "ipv4 in ipv6",
    "ipv6 in ipv6",
    "srv6",
    "ethernet in ip",
    "mpls pseudowire",
)
"""Names of the codes above."""

MOST_LAYERS: Final = 64


class Found(NamedTuple):
    """What n tunnel packets carry: as `link.locate` gives it, and the tunnel's code. Places count from the frame."""

    place: npt.NDArray[np.int32]
    version: npt.NDArray[np.uint8]
    code: npt.NDArray[np.uint8]
    tunnel: npt.NDArray[np.uint8]


@kernel
def tunnelled(headers: Headers, rows: npt.NDArray[np.int64], into: npt.NDArray[np.int64]) -> int:
    """Those of `rows` whose packet is a tunnel's and not a later fragment: writes `into`, returns how many."""
    count = 0
    for k in range(rows.size):
        i = rows[k]
        protocol = headers.protocol[i]
        if protocol == 6 or headers.valid[i] & HAS_IP == 0:
            continue
        if protocol == 17:
            if headers.valid[i] & HAS_PORTS == 0:
                continue
            port = headers.dst_port[i]
            if port != 4789 and port != 8472 and port != 6081 and port != 2152:
                continue
        elif protocol != 4 and protocol != 41 and protocol != 47 and protocol != 143:
            continue
        if headers.transport_start[i] < 0 or headers.fragment_offset[i] != 0:
            continue
        into[count] = i
        count += 1
    return count


@kernel
def _ethernet(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """What an Ethernet frame at `at` carries, as `after_type`."""
    if end - at < 14:
        return -1, 0, TRUNCATED
    return after_type(data, at + 14, end, be16(data, at + 12), True)


@kernel
def pseudowire(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """As `after_type`, of an Ethernet frame behind MPLS labels, with a control word or without.

    Nothing announces it, so it is believed only if its types lead to an IP header of the right version.
    """
    for skip in (4, 0):
        if end - at < 2 or (skip == 4 and be16(data, at) != 0) or (skip == 0 and data[at] >> 4 == 1):
            continue  # no control word (its upper half is zero); an associated channel (RFC 4385 section 5)
        if end - at < skip + 14:
            continue
        place, version, code = announced(data, at + skip + 14, end, be16(data, at + skip + 12), True)
        if code == IP_FOUND and end > place:
            first = np.int64(data[place])
            if first >> 4 == version and (version == 6 or first & 15 >= 5):
                return place, version, IP_FOUND
    return at, 0, OTHER_MPLS


@kernel
def _ppp(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """As `after_type`, of a PPP frame whose address, control and protocol fields may be compressed (RFC 1661, 1662)."""
    if end - at >= 2 and be16(data, at) == 0xFF03:
        at += 2
    if end - at < 1:
        return -1, 0, TRUNCATED
    protocol: Word = np.int64(data[at])
    at += 1
    if protocol & 1 == 0:
        if end - at < 1:
            return -1, 0, TRUNCATED
        protocol = protocol << 8 | np.int64(data[at])
        at += 1
    if protocol == 0x21:
        return at, 4, IP_FOUND
    if protocol == 0x57:
        return at, 6, IP_FOUND
    return -1, 0, PPPOE_CONTROL


@kernel
def _gre(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """As `after_type`, of a GRE header and, where its type says so, an ERSPAN header."""
    if end - at < 4:
        return -1, 0, TRUNCATED
    flags, kind = be16(data, at), be16(data, at + 2)
    if flags & 7 > 1 or flags & 0x4000:  # another version; source routes (RFC 1701)
        return -1, 0, MALFORMED
    at += 4
    for bit in (0x8000, 0x2000, 0x1000):  # checksum, key, sequence number
        if flags & bit:
            at += 4
    if flags & 0x81 == 0x81:  # acknowledgement number, in version 1 alone
        at += 4
    if kind == 0x6558:
        return _ethernet(data, at, end)
    if kind == 0x880B:
        return _ppp(data, at, end)
    if kind == 0x88BE:
        if flags & 0x1000 == 0:  # type I has no header
            return _ethernet(data, at, end)
        if end - at < 8:
            return -1, 0, TRUNCATED
        if data[at] >> 4 != 1:
            return -1, 0, MALFORMED
        return _ethernet(data, at + 8, end)
    if kind == 0x22EB:
        if end - at < 12:
            return -1, 0, TRUNCATED
        if data[at] >> 4 != 2:
            return -1, 0, MALFORMED
        carried = be16(data, at + 10) >> 10 & 31
        at += 20 if data[at + 11] & 1 else 12  # with or without a platform's subheader
        if carried == 0:
            return _ethernet(data, at, end)
        return _by_version(data, at, end) if carried == 2 else (-1, 0, OTHER_PAYLOAD)
    if end < at:
        return -1, 0, TRUNCATED
    return after_type(data, at, end, kind, False)


@kernel
def _by_version(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """An IP header that only its version announces."""
    if end - at < 1:
        return -1, 0, TRUNCATED
    version: Word = np.int64(data[at]) >> 4
    if version == 4 or version == 6:
        return at, version, IP_FOUND
    return -1, 0, OTHER_PAYLOAD


@kernel
def _gtp_u(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """As `after_type`, of a GTP-U header (TS 29.281 section 5) and its extension headers."""
    if end - at < 8:
        return -1, 0, TRUNCATED
    flags = data[at]
    if flags & 0xF0 != 0x30:  # version 1, and not GTP'
        return -1, 0, MALFORMED
    if data[at + 1] != 255:
        return -1, 0, OTHER_PAYLOAD
    at += 8
    if flags & 7:
        at += 4
        if flags & 4:
            if end < at:
                return -1, 0, TRUNCATED
            following = data[at - 1]
            while following != 0:
                if end - at < 1:
                    return -1, 0, TRUNCATED
                size = np.int64(data[at]) * 4
                if size == 0:
                    return -1, 0, MALFORMED
                at += size
                if end < at:
                    return -1, 0, TRUNCATED
                following = data[at - 1]
    return _by_version(data, at, end)


@kernel
def _udp(data: Bytes, at: Word, end: int, port: Word) -> tuple[int, int, int]:
    """As `after_type`, of the UDP datagram at `at`."""
    if port == 2152:
        return _gtp_u(data, at + 8, end)
    if end - at < 16:
        return -1, 0, TRUNCATED
    first, kind = np.int64(data[at + 8]), be16(data, at + 10)
    if port == 6081:
        if first >> 6 != 0:  # version
            return -1, 0, MALFORMED
        at += 16 + (first & 63) * 4
        if kind == 0x6558:
            return _ethernet(data, at, end)
        if end < at:
            return -1, 0, TRUNCATED
        return after_type(data, at, end, kind, False)
    if first & 8 == 0:  # VXLAN's I flag must be set
        return -1, 0, MALFORMED
    return _ethernet(data, at + 16, end)


@kernel
def enter(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    headers: Headers,
    rows: npt.NDArray[np.int64],
    found: Found,
) -> None:
    """Write to `found` what the packets of `rows` (of `tunnelled`) carry; `start` and `captured` are by row of `rows`.

    `captured` ends where the IP packet does.
    """
    for k in range(rows.size):
        i = rows[k]
        protocol = headers.protocol[i]
        begin: Word = start[k]
        end: Word = begin + np.int64(captured[k])
        at: Word = begin + np.int64(headers.transport_start[i])
        place, version, code = at, 4, IP_FOUND
        six = headers.version[i] == 6
        if protocol == 4:
            tunnel = FOURIN6 if six else IPIP
        elif protocol == 41:
            tunnel = SIXIN6 if six else SIXIN4
            version = 6
        elif protocol == 143:
            tunnel = ETHERNET
            place, version, code = _ethernet(data, at, end)
        elif protocol == 47:
            tunnel = GRE
            if end - at >= 4:
                kind = be16(data, at + 2)
                if kind == 0x88BE or kind == 0x22EB:
                    tunnel = ERSPAN
            place, version, code = _gre(data, at, end)
        else:
            port = headers.dst_port[i]
            tunnel = GTP_U if port == 2152 else (GENEVE if port == 6081 else VXLAN)
            place, version, code = _udp(data, at, end, port)
        if headers.valid[i] & HAS_SRH and (protocol == 4 or protocol == 41 or protocol == 143):
            tunnel = SRV6
        if code == OTHER_MPLS and place >= 0:
            place, version, code = pseudowire(data, place, end)
        found.place[k] = place - begin if place >= 0 else -1
        found.version[k] = version
        found.code[k] = code
        found.tunnel[k] = tunnel


@kernel
def find_pseudowires(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    headers: Headers,
) -> None:
    """Look into MPLS without IP: `rows` have the reason OTHER_MPLS, and `ip_start` is the place after the labels."""
    for k in range(rows.size):
        i = rows[k]
        begin: Word = start[i]
        end: Word = begin + np.int64(captured[i])
        place, version, code = pseudowire(data, begin + np.int64(headers.ip_start[i]), end)
        headers.ip_start[i] = place - begin
        headers.version[i] = version
        headers.reason[i] = code
