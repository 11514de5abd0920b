"""Reads captures: pcap, pcapng, snoop and ERF, plain or compressed, from a file, stdin or a URL, as batches of frames.

Bytes are read into a few reused buffers rather than mapped: a file truncated under a mapping would end the process, and
pipes need this path anyway. Whatever sizes a capture claims, memory stays bounded.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.captures import framing
from segcast.traces.captures.formats.flat import Flat
from segcast.traces.captures.formats.pcapng import BadBlockError, Section
from segcast.traces.captures.formats.pcapng_clocks import resolution_ns
from segcast.traces.captures.formats.registry import recognise, what_is_it
from segcast.traces.captures.odd import OddRecords
from segcast.traces.captures.recovery import Recovery
from segcast.traces.captures.window import CaptureWindow
from segcast.traces.errors import Damage, InputError

BUFFER_BYTES: Final = 4 << 20
BATCH_FRAMES: Final = 1 << 16
_HEAD_BYTES: Final = 24  # enough to name what is no capture
_MOST_SNAPLENS: Final = 1000  # different ones, the largest


class FrameBatch(NamedTuple):
    """Consecutive frames of a capture; the arrays are reused by the next batch.

    `data` uint8[...] is the buffer; frame i is `data[start[i] : start[i] + captured[i]]`. `time_ns` is UTC epoch (0
    where the record has no time: simple packet blocks). `frame_number` is the 1-based number of the first frame;
    `file_offset` is that of the record or block header, in the decompressed file.
    """

    data: npt.NDArray[np.uint8]
    start: npt.NDArray[np.int64]
    captured: npt.NDArray[np.uint32]
    wire: npt.NDArray[np.uint32]
    time_ns: npt.NDArray[np.int64]
    linktype: npt.NDArray[np.uint16]
    frame_number: int
    file_offset: npt.NDArray[np.uint64]


def read_frames(
    path: str | Path,
    buffer_bytes: int = BUFFER_BYTES,
    batch_frames: int = BATCH_FRAMES,
    *,
    digest: bool = False,
    keep_going: bool = False,
) -> CaptureReader:
    """Open a capture (a path, a URL, or "-" for stdin) as an iterator of `FrameBatch`; `digest` also computes XXH3-128.

    Raises InputError if it is no capture or cannot be opened; DamagedCapture, after everything before the damage was
    yielded, if it is truncated or corrupt. With `keep_going` the damage is noted in `damages` instead, and reading goes
    on at the next good record, or ends where none is found.
    """
    return CaptureReader(path, buffer_bytes, batch_frames, digest, keep_going)


class CaptureReader:
    """Iterates over the frames of one capture, and knows what its headers said so far.

    `further_headers` counts the captures that begin within this one (`cat a b`); `damages` lists what was met, also the
    damage that was raised.
    """

    def __init__(
        self, path: str | Path, buffer_bytes: int, batch_frames: int, digest: bool, keep_going: bool = False
    ) -> None:
        """Open and recognise the capture; see `read_frames`."""
        self.path = str(path)
        self.frames = 0
        self.linktypes: set[int] = set()
        self.snaplens: set[int] = set()
        self.resolutions_ns: set[float] = set()
        self.further_headers = 0
        self._form: Flat | Section
        self._joined = False
        self._odd = OddRecords()
        self._earlier_drops: dict[str, int] = {}
        self._window = CaptureWindow(path, buffer_bytes, digest, keep_going)
        self._recovery = Recovery(self.path, self._window, digest, keep_going)
        self._batch_frames = batch_frames
        self._keep_going = keep_going
        try:
            self._begin(self._recognise())
            self._first_format: str = self._form.name
        except BaseException:
            self._window.source.close()
            raise
        self._batches = self._iterate()

    def __iter__(self) -> Iterator[FrameBatch]:
        """The reader is its own iterator."""
        return self

    def __next__(self) -> FrameBatch:
        """The next batch; the arrays of the one before are overwritten."""
        return next(self._batches)

    def __enter__(self) -> CaptureReader:
        """As a context manager the capture is closed on the way out."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Close the capture."""
        self.close()

    def close(self) -> None:
        """Stop reading and close the file."""
        self._batches.close()
        self._window.source.close()

    @property
    def damages(self) -> list[Damage]:
        """What was wrong so far."""
        return self._recovery.damages

    @property
    def compression(self) -> str:
        """none, gzip, zstd, lz4, bzip2 or xz."""
        return self._window.source.compression

    @property
    def drops(self) -> dict[str, int]:
        """Packets the capturing system says it lost, by who: interface, os, packet blocks, snoop; none that are 0."""
        drops = dict(self._earlier_drops)
        for who, lost in self._form.drops().items():
            drops[who] = drops.get(who, 0) + lost
        return drops

    @property
    def odd_records(self) -> dict[str, int]:
        """Records whose headers cannot be true, by what is odd; only counts that are not 0."""
        return self._odd.found()

    @property
    def most_fraction(self) -> int:
        """The largest fraction of a second that a record of such a batch gives, in units of the file."""
        return self._odd.most_fraction

    @property
    def bytes_read(self) -> int:
        """Bytes read of the file as stored (compressed)."""
        return self._window.source.raw.bytes_read

    @property
    def total_bytes(self) -> int:
        """Size of the file as stored; 0 if unknown (a pipe)."""
        return self._window.source.raw.total_bytes

    def hexdigest(self) -> str:
        """XXH3-128 of the stored bytes once the iterator has ended: of the whole file, or of what a pipe gave."""
        return self._window.source.raw.hexdigest()

    @property
    def format(self) -> str:
        """The name of the format of the capture, or of the first if several were joined."""
        return self._first_format

    def _recognise(self) -> Flat | Section:
        """Take the file header."""
        form = recognise(self._window.need)
        if form is None:
            what = what_is_it(self._window.need(_HEAD_BYTES))
            if self._window.ending and self._window.source.compression != "none":
                what = f"nothing can be read: {self._window.ending}"
            raise InputError(f"{self.path}: {what}")
        return form

    def _begin(self, form: Flat | Section) -> None:
        """Go on with a capture whose file header was recognised at the position."""
        self._form = form
        if isinstance(form, Section):
            form.state[0]["whole_blocks"] = self._keep_going
        else:
            self._window.position += form.header_bytes
            self._note_interface(form.linktype, form.snaplen, form.resolution_ns)

    def _note_interface(self, linktype: int, snaplen: int, resolution_ns: float) -> None:
        self.linktypes.add(linktype)
        self.snaplens.add(snaplen)
        if len(self.snaplens) > _MOST_SNAPLENS:
            self.snaplens.discard(min(self.snaplens))
        self.resolutions_ns.add(resolution_ns)

    def _iterate(self) -> Generator[FrameBatch, None, None]:
        rows = self._batch_frames + self._keep_going  # of which one is held back
        out = framing.FrameColumns(
            np.empty(rows, np.int64),
            np.empty(rows, np.uint32),
            np.empty(rows, np.uint32),
            np.empty(rows, np.int64),
            np.empty(rows, np.uint16),
            np.empty(rows, np.uint64),
        )
        while True:
            form = self._form
            yield from self._of_section(form, out) if isinstance(form, Section) else self._of_flat(form, out)
            if not self._joined or not self._begin_next():
                return

    def _of_section(self, section: Section, out: framing.FrameColumns) -> Iterator[FrameBatch]:
        """The frames of pcapng sections, until the file ends or another capture begins."""
        while True:
            count, status = section.frame(self._window, out)
            if count:
                yield self._batch(out, count)
            reason = framing.DAMAGE.get(status)
            self._joined = status == framing.JOINED
            if self._joined and self._joins_on():
                return
            if status in (framing.SECTION, framing.INTERFACE, framing.STATISTICS):
                reason = self._describe(section, status)
            elif status == framing.MORE and not self._window.refill():
                reason = self._window.wrong_at_end(in_block=section.skipping)
                if not reason:
                    return
            if reason and not self._recovery.next_block(reason, section):
                return

    def _of_flat(self, flat: Flat, out: framing.FrameColumns) -> Iterator[FrameBatch]:
        """The frames of a flat capture, until the file ends or another capture begins."""
        if self._keep_going:
            for columns, count in self._recovery.records(flat, out):
                yield self._batch(columns, count)
            self._joined = self._recovery.joined
            return
        while True:
            count, status = flat.frame(self._window, out)
            if count:
                yield self._batch(out, count)
            reason = framing.DAMAGE.get(status)
            self._joined = status == framing.JOINED
            if self._joined:
                return
            if status == framing.MORE and not self._window.refill():
                reason = self._window.wrong_at_end()
                if not reason:
                    return
            if reason:
                self._recovery.give_up(self._window.base + self._window.position, reason)

    def _joins_on(self) -> bool:
        """Whether a whole header of a capture begins at the position."""
        return recognise(self._window.need) is not None

    def _begin_next(self) -> bool:
        """Take the header of the capture that begins within this one; False if it is cut off."""
        form = recognise(self._window.need)
        if form is None:
            self._recovery.give_up(self._window.base + self._window.position, framing.DAMAGE[framing.JOINED])
            return False
        for who, lost in self._form.drops().items():
            self._earlier_drops[who] = self._earlier_drops.get(who, 0) + lost
        self._begin(form)
        self.further_headers += 1
        return True

    def _batch(self, out: framing.FrameColumns, count: int) -> FrameBatch:
        if self._form.take_odd():
            self._odd.add(self._window.data, self._window.base, count, out, self._form)
        first = self.frames + 1
        self.frames += count
        start, captured, wire = out.start[:count], out.captured[:count], out.wire[:count]
        time_ns, linktype, offset = out.time_ns[:count], out.linktype[:count], out.file_offset[:count]
        return FrameBatch(self._window.data, start, captured, wire, time_ns, linktype, first, offset)

    def _describe(self, section: Section, status: int) -> str | None:
        """Take the section header, interface description or statistics block at the position; what is wrong with it."""
        begins = status == framing.SECTION
        try:
            length = section.block_length(self._whole(12 if begins else 8), not begins)
            block = self._whole(length)
            if begins:
                section.begin(block)
            elif status == framing.INTERFACE:
                linktype, snaplen, resolution = section.describe(block)
                self._note_interface(linktype, snaplen, resolution_ns(resolution))
            else:
                section.count_drops(block)
        except BadBlockError as error:
            return str(error)
        self._window.position += length
        return None

    def _whole(self, count: int) -> bytes:
        piece = self._window.need(count)
        if len(piece) < count:
            raise BadBlockError(self._window.ending or "the file ends inside a block")
        return piece
