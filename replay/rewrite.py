"""`segcast rewrite`: writes a schedule's packets, SRv6 around them, as one capture per steering host."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from replay import walk as outcomes
from replay.encapsulate import RECORD_BYTES, Packets, encapsulate
from replay.join import Rows, joined, read_order, unordered
from replay.mend import mend
from replay.pcap import PcapFolder
from replay.srv6 import (
    ETHERNET_BYTES,
    IPV6_BYTES,
    MAX_PAYLOAD_BYTES,
    Encapsulation,
    Templates,
    flow_labels,
    templates,
)
from replay.walk import Found, Inner
from traces.capture import FrameBatch
from traces.decode import HAS_FRAGMENT, OUTER, Headers, decode_batch
from traces.errors import InputError

MANIFEST: Final = "rewrite.json"

_CHUNK_BYTES: Final = 8 << 20
_NAMED: Final = 20
_IPV4_BYTES: Final = 20
_END_NS: Final = (1 << 32) * 1_000_000_000  # a pcap counts seconds in 32 bits
_MENDED: Final = {
    "padded": outcomes.PADDED,
    "header_completed": outcomes.HEADER_MENDED,
    "fragment": outcomes.FRAGMENT,
    "fragment_cut": outcomes.FRAGMENT | outcomes.PADDED,
    "malformed": outcomes.MALFORMED,
    "checksum_left": outcomes.NO_CHECKSUM,
    "checksum_zeroed": outcomes.CHECKSUM_ZEROED,
    "checksum_unsure": outcomes.NO_CHECKSUM | outcomes.PADDED,
}


@dataclass(frozen=True, slots=True)
class Hosts:
    """The steering hosts: `names` (addresses or prefixes), and each flow's host, int64 by flow_id."""

    names: tuple[str, ...]
    of_flow: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class HostCapture:
    """A capture that was written: bytes of its frames, times of its first and last packet."""

    host: str
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

    `cell`: whose schedule; empty if of no forecast. `skipped`: packets not written, by reason; `refusals` names the
    first 20 of them. `mended` counts packets by what was done to them, a packet under every heading that fits:
    `padded` (bytes not captured are zero), `header_completed` (a header was cut), `fragment`, `fragment_cut`,
    `malformed` (a header contradicts the packet's length: written all the same), `checksum_left` (transport checksum
    as captured: a fragment, none in use, a protocol whose checksum is not known here), `checksum_zeroed` (cut first
    fragment of UDP over IPv4), `checksum_unsure` (padded and its checksum left, so that a receiver may find it wrong).
    """

    folder: str
    cell: str
    mode: str
    packets: int
    bytes: int
    files: tuple[HostCapture, ...]
    skipped: dict[str, int]
    refusals: tuple[Refusal, ...]
    mended: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The summary as JSON values."""
        return asdict(self)


class _Tally:
    """Counts of what was written, int64 for each host, and of what was not."""

    def __init__(self, hosts: int) -> None:
        self.packets = np.zeros(hosts, np.int64)
        self.bytes = np.zeros(hosts, np.int64)
        self.first_ns = np.full(hosts, _END_NS, np.int64)
        self.last_ns = np.full(hosts, -1, np.int64)
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

    def add(self, packets: Packets, frame_bytes: NDArray[np.int64]) -> None:
        """Count packets written."""
        np.add.at(self.packets, packets.host, 1)
        np.add.at(self.bytes, packets.host, frame_bytes)
        np.minimum.at(self.first_ns, packets.host, packets.send_ns)
        np.maximum.at(self.last_ns, packets.host, packets.send_ns)


