"""Compresses captures in every way that is read."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from typing import Final

import pyarrow as pa


def _arrow(codec: str) -> Callable[[bytes], bytes]:
    return lambda data: bytes(pa.compress(data, codec, asbytes=True))


_gzip: Final = lambda data: gzip.compress(data, 1, mtime=0)  # noqa: E731
_bzip2: Final = lambda data: bz2.compress(data, 1)  # noqa: E731
_xz: Final = lambda data: lzma.compress(data, preset=0)  # noqa: E731


def _members(pack: Callable[[bytes], bytes], after: bytes = b"") -> Callable[[bytes], bytes]:
    """In two pieces, each compressed by itself."""
    return lambda data: pack(data[:99]) + pack(data[99:]) + after


PACKERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": _gzip,
    "gzip members": _members(_gzip, bytes(3)),
    "zstd": _arrow("zstd"),
    "zstd frames": _members(_arrow("zstd")),
    "lz4": _arrow("lz4"),
    "lz4 frames": _members(_arrow("lz4")),
    "bzip2": _bzip2,
    "bzip2 members": _members(_bzip2),
    "xz": _xz,
    "xz members": _members(_xz),
}
