"""What one input goes through: reader, decoders, flows, marks, findings, cutting; and what must hold of it.

Import it after an `Instrument` was made. Tables that grow begin small, so that small inputs make them grow.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import inspect
import lzma
import os
import resource
import shutil
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from tests.decoding import LATEST_NS, decoded, expected, records
from tests.fuzz.records import PCAP_MAGICS, SNOOP
from tests.twins.captures import PCAP_MAGICS as TWIN_MAGICS
from tests.twins.captures import Record, read_all
from tests.twins.decode import layers
from tests.twins.fragments import Firsts
from tests.twins.tcp import Segment, annotate
from traces import bytesource, duplicates, flows, fragments, packets, segments, tcp
from traces.capture import FrameBatch, read_frames
from traces.decode import LAYERS, Decoder, Headers, decode_batch
from traces.describe import describe
from traces.errors import DamagedCapture, InputError
from traces.flowtable import flow_table
from traces.intake import Choices, Intake
from traces.store import ingest, open_trace
from traces.survey import Survey

MOST_GROWTH_BYTES: Final = 64 << 20
_DATAGRAMS: Final = 8
_SIZES: Final = (1 << 16,) * 16 + (4096,) * 4 + (1024, 1024, 301, 61)
_ROWS: Final = (64,) * 13 + (7, 7, 1)
_PACKERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda data: gzip.compress(data, 1),
    "gzip members": lambda data: gzip.compress(data[:99], 1) + gzip.compress(data[99:], 1) + bytes(3),
    "zstd": lambda data: bytes(pa.compress(data, "zstd", asbytes=True)),
    "zstd frames": lambda data: bytes(
        pa.compress(data[:99], "zstd", asbytes=True) + pa.compress(data[99:], "zstd", asbytes=True)
    ),
    "lz4": lambda data: bytes(pa.compress(data, "lz4", asbytes=True)),
    "bzip2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
}
_CHOICES: Final = (
    Choices(),
    Choices(),
    Choices(drop_duplicates=True),
    Choices(split_mss=0),
    Choices(split_mss=64, line_rate_bps=1),
    Choices(drop_duplicates=True, split_mss=1448),
)
KEEPS_GOING: Final = "keep_going" in inspect.signature(read_frames).parameters

for _module, _name, _small in (
    (packets, "GROUP_ROWS", 32),
    (packets, "BATCH_FRAMES", 64),
    (flows, "_FIRST_CAPACITY", 4),
    (flows, "_MOST_SAMPLES", 16),
    (segments, "_FIRST_LISTS", 2),
):
    assert hasattr(_module, _name)
    setattr(_module, _name, _small)
read_frames.__defaults__ = (1 << 16, packets.BATCH_FRAMES)  # a chunk has room for such a batch
tcp.new_pool.__defaults__ = (2,)
duplicates.nothing_seen.__defaults__ = (64,)
fragments.Fragments.__init__.__defaults__ = (_DATAGRAMS, None)  # type: ignore[misc]
segments.SegmentLists.__init__.__defaults__ = (200, None)  # type: ignore[misc]
_SEEDS: Final = SimpleNamespace(seed=1, randbits=lambda bits: _SEEDS.seed)  # those of the hash tables
for _module in (flows, fragments, segments):
    assert hasattr(_module, "secrets")
    _module.secrets = _SEEDS  # type: ignore[attr-defined]


class _AtOnce:
    """Stands for the reading thread where one buffer holds all: waiting for a thread would take most of the time."""

    def __init__(self, target: Callable[[], None], **_: object) -> None:
        self.start = target

    def is_alive(self) -> bool:
        return False


_INLINE: Final = SimpleNamespace(Thread=_AtOnce)


class BrokenRuleError(Exception):
    """Something that must hold of every input did not hold of this one."""


class Plan(NamedTuple):
    """How an input is read and what is asked of it: chosen by its digest, so that it is the same again."""

    buffer_bytes: int
    batch_frames: int
    threaded: bool
    choices: Choices
    keep_going: bool
    packing: str
    damage_at: int  # in the packed input; -1 leaves it sound
    resized: bool
    surrounded: bool
    twins: bool
    ingested: bool

    def thorough(self, *, ingested: bool = False) -> Plan:
        """The same with every check, but making a trace only if asked to."""
        return self._replace(resized=True, surrounded=True, twins=True, ingested=ingested or self.ingested)


def plan_of(data: bytes) -> Plan:
    """The plan of an input."""
    bits = int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little")

    def draw(n: int) -> int:
        nonlocal bits
        bits, drawn = divmod(bits, n)
        return drawn

    packing = list(_PACKERS)[draw(len(_PACKERS))] if draw(24) == 0 else "none"
    size = _SIZES[draw(len(_SIZES))]
    plain = packing == "none" and (data[:4] in PCAP_MAGICS or data[:4] in (b"\x0a\x0d\x0d\x0a", SNOOP[:4]))
    threaded = draw(8) == 0 or not plain or len(data) >= size
    return Plan(
        size,
        _ROWS[draw(len(_ROWS))],
        threaded,
        _CHOICES[draw(len(_CHOICES))],
        KEEPS_GOING and draw(2) == 1,
        packing,
        -1 if draw(2) else draw(1 << 16),
        draw(32) == 0,
        draw(32) == 0,
        draw(128) == 0,
        draw(500) == 0,
    )


class Outcome(NamedTuple):
    """What came of an input: everything that must not depend on sizes of buffers and batches."""

    refused: str
    damage: tuple[int, str] | None
    frames: int
    rows: tuple[int, ...]
    columns: dict[str, int]


class _Columns:
    """Stands where the writer of packets does: takes chunks, keeps checksums of the columns."""

    def __init__(self, chunk: packets.Chunk, summed: bool) -> None:
        self.rows = 0
        self.sums: dict[str, int] = {}
        self._chunk = chunk
        self._summed = summed
        chunk.rows = 0

    def chunk(self) -> packets.Chunk:
        self._chunk.rows = 0
        return self._chunk

    def put(self, chunk: packets.Chunk) -> None:
        rows, sums = chunk.rows, self.sums
        self.rows += rows
        if rows and self._summed:
            for name, column in chunk.columns.items():
                sums[name] = zlib.crc32(column[:rows], sums.get(name, 0))
            sums["valid"] = zlib.crc32(chunk.headers.valid[:rows], sums.get("valid", 0))


class _Layer:
    """One layer's decoder and what follows it."""

    def __init__(self, layer: str, choices: Choices, chunk: packets.Chunk, survey: Survey, summed: bool) -> None:
        self.decoder = Decoder(layer)
        self.intake = Intake(choices)
        self.survey = survey
        self.writer: Any = _Columns(chunk, summed)
        self._chunk = chunk

    def take(self, batch: FrameBatch) -> None:
        headers = self.decoder.decode(batch, self._chunk.next_headers(len(batch.start)))
        self.survey.add(batch, headers)
        self._chunk = self.intake.take(batch, headers, 0, self._chunk, self.writer)
        if self._chunk.full:
            self.writer.put(self._chunk)
            self._chunk = self.writer.chunk()

    def finish(self) -> None:
        self.writer.put(self._chunk)

    def sums(self) -> Iterator[tuple[str, int]]:
        """Checksums of the tables, at the end."""
        yield from self.writer.sums.items()
        table, count = self.intake.flows.table, len(self.intake.flows)
        for name in ("keys", "stats", "reverse"):
            yield name, zlib.crc32(getattr(table, name)[:count])
        yield "results", zlib.crc32(self.intake.flows.pool.results[:count])
        yield "survey", hash(str((self.survey.findings(), self.decoder.findings())))
        lists = self.decoder.segment_lists
        first = lists.table_now.first[: len(lists) + 1]
        yield "segments", zlib.crc32(lists.table_now.pool[: first[-1]], zlib.crc32(first))
        yield "round trips", hash(b"".join(column.tobytes() for column in self.intake.flows.round_trips()))

    def tables(self) -> None:
        """Make everything that a trace says, for nobody."""
        flow_table(self.intake.flows)
        self.decoder.segment_lists.table()
        about = {"packets": self.writer.rows, **self.survey.findings(), "clock_resolutions_ns": [1.0]}
        self.intake.findings([about])
        self.survey.skipped()
        self.survey.linktypes()


