"""What a rewrite did: `rewrite.json`, declared once, and the counts that it is made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, Strict

from segcast.analyzer.network.sid_table import SidTable
from segcast.analyzer.network.srv6_modes import Mode
from segcast.replay.rewrite.schedule import Rows
from segcast.replay.srv6 import walk as outcomes
from segcast.replay.srv6.encapsulate import InnerPackets
from segcast.traces.disk.documents import Count, Shape, Whole, read_shape

Resolution = Literal["ns", "us"]

MANIFEST: Final = "rewrite.json"
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


class HostCapture(Shape):
    """A capture that was written."""

    host: str = Field(description="the steering host, or the interface that packets of `hosts` are injected at")
    interface: str = Field("", description="the same where it is an interface, else empty")
    hosts: list[str] = Field([], description="the steering hosts whose packets it holds")
    path: str = Field(description="the file")
    packets: Count | None = Field(None, description="packets in it")
    bytes: Count | None = Field(None, description="bytes of its frames")
    first_ns: Whole | None = Field(None, description="time of its first packet")
    last_ns: Whole | None = Field(None, description="time of its last packet")


class Refusal(Shape):
    """A packet of the schedule that was not written."""

    source: str = Field(description="the capture that it is in")
    frame_number: Count = Field(description="its frame there")
    ip_bytes: Count = Field(description="length of its IP packet")
    reason: str = Field(description="why it was not written")


class RewriteSummary(Shape):
    """What a rewrite did: the captures it wrote, what was done to packets, and what was left out."""

    folder: str = Field("", description="the folder of the captures, as it was named")
    cell: str = Field("", description="cell of the forecast whose schedule it is; `probes` for probes; else empty")
    mode: Annotated[Mode, Strict(False)] | None = Field(
        None, description="how SRv6 is written; `none` where packets are not steered"
    )
    last_node: str = Field("", description="in words, what is around a packet where it is unpacked or delivered")
    packets: Count = Field(0, description="packets written")
    bytes: Count = Field(0, description="bytes of their frames")
    largest_bytes: Count = Field(0, description="the largest IP packet on the wire, SRv6 included")
    files: list[HostCapture] = Field([], description="the captures")
    skipped: dict[str, Count] = Field({}, description="packets that were not written, by reason")
    refusals: list[Refusal] = Field([], description="the first 20 of those")
    hop_limit_1: Count = Field(
        0, description="packets whose own hop limit is 1 or 0: the router behind SRv6 drops them"
    )
    mended: dict[str, Count] = Field(
        {},
        description="packets by what was done to them, each under every heading that fits: `padded` (bytes that were "
        "not captured are zero), `shortened` (bytes left out for the MTU), `mapped` (an address was replaced), "
        "`header_completed` (a header was cut), `fragment`, `fragment_cut`, `malformed` (a header contradicts the "
        "packet's length; written all the same), `checksum_left` (transport checksum as captured: a fragment, none in "
        "use, or a protocol whose checksum we do not know), `checksum_zeroed` (a cut first fragment of UDP over IPv4), "
        "`checksum_unsure` (padded and its checksum left, so that a receiver may find it wrong)",
    )
    forecast: str | None = Field(None, description="the forecast's folder, absolute; null if it is of none")
    sids: SidTable | None = Field(
        None, description="the SIDs of the network, and the segment lists of its paths; null where none are written"
    )
    pcap: Resolution = Field("ns", description="resolution of the files' times: `ns` or `us`")
    speed: float = Field(1.0, description="how much faster packets are sent than scheduled; absent where they are not")

    def as_dict(self) -> dict[str, Any]:
        """The content as JSON values, in the order of the file."""
        content = super().as_dict()
        if self.speed == 1:
            del content["speed"]
        return content


def read_rewrite(folder: Path, missing: str, mend: str) -> RewriteSummary:
    """What the rewrite in `folder` says of itself. Raises InputError: `missing` if nothing, else ending in `mend`."""
    return read_shape(folder / MANIFEST, RewriteSummary, missing, mend)


def nothing_written(tally: Tally, packets: int) -> str:
    """What to say if none of the packets of a schedule could be written."""
    if not packets:
        return "the schedule has no packets, so there is nothing to replay"
    why = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in sorted(tally.skipped.items()))
    return f"none of the {packets:,} packets can be written, so there is nothing to replay: {why}"


class Tally:
    """Counts of what was written, int64 for each file, and of what was not."""

    def __init__(self, outputs: int) -> None:
        """Start with empty counts for each output."""
        self.packets = np.zeros(outputs, np.int64)
        self.bytes = np.zeros(outputs, np.int64)
        self.first_ns = np.full(outputs, END_NS, np.int64)
        self.last_ns = np.full(outputs, -1, np.int64)
        self.largest_bytes = 0
        self.skipped: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.refusals: list[Refusal] = []
        self.hop_limit_1 = 0

    def refuse(
        self, source: Path | str, rows: Rows, ip_bytes: NDArray[np.int64], refused: NDArray[np.bool_], why: str
    ) -> None:
        """Count, and name the first, of the rows marked in `refused`."""
        self.skipped[why] += int(refused.sum())
        for row in np.flatnonzero(refused)[: _NAMED - len(self.refusals)]:
            self.refusals.append(
                Refusal(
                    source=str(source),
                    frame_number=int(rows.frame_number[row]),
                    ip_bytes=int(ip_bytes[row]),
                    reason=why,
                )
            )

    def add(self, packets: InnerPackets, frame_bytes: NDArray[np.int64], outcome: NDArray[np.int64]) -> None:
        """Count packets written, of at least one; `frame_bytes` and `outcome` (bits), int64, of each."""
        np.add.at(self.packets, packets.output, 1)
        np.add.at(self.bytes, packets.output, frame_bytes)
        np.minimum.at(self.first_ns, packets.output, packets.send_ns)
        np.maximum.at(self.last_ns, packets.output, packets.send_ns)
        self.largest_bytes = max(self.largest_bytes, int((frame_bytes - packets.link_bytes - 2).max()))
        for name, bits in _MENDED.items():
            self.mended[name] += int(np.count_nonzero(outcome & bits == bits))

    def files(
        self,
        out: Path,
        titles: Sequence[str],
        hosts: Sequence[Sequence[str]],
        names: Sequence[str],
        interfaces: bool,
        pcap: Resolution = "ns",
    ) -> list[HostCapture]:
        """The files that hold packets, by their titles, hosts and file names; times as `pcap` can say them."""
        step = 1000 if pcap == "us" else 1
        return [
            HostCapture(
                host=title,
                interface=title if interfaces else "",
                hosts=list(hosts[row]),
                path=str(out / names[row]),
                packets=int(self.packets[row]),
                bytes=int(self.bytes[row]),
                first_ns=int(self.first_ns[row]) // step * step,
                last_ns=int(self.last_ns[row]) // step * step,
            )
            for row, title in enumerate(titles)
            if self.packets[row]
        ]

    def changed(self) -> dict[str, int]:
        """What was done to packets, by name; those that nothing was done for too."""
        return {name: self.mended[name] for name in _MENDED}
