"""Nanosecond or microsecond pcap files, one per host, written aside in chunks and renamed when all are whole.

Format: draft-ietf-opsawg-pcap section 4, little-endian, link type Ethernet. Records come as bytes, header
included.
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray

from segcast.replay.srv6.encapsulate import copy
from segcast.traces.errors import InputError
from segcast.traces.jit import kernel

SNAPLEN: Final = 262144
FILE_HEADER: Final = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, SNAPLEN, 1)
MICROSECONDS: Final = struct.pack("<I", 0xA1B2C3D4)  # begins files whose records have microseconds

_FILE_HEADER_BYTES: Final = 24
_RECORD_HEADER_BYTES: Final = 16
_OPEN_FILES: Final = 128
_WAITING_BYTES: Final = 64 << 20  # of records for more files than may be open
_SORT_CHUNK_BYTES: Final = 16 << 20


def file_name(host: str) -> str:
    """The capture's name for a host named by its address or prefix: `:` becomes `-`, `/` becomes `_`."""
    name = host.replace(":", "-").replace("/", "_")
    if not name.strip(". ") or "\0" in name or "\\" in name or name.startswith("."):
        raise InputError(f"host {host!r} cannot name a file: name hosts by their address")
    return f"{name}.pcap"


@kernel
def _gather(
    source: NDArray[np.uint8], first: NDArray[np.int64], size: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    """Copy the records source[first : first + size] one after another to `out`."""
    to = np.int64(0)
    for record in range(len(first)):
        copy(source, first[record], size[record], out, to)
        to += size[record]


class PcapFolder:
    """One capture per host in a folder; nothing stands under a final name before `finish` has run.

    Use as a context manager: what was written aside is removed whatever happens. At most 129 files are open at once;
    up to 64 MiB of records wait for the others. `unordered`, bool[hosts]: hosts whose records will not come in time
    order; theirs are sorted by `finish`. Raises InputError if two hosts would share a file, or the folder holds
    captures that are not to be replaced (`replaceable`: names of those that are). `microseconds`: what is appended has
    nanoseconds, what is written then has these, cut off.
    """

    def __init__(
        self,
        folder: Path,
        hosts: Sequence[str],
        unordered: NDArray[np.bool_],
        replaceable: Sequence[str] = (),
        *,
        microseconds: bool = False,
    ) -> None:
        """Check names and folder; nothing is created before the context is entered."""
        self.folder = folder
        self.names = [file_name(host) for host in hosts]
        seen: dict[str, str] = {}
        for host, name in zip(hosts, self.names, strict=True):
            if name in seen:
                raise InputError(f"hosts {seen[name]!r} and {host!r} would both be written to {name}: rename one")
            seen[name] = host
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is not a folder: give another --out")
        foreign = sorted(path.name for path in folder.glob("*.pcap") if path.name not in replaceable)
        if foreign:
            raise InputError(
                f"{folder}: holds {foreign[0]}, which is not from an earlier rewrite: give an empty folder"
            )
        self._replaceable = tuple(replaceable)
        self._microseconds = microseconds
        self._unordered = unordered
        self._order: dict[int, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
        self._handles: dict[int, BinaryIO] = {}
        self._written: set[int] = set()
        self._waiting: dict[int, bytearray] = {}
        self._waiting_bytes = 0

    def __enter__(self) -> Self:
        """Make the folder, and the one aside within it."""
        self._made = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._aside = Path(tempfile.mkdtemp(prefix=".rewrite-", dir=self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove what was written aside, and a folder that was made for nothing."""
        for handle in self._handles.values():
            with contextlib.suppress(OSError):  # a full disk has been reported by the write
                handle.close()
        self._handles.clear()
        shutil.rmtree(self._aside, ignore_errors=True)
        if self._made and kind is not None and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def append(self, host: int, records: NDArray[np.uint8], rank: NDArray[np.int64], size: NDArray[np.int64]) -> None:
        """Append a host's records, uint8, end to end; int64 each: `rank`, place in time; `size`, bytes."""
        handle = self._handles.get(host)
        if handle is None and len(self._handles) < _OPEN_FILES:
            handle = self._handles[host] = self._open(host)
        if handle is not None:
            handle.write(records.data)
        else:
            self._waiting.setdefault(host, bytearray()).extend(records.data)
            self._waiting_bytes += len(records)
            if self._waiting_bytes > _WAITING_BYTES:
                self._flush()
        if self._unordered[host]:
            self._order.setdefault(host, []).append((rank.copy(), size.copy()))

    def _open(self, host: int) -> BinaryIO:
        """The file of a host, to append to; the first 128 stay open."""
        handle = (self._aside / self.names[host]).open("ab")
        if host not in self._written:
            self._written.add(host)
            handle.write(FILE_HEADER)
        return handle

    def _flush(self) -> None:
        """Write what waits for files that are not open."""
        for host, records in self._waiting.items():
            with self._open(host) as handle:
                handle.write(records)
        self._waiting.clear()
        self._waiting_bytes = 0

    def finish(self, manifest: str, content: bytes, beside: Mapping[str, bytes] | None = None) -> None:
        """Sort what needs it, then rename every capture and what stands `beside` to its final name, `manifest` last."""
        beside = beside or {}
        self._flush()
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()
        for host, pieces in self._order.items():
            rank = np.concatenate([piece[0] for piece in pieces])
            size = np.concatenate([piece[1] for piece in pieces])
            _sort_records(self._aside / self.names[host], rank, size)
        if self._microseconds:
            for host in self._written:
                cut_to_microseconds(np.memmap(self._aside / self.names[host], np.uint8, "r+"))
        for name, text in {**beside, manifest: content}.items():
            (self._aside / name).write_bytes(text)
        (self.folder / manifest).unlink(missing_ok=True)
        for name in self._replaceable:
            (self.folder / name).unlink(missing_ok=True)
        for host in sorted(self._written):
            (self._aside / self.names[host]).replace(self.folder / self.names[host])
        for name in beside:
            (self._aside / name).replace(self.folder / name)
        (self._aside / manifest).replace(self.folder / manifest)


def cut_to_microseconds(data: NDArray[np.uint8]) -> None:
    """Make a nanosecond capture one of microseconds, in place."""
    data[:4] = np.frombuffer(MICROSECONDS, np.uint8)
    _cut_records(data)


@kernel
def _cut_records(data: NDArray[np.uint8]) -> None:
    at = _FILE_HEADER_BYTES
    while at + _RECORD_HEADER_BYTES <= len(data):
        rest, size = np.int64(0), np.int64(0)
        for k in range(4):
            rest |= np.int64(data[at + 4 + k]) << (8 * k)
            size |= np.int64(data[at + 8 + k]) << (8 * k)
        rest //= 1000
        for k in range(4):
            data[at + 4 + k] = rest >> (8 * k) & 0xFF
        at += _RECORD_HEADER_BYTES + int(size)


def _sort_records(path: Path, rank: NDArray[np.int64], size: NDArray[np.int64]) -> None:
    """Rewrite a capture with its records in ascending `rank`; memory does not grow with the file."""
    order = np.argsort(rank, kind="stable")
    first = (len(FILE_HEADER) + np.cumsum(size) - size)[order]
    size = size[order]
    source = np.asarray(np.memmap(path, np.uint8, "r+"))
    ends = np.cumsum(size)
    ordered = path.with_name(path.name + ".ordered")
    with ordered.open("wb") as out:
        out.write(FILE_HEADER)
        done = 0
        while done < len(size):
            before = ends[done - 1] if done else 0
            stop = max(done + 1, int(np.searchsorted(ends, before + _SORT_CHUNK_BYTES, "right")))
            chunk = np.empty(int(ends[stop - 1] - before), np.uint8)
            _gather(source, first[done:stop], size[done:stop], chunk)
            out.write(chunk.data)
            done = stop
    ordered.replace(path)
