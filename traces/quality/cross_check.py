"""Decodes sampled frames a second time, with dpkt, and compares what it reads with the tables of a trace.

It shares no decoding with `segcast.traces.headers`: a fault there shows as a difference here. What dpkt cannot read, or
reads wrongly, is not compared, and counted by the reason.
"""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import dpkt
import numpy as np
import pyarrow as pa

from segcast.traces.captures.reader import read_frames
from segcast.traces.captures.remote import is_url
from segcast.traces.errors import CheckFailed, InputError
from segcast.traces.ingest.inputs import is_pipe
from segcast.traces.linktypes import linktype_name
from segcast.traces.trace import Trace

MOST_SHOWN: Final = 20
_HOSTILE: Final = (dpkt.Error, struct.error, LookupError, ValueError, TypeError, AttributeError, RecursionError)
_RAW_IP: Final = (12, 14, 101, 228, 229)
_OUR_COLUMNS: Final = (
    "file",
    "frame_number",
    "file_offset",
    "time_ns",
    "flow_id",
    "wire_bytes",
    "captured_bytes",
    "ip_bytes",
    "payload_bytes",
    "tcp_seq",
    "tcp_ack",
    "tcp_flags",
    "tcp_window",
    "ip_id",
    "tos",
    "split",
)
_FLOW_COLUMNS: Final = ("protocol", "src", "dst", "src_port", "dst_port")
_ADDRESSES: Final = ("src", "dst")
_TRANSPORT_BYTES: Final = {dpkt.udp.UDP: 8, dpkt.sctp.SCTP: 12}
_WITH_PORTS: Final = (dpkt.ip.IP_PROTO_TCP, dpkt.ip.IP_PROTO_UDP, dpkt.ip.IP_PROTO_SCTP)
_UNREAD_PROTOCOLS: Final = (33, 136)  # DCCP and UDP-Lite: unknown to dpkt
_UNREAD_EXTENSIONS: Final = (51, 135, 139, 140)  # headers that dpkt takes for the transport
_SECOND_NS: Final = 10**9

Fields = dict[str, Any]


class NotComparedError(Exception):
    """A frame is not compared; the text says why."""


class Difference(NamedTuple):
    """One field of one frame that the two decoders read differently."""

    file: str
    frame_number: int
    field: str
    segcast: Any
    dpkt: Any


