"""What a rewrite did: the files it wrote, and counts of what was changed or left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.replay.rewrite.schedule import Rows
from segcast.replay.srv6 import walk as outcomes
from segcast.replay.srv6.encapsulate import Packets

END_NS: Final = (1 << 32) * 1_000_000_000  # a pcap counts seconds in 32 bits

_NAMED: Final = 20
_MENDED: Final = {
    "padded": outcomes.PADDED,
    "shortened": outcomes.SHORTENED,
    "mapped": outcomes.MAPPED,
    "header_completed": outcomes.HEADER_MENDED,
    "fragment": outcomes.FRAGMENT,
    "fragment_cut": outcomes.FRAGMENT | outcomes.PADDED,
    "malformed": outcomes.MALFORMED,
    "checksum_left": outcomes.NO_CHECKSUM,
    "checksum_zeroed": outcomes.CHECKSUM_ZEROED,
    "checksum_unsure": outcomes.NO_CHECKSUM | outcomes.PADDED,
}


@dataclass(frozen=True, slots=True)
class HostCapture:
    """A capture that was written: bytes of its frames, times of its first and last packet.

    `host` names it: the steering host, or the interface that packets of the `hosts` are injected at, which is then
    `interface` too.
    """

    host: str
    interface: str
    hosts: tuple[str, ...]
    path: str
    packets: int
    bytes: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A packet of the schedule that was not written, and why."""

    source: str
    frame_number: int
    ip_bytes: int
    reason: str


@dataclass(frozen=True, slots=True)
class RewriteSummary:
    """What a rewrite did.

    `forecast`: the folder, absolute, and `cell`: whose schedule; None and empty if of no forecast.
    `largest_bytes`: of the IP packets on the wire, SRv6 included.
    `last_node`: what a packet has around it where it is unpacked, or delivered. `skipped`: packets not written, by
    reason; `refusals` names the first 20 of them. `mended` counts packets by what was done to them, a packet under
    every heading that fits: `padded` (bytes not captured are zero), `shortened` (bytes left out for the MTU), `mapped`
    (an address was replaced), `header_completed` (a header was cut), `fragment`, `fragment_cut`, `malformed` (a header
    contradicts the packet's length: written all the same), `checksum_left` (transport checksum as captured: a
    fragment, none in use, a protocol whose checksum is not known here), `checksum_zeroed` (cut first fragment of UDP
    over IPv4), `checksum_unsure` (padded and its checksum left, so that a receiver may find it wrong).
    """

    folder: str
    cell: str
    mode: str
    last_node: str
    packets: int
    bytes: int
    largest_bytes: int
    files: tuple[HostCapture, ...]
    skipped: dict[str, int]
    refusals: tuple[Refusal, ...]
    mended: dict[str, int]
    forecast: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return asdict(self)


class Tally:
    """Counts of what was written, int64 for each file, and of what was not."""

    def __init__(self, outputs: int) -> None:
        """Nothing yet."""
        self.packets = np.zeros(outputs, np.int64)
        self.bytes = np.zeros(outputs, np.int64)
        self.first_ns = np.full(outputs, END_NS, np.int64)
        self.last_ns = np.full(outputs, -1, np.int64)
        self.largest_bytes = 0
        self.skipped: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.refusals: list[Refusal] = []

    def refuse(
        self, source: Path | str, rows: Rows, ip_bytes: NDArray[np.int64], refused: NDArray[np.bool_], why: str
    ) -> None:
        """Count, and name the first, of the rows marked in `refused`."""
        self.skipped[why] += int(refused.sum())
        for row in np.flatnonzero(refused)[: _NAMED - len(self.refusals)]:
            self.refusals.append(Refusal(str(source), int(rows.frame_number[row]), int(ip_bytes[row]), why))

    def add(self, packets: Packets, frame_bytes: NDArray[np.int64], outcome: NDArray[np.int64]) -> None:
        """Count packets written, of at least one; `frame_bytes` and `outcome` (bits), int64, of each."""
        np.add.at(self.packets, packets.output, 1)
        np.add.at(self.bytes, packets.output, frame_bytes)
        np.minimum.at(self.first_ns, packets.output, packets.send_ns)
        np.maximum.at(self.last_ns, packets.output, packets.send_ns)
        self.largest_bytes = max(self.largest_bytes, int((frame_bytes - packets.link_bytes - 2).max()))
        for name, bits in _MENDED.items():
            self.mended[name] += int(np.count_nonzero(outcome & bits == bits))

    def files(
        self, out: Path, titles: Sequence[str], hosts: Sequence[Sequence[str]], names: Sequence[str], interfaces: bool
    ) -> tuple[HostCapture, ...]:
        """The files that hold packets, by their titles, hosts and file names."""
        return tuple(
            HostCapture(
                title,
                title if interfaces else "",
                tuple(hosts[row]),
                str(out / names[row]),
                int(self.packets[row]),
                int(self.bytes[row]),
                int(self.first_ns[row]),
                int(self.last_ns[row]),
            )
            for row, title in enumerate(titles)
            if self.packets[row]
        )

    def changed(self) -> dict[str, int]:
        """What was done to packets, by name; those that nothing was done for too."""
        return {name: self.mended[name] for name in _MENDED}
