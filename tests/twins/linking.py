"""Follows what link headers announce, the obvious way: a function for each header, which calls that of what follows."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.twins.ip import ShortError, number

VLAN_TYPES = {0x8100, 0x88A8, 0x9100, 0x9200}
MPLS_TYPES = {0x8847, 0x8848}
TAGS = {0x8926: 4, 0x893F: 6, 0xDADA: 6, 0x892F: 4, 0xF1C1: 4, **dict.fromkeys(VLAN_TYPES, 2)}  # bytes before a type
FRAMES = {0x88E7: 4, 0x8903: 2, 0x6558: 0}  # bytes before an Ethernet frame
NEXT_HEADERS = {0, 4, 6, 17, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 88, 89, 97, 103, 108, 112, 115}
NEXT_HEADERS |= {132, 135, 136, 137, 139, 140, 143}
TRAILER_BYTES = 32


@dataclass(frozen=True)
class Found:
    """An IP header of `version` (0: none) at `at` of a frame that stops at `stop` (None: anywhere).

    `labelled`: the place of what MPLS labels carry that is no IP. `tags`: what tells tenants apart, outermost first.
    """

    version: int = 0
    at: int = 0
    stop: int | None = None
    labelled: bool = False
    tags: tuple[str, ...] = ()


NOTHING = Found()
Stop = int | None


def least(stop: Stop, other: int) -> int:
    return other if stop is None else min(stop, other)


def typed(kind: int, frame: bytes, at: int, stop: Stop, numbers: str = "") -> Found:
    """What an EtherType announces; `numbers` says what those up to 1500 are: "802.3" lengths, or "cooked"."""
    if kind == 0x0800:
        return Found(4, at, stop)
    if kind == 0x86DD:
        return Found(6, at, stop)
    if kind <= 1500 and numbers == "802.3":
        stop = least(stop, at + kind)
        return llc(frame[: max(stop, 0)], at, stop)
    if (kind == 4 and numbers == "cooked") or kind == 0x8870:
        return llc(frame, at, stop)
    if kind in TAGS:
        vlan = number(frame, at, 2) % 4096 if kind in VLAN_TYPES else 0
        at += TAGS[kind]
        return within(f"vlan {vlan}" if vlan else "", typed(number(frame, at, 2), frame, at + 2, stop, "802.3"))
    if kind in FRAMES:
        service = f"i-sid {number(frame, at, 4) % 2**24}" if kind == 0x88E7 else ""
        return within(service, ethernet(frame, at + FRAMES[kind], stop))
    if kind in MPLS_TYPES:
        return labelled(frame, at, stop)
    if kind == 0x8864:
        head = number(frame, at, 6)
        if head >> 32 != 0x1100:  # version 1, type 1, code 0: session data
            return NOTHING
        stop = least(stop, at + 6 + (head & 0xFFFF))
        return ppp(frame[:stop], at + 6, stop)
    if kind == 0x880B:
        return ppp(frame, at, stop)
    if kind == 0x894F:
        return nsh(frame, at, stop)
    return stating(kind, frame, at, stop)


def within(tag: str, found: Found) -> Found:
    """What was found behind a tag ("": one that tells nothing)."""
    return replace(found, tags=(tag, *found.tags)) if tag else found


def stating(kind: int, frame: bytes, at: int, stop: Stop) -> Found:
    """EtherTypes whose headers state their lengths."""
    if kind == 0x22F3:  # RFC 6325 section 3.3: options in words
        return ethernet(frame, at + 6 + 4 * (number(frame, at, 6) >> 38 & 0x1F), stop)
    if kind == 0xD28B:
        subtype, version = number(frame, at, 2), number(frame, at + 2, 2)
        if subtype != 1 or version >> 4 not in (1, 2):
            return NOTHING
        at += {1: 12, 2: 10}[version >> 4]
    elif kind == 0x8909:
        at += 2 + 4 * (number(frame, at, 2) & 0xFF)
    elif kind == 0x88E5:  # IEEE 802.1AE section 9: version 0, neither E nor C; with or without SCI
        control = number(frame, at, 6) >> 40
        if control & 0b10001100:
            return NOTHING
        at += 6 + 8 * (control >> 5 & 1)
        if number(frame, at, 2) <= 1500:
            return NOTHING
    else:
        return NOTHING
    return typed(number(frame, at, 2), frame, at + 2, stop, "802.3")


def ethernet(frame: bytes, at: int, stop: Stop) -> Found:
    """A whole Ethernet frame."""
    return typed(number(frame, at, 14) & 0xFFFF, frame, at + 14, stop, "802.3")


def llc(frame: bytes, at: int, stop: Stop) -> Found:
    """802.2, with SNAP or an IP of its own."""
    head = number(frame, at, 3)
    if head == 0x060603:
        return Found(4, at + 3, stop)
    if head == 0xFEFE03 and len(frame) > at + 3:
        return {0xCC: Found(4, at + 4, stop), 0x8E: Found(6, at + 4, stop)}.get(frame[at + 3], NOTHING)
    if head == 0xAAAA03 and number(frame, at, 8) >> 16 & 0xFFFFFF in (0, 0xF8):
        return typed(number(frame, at + 6, 2), frame, at + 8, stop)
    return NOTHING


def ppp(frame: bytes, at: int, stop: Stop) -> Found:
    """RFC 1661 section 6.5 and 6.6: fields may be compressed."""
    if frame[at : at + 2] == b"\xff\x03":
        at += 2
    size = 1 if number(frame, at, 1) & 1 else 2
    protocol, at = number(frame, at, size), at + size
    if protocol in (0x21, 0x57):
        return Found(4 if protocol == 0x21 else 6, at, stop)
    if protocol in (0x281, 0x283):
        return labelled(frame, at, stop)
    if protocol == 0x31 and number(frame, at, 2) & 0xFF == 1:
        return ethernet(frame, at + 2 + 4 * (frame[at] >> 7), stop)
    return NOTHING


def hdlc(frame: bytes, at: int, stop: Stop) -> Found:
    """Cisco's, or PPP."""
    if len(frame) - at >= 4 and frame[at] in (0x0F, 0x8F):
        return typed(number(frame, at + 2, 2), frame, at + 4, stop)
    return ppp(frame, at, stop)


