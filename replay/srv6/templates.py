"""SRv6 headers: what a steering host puts in front of a packet, or into it, for every host and path.

The headers of a path differ between packets in a few bytes only (traffic class, flow label, payload length, source,
HMAC), so they are laid out once here, as templates; `segcast.replay.srv6.encapsulate` copies and patches them.

Sources: RFC 8754 section 2 (segment routing header), RFC 8986 sections 5.1 to 5.4 (H.Encaps, H.Encaps.Red,
H.Encaps.L2, H.Encaps.L2.Red), draft-filsfils-spring-srv6-net-pgm-insertion (H.Insert, H.Insert.Red), RFC 8200.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final, NamedTuple, cast

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.network.srv6_modes import WRITTEN_MODES, Mode
from segcast.analyzer.traffic.prepare import flow_words
from segcast.traces.errors import InputError
from segcast.traces.hashing import flow_keys, mix_each

IPV6_BYTES: Final = 40
SRH_BYTES: Final = 8
SID_BYTES: Final = 16
HMAC_BYTES: Final = 32
MAX_SEGMENTS: Final = 127  # Hdr Ext Len counts 8 octets in 8 bits, and a SID is two of them
MAX_PAYLOAD_BYTES: Final = 65535  # of an IPv6 packet that is no jumbogram (RFC 8200 section 3)

_IPV4_INSIDE: Final = 4
_IPV6_INSIDE: Final = 41
_ETHERNET_INSIDE: Final = 143
_ROUTING: Final = 43
_SEGMENT_ROUTING: Final = 4
_HMAC_TLV: Final = 5
_HMAC_TLV_UNITS: Final = 5  # of 8 octets
_NO_DESTINATION_CHECK: Final = 0x8000
_LINUX_HMAC: Final = 0x08
_LABEL: Final = np.uint64(0xFFFFF)


@dataclass(frozen=True, slots=True)
class Key:
    """What SRHs are signed with: HMAC Key ID, and the shared secret.

    `flag`: also set bit 3 of the SRH's flags, which Linux looks for an HMAC by; RFC 8754 leaves it unassigned.
    """

    number: int
    secret: bytes
    flag: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.number < 1 << 32:
            raise InputError(f"HMAC key ID {self.number} does not fit the TLV: give 1 to {(1 << 32) - 1}")
        if not self.secret:
            raise InputError("the HMAC key is empty: give a file with the secret")


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """What the steering hosts of a scenario write on the wire; valid once made.

    `source`: the outer source address of each host, 16 bytes each. `segments4` and `segments6`: for each path
    the full segment list in the order of travel, 16 bytes per SID, for an IPv4 and for an IPv6 packet inside
    (the SID that decapsulates may differ); where an SRH is inserted, the transit SIDs, perhaps none, and the
    packet's own destination ends the list. `hop_limit` None: that of the packet inside. `source_mac` and
    `destination_mac`: 6 bytes, for every frame. With mode `none` packets are written as Ethernet and IP alone, and
    only the MAC addresses count. With `key` every SRH has an HMAC TLV. `named`: the scenario's mode, where
    that is another than `mode`: carriers of uSIDs are written as a reduced list is.

    Raises InputError if an address, a segment list, the tag or the hop limit cannot be written.
    """

    mode: Mode
    source: tuple[bytes, ...]
    hop_limit: int | None
    segments4: tuple[tuple[bytes, ...], ...]
    segments6: tuple[tuple[bytes, ...], ...]
    source_mac: bytes
    destination_mac: bytes
    tag: int = 0
    key: Key | None = None
    named: Mode | None = None

    def __post_init__(self) -> None:
        """Check every value that will be written."""
        check_mac("source", self.source_mac)
        check_mac("destination", self.destination_mac)
        object.__setattr__(self, "mode", _written(self.mode))
        if not self.mode.steers:
            return
        if self.hop_limit is not None and not 1 <= self.hop_limit <= 255:
            raise InputError(f"hop limit {self.hop_limit} does not fit the outer header: give 1 to 255")
        if not 0 <= self.tag <= 0xFFFF:
            raise InputError(f"tag {self.tag} does not fit the SRH: give 0 to 65535")
        if len(self.segments4) != len(self.segments6):
            raise InputError(
                f"{len(self.segments4)} paths have segments for IPv4 but {len(self.segments6)} for IPv6: "
                "give both for each"
            )
        for host, address in enumerate(self.source):
            _check_unicast(f"outer source of host {host}", address)
        least = 0 if self.mode.inserts else 1
        most = MAX_SEGMENTS - self.mode.inserts - (_HMAC_TLV_UNITS // 2 if self.key else 0)
        for family, paths in (("IPv4", self.segments4), ("IPv6", self.segments6)):
            for path, segments in enumerate(paths):
                if not least <= len(segments) <= most:
                    raise InputError(f"path {path} has {len(segments)} SIDs for {family}: give {least} to {most}")
                for sid in segments:
                    _check_unicast(f"a SID of path {path}", sid)


def _written(mode: str) -> Mode:
    """The mode of that name, if headers are written so. Raises InputError."""
    if mode not in WRITTEN_MODES:
        raise InputError(f"SRv6 mode {str(mode)!r} is unknown: give {', '.join(WRITTEN_MODES)}")
    return Mode(mode)


def check_mac(what: str, mac: bytes) -> None:
    """Raise InputError unless `mac` may stand in a frame as its `what`: source or destination."""
    if len(mac) != 6:
        raise InputError(f"{what} MAC address {mac.hex(':')!r} has {len(mac)} bytes: give 6")
    if what == "source" and mac[0] & 1:
        raise InputError(f"source MAC address {mac.hex(':')} is a group address: give a station's")


def _check_unicast(what: str, address: bytes) -> None:
    """Raise InputError unless `address` is 16 bytes that a source or destination address may hold."""
    if len(address) != 16:
        raise InputError(f"{what} has {len(address)} bytes: give an IPv6 address of 16")
    if address[0] == 0xFF or not any(address):
        raise InputError(f"{what} is {IPv6Address(address)}: give a unicast address")


class Templates(NamedTuple):
    """Headers as bytes, for `segcast.replay.srv6.encapsulate`.

    `headers` uint8[2, paths, widest] and `header_bytes` int64[2, paths]: first for IPv4 inside, then for IPv6; outer
    IPv6 header and SRH, or the SRH alone where it is inserted; all lengths 0 without encapsulation, and then there is
    one path for all. `first` uint8[paths, 16]: the SID that an inserted SRH makes the destination. `sources`
    uint8[hosts, 16]. `copied_hops` is 1 where the hop limit is the inner one.
    """

    headers: NDArray[np.uint8]
    header_bytes: NDArray[np.int64]
    first: NDArray[np.uint8]
    sources: NDArray[np.uint8]
    copied_hops: int


def templates(encapsulation: Encapsulation) -> Templates:
    """Lay out the headers of every path and family."""
    if not encapsulation.mode.steers:
        nothing = np.zeros((2, 1, 0), np.uint8)
        addresses = np.zeros((1, 16), np.uint8)
        return Templates(nothing, np.zeros((2, 1), np.int64), addresses, addresses, 0)
    families = ((encapsulation.segments4, _IPV4_INSIDE), (encapsulation.segments6, _IPV6_INSIDE))
    rows = [[_template(encapsulation, segments, inside) for segments in paths] for paths, inside in families]
    header_bytes = np.array([[len(header) for header in row] for row in rows], np.int64).reshape(2, -1)
    headers = np.zeros((*header_bytes.shape, int(header_bytes.max(initial=0))), np.uint8)
    for family, row in enumerate(rows):
        for path, header in enumerate(row):
            headers[family, path, : len(header)] = np.frombuffer(header, np.uint8)
    first = b"".join(segments[0] if segments else bytes(16) for segments in encapsulation.segments6)
    return Templates(
        headers,
        header_bytes,
        np.frombuffer(first, np.uint8).reshape(-1, 16).copy(),
        np.frombuffer(b"".join(encapsulation.source), np.uint8).reshape(-1, 16).copy(),
        int(encapsulation.hop_limit is None),
    )


def _template(encapsulation: Encapsulation, segments: Sequence[bytes], inside: int) -> bytes:
    """The header of one path and family; what differs between packets is 0."""
    reduced, tag = encapsulation.mode.reduced, encapsulation.tag
    key = encapsulation.key
    if encapsulation.mode.inserts:
        if not segments:
            return b""
        return segment_routing_header((*segments, bytes(16)), 0, reduced=reduced, tag=tag, key=key)
    if encapsulation.mode.layer_2:
        inside = _ETHERNET_INSIDE
    return outer_headers(segments, inside, encapsulation.hop_limit or 0, reduced=reduced, tag=tag, key=key)


def outer_headers(
    segments: Sequence[bytes], inside: int, hop_limit: int, *, reduced: bool, tag: int = 0, key: Key | None = None
) -> bytes:
    """Outer IPv6 header and SRH: `segments` in the order of travel, `inside` the packet's protocol number.

    Traffic class, flow label, payload length and source address are left 0. Reduced, a single segment needs no SRH
    (RFC 8986 section 5.2), unless a tag or an HMAC is to be carried.
    """
    srh = b""
    if not reduced or len(segments) > 1 or tag or key is not None:
        srh = segment_routing_header(segments, inside, reduced=reduced, tag=tag, key=key)
    next_header = _ROUTING if srh else inside
    return bytes((0x60, 0, 0, 0, 0, 0, next_header, hop_limit)) + bytes(16) + segments[0] + srh


def segment_routing_header(
    segments: Sequence[bytes], following: int, *, reduced: bool, tag: int = 0, key: Key | None = None
) -> bytes:
    """An SRH with all its segments left: `segments` in the order of travel, listed last first (RFC 8754 section 2).

    Reduced, the first segment stands in the destination address alone, so Segments Left is Last Entry + 1 (section
    4.1.1), and flag D of the HMAC TLV says so (section 2.1.2); a single segment is listed all the same. With `key`,
    the HMAC itself, the last 32 bytes, is left 0.
    """
    left_out = reduced and len(segments) > 1
    listed = tuple(reversed(segments[1:] if left_out else segments))
    tlv = b""
    if key is not None:
        bits = _NO_DESTINATION_CHECK if left_out else 0
        tlv = bytes((_HMAC_TLV, 6 + HMAC_BYTES)) + bits.to_bytes(2) + key.number.to_bytes(4) + bytes(HMAC_BYTES)
    units = 2 * len(listed) + len(tlv) // 8
    flags = _LINUX_HMAC if key is not None and key.flag else 0
    fixed = bytes((following, units, _SEGMENT_ROUTING, len(segments) - 1, len(listed) - 1, flags))
    return fixed + tag.to_bytes(2) + b"".join(listed) + tlv


def flow_labels(flows: pa.Table) -> NDArray[np.uint32]:
    """The outer flow label of every flow, uint32[flows], never 0 (RFC 6437 section 3; RFC 6438 section 3).

    The low 20 bits of the mixed flow key (docs/model.md), or 1 where they are 0: all packets of a flow have one
    label, so that transit routers that hash it keep them together. It differs from RFC 6437 in one thing: an IPv6
    packet's own label is not reused, for hosts change it within a flow when they retransmit, which would change the
    path of an ECMP transit.
    """
    words = flow_words(cast(pl.DataFrame, pl.from_arrow(flows)))
    labels: NDArray[np.uint32] = np.maximum(mix_each(flow_keys(words)) & _LABEL, 1).astype(np.uint32)
    return labels
