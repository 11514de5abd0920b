"""What the framing kernels of all formats share: the rows they write, why they stop, and how flat records lie.

A framing kernel stops where it needs more bytes, where the rows are full, at a block that Python parses (sections,
interfaces, statistics), or at damage; it never allocates by a size it read.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, be32
from segcast.traces.jit import kernel

MAX_CAPTURED: Final = 262_144  # as Wireshark: WTAP_MAX_PACKET_SIZE_STANDARD
MAX_BLOCK: Final = 16 << 20  # as Wireshark; blocks that are only skipped may be longer

MORE: Final = 0  # the rest of the buffer is the beginning of a record
FULL: Final = 1  # no row is left
SECTION: Final = 2  # a section header block begins at the position
INTERFACE: Final = 3  # an interface description block begins at the position
TOO_LONG: Final = 4  # a record captured more than MAX_CAPTURED bytes
BAD_BLOCK_LENGTH: Final = 5
BAD_TRAILER: Final = 6
BAD_INTERFACE: Final = 7
BAD_CAPTURED: Final = 8  # more captured bytes than the block holds
STATISTICS: Final = 9  # an interface statistics block begins at the position
BAD_RECORD_LENGTH: Final = 10
JOINED: Final = 11  # the header of another capture begins at the position

DAMAGE: Final[dict[int, str]] = {
    TOO_LONG: f"a packet claims more than {MAX_CAPTURED} captured bytes",
    BAD_BLOCK_LENGTH: "a block has an impossible length",
    BAD_TRAILER: "a block ends with another length than it begins with",
    BAD_INTERFACE: "a packet names an interface that was not described",
    BAD_CAPTURED: "a packet claims more captured bytes than its block holds",
    BAD_RECORD_LENGTH: "a record has an impossible length",
    JOINED: "the header of another capture begins here, and is cut off",
}


class FrameColumns(NamedTuple):
    """Preallocated rows of a batch, written by the framing kernels."""

    start: npt.NDArray[np.int64]
    captured: npt.NDArray[np.uint32]
    wire: npt.NDArray[np.uint32]
    time_ns: npt.NDArray[np.int64]
    linktype: npt.NDArray[np.uint16]
    file_offset: npt.NDArray[np.uint64]


LAYOUT: Final = np.dtype(
    [
        ("kind", np.int64),  # the format: the number of its row in the registry
        ("big_endian", np.int64),
        ("unit_ns", np.int64),  # nanoseconds per fraction
        ("header_bytes", np.int64),  # of a record
        ("linktype", np.int64),
        ("swapped_lengths", np.int64),  # the two lengths may be (1) or are (2) the other way round
        ("drops", np.int64),  # that the records seen last report
        ("limit_bytes", np.int64),  # the most that a record captures: the snap length, or what was seen
        ("last_s", np.int64),  # time of the last good record
        ("last_known", np.int64),  # whether there is one
        ("time_jumps", np.int64),  # sound records that were far in time from the one before
        ("odd_fractions", np.int64),  # whether sound records gave fractions of a second or more
        ("odd_lengths", np.int64),  # whether sound records gave a length on the wire below the captured
        ("odd", np.int64),  # set by the framing kernel if it met a record odd in either way
    ]
)
"""How the records of a flat capture lie (one without blocks), and what is known of them so far."""


def new_layout(kind: int, *, unit_ns: int, header_bytes: int, snaplen: int = 0, **fields: int) -> npt.NDArray[np.void]:
    """One row of LAYOUT, before the first record; fields that are not named are 0."""
    layout = np.zeros(1, LAYOUT)
    limit = snaplen if 0 < snaplen <= MAX_CAPTURED else MAX_CAPTURED
    fields |= {"kind": kind, "unit_ns": unit_ns, "header_bytes": header_bytes, "limit_bytes": limit}
    for name, value in fields.items():
        layout[0][name] = value
    return layout


@kernel
def is_pcap_version(word: int) -> bool:
    """Whether a word, read in either order, is version 2.4 as it stands behind the magic of a classic pcap."""
    return word == 0x00020004 or word == 0x02000400 or word == 0x00040002 or word == 0x04000200


@kernel
def is_pcap_magic(word: int) -> bool:
    """Whether a word, read in either order, is the magic of a classic pcap."""
    if word == 0xA1B2C3D4 or word == 0xA1B23C4D or word == 0xA1B2CD34:
        return True
    return word == 0xD4C3B2A1 or word == 0x4D3CB2A1 or word == 0x34CDB2A1


@kernel
def file_begins(data: Bytes, at: int) -> bool:
    """Whether the header of a capture begins at `at`, where 12 bytes can be read: one that has magic numbers."""
    first, second = be32(data, at), be32(data, at + 4)
    if first == 0x0A0D0D0A:
        third = be32(data, at + 8)
        return bool(third == 0x1A2B3C4D or third == 0x4D3C2B1A)
    if first == 0x736E6F6F:
        return bool(second == 0x70000000 and be32(data, at + 8) == 2)
    return is_pcap_magic(first) and is_pcap_version(second)
