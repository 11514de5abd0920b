"""Which packets of a schedule can be written, and how long they may be: what the wire and the MTU allow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.replay.rewrite.schedule import Rows
from segcast.replay.rewrite.summary import Tally
from segcast.replay.srv6.templates import IPV6_BYTES, MAX_PAYLOAD_BYTES
from segcast.traces.captures.reader import FrameBatch
from segcast.traces.errors import InputError
from segcast.traces.headers.decode import HAS_FRAGMENT, Headers

LEAST_MTU: Final = 1280  # RFC 8200 section 5
MOST_MTU: Final = MAX_PAYLOAD_BYTES + IPV6_BYTES

_IPV4_BYTES: Final = 20

Oversize = Literal["refuse", "shorten", "drop"]


@dataclass(frozen=True, slots=True)
class Mtu:
    """The largest IP packet in bytes, SRv6 included, and what happens to larger ones."""

    bytes: int
    oversize: Oversize = "refuse"

    def __post_init__(self) -> None:
        if not LEAST_MTU <= self.bytes <= MOST_MTU:
            raise InputError(f"MTU {self.bytes}: IPv6 needs {LEAST_MTU} to {MOST_MTU} bytes (RFC 8200 section 5)")


class PacketExtent(NamedTuple):
    """Of each row: `version`, bytes of the packet that were captured (`kept`) and its whole length (`total`), int64;
    `around` int64: bytes that SRv6 and an inner Ethernet header add.
    """

    version: NDArray[np.int64]
    kept: NDArray[np.int64]
    total: NDArray[np.int64]
    around: NDArray[np.int64]


def extent(
    source: Path | str,
    batch: FrameBatch,
    decoded: Headers,
    rows: Rows,
    frame: NDArray[np.int64],
    versions: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Captured and whole bytes of each row's packet, int64; `frame` int64: the rows' frames in the batch.

    Raises InputError if a frame is not a packet of the version that its flow has.
    """
    ip_start = decoded.ip_start[frame].astype(np.int64)
    later = (decoded.valid[frame] & HAS_FRAGMENT != 0) & (decoded.fragment_offset[frame] > 0)  # perhaps of a tunnel
    other = (decoded.version[frame] != versions[rows.flow]) & ~later
    strange = np.flatnonzero((ip_start < 0) | other)
    if len(strange):
        row = strange[0]
        raise InputError(
            f"{source}: frame {rows.frame_number[row]} is no IPv{versions[rows.flow[row]]} packet, as flow "
            f"{rows.flow[row]} is: give the captures that the trace was made from"
        )
    total = decoded.ip_bytes[frame].astype(np.int64)
    kept = np.minimum(batch.captured[frame].astype(np.int64) - ip_start, total)
    return kept, total


def admit(
    source: Path | str, rows: Rows, size: PacketExtent, inserts: bool, mtu: Mtu | None, tally: Tally
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows are written, int64 indices, and the length of each one's packet, int64.

    The others are counted and named. `inserts`: an SRH goes into the packet, which IPv4 has no place for.
    """
    ipv6 = size.version == 6
    cut, foreign = _unwritable(size, inserts)
    room = np.where(size.around > 0, MOST_MTU - size.around, MAX_PAYLOAD_BYTES + IPV6_BYTES * ipv6)
    total = size.total
    if mtu is not None:
        room = np.minimum(room, mtu.bytes - size.around)
    large = ~(cut | foreign) & (total > room)
    if mtu is not None and mtu.oversize == "shorten":
        # whole units of 4 bytes, so that SCTP chunks can end there
        total = np.where(large, room // 4 * 4, total)
        large = large & (total < 128)
    why_large = "too_large" if mtu is None else "longer_than_mtu"
    for refused, why in ((cut, "ip_header_not_captured"), (foreign, "ipv4_without_insertion"), (large, why_large)):
        if refused.any():
            tally.refuse(source, rows, size.total, refused, why)
    chosen = np.flatnonzero(~(cut | foreign | large))
    return chosen, total[chosen]


def _unwritable(size: PacketExtent, inserts: bool) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which packets lack their IP header, and which others an SRH cannot be inserted into; bool[n] each."""
    ipv6 = size.version == 6
    cut = size.kept < np.where(ipv6, IPV6_BYTES, _IPV4_BYTES)
    return cut, ~cut & ~ipv6 & (size.around > 0) & inserts


class Longest:
    """Counts the packets that an MTU is too small for."""

    def __init__(self) -> None:
        """Start with empty counts."""
        self.packets = 0
        self.over = 0
        self.largest_bytes = 0

    def add(self, size: PacketExtent, inserts: bool, mtu: Mtu) -> None:
        """Count these, but for those that cannot be written anyway; see `admit`."""
        cut, foreign = _unwritable(size, inserts)
        whole = (size.total + size.around)[~(cut | foreign)]
        self.packets += len(whole)
        self.over += int(np.count_nonzero(whole > mtu.bytes))
        self.largest_bytes = max(self.largest_bytes, int(whole.max(initial=0)))

    def check(self, mtu: Mtu) -> None:
        """Raise InputError if there are any."""
        if self.over:
            would = f"--mtu {self.largest_bytes} would do, or "
            if self.largest_bytes > MOST_MTU:
                would = "no MTU would do for all; give "
            raise InputError(
                f"{self.over} of {self.packets} packets are longer than an MTU of {mtu.bytes} bytes with SRv6 around "
                f"them: {would}--oversize shorten or drop"
            )
