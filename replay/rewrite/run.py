"""`segcast rewrite`: writes a schedule's packets, SRv6 around them, as one capture per host or interface."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.network.sid_table import SidTable
from segcast.analyzer.traffic.prepare import scaled_ns
from segcast.replay.rewrite.admit import Longest, Mtu, PacketExtent, admit, extent
from segcast.replay.rewrite.background import Background
from segcast.replay.rewrite.interfaces import Outputs, by_host
from segcast.replay.rewrite.pcap import PcapFolder, file_names
from segcast.replay.rewrite.schedule import Rows, joined, read_order, unordered
from segcast.replay.rewrite.summary import (
    END_NS,
    MANIFEST,
    Resolution,
    RewriteSummary,
    Tally,
    nothing_written,
    read_rewrite,
)
from segcast.replay.rewrite.trex import SCRIPT, trex_script
from segcast.replay.srv6 import walk as outcomes
from segcast.replay.srv6.encapsulate import RECORD_BYTES, InnerPackets, encapsulate, insert
from segcast.replay.srv6.ethernet import LinkHeaders, Vlan
from segcast.replay.srv6.mend import mend
from segcast.replay.srv6.remap import Prefixes, follow, remap
from segcast.replay.srv6.signing import Signer
from segcast.replay.srv6.templates import Encapsulation, Templates, flow_labels, templates
from segcast.replay.srv6.walk import Inner, WalkedPackets
from segcast.traces.captures.reader import FrameBatch
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder
from segcast.traces.errors import InputError
from segcast.traces.headers.decode import OUTER, decode_batch

_CHUNK_BYTES: Final = 24 << 20
_PROBES: Final = "probes.json"  # what a calibration puts beside its captures
_ETHERTYPE_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class Hosts:
    """The steering hosts: `names` (addresses or prefixes), and each flow's host, int64 by flow_id."""

    names: tuple[str, ...]
    of_flow: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RewriteChoices:
    """What of the packets differs from the forecast's, and the words that the summary has for where they end.

    `prefixes`: addresses that others stand for; `macs`: captured MAC addresses and what stands for them; `speed`: how
    much faster packets are sent; `pcap`: the resolution of files; `last_node`: see `RewriteSummary`.
    """

    mtu: Mtu | None = None
    prefixes: Prefixes | None = None
    macs: tuple[tuple[bytes, bytes], ...] = ()
    vlan: Vlan = field(default_factory=Vlan)
    speed: Fraction = Fraction(1)
    pcap: Resolution = "ns"
    last_node: str = ""


class _Scratch:
    """Two buffers that are used in turn: fresh pages for each piece would cost as much as filling them."""

    def __init__(self) -> None:
        self._buffers = [np.empty(0, np.uint8), np.empty(0, np.uint8)]

    def take(self, size: int) -> NDArray[np.uint8]:
        """So many bytes, of any content; what was taken the time before is kept, and what before that is lost."""
        self._buffers.reverse()
        if len(self._buffers[0]) < size:
            self._buffers[0] = np.empty(size, np.uint8)
        return self._buffers[0][:size]


class _Job(NamedTuple):
    """Everything that stays the same from batch to batch; `label` and `version` int64 by flow."""

    encapsulation: Encapsulation
    hosts: Hosts
    outputs: Outputs
    choices: RewriteChoices
    headers: Templates
    label: NDArray[np.int64]
    version: NDArray[np.int64]
    outer_link: LinkHeaders
    inner_link: LinkHeaders
    signer: Signer | None
    chunk_bytes: int
    scratch: _Scratch


class _Batch(NamedTuple):
    """Rows whose frames lie in one buffer: `frame` int64, their place in it; what is known of their packets."""

    source: Path | str
    frames: FrameBatch
    rows: Rows
    frame: NDArray[np.int64]
    start: NDArray[np.int64]
    size: PacketExtent
    inside: NDArray[np.uint8]
    inside_bytes: NDArray[np.int64]


