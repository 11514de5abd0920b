"""What must hold of an input beyond being read: each rule is held against some of the inputs, see `Plan`."""

from __future__ import annotations

import random
import resource
import shutil
import zlib
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np
from numba.core import event

from segcast.traces.captures.reader import FrameBatch
from segcast.traces.errors import DamagedCapture, InputError
from segcast.traces.flows import tcp
from segcast.traces.flows.holes import MOST_HOLES
from segcast.traces.headers.decode import LAYERS, Headers, decode_batch
from segcast.traces.ingest.inputs import list_inputs
from segcast.traces.ingest.intake import IntakeChoices
from segcast.traces.ingest.merge import Ended, Merge
from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from segcast.traces.quality.describe import describe
from tests.fuzz.drive import (
    DATAGRAMS,
    BrokenRuleError,
    Layer,
    Outcome,
    Plan,
    Reading,
    hold,
    is_plain,
    one_line,
    results,
)
from tests.fuzz.packers import PACKERS
from tests.fuzz.records import PCAP_MAGICS, SNOOP, join, split, spread
from tests.support.decoding import LATEST_NS, decoded, expected, records
from tests.twins.captures import MODIFIED_MAGICS, Record, read_all
from tests.twins.captures import PCAP_MAGICS as TWIN_MAGICS
from tests.twins.conversations import Sighting, assign, partners
from tests.twins.decode import layers
from tests.twins.fragments import Firsts
from tests.twins.merging import merge as slowly_merged
from tests.twins.tcp import Segment, annotate

MOST_GROWTH_BYTES: Final = 64 << 20


class Compilations(event.Listener):
    """Counts what Numba compiles in this process."""

    def __init__(self) -> None:
        self.count = 0
        event.register("numba:compile", self)

    def on_start(self, event: event.Event) -> None:
        self.count += 1

    def on_end(self, event: event.Event) -> None:
        return


COMPILATIONS = Compilations()


