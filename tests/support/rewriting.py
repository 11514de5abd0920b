"""Inner packets, captures and scenarios for the tests of rewriting; packets are built valid, from the RFCs."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from segcast.analyzer.network.srv6_modes import Mode
from segcast.analyzer.schema import PACKET_FATES
from segcast.replay.rewrite.run import Hosts, rewrite_schedule
from segcast.replay.rewrite.summary import RewriteSummary
from segcast.replay.srv6.templates import Encapsulation
from segcast.traces.schema import FLOWS
from tests.twins.srv6 import crc32c, folded_sum

SOURCE_MAC = bytes.fromhex("020000000001")
DESTINATION_MAC = bytes.fromhex("020000000002")
CAPTURED_MACS = bytes.fromhex("060504030201 161514131211")
EPOCH_NS = 1_700_000_000_123_456_789

TCP, UDP, ICMP, IGMP, ICMPV6, SCTP, UDP_LITE, NONE, OTHER = 6, 17, 1, 2, 58, 132, 136, 59, 253
PROTOCOLS = {4: (TCP, UDP, ICMP, IGMP, SCTP, UDP_LITE, OTHER), 6: (TCP, UDP, ICMPV6, SCTP, UDP_LITE, NONE, OTHER)}
CHECKED = {4: (TCP, UDP, ICMP, IGMP, SCTP, UDP_LITE), 6: (TCP, UDP, ICMPV6, SCTP, UDP_LITE)}
EXTENSIONS = (0, 43, 44, 51, 60)


@dataclass(frozen=True)
class Case:
    """A packet as sent, and what a capture made of it."""

    packet: bytes
    version: int
    protocol: int
    transport: int
    captured: int  # bytes of the packet that were captured
    fragment: bool = False
    spoilt: bool = False  # checksums as a capture before the offloading NIC shows them
    total_zero: bool = False  # IPv4 total length or IPv6 payload length 0, as segmentation offload leaves it
    padding: int = 0  # Ethernet padding behind the packet
    tags: bytes = b""  # VLAN tags
    flow: int = 0
    path: int = 0
    file: int = 0
    send_ns: int = EPOCH_NS

    @property
    def cut(self) -> bool:
        """Whether bytes are missing."""
        return self.captured < len(self.packet)

    def as_captured(self) -> tuple[bytes, int]:
        """The frame's captured bytes and original length."""
        packet = bytearray(self.packet)
        if self.spoilt:
            field = checksum_at(self)
            if field is not None and not (self.protocol == UDP and packet[field : field + 2] == b"\0\0"):
                packet[field] ^= 0xA5
                packet[field + 1] |= 1
            if self.version == 4:
                packet[10:12] = b"\0\0"
        if self.total_zero:
            packet[slice(2, 4) if self.version == 4 else slice(4, 6)] = b"\0\0"
        kind = b"\x08\x00" if self.version == 4 else b"\x86\xdd"
        frame = CAPTURED_MACS + self.tags + kind + packet
        if self.cut:
            return frame[: 14 + len(self.tags) + self.captured], len(frame)
        return frame + b"\xee" * self.padding, len(frame) + self.padding


def checksum_at(case: Case) -> int | None:
    """Index of the transport checksum, if the packet has one that is known."""
    if case.fragment or case.protocol not in CHECKED[case.version]:
        return None
    return case.transport + {TCP: 16, UDP: 6, UDP_LITE: 6, SCTP: 8}.get(case.protocol, 2)


IPV4_OPTIONS = (  # record route, source route to come, source route done, router alert, stream
    b"\x07\x07\x04\0\0\0\0",
    b"\x83\x07\x04\x0a\x09\x08\x07",
    b"\x83\x07\x08\x0a\x09\x08\x07",
    b"\x94\x04\0\0",
    b"\x88\x04\1\2",
)
TCP_OPTIONS = (  # maximum segment size, window scale, SACK permitted, SACK, timestamps
    b"\x02\x04\x05\xb4",
    b"\x03\x03\x07",
    b"\x04\x02",
    b"\x05\x0a\0\0\0\1\0\0\0\2",
    b"\x08\x0a\1\2\3\4\5\6\7\x08",
)
IPV6_OPTIONS = (b"\x01\x00", b"\x01\x04\0\0\0\0", b"\x05\x02\0\0", b"\x1e\x03\1\2\3")  # PadN, router alert, trial


