"""Recognises how a capture is compressed, and opens what decompresses it as a stream in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from segcast.traces.captures.gzip_like import Members, bzip2, gzip, xz
from segcast.traces.captures.stored import RawInput
from segcast.traces.captures.zstd_lz4 import Frames

MAGIC_BYTES: Final = 6

_MAGICS: Final[dict[bytes, tuple[str, Callable[[RawInput], Decompressor]]]] = {
    b"\x1f\x8b": ("gzip", lambda raw: Members(raw, gzip(raw.regular))),
    b"\x28\xb5\x2f\xfd": ("zstd", lambda raw: Frames(raw, "zstd")),
    b"\x04\x22\x4d\x18": ("lz4", lambda raw: Frames(raw, "lz4")),
    b"BZh": ("bzip2", lambda raw: Members(raw, bzip2())),
    b"\xfd7zXZ\0": ("xz", lambda raw: Members(raw, xz())),
    # A skippable frame first, as parallel zstd writes; lz4 frames may follow it all the same.
    **{bytes([0x50 + n]) + b"\x2a\x4d\x18": ("zstd", lambda raw: Frames(raw, "zstd")) for n in range(16)},
}


class Decompressor(Protocol):
    """What a compressed input is read by."""

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the stream goes; raises BrokenStreamError."""

    def resume(self) -> bool:
        """After damage, go to the next place where decompression can begin; False if there is none."""


def decompressor(raw: RawInput, head: bytes) -> tuple[str, Decompressor | None]:
    """The compression of an input that begins with `head` (gzip, zstd, lz4, bzip2, xz, none), and what undoes it."""
    for magic, (name, opener) in _MAGICS.items():
        if head.startswith(magic):
            return name, opener(raw)
    return "none", None
