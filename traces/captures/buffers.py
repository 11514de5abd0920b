"""Reads a capture's bytes: plain or compressed, into a few reused buffers, ahead of the decoder.

A thread reads (and decompresses) while the caller decodes. Every buffer keeps room in front of its bytes,
so that a record which straddles two buffers is made whole by copying its beginning there.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from segcast.traces.byteorder import Bytes
from segcast.traces.captures.compression import MAGIC_BYTES, decompressor
from segcast.traces.captures.stored import BrokenStreamError, RawInput
from segcast.traces.errors import InputError

_BUFFERS: Final = 3


class Filled(NamedTuple):
    """A buffer, and the number of bytes after its headroom.

    `ending` is None while what follows joins on, "" at a clean end, else what is wrong after these bytes; `resumes`
    says that there is more after that, with bytes missing between.
    """

    buffer: Bytes
    filled: int
    ending: str | None
    resumes: bool


class ByteSource:
    """The decompressed bytes of an input as a sequence of filled buffers.

    `headroom` bytes in front of each buffer are the caller's. With `keep_going`, a broken compressed stream is taken up
    again where it can be.
    """

    def __init__(self, path: str | Path, buffer_bytes: int, headroom: int, digest: bool, keep_going: bool) -> None:
        self.raw = RawInput(str(path), digest)
        try:
            self.compression, self._stream = decompressor(self.raw, self.raw.peek(MAGIC_BYTES))
        except OSError as error:
            self.raw.close()
            raise InputError(f"{path}: cannot be read: {error}") from None
        self._read: Callable[[memoryview], int] = (self._stream or self.raw).readinto
        self.headroom = headroom
        self._size = buffer_bytes
        self._keep_going = keep_going
        self._filled: queue.SimpleQueue[Filled] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[Bytes | None] = queue.SimpleQueue()
        for _ in range(_BUFFERS):
            self._free.put(np.empty(headroom + buffer_bytes, np.uint8))
        self._lent: list[Bytes] = []
        self._thread: threading.Thread | None = None
        self._stopping = False

    def next(self) -> Filled:
        """The next buffer. The one handed out before stays as it is until `release`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="segcast-read", daemon=True)
            self._thread.start()
        filled = self._filled.get()
        self._lent.append(filled.buffer)
        return filled

    def release(self) -> None:
        """Give back every buffer but the last one handed out."""
        while len(self._lent) > 1:
            self._free.put(self._lent.pop(0))

    def _work(self) -> None:
        ended = False
        while not ended:
            buffer = self._free.get()
            if buffer is None or self._stopping:
                return
            filled = self._fill(buffer)
            self._filled.put(filled)
            ended = filled.ending is not None and not filled.resumes

    def _fill(self, buffer: Bytes) -> Filled:
        """Read the next bytes into a buffer."""
        view = buffer[self.headroom : self.headroom + self._size].data
        resumes = False
        try:
            count = self._read(view)
            ending = None if count == len(view) else ""
        except BrokenStreamError as broken:
            count, ending = broken.produced, str(broken)
            try:
                resumes = self._keep_going and self._stream is not None and self._stream.resume()
            except OSError as error:
                ending = f"{ending}; then it cannot be read further: {error}"
        except OSError as error:
            count, ending = 0, f"cannot be read further: {error}"
        return Filled(buffer, count, ending, resumes)

    def finish(self) -> None:
        """Read the rest of a file whose digest is wanted, once nothing more of it is decoded."""
        self._stop()
        if self._thread is None or not self._thread.is_alive():
            with contextlib.suppress(OSError):  # the damage that ended the decoding says so
                self.raw.drain()

    def close(self) -> None:
        """Stop reading. A thread that may wait for a pipe is left to end with the process."""
        self._stop()
        if self._thread is None or not self._thread.is_alive():
            self.raw.close()

    def _stop(self) -> None:
        self._stopping = True
        self._free.put(None)
        if self._thread is not None and self.raw.regular:
            self._thread.join()
