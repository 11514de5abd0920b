"""Makes traces of captures: reads, merges, decodes and writes at the same time; the folder appears at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from segcast.traces.captures.reader import CaptureReader, read_frames
from segcast.traces.captures.stored import STDIN
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_folder, resumes
from segcast.traces.document import SourceEntry, TraceDocument
from segcast.traces.errors import DamagedCapture, InputError
from segcast.traces.flows.table import flow_table
from segcast.traces.headers.decode import OUTER, Decoder
from segcast.traces.ingest import checkpoint
from segcast.traces.ingest.checkpoint import Checkpoints
from segcast.traces.ingest.inputs import Head, Inputs, list_inputs
from segcast.traces.ingest.intake import AS_CAPTURED, Intake, IntakeChoices
from segcast.traces.ingest.merge import Ended, Merge
from segcast.traces.ingest.packets import PacketWriter
from segcast.traces.quality import unread
from segcast.traces.quality.findings import ordered
from segcast.traces.quality.survey import Survey, Surveys
from segcast.traces.schema import SCHEMA_VERSION
from segcast.traces.trace import FLOWS_FILE, PACKETS_FOLDER, SEGMENT_LISTS_FILE, TRACE_FILE, Trace, load

Progress = Callable[[int, int], None]
Say = Callable[[str], None]

_BEFORE: Final = "the {packets} packets before it are in {folder}"


def ingest(
    captures: Sequence[str | Path],
    out: str | Path,
    *,
    layer: str = OUTER,
    progress: Progress | None = None,
    keep_going: bool = False,
    choices: IntakeChoices = AS_CAPTURED,
    say: Say | None = None,
    checkpoint_rows: int = checkpoint.ROWS,
) -> Trace:
    """Make the trace folder `out` of `captures`, merged by time; the trace, opened.

    `captures` are files, URLs, pipes, "-" for stdin, folders and patterns, see `inputs.list_inputs`. `layer` ("outer",
    "inner") says which IP header counts where tunnels nest them.

    An existing trace is replaced, anything else is not. `progress(done_bytes, total_bytes)` is called as the stored
    bytes are read; the total is 0 if a capture's size is unknown. `say` gets lines for the user: what was left out,
    where the ingest resumes, damage. Raises InputError before anything is written if a capture or `out` cannot be used.
    If a capture is damaged, everything before that is kept and the other captures are read; then DamagedCapture is
    raised. With `keep_going` reading goes on after the damage, too, and nothing is raised. `trace.json` lists it all.

    Of several captures those that are done are kept when the ingest is interrupted, at least `checkpoint_rows` rows at
    a time, and the same call goes on after them: the trace is the same to the byte.
    """
    inputs = list_inputs(captures, keep_going=keep_going)
    trace = make(inputs, Path(out), layer, progress, keep_going, choices, say, checkpoint_rows)
    damages = [(source, damage) for source in trace.sources for damage in source.damages]
    if say and (keep_going or len(damages) > 1):
        for source, damage in damages:
            place = f"; read on at byte {damage.resumed_at}" if damage.resumed_at is not None else ""
            say(f"warning: {source.path}: damaged at byte {damage.offset}: {damage.reason}{place}")
    if not keep_going:
        raise_damage(trace)
    return trace


def raise_damage(trace: Trace, then: str = _BEFORE) -> None:
    """Raise DamagedCapture for the first damage of a trace, if there is any; it says how many other captures are so."""
    damaged = [source for source in trace.sources if source.damages]
    if not damaged:
        return
    first, damage = damaged[0], damaged[0].damages[0]
    if len(damaged) > 1:
        then = f"so are {len(damaged) - 1} more of the captures; what precedes is in {trace.folder}"
    elif len(trace.sources) > 1:
        then += ", with those of the other captures"
    rest = then.format(packets=first.packets, folder=trace.folder)
    raise DamagedCapture(str(first.path), damage.offset, f"{damage.reason}; {rest}")


def make(
    inputs: Inputs,
    target: Path,
    layer: str,
    progress: Progress | None,
    keep_going: bool,
    choices: IntakeChoices,
    say: Say | None,
    checkpoint_rows: int,
) -> Trace:
    """As `ingest` of captures that are listed, whatever the damage."""
    decoder = Decoder(layer, by_tenant=choices.by_tenant)
    if say:
        _say_what_is_left_out(inputs, say)
    named = [head.path for head in inputs.heads if head.path != STDIN]
    making = _Making(inputs, decoder, choices, keep_going, progress)
    try:
        with new_folder(target, marker=TRACE_FILE, inputs=named, resumable=True) as folder:
            document = making.run(folder, checkpoint_rows, say)
            (folder / TRACE_FILE).write_text(json_text(document, indent=2), "utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error}; make room or choose another --out") from None
    except KeyboardInterrupt:
        if making.kept:
            raise KeyboardInterrupt(
                f"interrupted; {making.kept} of {len(inputs.heads)} captures are kept aside: "
                "the same command resumes after them"
            ) from None
        raise
    return load(target)


def _say_what_is_left_out(inputs: Inputs, say: Say) -> None:
    if count := inputs.left_out["not_captures"]:
        say(f"{count} files that are no captures are left out")
    if count := inputs.left_out["named_twice"]:
        say(f"{count} captures that were named twice are taken once")


class _Making:
    """One ingest at work."""

    def __init__(
        self, inputs: Inputs, decoder: Decoder, choices: IntakeChoices, keep_going: bool, progress: Progress | None
    ) -> None:
        self.kept = 0
        self._inputs = inputs
        self._decoder = decoder
        self._choices = choices
        self._keep_going = keep_going
        self._progress = progress
        self._intake = Intake(choices)
        self._surveys = Surveys()
        self._sources: dict[int, dict[str, Any]] = {}
        self._resumed_bytes = 0

    def run(self, folder: Path, checkpoint_rows: int, say: Say | None) -> TraceDocument:
        """Read every capture and write the tables into `folder`; what `trace.json` is to say."""
        heads = self._inputs.heads
        plan, keep = self._plan(), resumes(folder) and not any(head.pipe for head in heads)
        checkpoints = Checkpoints(folder, plan, checkpoint_rows)
        done = checkpoints.load(self._state())
        if done.state is not None:
            self._restore(done.state)
            self._sources = done.sources
            self._resumed_bytes = sum(heads[file].total_bytes for file in done.sources)
            self.kept = checkpoints.captures_done
            if say:
                say(f"resuming after {self.kept} of {len(heads)} captures")
        writer = PacketWriter(folder / PACKETS_FOLDER, self._intake.follow, done.parts)
        try:
            self._read(writer, checkpoints if keep else None, checkpoints.due)
        finally:
            self.kept = checkpoints.captures_done
            writer.close()
        intake, decoder = self._intake, self._decoder
        flows = flow_table(intake.flows, decoder.tenants, self._choices.key)
        pq.write_table(flows, folder / FLOWS_FILE, compression="zstd")
        pq.write_table(decoder.segment_lists.table(), folder / SEGMENT_LISTS_FILE, compression="zstd")
        sources = [self._sources[file] for file in range(len(heads))]
        decoded = decoder.findings()
        skipped: dict[str, int] = {}
        for source in sources:
            for name, count in source["skipped"].items():
                skipped[name] = skipped.get(name, 0) + count
        return TraceDocument.model_validate(
            {
                "schema_version": SCHEMA_VERSION,
                "layer": decoder.layer,
                "packets": intake.rows,
                "wire_bytes": intake.wire_bytes,
                "captured_bytes": intake.captured_bytes,
                "flows": len(intake.flows),
                "segment_lists": len(decoder.segment_lists),
                "tenants": len(set(intake.flows.tenants().tolist()) - {0}),
                **self._choices.about(),
                "findings": ordered([*intake.findings(sources, decoder.tenants), *unread.find(sources, decoded)]),
                "left_out": self._inputs.left_out,
                "skipped": skipped,
                **decoded,
                "sources": sources,
                "parts": writer.parts,
            }
        )

    def _read(self, writer: PacketWriter, checkpoints: Checkpoints | None, due: Callable[[int, int], bool]) -> None:
        """Take all captures to their end or damage. Parts end where a checkpoint is due, whether it is kept or not."""
        heads, intake = self._inputs.heads, self._intake
        chunk = writer.chunk()
        with Merge(heads, self._open, done=self._sources) as merge:
            for step in merge:
                if isinstance(step, Ended):
                    self._sources[step.file] = _source(heads[step.file], step.reader, self._surveys.finish(step.file))
                    more = len(self._sources) < len(heads)
                    if step.alone and more and due(intake.rows, 0):  # however few flows there are
                        writer.settle()
                        intake.follow(chunk)
                        if due(intake.rows, len(intake.flows)):
                            writer.put(chunk)
                            writer.end_part()
                            if checkpoints:
                                checkpoints.save(self._state(), self._sources, writer.parts, intake.rows)
                            chunk = writer.chunk()
                else:
                    rows = chunk.reserve(len(step.file))
                    headers = self._decoder.decode(step.frames, rows.headers)
                    wanted = None if self._choices.filter is None else self._choices.filter.mark(headers, step.frames)
                    self._surveys.add(step, headers, self._decoder.numbered)
                    chunk = intake.take(step, rows, writer, wanted)
                    if chunk.full:
                        writer.put(chunk)
                        chunk = writer.chunk()
                if self._progress:
                    self._progress(self._resumed_bytes + merge.bytes_read, self._inputs.total_bytes)
        writer.put(chunk)

    def _open(self, file: int, buffer_bytes: int, batch_frames: int) -> CaptureReader:
        path = self._inputs.heads[file].path
        return read_frames(path, buffer_bytes, batch_frames, digest=True, keep_going=self._keep_going)

    def _plan(self) -> dict[str, Any]:
        """What the trace is made of, and how, as JSON: a checkpoint of another plan is of no use."""
        return {
            "captures": [] if any(head.pipe for head in self._inputs.heads) else self._inputs.identities(),
            "layer": self._decoder.layer,
            "by_tenant": self._choices.by_tenant,
            "choices": self._choices.about(),
            "filter": None if self._choices.filter is None else self._choices.filter.text,
            "keep_going": self._keep_going,
        }

    def _state(self) -> checkpoint.State:
        """Everything that later packets depend on."""
        return {
            **{f"decoder_{name}": array for name, array in self._decoder.state().items()},
            **{f"intake_{name}": array for name, array in self._intake.state().items()},
        }

    def _restore(self, state: checkpoint.State) -> None:
        for part, whole in (("decoder_", self._decoder), ("intake_", self._intake)):
            whole.restore({name.removeprefix(part): a for name, a in state.items() if name.startswith(part)})


def _source(head: Head, reader: CaptureReader, survey: Survey) -> dict[str, Any]:
    """The entry in `trace.json` of a capture that has ended."""
    entry = {
        "path": head.place,
        "bytes": reader.bytes_read,
        "xxh128": reader.hexdigest(),
        "format": reader.format,
        "compression": reader.compression,
        "packets": reader.frames,
        "linktypes": survey.linktypes(),
        "snaplens": sorted(reader.snaplens),
        "clock_resolutions_ns": sorted(reader.resolutions_ns),
        "skipped": survey.skipped(),
        "drops": dict(reader.drops),
        "odd_records": reader.odd_records,
        "most_fraction": reader.most_fraction,
        "further_headers": reader.further_headers,
        "damages": [asdict(damage) for damage in reader.damages],
        **survey.findings(),
    }
    return SourceEntry.model_validate(entry).as_dict()
