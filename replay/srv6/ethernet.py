"""Ethernet headers of rewritten frames: whose MAC addresses, and which VLAN tags (IEEE 802.1Q)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from segcast.replay.srv6.templates import check_mac
from segcast.traces.errors import InputError
from segcast.traces.jit import allocating

MOST_LINK_BYTES: Final = 28  # two addresses, four tags

_ETHERNET: Final = 1  # link type
_VLAN: Final = 0x8100
_SERVICE_VLAN: Final = 0x88A8
_MOST_VLAN: Final = 4094


@dataclass(frozen=True, slots=True)
class Vlan:
    """The tags of a frame: those captured if `kept`, else these, outermost first; none by default."""

    kept: bool = False
    tags: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """`keep`, `strip`, an ID, or two with a dot between them, the outer one first. Raises InputError."""
        if text in ("keep", "strip"):
            return cls(kept=text == "keep")
        tags = tuple(int(part) for part in text.split(".")) if re.fullmatch(r"\d{1,4}(\.\d{1,4})?", text) else ()
        if not tags or not all(1 <= tag <= _MOST_VLAN for tag in tags):
            raise InputError(f"--vlan {text}: give keep, strip, an ID of 1 to {_MOST_VLAN}, or OUTER.INNER")
        return cls(tags=tags)

    def on_the_wire(self) -> bytes:
        """The tags as bytes; two are QinQ, the outer one a service tag."""
        kinds = (_SERVICE_VLAN, _VLAN)[-len(self.tags) :] if self.tags else ()
        return b"".join(kind.to_bytes(2) + tag.to_bytes(2) for kind, tag in zip(kinds, self.tags, strict=True))


def parse_macs(pairs: Sequence[str]) -> tuple[tuple[bytes, bytes], ...]:
    """`OLD=NEW` of each pair as bytes. Raises InputError."""
    found: dict[bytes, bytes] = {}
    for pair in pairs:
        octets = r"((?:[0-9a-f]{2}:){5}[0-9a-f]{2})"
        match = re.fullmatch(f"{octets}={octets}", pair.lower())
        if match is None:
            raise InputError(f"--map-mac {pair}: write it like 52:54:00:00:00:01=02:00:00:00:00:01")
        old, new = (bytes.fromhex(address.replace(":", "")) for address in match.groups())
        if found.setdefault(old, new) != new:
            raise InputError(f"--map-mac {pair}: {match[1]} is mapped to two addresses; give one")
        if not old[0] & 1:
            check_mac("source", new)
    return tuple(found.items())


@allocating
def _lay_out(
    data: NDArray[np.uint8],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    bare: NDArray[np.uint8],
    old: NDArray[np.int64],
    new: NDArray[np.int64],
    keep_macs: bool,
    keep_tags: bool,
    tags: NDArray[np.uint8],
    out: NDArray[np.uint8],
    size: NDArray[np.int64],
) -> None:
    """See `LinkHeaders.of`; `start` is -1 for frames that are no Ethernet; `old` is sorted."""
    for i in range(len(start)):
        at = 12
        for k in range(12):
            out[i, k] = bare[i, k]
        if start[i] >= 0 and (keep_macs or len(old) > 0):
            for half in (0, 6):
                address = np.int64(0)
                for k in range(half, half + 6):
                    address = address << 8 | np.int64(data[start[i] + k])
                place = np.searchsorted(old, address)
                known = place < len(old) and old[place] == address
                if known:
                    address = new[place]
                if known or keep_macs:
                    for k in range(6):
                        out[i, half + k] = (address >> 8 * (5 - k)) & 255
        if keep_tags:
            tag = start[i] + 12
            while start[i] >= 0 and at < out.shape[1] and tag + 6 <= end[i]:
                kind = np.int64(data[tag]) << 8 | np.int64(data[tag + 1])
                if kind != 0x8100 and kind != 0x88A8 and kind != 0x9100:
                    break
                for k in range(4):
                    out[i, at + k] = data[tag + k]
                at += 4
                tag += 4
        for k in range(len(tags)):
            out[i, at] = tags[k]
            at += 1
        size[i] = at


class LinkHeaders:
    """Lays out Ethernet headers up to the EtherType: addresses and tags."""

    def __init__(self, macs: Sequence[tuple[bytes, bytes]], vlan: Vlan, *, keep_macs: bool = False) -> None:
        """`macs`: captured addresses and what stands for them; `keep_macs`: others stay, else they are the host's."""
        pairs = sorted((int.from_bytes(old), int.from_bytes(new)) for old, new in macs)
        self._old = np.array([old for old, _ in pairs], np.int64)
        self._new = np.array([new for _, new in pairs], np.int64)
        self._keep_macs = keep_macs
        self._vlan = vlan
        self._tags = np.frombuffer(vlan.on_the_wire(), np.uint8)

    def of(
        self,
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        linktype: NDArray[np.uint16],
        bare: NDArray[np.uint8],
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The headers, uint8[n, 28], and how long each is, int64[n].

        `data` uint8: the capture buffer; `start`, `end` int64[n]: each frame and its IP header in it; `bare`
        uint8[n, 12]: destination and source address of the host. Captured addresses and tags are those of Ethernet
        frames; of others nothing is known.
        """
        out = np.zeros((len(start), MOST_LINK_BYTES), np.uint8)
        size = np.empty(len(start), np.int64)
        first = np.where(linktype == _ETHERNET, start, -1)
        settings = (self._keep_macs, self._vlan.kept, self._tags)
        _lay_out(data, first, end, bare, self._old, self._new, *settings, out, size)
        return out, size
