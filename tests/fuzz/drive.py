"""Takes one input through reader, decoders, flows, marks, findings and cutting, in the way its digest says.

Import it after an `Instrument` was made. Tables that grow begin small, so that small inputs make them grow. What an
input needs is reset rather than made anew wherever that takes longer than to read the input.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, NamedTuple

import numpy as np

from segcast.traces.captures import buffers as bytesource
from segcast.traces.captures import reader as capture
from segcast.traces.captures.buffers import ByteSource, Filled
from segcast.traces.captures.reader import CaptureReader, FrameBatch, read_frames
from segcast.traces.errors import Damage, DamagedCapture, InputError
from segcast.traces.flows import assign as flows
from segcast.traces.flows import connections
from segcast.traces.flows.keys import ALL, TUPLE
from segcast.traces.flows.table import flow_table
from segcast.traces.headers import fragments
from segcast.traces.headers import segment_lists as segments
from segcast.traces.headers.decode import INNER, LAYERS, OUTER, Decoder
from segcast.traces.headers.tenants import Tenants
from segcast.traces.ingest import merge, packets
from segcast.traces.ingest.intake import Intake, IntakeChoices
from segcast.traces.ingest.merge import MergedBatch
from segcast.traces.quality import duplicates
from segcast.traces.quality.survey import Survey, Surveys
from tests.fuzz.packers import PACKERS
from tests.fuzz.records import PCAP_MAGICS, SNOOP

_SIZES: Final = (1 << 16,) * 121 + (4096,) * 4 + (1024, 301, 61)
_ROWS: Final = (64,) * 93 + (7, 7, 1)
_OF_LAYERS: Final = (LAYERS, *[(OUTER,)] * 5, *[(INNER,)] * 14)
_CHOICES: Final = (
    IntakeChoices(),
    IntakeChoices(),
    IntakeChoices(drop_duplicates=True),
    IntakeChoices(split_mss=0),
    IntakeChoices(split_mss=64, line_rate_bps=1),
    IntakeChoices(drop_duplicates=True, split_mss=1448),
)
DATAGRAMS: Final = 8

for _module, _name, _small in (
    (packets, "GROUP_ROWS", 32),
    (packets, "BATCH_FRAMES", 64),
    (merge, "BATCH_FRAMES", 64),
    (merge, "WINDOW_ROWS", 32),
    (flows, "_FIRST_CAPACITY", 4),
    (connections, "_FIRST_SAMPLES", 160),
    (connections, "_FIRST_HOLES", 2),
    (segments, "_FIRST_LISTS", 2),
):
    assert hasattr(_module, _name)
    setattr(_module, _name, _small)
read_frames.__defaults__ = (1 << 16, packets.BATCH_FRAMES)  # a chunk has room for such a batch
connections.new_pool.__defaults__ = (2,)
duplicates.nothing_seen.__defaults__ = (64, 1 << 12)
fragments.Fragments.__init__.__defaults__ = (DATAGRAMS, None)  # type: ignore[misc]
segments.SegmentLists.__init__.__defaults__ = (200, None)  # type: ignore[misc]


def is_plain(data: bytes) -> bool:
    """Whether an input begins as a capture that is not compressed."""
    return data[:4] in PCAP_MAGICS or data[:4] == b"\x0a\x0d\x0d\x0a" or data[:8] == SNOOP


class Plan(NamedTuple):
    """How an input is read and what is asked of it: chosen by its digest, so that it is the same again."""

    buffer_bytes: int
    batch_frames: int
    threaded: bool
    layers: tuple[str, ...]
    choices: IntakeChoices
    keep_going: bool
    packing: str
    damage_at: int  # in the packed input; -1 leaves it sound
    files: int  # over which its records are spread and merged again; 1 leaves them together
    resized: bool
    surrounded: bool
    twins: bool
    ingested: bool

    def thorough(self, *, ingested: bool = False) -> Plan:
        """The same with every check, but making a trace only if asked to, and merging as before."""
        return self._replace(
            layers=LAYERS,
            resized=True,
            surrounded=True,
            twins=True,
            ingested=ingested or self.ingested,
        )


def plan_of(data: bytes) -> Plan:
    """The plan of an input."""
    bits = int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "little")

    def draw(n: int) -> int:
        nonlocal bits
        bits, drawn = divmod(bits, n)
        return drawn

    return Plan(
        _SIZES[draw(len(_SIZES))],
        _ROWS[draw(len(_ROWS))],
        draw(96) == 0,
        _OF_LAYERS[draw(len(_OF_LAYERS))],
        _CHOICES[draw(len(_CHOICES))],
        draw(4) == 0,
        list(PACKERS)[draw(len(PACKERS))] if draw(32) == 0 and is_plain(data) else "none",
        draw(1 << 16) if draw(2) else -1,
        2 + draw(2) if draw(64) == 0 else 1,
        draw(64) == 0,
        draw(64) == 0,
        draw(192) == 0,
        draw(1000) == 0,
    )


class Outcome(NamedTuple):
    """What came of an input: everything that must not depend on sizes of buffers and batches.

    `columns` has checksums, by layer and name; `refused` says why it is no capture.
    """

    refused: str
    damages: tuple[Damage, ...]
    frames: int
    rows: tuple[int, ...]
    columns: dict[str, int]


class Stepwise(ByteSource):
    """Does the reading thread's work when asked for a buffer: waiting for it would take most of the time.

    Buffers are used again and again; what they hold beyond the bytes read is another byte each time around.
    """

    _kept: Final[dict[int, list[Any]]] = {}

    def __init__(self, *arguments: Any) -> None:
        bytesource.np = SimpleNamespace(empty=self._take, uint8=np.uint8)  # type: ignore[attr-defined]
        self._mine: list[Any] = []
        try:
            super().__init__(*arguments)
        finally:
            bytesource.np = np  # type: ignore[attr-defined]

    def _take(self, size: int, _: object) -> Any:
        kept = self._kept.setdefault(size, [])
        self._mine.append(kept.pop() if kept else np.empty(size, np.uint8))
        return self._mine[-1]

    def next(self) -> Filled:
        """The next buffer."""
        buffer = self._free.get_nowait()
        assert buffer is not None
        filled = self._fill(buffer)
        stop = self.headroom + filled.filled
        buffer[stop : stop + 64] = 0xA5
        self._lent.append(buffer)
        return filled

    def close(self) -> None:
        """Let go of the input, and of the buffers."""
        super().close()
        while self._mine:
            buffer = self._mine.pop()
            if len(self._kept[len(buffer)]) < 16:
                self._kept[len(buffer)].append(buffer)


class _Columns:
    """Stands where the writer of packets does: takes chunks, keeps checksums of the columns."""

    def __init__(self, chunk: packets.Chunk, summed: bool, placed: bool) -> None:
        self.rows = 0
        self.sums: dict[str, int] = {}
        self._chunk = chunk
        self._summed = summed
        self._names = [n for n in chunk.columns if placed or n not in ("file", "frame_number", "file_offset")]
        chunk.rows = chunk.followed = 0

    def chunk(self) -> packets.Chunk:
        self._chunk.rows = self._chunk.followed = 0
        return self._chunk

    def put(self, chunk: packets.Chunk) -> None:
        rows, sums = chunk.rows, self.sums
        self.rows += rows
        if rows and self._summed:
            for name in self._names:
                sums[name] = zlib.crc32(chunk.columns[name][:rows], sums.get(name, 0))
            sums["valid"] = zlib.crc32(chunk.headers.valid[:rows], sums.get("valid", 0))


def _copied(table: Any) -> Any:
    return type(table)(*[array.copy() for array in table])


class Layer:
    """One layer's decoder and what follows it."""

    def __init__(self, layer: str) -> None:
        self._chunks = packets.Chunk()
        self._survey = Survey()
        self.decoder = Decoder(layer)
        self._intakes = {choices: Intake(choices) for choices in _CHOICES}
        self.intake = self._intakes[IntakeChoices()]
        flows_, quality = self.intake.flows, self.intake.quality
        lists, parts = self.decoder.segment_lists, self.decoder._fragments
        self._untouched = [
            _copied(t) for t in (flows_.table, flows_.pool, quality._recent, lists.table_now, parts.table)
        ]
        self.reset(IntakeChoices(), 1, summed=False, placed=True)

    def reset(self, choices: IntakeChoices, seed: int, *, summed: bool, placed: bool) -> None:
        """Forget everything; `summed` has checksums kept, `placed` those of where frames were captured, too."""
        decoder, self.intake = self.decoder, self._intakes[choices]
        flows_, quality = self.intake.flows, self.intake.quality
        lists, parts = decoder.segment_lists, decoder._fragments
        new = [_copied(table) for table in self._untouched]
        decoder.tenants = Tenants()
        flows_.table, flows_.pool, quality._recent, lists.table_now, parts.table = new
        for table in (flows_.table, lists.table_now, parts.table):
            table.control[1] = seed  # of its hashes
        self.intake.rows = quality.cut_headers = parts.without_first = 0
        tally = decoder._tally
        tally.deeper = tally.beyond_frame = tally.aggregated = 0
        tally.layers.fill(0)
        self.surveys = Surveys()
        if not summed:
            self.surveys._surveys[0] = self._survey  # making one clears half a MiB
        self.writer: Any = _Columns(self._chunks, summed, placed)
        self._placed = placed
        self._chunk = self._chunks

    def take(self, merged: MergedBatch) -> None:
        """Take a batch."""
        rows = self._chunk.reserve(len(merged.file))
        headers = self.decoder.decode(merged.frames, rows.headers)
        self.surveys.add(merged, headers, self.decoder.numbered)
        self._chunk = self.intake.take(merged, rows, self.writer)
        self.intake.follow(self._chunk)
        if self._chunk.full:
            self.writer.put(self._chunk)
            self._chunk = self.writer.chunk()

    def finish(self) -> None:
        """There are no more batches."""
        self.writer.put(self._chunk)

    def sums(self) -> Iterator[tuple[str, int]]:
        """Checksums of the tables, at the end."""
        yield from self.writer.sums.items()
        table, count = self.intake.flows.table, len(self.intake.flows)
        names = self.decoder.tenants.names()  # their numbers depend on batches
        yield "tenants", hash(tuple(names[tenant] for tenant in self.intake.flows.tenants().tolist()))
        yield "keys", zlib.crc32(table.keys[:count] & np.array([*[ALL] * 4, TUPLE]))
        for name in ("stats", "reverse"):
            yield name, zlib.crc32(getattr(table, name)[:count])
        results = self.intake.flows.pool.results[:count]
        for name in ("retransmissions", "out_of_order", "handshake1_ns", "samples", "least_ns", "has_data"):
            yield name, zlib.crc32(results[name].tobytes())
        if self._placed:
            yield "survey", hash(str(self.surveys.finish(0).findings()))
        yield "layers", hash(str(self.decoder.findings()))
        lists = self.decoder.segment_lists
        first = lists.table_now.first[: len(lists) + 1]
        yield "segments", zlib.crc32(lists.table_now.pool[: first[-1]], zlib.crc32(first))
        yield "round trips", hash(b"".join(column.tobytes() for column in self.intake.flows.round_trips()))

    def tables(self) -> None:
        """Make everything that a trace says, for nobody."""
        flow_table(self.intake.flows, self.decoder.tenants)
        self.decoder.segment_lists.table()
        survey = self.surveys.finish(0)
        about = {"packets": self.writer.rows, **survey.findings(), "clock_resolutions_ns": [1.0]}
        self.intake.findings([about], self.decoder.tenants)
        survey.skipped()
        survey.linktypes()


