"""Looks through tunnels: finds the IP header that an IP packet carries, one layer at a time; tunnels are rows.

`tunnel_headers` reads their headers. Ports are those of IANA's registry and 8472, Linux's first for VXLAN.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word, be16
from segcast.traces.headers import tunnel_headers as read
from segcast.traces.headers.announced import after
from segcast.traces.headers.ip import HAS_IP, HAS_PORTS, HAS_SRH, Headers
from segcast.traces.headers.mpls import ANYWHERE
from segcast.traces.headers.tenants import MOST_PARTS, Parts, TenantTable, number_of
from segcast.traces.jit import allocating, int64, kernel
from segcast.traces.reasons import (
    ENCRYPTED,
    IP_FOUND,
    LABELS_FOLLOW,
    OTHER_MPLS,
    OTHER_PAYLOAD,
    TRUNCATED,
)

# Which kernel reads a tunnel's header.
IPV4: Final = 0  # there is none: the packet follows
IPV6: Final = 1
ETHERNET: Final = 2
MPLS: Final = 3
GRE: Final = 4
VXLAN: Final = 5
VXLAN_GPE: Final = 6
GENEVE: Final = 7
GTP_U: Final = 8
GTP_0: Final = 9
TEREDO: Final = 10
AYIYA: Final = 11
LISP: Final = 12
GUE: Final = 13
L2TP: Final = 14
ETHERIP: Final = 15
PIM: Final = 16
ESP_IN_UDP: Final = 17
WIREGUARD: Final = 18
SEALED: Final = 19  # none can: it is encrypted
CLOSED: Final = 20  # none can: what it carries is agreed elsewhere
CAPWAP: Final = 21


class Tunnel(NamedTuple):
    """A tunnel: its name, what reads its header, and what announces it.

    `protocols` are IP protocols, in IPv4, IPv6 or both as `within` says; `ports` the UDP ports it is sent to, and from
    where `answers` too. A tunnel without any is found otherwise.
    """

    name: str
    how: int
    protocols: tuple[int, ...] = ()
    ports: tuple[int, ...] = ()
    answers: bool = False
    within: tuple[int, ...] = (4, 6)


TUNNELS: Final = (
    Tunnel("vxlan", VXLAN, ports=(4789, 8472)),
    Tunnel("geneve", GENEVE, ports=(6081,)),
    Tunnel("gtp-u", GTP_U, ports=(2152,)),
    Tunnel("gre", GRE, protocols=(47,)),
    Tunnel("erspan", GRE),  # GRE, of two types
    Tunnel("ip in ip", IPV4, protocols=(4,), within=(4,)),
    Tunnel("6in4", IPV6, protocols=(41,), within=(4,)),
    Tunnel("ipv4 in ipv6", IPV4, protocols=(4,), within=(6,)),
    Tunnel("ipv6 in ipv6", IPV6, protocols=(41,), within=(6,)),
    Tunnel("srv6", IPV6),  # any of these behind a segment routing header
    Tunnel("ethernet in ip", ETHERNET, protocols=(143,)),
    Tunnel("mpls pseudowire", MPLS),  # Ethernet behind MPLS labels on the link
    Tunnel("vxlan-gpe", VXLAN_GPE, ports=(4790,)),
    Tunnel("gre in udp", GRE, ports=(4754,)),
    Tunnel("mpls in udp", MPLS, ports=(6635,)),
    Tunnel("mpls in ip", MPLS, protocols=(137,)),
    Tunnel("gtp version 0", GTP_0, ports=(3386,)),
    Tunnel("teredo", TEREDO, ports=(3544,), answers=True),
    Tunnel("ayiya", AYIYA, ports=(5072,), answers=True),
    Tunnel("lisp", LISP, ports=(4341,)),
    Tunnel("gue", GUE, ports=(6080,)),
    Tunnel("l2tp", L2TP, ports=(1701,), answers=True),
    Tunnel("l2tp version 3", CLOSED, protocols=(115,)),
    Tunnel("etherip", ETHERIP, protocols=(97,)),
    Tunnel("pim register", PIM, protocols=(103,)),
    Tunnel("esp", SEALED, protocols=(50,)),
    Tunnel("esp in udp", ESP_IN_UDP, ports=(4500,), answers=True),
    Tunnel("wireguard", WIREGUARD, ports=(51820,), answers=True),
    Tunnel("aruba gre", GRE),  # GRE, of other types
    Tunnel("capwap", CAPWAP, ports=(5247,), answers=True),
    Tunnel("ipcomp", CLOSED, protocols=(108,)),
    Tunnel("gre in udp with dtls", SEALED, ports=(4755,)),
    Tunnel("mpls in udp with dtls", SEALED, ports=(6636,)),
)
"""Those that are known; a tunnel's number is its place here."""

