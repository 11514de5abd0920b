"""Traces and flow lists in an object store: copied once into the user's cache, with the columns that are needed.

The copy is found by the digest of the trace's document, which holds the digests of its captures. Processes that want
the same one wait for the first to fetch it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from segcast.traces.captures.remote import RemoteInput, identity, located, reason_of
from segcast.traces.disk.bounded import DOCUMENT_BYTES
from segcast.traces.errors import InputError
from segcast.traces.schema import PACKETS
from segcast.traces.trace import FLOWS_FILE, PACKETS_FOLDER, SEGMENT_LISTS_FILE, TRACE_FILE, Trace, load

_STALE_SECONDS: Final = 30 * 24 * 3600
_READ_BYTES: Final = 8 << 20
_SUFFIX: Final = ".trace"


def is_trace_url(url: str) -> bool:
    """Whether a URL names a trace's folder, by the end of its name."""
    return urlsplit(url).path.rstrip("/").endswith(_SUFFIX)


def mirrored(url: str, columns: Sequence[str] | None = None) -> Trace:
    """The trace in the folder of a URL, with all columns of its packets or only these. Raises InputError."""
    document = _document(url)
    kept = None if columns is None else sorted(set(columns))
    of_columns = "all" if kept is None else xxhash.xxh64_hexdigest(json.dumps(kept).encode())
    name = urlsplit(url).path.rstrip("/").rpartition("/")[2].removesuffix(_SUFFIX)[:100]
    target = cache() / f"{name}-{xxhash.xxh128_hexdigest(document)}-{of_columns}{_SUFFIX}"
    with _turn(target):
        if not (target / TRACE_FILE).is_file():
            _fetch(url, document, kept, target)
        os.utime(target)
    trace = load(target)
    return trace if kept is None else replace(trace, only=frozenset(kept))


def fetched(url: str) -> Path:
    """A file of its own in the cache that holds an object. Raises InputError."""
    size, version = identity(url)
    name = urlsplit(url).path.rpartition("/")[2]
    target = cache() / xxhash.xxh128_hexdigest(f"{url} {size} {version}".encode()) / name
    with _turn(target.parent):
        if not target.is_file():
            remote = RemoteInput(url)
            with _aside(target) as aside:
                aside.write_bytes(remote.read_at(0, remote.total_bytes))
        os.utime(target.parent)
    return target


def cache() -> Path:
    """Where copies are kept."""
    return Path(platformdirs.user_cache_dir("segcast")) / "mirrors"


def _document(url: str) -> bytes:
    _, key, url_of = located(url)
    try:
        remote = RemoteInput(url_of(f"{key.rstrip('/')}/{TRACE_FILE}"))
        if remote.total_bytes > DOCUMENT_BYTES:
            raise InputError(f"{url}: its {TRACE_FILE} has {remote.total_bytes:,} bytes, which none has")
        return remote.read_at(0, remote.total_bytes)
    except OSError as error:
        raise InputError(f"{url}: {reason_of(error)}") from None
    except InputError as error:
        raise InputError(f"{error}, so there is no trace") from None


def _fetch(url: str, document: bytes, columns: Sequence[str] | None, target: Path) -> None:
    files, key, _ = located(url)
    key = key.rstrip("/")
    try:
        parts = [str(part["name"]) for part in json.loads(document)["parts"]]
        if any("/" in part or part.startswith(".") for part in parts):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{url}: its {TRACE_FILE} names no parts; ingest the captures again") from None
    with _aside(target) as aside:
        (aside / PACKETS_FOLDER).mkdir(parents=True)
        try:
            for name in (FLOWS_FILE, SEGMENT_LISTS_FILE):
                _copy(files, f"{key}/{name}", aside / name)
            for part in parts:
                _copy_part(files, f"{key}/{PACKETS_FOLDER}/{part}", aside / PACKETS_FOLDER / part, columns)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{url}: {reason_of(error)}") from None
        (aside / TRACE_FILE).write_bytes(document)


def _copy(files: Any, key: str, target: Path) -> None:
    with files.open_input_stream(key) as source, target.open("wb") as out:
        while piece := source.read(_READ_BYTES):
            out.write(piece)


def _copy_part(files: Any, key: str, target: Path, columns: Sequence[str] | None) -> None:
    """Row group by row group; columns that are not wanted hold nulls, which take no room."""
    if columns is None:
        _copy(files, key, target)
        return
    blank = [column.name for column in PACKETS.columns if column.name not in columns]
    schema = pa.schema(
        [pa.field(column.name, column.type, column.nullable or column.name in blank) for column in PACKETS.columns]
    )
    with (
        pq.ParquetFile(files.open_input_file(key), pre_buffer=True) as source,
        pq.ParquetWriter(target, schema, compression="lz4", use_dictionary=False) as out,
    ):
        for group in range(source.num_row_groups):
            table = source.read_row_group(group, columns=list(columns))
            arrays = [
                pa.nulls(table.num_rows, field.type) if field.name in blank else table.column(field.name)
                for field in schema
            ]
            out.write_table(pa.table(arrays, schema=schema), row_group_size=max(1, table.num_rows))


@contextlib.contextmanager
def _turn(target: Path) -> Iterator[None]:
    """Be the one process that looks after a copy; what was not used for a month is removed first."""
    root = target.parent
    lock = -1
    try:
        root.mkdir(parents=True, exist_ok=True)
        for other in root.iterdir():
            if other.is_dir() and time.time() - other.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(other, ignore_errors=True)
        lock = os.open(target.with_name(f".{target.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        raise InputError(f"{root}: the cache folder cannot be used ({error.strerror}); make room there") from None
    try:
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """A name beside a file or folder, which takes its place when the block ends and is removed when it fails."""
    aside = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield aside
        aside.rename(target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}; make room there") from None
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)
