"""Random frames and captures for a decoder: every link type it reads; whole, cut, lying or mutated."""

from __future__ import annotations

from dataclasses import dataclass

from tests.twins import writing
from tests.twins import writing_tunnels as tunnels
from tests.twins.choosing import Chooser
from tests.twins.linked_frames import LINK_TYPES, make_labelled, under_link, under_wireless
from tests.twins.writing import Captured

PORTS = (80, 0, 443, 1024, 53, 65_535)


@dataclass(frozen=True)
class Frame:
    """A frame as captured, which may be less than the wire carried."""

    link_type: int
    wire_bytes: int
    captured: bytes


def make_transport(c: Chooser) -> tuple[int, bytes]:
    """A protocol number and bytes that may be its header and payload."""
    payload = bytes(c.pick((0, 1, 7, 100, 1400)))
    ports = (c.pick(PORTS), c.pick(PORTS))
    protocol = c.pick((6, 6, 17, 132, 136, 33, 1, 58, 50, 59, 4, 41, 47))
    if protocol == 6:
        numbers = (c.pick((0, 1, 2**32 - 1)), c.pick((0, 2**31)))
        segment = writing.tcp(
            *ports,
            seq=numbers[0],
            ack=numbers[1],
            data_offset=c.pick((5, 8, 15, 0, 4)),
            flags=c.integer(0, 255),
            window=c.pick((0, 65_535)),
            payload=payload,
        )
        return protocol, segment
    if protocol == 33:
        return protocol, writing.udp(*ports)[:4] + bytes([c.pick((4, 3, 0, 255))]) + bytes(11) + payload
    return protocol, writing.udp(*ports, payload=payload)


def make_bridged(c: Chooser, depth: int) -> bytes:
    """An Ethernet frame in a tunnel."""
    version, packet = make_packet(c, depth)
    return under_link(c, 1, version, packet) + bytes(c.pick((0, 0, 4)))


def make_packet(c: Chooser, depth: int) -> tuple[int, bytes]:
    """An IP version and a packet that a tunnel carries, now and then with a header that lies."""
    version, flawed = c.pick((4, 6)), c.integer(0, 9) == 9
    return version, make_ipv4(c, flawed, depth) if version == 4 else make_ipv6(c, flawed, depth)


def make_tunnel(c: Chooser, depth: int) -> tuple[int, bytes]:
    """A protocol number and a tunnel's header with what it carries; `depth`: how many were around it."""
    kind = c.pick(
        ("ip", "ip", "vxlan", "geneve", "gre", "erspan", "gtp", "ethernet", "pptp", "other", "other", "other")
    )
    if kind == "other":
        return make_other_tunnel(c, depth)
    if kind == "vxlan":
        return 17, writing.vxlan(make_bridged(c, depth), c.pick((8, 8, 8, 0x88, 0)), c.pick((4789, 8472)))
    if kind == "erspan":
        type_, frame_type = c.pick((1, 2, 3)), c.pick((0, 0, 2, 1))
        carried = make_bridged(c, depth) if type_ < 3 or frame_type == 0 else make_packet(c, depth)[1]
        return 47, writing.erspan(carried, type_, frame_type, c.pick((False, True)))
    if kind == "ethernet":
        return 143, make_bridged(c, depth)
    version, packet = make_packet(c, depth)
    ethertype = 0x0800 if version == 4 else 0x86DD
    if kind in ("geneve", "gre") and c.integer(0, 3) == 3:
        ethertype, packet = 0x6558, make_bridged(c, depth)
    elif kind in ("geneve", "gre") and c.integer(0, 4) == 4:
        ethertype, packet = 0x8847, make_labelled(c, packet)
    if kind == "geneve":
        return 17, writing.geneve(packet, ethertype, c.pick((0, 1, 63)), c.pick((0, 0, 0, 1)))
    if kind == "gre":
        return 47, writing.gre(packet, ethertype, c.pick((0, 0x8000, 0x2000, 0x3000, 0xB000, 0x4000, 2)))
    if kind == "pptp":
        field = c.pick((b"\0\x21", b"\x21") if version == 4 else (b"\0\x57", b"\x57"))
        return 47, writing.gre(c.pick((b"", b"\xff\x03")) + field + packet, 0x880B, c.pick((0x3001, 0x3081, 0x2001)))
    if kind == "gtp":
        flags, extensions = c.pick(((0x30, ()), (0x32, ()), (0x34, (1, 2)), (0x36, (1,)), (0x34, (1, 0)), (0x50, ())))
        return 17, writing.gtp_u(packet, flags, c.pick((255, 255, 255, 1)), extensions)
    return (4 if version == 4 else 41), packet