_NUMBERS: Final = {tunnel.name: number for number, tunnel in enumerate(TUNNELS)}
_ERSPAN: Final = _NUMBERS["erspan"]
_ARUBA: Final = _NUMBERS["aruba gre"]
_SRV6: Final = _NUMBERS["srv6"]
PSEUDOWIRE: Final = _NUMBERS["mpls pseudowire"]

MOST_LAYERS: Final = 64


def _announcements() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """By IP version and protocol, by destination port, by source port: a tunnel's number and 1, or 0."""
    protocols, to_port, from_port = (
        np.zeros((7, 256), np.uint8),
        np.zeros(1 << 16, np.uint8),
        np.zeros(1 << 16, np.uint8),
    )
    for number, tunnel in enumerate(TUNNELS, start=1):
        for version in tunnel.within:
            protocols[version, list(tunnel.protocols)] = number
        to_port[list(tunnel.ports)] = number
        if tunnel.answers:
            from_port[list(tunnel.ports)] = number
    return protocols, to_port, from_port


_OF_PROTOCOL, _TO_PORT, _FROM_PORT = _announcements()
_HOW: Final = np.array([tunnel.how for tunnel in TUNNELS], np.uint8)


class Found(NamedTuple):
    """What n tunnel packets carry: as `link.locate` gives it, and the tunnel's number. Places count from the frame."""

    place: npt.NDArray[np.int32]
    version: npt.NDArray[np.uint8]
    code: npt.NDArray[np.uint8]
    tunnel: npt.NDArray[np.uint8]
    tenant: npt.NDArray[np.uint32]


@kernel
def _announced(headers: Headers, row: int) -> int:
    """The number of the tunnel that the packet's protocol or ports announce, or -1."""
    protocol = headers.protocol[row]
    if protocol != 17:
        return int64(_OF_PROTOCOL[headers.version[row], protocol]) - 1
    if headers.valid[row] & HAS_PORTS == 0:
        return -1
    tunnel = int64(_TO_PORT[headers.dst_port[row]])
    return (tunnel if tunnel != 0 else int64(_FROM_PORT[headers.src_port[row]])) - 1


@kernel
def tunnelled(headers: Headers, rows: npt.NDArray[np.int64], into: npt.NDArray[np.int64]) -> int:
    """Those of `rows` whose packet is a tunnel's and not a later fragment: writes `into`, returns how many."""
    count = 0
    for k in range(rows.size):
        i = rows[k]
        if headers.protocol[i] == 6 or headers.valid[i] & HAS_IP == 0 or _announced(headers, i) < 0:
            continue
        if headers.transport_start[i] < 0 or headers.fragment_offset[i] != 0:
            continue
        into[count] = i
        count += 1
    return count