def nsh(frame: bytes, at: int, stop: Stop) -> Found:
    """RFC 8300 section 2.2."""
    word = number(frame, at, 8) >> 32
    words = word >> 16 & 0x3F
    return NOTHING if word >> 30 or words < 2 else following(word & 0xFF, frame, at + 4 * words, stop)


def following(protocol: int, frame: bytes, at: int, stop: Stop) -> Found:
    """By a next protocol of RFC 8300."""
    if protocol in (1, 2):
        return Found(2 + 2 * protocol, at, stop)
    readers = {3: ethernet, 4: nsh, 5: labelled}
    return readers[protocol](frame, at, stop) if protocol in readers else NOTHING


# MPLS.


def after_labels(frame: bytes, at: int) -> int:
    """Where an MPLS label stack at `at` ends."""
    while number(frame, at, 4) & 0x100 == 0:
        at += 4
    return at + 4


def labelled(frame: bytes, at: int, stop: Stop) -> Found:
    """IP if the header, its checksum and its lengths say so; else something whose place is known."""
    at = after_labels(frame, at)
    version = number(frame, at, 1) >> 4
    packet, size = frame[at:], None if stop is None else stop - at
    if version in (4, 6) and len(packet) < {4: 20, 6: 40}[version] and (size is None or size > len(packet)):
        raise ShortError
    if version == 4 and right_ipv4(packet, size, checked=True):
        return Found(4, at, stop)
    if version == 6 and wire(frame, at, stop) is None and len(packet) >= 40 and packet[6] in NEXT_HEADERS:
        length = 40 + number(packet, 4, 2)
        if (size is None or length <= size) and (len(packet) if size is None else size) - length <= TRAILER_BYTES:
            return Found(6, at, stop)
    return Found(0, at, stop, labelled=True)


def right_ipv4(packet: bytes, size: Stop, *, checked: bool) -> bool:
    """Whether an IPv4 header says what agrees with `size` bytes on the wire (None: any number)."""
    if len(packet) < 8 or packet[0] >> 4 != 4:
        return False
    header, total = (packet[0] & 15) * 4, number(packet, 2, 2)
    if header < 20 or 0 < total < header or (size is not None and total > size):
        return False
    if not checked:
        return True
    if len(packet) < max(20, header):
        return False
    words = sum(int.from_bytes(packet[n : n + 2], "big") for n in range(0, header, 2))
    return words > 0 and words % 0xFFFF == 0


def wire(frame: bytes, at: int, stop: Stop) -> int | None:
    """Where the Ethernet frame of a pseudowire begins, after a control word at `at` or there."""
    if frame[at : at + 2] == b"\0\0" and holds_ip(frame, at + 4, stop):
        return at + 4
    if frame[at : at + 1] and frame[at] >> 4 != 1 and holds_ip(frame, at, stop):
        return at
    return None


