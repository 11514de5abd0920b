"""pcapng: sections, interfaces and statistics, which Python parses, and the interfaces' packet blocks.

Format: draft-ietf-opsawg-pcapng. Blocks of other kinds are skipped.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np

from segcast.traces.captures.formats.flat import Need
from segcast.traces.captures.formats.pcapng_blocks import MOST_DROPS, SECTION_STATE, Interfaces, frame_pcapng
from segcast.traces.captures.formats.pcapng_clocks import clock
from segcast.traces.captures.framing import MAX_BLOCK, FrameColumns
from segcast.traces.captures.window import CaptureWindow

MAGIC: Final = b"\x0a\x0d\x0d\x0a"
MOST_INTERFACES: Final = 1 << 16  # of a section: more than any machine has, few enough for memory


def recognise(need: Need) -> Section | None:
    """A section to be begun, if a section header block begins here."""
    head = need(12)
    if head.startswith(MAGIC) and head[8:12] in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
        return Section()
    return None


class BadBlockError(Exception):
    """A section or interface block cannot be understood; the text says why."""


class Section:
    """The current pcapng section: its byte order and interfaces, as the framing kernel takes them."""

    name = "pcapng"
    header_bytes = 0

    def __init__(self) -> None:
        """Before any section."""
        self.state: Final = np.zeros(1, SECTION_STATE)
        self.interfaces = _empty_interfaces(8)
        self._drops: dict[int, tuple[int, int]] = {}  # of each interface, by itself and by the system
        self._earlier_drops = (0, 0)  # of earlier sections

    def frame(self, window: CaptureWindow, out: FrameColumns) -> tuple[int, int]:
        """Frame what the window shows; (rows, status)."""
        count, window.position, status = frame_pcapng(
            window.data, window.position, window.end, window.base, self.state, self.interfaces, out
        )
        return count, status

    def take_odd(self) -> bool:
        """Whether records that cannot be as they say were framed since the last call."""
        odd = bool(self.state[0]["odd"])
        self.state[0]["odd"] = 0
        return odd

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
        mode, factor = clock(resolution)
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
