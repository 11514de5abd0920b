"""Decompresses gzip (RFC 1952), bzip2 and xz: members one after the other, zeros between and after them allowed.

A library object takes each member in pieces and says nothing of the output of a piece that turns out corrupt. The bytes
before the damage are found by reading the member again, where the input can be; of a pipe, gzip is snapshot before each
piece, and bzip2 and xz lose under 4 KiB.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from isal import isal_zlib

from segcast.traces.captures.stored import BrokenStreamError, RawInput

_XZ_MEMORY_BYTES: Final = 192 << 20  # xz -9 needs 65 MiB
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_GZIP_HEADER: Final = 10
_TRIAL_BYTES: Final = 1 << 10
_MOST_LATE_BYTES: Final = 1 << 20  # what a decompressor may have held back when it found the damage
_MOST_READ_ON_BYTES: Final = 192 << 10  # of the member behind one that was cut, before it is noticed; 115 KB were seen
_GZIP_ERRORS: Final[Any] = (zlib.error, isal_zlib.IsalError)  # the stub takes the class for an instance


class MemberKind(NamedTuple):
    """How members of one compression are taken.

    `keeps_input`: the object holds input that it has not used, and says when it needs more; otherwise it gives it back.
    """

    name: str
    new: Callable[[], Any]
    errors: tuple[type[Exception], ...]
    out_bytes: int
    keeps_input: bool


def gzip(readable_again: bool) -> MemberKind:
    """By ISA-L, 2.4 times as fast as zlib; by zlib, which can be snapshot, where the input cannot be read again."""
    new = isal_zlib.decompressobj if readable_again else zlib.decompressobj
    return MemberKind("gzip", lambda: new(wbits=31), _GZIP_ERRORS, 1 << 18, keeps_input=False)


def bzip2() -> MemberKind:
    """Pieces are small: at 30 MB/s calls cost nothing."""
    return MemberKind("bzip2", bz2.BZ2Decompressor, (OSError, ValueError), 1 << 12, keeps_input=True)


def xz() -> MemberKind:
    """Memory is limited whatever dictionary a header asks for."""
    return MemberKind(
        "xz",
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES),
        (lzma.LZMAError, ValueError),
        1 << 12,
        keeps_input=True,
    )


class Members:
    """The decompressed bytes of an input that `kind` compressed."""

    def __init__(self, raw: RawInput, kind: MemberKind) -> None:
        """Start at the first member; reading begins on demand."""
        self._raw, self._kind = raw, kind
        self._member: Any = None
        self._input = b""
        self._given = b""  # what the member was given last
        self._before, self._piece = b"", b""  # the two last pieces that were read, or what of them is in the member
        self._damaged_at = 0  # stored offset of the first byte that cannot be
        self._start = 0  # stored offset of the member
        self._out = 0  # bytes of the member so far
        self._snapshot: Any = None
        self._pending = b""
        self._broken: str | None = None

    def readinto(self, view: memoryview) -> int:
        """Fill `view` as far as the stream goes; raises BrokenStreamError."""
        filled = 0
        while filled < len(view):
            if self._pending or self._broken:
                piece, self._pending = self._pending[: len(view) - filled], self._pending[len(view) - filled :]
                view[filled : filled + len(piece)] = piece
                filled += len(piece)
                if not self._pending and self._broken:
                    raise BrokenStreamError(filled, self._broken)
                continue
            if self._member is None and not self._begin():
                break
            try:
                piece = self._step(min(self._kind.out_bytes, len(view) - filled))
            except self._kind.errors as error:
                self._pending = self._before_damage()
                self._broken = f"the {self._kind.name} stream is corrupt ({_why(error)})"
                continue
            except EOFError:
                self._damaged_at = self._raw.bytes_read
                self._broken = f"the {self._kind.name} stream is cut short"
                continue
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
            self._out += len(piece)
            if self._member.eof:
                self._input = self._member.unused_data
                self._member = None
        return filled

    def _begin(self) -> bool:
        """Begin the next member; False if there is none."""
        while not (stored := self._input.lstrip(b"\0")):
            self._input = self._read_on()
            if not self._input:
                return False
        self._input = stored
        self._member = self._kind.new()
        self._start, self._out = self._raw.bytes_read - len(stored), 0
        return True

    def _read_on(self) -> bytes:
        """The next stored piece; empty at the end."""
        piece = self._raw.read()
        if piece:
            self._before, self._piece = self._piece, piece
        return piece

    def _step(self, limit: int) -> bytes:
        """At most `limit` further bytes of the member; raises EOFError if the input ends before it."""
        member, kind = self._member, self._kind
        if not self._input and (not kind.keeps_input or member.needs_input):
            self._input = self._read_on()
            if not self._input:
                rest: bytes = member.decompress(b"", limit)  # what it may have held back
                if not rest:
                    raise EOFError
                return rest
        if self._input:
            self._given = self._input
        if not kind.keeps_input and not self._raw.regular:
            self._snapshot = member.copy()
        out: bytes = member.decompress(self._input, limit)
        self._input = b"" if kind.keeps_input else member.unconsumed_tail
        return out

    def _before_damage(self) -> bytes:
        """What precedes the damage and was not given out yet; notes where that is, of gzip."""
        self._damaged_at = self._raw.bytes_read
        if self._snapshot is not None:
            out, used = _until_error(self._snapshot, self._given, _MOST_LATE_BYTES)
            self._damaged_at += used - len(self._given)
            return out
        if not self._raw.regular:
            return b""
        exact = self._exact_bytes if self._kind.keeps_input else self._exact_gzip
        try:
            return exact()
        except OSError:
            return b""

    def _exact_bytes(self) -> bytes:
        """Read the member again, byte by byte where it broke."""
        member, offset, done, out = self._kind.new(), self._start, 0, b""
        while len(out) < _MOST_LATE_BYTES:
            stored = b""
            if member.needs_input:
                stored = self._raw.read_at(offset)
                offset += len(stored)
            limit = min(self._kind.out_bytes, self._out - done) if done < self._out else 1
            try:
                piece = member.decompress(stored, limit)
            except self._kind.errors:
                break
            if done >= self._out:
                out += piece
            done += len(piece)
            if not stored and not piece:
                break
        return out

    def _exact_gzip(self) -> bytes:
        """Read the member again with zlib, which can be snapshot before each piece."""
        member, offset, done, out, stored = zlib.decompressobj(wbits=31), self._start, 0, b"", b""
        while len(out) < _MOST_LATE_BYTES and not member.eof:
            if not stored:
                stored = self._raw.read_at(offset)
                offset += len(stored)
                if not stored:
                    break
            snapshot, used = member.copy(), -1
            try:
                piece = member.decompress(stored, self._kind.out_bytes)
            except zlib.error:
                piece, used = _until_error(snapshot, stored, self._kind.out_bytes)
            out += piece[max(0, self._out - done) :]
            done += len(piece)
            if used >= 0:
                self._damaged_at = offset - len(stored) + used
                break
            stored = member.unconsumed_tail
        return out

    def resume(self) -> bool:
        """After damage, go to the next gzip member whose beginning decompresses; False if there is none.

        The search begins before the damage: of a member that was cut, the next is read as its rest for a while.
        """
        if self._kind.name != "gzip":
            return False
        stored = self._before + self._piece
        behind = max(self._start + 1, self._damaged_at - _MOST_READ_ON_BYTES)
        at = max(0, behind - (self._raw.bytes_read - len(stored)))
        while True:
            at = stored.find(_GZIP_MAGIC, at)
            lack = at < 0 or at + _GZIP_HEADER + _TRIAL_BYTES > len(stored)
            more = self._raw.read() if lack else b""
            if more:
                stored = (stored[-2:] if at < 0 else stored[at:]) + more
                at = 0
            elif at < 0:
                return False
            elif _begins_member(stored[at : at + _GZIP_HEADER + _TRIAL_BYTES]):
                self._input, self._member, self._snapshot, self._broken = stored[at:], None, None, None
                self._before, self._piece = b"", self._input
                return True
            else:
                at += 1


def _begins_member(stored: bytes) -> bool:
    """Whether a gzip member seems to begin here: a sound header, and a beginning that decompresses."""
    if len(stored) < _GZIP_HEADER or stored[3] & 0xE0 or stored[8] not in (0, 2, 4):
        return False
    try:
        member = zlib.decompressobj(wbits=31)
        return bool(member.decompress(stored, _TRIAL_BYTES)) or member.eof
    except zlib.error:
        return False


def _until_error(member: Any, stored: bytes, most: int) -> tuple[bytes, int]:
    """What `stored` decompresses to before it turns out corrupt, and of how many bytes that is.

    zlib gives no part of what fails.
    """
    out, whole = b"", len(stored)
    size = len(stored)
    while size and stored and len(out) < most:
        attempt = member.copy()
        try:
            out += attempt.decompress(stored[:size], most - len(out))
        except zlib.error:
            size //= 2
            continue
        member, stored = attempt, attempt.unconsumed_tail + stored[size:]
    return out, whole - len(stored)


def _why(error: Exception) -> str:
    text = str(error) or type(error).__name__
    if "emory usage limit" in text:
        return f"it needs more than {_XZ_MEMORY_BYTES >> 20} MiB of memory; decompress it first: xz -dc FILE"
    return text