@dataclass
class CrossCheck:
    """What a comparison found. `fields` counts comparisons by field, `not_compared` frames by the reason."""

    frames: int = 0
    agreed: int = 0
    differed: int = 0
    difference_count: int = 0
    not_compared: Counter[str] = field(default_factory=Counter)
    fields: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As `--json` has it; the first differences only."""
        return {
            "frames": self.frames,
            "agreed": self.agreed,
            "differed": self.differed,
            "not_compared": dict(self.not_compared.most_common()),
            "fields": dict(sorted(self.fields.items())),
            "difference_count": self.difference_count,
            "differences": [difference._asdict() for difference in self.differences],
        }

    def require_agreement(self) -> None:
        """Raise CheckFailed if anything differed."""
        if self.differences:
            first = self.differences[0]
            raise CheckFailed(
                f"cross-check: {self.differed} of {self.frames} frames differ, first frame {first.frame_number} of "
                f"{first.file}, {first.field}: {first.segcast} by Segcast, {first.dpkt} by dpkt; the trace is kept"
            )

    def count(self, file: str, frame_number: int, ours: Fields, theirs: Fields) -> None:
        """Compare what both say of a frame; `theirs` are the fields that dpkt reads."""
        before = self.difference_count
        for name, value in theirs.items():
            self.fields[name] += 1
            if ours[name] != value:
                self.difference_count += 1
                if len(self.differences) < MOST_SHOWN:
                    self.differences.append(Difference(file, frame_number, name, ours[name], value))
        if self.difference_count > before:
            self.differed += 1
        else:
            self.agreed += 1


def check_possible(captures: Sequence[str | Path], frames: int, layer: str | None) -> None:
    """Raise InputError for what cannot be compared, before anything is read."""
    if frames < 1:
        raise InputError(f"--cross-check {frames}: give the number of frames to compare, at least 1")
    if layer == "inner":
        raise InputError("--cross-check compares the outer IP headers; leave out --layer inner")
    if any(is_pipe(path) for path in captures):
        raise InputError("--cross-check reads the captures a second time, which a pipe does not allow; save it first")


def cross_check(trace: Trace, frames: int, progress: Callable[[int, int], None] | None = None) -> CrossCheck:
    """Compare at most `frames` frames of a trace's captures, spread evenly over all: always the same ones.

    The captures are read again. Addresses are compared unless they are anonymized; frames that were left out as
    duplicates or cut into wire frames are not.
    """
    found = CrossCheck()
    chosen = _sample([source.packets for source in trace.sources], frames)
    rows = _rows(trace, chosen)
    done, total = 0, sum(source.packets for source in trace.sources)
    for file, (source, numbers) in enumerate(zip(trace.sources, chosen, strict=True)):
        found.frames += len(numbers)
        sampled = _frames(source.path, numbers, file in trace.resumed_files)
        headers = _RecordHeaders(trace, file)
        missing = len(numbers)
        for number, linktype, frame in sampled:
            missing -= 1
            try:
                ours = rows.get((file, number))
                if ours is None:
                    raise NotComparedError("left out as a duplicate")
                if ours["split"]:
                    raise NotComparedError("cut into wire frames")
                theirs = _decoded(linktype, frame, ours["flow_id"] is not None)
                if trace.document.anonymized:
                    theirs = {name: value for name, value in theirs.items() if name not in _ADDRESSES}
                found.count(str(source.path), number, ours, theirs | headers.read(ours["file_offset"]))
            except NotComparedError as reason:
                found.not_compared[str(reason)] += 1
            if progress:
                progress(done + number, total)
        if missing:
            found.not_compared["not in the capture when it was read again"] += missing
        done += source.packets
    return found


def _sample(packets: Sequence[int], frames: int) -> list[list[int]]:
    """The numbers of the chosen frames of each capture: the middles of equal parts of all frames together."""
    total = sum(packets)
    frames = min(frames, total)
    chosen: list[list[int]] = [[] for _ in packets]
    file, before = 0, 0
    for part in range(frames):
        place = (2 * part + 1) * total // (2 * frames)
        while place >= before + packets[file]:
            before += packets[file]
            file += 1
        chosen[file].append(place - before + 1)
    return chosen


def _rows(trace: Trace, chosen: Sequence[Sequence[int]]) -> dict[tuple[int, int], Fields]:
    """What the tables say of the chosen frames, by file and number; of cut frames only the first piece."""
    wanted = [np.array(numbers, np.uint64) for numbers in chosen]
    rows: dict[tuple[int, int], Fields] = {}
    for batch in trace.packet_batches(_OUR_COLUMNS):
        files, numbers = batch["file"].to_numpy(), batch["frame_number"].to_numpy()
        here = np.zeros(len(files), bool)
        for file in np.unique(files):
            mine = files == file
            here[mine] = np.isin(numbers[mine], wanted[file])
        for row in batch.filter(pa.array(here)).to_pylist():
            rows.setdefault((row["file"], row["frame_number"]), row)
    flows = trace.flow_table(_FLOW_COLUMNS)
    known = sorted({row["flow_id"] for row in rows.values() if row["flow_id"] is not None})
    by_flow = dict(zip(known, flows.take(pa.array(known, pa.int64())).to_pylist(), strict=True))
    nothing = dict.fromkeys(_FLOW_COLUMNS)
    for row in rows.values():
        row.update(by_flow.get(row["flow_id"], nothing))
        row["ip header"] = row["flow_id"] is not None
    return rows


def _frames(path: str | Path, numbers: Sequence[int], keep_going: bool) -> Iterator[tuple[int, int, bytes]]:
    """(number, link type, bytes) of the frames of a capture with these numbers, which ascend."""
    place = 0
    if not numbers:
        return
    with read_frames(path, keep_going=keep_going) as reader:
        for batch in reader:
            while place < len(numbers) and numbers[place] < batch.frame_number + len(batch.start):
                k = numbers[place] - batch.frame_number
                begin = int(batch.start[k])
                frame = batch.data[begin : begin + int(batch.captured[k])].tobytes()
                yield numbers[place], int(batch.linktype[k]), frame
                place += 1
            if place == len(numbers):
                return


class _RecordHeaders:
    """The record headers of a plain classic pcap file, read by dpkt: exact times. Of other captures nothing.

    dpkt reads the times of pcapng as floating-point numbers, 238 ns apart, and drops blocks and sections.
    """

    _UNITS_NS: Final = {dpkt.pcap.TCPDUMP_MAGIC: 1000, dpkt.pcap.TCPDUMP_MAGIC_NANO: 1}

    def __init__(self, trace: Trace, file: int) -> None:
        entry, path = trace.document.sources[file], trace.sources[file].path
        self._path: Path | None = None
        self._kind: type[Any] = dpkt.pcap.PktHdr
        self._unit_ns = 1
        if entry.format != "pcap" or entry.compression != "none" or is_url(path):
            return
        head = _bytes_at(Path(path), 0, 24)
        for kind, record in ((dpkt.pcap.FileHdr, dpkt.pcap.PktHdr), (dpkt.pcap.LEFileHdr, dpkt.pcap.LEPktHdr)):
            about = kind(head)
            if about.magic in self._UNITS_NS and (about.v_major, about.v_minor) == (2, 4):
                self._path, self._kind, self._unit_ns = Path(path), record, self._UNITS_NS[about.magic]

    def read(self, offset: int) -> Fields:
        """What the record header at `offset` says."""
        if self._path is None:
            return {}
        record = self._kind(_bytes_at(self._path, offset, 16))
        return {
            "time_ns": record.tv_sec * _SECOND_NS + record.tv_usec * self._unit_ns,
            "captured_bytes": record.caplen,
            "wire_bytes": record.len,
        }


def _bytes_at(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)


def _decoded(linktype: int, frame: bytes, known: bool) -> Fields:
    """The fields that dpkt reads of a frame, by our names; `known` says whether we found an IP header.

    Raises NotComparedError if dpkt does not find the IP header, or if it cannot be trusted to.
    """
    try:
        layers = _layers(linktype, frame)
    except _HOSTILE:
        raise NotComparedError("dpkt fails at it") from None
    packet = layers[-1]
    if not isinstance(packet, (dpkt.ip.IP, dpkt.ip6.IP6)):
        raise NotComparedError("dpkt finds no IP header" if known else "no IP header")
    fields = _ipv4(packet) if isinstance(packet, dpkt.ip.IP) else _ipv6(packet)
    if not known:
        tags = getattr(layers[0], "vlan_tags", None) or getattr(layers[0], "mpls_labels", None)
        if len(layers) > 2 or tags or "ip_bytes" not in fields:
            raise NotComparedError("an IP header for dpkt alone, behind headers that it reads too freely")
        return {"ip header": True}
    if _stated_bytes(layers) < fields.get("ip_bytes", 0):
        raise NotComparedError("a packet longer than a header before it says, whose padding dpkt reads as well")
    return fields


def _stated_bytes(layers: Sequence[Any]) -> int:
    """How long the IP packet is at most, as headers in front of it say."""
    stated = 1 << 32
    for layer in layers:
        if isinstance(layer, dpkt.pppoe.PPPoE):
            stated = min(stated, layer.len - 2)
        elif isinstance(layer, dpkt.ethernet.Ethernet) and layer.type <= 1500:
            stated = min(stated, layer.type - 8)
    return stated


def _layers(linktype: int, frame: bytes) -> list[Any]:
    """The headers of a frame, the last of which is the first IP header if there is one."""
    kinds: dict[int, type[Any]] = {
        0: dpkt.loopback.Loopback,
        1: dpkt.ethernet.Ethernet,
        9: dpkt.ppp.PPP if frame[:2] == b"\xff\x03" else dpkt.pppoe.PPP,
        51: dpkt.pppoe.PPPoE,
        108: dpkt.loopback.Loopback,
        113: dpkt.sll.SLL,
        276: dpkt.sll2.SLL2,
    }
    if linktype in _RAW_IP:
        six = linktype == 229 or (linktype != 228 and frame[:1] >= b"\x60")
        kinds[linktype] = dpkt.ip6.IP6 if six else dpkt.ip.IP
    if linktype not in kinds:
        raise NotComparedError(f"link type {linktype_name(linktype)}")
    layers = [kinds[linktype](frame)]
    while not isinstance(layers[-1], (dpkt.ip.IP, dpkt.ip6.IP6)) and isinstance(layers[-1].data, dpkt.Packet):
        layers.append(layers[-1].data)
        if isinstance(layers[-1], dpkt.ethernet.Ethernet):
            raise NotComparedError("Ethernet within another link layer")
    return layers


def _ipv4(packet: Any) -> Fields:
    if packet.v != 4 or (packet.len and packet.len < packet.hl * 4):
        raise NotComparedError("a malformed IP header")
    fields = _addresses(packet.src, packet.dst) | {"ip_id": packet.id, "tos": packet.tos}
    if packet.len:
        fields["ip_bytes"] = packet.len
    left = packet.len - packet.hl * 4 if packet.len else None
    if packet.offset:
        return fields | ({} if left is None else {"payload_bytes": left})
    if packet.p in _UNREAD_EXTENSIONS:
        return fields
    return fields | _transport(packet.p, packet.data, left)


def _ipv6(packet: Any) -> Fields:
    if packet.v != 6:
        raise NotComparedError("a malformed IP header")
    fields = _addresses(packet.src, packet.dst) | {"tos": packet.fc}
    if not packet.plen:  # a jumbogram, whose length dpkt does not read, or the card had yet to cut it
        return fields
    fields["ip_bytes"] = 40 + packet.plen
    extensions = packet.all_extension_headers
    fragments = [header for header in extensions if isinstance(header, dpkt.ip6.IP6FragmentHeader)]
    encrypted = any(isinstance(header, dpkt.ip6.IP6ESPHeader) for header in extensions)
    if len(fragments) > 1 or encrypted or packet.p in _UNREAD_EXTENSIONS:
        return fields
    left = packet.plen - sum(header.length for header in extensions)
    if fragments:
        fields["ip_id"] = fragments[0].id
        if fragments[0].frag_off:
            return fields
    return fields | _transport(packet.p, packet.data, left)


def _addresses(src: bytes, dst: bytes) -> Fields:
    return {"src": str(ipaddress.ip_address(src)), "dst": str(ipaddress.ip_address(dst))}


def _transport(protocol: int, content: Any, left: int | None) -> Fields:
    """The fields of a transport header; `left` are the bytes from it to the end of the IP packet, if they are known."""
    fields: Fields = {"protocol": protocol}
    head: int | None = 0
    if isinstance(content, dpkt.tcp.TCP):
        head = content.off * 4
        fields |= {
            "tcp_seq": content.seq,
            "tcp_ack": content.ack,
            "tcp_flags": content.flags & 0xFF,
            "tcp_window": content.win,
        }
    elif protocol in _WITH_PORTS or protocol in _UNREAD_PROTOCOLS:
        head = _TRANSPORT_BYTES.get(type(content))
    if head is None:  # not captured whole
        return fields
    if protocol in _WITH_PORTS:
        fields |= {"src_port": content.sport, "dst_port": content.dport}
    if left is not None:
        fields["payload_bytes"] = max(left - head, 0)
    return fields
