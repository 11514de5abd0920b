"""Nanosecond or microsecond pcap files, one per host, written in chunks.

Format: draft-ietf-opsawg-pcap section 4, little-endian, link type Ethernet. Records come as bytes, header
included.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray

from segcast.replay.srv6.encapsulate import RECORD_BYTES, copy
from segcast.traces.byteorder import le32
from segcast.traces.errors import InputError
from segcast.traces.jit import kernel

SNAPLEN: Final = 262144
FILE_HEADER: Final = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, SNAPLEN, 1)
MICROSECONDS: Final = struct.pack("<I", 0xA1B2C3D4)  # begins files whose records have microseconds

_FILE_HEADER_BYTES: Final = len(FILE_HEADER)
_OPEN_FILES: Final = 128
_WAITING_BYTES: Final = 64 << 20  # of records for more files than may be open
_SORT_CHUNK_BYTES: Final = 16 << 20


def file_name(host: str) -> str:
    """The capture's name for a host named by its address or prefix: `:` becomes `-`, `/` becomes `_`."""
    name = host.replace(":", "-").replace("/", "_")
    if not name.strip(". ") or "\0" in name or "\\" in name or name.startswith("."):
        raise InputError(f"host {host!r} cannot name a file: name hosts by their address")
    return f"{name}.pcap"


def file_names(hosts: Sequence[str]) -> list[str]:
    """The captures' names. Raises InputError if two hosts would share a file."""
    owners: dict[str, str] = {}
    for host in hosts:
        name = file_name(host)
        if name in owners:
            raise InputError(f"hosts {owners[name]!r} and {host!r} would both be written to {name}: rename one")
        owners[name] = host
    return list(owners)


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
    """Captures written to a folder, one per host; the folder is new, and appears when `finish` has run.

    Use as a context manager, which closes the files. At most 129 files are open at once; up to 64 MiB of records wait
    for the others. `unordered`, bool[hosts]: hosts whose records will not come in time order; theirs are sorted by
    `finish`. `microseconds`: what is appended has nanoseconds, what is written then has these, cut off.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], unordered: NDArray[np.bool_], *, microseconds: bool = False
    ) -> None:
        """Captures with the `names` of `file_names` in a folder that is empty."""
        self.folder = folder
        self.names = names
        self._microseconds = microseconds
        self._unordered = unordered
        self._order: dict[int, list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = {}
        self._handles: dict[int, BinaryIO] = {}
        self._written: set[int] = set()
        self._waiting: dict[int, bytearray] = {}
        self._waiting_bytes = 0

    def __enter__(self) -> Self:
        """Nothing is written before the first record."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the files."""
        for handle in self._handles.values():
            with contextlib.suppress(OSError):  # a full disk has been reported by the write
                handle.close()
        self._handles.clear()

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
        handle = (self.folder / self.names[host]).open("ab")
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
        """Sort what needs it, and write the files `beside` and `manifest`."""
        self._flush()
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()
        for host, pieces in self._order.items():
            rank = np.concatenate([piece[0] for piece in pieces])
            size = np.concatenate([piece[1] for piece in pieces])
            _sort_records(self.folder / self.names[host], rank, size)
        if self._microseconds:
            for host in self._written:
                cut_to_microseconds(np.memmap(self.folder / self.names[host], np.uint8, "r+"))
        for name, text in {**(beside or {}), manifest: content}.items():
            (self.folder / name).write_bytes(text)


def cut_to_microseconds(data: NDArray[np.uint8]) -> None:
    """Make a nanosecond capture one of microseconds, in place."""
    data[:4] = np.frombuffer(MICROSECONDS, np.uint8)
    _cut_records(data)


@kernel
def _cut_records(data: NDArray[np.uint8]) -> None:
    at = _FILE_HEADER_BYTES
    while at + RECORD_BYTES <= len(data):
        microseconds = le32(data, at + 4) // 1000
        for k in range(4):
            data[at + 4 + k] = microseconds >> (8 * k) & 0xFF
        at += RECORD_BYTES + le32(data, at + 8)


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
