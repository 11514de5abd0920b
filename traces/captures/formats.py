"""Recognises a capture's format and parses its rare parts: file headers, pcapng sections, interfaces and statistics."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from segcast.traces.captures.datalinks import SNOOP_LINKTYPES
from segcast.traces.captures.framing import MAX_BLOCK, MOST_DROPS, SECTION_STATE, Interfaces
from segcast.traces.linktypes import SNOOP_OTHER

_PCAP_MAGICS: Final[dict[int, tuple[int, int]]] = {  # magic: ns per fraction, record header bytes
    0xA1B2C3D4: (1000, 16),
    0xA1B23C4D: (1, 16),
    0xA1B2CD34: (1000, 24),
}
_PCAPNG_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_OTHERS: Final[dict[bytes, str]] = {
    b"\x02\x21\x4c\x18": "lz4-compressed in the legacy format; decompress it first: lz4 -dc FILE | segcast ingest -",
    b"snoop\0\0\0": "a snoop capture of another version than 2, or cut off; convert it with: editcap -F pcapng",
    b"PK\x03\x04": "a zip archive; unpack it and name the captures in it",
    b"PAR1": "a Parquet file, not a capture; name the trace folder it belongs to",
    b"RTSS": "a NetMon capture; convert it with: editcap -F pcapng",
    b"GMBU": "a NetMon capture; convert it with: editcap -F pcapng",
    b"\xd4\xc3\xb2\xa1\0\0": "a pcap cut off within its header",
}
MOST_INTERFACES: Final = 1 << 16  # of a section: more than any machine has, few enough for memory


class BadBlockError(Exception):
    """A section or interface block cannot be understood; the text says why."""


@dataclass(frozen=True, slots=True)
class PcapHeader:
    """What the 24-byte header of a classic pcap says (draft-ietf-opsawg-pcap section 4)."""

    big_endian: bool
    unit_ns: int
    record_header: int
    snaplen: int
    linktype: int
    swapped_lengths: int

    SIZE = 24

    def layout(self) -> npt.NDArray[np.int64]:
        """As the framing kernel takes it."""
        fields = (self.big_endian, self.unit_ns, self.record_header, self.linktype, self.swapped_lengths)
        return np.array(fields, np.int64)


def parse_pcap_header(head: bytes) -> PcapHeader | None:
    """The header of a classic pcap, or None if `head` does not begin with one of its magics."""
    for order in ("<", ">"):
        (magic,) = struct.unpack_from(order + "I", head.ljust(4, b"\0"))
        if magic not in _PCAP_MAGICS or len(head) < PcapHeader.SIZE:
            continue
        unit_ns, record_header = _PCAP_MAGICS[magic]
        major, minor, _, _, snaplen, network = struct.unpack_from(order + "HHiIII", head, 4)
        swapped = 0
        if (major, minor) < (2, 3) or major == 543:
            swapped = 2
        elif (major, minor) == (2, 3):
            swapped = 1
        linktype = network & 0xFFFF  # above it: the length of a frame check sequence
        return PcapHeader(order == ">", unit_ns, record_header, snaplen, linktype, swapped)
    return None


@dataclass(frozen=True, slots=True)
class SnoopHeader:
    """What the 16-byte header of a snoop capture says (RFC 1761)."""

    linktype: int

    SIZE = 16

    def layout(self) -> npt.NDArray[np.int64]:
        """As the framing kernel takes it."""
        return np.array([self.linktype, 0], np.int64)


def parse_snoop_header(head: bytes) -> SnoopHeader | None:
    """The header of a snoop capture of version 2, or None."""
    if not head.startswith(b"snoop\0\0\0\0\0\0\2") or len(head) < SnoopHeader.SIZE:
        return None
    (datalink,) = struct.unpack_from(">I", head, 12)
    return SnoopHeader(SNOOP_LINKTYPES.get(datalink, SNOOP_OTHER + min(datalink, 0xFF)))


def is_pcapng(head: bytes) -> bool:
    """Whether `head` begins with a section header block."""
    return head.startswith(_PCAPNG_MAGIC) and head[8:12] in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a")


def what_is_it(head: bytes) -> str:
    """For an error: what a file that is no capture seems to be, and how to mend it."""
    if not head:
        return "empty; record it again or check the copy"
    for magic, text in _OTHERS.items():
        if head.startswith(magic):
            return text
    if parse_pcap_header(head.ljust(PcapHeader.SIZE, b"\0")) or head.startswith(_PCAPNG_MAGIC):
        return "a capture cut off within its header; check the copy"
    return "not a capture; a pcap, pcapng or snoop file is needed, perhaps compressed"


class Section:
    """The current pcapng section: its byte order and interfaces, as the framing kernel takes them."""

    def __init__(self, whole_blocks: bool = False) -> None:
        """Before any section; `whole_blocks`: see the framing kernel's state."""
        self.state: Final = np.zeros(1, SECTION_STATE)
        self.state[0]["whole_blocks"] = whole_blocks
        self.interfaces = _empty_interfaces(8)
        self._drops: dict[int, tuple[int, int]] = {}  # of each interface, by itself and by the system
        self._earlier_drops = (0, 0)  # of earlier sections

    @property
    def count(self) -> int:
        """Number of interfaces described so far."""
        return int(self.state[0]["interfaces"])

    def block_length(self, block: bytes, kind_known: bool) -> int:
        """Length of the block whose first bytes are `block` (12 of a section header, else 8); raises BadBlockError.

        A section header gives its own byte order, which the section takes on.
        """
        if not kind_known:
            if block[8:12] == b"\x1a\x2b\x3c\x4d":
                big = True
            elif block[8:12] == b"\x4d\x3c\x2b\x1a":
                big = False
            else:
                raise BadBlockError("a section header has no byte-order magic")
            self._forget()
            self.state[0]["big_endian"] = big
            self._earlier_drops = self._summed_drops()
            self._drops = {}
        (length,) = struct.unpack_from(self._order + "I", block, 4)
        least = 12 if kind_known else 28
        if length < least or length % 4 or length > MAX_BLOCK:
            raise BadBlockError(f"a block has an impossible length ({length} bytes)")
        return int(length)

    @property
    def _order(self) -> str:
        return ">" if self.state[0]["big_endian"] else "<"

    def _forget(self) -> None:
        """Begin a section: it has no interfaces yet, and no block is being skipped."""
        self.state[0]["interfaces"] = 0
        self.pass_over()

    def pass_over(self) -> None:
        """Stop skipping a block."""
        for name in ("skip_bytes", "skipped_block_bytes"):
            self.state[0][name] = 0

    @property
    def skipping(self) -> bool:
        """Whether the bytes to come belong to a block that is skipped."""
        return bool(self.state[0]["skipped_block_bytes"])

    def begin(self, block: bytes) -> None:
        """Take a whole section header block; raises BadBlockError."""
        self._check_trailer(block)
        major, _minor = struct.unpack_from(self._order + "HH", block, 12)
        if major != 1:
            raise BadBlockError(f"pcapng version {major} is not supported")
        self._forget()

    def describe(self, block: bytes) -> tuple[int, int, int]:
        """Take a whole interface description block; its link type, snap length and if_tsresol."""
        self._check_trailer(block)
        if len(block) < 20:
            raise BadBlockError(f"a block has an impossible length ({len(block)} bytes)")
        linktype, _, snaplen = struct.unpack_from(self._order + "HHI", block, 8)
        resolution, offset_s = 6, 0
        for code, value in self._options(block[16:-4]):
            if code == 9 and len(value) == 1:
                resolution = value[0]
            elif code == 14 and len(value) == 8:
                (offset_s,) = struct.unpack(self._order + "q", value)
        at = self.count
        if at == MOST_INTERFACES:
            raise BadBlockError(f"a section describes more than {MOST_INTERFACES} interfaces")
        if at == len(self.interfaces.linktype):
            grown = _empty_interfaces(2 * at)
            for name in Interfaces._fields:
                getattr(grown, name)[:at] = getattr(self.interfaces, name)
            self.interfaces = grown
        self.interfaces.linktype[at] = linktype
        self.interfaces.snaplen[at] = snaplen
        mode, factor = _clock(resolution)
        self.interfaces.mode[at] = mode
        self.interfaces.factor[at] = factor
        self.interfaces.offset_s[at] = max(-(1 << 61), min(offset_s, 1 << 61))
        self.state[0]["interfaces"] += 1
        return int(linktype), int(snaplen), resolution

    def count_drops(self, block: bytes) -> None:
        """Take a whole interface statistics block. Its counts are cumulative, so an interface's last one holds."""
        self._check_trailer(block)
        if len(block) < 24:
            return
        (interface,) = struct.unpack_from(self._order + "I", block, 8)
        lost = {5: 0, 7: 0}  # isb_ifdrop, isb_osdrop
        for code, value in self._options(block[20:-4]):
            if code in lost and len(value) == 8:
                lost[code] = min(MOST_DROPS, *struct.unpack(self._order + "Q", value))
        if interface < self.count:
            self._drops[interface] = lost[5], lost[7]

    def drops(self) -> dict[str, int]:
        """Packets the capturing system says it lost, by who; only counts that are not 0."""
        interface, system = self._summed_drops()
        found = {"interface": interface, "os": system, "packet blocks": int(self.state[0]["packets_lost"])}
        return {name: count for name, count in found.items() if count}

    def _summed_drops(self) -> tuple[int, int]:
        (by_interface, by_system), now = self._earlier_drops, self._drops.values()
        return by_interface + sum(lost[0] for lost in now), by_system + sum(lost[1] for lost in now)

    def _check_trailer(self, block: bytes) -> None:
        if block[-4:] != block[4:8]:
            raise BadBlockError("a block ends with another length than it begins with")

    def _options(self, area: bytes) -> list[tuple[int, bytes]]:
        options = []
        at = 0
        while at + 4 <= len(area):
            code, length = struct.unpack_from(self._order + "HH", area, at)
            if code == 0 or at + 4 + length > len(area):
                break
            options.append((code, area[at + 4 : at + 4 + length]))
            at += 4 + (length + 3) // 4 * 4
        return options


def _empty_interfaces(capacity: int) -> Interfaces:
    return Interfaces(
        np.zeros(capacity, np.uint16),
        np.zeros(capacity, np.int64),
        np.zeros(capacity, np.uint8),
        np.ones(capacity, np.uint64),
        np.zeros(capacity, np.int64),
    )


def _clock(resolution: int) -> tuple[int, int]:
    """Mode and factor (see `Interfaces`) of an if_tsresol byte: powers of 10, or of 2 with the high bit."""
    exponent = resolution & 0x7F
    if resolution & 0x80:
        return 2, exponent
    if exponent <= 9:
        return 0, int(10 ** (9 - exponent))
    if exponent <= 28:
        return 1, int(10 ** (exponent - 9))
    return 2, 127  # 64 bits of such ticks never reach a nanosecond; nor do 64 bits of 2**-127 s


def resolution_ns(resolution: int) -> float:
    """Length of a tick of an if_tsresol byte, in nanoseconds."""
    exponent = resolution & 0x7F
    return 1e9 * (2.0**-exponent if resolution & 0x80 else 10.0**-exponent)
