"""SRv6 encapsulation: what a steering host puts in front of a packet, for every host and path.

The headers of a path differ between packets in a few bytes only (traffic class, flow label, payload length,
source), so they are laid out once here, as templates; `replay.encapsulate` copies and patches them.

Sources: RFC 8754 section 2 (segment routing header), RFC 8986 sections 5.1 and 5.2 (H.Encaps, H.Encaps.Red),
RFC 8200.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from traces.errors import InputError

Mode = Literal["encaps", "reduced", "none"]

ETHERNET_BYTES: Final = 14
IPV6_BYTES: Final = 40
SRH_BYTES: Final = 8
SID_BYTES: Final = 16
MAX_SEGMENTS: Final = 127  # Hdr Ext Len counts 8 octets in 8 bits, and a SID is two of them
MAX_PAYLOAD_BYTES: Final = 65535  # of an IPv6 packet that is no jumbogram (RFC 8200 section 3)

_IPV4_INSIDE: Final = 4
_IPV6_INSIDE: Final = 41
_ROUTING: Final = 43
_SEGMENT_ROUTING: Final = 4


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """What the steering hosts of a scenario write on the wire; valid once made.

    `source`: the outer source address of each host, 16 bytes each. `segments4` and `segments6`: for each path
    the full segment list in the order of travel, 16 bytes per SID, for an IPv4 and for an IPv6 packet inside
    (the SID that decapsulates may differ). `source_mac` and `destination_mac`: 6 bytes, for every frame. With
    mode `none` packets are written as Ethernet and IP alone, and only the MAC addresses count.

    Raises InputError if an address, a segment list or the hop limit cannot be written.
    """

    mode: Mode
    source: tuple[bytes, ...]
    hop_limit: int
    segments4: tuple[tuple[bytes, ...], ...]
    segments6: tuple[tuple[bytes, ...], ...]
    source_mac: bytes
    destination_mac: bytes

    def __post_init__(self) -> None:
        """Check every value that will be written."""
        for name, mac in (("source", self.source_mac), ("destination", self.destination_mac)):
            if len(mac) != 6:
                raise InputError(f"{name} MAC address {mac.hex(':')!r} has {len(mac)} bytes: give 6")
        if self.source_mac[0] & 1:
            raise InputError(f"source MAC address {self.source_mac.hex(':')} is a group address: give a station's")
        if self.mode not in ("encaps", "reduced", "none"):
            raise InputError(f"SRv6 mode {self.mode!r} is unknown: give encaps, reduced or none")
        if self.mode == "none":
            return
        if not 1 <= self.hop_limit <= 255:
            raise InputError(f"hop limit {self.hop_limit} does not fit the outer header: give 1 to 255")
        if len(self.segments4) != len(self.segments6):
            raise InputError(
                f"{len(self.segments4)} paths have segments for IPv4 but {len(self.segments6)} for IPv6: "
                "give both for each"
            )
        for host, address in enumerate(self.source):
            _check_unicast(f"outer source of host {host}", address)
        for family, paths in (("IPv4", self.segments4), ("IPv6", self.segments6)):
            for path, segments in enumerate(paths):
                if not 1 <= len(segments) <= MAX_SEGMENTS:
                    raise InputError(f"path {path} has {len(segments)} SIDs for {family}: give 1 to {MAX_SEGMENTS}")
                for sid in segments:
                    _check_unicast(f"a SID of path {path}", sid)


def _check_unicast(what: str, address: bytes) -> None:
    """Raise InputError unless `address` is 16 bytes that a source or destination address may hold."""
    if len(address) != 16:
        raise InputError(f"{what} has {len(address)} bytes: give an IPv6 address of 16")
    if address[0] == 0xFF or not any(address):
        raise InputError(f"{what} is {IPv6Address(address)}: give a unicast address")


class Templates(NamedTuple):
    """Headers as bytes, for `replay.encapsulate`.

    `ethernet` uint8[14]: destination, source, and an EtherType that the kernel overwrites where nothing is
    put around the packet. `headers` uint8[2, paths, widest] and `header_bytes` int64[2, paths]: outer IPv6
    header and SRH, first for IPv4 inside, then for IPv6; all lengths 0 without encapsulation, and then there
    is one path for all. `sources` uint8[hosts, 16].
    """

    ethernet: NDArray[np.uint8]
    headers: NDArray[np.uint8]
    header_bytes: NDArray[np.int64]
    sources: NDArray[np.uint8]


def templates(encapsulation: Encapsulation) -> Templates:
    """Lay out the headers of every path and family."""
    ethernet = np.frombuffer(encapsulation.destination_mac + encapsulation.source_mac + b"\x86\xdd", np.uint8).copy()
    if encapsulation.mode == "none":
        nothing = np.zeros((2, 1, 0), np.uint8)
        return Templates(ethernet, nothing, np.zeros((2, 1), np.int64), np.zeros((1, 16), np.uint8))
    families = ((encapsulation.segments4, _IPV4_INSIDE), (encapsulation.segments6, _IPV6_INSIDE))
    rows = [
        [
            outer_headers(segments, inside, encapsulation.hop_limit, encapsulation.mode == "reduced")
            for segments in paths
        ]
        for paths, inside in families
    ]
    header_bytes = np.array([[len(header) for header in row] for row in rows], np.int64).reshape(2, -1)
    headers = np.zeros((*header_bytes.shape, int(header_bytes.max(initial=0))), np.uint8)
    for family, row in enumerate(rows):
        for path, header in enumerate(row):
            headers[family, path, : len(header)] = np.frombuffer(header, np.uint8)
    sources = np.frombuffer(b"".join(encapsulation.source), np.uint8).reshape(-1, 16).copy()
    return Templates(ethernet, headers, header_bytes, sources)


def outer_headers(segments: Sequence[bytes], inside: int, hop_limit: int, reduced: bool) -> bytes:
    """Outer IPv6 header and SRH: `segments` in the order of travel, `inside` the packet's protocol number.

    Traffic class, flow label, payload length and source address are left 0. The SRH lists the segments last
    first (RFC 8754 section 2). Reduced, the first segment stands in the destination address alone, so
    Segments Left is Last Entry + 1 (section 4.1.1), and a single segment needs no SRH (RFC 8986 section 5.2).
    """
    listed = tuple(reversed(segments[1:] if reduced else segments))
    srh = b""
    if listed:
        fixed = (inside, 2 * len(listed), _SEGMENT_ROUTING, len(segments) - 1, len(listed) - 1, 0, 0, 0)
        srh = bytes(fixed) + b"".join(listed)
    next_header = _ROUTING if listed else inside
    return bytes((0x60, 0, 0, 0, 0, 0, next_header, hop_limit)) + bytes(16) + segments[0] + srh


def flow_labels(flows: pa.Table) -> NDArray[np.uint32]:
    """The outer flow label of every flow, uint32[flows], never 0 (RFC 6437 section 3; RFC 6438 section 3).

    20 bits of a hash of addresses, protocol and ports, so that all packets of a flow have one label and
    transit routers that hash it keep them together. It differs from RFC 6437 in one thing: an IPv6 packet's
    own label is not reused, for hosts change it within a flow when they retransmit, which would change the
    path of an ECMP transit.
    """
    labels = np.empty(flows.num_rows, np.uint32)
    columns = (flows.column(name).to_pylist() for name in ("src", "dst", "protocol", "src_port", "dst_port"))
    for row, words in enumerate(zip(*columns, strict=True)):
        digest = hashlib.blake2b(" ".join(map(str, words)).encode(), digest_size=4).digest()
        labels[row] = int.from_bytes(digest, "big") % 0xFFFFF + 1
    return labels
