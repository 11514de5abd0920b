"""Random packets under the headers of every link type that is read."""

from __future__ import annotations

from tests.twins import writing
from tests.twins import writing_links as write
from tests.twins import writing_tunnels as tunnels
from tests.twins.choosing import Chooser

FAMILIES = {4: (2,), 6: (10, 23, 24, 26, 28, 30)}
ETHERNET_LIKE = (1, 113, 276, 138, 281, 284, 285)  # a header that ends in an EtherType, or nearly
LINK_TYPES = (
    *ETHERNET_LIKE,
    *(12, 14, 101, 226, 228, 229, 0, 108, 109, 9, 50, 51, 104, 166, 204, 205, 219),
    *(6, 10, 100, 107, 117, 122, 206, 239, 240, 241, 258, 259, 282, 178, 179, 133),
    *(105, 119, 127, 163, 192),
)


def under_link(c: Chooser, link_type: int, version: int, packet: bytes) -> bytes:
    """The packet under the headers of a link type."""
    ethertype = 0x0800 if version == 4 else 0x86DD
    if link_type in (12, 14, 101, 228, 229):
        return packet
    if link_type == 226:
        return bytes(24) + packet
    if link_type in (9, 50, 51, 104, 166, 204, 205):
        return under_ppp(c, link_type, version, packet)
    if link_type == 219:
        return make_labelled(c, packet)
    if link_type in (0, 108, 109):
        order = "big" if link_type == 108 else c.pick(("little", "big"))
        family = c.pick((*FAMILIES[version], ethertype, 7))
        head = family.to_bytes(4, "big") if order == "big" else family.to_bytes(4, "little")
        return head + (bytes(8) if link_type == 109 else b"") + packet
    if link_type in ETHERNET_LIKE:
        return typed_link(c, link_type, *make_typed(c, version, packet))
    if link_type in (105, 119, 127, 163):
        return under_wireless(c, link_type, version, packet)
    if link_type == 192:
        inside = c.pick((105, 105, 1, 101, 127))
        return write.ppi(under_link(c, inside, version, packet), inside, c.pick((None, 0, 1, 5)))
    if link_type == 258:
        inside = c.pick((1, 12, 0, 258, 9999, 192))
        known = inside in LINK_TYPES and inside != 258
        return write.pktap(under_link(c, inside, version, packet) if known else packet, inside, c.pick((108, 12, 156)))
    return under_other(c, link_type, version, packet)


def under_ppp(c: Chooser, link_type: int, version: int, packet: bytes) -> bytes:
    """PPP and Cisco's HDLC, each of which may stand where the other should."""
    protocol = b"\0\x21" if version == 4 else b"\0\x57"
    kind = c.pick(("ip", "ip", "short", "mpls", "bridged", "other"))
    if kind == "short":
        protocol = protocol[1:]
    elif kind == "mpls":
        protocol, packet = c.pick((b"\2\x81", b"\2\x83")), make_labelled(c, packet)
    elif kind == "bridged":
        lan = c.pick((b"", bytes(4)))
        protocol, packet = (
            b"\0\x31",
            (b"\x80\1" if lan else b"\0\1") + lan + write.frame(*make_typed(c, version, packet)),
        )
    elif kind == "other":
        protocol = c.pick((b"\xc0\x21", b"\0\x3d", b"\x80\x21", b"\0\xfd"))
    if link_type == 51:
        size = max(0, len(protocol + packet) + c.pick((0, 0, 0, -6, 9, -99)))
        return b"\x11\0\0\7" + size.to_bytes(2, "big") + protocol + packet
    if link_type in (104, 205) or c.integer(0, 3) == 3:
        kind_, packet = make_typed(c, version, packet)
        whole = c.pick((b"\x0f\0", b"\x8f\0")) + kind_.to_bytes(2, "big") + packet
        if link_type == 104 and c.integer(0, 3) == 3:
            whole = b"\xff\x03" + protocol + packet
    else:
        whole = c.pick((b"", b"\xff\x03")) + protocol + packet
    if link_type in (204, 205):
        return c.pick((b"\0", b"\1")) + whole
    return c.pick((b"\0\x03", b"\1\x03")) + whole if link_type == 166 else whole