def rewrite_schedule(
    schedule: pa.Table,
    flows: pa.Table,
    sources: Sequence[Path | str],
    encapsulation: Encapsulation,
    hosts: Hosts,
    out: Path,
    *,
    cell: str = "",
    forecast: Path | None = None,
    layer: str = OUTER,
    resumed: Collection[int] = (),
    choices: RewriteChoices | None = None,
    outputs: Outputs | None = None,
    sids: SidTable | None = None,
    chunk_bytes: int = _CHUNK_BYTES,
    progress: Callable[[int], None] | None = None,
) -> RewriteSummary:
    """Write the packets of `schedule` to `out`, a capture per output, and a `rewrite.json` of what is returned.

    `schedule`: columns `file`, `frame_number`, `flow_id`, `path_id`, `send_ns` of a forecast's packets; each
    row is a packet to send. `cell` and `forecast`: whose it is, for the summary. `flows` and `layer`: those of the
    trace. `sources`: its captures, by `file`; `resumed`: those that it went on with after damage. `outputs`: a file
    per host by default. `sids`: those of the network, for the summary. `progress` is called with the number of packets
    dealt with so far. Memory: the schedule's columns, a batch of frames, `chunk_bytes` of output. Every field written
    is described in docs/rewrite.md.

    Raises InputError if the schedule does not belong to the captures, a path has no segments, packets are refused for
    their length, a time does not fit a pcap, none can be written, or `out` is no earlier rewrite. `out` is then
    as it was.
    """
    choices = choices or RewriteChoices()
    if outputs is None:
        outputs = by_host(hosts.names, encapsulation.source_mac, encapsulation.destination_mac)
    rows = _at_speed(read_order(schedule), choices.speed)
    _check(rows, flows, encapsulation, hosts)
    if not encapsulation.mode.steers:
        rows = rows._replace(path=np.zeros_like(rows.path))
    layer_2 = encapsulation.mode.layer_2
    job = _Job(
        encapsulation,
        hosts,
        outputs,
        choices,
        templates(encapsulation),
        flow_labels(flows).astype(np.int64),
        flows.column("ip_version").to_numpy().astype(np.int64),
        LinkHeaders(() if layer_2 else choices.macs, Vlan() if layer_2 else choices.vlan),
        LinkHeaders(choices.macs, choices.vlan, keep_macs=True),
        None if encapsulation.key is None else Signer(encapsulation.key, encapsulation),
        chunk_bytes,
        _Scratch(),
    )
    if choices.mtu is not None and choices.mtu.oversize == "refuse":
        _check_lengths(job, choices.mtu, _batches(job, rows, sources, layer, resumed))
    tally = Tally(len(outputs.names))
    late = unordered(rows, outputs.of_host[hosts.of_flow[rows.flow]], len(outputs.names))
    done = 0
    names = file_names(outputs.names)
    _refuse_others(out)
    with (
        new_folder(out, marker=MANIFEST, inputs=sources) as place,
        PcapFolder(place, names, late, microseconds=choices.pcap == "us") as folder,
        Background() as writing,
    ):
        for batch in _batches(job, rows, sources, layer, resumed):
            packets, rank = _packets(job, batch, tally)
            for piece, piece_rank in _pieces(packets, rank, job):
                writing.run(_built(batch.frames.data, piece, piece_rank, job, folder, tally))
            done += len(batch.rows.rank)
            if progress is not None:
                progress(done)
        writing.wait()
        if not tally.packets.any():
            raise InputError(nothing_written(tally, len(rows.rank)))
        summary = _summary(out, cell, forecast, job, folder.names, tally, sids)
        beside = {SCRIPT: trex_script(out, summary.files)} if choices.pcap == "us" else {}
        folder.finish(MANIFEST, json_text(summary).encode(), beside)
    return summary


def _at_speed(rows: Rows, speed: Fraction) -> Rows:
    """The rows with the times since the first send divided by `speed`, to whole nanoseconds."""
    if speed == 1 or len(rows.send_ns) == 0:
        return rows
    return rows._replace(send_ns=scaled_ns(rows.send_ns, int(rows.send_ns.min()), speed))


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
    if int(rows.send_ns.min()) < 0 or int(rows.send_ns.max()) >= END_NS:
        bad = rows.send_ns[np.flatnonzero((rows.send_ns < 0) | (rows.send_ns >= END_NS))[0]]
        raise InputError(f"send time {bad} ns does not fit a pcap (1970 to 2106): shift the schedule")
    if not encapsulation.mode.steers:
        return
    if int(rows.path.max()) >= len(encapsulation.segments4):
        raise InputError(
            f"path {rows.path.max()} of the schedule has no segments: "
            f"the scenario gives them for {len(encapsulation.segments4)} paths"
        )
    if int(host.max()) >= len(encapsulation.source):
        raise InputError(f"host {hosts.names[int(host.max())]} has no outer source address: give one for each host")