@kernel
def _read(how: int, data: Bytes, parts: Parts, at: Word, end: int) -> tuple[int, int, int]:
    """What the tunnel's header at `at` leads to, as `after_type`."""
    if how == IPV4:
        return at, 4, IP_FOUND
    if how == IPV6:
        return at, 6, IP_FOUND
    if how == ETHERNET:
        return read.ethernet(data, parts, at, end)
    if how == MPLS:
        return after(data, parts, at, end, LABELS_FOLLOW)
    if how == GRE:
        return read.gre(data, parts, at, end)
    if how == VXLAN:
        return read.vxlan(data, parts, at, end)
    if how == VXLAN_GPE:
        return read.vxlan_gpe(data, parts, at, end)
    if how == GENEVE:
        return read.geneve(data, parts, at, end)
    if how == GTP_U:
        return read.gtp_u(data, at, end)
    if how == GTP_0:
        return read.gtp_0(data, at, end)
    if how == TEREDO:
        return read.teredo(data, at, end)
    if how == AYIYA:
        return read.ayiya(data, at, end)
    if how == LISP:
        return read.lisp(data, parts, at, end)
    if how == GUE:
        return read.gue(data, parts, at, end)
    if how == L2TP:
        return read.l2tp(data, parts, at, end)
    if how == ETHERIP:
        return read.etherip(data, parts, at, end)
    if how == PIM:
        return read.pim(data, at, end)
    if how == ESP_IN_UDP:
        return read.esp_in_udp(data, at, end)
    if how == CAPWAP:
        return read.capwap(data, parts, at, end)
    if how == WIREGUARD:
        return read.wireguard(data, at, end)
    return -1, 0, ENCRYPTED if how == SEALED else OTHER_PAYLOAD


@allocating
def enter(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    headers: Headers,
    rows: npt.NDArray[np.int64],
    tenants: TenantTable,
    found: Found,
) -> None:
    """Write to `found` what the packets of `rows` (of `tunnelled`) carry; `start` and `captured` are by row of `rows`.

    `captured` ends where the IP packet does.
    """
    parts = np.zeros(MOST_PARTS + 1, np.uint64)
    for k in range(rows.size):
        i = rows[k]
        protocol = headers.protocol[i]
        begin: Word = start[k]
        end: Word = begin + np.int64(captured[k])
        at: Word = begin + np.int64(headers.transport_start[i])
        tunnel = _announced(headers, i)
        how = int64(_HOW[tunnel])
        if protocol == 17 and end - at < 8:
            place, version, code = -1, 0, TRUNCATED
        else:
            place, version, code = _read(how, data, parts, at + 8 if protocol == 17 else at, end)
        if how == GRE and protocol == 47 and end - at >= 4:
            kind = be16(data, at + 2)
            if kind == read.ERSPAN_1_2 or kind == read.ERSPAN_3:
                tunnel = _ERSPAN
            elif read.is_aruba(kind):
                tunnel = _ARUBA
        elif headers.valid[i] & HAS_SRH and how in (IPV4, IPV6, ETHERNET):
            tunnel = _SRV6
        if code == OTHER_MPLS and place >= 0:
            place, version, code = read.pseudowire(data, parts, place, end, ANYWHERE)
        found.place[k] = place - begin if place >= 0 else -1
        found.version[k] = version
        found.code[k] = code
        found.tunnel[k] = tunnel
        found.tenant[k] = number_of(tenants, int64(headers.tenant[i]), parts)


@allocating
def find_pseudowires(
    data: Bytes,
    start: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    wire: npt.NDArray[np.uint32],
    rows: npt.NDArray[np.int64],
    tenants: TenantTable,
    headers: Headers,
) -> None:
    """Look into MPLS without IP: `rows` have the reason OTHER_MPLS, and `ip_start` is the place after the labels."""
    parts = np.zeros(MOST_PARTS + 1, np.uint64)
    for k in range(rows.size):
        i = rows[k]
        begin: Word = start[i]
        end: Word = begin + np.int64(captured[i])
        stop = max(begin + np.int64(wire[i]), end)
        place, version, code = read.pseudowire(data, parts, begin + np.int64(headers.ip_start[i]), end, stop)
        headers.ip_start[i] = place - begin if place >= 0 else -1
        headers.version[i] = version
        headers.reason[i] = code
        headers.tenant[i] = number_of(tenants, int64(headers.tenant[i]), parts)
