"""Packets captured twice, found by looking back at every packet: the rules of docs/captures.md, byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.twins.decode import layers, transport_place
from tests.twins.ip import AH, FRAGMENT, Decoded

MS = 10**6
TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
SUMS = {TCP: (16, 2), UDP: (6, 2), SCTP: (8, 4)}  # where checksums are, and how long


@dataclass(frozen=True)
class Seen:
    """A captured IP packet, cut at its length; `place` is that of its frame in all bytes that were captured.

    `real` is it without what a header before it calls padding.
    """

    time_ns: int
    packet: bytes
    columns: Decoded
    place: int
    real: bytes

    @property
    def at(self) -> int | None:
        """Where the transport header is, or what a later fragment carries."""
        if not self.columns.fragment_offset:
            return transport_place(self.real, self.columns)
        if self.columns.ip_version == 4:
            return (self.packet[0] & 15) * 4
        kind, at = self.packet[6], 40
        while kind != FRAGMENT or int.from_bytes(self.packet[at + 2 : at + 4], "big") < 8:  # as of a whole packet
            size = {FRAGMENT: 8, AH: (self.packet[at + 1] + 2) * 4}.get(kind, (self.packet[at + 1] + 1) * 8)
            kind, at = self.packet[at], at + size
        return at + 8


def verdicts(frames: Sequence[tuple[int, int, bytes, int]], *, inner: bool = False, reach: int = 1 << 19) -> list[str]:
    """Of frames (time, link type, captured bytes, wire bytes) which are a "copy", which "undecided"; else ""."""
    originals: list[Seen] = []
    found, before = [], 0
    for time_ns, link_type, frame, wire in frames:
        reached = layers(link_type, frame, wire, inner=inner)
        verdict = ""
        if reached:
            last = reached[-1]
            columns = last.columns
            me = Seen(time_ns, last.claimed, columns, before, last.packet)
            earlier = next((o for o in reversed(originals) if before - o.place <= reach and same(o, me)), None)
            if earlier is None:
                originals.append(me)
            else:
                whole = min(len(me.packet), len(earlier.packet)) == columns.ip_bytes
                verdict = "copy" if whole or identified(me) or stands_for_rest(me, len(earlier.packet)) else "undecided"
        found.append(verdict)
        before += len(frame)
    return found


def identified(p: Seen) -> bool:
    """Whether the identification tells the packet from others, or that of the IPv4 packet in it."""
    if p.columns.fragment_offset is not None or (p.columns.ip_version == 6 and p.columns.ip_id is not None):
        return True
    headers = [p.packet] if p.columns.ip_version == 4 else []
    if p.columns.protocol == 4 and p.at is not None and len(p.packet) >= p.at + 20:
        headers.append(p.packet[p.at :])
    for header in headers:
        fragment = header[6] << 8 | header[7]
        if fragment & 0x3FFF or (any(header[4:6]) and (header[9] == TCP or not fragment & 0x4000)):
            return True
    return False


def same(one: Seen, two: Seen) -> bool:
    """Whether `two` may be `one` once more, as far as both were captured."""
    since = two.time_ns - one.time_ns
    if not 0 <= since <= (10 * MS if identified(two) else MS) or one.columns.ip_bytes != two.columns.ip_bytes:
        return False
    if read(one) != read(two):
        return False
    size = min(len(one.packet), len(two.packet))
    alike = 16 if two.columns.protocol == TCP and two.columns.ip_id else 96  # from the transport header on
    if len(one.packet) != len(two.packet) and (two.at is None or size < two.at + alike):
        return False
    whole = size == two.columns.ip_bytes
    return steady(one, size, whole) == steady(two, size, whole)


def read(p: Seen) -> tuple[int | None, ...]:
    """What was read of its headers: less where one before them says that the packet ends there."""
    c = p.columns
    ports, tcp = (c.src_port, c.dst_port), (c.tcp_seq, c.tcp_ack, c.tcp_flags, c.tcp_window)
    return c.protocol, c.ip_id, c.fragment_offset, *ports, *tcp


def steady(p: Seen, size: int, whole: bool) -> bytes:
    """The first `size` bytes with those blanked that a network changes, and the checksum of a whole packet.

    Of a segment routing header what is left of the way goes, and every segment but the last of the way.
    """
    b = bytearray(p.packet[:size])
    blank(b, 0, p.columns.ip_version or 0)
    within = {4: 4, 41: 6}.get(p.columns.protocol or 0)
    if within and p.at is not None and not p.columns.fragment_offset and size > p.at and b[p.at] >> 4 == within:
        blank(b, p.at, within)
    if p.columns.ip_version == 6:
        routing = routing_header(p.packet[:size])
        if routing is not None:
            end = routing + min((b[routing + 1] + 1) * 8, 24 + 16 * b[routing + 4])  # of the list
            for place in (*range(24, 40), routing + 3, *range(routing + 5, routing + 8), *range(routing + 24, end)):
                if place < len(b):
                    b[place] = 0
    if whole and p.at is not None and p.columns.fragment_offset is None:
        place, length = SUMS.get(p.columns.protocol or 0, (0, 0))
        for k in range(p.at + place, min(p.at + place + length, len(b))):
            b[k] = 0
    return bytes(b)


def blank(b: bytearray, at: int, version: int) -> None:
    """Blank what routers change of the IP header at `at`."""
    for place, kept in ((0, 0xF0), (1, 0x0F), (7, 0)) if version == 6 else ((1, 0), (8, 0), (10, 0), (11, 0)):
        if at + place < len(b):
            b[at + place] &= kept


def routing_header(packet: bytes) -> int | None:
    """Where the first segment routing header is."""
    kind, at = packet[6], 40
    while kind in (0, 43, 60, 135, 139, 140) and len(packet) - at >= 5:
        if kind == 43 and packet[at + 2] == 4:
            return at
        kind, at = packet[at], at + (packet[at + 1] + 1) * 8
    return None


def stands_for_rest(p: Seen, size: int) -> bool:
    """Whether TCP's numbers or a checksum that was computed are among the first `size` bytes of a cut packet."""
    c, packet = p.columns, p.packet[:size]
    if c.tcp_seq is not None:
        return True
    if p.at is None or c.fragment_offset:
        return False
    if c.protocol in (ICMP, ICMPV6):
        return len(packet) >= p.at + 4 and any(packet[p.at + 2 : p.at + 4])
    if c.protocol == SCTP:
        return len(packet) >= p.at + 12 and any(packet[p.at + 8 : p.at + 12])
    if c.protocol != UDP or len(packet) < p.at + 8:
        return False
    addresses = packet[12:20] if c.ip_version == 4 else packet[8:40]
    pseudo = addresses + bytes([0, UDP]) + packet[p.at + 4 : p.at + 6]
    total = sum(int.from_bytes(pseudo[k : k + 2], "big") for k in range(0, len(pseudo), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int.from_bytes(packet[p.at + 6 : p.at + 8], "big") not in (0, total)