def rewrite_schedule(
    schedule: pa.Table,
    flows: pa.Table,
    sources: Sequence[Path | str],
    encapsulation: Encapsulation,
    hosts: Hosts,
    out: Path,
    *,
    cell: str = "",
    layer: str = OUTER,
    resumed: Collection[int] = (),
    chunk_bytes: int = _CHUNK_BYTES,
    progress: Callable[[int], None] | None = None,
) -> RewriteSummary:
    """Write the packets of `schedule` to `out`, a capture per host, and a `rewrite.json` of what is returned.

    `schedule`: columns `file`, `frame_number`, `flow_id`, `path_id`, `send_ns` of a forecast's packets; each
    row is a packet to send. `flows` and `layer`: those of the trace. `sources`: its captures, by `file`;
    `resumed`: those that it went on with after damage.
    `progress` is called with the number of packets dealt with so far. Memory: the schedule's columns, a batch of
    frames, `chunk_bytes` of output. Every field written is described in docs/rewrite.md.

    Raises InputError if the schedule does not belong to the captures, a path has no segments, a time does not
    fit a pcap, or `out` holds captures that no earlier rewrite wrote. `out` is then as it was.
    """
    rows = read_order(schedule)
    _check(rows, flows, encapsulation, hosts)
    if encapsulation.mode == "none":
        rows = rows._replace(path=np.zeros_like(rows.path))
    headers = templates(encapsulation)
    labels = flow_labels(flows).astype(np.int64)
    versions = flows.column("ip_version").to_numpy().astype(np.int64)
    tally = _Tally(len(hosts.names))
    host = hosts.of_flow[rows.flow]
    done = 0
    with PcapFolder(out, hosts.names, unordered(rows, host, len(hosts.names)), _earlier(out)) as folder:
        for source, batch, part, frame in joined(rows, sources, resumed):
            decoded = decode_batch(batch, layer=layer)
            version = decoded.version[frame].astype(np.int64)
            kept, total = _extent(source, batch, decoded, part, frame, versions)
            chosen = _admit(source, part, kept, total, headers, version, tally)
            rank = part.rank[chosen]
            unplaced = np.empty(len(chosen), np.int64)
            packets = Packets(
                (batch.start[frame] + decoded.ip_start[frame])[chosen],
                kept[chosen],
                total[chosen],
                (version[chosen] == 6).astype(np.int64),
                part.path[chosen],
                hosts.of_flow[part.flow[chosen]],
                labels[part.flow[chosen]],
                part.send_ns[chosen],
                unplaced,
                unplaced,
            )
            for piece, piece_rank in _pieces(packets, rank, headers, chunk_bytes):
                _write(batch.data, piece, piece_rank, headers, folder, tally)
            done += len(part.rank)
            if progress is not None:
                progress(done)
        summary = _summary(out, cell, encapsulation.mode, hosts, folder.names, tally)
        folder.finish(MANIFEST, json.dumps(summary.as_dict(), indent=1).encode() + b"\n")
    return summary


def _check(rows: Rows, flows: pa.Table, encapsulation: Encapsulation, hosts: Hosts) -> None:
    """Raise InputError unless every row has a flow, a host, a path and a time that can be written."""
    if len(rows.flow) == 0:
        return
    if int(rows.flow.max()) >= min(flows.num_rows, len(hosts.of_flow)):
        raise InputError(
            f"the schedule names flow {rows.flow.max()}, which the trace has not: give the forecast's trace"
        )
    host = hosts.of_flow[rows.flow]
    if int(host.min()) < 0 or int(host.max()) >= len(hosts.names):
        flow = rows.flow[np.flatnonzero((host < 0) | (host >= len(hosts.names)))[0]]
        raise InputError(f"flow {flow} of the schedule has no steering host: assign its source address to one")
    if int(rows.send_ns.min()) < 0 or int(rows.send_ns.max()) >= _END_NS:
        bad = rows.send_ns[np.flatnonzero((rows.send_ns < 0) | (rows.send_ns >= _END_NS))[0]]
        raise InputError(f"send time {bad} ns does not fit a pcap (1970 to 2106): shift the schedule")
    if encapsulation.mode == "none":
        return
    if int(rows.path.max()) >= len(encapsulation.segments4):
        raise InputError(
            f"path {rows.path.max()} of the schedule has no segments: "
            f"the scenario gives them for {len(encapsulation.segments4)} paths"
        )
    if int(host.max()) >= len(encapsulation.source):
        raise InputError(f"host {hosts.names[int(host.max())]} has no outer source address: give one for each host")


