"""Reads a capture's bytes: a file or stdin, plain or compressed, into a few reused buffers, ahead of the decoder.

A thread reads (and decompresses and digests) while the caller decodes. Every buffer keeps room in front of its bytes,
so that a record which straddles two buffers is made whole by copying its beginning there.
"""

from __future__ import annotations

import hashlib
import os
import queue
import stat
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from traces.errors import InputError

Bytes = npt.NDArray[np.uint8]

STDIN: Final = "-"
DIGEST: Final = "sha256"
_PIECE: Final = 1 << 16
_BUFFERS: Final = 3


class _BrokenStreamError(Exception):
    """A compressed stream cannot be read further; `produced` bytes of the request precede the damage."""

    def __init__(self, produced: int, reason: str) -> None:
        super().__init__(reason)
        self.produced = produced


class RawInput:
    """The bytes as stored: counted and digested on the way; `peek` looks at the first ones."""

    def __init__(self, path: str, digest: bool) -> None:
        """Open `path` ("-" is stdin); raises InputError saying what is wrong with it."""
        self.path = path
        self.bytes_read = 0
        self.closed = False
        self._digest = hashlib.new(DIGEST) if digest else None
        self._ahead = b""
        self._own = path != STDIN
        try:
            self._fd = os.open(path, os.O_RDONLY) if self._own else sys.stdin.fileno()
            mode = os.fstat(self._fd)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; check the path") from None
        except PermissionError:
            raise InputError(f"{path}: not readable by this user; change its permissions (chmod u+r)") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be opened: {error}") from None
        if stat.S_ISDIR(mode.st_mode):
            self.close()
            raise InputError(f"{path}: a directory, not a capture; name the capture files in it")
        self.regular = stat.S_ISREG(mode.st_mode)
        self.total_bytes = mode.st_size if self.regular else 0

    def peek(self, count: int) -> bytes:
        """The first bytes, at most `count`; they are read again by `readinto`."""
        while len(self._ahead) < count:
            more = os.read(self._fd, count - len(self._ahead))
            if not more:
                break
            self._ahead += more
        return self._ahead

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the input goes; the number of bytes, 0 at its end."""
        filled = min(len(self._ahead), len(view))
        if filled:
            view[:filled] = self._ahead[:filled]
            self._ahead = self._ahead[filled:]
        while filled < len(view):
            count = os.readv(self._fd, [view[filled:]])
            if count == 0:
                break
            filled += count
        if self._digest is not None:
            self._digest.update(view[:filled])
        self.bytes_read += filled
        return filled

    def read(self, count: int = -1) -> bytes:
        """As a file object does: what pyarrow calls."""
        piece = bytearray(_PIECE if count < 0 else count)
        with memoryview(piece) as view:
            filled = self.readinto(view)
        return bytes(piece[:filled])

    def hexdigest(self) -> str:
        """Digest of the bytes read so far; the input must have been opened to keep one."""
        assert self._digest is not None
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file; stdin stays open."""
        if self._own and not self.closed:
            os.close(self._fd)
        self.closed = True


