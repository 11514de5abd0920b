"""Reads the headers of tunnels: one kernel for each, from the tunnel's header to the IP header behind it.

Each gives, as `link.after_type`, the place of what is carried, its IP version and a code: IP_FOUND or a reason.
Lengths of UDP and of tunnels are consulted only where nothing better says that a datagram is a tunnel's.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from segcast.traces.byteorder import Bytes, Word, be16, be32
from segcast.traces.headers.announced import after, after_type, next_protocol
from segcast.traces.headers.mpls import wire_place
from segcast.traces.headers.tenants import GENEVE, GRE, LISP, NVGRE, VLAN, VXLAN, Parts, note
from segcast.traces.headers.wireless import after_wifi
from segcast.traces.jit import int64, kernel
from segcast.traces.reasons import (
    ENCRYPTED,
    FRAME_FOLLOWS,
    IP_FOUND,
    MALFORMED,
    OTHER_MPLS,
    OTHER_PAYLOAD,
    PPP_FOLLOWS,
    TRUNCATED,
)

NOT_A_TUNNEL: Final = 255
"""The code of a datagram that only has a tunnel's port."""

ERSPAN_1_2: Final = 0x88BE
ERSPAN_3: Final = 0x22EB
WCCP: Final = 0x883E
ARUBA_FIRST: Final = 0x8200  # to 0x8370 in steps of 16: one type for each kind of queue
ARUBA_LAST: Final = 0x8370