class Reading:
    """Reads stored inputs by their plans."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes inputs as files: `current`, which is the plain one, and those made of it."""
        self.folder = folder
        self.current = folder / "current"
        self._files: dict[Path, int] = {}
        self._layers = {layer: Layer(layer) for layer in LAYERS}

    def store(self, path: Path, data: bytes) -> None:
        """Have a file of these bytes."""
        if path not in self._files:
            self._files[path] = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        os.ftruncate(self._files[path], len(data))
        os.pwrite(self._files[path], data, 0)

    def layers(self, plan: Plan, seed: int = 1, *, summed: bool = False, placed: bool = True) -> list[Layer]:
        """The layers of a plan, with nothing taken; they are the same objects each time."""
        made = [self._layers[layer] for layer in plan.layers]
        for layer in made:
            layer.reset(plan.choices, seed, summed=summed, placed=placed)
        return made

    def open(self, path: Path, plan: Plan) -> CaptureReader:
        """Open a capture as the plan says."""
        plain = plan.threaded or plan.buffer_bytes not in _SIZES
        capture.ByteSource = ByteSource if plain else Stepwise  # type: ignore[misc]
        return read_frames(path, plan.buffer_bytes, plan.batch_frames, keep_going=plan.keep_going)

    def batches(self, path: Path, plan: Plan) -> Iterator[FrameBatch]:
        """What is read before the damage, if there is any."""
        with self.open(path, plan) as reader:
            try:
                yield from reader
            except DamagedCapture:
                return

    def read(self, path: Path, plan: Plan, seed: int = 1, *, summed: bool = False, placed: bool = True) -> Outcome:
        """Read a file through the layers; `summed` says whether outcomes are compared."""
        refused, damages, frames, made = "", (), 0, self.layers(plan, seed, summed=summed, placed=placed)
        try:
            with self.open(path, plan) as reader:
                try:
                    for batch in reader:
                        merged = merge._part(batch, 0, 0, len(batch.start))
                        for layer in made:
                            layer.take(merged)
                except DamagedCapture as error:
                    one_line(str(error))
                frames, damages = reader.frames, tuple(reader.damages)
                assert all(count > 0 for count in reader.drops.values())
        except InputError as error:
            refused = str(error)
            one_line(refused)
        return Outcome(refused, damages, frames, *results(made, summed))


def results(made: list[Layer], summed: bool) -> tuple[tuple[int, ...], dict[str, int]]:
    """Rows and checksums, once everything is taken."""
    columns = {}
    for layer in made:
        layer.finish()
        if summed:
            columns |= {f"{layer.decoder.layer} {name}": value for name, value in layer.sums()}
    return tuple(layer.writer.rows for layer in made), columns


class BrokenRuleError(Exception):
    """Something that must hold of every input did not hold of this one."""


def hold(holds: bool, rule: str, *values: object) -> None:
    """Raise BrokenRuleError unless `holds`."""
    if not holds:
        raise BrokenRuleError(": ".join((rule, *map(str, values))))


def one_line(text: str) -> None:
    """An error is told in one line."""
    hold("\n" not in text and len(text) < 600, "an error is one line", text)