def holds_ip(frame: bytes, at: int, stop: Stop) -> bool:
    """Whether Ethernet at `at`, with VLAN tags or without, announces an IP header that is there."""
    at += 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8", b"\x91\x00"):
        at += 4
    packet = frame[at + 2 :]
    size = None if stop is None else stop - at - 2
    if len(packet) < 20:
        return False
    if frame[at : at + 2] == b"\x08\x00":
        return right_ipv4(packet, size, checked=False)
    there = size is None or 40 + number(packet, 4, 2) <= size
    return frame[at : at + 2] == b"\x86\xdd" and packet[0] >> 4 == 6 and there


# Wireless.


def wifi(frame: bytes, at: int, stop: Stop, *, fcs: bool = False, bad: bool = False, padded: bool = False) -> Found:
    """IEEE 802.11: the first packet of a data frame that is whole, and neither empty nor encrypted."""
    control = number(frame, at, 2)
    kind, flags = control >> 8, control & 0xFF
    if bad or kind & 0b01001111 != 0b1000:  # version 0, data, not null
        return NOTHING
    size = 24 + (6 if flags & 0b11 == 0b11 else 0)
    number(frame, at, size)
    if frame[at + 22] & 0x0F:
        return NOTHING
    service = number(frame, at + size, 2) if kind & 0x80 else 0
    if kind & 0x80:
        size += 6 if flags & 0x80 else 2
    if padded:
        size = (size + 3) // 4 * 4
    begin = at + size
    protected = flags & 0x40 != 0
    if fcs and stop is not None:
        stop -= 4
    if service & 0x8000:
        if protected:
            return NOTHING
        whole = frame if stop is None or not fcs else frame[:stop]
        stop = least(stop, begin + 14 + number(whole, begin, 14) % 65536)
        begin += 14
    else:
        moved = carried(frame, begin, protected, mesh=service & 1 != 0)
        if moved is None:
            return NOTHING
        begin = moved
    shown = frame if stop is None else frame[:stop]
    found = llc(shown, begin, stop)
    if found.version and flags & 4 and found.stop is not None:  # the first fragment of a packet
        return replace(found, stop=max(found.stop, ends(shown, found)))
    return found


def ends(frame: bytes, found: Found) -> int:
    """Where the packet found ends by its own account, or 0."""
    head = frame[found.at : found.at + 6]
    length = {4: head[2:4], 6: head[4:6]}[found.version]
    size = int.from_bytes(length, "big") + (40 if found.version == 6 else 0)
    return found.at + size if len(head) == 6 and size else 0


def carried(frame: bytes, begin: int, protected: bool, mesh: bool) -> int | None:
    """Where what a data frame carries begins; None where it cannot be read."""

    def snap(at: int) -> bool:
        return len(frame) >= at + 8 and frame[at : at + 5] == b"\xaa\xaa\x03\0\0"

    if snap(begin):
        return begin
    if snap(begin + 2):
        return begin + 2
    if protected:
        return begin + 8 if snap(begin + 8) else None
    if mesh and len(frame) >= begin + 6:
        beyond = begin + 6 * (1 + frame[begin] % 4)
        return beyond if snap(beyond) else begin
    return begin


def radiotap(frame: bytes, at: int, stop: Stop) -> Found:
    """The fields that can stand before the flags are the words that say which there are, and a time."""
    number(frame, at, 8)
    size = int.from_bytes(frame[at + 2 : at + 4], "little")
    words = [int.from_bytes(frame[at + 4 : at + 8], "little")]
    while words[-1] >> 31:
        field = at + 4 + 4 * len(words)
        number(frame, field, 4)
        words.append(int.from_bytes(frame[field : field + 4], "little"))
    flags = 0
    if words[0] & 2:
        place = 4 + 4 * len(words)
        if words[0] & 1:
            place = (place + 7) // 8 * 8 + 8
        flags = number(frame, at + place, 1)
    if at + size > len(frame):
        raise ShortError
    return wifi(frame, at + size, stop, fcs=flags & 0x10 != 0, bad=flags & 0x40 != 0, padded=flags & 0x20 != 0)