def make_wireless_tunnel(c: Chooser, version: int, packet: bytes, frame: bytes, kind: str) -> tuple[int, bytes]:
    """GRE or CAPWAP between access points and their controllers, mostly with 802.11 frames."""
    wireless = under_wireless(c, 105, version, packet)
    if c.integer(0, 2) == 2:
        wireless = wireless[1::-1] + wireless[2:]
    if kind == "aruba":
        return tunnels.aruba(wireless, c.pick((0x8200, 0x8370, 0x8380, 0x8201)))
    native = c.integer(0, 2) > 0
    return tunnels.capwap(
        wireless if native else frame,
        native=native,
        words=c.pick((2, 2, 4, 31)),
        binding=c.pick((1, 1, 1, 0)),
        offset=c.pick((-1, -1, 0, 5)),
        alive=c.integer(0, 9) == 9,
        first=c.pick((0, 0, 0, 0, 1, 0x10)),
    )


def make_other_tunnel(c: Chooser, depth: int) -> tuple[int, bytes]:
    """One of the rarer tunnels, at times with a field that it must not have."""
    version, packet = make_packet(c, depth)
    protocol, ether_type = (4, 0x0800) if version == 4 else (41, 0x86DD)
    frame = make_bridged(c, depth)
    kind = c.pick(
        (
            "gpe",
            "gpe",
            "gre",
            "mpls",
            "gtp",
            "teredo",
            "ayiya",
            "lisp",
            "gue",
            "l2tp",
            "etherip",
            "pim",
            "wccp",
            "aruba",
            "capwap",
        )
    )
    if kind in ("aruba", "capwap"):
        return make_wireless_tunnel(c, version, packet, frame, kind)
    if kind == "gpe":
        what = c.pick((version // 2 - 1, 3, 5, 4, 4, 0))
        carried = {
            3: frame,
            5: make_labelled(c, packet),
            4: tunnels.nsh(packet, version // 2 - 1, c.pick((2, 6))),
        }
        return tunnels.vxlan_gpe(carried.get(what, packet), what, c.pick((0x0C, 0x0C, 0x04, 0x08, 0x1C)))
    if kind == "gre":
        return tunnels.gre_in_udp(packet, ether_type)
    if kind == "mpls":
        labelled = make_labelled(c, packet)
        return c.pick(((17, writing.udp(1, 6635, payload=labelled)), (137, labelled)))
    if kind == "gtp":
        return tunnels.gtp_0(packet, c.pick((0x1E, 0x1F, 0x1C, 0x3E)), c.pick((255, 255, 1)))
    if kind == "teredo":
        origin, answering = c.pick((False, True)), c.pick((False, True))
        return tunnels.teredo(packet, origin=origin, authentication=c.pick((-1, 0, 4)), answering=answering)
    if kind == "ayiya":
        return tunnels.ayiya(
            packet, c.pick((protocol, protocol, 59)), c.pick((0, 4)), c.pick((0, 5)), c.pick((1, 1, 2))
        )
    if kind == "lisp":
        return tunnels.lisp(packet)
    if kind == "gue":
        first = c.pick((0, 0, 0, 0x20, 0x80))
        return (
            tunnels.gue(packet, protocol, c.pick((0, 1, 31)), first)
            if c.integer(0, 3)
            else (17, writing.udp(1, 6080, payload=c.pick((packet, b"\x40" + packet))))
        )
    if kind == "l2tp":
        field = c.pick((b"\xff\x03\0", b"\0", b"")) + (b"\x21" if version == 4 else b"\x57")
        return tunnels.l2tp(field + packet, c.pick((2, 0x4002, 0x0802, 0x4A02, 0xC802, 3)), c.pick((0, 3)))
    if kind == "wccp":
        return tunnels.wccp(packet, c.pick((1, 2)))
    return (
        tunnels.etherip(frame, c.pick((3, 3, 4))) if kind == "etherip" else tunnels.pim_register(packet, c.pick((1, 0)))
    )


def make_routed(c: Chooser, protocol: int, payload: bytes) -> tuple[int, bytes]:
    """A segment routing header in front of a payload, at times one that lies."""
    segments = [bytes([0xFC, c.integer(0, 2), *bytes(13), n]) for n in range(c.pick((1, 2, 3, 3, 8)))]
    last = c.pick((None, None, None, None, 0, 200))
    left = c.pick((0, len(segments) - 1, len(segments), 255))
    return 43, writing.srh(protocol, segments, left, last, c.pick((0, 0, 1))) + payload


def make_ipv4(c: Chooser, flawed: bool, depth: int = 0) -> bytes:
    """An IPv4 packet, at times a fragment or a tunnel's; if `flawed`, with one field that lies."""
    protocol, payload = make_tunnel(c, depth + 1) if depth < 3 and c.integer(0, 2) == 2 else make_transport(c)
    for _ in range(c.pick((0, 0, 0, 0, 1, 2))):
        protocol, payload = 51, writing.authentication(protocol, c.pick((4, 1, 0, 20))) + payload
    flaw = c.pick(("length", "length", "version", "words")) if flawed else ""
    return writing.ipv4(
        payload,
        protocol,
        src=bytes([10, c.integer(0, 3), 0, 1]),
        tos=c.integer(0, 255),
        identification=c.pick((0, 1, 65_535)),
        more_fragments=c.pick((False, False, False, True)),
        fragment_offset=c.pick((0, 0, 0, 0, 0, 8, 1480, 65_528)),
        option_words=c.pick((0, 0, 1, 10)),
        total_length=c.pick((0, 19, 20, 21, 28, 33, 40, 65_535)) if flaw == "length" else None,
        version=c.pick((6, 0, 15)) if flaw == "version" else 4,
        header_words=c.pick((4, 0, 15)) if flaw == "words" else None,
    )


def make_ipv6(c: Chooser, flawed: bool, depth: int = 0) -> bytes:
    """An IPv6 packet with up to 4 extension headers; if `flawed`, with one field that lies."""
    header, payload = make_tunnel(c, depth + 1) if depth < 3 and c.integer(0, 2) == 2 else make_transport(c)
    if c.integer(0, 3) == 3:
        header, payload = make_routed(c, header, payload)
    for _ in range(c.pick((0, 0, 0, 1, 2, 3, 4))):
        kind = c.pick((0, 60, 43, 44, 51, 135, 139, 140))
        if kind == 44:
            offset = c.pick((0, 0, 0, 8, 1448, 65_528))
            more = c.pick((False, True))
            payload = writing.fragment_header(header, offset, more, c.pick((7, 2**32 - 1))) + payload
        elif kind == 51:
            payload = writing.authentication(header, c.pick((4, 1, 0, 20))) + payload
        else:
            jumbo = b"\xc2\x04" + c.pick((70_000, len(payload) + 8, 0, 2**32 - 1)).to_bytes(4, "big")
            content = c.pick((b"", jumbo, b"\x00" + jumbo, b"\x01\x02\x00\x00" + jumbo, b"\x05\xff"))
            payload = writing.extension(header, c.pick((0, 1, 2, 40)), content if flawed else b"") + payload
        header = kind
    flaw = c.pick(("length", "length", "version")) if flawed else ""
    return writing.ipv6(
        payload,
        header,
        src=b"\x20\x01\x0d\xb8" + bytes(11) + bytes([c.integer(0, 3)]),
        tos=c.integer(0, 255),
        payload_length=c.pick((0, 0, 1, 8, 20, 65_535)) if flaw == "length" else None,
        version=c.pick((4, 0)) if flaw == "version" else 6,
    )


def make_frame(c: Chooser, link_type: int | None = None, *, sound: bool = False) -> Frame:
    """A frame of one of the link types that are decoded, padded at times.

    Unless it must be `sound` it may have a header that lies, be cut by a snap length, or be mutated.
    """
    chosen = c.pick(LINK_TYPES) if link_type is None else link_type
    version = {228: 4, 229: 6}.get(chosen) or c.pick((4, 6))
    flawed = not sound and c.integer(0, 3) == 0
    packet = make_ipv4(c, flawed) if version == 4 else make_ipv6(c, flawed)
    frame = under_link(c, chosen, version, packet) + bytes(c.pick((0, 0, 4, 26)))
    wire_bytes = len(frame)
    if not sound and c.integer(0, 3) == 0:
        frame = frame[: c.integer(0, min(len(frame), 130))]
    if not sound and c.integer(0, 5) == 0:
        frame = mutated(c, frame, longer=False)
    return Frame(chosen, wire_bytes, frame)


TSRESOLS = (None, 6, 9, 3, 0, 12, 19, 0x80 | 10, 0x80 | 30, 0x80 | 63)


def mutated(c: Chooser, data: bytes, *, longer: bool = True) -> bytes:
    """The data with a few bytes changed, cut off, taken out or (if `longer`) put in."""
    for _ in range(c.integer(1, 4)):
        at = c.integer(0, max(0, len(data) - 1))
        kind = c.pick(("change", "change", "change", "cut", "take", "put"))
        if kind == "change" and data:
            data = data[:at] + bytes([c.integer(0, 255)]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at]
        elif kind == "take":
            data = data[:at] + data[at + c.integer(1, 8) :]
        elif kind == "put" and longer:
            data = data[:at] + bytes(c.integer(1, 8)) + data[at:]
    return data


def make_pcap(c: Chooser, most_frames: int = 8) -> bytes:
    """A whole pcap file of any of the four magics."""
    link_type = c.pick(LINK_TYPES)
    nanoseconds = c.pick((False, True))
    frames: list[Captured] = []
    for _ in range(c.integer(0, most_frames)):
        frame = make_frame(c, link_type)
        ticks = c.pick((1_700_000_000, 0, 2**32 - 1)) * 10 ** (9 if nanoseconds else 6) + c.integer(0, 999_999)
        frames.append(Captured(ticks, frame.wire_bytes, frame.captured))
    return writing.pcap(frames, link_type, order=c.pick(("<", ">")), nanoseconds=nanoseconds)


def make_pcapng(c: Chooser, most_frames: int = 8) -> bytes:
    """A whole pcapng file of 1 to 3 sections: interfaces, packet blocks of 3 kinds, and other blocks."""
    return b"".join(make_section(c, most_frames) for _ in range(c.pick((1, 1, 2, 3))))


def make_section(c: Chooser, most_frames: int) -> bytes:
    """A section; interfaces may be described between packets."""
    order = c.pick(("<", ">"))
    out = writing.section_block(order)
    link_types: list[int] = []
    units: list[int] = []
    snap_bytes = c.pick((0, 65_535, 64))
    for _ in range(c.integer(0, most_frames)):
        if not link_types or c.integer(0, 4) == 0:
            tsresol = c.pick(TSRESOLS)
            link_types.append(c.pick(LINK_TYPES))
            units.append(10**6 if tsresol is None else (2 if tsresol & 0x80 else 10) ** (tsresol & 0x7F))
            offset_s = c.pick((None, 0, -3600, 10**6))
            out += writing.interface_block(order, link_types[-1], snap_bytes, tsresol=tsresol, tsoffset_s=offset_s)
        if c.integer(0, 3) == 0:
            interface = c.integer(0, len(link_types) - 1)
            out += writing.statistics_block(order, interface, c.pick((None, 0, 7)), c.pick((None, 2**33)))
        if c.integer(0, 3) == 0:
            out += writing.block(c.pick((4, 9, 10, 0xBAD, 0x40000BAD, 0x7FFF)), bytes(c.integer(0, 9)), order)
        interface = c.integer(0, len(link_types) - 1)
        kind = c.pick(("enhanced", "enhanced", "old", "simple"))
        if kind == "simple":
            interface = 0
        frame = make_frame(c, link_types[interface])
        ticks = c.pick((1_700_000_000, 0, 1)) * units[interface] + c.integer(0, 2**34)
        captured = Captured(min(ticks, 2**64 - 1), frame.wire_bytes, frame.captured)
        if kind == "enhanced":
            out += writing.enhanced_block(order, interface, captured, c.pick((None, None, 3, 2**40)))
        elif kind == "old":
            out += writing.old_block(order, interface, captured, c.pick((0xFFFF, 0, 5)))
        else:
            whole = frame.captured[: snap_bytes or None]
            out += writing.simple_block(order, Captured(0, len(frame.captured), whole))
    return out


def make_snoop(c: Chooser, most_frames: int = 8) -> bytes:
    """A whole snoop file of Ethernet or another data link."""
    frames = [make_frame(c, 1) for _ in range(c.integer(0, most_frames))]
    records = [
        Captured(
            c.pick((1_700_000_000, 0, 2**32 - 1)) * 10**6 + c.integer(0, 999_999), frame.wire_bytes, frame.captured
        )
        for frame in frames
    ]
    drops = [c.integer(0, 3) for _ in records]
    return writing.snoop(records, c.pick((4, 4, 4, 0, 8, 5, 99)), drops=drops, padding=c.pick((0, 0, 8)))


def make_capture(c: Chooser) -> bytes:
    """A capture of any format, whole."""
    return c.pick((make_pcap, make_pcapng, make_snoop))(c)


def make_mutated_capture(c: Chooser) -> bytes:
    """A capture of either format with some bytes wrong."""
    return mutated(c, make_capture(c))