def _earlier(out: Path) -> list[str]:
    """Names of the captures that an earlier rewrite wrote to `out`."""
    try:
        listed = [Path(entry["path"]).name for entry in json.loads((out / MANIFEST).read_text())["files"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
    return [name for name in listed if name.endswith(".pcap")]


def _extent(
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


def _admit(
    source: Path | str,
    rows: Rows,
    kept: NDArray[np.int64],
    total: NDArray[np.int64],
    headers: Templates,
    version: NDArray[np.int64],
    tally: _Tally,
) -> NDArray[np.int64]:
    """Which rows can be written, int64 indices; the others are counted and named. `version`: of each row's packet."""
    ipv6 = version == 6
    cut = kept < np.where(ipv6, IPV6_BYTES, _IPV4_BYTES)
    outer = headers.header_bytes[ipv6.astype(np.int64), rows.path]
    room = np.where(outer > 0, MAX_PAYLOAD_BYTES + IPV6_BYTES - outer, MAX_PAYLOAD_BYTES + IPV6_BYTES * ipv6)
    large = ~cut & (total > room)
    for refused, why in ((cut, "ip_header_not_captured"), (large, "too_large")):
        if refused.any():
            tally.refuse(source, rows, total, refused, why)
    return np.flatnonzero(~(cut | large))


def _pieces(
    packets: Packets, rank: NDArray[np.int64], headers: Templates, chunk_bytes: int
) -> Iterator[tuple[Packets, NDArray[np.int64]]]:
    """The packets by host, laid out end to end, in pieces of `chunk_bytes` or one packet; `rank` alike."""
    order = np.argsort(packets.host, kind="stable")
    outer = headers.header_bytes[packets.family, packets.path]
    size = (RECORD_BYTES + ETHERNET_BYTES + outer + packets.total)[order]
    ends = np.cumsum(size)
    first = 0
    while first < len(order):
        before = int(ends[first - 1]) if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, before + chunk_bytes, "right")))
        chosen = order[first:stop]
        record = ends[first:stop] - size[first:stop] - before
        inner = record + RECORD_BYTES + ETHERNET_BYTES + outer[chosen]
        yield (
            Packets(*(column[chosen] for column in packets))._replace(record=record, inner=inner),
            rank[chosen],
        )
        first = stop


def _write(
    data: NDArray[np.uint8],
    packets: Packets,
    rank: NDArray[np.int64],
    headers: Templates,
    folder: PcapFolder,
    tally: _Tally,
) -> None:
    """Build the records of one piece, append each host's to its capture, and count them."""
    ends = packets.inner + packets.total
    buffer = np.empty(int(ends[-1]), np.uint8)
    encapsulate(data, packets, headers, buffer)
    inner = Inner(packets.inner, packets.total, packets.kept, packets.family)
    found = Found(*(np.empty(len(rank), np.int64) for _ in Found._fields))
    walk_and_mend(buffer, inner, found)
    for name, bits in _MENDED.items():
        tally.mended[name] += int(np.count_nonzero(found.outcome & bits == bits))
    tally.add(packets, ends - packets.record - RECORD_BYTES)
    edges = np.flatnonzero(np.diff(packets.host)) + 1
    for first, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(rank)], strict=True):
        records = buffer[packets.record[first] : ends[stop - 1]]
        sizes = ends[first:stop] - packets.record[first:stop]
        folder.append(int(packets.host[first]), records, rank[first:stop], sizes)


def walk_and_mend(buffer: NDArray[np.uint8], inner: Inner, found: Found) -> None:
    """Mend all packets in the buffer and fill `found`: both kernels, one after the other."""
    outcomes.walk(buffer, inner, found)
    mend(buffer, inner, found)


def _summary(out: Path, cell: str, mode: str, hosts: Hosts, names: Sequence[str], tally: _Tally) -> RewriteSummary:
    """The tally as the summary."""
    files = tuple(
        HostCapture(
            name,
            str(out / names[host]),
            int(tally.packets[host]),
            int(tally.bytes[host]),
            int(tally.first_ns[host]),
            int(tally.last_ns[host]),
        )
        for host, name in enumerate(hosts.names)
        if tally.packets[host]
    )
    return RewriteSummary(
        str(out),
        cell,
        mode,
        int(tally.packets.sum()),
        int(tally.bytes.sum()),
        files,
        dict(sorted(tally.skipped.items())),
        tuple(tally.refusals),
        {name: tally.mended[name] for name in _MENDED},
    )