def _refuse_others(out: Path) -> None:
    """Raise InputError if `out` is an earlier rewrite with files that it did not write: they would be lost."""
    if not (out / MANIFEST).is_file():
        return
    earlier = read_rewrite(out, "", "remove it, or give another --out")
    known = {MANIFEST, *(Path(entry.path).name for entry in earlier.files)}
    known |= {SCRIPT} if earlier.pcap == "us" else set()
    known |= {_PROBES} if earlier.cell == "probes" else set()
    for name in sorted(path.name for path in out.iterdir() if path.name not in known):
        raise InputError(f"{out}: holds {name}, which is not from an earlier rewrite: give an empty folder")


def _batches(
    job: _Job, rows: Rows, sources: Sequence[Path | str], layer: str, resumed: Collection[int]
) -> Iterator[_Batch]:
    """The rows batch by batch with the frames they name."""
    for source, frames, part, frame in joined(rows, sources, resumed):
        decoded = decode_batch(frames, layer=layer)
        version = decoded.version[frame].astype(np.int64)
        kept, total = extent(source, frames, decoded, part, frame, job.version)
        begin = frames.start[frame]
        start = begin + decoded.ip_start[frame]
        around = job.headers.header_bytes[(version == 6).astype(np.int64), part.path]
        if job.encapsulation.mode.layer_2:
            bare = job.outputs.macs[job.hosts.of_flow[part.flow]]
            inside, size = job.inner_link.of(frames.data, begin, start, frames.linktype[frame], bare)
            around = around + size + _ETHERTYPE_BYTES
        else:
            inside, size = np.empty((len(frame), 0), np.uint8), np.zeros(len(frame), np.int64)
        yield _Batch(source, frames, part, frame, start, PacketExtent(version, kept, total, around), inside, size)


def _check_lengths(job: _Job, mtu: Mtu, batches: Iterator[_Batch]) -> None:
    """Raise InputError if packets are longer than the MTU."""
    longest = Longest()
    for batch in batches:
        longest.add(batch.size, job.encapsulation.mode.inserts, mtu)
    longest.check(mtu)


def _packets(job: _Job, batch: _Batch, tally: Tally) -> tuple[InnerPackets, NDArray[np.int64]]:
    """The packets of a batch that are written, and the rank of each."""
    rows = batch.rows
    inserts = job.encapsulation.mode.inserts
    chosen, total = admit(batch.source, rows, batch.size, inserts, job.choices.mtu, tally)
    frame, flow, start = batch.frame[chosen], rows.flow[chosen], batch.start[chosen]
    host = job.hosts.of_flow[flow]
    data, begin = batch.frames.data, batch.frames.start[frame]
    tally.hop_limit_1 += int(np.count_nonzero(data[start + np.where(batch.size.version[chosen] == 6, 7, 8)] <= 1))
    link, link_bytes = job.outer_link.of(data, begin, start, batch.frames.linktype[frame], job.outputs.macs[host])
    unplaced = np.empty(len(chosen), np.int64)
    packets = InnerPackets(
        start,
        np.minimum(batch.size.kept[chosen], total),
        total,
        total < batch.size.total[chosen],
        (batch.size.version[chosen] == 6).astype(np.int64),
        rows.path[chosen],
        host,
        job.outputs.of_host[host],
        job.label[flow],
        rows.send_ns[chosen],
        link,
        link_bytes,
        batch.inside[chosen],
        batch.inside_bytes[chosen],
        unplaced,
        unplaced,
    )
    return packets, rows.rank[chosen]


