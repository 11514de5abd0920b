"""Opens what a command is given: a trace folder, or captures, whose trace is made in the user's cache on the way."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Final

import platformdirs

from segcast.traces.captures import remote as locations
from segcast.traces.disk.names import check_name
from segcast.traces.errors import DamagedCapture, InputError
from segcast.traces.headers.decode import OUTER
from segcast.traces.ingest import checkpoint
from segcast.traces.ingest.inputs import Inputs, is_pipe, list_inputs
from segcast.traces.ingest.intake import AS_CAPTURED
from segcast.traces.ingest.run import Progress, Say, make, raise_damage
from segcast.traces.sources import source_digest
from segcast.traces.trace import FLOWS_FILE, PACKETS_FOLDER, TRACE_FILE, Trace, load

_STALE_SECONDS: Final = 30 * 24 * 3600


def open_trace(
    path: str | Path, *, layer: str | None = None, progress: Progress | None = None, say: Say | None = None
) -> Trace:
    """The trace in a folder, or that of captures, which are ingested into the user's cache on the way.

    The captures are what `path` means to `ingest`: a file, a URL, a folder of captures, a pattern. `layer`, `progress`
    and `say` are those of `ingest`; the layer must be that of the trace if it exists.

    The trace of a pipe ("-" is stdin) lives as long as the process.

    Raises InputError for what is neither, and DamagedCapture for a damaged capture (ingest it on purpose to go on).
    """
    if not locations.is_url(path):
        check_name(path)
        if Path(path).is_dir() and _is_trace(Path(path)):
            return _loaded(Path(path), layer)
    try:
        inputs = list_inputs([path])
    except InputError:
        if locations.is_url(path) or not Path(path).is_dir():
            raise
        return _loaded(Path(path), layer)  # says what is missing of a trace
    layer = layer or OUTER
    options = (layer, progress, False, AS_CAPTURED, say, checkpoint.ROWS)
    if is_pipe(path):
        root = Path(tempfile.mkdtemp(prefix="segcast-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
        trace = make(inputs, root / "stdin.trace", *options)
        raise_damage(trace, "segcast ingest keeps the {packets} packets before it")
        return trace
    folder = _cached_folder(path, inputs, layer)
    if folder.is_dir():
        try:
            trace = load(folder)
            os.utime(folder)
            raise_damage(trace)
            return trace
        except DamagedCapture:
            raise
        except InputError:
            shutil.rmtree(folder, ignore_errors=True)
    trace = make(inputs, folder, *options)
    raise_damage(trace)
    return trace


def _is_trace(folder: Path) -> bool:
    """Whether a folder means to be a trace, whole or not."""
    return any((folder / name).exists() for name in (TRACE_FILE, PACKETS_FOLDER, FLOWS_FILE))


def _loaded(folder: Path, layer: str | None) -> Trace:
    return checked_layer(load(folder), layer)


def checked_layer(trace: Trace, layer: str | None) -> Trace:
    """The trace, if it holds that layer. Raises InputError."""
    folder = trace.folder
    if layer not in (None, trace.layer):
        raise InputError(f"{folder}: holds the {trace.layer} layer; ingest its captures again with --layer {layer}")
    return trace


def is_cached(folder: Path) -> bool:
    """Whether a trace folder is one that `open_trace` made, and so may be gone one day."""
    return folder.parent == _cache()


def _cache() -> Path:
    return Path(platformdirs.user_cache_dir("segcast")) / "traces"


def _cached_folder(path: str | Path, inputs: Inputs, layer: str) -> Path:
    """Where the trace of captures is kept; traces unused for a month are removed."""
    root = _cache()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{root}: the cache folder cannot be made ({error}); use segcast ingest") from None
    for other in root.iterdir():
        if time.time() - other.stat().st_mtime > _STALE_SECONDS:
            shutil.rmtree(other, ignore_errors=True)
    key = json.dumps([inputs.identities(), inputs.left_out, layer, source_digest()])
    name = str(path).rstrip("/").rpartition("/")[2] or "captures"
    return root / f"{name[:100]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.trace"
