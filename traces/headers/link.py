"""Finds the IP header of a frame behind its link-layer headers: one kernel, and the names of why there is none.

Link types are LINKTYPE_ values of https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be16, be32
from segcast.traces.jit import kernel

IP_FOUND: Final = 0
ARP: Final = 1
LLDP: Final = 2
SLOW_PROTOCOLS: Final = 3
PTP: Final = 4
MACSEC: Final = 5
PPPOE_CONTROL: Final = 6
OTHER_ETHERTYPE: Final = 7
LLC: Final = 8
OTHER_MPLS: Final = 9
OTHER_FAMILY: Final = 10
LINK_TYPE: Final = 11
TRUNCATED: Final = 12
MALFORMED: Final = 13
OTHER_PAYLOAD: Final = 14

REASONS: Final = (
    "ip",
    "arp",
    "lldp",
    "slow protocols",
    "ptp",
    "macsec",
    "ppp control",
    "other ethertype",
    "802.2 llc",
    "mpls without ip",
    "other address family",
    "unsupported link type",
    "truncated",
    "malformed",
    "other payload",
)
"""Names of the codes above: why a frame has no readable IP header."""

LINK_TYPES: Final = frozenset((0, 1, 9, 12, 14, 50, 51, 101, 104, 108, 113, 166, 204, 219, 228, 229, 276))
"""Those that `locate` reads."""

RARE_LLC: Final = 64  # handed over: an 802.2 header begins at the place found
RARE_PPPOE: Final = 65  # a PPPoE header
RARE_PPP: Final = 66  # a PPP frame


@kernel
def after_type(data: Bytes, at: int, end: int, kind: int, ethernet: bool) -> tuple[int, int, int]:
    """What an EtherType `kind` announces at `at`, looking through VLAN tags and MPLS labels.

    (place, IP version, code): code is IP_FOUND, a reason, or RARE_ with the place of the rare header; OTHER_MPLS comes
    with the place after the labels. `ethernet` says that values up to 1500 are 802.3 lengths (IEEE 802.3 section
    3.2.6).
    """
    while kind == 0x8100 or kind == 0x88A8 or kind == 0x9100:
        if end - at < 4:
            return -1, 0, TRUNCATED
        kind = be16(data, at + 2)
        at += 4
        ethernet = True
    if kind == 0x0800:
        return at, 4, IP_FOUND
    if kind == 0x86DD:
        return at, 6, IP_FOUND
    if kind == 0x8847 or kind == 0x8848:  # RFC 3032: the payload's type shows in its first nibble
        while True:
            if end - at < 4:
                return -1, 0, TRUNCATED
            bottom = be32(data, at) & 0x100
            at += 4
            if bottom != 0:
                break
        if end - at < 1:
            return -1, 0, TRUNCATED
        version: Word = np.int64(data[at]) >> 4
        if version == 4 or version == 6:
            return at, version, IP_FOUND
        return at, 0, OTHER_MPLS
    if kind <= 1500 and ethernet:
        return at, 0, RARE_LLC
    if kind == 0x8864:
        return at, 0, RARE_PPPOE
    if kind == 0x0806:
        return -1, 0, ARP
    if kind == 0x88CC:
        return -1, 0, LLDP
    if kind == 0x8809:
        return -1, 0, SLOW_PROTOCOLS
    if kind == 0x88F7:
        return -1, 0, PTP
    if kind == 0x88E5:
        return -1, 0, MACSEC
    if kind == 0x8863:
        return -1, 0, PPPOE_CONTROL
    return -1, 0, OTHER_ETHERTYPE


@kernel
def locate(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    linktype: npt.NDArray[np.uint16],
    place: npt.NDArray[np.int32],
    version: npt.NDArray[np.uint8],
    code: npt.NDArray[np.uint8],
) -> int:
    """For each frame the place of its IP header (from the frame's start) and version, or why there is none.

    Writes `place` int32[n], `version` uint8[n], `code` uint8[n]; returns how many frames have RARE_ codes, whose
    `place` is that of the rare header. With OTHER_MPLS, `place` is that of what the labels carry.
    """
    rare = 0
    for i in range(start.size):
        begin: Word = start[i]
        end: Word = begin + np.int64(captured[i])
        link = np.int64(linktype[i])
        at, ip, why = -1, 0, LINK_TYPE
        if link == 1:
            if end - begin < 14:
                why = TRUNCATED
            else:
                kind = be16(data, begin + 12)
                if kind == 0x0800:
                    at, ip, why = begin + 14, 4, IP_FOUND
                else:
                    at, ip, why = after_type(data, begin + 14, end, kind, True)
        elif link == 12 or link == 14 or link == 101 or link == 228 or link == 229:
            if end == begin:
                why = TRUNCATED
            else:
                nibble: Word = np.int64(data[begin]) >> 4
                if (nibble == 4 and link != 229) or (nibble == 6 and link != 228):
                    at, ip, why = begin, nibble, IP_FOUND
                else:
                    why = MALFORMED
        elif link == 0 or link == 108:
            if end - begin < 4:
                why = TRUNCATED
            else:
                family = be32(data, begin)
                if link == 0 and family & 0xFFFFFF == 0:
                    family >>= 24  # the capturing host was little-endian
                why = OTHER_FAMILY
                if family == 2:
                    at, ip, why = begin + 4, 4, IP_FOUND
                elif family == 24 or family == 28 or family == 30 or family == 10 or family == 23:
                    at, ip, why = begin + 4, 6, IP_FOUND
        elif link == 113:
            if end - begin < 16:
                why = TRUNCATED
            else:
                at, ip, why = after_type(data, begin + 16, end, be16(data, begin + 14), False)
        elif link == 276:
            if end - begin < 20:
                why = TRUNCATED
            else:
                at, ip, why = after_type(data, begin + 20, end, be16(data, begin), False)
        elif link == 9:
            at, why = begin, RARE_PPP
        elif link == 50 or link == 104:  # HDLC framing: PPP, or Cisco's by its addresses (RFC 1547 section 4.3.1)
            if end - begin < 4:
                why = TRUNCATED
            elif link == 104 or data[begin] == 0x0F or data[begin] == 0x8F:
                at, ip, why = after_type(data, begin + 4, end, be16(data, begin + 2), False)
            else:
                at, why = begin, RARE_PPP
        elif link == 51:
            at, why = begin, RARE_PPPOE
        elif link == 166 or link == 204:  # a direction: in place of the address, or before the frame
            at, why = begin + (2 if link == 166 else 1), RARE_PPP
        elif link == 219:
            at, ip, why = after_type(data, begin, end, 0x8847, False)
        place[i] = at - begin if at >= 0 else -1
        version[i] = ip
        code[i] = why
        if why >= RARE_LLC:
            rare += 1
    return rare