class Driver:
    """Reads inputs and holds them against the rules; raises whatever goes wrong."""

    def __init__(self, folder: Path) -> None:
        """`folder` takes files and traces."""
        self._reading = Reading(folder)
        self._current, self._packed = self._reading.current, folder / "packed"
        self._parts = [folder / f"part{number}" for number in range(3)]
        self._trace = folder / "t.trace"
        self._peak = 0
        self._compiled = 0

    def examine(self, data: bytes, plan: Plan) -> Outcome:
        """Everything the plan asks for, of one input."""
        path, store = self._current, self._reading.store
        store(path, data)
        size = len(data)
        if plan.packing != "none":
            path, stored = self._packed, PACKERS[plan.packing](data)
            if plan.damage_at >= 0:
                at = plan.damage_at % len(stored)
                stored = stored[:at] + bytes([stored[at] ^ (1 + plan.damage_at % 255)]) + stored[at + 1 :]
            size = len(stored)
            store(path, stored)
        outcome = self._reading.read(path, plan, summed=plan.resized or plan.packing != "none")
        self._rule_damages(data, plan, outcome)
        if plan.packing != "none" and plan.damage_at < 0:
            self._rule_packed(plan, outcome)
        if plan.resized:
            self._rule_sizes(path, size, plan, outcome)
        if plan.surrounded and not outcome.refused:
            self._rule_surroundings(path, plan)
            self._rule_kept(path, plan)
        if plan.ingested:
            self._rule_ingest(path, plan, outcome)
        if plan.twins:
            self._rule_twins(data)
        if plan.files > 1:
            self._rule_merged(data, plan)
        self._rule_memory()
        return outcome

    def _rule_damages(self, data: bytes, plan: Plan, outcome: Outcome) -> None:
        """Damages follow each other within the file, and only the last may be where reading ended."""
        damages = outcome.damages
        hold(plan.keep_going or len(damages) < 2, "damage ends the reading", damages)
        if not damages:
            return
        at = 0
        for damage in damages[:-1]:
            hold(damage.resumed_at is not None and at <= damage.offset < damage.resumed_at, "damages in order", damages)
            at = damage.resumed_at or 0
        end = damages[-1].resumed_at if damages[-1].resumed_at is not None else damages[-1].offset
        limit = len(data) if is_plain(data) and plan.packing == "none" else 1 << 62
        hold(at <= damages[-1].offset <= end <= limit, "damage lies in the file", damages, len(data))

    def _rule_packed(self, plan: Plan, outcome: Outcome) -> None:
        """A compressed capture reads as the plain one does."""
        plain = self._reading.read(self._current, plan, 2, summed=True)
        if not outcome.refused and not plain.refused:
            _same(outcome, plain, f"{plan.packing} leaves no mark")
        elif plain.refused == "" and f"{plan.packing.split()[0]}-compressed" not in outcome.refused:
            raise BrokenRuleError(f"{plan.packing} refused: {outcome.refused}")

    def _rule_sizes(self, path: Path, size: int, plan: Plan, outcome: Outcome) -> None:
        """Sizes of buffers and batches, threads and seeds of hash tables change nothing."""
        for buffer_bytes, rows, threaded in ((size // 3 + 61, 5, True), (4096, 64, False)):
            sized = plan._replace(buffer_bytes=buffer_bytes, batch_frames=rows, threaded=threaded)
            _same(outcome, self._reading.read(path, sized, 2, summed=True), "results do not depend on buffers")

    def _rule_surroundings(self, path: Path, plan: Plan) -> None:
        """No byte around a frame matters; frames lie in order, and none where the capture is damaged."""
        at, number = -1, 1
        with self._reading.open(path, plan) as reader:
            try:
                for batch in reader:
                    offset = batch.file_offset.astype(np.int64)
                    hold(bool(offset[0] > at and (np.diff(offset) > 0).all()), "frames lie in order", at, offset)
                    hold(batch.frame_number == number, "frames are numbered", batch.frame_number, number)
                    at, number = int(offset[-1]), number + len(offset)
                    for layer in LAYERS:
                        one, two = (decode_batch(_apart(batch, fill), layer=layer) for fill in (0x00, 0xFF))
                        for name, first, second in zip(Headers._fields, one, two, strict=True):
                            same = first.tobytes() == second.tobytes()
                            hold(same, "bytes around a frame do not matter", layer, name)
            except DamagedCapture:
                pass
        if plan.keep_going and reader.damages:
            for batch in self._reading.batches(path, plan):
                for damage in reader.damages:
                    stop = damage.resumed_at if damage.resumed_at is not None else 1 << 62
                    within = (batch.file_offset >= damage.offset) & (batch.file_offset < stop)
                    hold(not within.any(), "no frame lies in damage", damage, batch.file_offset[within])

    def _rule_kept(self, path: Path, plan: Plan) -> None:
        """An undamaged capture reads alike with `keep_going`, unless there is a record of zeros alone."""
        found = []
        for keep_going in (False, True):
            with self._reading.open(path, plan._replace(keep_going=keep_going)) as reader:
                try:
                    found.append([record for batch in reader for record in records(batch)])
                except DamagedCapture:
                    return
        if any(r.captured_bytes == r.wire_bytes == 0 == (r.time_ns or 0) for r in found[0]):
            return
        hold(found[0] == found[1], "an undamaged capture is kept whole", len(found[0]), len(found[1]))

    def _rule_ingest(self, path: Path, plan: Plan, outcome: Outcome) -> None:
        """A trace of it can be made and read back, and holds as many rows; damage is told."""
        layer = LAYERS[outcome.frames % 2]
        one = plan._replace(layers=(layer,), keep_going=False)
        plain = self._reading.read(path, one)
        more = self._reading.read(path, one._replace(keep_going=True))
        try:
            try:
                told = None
                ingest([path], self._trace, layer=layer, choices=plan.choices)
            except DamagedCapture as error:
                told = error.offset
            if not plain.refused:
                wanted = plain.damages[0].offset if plain.damages else None
                hold(told == wanted, "ingest tells damage", told, wanted)
            ingest([path], self._trace, layer=layer, choices=plan.choices, keep_going=True)
        except InputError as error:
            one_line(str(error))
            hold(bool(plain.refused), "ingest refuses what the reader refuses", str(error))
            return
        hold(not plain.refused, "ingest refuses what the reader refuses", plain.refused)
        trace = open_trace(self._trace)
        describe(trace)
        rows = trace.packet_table().num_rows
        hold((rows,) == (trace.packet_count,) == more.rows, "a trace has every row", rows, more.rows)
        trace.flow_table()
        shutil.rmtree(self._trace)

    def _rule_merged(self, data: bytes, plan: Plan) -> None:
        """Its records, spread over captures, come in the order of the twin; if that is theirs, they read as in one."""
        capture = split(data)
        if capture is None or len(capture.records) < 2:
            return
        r = random.Random(zlib.crc32(data))
        parts = spread(capture, [r.randrange(plan.files) for _ in capture.records])
        for path, part in zip(self._parts, parts, strict=False):
            self._reading.store(path, join(part))
        paths = self._parts[: plan.files]
        alone, damages = [], []
        try:
            for path in paths:
                with self._reading.open(path, plan) as reader:
                    mine: list[Record] = []
                    try:
                        for batch in reader:
                            mine += records(batch)
                    except DamagedCapture:
                        pass
                    alone.append(mine)
                    damages += reader.damages
            heads = list_inputs(paths, keep_going=plan.keep_going).heads
        except InputError:
            return
        made = self._reading.layers(plan, 1, summed=True, placed=False)
        ours: list[tuple[int, Record]] = []
        ended: Counter[int] = Counter()
        sizes = {"rows": r.choice((1, 5, 64, 64)), "window_rows": r.choice((1, 3, 64, 64))}
        opened = lambda file, *_: self._reading.open(paths[file], plan)  # noqa: E731
        with Merge(heads, opened, buffer_bytes=r.choice((1, 300, 1 << 16)), **sizes) as steps:
            for step in steps:
                if isinstance(step, Ended):
                    ended[step.file] += 1
                    continue
                hold(set(step.file.tolist()) == set(step.files), "a merge knows its files", step.files)
                told = zip(step.file.tolist(), step.frame_number.tolist(), records(step.frames), strict=True)
                ours += [(file, Record(**(vars(record) | {"frame_number": n}))) for file, n, record in told]
                for layer in made:
                    layer.take(step)
        hold(ended == Counter(range(plan.files)), "each capture of a merge ends", ended)
        wanted = slowly_merged(alone)
        hold(ours == wanted, "a merge is that of the twin", ours, wanted)
        rows, columns = results(made, summed=True)
        whole = self._packed
        self._reading.store(whole, join(capture._replace(rest=b"")))
        one = self._reading.read(whole, plan, 2, summed=True, placed=False)
        in_one = [_shape(record) for batch in self._reading.batches(whole, plan) for record in records(batch)]
        if damages or one.damages or [_shape(record) for _, record in wanted] != in_one:
            return
        _same(one, one._replace(rows=rows, columns=columns), "captures merged read as one")

    def _rule_twins(self, data: bytes) -> None:
        """Frames, damage and columns are those of the slow twins, where these know the format."""
        if (
            data[:4] not in TWIN_MAGICS
            and data[:4] not in MODIFIED_MAGICS
            and data[:4] != b"\x0a\x0d\x0d\x0a"
            and data[:8] != SNOOP
        ):
            return
        if data[:4] in PCAP_MAGICS and data[4:8] not in (b"\x02\0\x04\0", b"\0\x02\0\x04"):
            return
        theirs, their_damage = read_all(data)
        ours: list[Record] = []
        columns: dict[str, list[Any]] = {layer: [] for layer in LAYERS}
        marks: dict[str, list[Any]] = {layer: [] for layer in LAYERS}
        plan = Plan(1 << 16, 64, False, LAYERS, IntakeChoices(), False, "none", -1, 1, False, False, True, False)
        made = self._reading.layers(plan, 3, summed=True)
        our_damage = None
        try:
            with self._reading.open(self._current, plan) as reader:
                for batch in reader:
                    ours += records(batch)
                    for layer in made:
                        headers = layer.decoder.decode(batch)
                        columns[layer.decoder.layer] += decoded(headers, layer.decoder.tenants)
                        marks[layer.decoder.layer] += _marks(layer, batch, headers)
        except DamagedCapture as error:
            our_damage = error.offset
        except InputError:
            hold(their_damage == 0, "the twin reads what is refused")
            return
        hold((our_damage, len(ours)) == (their_damage, len(theirs)), "damage as the twin", our_damage, their_damage)
        late = False
        for comp, ref in zip(ours, theirs, strict=True):
            if abs(ref.time_ns or 0) > LATEST_NS:
                late, ref = True, Record(**(vars(ref) | {"time_ns": comp.time_ns}))
            hold(comp == expected(ref), "records as the twin", comp, ref)
        for layer in made:
            layer.tables()
        if late:
            return
        for name in LAYERS:
            _rule_columns(name, theirs, columns[name], marks[name])

    def _rule_memory(self) -> None:
        """No single input makes memory grow much, from the first on, unless a kernel had to be compiled for it."""
        compiled, self._compiled = COMPILATIONS.count != self._compiled, COMPILATIONS.count
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        grown = peak - self._peak
        if self._peak == 0 or grown > 0:
            self._peak = peak
        if grown > MOST_GROWTH_BYTES and grown != peak and not compiled:
            raise BrokenRuleError(f"one input raised the peak of memory by {grown >> 20} MiB")


def _rule_columns(name: str, frames: list[Record], ours: list[Any], marks: list[Any]) -> None:
    """Columns and TCP marks of a layer are those of the twins."""
    firsts, rows = Firsts(DATAGRAMS), []
    for record in frames:
        found = layers(record.link_type, record.frame, record.wire_bytes, inner=name == "inner")
        if any((layer.columns.ip_bytes or 0) > 0xFFFFFFFF for layer in found):
            return  # a jumbogram's claim beyond our column
        rows.append(firsts.take(record.time_ns or 0, found))
    for number, (comp, ref) in enumerate(zip(ours, rows, strict=True)):
        hold(comp == ref, "columns as the twin", name, number, comp, ref)
    numbers = ("tcp_seq", "tcp_ack", "tcp_flags", "tcp_window", "payload_bytes", "ip_bytes")
    sightings = [
        Sighting(r.time_ns or 0, *_ends(d), d.protocol == 6, d.tcp_flags, d.tcp_seq or 0, d.tcp_ack or 0, d.tenant)
        for r, d in zip(frames, rows, strict=True)
        if d.ip_bytes is not None
    ]
    ids, _ = assign(sightings)
    flow_of, segments = iter(zip(ids, partners(sightings), strict=True)), []
    for r, d, (_, mss) in zip(frames, rows, marks, strict=True):
        flow, other = next(flow_of) if d.ip_bytes is not None else (None, None)
        if flow is not None and d.tcp_seq is not None:
            to = ("nobody", flow) if other is None else other
            segments.append(Segment(r.time_ns or 0, flow, to, *(getattr(d, n) for n in numbers), mss))
    wanted = [sum(tcp.MARKS[word] for word in words) for words in annotate(segments, MOST_HOLES)[0]]
    got = [mark for (mark, _), d in zip(marks, rows, strict=True) if d.tcp_seq is not None]
    hold(got == wanted, "marks as the twin", name, got, wanted)


def _same(one: Outcome, two: Outcome, rule: str) -> None:
    if one._replace(refused="") == two._replace(refused="") and bool(one.refused) == bool(two.refused):
        return
    names = [name for name in one._fields[:-1] if getattr(one, name) != getattr(two, name)]
    names += [name for name in one.columns if one.columns[name] != two.columns.get(name)]
    raise BrokenRuleError(f"{rule}: {', '.join(names)} differ; {one[:4]} and {two[:4]}")


def _shape(record: Record) -> Any:
    return record.time_ns, record.wire_bytes, record.link_type, record.frame


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


def _marks(layer: Layer, batch: FrameBatch, headers: Headers) -> list[tuple[int, int]]:
    """Marks of a batch and the segment sizes announced."""
    rows = len(batch.start)
    marks, mss = np.zeros(rows, np.uint8), np.zeros(rows, np.uint16)
    tcp.announced_mss(batch.data, batch.start, batch.captured, headers, mss)
    layer.intake.flows.add(headers, batch.time_ns, batch.wire, np.zeros(rows, np.uint32), marks, mss)
    return list(zip(marks.tolist(), mss.tolist(), strict=True))