class _Decompressor(Protocol):
    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the stream goes; raises _BrokenStreamError."""


class _Gzip:
    """A gzip stream: any number of members, then perhaps zero padding (RFC 1952 section 2.2)."""

    def __init__(self, raw: RawInput) -> None:
        self._raw = raw
        self._member: Any = zlib.decompressobj(wbits=31)
        self._input = b""
        self._begun = False  # whether the current member has any byte

    def readinto(self, view: memoryview) -> int:
        filled = 0
        while filled < len(view):
            if not self._input:
                self._input = self._raw.read(4 * _PIECE)
                if not self._input:
                    if self._begun:
                        raise _BrokenStreamError(filled, "the gzip stream is cut short")
                    break
            if not self._begun:
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    continue
                self._begun = True
            before = self._member.copy()
            try:
                piece = self._member.decompress(self._input, len(view) - filled)
            except zlib.error as error:
                piece = _before_damage(before, self._input, len(view) - filled)
                view[filled : filled + len(piece)] = piece
                raise _BrokenStreamError(filled + len(piece), f"the gzip stream is corrupt ({error})") from None
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            if self._member.eof:
                self._input = self._member.unused_data
                self._member = zlib.decompressobj(wbits=31)
                self._begun = False
            else:
                self._input = self._member.unconsumed_tail
        return filled


def _before_damage(member: Any, stored: bytes, most: int) -> bytes:
    """What `stored` decompresses to before it turns out corrupt; zlib gives no part of what fails."""
    out = b""
    size = len(stored)
    while size and stored and len(out) < most:
        attempt = member.copy()
        try:
            out += attempt.decompress(stored[:size], most - len(out))
        except zlib.error:
            size //= 2
            continue
        member, stored = attempt, attempt.unconsumed_tail + stored[size:]
    return out


class _Zstd:
    """A zstd stream of any number of frames (RFC 8878), by pyarrow.

    Where the stream breaks, pyarrow does not say how much it had written. The request is a small piece marked with a
    pattern beforehand, so the bytes that precede the damage are found and kept.
    """

    def __init__(self, raw: RawInput) -> None:
        self._stream: Any = pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd")
        self._mark: Final = np.resize(np.frombuffer(hashlib.sha512(b"unwritten").digest(), np.uint8), _PIECE)
        self._piece: Final = np.empty(_PIECE, np.uint8)

    def readinto(self, view: memoryview) -> int:
        filled = 0
        while filled < len(view):
            count = min(_PIECE, len(view) - filled)
            self._piece[:] = self._mark
            try:
                got = self._stream.readinto(self._piece[:count].data)
            except OSError as error:
                written = np.flatnonzero(self._piece[:count] != self._mark[:count])
                kept = int(written[-1]) + 1 if len(written) else 0
                view[filled : filled + kept] = self._piece[:kept].data
                cut = "truncated" in str(error).lower()
                reason = "cut short" if cut else f"corrupt ({error})"
                raise _BrokenStreamError(filled + kept, f"the zstd stream is {reason}") from None
            if got == 0:
                break
            view[filled : filled + got] = self._piece[:got].data
            filled += got
        return filled


_COMPRESSIONS: Final[dict[bytes, tuple[str, Callable[[RawInput], _Decompressor]]]] = {
    b"\x1f\x8b": ("gzip", _Gzip),
    b"\x28\xb5\x2f\xfd": ("zstd", _Zstd),
}


class ByteSource:
    """The decompressed bytes of an input as a sequence of filled buffers.

    `headroom` bytes in front of each buffer are the caller's.
    """

    def __init__(self, path: str | Path, buffer_bytes: int, headroom: int, digest: bool) -> None:
        self.raw = RawInput(str(path), digest)
        self.compression = "none"
        self._read: Callable[[memoryview], int] = self.raw.readinto
        try:
            first = self.raw.peek(16)
        except OSError as error:
            self.raw.close()
            raise InputError(f"{path}: cannot be read: {error}") from None
        for magic, (name, opener) in _COMPRESSIONS.items():
            if first.startswith(magic):
                self.compression = name
                self._read = opener(self.raw).readinto
        self.headroom = headroom
        self._size = buffer_bytes
        self._filled: queue.Queue[tuple[Bytes, int, str | None]] = queue.Queue()
        self._free: queue.Queue[Bytes | None] = queue.Queue()
        for _ in range(_BUFFERS):
            self._free.put(np.empty(headroom + buffer_bytes, np.uint8))
        self._lent: list[Bytes] = []
        self._thread: threading.Thread | None = None
        self._stopping = False

    def next(self) -> tuple[Bytes, int, str | None]:
        """The next buffer, the number of bytes after its headroom, and what ended the stream.

        The third is None while there may be more, "" at a clean end, else the reason why nothing follows. The buffer
        handed out before stays as it is until `release`.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="segcast-read", daemon=True)
            self._thread.start()
        buffer, count, ending = self._filled.get()
        self._lent.append(buffer)
        return buffer, count, ending

    def release(self) -> None:
        """Give back every buffer but the last one handed out."""
        while len(self._lent) > 1:
            self._free.put(self._lent.pop(0))

    def _work(self) -> None:
        ending: str | None = None
        while ending is None:
            buffer = self._free.get()
            if buffer is None or self._stopping:
                return
            view = buffer[self.headroom : self.headroom + self._size].data
            try:
                count = self._read(view)
                ending = None if count == len(view) else ""
            except _BrokenStreamError as broken:
                count, ending = broken.produced, str(broken)
            except OSError as error:
                count, ending = 0, f"cannot be read further: {error}"
            self._filled.put((buffer, count, ending))

    def close(self) -> None:
        """Stop reading. A thread that may wait for a pipe is left to end with the process."""
        self._stopping = True
        self._free.put(None)
        if self._thread is not None and self._thread.is_alive():
            if not self.raw.regular:
                return
            self._thread.join()
        self.raw.close()