class Driver:
    """Reads inputs and holds them against the rules; raises whatever goes wrong."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes the input as a file, and traces."""
        self.path = folder / "input"
        self._file = os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600)
        self._out = folder / "t.trace"
        self._chunks = [packets.Chunk() for _ in LAYERS]
        self._surveys = [Survey() for _ in LAYERS]
        self._peak = 0

    def _store(self, data: bytes) -> None:
        os.ftruncate(self._file, len(data))
        os.pwrite(self._file, data, 0)

    def examine(self, data: bytes, plan: Plan) -> Outcome:
        """Everything the plan asks for, of one input."""
        stored = data
        if plan.packing != "none":
            stored = _PACKERS[plan.packing](data)
            if plan.damage_at >= 0:
                at = plan.damage_at % len(stored)
                stored = stored[:at] + bytes([stored[at] ^ (1 + plan.damage_at % 255)]) + stored[at + 1 :]
        self._store(stored)
        outcome = self.read(plan, 1, plan.resized or plan.packing != "none")
        if plan.packing != "none" and plan.damage_at < 0:
            self._rule_packed(data, plan, outcome)
            self._store(stored)
        elif plan.packing == "none":
            offset = outcome.damage[0] if outcome.damage else 0
            self._hold(0 <= offset <= len(data), "damage lies in the file", offset, len(data))
        if plan.resized:
            for size, rows in ((len(stored) // 3 + 61, 5), (1 << 14, 64)):
                again = self.read(plan._replace(buffer_bytes=size, batch_frames=rows, threaded=True), 2, True)
                self._same(outcome, again, "results do not depend on buffers")
        if plan.surrounded and not outcome.refused:
            self._rule_surroundings(plan)
        if plan.ingested:
            self._rule_ingest(plan, outcome)
        if plan.twins:
            self._rule_twins(data)
        self._rule_memory()
        return outcome

    def read(self, plan: Plan, seed: int, summed: bool) -> Outcome:
        """Read the stored input through both layers; `summed` says whether outcomes are compared."""
        refused, damage, frames, made = "", None, 0, []
        try:
            with self._open(plan) as reader:
                made = self._layers(plan.choices, seed, summed)
                try:
                    for batch in reader:
                        for layer in made:
                            layer.take(batch)
                except DamagedCapture as error:
                    damage = (error.offset, error.reason)
                    self._one_line(str(error))
                frames = reader.frames
        except InputError as error:
            refused = str(error)
            self._one_line(refused)
        columns = {}
        for layer in made:
            layer.finish()
            if summed:
                columns |= {f"{layer.decoder.layer} {name}": value for name, value in layer.sums()}
        return Outcome(refused, damage, frames, tuple(layer.writer.rows for layer in made), columns)

    def _layers(self, choices: Choices, seed: int, summed: bool) -> list[_Layer]:
        _SEEDS.seed = seed
        surveys = [Survey() for _ in LAYERS] if summed else self._surveys
        return [_Layer(*parts, summed) for parts in zip(LAYERS, (choices, choices), self._chunks, surveys, strict=True)]

    def _open(self, plan: Plan) -> Any:
        bytesource.threading = threading if plan.threaded else _INLINE  # type: ignore[attr-defined]
        more = {"keep_going": plan.keep_going} if KEEPS_GOING else {}
        return read_frames(self.path, plan.buffer_bytes, plan.batch_frames, **more)

    def _batches(self, plan: Plan) -> Iterator[FrameBatch]:
        with self._open(plan) as reader:
            try:
                yield from reader
            except DamagedCapture:
                return

    def _rule_packed(self, data: bytes, plan: Plan, outcome: Outcome) -> None:
        """A compressed capture reads as the plain one does."""
        self._store(data)
        plain = self.read(plan, 2, True)
        if not outcome.refused and not plain.refused:
            self._same(outcome, plain, f"{plan.packing} leaves no mark")
        elif plain.refused == "" and f"{plan.packing.split()[0]}-compressed" not in outcome.refused:
            raise BrokenRuleError(f"{plan.packing} refused: {outcome.refused}")

    def _rule_surroundings(self, plan: Plan) -> None:
        """No byte around a frame matters."""
        for batch in self._batches(plan):
            for layer in LAYERS:
                one, two = (decode_batch(_apart(batch, fill), layer=layer) for fill in (0x00, 0xFF))
                for name, first, second in zip(Headers._fields, one, two, strict=True):
                    self._hold(first.tobytes() == second.tobytes(), "bytes around a frame do not matter", layer, name)

    def _rule_ingest(self, plan: Plan, outcome: Outcome) -> None:
        """A trace of it can be made and read back, and holds as many rows; damage is told."""
        try:
            try:
                ingest([self.path], self._out, layer=LAYERS[outcome.frames % 2], choices=plan.choices)
                told = None
            except DamagedCapture as error:
                told = error.offset
            if plan.keep_going is False and not outcome.refused:
                self._hold(told == (outcome.damage[0] if outcome.damage else None), "ingest tells damage", told)
            ingest([self.path], self._out, layer=LAYERS[outcome.frames % 2], choices=plan.choices, keep_going=True)
        except InputError as error:
            self._one_line(str(error))
            self._hold(bool(outcome.refused), "ingest refuses what the reader refuses", str(error))
            return
        self._hold(not outcome.refused, "ingest refuses what the reader refuses", outcome.refused)
        trace = open_trace(self._out)
        describe(trace)
        rows = trace.packet_table().num_rows
        if not KEEPS_GOING:
            self._hold(rows == trace.packet_count == outcome.rows[outcome.frames % 2], "a trace has every row", rows)
        trace.flow_table()
        shutil.rmtree(self._out)

    def _rule_twins(self, data: bytes) -> None:
        """Frames, damage and columns are those of the slow twins, where these know the format."""
        if data[:4] not in TWIN_MAGICS and data[:4] != b"\x0a\x0d\x0d\x0a":
            return
        if data[:4] in PCAP_MAGICS and data[4:8] not in (b"\x02\0\x04\0", b"\0\x02\0\x04"):
            return
        self._store(data)
        theirs, their_damage = read_all(data)
        ours: list[Record] = []
        columns: dict[str, list[Any]] = {layer: [] for layer in LAYERS}
        marks: dict[str, list[Any]] = {layer: [] for layer in LAYERS}
        made = self._layers(Choices(), 3, True)
        our_damage = None
        try:
            with read_frames(self.path, 1 << 16, 64) as reader:
                for batch in reader:
                    ours += records(batch)
                    for layer in made:
                        headers = layer.decoder.decode(batch)
                        columns[layer.decoder.layer] += decoded(headers)
                        marks[layer.decoder.layer] += _marks(layer, batch, headers)
        except DamagedCapture as error:
            our_damage = error.offset
        except InputError:
            self._hold(their_damage == 0, "the twin reads what is refused")
            return
        self._hold((our_damage, len(ours)) == (their_damage, len(theirs)), "damage as the twin", our_damage, len(ours))
        late = False
        for comp, ref in zip(ours, theirs, strict=True):
            if abs(ref.time_ns or 0) > LATEST_NS:
                late, ref = True, Record(**(vars(ref) | {"time_ns": comp.time_ns}))
            self._hold(comp == expected(ref), "records as the twin", comp, ref)
        for layer in made:
            layer.tables()
        if late:
            return
        for name in LAYERS:
            self._rule_columns(name, theirs, columns[name], marks[name])

    def _rule_columns(self, name: str, frames: list[Record], ours: list[Any], marks: list[Any]) -> None:
        firsts, rows = Firsts(_DATAGRAMS), []
        for record in frames:
            found = layers(record.link_type, record.frame, record.wire_bytes, inner=name == "inner")
            if any((layer.columns.ip_bytes or 0) > 0xFFFFFFFF for layer in found):
                return  # a jumbogram's claim beyond our column
            rows.append(firsts.take(record.time_ns or 0, found))
        for number, (comp, ref) in enumerate(zip(ours, rows, strict=True)):
            self._hold(comp == ref, "columns as the twin", name, number, comp, ref)
        segments_ = [
            Segment(
                r.time_ns or 0,
                *_ends(d),
                d.tcp_seq,
                d.tcp_ack,
                d.tcp_flags,
                d.tcp_window,
                d.payload_bytes,
                d.ip_bytes,
                m,
            )
            for r, d, (_, m) in zip(frames, rows, marks, strict=True)
            if d.tcp_seq is not None
        ]
        wanted = [sum(tcp.MARKS[word] for word in words) for words in annotate(segments_)[0]]
        got = [mark for (mark, _), d in zip(marks, rows, strict=True) if d.tcp_seq is not None]
        self._hold(got == wanted, "marks as the twin", name, got, wanted)

    def _rule_memory(self) -> None:
        """No single input makes memory grow much; the peak counts from the first input on."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        grown = peak - self._peak
        if self._peak == 0 or grown > 0:
            self._peak = peak
        if grown > MOST_GROWTH_BYTES and grown != peak:
            raise BrokenRuleError(f"one input raised the peak of memory by {grown >> 20} MiB")

    def _same(self, one: Outcome, two: Outcome, rule: str) -> None:
        if one._replace(refused="") == two._replace(refused="") and bool(one.refused) == bool(two.refused):
            return
        names = [name for name in one._fields[:-1] if getattr(one, name) != getattr(two, name)]
        names += [name for name in one.columns if one.columns[name] != two.columns.get(name)]
        raise BrokenRuleError(f"{rule}: {', '.join(names)} differ; {one[:4]} and {two[:4]}")

    def _hold(self, holds: bool, rule: str, *values: object) -> None:
        if not holds:
            raise BrokenRuleError(": ".join((rule, *map(str, values))))

    def _one_line(self, text: str) -> None:
        self._hold("\n" not in text and len(text) < 600, "an error is one line", text)


def _apart(batch: FrameBatch, fill: int) -> FrameBatch:
    """The same frames in an array of their own, with `fill` around each."""
    captured = batch.captured.astype(np.int64)
    start = 64 + np.cumsum(captured + 64) - captured - 64
    data = np.full(64 + int(captured.sum()) + 64 * len(start), fill, np.uint8)
    for here, there, size in zip(start, batch.start, captured, strict=True):
        data[here : here + size] = batch.data[there : there + size]
    return batch._replace(data=data, start=start)


def _ends(d: Any) -> tuple[Any, Any]:
    ends = ((d.src, d.src_port), (d.dst, d.dst_port))
    return (d.ip_version, d.protocol, *ends), (d.ip_version, d.protocol, *ends[::-1])


def _marks(layer: _Layer, batch: FrameBatch, headers: Headers) -> list[tuple[int, int]]:
    """Marks of a batch and the segment sizes announced."""
    rows = len(batch.start)
    marks, mss = np.zeros(rows, np.uint8), np.zeros(rows, np.uint16)
    tcp.announced_mss(batch.data, batch.start, batch.captured, headers, mss)
    layer.intake.flows.add(headers, batch.time_ns, batch.wire, np.zeros(rows, np.uint32), marks, mss)
    return list(zip(marks.tolist(), mss.tolist(), strict=True))
