"""Walks from what a header announces to the IP header: EtherTypes are rows, and one kernel reads what they lead to.

IEEE 802 (802.2 and SNAP: also RFC 1042), 802.1Q, 802.1BR, 802.1ah, 802.1AE and 802.1CB; RFC 1661 and 2516 (PPP), 6325
(TRILL), 8300 (NSH). Headers of switches that only their makers describe are so marked.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces import reasons as r
from segcast.traces.byteorder import Bytes, Word, be16, be32
from segcast.traces.headers.mpls import ANYWHERE, after_labels
from segcast.traces.headers.tenants import I_SID, VLAN, Parts, note
from segcast.traces.jit import int64, kernel
from segcast.traces.linktypes import COOKED, LENGTHS, NO_LENGTHS


class EtherType(NamedTuple):
    """What an EtherType announces: a reason or what follows (of `reasons`), after so many bytes.

    `tells` is the kind of `tenants` of which the first two or four of them hold a number.
    """

    leads_to: int
    bytes: int = 0
    tells: int = 0


ETHER_TYPES: Final = {
    0x0806: EtherType(r.ARP),
    0x88CC: EtherType(r.LLDP),
    0x8809: EtherType(r.SLOW_PROTOCOLS),
    0x88F7: EtherType(r.PTP),
    0x8863: EtherType(r.PPP_CONTROL),
    0x8100: EtherType(r.TYPE_FOLLOWS, 2, VLAN),
    0x88A8: EtherType(r.TYPE_FOLLOWS, 2, VLAN),
    0x9100: EtherType(r.TYPE_FOLLOWS, 2, VLAN),
    0x9200: EtherType(r.TYPE_FOLLOWS, 2, VLAN),
    0x8926: EtherType(r.TYPE_FOLLOWS, 4),  # VN-Tag (Cisco)
    0x893F: EtherType(r.TYPE_FOLLOWS, 6),  # E-TAG of 802.1BR
    0xDADA: EtherType(r.TYPE_FOLLOWS, 6),  # a distributed switch's tag (Marvell)
    0x892F: EtherType(r.TYPE_FOLLOWS, 4),  # HSR (IEC 62439-3)
    0xF1C1: EtherType(r.TYPE_FOLLOWS, 4),  # R-TAG of 802.1CB
    0x88E7: EtherType(r.FRAME_FOLLOWS, 4, I_SID),  # I-TAG of 802.1ah
    0x8903: EtherType(r.FRAME_FOLLOWS, 2),  # FabricPath (Cisco)
    0x6558: EtherType(r.FRAME_FOLLOWS),  # RFC 1701
    0x8870: EtherType(r.LLC_FOLLOWS),  # in jumbo frames
    0x880B: EtherType(r.PPP_FOLLOWS),
    0x8864: EtherType(r.PPPOE_FOLLOWS),
    0x8847: EtherType(r.LABELS_FOLLOW),
    0x8848: EtherType(r.LABELS_FOLLOW),
    0x894F: EtherType(r.NSH_FOLLOWS),
    0x22F3: EtherType(r.TRILL_FOLLOWS),
    0xD28B: EtherType(r.TIME_FOLLOWS),
    0x8909: EtherType(r.METADATA_FOLLOWS),
    0x88E5: EtherType(r.MACSEC_FOLLOWS),
}
"""Those that are known, beside IPv4 and IPv6."""


def _tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    leads_to = np.full(1 << 16, r.OTHER_ETHERTYPE, np.uint8)
    size, tells = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
    for kind, row in ETHER_TYPES.items():
        leads_to[kind], size[kind], tells[kind] = row
    return leads_to, size, tells


_LEADS_TO, _BYTES, _TELLS = _tables()


@kernel
def _ppp(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """(place, code or what follows, protocol) of a PPP frame (RFC 1661).

    Address, control and protocol fields may be compressed (RFC 1662 section 3.1).
    """
    if end - at >= 2 and be16(data, at) == 0xFF03:
        at += 2
    elif end - at == 1 and data[at] == 0xFF:
        return -1, r.TRUNCATED, 0
    if end - at < 1:
        return -1, r.TRUNCATED, 0
    protocol = int64(data[at])
    at += 1
    if protocol & 1 == 0:
        if end - at < 1:
            return -1, r.TRUNCATED, 0
        protocol = protocol << 8 | int64(data[at])
        at += 1
    if protocol == 0x21 or protocol == 0x57:
        return at, r.IP_FOUND, protocol
    if protocol == 0x281 or protocol == 0x283:
        return at, r.LABELS_FOLLOW, protocol
    if protocol == 0x31:  # bridged (RFC 3518 section 4.2): flags, a MAC type of which 1 is Ethernet, a LAN's number
        if end - at < 2:
            return -1, r.TRUNCATED, 0
        if data[at + 1] == 1:
            return at + (6 if data[at] & 0x80 else 2), r.FRAME_FOLLOWS, protocol
    return -1, (r.PPP_CONTROL if protocol >= 0x8000 else r.OTHER_PPP), protocol


@kernel
def _llc(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """(place, IP_FOUND, a code or what follows, IP version) of an 802.2 header."""
    if end - at < 3:
        return -1, r.TRUNCATED, 0
    pair = be16(data, at)
    if data[at + 2] == 3:  # unnumbered information
        if pair == 0xAAAA:
            if end - at < 8:
                return -1, r.TRUNCATED, 0
            if data[at + 3] == 0 and data[at + 4] == 0 and (data[at + 5] == 0 or data[at + 5] == 0xF8):
                return at + 6, r.TYPE_FOLLOWS, 0  # EtherTypes; those of bridges (802.1H)
        elif pair == 0x0606:  # RFC 948
            return at + 3, r.IP_FOUND, 4
        elif pair == 0xFEFE and end - at >= 4:  # a network layer identifier (ISO/IEC 9577, RFC 2427)
            if data[at + 3] == 0xCC:
                return at + 4, r.IP_FOUND, 4
            if data[at + 3] == 0x8E:
                return at + 4, r.IP_FOUND, 6
    return -1, r.LLC, 0


@kernel
def _nsh(data: Bytes, at: Word, end: int) -> tuple[int, int, int]:
    """(place, code or what follows, IP version) of a network service header."""
    if end - at < 8:
        return -1, r.TRUNCATED, 0
    size = (int64(data[at + 1]) & 63) * 4
    if data[at] >> 6 != 0 or size < 8:
        return -1, r.MALFORMED, 0
    return next_protocol(at + size, int64(data[at + 3]))


@kernel
def next_protocol(at: int, following: int) -> tuple[int, int, int]:
    """(place, code or what follows, IP version) by the numbers of RFC 8300 section 2.2."""
    if following == 1:
        return at, r.IP_FOUND, 4
    if following == 2:
        return at, r.IP_FOUND, 6
    if following == 3:
        return at, r.FRAME_FOLLOWS, 0
    if following == 4:
        return at, r.NSH_FOLLOWS, 0
    if following == 5:
        return at, r.LABELS_FOLLOW, 0
    return -1, r.OTHER_PAYLOAD, 0


@kernel
def _rare(data: Bytes, at: Word, end: int, what: int) -> tuple[int, int]:
    """(place, code or what follows) of a header whose length it states itself."""
    if what == r.TRILL_FOLLOWS:
        if end - at < 6:
            return -1, r.TRUNCATED
        return at + 6 + (be16(data, at) >> 6 & 31) * 4, r.FRAME_FOLLOWS
    if what == r.TIME_FOLLOWS:  # Arista's: a subtype, a version, and a time of 64 or 48 bits
        if end - at < 4:
            return -1, r.TRUNCATED
        width = be16(data, at + 2) >> 4
        if be16(data, at) != 1 or (width != 1 and width != 2):
            return -1, r.OTHER_ETHERTYPE
        return at + (12 if width == 1 else 10), r.TYPE_FOLLOWS
    if what == r.METADATA_FOLLOWS:  # Cisco's: version, length in words, options
        if end - at < 2:
            return -1, r.TRUNCATED
        return at + 2 + 4 * int64(data[at + 1]), r.TYPE_FOLLOWS
    if end - at < 6:  # MACsec: what is only authenticated can be read
        return -1, r.TRUNCATED
    if data[at] & 0x8C:  # another version; encrypted; changed
        return -1, r.MACSEC
    at += 14 if data[at] & 0x20 else 6
    if end - at >= 2:
        kind = be16(data, at)
        if kind != 0x0800 and kind != 0x86DD and (kind <= 1500 or _LEADS_TO[kind] == r.OTHER_ETHERTYPE):
            return -1, r.MACSEC
    return at, r.TYPE_FOLLOWS


@kernel
def note_tag(data: Bytes, parts: Parts, at: Word, tells: int) -> None:
    """Note the VLAN or the service that the tag at `at` names; VLAN 0 is a priority without one."""
    if tells == I_SID:
        note(parts, I_SID, be32(data, at) & 0xFFFFFF)
    elif be16(data, at) & 0xFFF:
        note(parts, VLAN, be16(data, at) & 0xFFF)


@kernel
def walk(
    data: Bytes, parts: Parts, at: Word, end: int, stop: int, what: int, kind: int, numbers: int
) -> tuple[int, int, int, int]:
    """What `what` at `at` leads to, over all headers that are looked through: (place, IP version, code, detail).

    `end` is where the captured bytes end, `stop` where the frame does. `kind` is the EtherType of TYPE_FOLLOWS, and
    `numbers` what those up to 1500 are. The detail of IP_FOUND is where the frame stops as lengths on the way say; that
    of the reasons NUMBERED their number. OTHER_MPLS comes with the place after the labels. `parts` gets what tells
    tenants apart on the way.
    """
    while True:
        if what == r.TYPE_FOLLOWS:
            if kind == 0x0800:
                return at, 4, r.IP_FOUND, stop
            if kind == 0x86DD:
                return at, 6, r.IP_FOUND, stop
            if kind <= 1500 and numbers == LENGTHS:
                if kind < 3:
                    return -1, 0, r.LLC, 0
                stop = min(stop, at + kind)
                end = min(end, stop)
                what = r.LLC_FOLLOWS
            elif kind == 4 and numbers == COOKED:
                what = r.LLC_FOLLOWS
            else:
                what = int64(_LEADS_TO[kind])
                if _TELLS[kind] != 0 and end - at >= int64(_BYTES[kind]):
                    note_tag(data, parts, at, int64(_TELLS[kind]))
                at += int64(_BYTES[kind])
                if what == r.TYPE_FOLLOWS:
                    if end - at < 2:
                        return -1, 0, r.TRUNCATED, 0
                    kind, at, numbers = be16(data, at), at + 2, LENGTHS
        elif what == r.FRAME_FOLLOWS:
            if end - at < 14:
                return -1, 0, r.TRUNCATED, 0
            what, kind, at, numbers = r.TYPE_FOLLOWS, be16(data, at + 12), at + 14, LENGTHS
        elif what == r.LABELS_FOLLOW:
            place, version, code = after_labels(data, at, end, stop)
            return place, version, code, stop
        elif what == r.LLC_FOLLOWS:
            at, what, version = _llc(data, at, end)
            if what == r.IP_FOUND:
                return at, version, r.IP_FOUND, stop
            if what == r.TYPE_FOLLOWS:
                kind, at, numbers = be16(data, at), at + 2, NO_LENGTHS
        elif what == r.PPPOE_FOLLOWS:
            if end - at < 6:
                return -1, 0, r.TRUNCATED, 0
            if be16(data, at) != 0x1100:  # version 1, type 1, code 0
                return -1, 0, r.PPP_CONTROL, 0
            stop = min(stop, at + 6 + be16(data, at + 4))
            end = min(end, stop)
            what, at = r.PPP_FOLLOWS, at + 6
        elif what == r.PPP_FOLLOWS:
            at, what, protocol = _ppp(data, at, end)
            if what == r.IP_FOUND:
                return at, (4 if protocol == 0x21 else 6), r.IP_FOUND, stop
            kind = protocol
        elif what == r.NSH_FOLLOWS:
            at, what, version = _nsh(data, at, end)
            if what == r.IP_FOUND:
                return at, version, r.IP_FOUND, stop
        elif what >= r.TRILL_FOLLOWS:
            at, what = _rare(data, at, end, what)
            if what == r.TYPE_FOLLOWS:
                if end - at < 2:
                    return -1, 0, r.TRUNCATED, 0
                kind, at, numbers = be16(data, at), at + 2, LENGTHS
        else:
            return -1, 0, what, kind if what == r.OTHER_ETHERTYPE or what == r.OTHER_PPP else 0


@kernel
def stated_end(data: Bytes, place: Word, end: int, version: int) -> int:
    """Where the IP packet at `place` ends by its own header; `end` if that was not captured or gives no length."""
    if end - place < 6:
        return end
    length = int64(be16(data, place + 2)) if version == 4 else int64(be16(data, place + 4)) + 40
    return int64(place) + length if length > 0 else end


@kernel
def after_type(data: Bytes, parts: Parts, at: Word, end: int, kind: int, ethernet: bool) -> tuple[int, int, int]:
    """(place, IP version, code) of what an EtherType announces at `at`, as `walk`, of a frame that may stop anywhere.

    `ethernet` says that values up to 1500 are 802.3 lengths.
    """
    place, version, code, _ = walk(
        data, parts, at, end, ANYWHERE, r.TYPE_FOLLOWS, kind, LENGTHS if ethernet else NO_LENGTHS
    )
    return place, version, code


@kernel
def after(data: Bytes, parts: Parts, at: Word, end: int, what: int) -> tuple[int, int, int]:
    """(place, IP version, code) of what `what` (one of `reasons`' FOLLOWS) at `at` leads to, as `after_type`."""
    place, version, code, _ = walk(data, parts, at, end, ANYWHERE, what, 0, LENGTHS)
    return place, version, code
