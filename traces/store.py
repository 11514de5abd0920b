"""Makes traces of captures: reads, decodes and writes at the same time, and puts the folder in place at the end."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import platformdirs
import pyarrow.parquet as pq

from traces.bytesource import STDIN
from traces.capture import CaptureReader, read_frames
from traces.decode import OUTER, Decoder
from traces.errors import DamagedCapture, InputError
from traces.flowtable import flow_table
from traces.folders import check_name, new_folder
from traces.intake import AS_CAPTURED, Choices, Intake
from traces.jit import source_digest
from traces.packets import PacketWriter
from traces.schema import SCHEMA_VERSION
from traces.survey import Survey
from traces.trace import FLOWS_FILE, PACKETS_FOLDER, SEGMENT_LISTS_FILE, TRACE_FILE, Trace, load

Progress = Callable[[int, int], None]

_MOST_FILES: Final = 1 << 16
_STALE_SECONDS: Final = 30 * 24 * 3600


def ingest(
    captures: Sequence[str | Path],
    out: str | Path,
    *,
    layer: str = OUTER,
    progress: Progress | None = None,
    keep_going: bool = False,
    choices: Choices = AS_CAPTURED,
) -> Trace:
    """Make the trace folder `out` of `captures` ("-" is stdin), file after file; the trace, opened.

    `layer` ("outer", "inner") says which IP header counts where tunnels nest them.

    An existing trace is replaced, anything else is not. `progress(done_bytes, total_bytes)` is called as the stored
    bytes are read; the total is 0 if a capture's size is unknown. Raises InputError before anything is written if a
    capture or `out` cannot be used. If a capture is damaged, everything readable is kept and the damage is noted in
    `trace.json`; then DamagedCapture is raised, unless `keep_going`.
    """
    if not captures:
        raise InputError("no capture given; name at least one pcap or pcapng file")
    if len(captures) > _MOST_FILES:
        raise InputError(f"{len(captures)} captures given, at most {_MOST_FILES} make a trace; merge some first")
    if sum(str(path) == STDIN for path in captures) > 1:
        raise InputError("-: stdin can be read once only; give it once")
    named = [path for path in captures if str(path) != STDIN]
    for path in named:
        check_name(path)
    total = _total_bytes(captures)
    target = Path(out)
    try:
        with new_folder(target, marker=TRACE_FILE, inputs=named) as folder:
            info = _write(captures, folder, Decoder(layer), progress, total, choices)
            (folder / TRACE_FILE).write_text(json.dumps(info, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error}; make room or choose another --out") from None
    trace = load(target)
    if not keep_going:
        _raise_damage(trace)
    return trace


def open_trace(path: str | Path, *, layer: str | None = None, progress: Progress | None = None) -> Trace:
    """The trace in a folder, or that of a capture, which is ingested into the user's cache on the way.

    `layer` is that of `ingest`, and must be that of the trace if it exists.

    The trace of a pipe ("-" is stdin) lives as long as the process.

    Raises InputError for what is neither, and DamagedCapture for a damaged capture (ingest it on purpose to go on).
    """
    check_name(path)
    path = Path(path)
    if path.is_dir():
        trace = load(path)
        if layer not in (None, trace.layer):
            raise InputError(f"{path}: holds the {trace.layer} layer; ingest its captures again with --layer {layer}")
        return trace
    layer = layer or OUTER
    if is_pipe(path):
        root = Path(tempfile.mkdtemp(prefix="segcast-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        trace = ingest([path], root / "stdin.trace", layer=layer, progress=progress, keep_going=True)
        _raise_damage(trace, "segcast ingest keeps the {packets} packets before it")
        return trace
    folder = _cached_folder(path, layer)
    if folder.is_dir():
        try:
            trace = load(folder)
            os.utime(folder)
            _raise_damage(trace)
            return trace
        except DamagedCapture:
            raise
        except InputError:
            shutil.rmtree(folder, ignore_errors=True)
    return ingest([path], folder, layer=layer, progress=progress)


def _raise_damage(trace: Trace, then: str = "the {packets} packets before it are in {folder}") -> None:
    for source in trace.info["sources"]:
        if source["damage"]:
            rest = then.format(packets=source["packets"], folder=trace.folder)
            raise DamagedCapture(source["path"], source["damage"]["offset"], f"{source['damage']['reason']}; {rest}")


def is_pipe(path: str | Path) -> bool:
    """Whether `path` can be read once only."""
    return str(path) == STDIN or Path(path).is_fifo() or Path(path).is_char_device()


def _total_bytes(captures: Sequence[str | Path]) -> int:
    """Bytes as stored of all captures, 0 if one is a pipe; opens each, so that a wrong one is told at once."""
    total, known = 0, True
    for path in captures:
        if is_pipe(path):
            known = False
            continue
        with read_frames(path, batch_frames=1) as reader:
            total += reader.total_bytes
    return total if known else 0


def _write(
    captures: Sequence[str | Path],
    folder: Path,
    decoder: Decoder,
    progress: Progress | None,
    total: int,
    choices: Choices,
) -> dict[str, Any]:
    """Read every capture and write the tables into `folder`; the contents of `trace.json`."""
    (folder / PACKETS_FOLDER).mkdir()
    writer = PacketWriter(folder / PACKETS_FOLDER)
    intake = Intake(choices)
    sources = []
    done = 0
    try:
        for file, path in enumerate(captures):
            before = done
            report = (lambda n, before=before: progress(before + n, total)) if progress else None
            with read_frames(path, digest=True) as reader:
                sources.append(_read_one(reader, file, decoder, writer, intake, report))
                done += reader.bytes_read
    finally:
        writer.close()
    pq.write_table(flow_table(intake.flows, choices.key), folder / FLOWS_FILE, compression="zstd")
    pq.write_table(decoder.segment_lists.table(), folder / SEGMENT_LISTS_FILE, compression="zstd")
    skipped: dict[str, int] = {}
    for source in sources:
        for name, count in source["skipped"].items():
            skipped[name] = skipped.get(name, 0) + count
    return {
        "schema_version": SCHEMA_VERSION,
        "layer": decoder.layer,
        "packets": intake.rows,
        "flows": len(intake.flows),
        "segment_lists": len(decoder.segment_lists),
        **choices.about(),
        "findings": intake.findings(sources),
        "skipped": skipped,
        "sources": sources,
        "parts": writer.parts,
    }


def _read_one(
    reader: CaptureReader,
    file: int,
    decoder: Decoder,
    writer: PacketWriter,
    intake: Intake,
    report: Callable[[int], None] | None,
) -> dict[str, Any]:
    """Take one capture to its end or to its damage; its entry in `trace.json`."""
    survey = Survey()
    damage = None
    chunk = writer.chunk()
    try:
        for batch in reader:
            headers = decoder.decode(batch, chunk.next_headers(len(batch.start)))
            survey.add(batch, headers)
            chunk = intake.take(batch, headers, file, chunk, writer)
            if chunk.full:
                writer.put(chunk)
                chunk = writer.chunk()
            if report:
                report(reader.bytes_read)
    except DamagedCapture as error:
        damage = {"offset": error.offset, "reason": error.reason}
    writer.put(chunk)
    stdin = reader.path == STDIN
    return {
        "path": STDIN if stdin else str(Path(reader.path).resolve()),
        "bytes": reader.bytes_read,
        "blake3": reader.hexdigest(),
        "format": reader.format,
        "compression": reader.compression,
        "packets": reader.frames,
        "linktypes": survey.linktypes(),
        "snaplens": sorted(reader.snaplens),
        "clock_resolutions_ns": sorted(reader.resolutions_ns),
        "skipped": survey.skipped(),
        "damage": damage,
        **survey.findings(),
        **decoder.findings(),
    }


def _cached_folder(path: Path, layer: str) -> Path:
    """Where the trace of a capture is kept; traces unused for a month are removed."""
    with read_frames(path, batch_frames=1):
        state = path.stat()
    root = Path(platformdirs.user_cache_dir("segcast")) / "traces"
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root}: the cache folder cannot be made ({error}); use segcast ingest") from None
    for other in root.iterdir():
        if time.time() - other.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    key = f"{path.resolve()}\0{state.st_size}\0{state.st_mtime_ns}\0{layer}\0{source_digest()}"
    return root / f"{path.name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.trace"
