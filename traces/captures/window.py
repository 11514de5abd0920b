"""The bytes of a capture that are in memory: a position that moves through buffers of which each joins the last."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from segcast.traces.captures.buffers import ByteSource
from segcast.traces.captures.framing import MAX_BLOCK

_HEADROOM: Final = MAX_BLOCK + 64  # untouched pages cost nothing


class CaptureWindow:
    """A view of a capture: `data[position:end]` is what was read and not yet consumed.

    `base` is the file offset of `data[0]`; it is negative while the headroom is unused. `ending` says why no more bytes
    join on, empty if the file ends there; it is None until that is known.
    """

    def __init__(self, path: str | Path, buffer_bytes: int, digest: bool, keep_going: bool) -> None:
        """Open the capture; nothing is read."""
        self.data, self.position, self.end = np.empty(0, np.uint8), 0, 0
        self.base = 0
        self.ending: str | None = None
        self.resumes = False  # whether bytes are missing at the end, after which there are more
        self.source = ByteSource(path, buffer_bytes, _HEADROOM, digest, keep_going)

    def refill(self) -> bool:
        """Carry what is left to the front of the next buffer; False if nothing more joins on."""
        if self.ending is not None:
            return False
        headroom = self.source.headroom
        rest = self.end - self.position
        offset = self.base + self.position
        carried = self.data[self.position : self.end]
        buffer, count, self.ending, self.resumes = self.source.next()
        self.position = headroom - rest
        buffer[self.position : headroom] = carried
        self.source.release()
        self.data = buffer
        self.end = headroom + count
        self.base = offset - self.position
        return True

    def need(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end of the file; they are not consumed."""
        while self.end - self.position < count and self.refill():
            pass
        return self.data[self.position : min(self.end, self.position + count)].tobytes()

    def wrong_at_end(self, *, in_block: bool = False) -> str:
        """What is wrong where no more bytes join on; empty if nothing is. `in_block`: whether one is being skipped."""
        if self.ending:
            return self.ending
        if in_block:
            return "the file ends inside a block"
        return "the file ends inside a record" if self.end > self.position else ""

    def skip_gap(self) -> bool:
        """Go on behind missing bytes; False if there are none, or nothing follows them."""
        if not self.resumes:
            return False
        self.position = self.end
        self.ending, self.resumes = None, False
        return self.refill()