@kernel
def by_version(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """An IP header that only its version announces."""
    if end - at < 1:
        return -1, 0, TRUNCATED
    version: Word = np.int64(data[at]) >> 4
    if version == 4 or version == 6:
        return at, version, IP_FOUND
    return -1, 0, OTHER_PAYLOAD


@kernel
def ethernet(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """An Ethernet frame."""
    return after(data, parts, at, end, FRAME_FOLLOWS)


@kernel
def pseudowire(data: Bytes, parts: Parts, at: Word, end: int, stop: int) -> tuple[int, int, int]:
    """An Ethernet frame behind MPLS labels (RFC 4448), with a control word or without.

    Nothing announces it, so it is believed only if its types lead to an IP header that fits before `stop`.
    """
    place = wire_place(data, at, end, stop)
    if place < 0:
        return at, 0, OTHER_MPLS
    return after(data, parts, place, end, FRAME_FOLLOWS)


@kernel
def wifi(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """An 802.11 frame, whose frame control some access points send with its bytes swapped."""
    swapped = end - at >= 2 and data[at] & 15 != 8 and data[at + 1] & 15 == 8
    return after_wifi(data, parts, at, end, swapped)


@kernel
def is_aruba(kind: int) -> bool:
    """Whether a GRE type is one of Aruba's for 802.11 frames between access points and controllers."""
    return ARUBA_FIRST <= kind <= ARUBA_LAST and kind & 15 == 0


@kernel
def capwap(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """CAPWAP's data channel (RFC 5415 section 4.3): an 802.11 or 802.3 frame, or what DTLS hides."""
    if end - at < 8:
        return -1, 0, TRUNCATED
    if data[at] & 15 == 1:
        return -1, 0, ENCRYPTED
    word = be32(data, at)
    words = word >> 19 & 31
    if data[at] != 0 or words < 2:
        return -1, 0, MALFORMED
    fragment = word >> 7 & 1 != 0 and be16(data, at + 6) >> 3 != 0
    if fragment or word >> 3 & 1 != 0:  # a later fragment; a keep-alive
        return -1, 0, OTHER_PAYLOAD
    at += words * 4
    if word >> 8 & 1 == 0:
        return ethernet(data, parts, at, end)
    return wifi(data, parts, at, end) if word >> 9 & 31 == 1 else (-1, 0, OTHER_PAYLOAD)


@kernel
def _note_key(data: Bytes, parts: Parts, at: Word, flags: int, kind: int) -> None:
    """Note GRE's key at `at`: a tenant and a flow of it in NVGRE (RFC 7637), whose tenants count from 4096."""
    key = be32(data, at)
    if kind == 0x6558 and flags == 0x2000 and key >> 8 >= 4096:
        note(parts, NVGRE, key >> 8)
    else:
        note(parts, GRE, key)


@kernel
def _note_vlan(data: Bytes, parts: Parts, at: Word) -> None:
    """Note the VLAN that a mirrored frame had by ERSPAN's header at `at`."""
    if be16(data, at) & 0xFFF:
        note(parts, VLAN, be16(data, at) & 0xFFF)


@kernel
def gre(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """GRE (RFC 2784, 2890; version 1: RFC 2637) and, where its type says so, ERSPAN (draft-foschiano-erspan-03)."""
    if end - at < 4:
        return -1, 0, TRUNCATED
    flags, kind = be16(data, at), be16(data, at + 2)
    if flags & 7 > 1 or flags & 0x4000:  # another version; source routes (RFC 1701)
        return -1, 0, MALFORMED
    at += 4
    for bit in (0x8000, 0x2000, 0x1000):  # checksum, key, sequence number
        if flags & bit:
            if bit == 0x2000 and flags & 7 == 0 and end - at >= 4:
                _note_key(data, parts, at, flags, kind)
            at += 4
    if flags & 0x81 == 0x81:  # acknowledgement number, in version 1 alone
        at += 4
    if kind == ERSPAN_1_2:
        if flags & 0x1000 == 0:  # type I has no header
            return ethernet(data, parts, at, end)
        if end - at < 8:
            return -1, 0, TRUNCATED
        if data[at] >> 4 != 1:
            return -1, 0, MALFORMED
        _note_vlan(data, parts, at)
        return ethernet(data, parts, at + 8, end)
    if kind == ERSPAN_3:
        if end - at < 12:
            return -1, 0, TRUNCATED
        if data[at] >> 4 != 2:
            return -1, 0, MALFORMED
        _note_vlan(data, parts, at)
        carried = be16(data, at + 10) >> 10 & 31
        at += 20 if data[at + 11] & 1 else 12  # with or without a platform's subheader
        if carried == 0:
            return ethernet(data, parts, at, end)
        return by_version(data, at, end) if carried == 2 else (-1, 0, OTHER_PAYLOAD)
    if is_aruba(kind):
        return wifi(data, parts, at, end)
    if kind == WCCP:
        if end - at < 1:
            return -1, 0, TRUNCATED
        if data[at] >> 4 == 4 and data[at] & 15 >= 5:  # version 1 has no header of its own
            return at, 4, IP_FOUND
        return by_version(data, at + 4, end)
    if end < at:
        return -1, 0, TRUNCATED
    return after_type(data, parts, at, end, kind, False)


@kernel
def gtp_u(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """GTP-U (3GPP TS 29.281 section 5) and its extension headers."""
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
    return by_version(data, at, end)


@kernel
def gtp_0(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """GTP version 0 (3GPP TS 09.60 section 6): 20 bytes, and a T-PDU."""
    if end - at < 2:
        return -1, 0, TRUNCATED
    if data[at] & 0xFE != 0x1E:  # version 0, and not GTP'; the spare bits are set
        return -1, 0, MALFORMED
    if data[at + 1] != 255:
        return -1, 0, OTHER_PAYLOAD
    return by_version(data, at + 20, end)


@kernel
def vxlan(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """VXLAN (RFC 7348)."""
    if end - at < 8:
        return -1, 0, TRUNCATED
    if data[at] & 8 == 0:  # the I flag must be set
        return -1, 0, MALFORMED
    note(parts, VXLAN, be32(data, at + 4) >> 8)
    return ethernet(data, parts, at + 8, end)


@kernel
def vxlan_gpe(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """VXLAN with a next protocol (draft-ietf-nvo3-vxlan-gpe-12), where its P flag is set."""
    if end - at < 8:
        return -1, 0, TRUNCATED
    if data[at] & 0x30 != 0:  # version
        return -1, 0, MALFORMED
    if data[at] & 4 == 0:
        return vxlan(data, parts, at, end)
    if data[at] & 8:
        note(parts, VXLAN, be32(data, at + 4) >> 8)
    place, code, version = next_protocol(at + 8, int64(data[at + 3]))
    return (place, version, code) if code == IP_FOUND or place < 0 else after(data, parts, place, end, code)


@kernel
def geneve(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """Geneve (RFC 8926)."""
    if end - at < 8:
        return -1, 0, TRUNCATED
    if data[at] >> 6 != 0:  # version
        return -1, 0, MALFORMED
    kind = be16(data, at + 2)
    note(parts, GENEVE, be32(data, at + 4) >> 8)
    at += 8 + (np.int64(data[at]) & 63) * 4
    if end < at:
        return -1, 0, TRUNCATED
    return after_type(data, parts, at, end, kind, False)


@kernel
def teredo(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """Teredo (RFC 4380 section 5.1.1): indications, and an IPv6 packet no longer than the datagram."""
    stop = at + be16(data, at - 4) - 8  # what UDP says
    if end - at >= 4 and be16(data, at) == 1:
        at += 13 + np.int64(data[at + 2]) + np.int64(data[at + 3])
    if end - at >= 2 and be16(data, at) == 0:
        at += 8
    if end - at < 6:
        return -1, 0, TRUNCATED
    if data[at] >> 4 != 6 or at + 40 + be16(data, at + 4) > stop:
        return -1, 0, NOT_A_TUNNEL
    return at, 6, IP_FOUND


@kernel
def ayiya(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """AYIYA (draft-massar-v6ops-ayiya-02): an identity and a signature of stated lengths, and a packet."""
    if end - at < 8:
        return -1, 0, TRUNCATED
    following = data[at + 3]
    if data[at + 2] & 15 != 1:  # operation: forward
        return -1, 0, OTHER_PAYLOAD
    at += 8 + (1 << (np.int64(data[at]) >> 4)) + (np.int64(data[at + 1]) >> 4) * 4
    if following == 41:
        return at, 6, IP_FOUND
    return (at, 4, IP_FOUND) if following == 4 else (-1, 0, OTHER_PAYLOAD)


@kernel
def lisp(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """LISP (RFC 9300 section 5.1), with an instance where its I flag is set."""
    if end - at >= 8 and data[at] & 8:
        note(parts, LISP, be32(data, at + 4) >> 8)
    return by_version(data, at + 8, end)


@kernel
def gue(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """GUE (draft-ietf-intarea-gue-09): a header that names an IP protocol, or an IP packet itself (variant 1)."""
    if end - at < 4:
        return -1, 0, TRUNCATED
    variant, following = data[at] >> 6, data[at + 1]
    if variant == 1:
        return by_version(data, at, end)
    if variant != 0 or data[at] & 0x20:  # a control message
        return -1, 0, OTHER_PAYLOAD
    at += 4 + (np.int64(data[at]) & 31) * 4
    if following == 4:
        return at, 4, IP_FOUND
    if following == 41:
        return at, 6, IP_FOUND
    return gre(data, parts, at, end) if following == 47 else (-1, 0, OTHER_PAYLOAD)


@kernel
def l2tp(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """L2TP version 2 (RFC 2661 section 3.1) with PPP; what version 3 carries depends on its control connection."""
    if end - at < 2:
        return -1, 0, TRUNCATED
    flags = be16(data, at)
    if flags & 15 != 2 or flags & 0x8000:  # another version; a control message
        return -1, 0, OTHER_PAYLOAD
    at += 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)  # a length; sequence numbers
    if flags & 0x0200:
        if end - at < 2:
            return -1, 0, TRUNCATED
        at += 2 + be16(data, at)
    return after(data, parts, at, end, PPP_FOLLOWS)


@kernel
def etherip(data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """EtherIP (RFC 3378)."""
    if end - at < 2:
        return -1, 0, TRUNCATED
    return ethernet(data, parts, at + 2, end) if data[at] >> 4 == 3 else (-1, 0, MALFORMED)


@kernel
def pim(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """A PIM register message (RFC 7761 section 4.9.3), which carries a multicast packet to its rendezvous point."""
    if end - at < 8:
        return -1, 0, TRUNCATED
    return by_version(data, at + 8, end) if data[at] == 0x21 else (-1, 0, OTHER_PAYLOAD)


@kernel
def esp_in_udp(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """ESP in UDP (RFC 3948), beside IKE and keep-alives on the same port."""
    if end - at < 4:
        return -1, 0, NOT_A_TUNNEL
    return -1, 0, (NOT_A_TUNNEL if be16(data, at) == 0 and be16(data, at + 2) == 0 else ENCRYPTED)


@kernel
def wireguard(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """WireGuard's messages: a type of 1 to 4 and three zeros."""
    if end - at < 4 or data[at] < 1 or data[at] > 4 or data[at + 1] != 0 or be16(data, at + 2) != 0:
        return -1, 0, NOT_A_TUNNEL
    return -1, 0, (ENCRYPTED if data[at] == 4 else OTHER_PAYLOAD)
