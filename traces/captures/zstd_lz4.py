"""Decompresses zstd (RFC 8878) and lz4 frames block by block, so that where one is corrupt the blocks before are known.

Blocks are found by their headers and handed to the library one at a time; it checks what they contain. Frames of both
kinds and skippable frames may follow each other.
"""

from __future__ import annotations

import sys
from typing import Any, Final, NamedTuple

import lz4.frame

from segcast.traces.captures.stored import BrokenStreamError, RawInput

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_SKIPPABLE: Final = b"\x2a\x4d\x18"
_ZSTD_BLOCK_BYTES: Final = 1 << 17
_HEADER_BYTES: Final = 19  # the longest header of either
_ERRORS: Final = (zstd.ZstdError, RuntimeError, ValueError, EOFError)


class _Frame(NamedTuple):
    """The frame that is being read."""

    is_zstd: bool
    decompress: Any
    block_bytes: int  # the most that a block gives
    block_check_bytes: int
    check_bytes: int


class _DamageError(Exception):
    """The next block cannot be used; the text says why."""


class Frames:
    """The decompressed bytes of an input of zstd and lz4 frames."""

    def __init__(self, raw: RawInput, name: str) -> None:
        """Read on demand from the source; errors say `name`."""
        self._raw, self._name = raw, name
        self._stored, self._at = memoryview(b""), 0
        self._frame: _Frame | None = None
        self._at_check = False
        self._out = memoryview(b"")

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the stream goes; raises BrokenStreamError."""
        filled = 0
        while filled < len(view):
            if not self._out:
                try:
                    block = self._next()
                except _DamageError as error:
                    raise BrokenStreamError(filled, f"the {self._name} stream is {error}") from None
                if block is None:
                    break
                self._out = memoryview(block)
            count = min(len(self._out), len(view) - filled)
            view[filled : filled + count] = self._out[:count]
            self._out = self._out[count:]
            filled += count
        return filled

    def resume(self) -> bool:
        """After damage, go to the next frame whose header is sound; False if there is none."""
        magic = _ZSTD_MAGIC if self._name == "zstd" else _LZ4_MAGIC
        stored, at = bytes(self._stored[self._at :]), int(self._frame is None)  # a frame that did not begin is passed
        while True:
            at = stored.find(magic, at)
            lack = at < 0 or at + _HEADER_BYTES > len(stored)
            more = self._raw.read() if lack else b""
            if more:
                stored = (stored[-3:] if at < 0 else stored[at:]) + more
                at = 0
                continue
            if at < 0:
                return False
            self._stored, self._at, self._frame, self._at_check = memoryview(stored), at, None, False
            try:
                self._begin()
            except _DamageError:
                at += 1
                continue
            return True

    def _need(self, count: int) -> memoryview:
        """The next `count` bytes, fewer at the end of the input; they are not consumed."""
        have = len(self._stored) - self._at
        if have < count:
            parts: list[bytes | memoryview] = [self._stored[self._at :]]
            while have < count and (piece := self._raw.read()):
                parts.append(piece)
                have += len(piece)
            self._stored, self._at = memoryview(b"".join(parts)), 0
        return self._stored[self._at : self._at + count]

    def _exactly(self, count: int) -> memoryview:
        piece = self._need(count)
        if len(piece) < count:
            raise _DamageError("cut short")
        return piece

    def _next(self) -> bytes | None:
        """What the next part of the stream gives, perhaps nothing; None at its end."""
        if self._frame is None:
            if not self._need(1):
                return None
            self._begin()
            return b""
        frame = self._frame
        if self._at_check:
            out = self._take(frame.check_bytes)
            self._frame, self._at_check = None, False
            return out
        if frame.is_zstd:
            header = int.from_bytes(self._exactly(3), "little")
            last, stored = bool(header & 1), 3 + (1 if header & 6 == 2 else header >> 3)
        else:
            header = int.from_bytes(self._exactly(4), "little")
            size = header & 0x7FFFFFFF
            last, stored = header == 0, 4 + (size + frame.block_check_bytes if header else 0)
            if size > frame.block_bytes:
                raise _DamageError("corrupt (a block longer than its frame allows)")
        out = self._take(stored)
        if last:
            self._at_check = frame.check_bytes > 0
            if not self._at_check:
                self._frame = None
        return out

    def _take(self, count: int) -> bytes:
        """Hand the next `count` bytes to the library and consume them."""
        assert self._frame is not None
        piece = self._exactly(count)
        try:
            out: bytes = self._frame.decompress(piece, self._frame.block_bytes)
        except _ERRORS as error:
            raise _DamageError(f"corrupt ({error})") from None
        self._at += count
        return out

    def _begin(self) -> None:
        """Take a frame's header, or a whole skippable frame."""
        magic = bytes(self._need(4))
        if magic == _ZSTD_MAGIC:
            descriptor = self._exactly(5)[4]
            single, size_code = descriptor >> 5 & 1, descriptor >> 6
            count = 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3] + (single, 2, 4, 8)[size_code]
            decompress = zstd.ZstdDecompressor().decompress
            self._frame = _Frame(True, decompress, _ZSTD_BLOCK_BYTES, 0, 4 if descriptor & 4 else 0)
        elif magic == _LZ4_MAGIC:
            flags, limit = self._exactly(6)[4:6]
            count = 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
            block_bytes = 1 << 8 + 2 * max(4, limit >> 4 & 7)
            decompress = lz4.frame.LZ4FrameDecompressor().decompress
            self._frame = _Frame(False, decompress, block_bytes, 4 if flags & 16 else 0, 4 if flags & 4 else 0)
        elif magic[1:] == _SKIPPABLE and magic[0] & 0xF0 == 0x50:
            self._skip(8 + int.from_bytes(self._exactly(8)[4:], "little"))
            return
        elif len(magic) < 4 and any(magic):
            raise _DamageError("cut short")
        elif any(magic):
            raise _DamageError("corrupt (no frame where one should begin)")
        else:
            self._skip(len(magic))
            return
        try:
            self._take(count)
        except _DamageError:
            self._frame = None
            raise

    def _skip(self, count: int) -> None:
        while count:
            step = min(count, 1 << 16)
            self._exactly(step)
            self._at += step
            count -= step