def typed_link(c: Chooser, link_type: int, ethertype: int, packet: bytes) -> bytes:
    """A frame whose header ends in an EtherType, behind VLAN tags at times."""
    tags = [(c.pick((0x8100, 0x88A8, 0x9100)), c.integer(0, 65_535)) for _ in range(c.pick((0, 0, 1, 2, 3)))]
    if link_type in (1, 285, 281, 284):
        if c.pick((False, False, True)):
            packet = writing.snap(packet, ethertype)
            ethertype = min(len(packet), 1500) - c.pick((0, 0, 0, min(9, len(packet))))
        elif c.integer(0, 9) == 9:
            packet = c.pick((b"\x42\x42\x03", b"\x06\x06\x03", b"\xfe\xfe\x03\xcc", b"\xaa\xaa\x03\0\0\x0c")) + packet
            ethertype = min(len(packet), 1500)
        whole = writing.ethernet(packet, ethertype, tags)
        return whole if link_type in (1, 285) else whole[:12] + b"\x40\x01\x02\x03" + whole[12:]
    if tags:
        ethertype, packet = tags[0][0], writing.tagged(ethertype, tags)[2:] + packet
    if link_type == 138:
        return bytes(16) + ethertype.to_bytes(2, "big") + packet
    return writing.sll(packet, ethertype) if link_type == 113 else writing.sll2(packet, ethertype)


def make_typed(c: Chooser, version: int, packet: bytes, depth: int = 0) -> tuple[int, bytes]:
    """An EtherType and what it announces: the packet, at times behind a tag or another header."""
    ethertype = 0x0800 if version == 4 else 0x86DD
    kind = c.pick(("ip", "ip", "ip", "ip", "mpls", "mpls", "pppoe", "pppoe", "tag", "tag", "tag", "other"))
    if kind == "mpls":
        return c.pick((0x8847, 0x8848)), make_labelled(c, packet)
    if kind == "pppoe":
        protocol = c.pick((0x21, 0x57)) if c.integer(0, 9) == 9 else 0x21 if version == 4 else 0x57
        whole = writing.pppoe(packet, protocol, c.pick((0, 0, 0, 0, 0, 0xA7)))
        if c.integer(0, 2) == 2:  # a length that is too long or short
            whole = whole[:4] + max(0, len(packet) + 2 + c.pick((4, -1, -9, -40))).to_bytes(2, "big") + whole[6:]
        return 0x8864, whole
    if kind == "other":
        return c.pick((0x0806, 0x88CC, 0x05DC, 0x05FF, 0x0004, 0x8892)), packet
    if kind == "tag" and depth < 3:
        return make_tagged(c, version, *make_typed(c, version, packet, depth + 1))
    return ethertype, packet


