"""The bytes of a capture as stored: a file, a pipe, stdin or an object, counted and digested on the way."""

from __future__ import annotations

import os
import stat
import sys
from typing import Final, Protocol

import xxhash

from segcast.traces.captures.remote import RemoteInput, is_url
from segcast.traces.errors import InputError

STDIN: Final = "-"
_PIECE: Final = 1 << 18


class BrokenStreamError(Exception):
    """A compressed stream cannot be read further; `produced` bytes of the request precede the damage."""

    def __init__(self, produced: int, reason: str) -> None:
        super().__init__(reason)
        self.produced = produced


class _Stored(Protocol):
    """Where stored bytes come from."""

    total_bytes: int

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the input goes."""

    def read_at(self, offset: int, count: int) -> bytes:
        """Bytes from `offset` on, fewer at the end; only of an input that can be read again."""

    def close(self) -> None:
        """Let go of it."""


class _Local:
    """A file, a named pipe or stdin."""

    def __init__(self, path: str) -> None:
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

    def readinto(self, view: memoryview) -> int:
        filled = 0
        while filled < len(view):
            count = os.readv(self._fd, [view[filled:]])
            if count == 0:
                break
            filled += count
        return filled

    def read_at(self, offset: int, count: int) -> bytes:
        return os.pread(self._fd, count, offset)

    def close(self) -> None:
        if self._own:
            os.close(self._fd)


class RawInput:
    """The bytes as stored: counted and digested on the way; `peek` looks at the first ones."""

    def __init__(self, path: str, digest: bool) -> None:
        """Open `path` ("-" is stdin, or a URL); raises InputError saying what is wrong with it."""
        self.path = path
        self.bytes_read = 0
        self.closed = False
        self._ahead = b""
        self._stored: _Stored
        if is_url(path):
            self._stored, self.regular = RemoteInput(path), True
        else:
            self._stored = local = _Local(path)
            self.regular = local.regular
        self.total_bytes = self._stored.total_bytes
        self._digest = xxhash.xxh3_128() if digest else None

    def peek(self, count: int) -> bytes:
        """The first bytes, at most `count`; they are read again by `readinto`."""
        while len(self._ahead) < count:
            piece = bytearray(count - len(self._ahead))
            with memoryview(piece) as view:
                filled = self._stored.readinto(view)
            if not filled:
                break
            self._ahead += piece[:filled]
        return self._ahead

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the input goes; the number of bytes, 0 at its end."""
        filled = min(len(self._ahead), len(view))
        if filled:
            view[:filled] = self._ahead[:filled]
            self._ahead = self._ahead[filled:]
        if filled < len(view):
            filled += self._stored.readinto(view[filled:])
        if self._digest is not None:
            self._digest.update(view[:filled])
        self.bytes_read += filled
        return filled

    def read(self) -> bytes:
        """A piece of a size that suits decompressors; empty at the end."""
        piece = bytearray(_PIECE)
        filled = self.readinto(memoryview(piece))
        return bytes(piece) if filled == _PIECE else bytes(piece[:filled])

    def read_at(self, offset: int) -> bytes:
        """A piece from the stored byte `offset` on, neither counted nor digested; the input must be `regular`."""
        return self._stored.read_at(offset, _PIECE)

    def drain(self) -> None:
        """Read what is left of an input that is `regular`, so that the digest is the whole file's."""
        if self.regular and self._digest is not None:
            while self.read():
                pass

    def hexdigest(self) -> str:
        """Digest of the bytes read so far; the input must have been opened to keep one."""
        assert self._digest is not None
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the input; stdin stays open."""
        if not self.closed:
            self._stored.close()
        self.closed = True