def _pieces(
    packets: InnerPackets, rank: NDArray[np.int64], job: _Job
) -> Iterator[tuple[InnerPackets, NDArray[np.int64]]]:
    """The packets by output, laid out end to end, in pieces of `chunk_bytes` or one packet; `rank` alike."""
    order = np.argsort(packets.output, kind="stable")
    before_inner = RECORD_BYTES + packets.link_bytes + _ETHERTYPE_BYTES
    before_inner += job.headers.header_bytes[packets.family, packets.path]
    before_inner += np.where(packets.inside_bytes > 0, packets.inside_bytes + _ETHERTYPE_BYTES, 0)
    size = (before_inner + packets.total)[order]
    ends = np.cumsum(size)
    first = 0
    while first < len(order):
        before = int(ends[first - 1]) if first else 0
        stop = max(first + 1, int(np.searchsorted(ends, before + job.chunk_bytes, "right")))
        chosen = order[first:stop]
        record = ends[first:stop] - size[first:stop] - before
        inner = record + before_inner[chosen]
        yield (
            InnerPackets._make(column[chosen] for column in packets)._replace(record=record, inner=inner),
            rank[chosen],
        )
        first = stop


def _built(
    data: NDArray[np.uint8], packets: InnerPackets, rank: NDArray[np.int64], job: _Job, folder: PcapFolder, tally: Tally
) -> Callable[[], None]:
    """Build and count the records of one piece; the result appends each output's to its capture."""
    ends = packets.inner + packets.total
    buffer = job.scratch.take(int(ends[-1]))
    inserts = job.encapsulation.mode.inserts
    encapsulate(data, packets, job.headers, int(inserts), buffer)
    inner = Inner(packets.inner, packets.total, packets.kept, packets.family, packets.shortened)
    found = WalkedPackets(*(np.empty(len(rank), np.int64) for _ in WalkedPackets._fields))
    _mend(buffer, inner, found, job.choices.prefixes)
    hmac_end = packets.inner - np.where(packets.inside_bytes > 0, packets.inside_bytes + _ETHERTYPE_BYTES, 0)
    if inserts:
        insert(packets, job.headers, buffer, hmac_end)
    if job.signer is not None:
        job.signer.sign(packets, job.headers, buffer, hmac_end)
    tally.add(packets, ends - packets.record - RECORD_BYTES, found.outcome)
    edges = np.flatnonzero(np.diff(packets.output)) + 1

    def append() -> None:
        for first, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(rank)], strict=True):
            records = buffer[packets.record[first] : ends[stop - 1]]
            sizes = ends[first:stop] - packets.record[first:stop]
            folder.append(int(packets.output[first]), records, rank[first:stop], sizes)

    return append


def _mend(buffer: NDArray[np.uint8], inner: Inner, found: WalkedPackets, prefixes: Prefixes | None) -> None:
    """Give all packets in the buffer their addresses, lengths and checksums, and fill `found`."""
    change = np.zeros((len(inner.start), 2), np.int64)
    if prefixes is not None:
        remap(buffer, inner, prefixes, change)
    outcomes.walk(buffer, inner, found)
    mend(buffer, inner, found)
    if prefixes is not None:
        follow(buffer, inner, found, change)
        found.outcome[change.any(axis=1)] |= outcomes.MAPPED


def _summary(
    out: Path,
    cell: str,
    forecast: Path | None,
    job: _Job,
    names: Sequence[str],
    tally: Tally,
    sids: SidTable | None,
) -> RewriteSummary:
    """The tally as the summary."""
    hosts: list[list[str]] = [[] for _ in job.outputs.names]
    for host, output in enumerate(job.outputs.of_host.tolist()):
        hosts[output].append(job.hosts.names[host])
    return RewriteSummary(
        folder=str(out),
        cell=cell,
        mode=job.encapsulation.named or job.encapsulation.mode,
        last_node=job.choices.last_node,
        packets=int(tally.packets.sum()),
        bytes=int(tally.bytes.sum()),
        largest_bytes=tally.largest_bytes,
        files=tally.files(out, job.outputs.names, hosts, names, job.outputs.interfaces, job.choices.pcap),
        skipped=dict(sorted(tally.skipped.items())),
        refusals=tally.refusals,
        hop_limit_1=tally.hop_limit_1,
        mended=tally.changed(),
        forecast=None if forecast is None else str(forecast.absolute()),
        sids=sids if job.encapsulation.mode.steers else None,
        speed=float(job.choices.speed),
        pcap=job.choices.pcap,
    )