def prism(frame: bytes, at: int, stop: Stop) -> Found:
    """144 bytes in either order, or as many as an AVS header says."""
    number(frame, at, 8)
    big, little = (int.from_bytes(frame[at + 4 : at + 8], order) for order in ("big", "little"))  # type: ignore[arg-type]
    avs = frame[at : at + 3] == b"\x80\x21\x10" and frame[at + 3] >> 4 == 0
    size = big if avs or little >= 65536 else little
    if at + size > len(frame):
        raise ShortError
    return wifi(frame, at + size, stop)


# Others.


def nflog(frame: bytes, stop: Stop) -> Found:
    """Fields of (length, type) in the order of the capturing host; the payload may be cut, and says nothing of that."""
    number(frame, 0, 4)
    version = {2: 4, **dict.fromkeys((10, 23, 24, 26, 28, 30), 6)}.get(frame[0], 0)
    at, ether_type = 4, 0
    while True:
        number(frame, at, 4)
        order = "big" if frame[at + 2] == 0 else "little"
        size, what = (int.from_bytes(frame[n : n + 2], order) for n in (at, at + 2))  # type: ignore[arg-type]
        if size < 4:
            return NOTHING
        value = frame[at + 4 : at + size]
        if what % 0x4000 == 1 and len(value) >= 2:
            ether_type = number(value, 0, 2)
        if what % 0x4000 == 9:
            end = min(len(frame), at + size)
            if version:
                whole = ends(frame[:end], Found(version, at + 4))
                return Found(version, at + 4, max(end, whole))
            return typed(ether_type, frame[:end], at + 4, end) if ether_type and frame[0] != 3 else NOTHING
        at += (size + 3) // 4 * 4


def ring(frame: bytes, stop: Stop, *, token: bool) -> Found:
    """FDDI or token ring."""
    at = 14 if token else 13
    number(frame, 0, at)
    if (token and frame[1] >> 6 != 1) or (not token and frame[0] >> 4 & 3 != 1):
        return NOTHING
    if token and frame[8] & 0x80:
        at += number(frame, at, 1) % 32
    return llc(frame, at, stop)


def frame_relay(frame: bytes, at: int, stop: Stop) -> Found:
    """RFC 2427, or Cisco's."""
    size = next((n + 1 for n, octet in enumerate(frame[at : at + 4]) if octet & 1), min(4, max(len(frame) - at, 0)) + 1)
    at += size
    number(frame, at, 3)
    if frame[at] != 3:
        return typed(number(frame, at, 2), frame, at + 2, stop)
    at += 2 if frame[at + 1] == 0 else 1
    kind = number(frame, at, 1)
    if kind in (0xCC, 0x8E):
        return Found(4 if kind == 0xCC else 6, at + 1, stop)
    if kind != 0x80:
        return NOTHING
    name = number(frame, at + 1, 5)
    if name >> 16 == 0:
        return typed(name & 0xFFFF, frame, at + 6, stop)
    bridged = name >> 16 == 0x0080C2 and name & 0xFF in (1, 7)
    return ethernet(frame, at + 6, stop) if bridged else NOTHING


JUNIPER_PROTOCOLS = {2: 4, 3: 4, 6: 6, 7: 6}


def juniper(link_type: int, frame: bytes, stop: Stop) -> Found:
    """The magic MGC, flags, extensions; then the link layer, or a protocol's number."""
    number(frame, 0, 6)
    if frame[:3] != b"MGC":
        return NOTHING
    at = 6 + number(frame, 4, 2) if frame[3] & 0x80 else 4
    if frame[3] & 2:
        number(frame, at, 4)
        protocol, at = int.from_bytes(frame[at : at + 4], "little"), at + 4
        if protocol in JUNIPER_PROTOCOLS:
            return Found(JUNIPER_PROTOCOLS[protocol], at, stop)
        readers = {4: labelled, 5: labelled, 8: labelled, 204: ethernet, 202: llc, 203: llc, 200: ppp, 208: hdlc}
        return readers[protocol](frame, at, stop) if protocol in readers else NOTHING
    if link_type in (178, 167):
        return ethernet(frame, at, stop)
    return hdlc(frame, at, stop) if link_type in (179, 181) else NOTHING


def unlabelled(found: Found, frame: bytes, stop: Stop) -> Found:
    """What `found` is once pseudowires are looked into: it may be Ethernet behind labels."""
    if not found.labelled:
        return found
    place = wire(frame, found.at, stop)
    if place is None:
        return NOTHING
    inside = ethernet(frame, place, None)
    return replace(inside, stop=found.stop, tags=(*found.tags, *inside.tags))
