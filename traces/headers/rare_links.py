"""Locates the IP header behind rare link headers with dpkt: 802.2 SNAP, PPPoE and PPP.

Slow (some 0.1 million frames a second) and seldom needed; the kernel of `segcast.traces.headers.link` hands such frames
over, and the IP header found here is decoded by the same kernel as every other.
"""

from __future__ import annotations

import struct
from typing import Final

import dpkt
import numpy as np

from segcast.traces.headers import link

_HOSTILE: Final = (dpkt.Error, struct.error, IndexError, ValueError, TypeError, AttributeError, RecursionError)
_PPP_VERSIONS: Final = {dpkt.ppp.PPP_IP: 4, dpkt.ppp.PPP_IP6: 6}
_ETHERNET_OUI: Final = 0
_LLC_SNAP_BYTES: Final = 8
_PPPOE_BYTES: Final = 6
_PPP_ADDRESS_BYTES: Final = 2


def locate_rare(frame: bytes, place: int, code: int) -> tuple[int, int, int]:
    """(place of the IP header, its version, code) of `frame`, whose rare header begins at `place`.

    The code is `link.IP_FOUND` or a reason; the place is -1 unless found. Never raises, whatever the bytes.
    """
    try:
        while code == link.RARE_LLC:
            place, version, code = _after_llc(frame, place)
        if code == link.RARE_PPPOE:
            return _after_pppoe(frame, place)
        if code == link.RARE_PPP:
            return _after_ppp(frame, place)
    except dpkt.NeedData:
        return -1, 0, link.TRUNCATED
    except _HOSTILE:
        return -1, 0, link.MALFORMED
    return place, version, code


def _after_llc(frame: bytes, place: int) -> tuple[int, int, int]:
    """SNAP with an EtherType (IEEE 802; RFC 1042)."""
    header = frame[place : place + _LLC_SNAP_BYTES]
    if len(header) < 3:
        raise dpkt.NeedData
    if header[0] != 0xAA or header[1] != 0xAA:
        return -1, 0, link.LLC
    if len(header) < _LLC_SNAP_BYTES:
        raise dpkt.NeedData
    llc = dpkt.llc.LLC(header)
    if llc.ctl != 3 or llc.oui != _ETHERNET_OUI:
        return -1, 0, link.LLC
    data = np.frombuffer(frame, np.uint8).copy()
    at, version, code = link.after_type(data, place + _LLC_SNAP_BYTES, len(frame), llc.type, False)
    return (int(at) if code == link.IP_FOUND or code >= link.RARE_LLC else -1), int(version), int(code)


def _after_pppoe(frame: bytes, place: int) -> tuple[int, int, int]:
    """PPPoE session data (RFC 2516 section 4)."""
    if len(frame) < place + _PPPOE_BYTES:
        raise dpkt.NeedData
    pppoe = dpkt.pppoe.PPPoE(frame[place : place + _PPPOE_BYTES])
    if (pppoe.v, pppoe.type, pppoe.code) != (1, 1, dpkt.pppoe.PPPoE_SESSION):
        return -1, 0, link.PPPOE_CONTROL
    return _after_protocol(frame, place + _PPPOE_BYTES)


def _after_ppp(frame: bytes, place: int) -> tuple[int, int, int]:
    """PPP in HDLC-like framing, whose address and control fields may be compressed away (RFC 1662 section 3.1)."""
    if frame[place : place + _PPP_ADDRESS_BYTES] == b"\xff\x03":
        place += _PPP_ADDRESS_BYTES
    return _after_protocol(frame, place)


def _after_protocol(frame: bytes, place: int) -> tuple[int, int, int]:
    """An uncompressed PPP protocol field (RFC 1661 section 2), then what it announces."""
    if len(frame) < place + 2:
        raise dpkt.NeedData
    if frame[place] & dpkt.ppp.PFC_BIT:
        return -1, 0, link.PPPOE_CONTROL
    ppp = dpkt.pppoe.PPP(frame[place : place + 2])
    version = _PPP_VERSIONS.get(ppp.p, 0)
    return (place + 2, version, link.IP_FOUND) if version else (-1, 0, link.PPPOE_CONTROL)