def make_tagged(c: Chooser, version: int, ethertype: int, packet: bytes) -> tuple[int, bytes]:
    """An EtherType and its payload behind one header more."""
    kind = c.pick(("tag", "tag", "frame", "frame", "trill", "time", "metadata", "macsec", "nsh", "ppp", "llc"))
    if kind == "tag":
        outer, size = c.pick(((0x8926, 4), (0x893F, 6), (0xDADA, 6), (0x892F, 4), (0xF1C1, 4), (0x9200, 2)))
        return write.tag(outer, b"\x40" * size, ethertype, packet)
    if kind == "frame":
        outer, size = c.pick(((0x88E7, 4), (0x8903, 2), (0x6558, 0)))
        return write.in_frame(outer, bytes(size), ethertype, packet)
    if kind == "trill":
        return write.trill(ethertype, packet, c.pick((0, 0, 2)))
    if kind == "time":
        return write.arista(ethertype, packet, c.pick((0x10, 0x11, 0x20, 0x21, 0x30)), c.pick((1, 1, 1, 2)))
    if kind == "metadata":
        return write.metadata(ethertype, packet, c.pick((1, 1, 0, 2)))
    if kind == "macsec":
        return write.macsec(ethertype, packet, c.pick((0, 0x20, 0x43, 0x0C, 0x2C, 0x80)))
    if kind == "ppp":
        return 0x880B, c.pick((b"", b"\xff\x03")) + (b"\x21" if version == 4 else b"\0\x57") + packet
    if kind == "llc":
        return 0x8870, c.pick((writing.snap(packet, ethertype), write.llc_ip(packet, version, c.pick((False, True)))))
    what = c.pick((version // 2 - 1, 3, 4, 5, 6))
    carried = {3: write.frame(ethertype, packet), 5: make_labelled(c, packet)}.get(what, packet)
    if what == 4:
        carried = tunnels.nsh(packet, version // 2 - 1, 2)
    return 0x894F, tunnels.nsh(carried, what, c.pick((2, 6, 6, 1)), c.pick((0, 0, 0, 1)))


def make_labelled(c: Chooser, packet: bytes) -> bytes:
    """MPLS labels, and after them the packet, or a pseudowire with a control word or without, of odd addresses."""
    labels = [c.integer(0, 2**20 - 1) for _ in range(c.integer(1, 3))]
    packet = c.pick((write.summed, write.summed, write.summed, bytes))(packet)
    if c.integer(0, 3) == 3:
        first = c.pick((b"", b"", b"\x45\0", b"\x60\0\0\0", b"\x48\xdf", b"\x10"))
        frame = write.frame(0x0800 if packet[:1] and packet[0] >> 4 == 4 else 0x86DD, packet)
        packet = c.pick((b"", bytes(4), b"\0\0\x12\x34")) + first + frame[len(first) :]
    return writing.mpls(packet, labels)


def under_wireless(c: Chooser, link_type: int, version: int, packet: bytes) -> bytes:
    """An 802.11 frame, nearly always of data, behind the header of its link type."""
    carried = writing.snap(packet, 0x0800 if version == 4 else 0x86DD)
    if c.integer(0, 5) == 5:
        ethertype, packet = make_typed(c, version, packet)
        carried = writing.snap(packet, ethertype)
    quality = c.pick((None, None, 0, 5, 0x100, 0x80))
    if quality == 0x80:
        others = b"".join(
            write.subframe(bytes(c.integer(0, 9)), last=c.pick((False, True))) for _ in range(c.integer(0, 3))
        )
        carried = write.subframe(carried) + others
    elif quality == 0x100 and c.integer(0, 1):
        carried = c.pick((bytes(6), b"\1" + bytes(11), b"\2" + bytes(17))) + carried
    protected = c.integer(0, 5) == 5
    if protected and c.integer(0, 1):
        carried = bytes(8) + carried
    frame = write.data_frame(
        carried,
        quality=quality,
        ends=c.integer(0, 3),
        order=c.integer(0, 4) == 4,
        protected=protected,
        fragment=c.pick((0, 0, 0, 0, 0, 1)),
        more=c.integer(0, 9) == 9,
        kind=c.pick((8, 8, 8, 8, 8, 8, 0, 4, 0x48, 9)),
        pad=c.pick((0, 0, 0, 2)),
    )
    if link_type == 127:
        flags = c.pick((None, 0, 0x10, 0x20, 0x40, 0x50))
        frame += b"\xfc" * 4 if flags is not None and flags & 0x10 else b""
        return write.radiotap(frame, flags, c.pick((False, True)), c.pick((1, 1, 2, 3)), c.integer(0, 9))
    if link_type == 105:
        return frame
    return c.pick((write.prism, write.avs))(frame)


def under_other(c: Chooser, link_type: int, version: int, packet: bytes) -> bytes:
    """Link types of few."""
    ethertype = 0x0800 if version == 4 else 0x86DD
    llc = c.pick((writing.snap(packet, ethertype), writing.snap(packet, ethertype), write.llc_ip(packet, version)))
    if link_type == 10:
        return write.fddi(llc, c.pick((0x50, 0x57, 0x50, 0x41)))
    if link_type == 6:
        return write.token_ring(llc, c.pick((0x40, 0x40, 0)), c.pick((0, 0, 2, 6)))
    if link_type in (100, 122):
        return bytes(16 if link_type == 122 else 0) + llc
    if link_type in (107, 206):
        address = c.pick((b"\x18\x41", b"\x18\x41", b"\x18\x40\x40\x41"))
        whole = write.frame_relay(packet, version, c.pick(("id", "snap", "bridged", "cisco", "other")), address)
        return whole if link_type == 107 else b"\0" + whole
    if link_type == 117:
        return write.pflog(packet, c.pick((*FAMILIES[version], 7)), c.pick((61, 48, 100)))
    if link_type == 239:
        family = c.pick((FAMILIES[version][0], FAMILIES[version][0], 7, 3))
        shown = packet[: c.pick((9999, 9999, 60, 3))]
        return write.nflog(shown, family, c.pick((ethertype, 0)), c.pick(("<", ">")), c.pick((9, 9, 9, 0x4009, 8)))
    frame = write.frame(*make_typed(c, version, packet))
    if link_type in (240, 241, 259, 282):
        return bytes({240: 4, 241: 12, 259: 8, 282: 4}[link_type]) + frame
    extension = c.pick((None, b"", b"\1\1\0"))
    protocol = c.pick((None, None, *({4: (2, 3), 6: (6, 7)}[version]), 4, 200, 204, 202, 208, 9))
    if protocol is not None:
        carried = {4: make_labelled(c, packet), 204: frame, 202: llc, 200: b"\xff\x03\0\x21" + packet}
        return write.juniper(carried.get(protocol, packet), 0, extension, protocol)
    if link_type == 179:
        return write.juniper(under_ppp(c, 9, version, packet), c.pick((0, 1)), extension)
    return write.juniper(frame, c.pick((0, 1)), extension)