def options(rng: random.Random, size: int, known: Sequence[bytes], padding: bytes) -> bytes:
    """Random options that fill `size` bytes, with single bytes of `padding` between them."""
    out = b""
    while len(out) < size:
        fitting = [option for option in known if len(option) <= size - len(out)]
        out += rng.choice((*fitting, padding))
    return out


def transport(rng: random.Random, version: int, protocol: int, size: int, ends: bytes) -> bytes:
    """A transport header and `size` bytes of payload; `ends` are the addresses of the pseudo-header."""
    payload = rng.randbytes(size)
    ports = struct.pack("!HH", rng.randint(50000, 50999), rng.randint(51000, 51999))
    field, pseudo = 2, True
    if protocol == TCP:
        extra = options(rng, rng.choice((0, 0, 4, 12, 40)), TCP_OPTIONS, b"\1")
        words = (
            rng.getrandbits(32),
            rng.getrandbits(32),
            (5 + len(extra) // 4) << 4,
            rng.choice((16, 24, 2)),
            512,
            0,
            0,
        )
        body, field = ports + struct.pack("!IIBBHHH", *words) + extra + payload, 16
    elif protocol == UDP:
        unused = rng.choice((0, 0, 3))  # bytes of the IP payload behind the datagram
        body, field = ports + struct.pack("!HH", 8 + size, 0) + payload + bytes(unused), 6
    elif protocol == UDP_LITE:
        covered = rng.choice((0, 8, 8 + size, rng.randint(8, 8 + size)))
        body, field = ports + struct.pack("!HH", covered, 0) + payload, 6
    elif protocol == SCTP:
        chunks = b""
        for _ in range(rng.randint(1, 3)):
            chunk = payload[: rng.randint(0, size)]
            chunk += bytes(-len(chunk) % 4)
            chunks += struct.pack("!BBHIHHI", 0, 3, 16 + len(chunk), rng.getrandbits(32), 1, 2, 0) + chunk
        body = ports + rng.randbytes(4) + bytes(4) + chunks
        return body[:8] + crc32c(body).to_bytes(4, "little") + body[12:]
    elif protocol in (ICMP, ICMPV6, IGMP):
        kind = {ICMP: 8, ICMPV6: 128, IGMP: 0x22}[protocol]
        body, pseudo = struct.pack("!BBHHH", kind, 0, 0, 77, 0) + payload, protocol == ICMPV6
    else:
        return payload
    size = 8 + size if protocol == UDP else len(body)
    covered = size
    if protocol == UDP_LITE:
        covered = int.from_bytes(body[4:6], "big") or len(body)
    tail = struct.pack("!I3xB", size, protocol) if version == 6 else struct.pack("!BBH", 0, protocol, size)
    value = 0xFFFF - folded_sum((ends + tail if pseudo else b"") + body[:covered])
    if protocol in (UDP, UDP_LITE):
        value = value or 0xFFFF
        if protocol == UDP and version == 4 and rng.random() < 0.1:
            value = 0
    return body[:field] + value.to_bytes(2, "big") + body[field + 2 :]


def make(rng: random.Random, version: int, protocol: int, size: int, extensions: Sequence[int] = ()) -> Case:
    """A valid whole packet, captured whole; in IPv4 `extensions` counts options of 4 to 40 bytes instead."""
    traffic_class, hops = rng.randrange(256), rng.randint(1, 255)
    if version == 4:
        source, destination = b"\x0a" + rng.randbytes(2) + b"\1", b"\x0a" + rng.randbytes(2) + b"\2"
        extra = options(rng, 4 * min(10, len(extensions)), IPV4_OPTIONS, b"\1")
        ends = source + _final_ipv4(extra, destination)
        body = transport(rng, 4, protocol, size, ends)
        header = 20 + len(extra)
        ident, flags = rng.getrandbits(16), rng.choice((0, 0x4000))
        words = (0x40 | header // 4, traffic_class, header + len(body), ident, flags, hops, protocol, 0)
        head = struct.pack("!BBHHHBBH", *words) + source + destination + extra
        packet = head[:10] + (0xFFFF - folded_sum(head)).to_bytes(2, "big") + head[12:] + body
        return Case(packet, 4, protocol, header, len(packet))
    source, destination = b"\xfd" + rng.randbytes(14) + b"\1", b"\xfd" + rng.randbytes(14) + b"\2"
    final, chain = destination, b""
    following = [*extensions[1:], protocol]  # one too many if there are none
    for kind, after in zip(extensions, following, strict=False):
        if kind in (0, 60):
            units = rng.randint(0, 3)
            chain += bytes((after, units)) + options(rng, 6 + 8 * units, IPV6_OPTIONS, b"\0")
        elif kind == 43:
            routing, count = rng.choice(((2, 1), (4, 1), (4, 3), (0, 2), (253, 1)))
            left = 0 if routing == 253 else rng.randint(0, count)
            last = count - 1 if routing == 4 else 0
            listed = [b"\xfd" + rng.randbytes(15) for _ in range(count)]
            if left:
                final = listed[0] if routing == 4 else listed[-1]
            chain += bytes((after, 2 * count, routing, left, last, 0, 0, 0)) + b"".join(listed)
        elif kind == 44:
            chain += struct.pack("!BBHI", after, 0, 0, rng.getrandbits(32))
        else:
            chain += struct.pack("!BBHII", after, 4, 0, 5, 6) + rng.randbytes(12)
    body = transport(rng, 6, protocol, size, source + final)
    first = 6 << 28 | traffic_class << 20 | rng.getrandbits(20)
    fields = (first, len(chain) + len(body), extensions[0] if extensions else protocol, hops)
    packet = struct.pack("!IHBB", *fields) + source + destination + chain + body
    return Case(packet, 6, protocol, 40 + len(chain), len(packet))


def _final_ipv4(extra: bytes, destination: bytes) -> bytes:
    at = 0
    while at < len(extra):
        if extra[at] == 1:
            at += 1
            continue
        size = extra[at + 1]
        if extra[at] == 131 and size >= 7 and extra[at + 2] <= size - 3:
            destination = extra[at + size - 4 : at + size]
        at += size
    return destination


def fragment(rng: random.Random, case: Case, offset: int) -> Case:
    """One fragment of a packet: the first (offset 0) or a later one, of 8 * n bytes of its transport header on."""
    body = case.packet[case.transport :]
    if case.version == 4:
        flags = 0x2000 if offset == 0 else offset // 8
        piece = body[: len(body) // 8 * 8] if offset == 0 else body[offset:]
        head = case.packet[:2] + struct.pack("!H", case.transport + len(piece)) + case.packet[4:6]
        head += struct.pack("!H", flags) + case.packet[8:10] + b"\0\0" + case.packet[12 : case.transport]
        packet = head[:10] + (0xFFFF - folded_sum(head)).to_bytes(2, "big") + head[12:] + piece
        return replace(case, packet=packet, captured=len(packet), fragment=True)
    piece = body[: len(body) // 8 * 8] if offset == 0 else body[offset:]
    header = struct.pack("!BBHI", case.protocol, 0, offset | (offset == 0), rng.getrandbits(32))
    packet = case.packet[:4] + struct.pack("!HB", 8 + len(piece), 44) + case.packet[7:40] + header + piece
    return replace(case, packet=packet, captured=len(packet), transport=48, fragment=True)


def write_capture(path: Path, cases: Sequence[Case]) -> None:
    """A microsecond pcap of the cases, in their order."""
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for number, case in enumerate(cases):
            frame, wire = case.as_captured()
            out.write(struct.pack("<IIII", 1000 + number, 0, len(frame), wire) + frame)


def sids(path: int, count: int, last: int) -> tuple[bytes, ...]:
    """The segment list of a path: `count` SIDs, the last of which tells the family."""
    hops = [ip_address(f"fd00:0:{path + 1:x}::{hop + 1:x}").packed for hop in range(count - 1)]
    return (*hops, ip_address(f"fd00:0:{path + 1:x}::d{last}").packed)


def encapsulation(
    mode: Mode, counts: Sequence[int], hosts: int = 2, hop_limit: int | None = 63, **others: Any
) -> Encapsulation:
    """An encapsulation with a path of each count of SIDs."""
    return Encapsulation(
        mode=mode,
        source=tuple(ip_address(f"fc00:{host + 1:x}::1").packed for host in range(hosts)),
        hop_limit=hop_limit,
        segments4=tuple(sids(path, count, 4) for path, count in enumerate(counts)),
        segments6=tuple(sids(path, count, 6) for path, count in enumerate(counts)),
        source_mac=SOURCE_MAC,
        destination_mac=DESTINATION_MAC,
        **others,
    )


def flow_table(versions: Sequence[int]) -> pa.Table:
    """Flows of the given IP versions, one five-tuple each."""
    rows = []
    for flow, version in enumerate(versions):
        high, low = divmod(flow, 256)
        ends = (
            (f"10.{high}.{low}.1", f"10.{high}.{low}.2") if version == 4 else (f"fd00:{flow:x}::1", f"fd00:{flow:x}::2")
        )
        row = dict.fromkeys(FLOWS.names(), 0) | {"tenant": None, "flow_id": flow, "ip_version": version, "protocol": 6}
        rows.append(row | {"src": ends[0], "dst": ends[1], "src_port": 1000 + flow, "dst_port": 80})
    return pa.Table.from_pylist(rows, FLOWS.arrow_schema())


def schedule_table(cases: Sequence[Case]) -> pa.Table:
    """The cases as a forecast's packets, in send order; frames are numbered within each file in the order given."""
    seen: dict[int, int] = {}
    rows = []
    for case in cases:
        seen[case.file] = seen.get(case.file, 0) + 1
        row = dict.fromkeys(PACKET_FATES.names(), 0) | {"ecn_marked": False, "dropped": False}
        row |= {"file": case.file, "frame_number": seen[case.file], "flow_id": case.flow, "path_id": case.path}
        rows.append(row | {"send_ns": case.send_ns})
    rows.sort(key=lambda row: int(row["send_ns"]))
    return pa.Table.from_pylist(rows, PACKET_FATES.arrow_schema())


def rewrite(
    folder: Path,
    cases: Sequence[Case],
    around: Encapsulation,
    hosts: Sequence[int],
    chunk_bytes: int = 8 << 20,
    **others: Any,
) -> RewriteSummary:
    """Write the cases' captures to `folder`, and rewrite them to `folder`/out; `hosts`: the host of each flow."""
    files = sorted({case.file for case in cases})
    sources = [folder / f"in{file}.pcap" for file in range(max(files, default=0) + 1)]
    for file, source in enumerate(sources):
        write_capture(source, [case for case in cases if case.file == file])
    versions = [4] * len(hosts)
    for case in cases:
        versions[case.flow] = case.version
    names = tuple(f"fc00:{host + 1:x}::1" for host in range(max(hosts) + 1))
    return rewrite_schedule(
        schedule_table(cases),
        flow_table(versions),
        sources,
        around,
        Hosts(names, np.array(hosts, np.int64)),
        folder / "out",
        chunk_bytes=chunk_bytes,
        **others,
    )
