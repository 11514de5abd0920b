"""What tunnels' headers lead to, read the obvious way: where it is, and what announces it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.twins.ip import UDP, Decoded, number

ETHERNET, PPP, NIBBLE, WIFI = "ethernet", "ppp", "nibble", "wifi"
MPLS_TYPE = 0x8847
IP_PROTOCOLS = {4: 4, 41: 6}
PORTS = {
    4789: "vxlan",
    8472: "vxlan",
    6081: "geneve",
    2152: "gtp-u",
    4790: "vxlan-gpe",
    4754: "gre",
    6635: "mpls",
    3386: "gtp 0",
    4341: "lisp",
    6080: "gue",
}
EITHER_PORT = {3544: "teredo", 5072: "ayiya", 1701: "l2tp", 5247: "capwap"}


@dataclass(frozen=True)
class Carried:
    """What is at a place: an EtherType's payload, an IP version's header, or ETHERNET, PPP or NIBBLE."""

    at: int
    kind: str = NIBBLE
    ether_type: int | None = None
    version: int | None = None
    tag: str = ""  # what tells tenants apart


def tagged(tag: str, carried: Carried | None) -> Carried | None:
    """With a tag."""
    return None if carried is None else replace(carried, tag=tag)


def ether(kind: int, at: int) -> Carried:
    """What an EtherType announces, of which one is Ethernet itself."""
    return Carried(at, ETHERNET) if kind == 0x6558 else Carried(at, "type", ether_type=kind)


def opened(packet: bytes, ip: Decoded, at: int) -> Carried | None:
    """What the payload at `at` of an IP packet with columns `ip` carries, if it is a tunnel's."""
    if ip.protocol in IP_PROTOCOLS:
        return Carried(at, "version", version=IP_PROTOCOLS[ip.protocol])
    if ip.protocol == 143:
        return Carried(at, ETHERNET)
    if ip.protocol == 137:
        return ether(MPLS_TYPE, at)
    if ip.protocol == 47:
        return of_gre(packet, at)
    if ip.protocol == 97:  # RFC 3378: version 3, then 12 zero bits
        return Carried(at + 2, ETHERNET) if number(packet, at, 2) >> 12 == 3 else None
    if ip.protocol == 103:  # RFC 7761: version 2, type 1
        return Carried(at + 8) if number(packet, at, 8) >> 56 == 0x21 else None
    if ip.protocol != UDP or ip.dst_port is None or ip.src_port is None:
        return None
    number(packet, at, 8)
    name = PORTS.get(ip.dst_port) or EITHER_PORT.get(ip.dst_port)
    if name is None and not closed(ip.dst_port):
        name = EITHER_PORT.get(ip.src_port)
    return of_udp(name, packet, at + 8, int.from_bytes(packet[at + 4 : at + 6], "big") - 8) if name else None


def closed(port: int) -> bool:
    """Whether a destination port belongs to a tunnel that cannot be opened."""
    return port in (4500, 51820, 4755, 6636)


def of_udp(name: str, packet: bytes, at: int, size: int) -> Carried | None:
    """What the datagram at `at`, `size` bytes long as UDP says, carries."""
    if name == "vxlan":
        word = number(packet, at, 8)
        return Carried(at + 8, ETHERNET, tag=f"vxlan {word % 2**32 >> 8}") if word >> 56 & 0x08 else None
    if name == "vxlan-gpe":
        word = number(packet, at, 8)
        if word >> 56 & 0x30:
            return None
        tag = f"vxlan {word % 2**32 >> 8}" if word >> 56 & 0x08 else ""
        if not word >> 56 & 0x04:
            return Carried(at + 8, ETHERNET, tag=tag) if tag else None
        following = word >> 32 & 0xFF
        return tagged(tag, next_protocol(following, at + 8))
    if name == "geneve":
        word = number(packet, at, 8)
        inside = None if word >> 62 else ether(word >> 32 & 0xFFFF, at + 8 + 4 * (word >> 56 & 0x3F))
        return tagged(f"geneve {word % 2**32 >> 8}", inside)
    if name == "gtp-u":
        return of_gtp_u(packet, at)
    if name == "gtp 0":  # 3GPP TS 09.60: version 0, protocol type 1, spare bits 111; a T-PDU
        return Carried(at + 20) if number(packet, at, 2) | 0x100 == 0x1FFF else None
    if name == "gre":
        return of_gre(packet, at)
    if name == "mpls":
        return ether(MPLS_TYPE, at)
    if name == "lisp":
        instance = number(packet, at, 8) if len(packet) >= at + 8 and packet[at] & 8 else None
        return Carried(at + 8, tag="" if instance is None else f"lisp {instance % 2**32 >> 8}")
    if name == "gue":
        return of_gue(packet, at)
    if name == "capwap":
        return of_capwap(packet, at)
    if name == "teredo":
        return of_teredo(packet, at, at + size)
    return of_ayiya(packet, at) if name == "ayiya" else of_l2tp(packet, at)


def of_capwap(packet: bytes, at: int) -> Carried | None:
    """RFC 5415 section 4.3; WBID 1 is 802.11."""
    word = number(packet, at, 8)
    preamble, words, binding = word >> 56, word >> 51 & 31, word >> 41 & 31
    native, part, keeps_alive = word >> 40 & 1, word >> 39 & 1, word >> 35 & 1
    if preamble or words < 2 or keeps_alive or (part and word >> 3 & 0x1FFF):
        return None
    if native and binding != 1:
        return None
    return Carried(at + 4 * words, WIFI if native else ETHERNET)


def next_protocol(following: int, at: int) -> Carried | None:
    """By the numbers of RFC 8300."""
    if following in (1, 2):
        return Carried(at, "version", version=2 + 2 * following)
    if following == 3:
        return Carried(at, ETHERNET)
    if following == 4:
        return ether(0x894F, at)
    return ether(MPLS_TYPE, at) if following == 5 else None


def of_gre(packet: bytes, at: int) -> Carried | None:
    """GRE: its key, and what is inside."""
    flags, kind = number(packet, at, 2), number(packet, at + 2, 2)
    key = at + 4 + 4 * (flags >> 15)
    inside = in_gre(packet, at, flags, kind)
    if not flags & 0x2000 or flags & 7:
        return inside
    number_there = int.from_bytes(packet[key : key + 4], "big")
    is_nvgre = kind == 0x6558 and flags == 0x2000 and number_there >= 4096 * 256
    tag = f"nvgre {number_there >> 8}" if is_nvgre else f"gre {number_there}"
    if inside is not None and inside.tag:
        tag = f"{tag}, {inside.tag}"
    return tagged(tag, inside)


def mirrored(packet: bytes, at: int) -> str:
    """The VLAN that ERSPAN's header names."""
    vlan = number(packet, at, 2) % 4096
    return f"vlan {vlan}" if vlan else ""


def in_gre(packet: bytes, at: int, flags: int, kind: int) -> Carried | None:
    """RFC 2784 and 2890; version 1 as in RFC 2637; ERSPAN types I to III (draft-foschiano-erspan); WCCP."""
    version = flags & 7
    if version > 1 or flags & 0x4000:
        return None
    at += 4 + 4 * sum(flags & bit != 0 for bit in (0x8000, 0x2000, 0x1000))
    if version == 1 and flags & 0x80:
        at += 4
    if kind == 0x88BE and flags & 0x1000:
        right = number(packet, at, 8) >> 60 == 1
        return Carried(at + 8, ETHERNET, tag=mirrored(packet, at)) if right else None
    if kind == 0x88BE:
        return Carried(at, ETHERNET)
    if kind == 0x22EB:
        words = number(packet, at, 12)
        frame_type = words >> 10 & 0x1F
        if words >> 92 != 2 or frame_type not in (0, 2):
            return None
        return Carried(at + 12 + 8 * (words & 1), NIBBLE if frame_type else ETHERNET, tag=mirrored(packet, at))
    if kind in range(0x8200, 0x8380, 16):
        return Carried(at, WIFI)
    if kind == 0x880B:
        return Carried(at, PPP)
    if kind == 0x883E:
        return Carried(at) if 0x45 <= number(packet, at, 1) < 0x50 else Carried(at + 4)
    return ether(kind, at)


def of_gtp_u(packet: bytes, at: int) -> Carried | None:
    """3GPP TS 29.281 section 5: a G-PDU of version 1."""
    number(packet, at, 8)
    flags, message = packet[at], packet[at + 1]
    if flags >> 5 != 1 or not flags & 0x10 or message != 255:
        return None
    at += 8
    if flags & 0x07:
        following = 0
        if flags & 0x04:
            following = number(packet, at + 3, 1)
        at += 4
        while following:
            size = 4 * number(packet, at, 1)
            if size == 0:
                return None
            following = number(packet, at + size - 1, 1)
            at += size
    return Carried(at)


def of_teredo(packet: bytes, at: int, stop: int) -> Carried | None:
    """RFC 4380 section 5.1.1: authentication and origin, then a packet that fits the datagram."""
    if packet[at : at + 2] == b"\0\1":
        at += 4 + packet[at + 2] + packet[at + 3] + 9 if len(packet) - at >= 4 else 0
    if packet[at : at + 2] == b"\0\0":
        at += 8
    whole = at + 40 + (number(packet, at, 6) & 0xFFFF)
    return Carried(at, "version", version=6) if packet[at] >> 4 == 6 and whole <= stop else None


def of_ayiya(packet: bytes, at: int) -> Carried | None:
    """draft-massar-v6ops-ayiya-02 section 4."""
    word = number(packet, at, 8) >> 32
    size = 8 + 2 ** (word >> 28) + 4 * (word >> 20 & 15)
    version = IP_PROTOCOLS.get(word & 0xFF)
    return None if word >> 8 & 15 != 1 or version is None else Carried(at + size, "version", version=version)


def of_gue(packet: bytes, at: int) -> Carried | None:
    """draft-ietf-intarea-gue-09."""
    word = number(packet, at, 4)
    if word >> 30 == 1:
        return Carried(at)
    if word >> 29:
        return None
    at, protocol = at + 4 + 4 * (word >> 24 & 0x1F), word >> 16 & 0xFF
    if protocol == 47:
        return of_gre(packet, at)
    return Carried(at, "version", version=IP_PROTOCOLS[protocol]) if protocol in IP_PROTOCOLS else None


def of_l2tp(packet: bytes, at: int) -> Carried | None:
    """RFC 2661 section 3.1: a data message of version 2."""
    flags = number(packet, at, 2)
    if flags & 0x800F != 2:
        return None
    at += 6
    if flags & 0x4000:
        at += 2
    if flags & 0x0800:
        at += 4
    if flags & 0x0200:
        at += 2 + number(packet, at, 2)
    return Carried(at, PPP)
