"""Reads captures: pcap and pcapng, plain, gzip or zstd, from a file or stdin, as batches of frames.

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

from traces import framing
from traces.bytesource import ByteSource
from traces.errors import Damage, DamagedCapture, InputError
from traces.formats import (
    BadBlockError,
    PcapHeader,
    Section,
    is_pcapng,
    parse_pcap_header,
    resolution_ns,
    what_is_it,
)

BUFFER_BYTES: Final = 4 << 20
BATCH_FRAMES: Final = 1 << 16
_HEADROOM: Final = framing.MAX_BLOCK + 64  # untouched pages cost nothing


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
    """Open a capture ("-" is stdin) as an iterator of `FrameBatch`; `digest` also computes the file's SHA-256.

    Raises InputError if it is no capture or cannot be opened; DamagedCapture, after everything before the damage was
    yielded, if it is truncated or corrupt, unless `keep_going`.
    """
    return CaptureReader(path, buffer_bytes, batch_frames, digest, keep_going)


class CaptureReader:
    """Iterates over the frames of one capture, and knows what its headers said so far."""

    def __init__(
        self, path: str | Path, buffer_bytes: int, batch_frames: int, digest: bool, keep_going: bool = False
    ) -> None:
        """Open and recognise the capture; see `read_frames`."""
        self.path = str(path)
        self.frames = 0
        self.linktypes: set[int] = set()
        self.snaplens: set[int] = set()
        self.resolutions_ns: set[float] = set()
        self.format = "pcap"
        self.damages: list[Damage] = []
        self.drops: dict[str, int] = {}
        self._keep_going = keep_going
        self._source = ByteSource(path, buffer_bytes, _HEADROOM, digest)
        self._batch_frames = batch_frames
        self._data, self._position, self._end = np.empty(0, np.uint8), 0, 0
        self._base = 0  # file offset of data[0]; negative while the headroom is unused
        self._ending: str | None = None
        self._section = Section()
        try:
            self._layout = self._recognise()
        except BaseException:
            self._source.close()
            raise
        self._batches = self._iterate()

    def __iter__(self) -> Iterator[FrameBatch]:
        """The reader is its own iterator."""
        return self

    def __next__(self) -> FrameBatch:
        """The next batch; the arrays of the one before are overwritten."""
        try:
            return next(self._batches)
        except DamagedCapture as error:
            self.damages.append(Damage(error.offset, error.reason))
            if self._keep_going:
                raise StopIteration from None
            raise

    def __enter__(self) -> CaptureReader:
        """As a context manager the capture is closed on the way out."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Close the capture."""
        self.close()

    def close(self) -> None:
        """Stop reading and close the file."""
        self._batches.close()
        self._source.close()

    @property
    def compression(self) -> str:
        """none, gzip or zstd."""
        return self._source.compression

    @property
    def bytes_read(self) -> int:
        """Bytes read of the file as stored (compressed)."""
        return self._source.raw.bytes_read

    @property
    def total_bytes(self) -> int:
        """Size of the file as stored; 0 if unknown (a pipe)."""
        return self._source.raw.total_bytes

    def hexdigest(self) -> str:
        """SHA-256 of the stored bytes; of the whole file once the iterator has ended. Needs `digest`."""
        return self._source.raw.hexdigest()

    def _recognise(self) -> npt.NDArray[np.int64] | None:
        """Take the file header; the layout of a classic pcap, None for pcapng."""
        head = self._need(PcapHeader.SIZE)
        header = parse_pcap_header(head)
        if header is not None:
            self._position += PcapHeader.SIZE
            self.linktypes.add(header.linktype)
            self.snaplens.add(header.snaplen)
            self.resolutions_ns.add(float(header.unit_ns))
            return header.layout()
        if is_pcapng(head):
            self.format = "pcapng"
            return None
        what = what_is_it(head)
        if self._ending and self._source.compression != "none":
            what = f"nothing can be read: {self._ending}"
        raise InputError(f"{self.path}: {what}")

    def _refill(self) -> bool:
        """Carry what is left to the front of the next buffer; False if nothing more comes."""
        if self._ending is not None:
            return False
        headroom = self._source.headroom
        rest = self._end - self._position
        offset = self._base + self._position
        carried = self._data[self._position : self._end]
        buffer, count, self._ending = self._source.next()
        self._position = headroom - rest
        buffer[self._position : headroom] = carried
        self._source.release()
        self._data = buffer
        self._end = headroom + count
        self._base = offset - self._position
        return True

    def _need(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end of the file; they are not consumed."""
        while self._end - self._position < count and self._refill():
            pass
        return self._data[self._position : min(self._end, self._position + count)].tobytes()

    def _iterate(self) -> Generator[FrameBatch, None, None]:
        rows = self._batch_frames
        out = framing.FrameColumns(
            np.empty(rows, np.int64),
            np.empty(rows, np.uint32),
            np.empty(rows, np.uint32),
            np.empty(rows, np.int64),
            np.empty(rows, np.uint16),
            np.empty(rows, np.uint64),
        )
        while True:
            if self._layout is not None:
                count, self._position, status = framing.frame_pcap(
                    self._data, self._position, self._end, self._base, self._layout, out
                )
            else:
                count, self._position, status = framing.frame_pcapng(
                    self._data,
                    self._position,
                    self._end,
                    self._base,
                    self._section.state,
                    self._section.interfaces,
                    out,
                )
            if count:
                yield self._batch(out, count)
            if status in (framing.SECTION, framing.INTERFACE):
                self._describe(status)
            elif status in framing.DAMAGE:
                self._to_block_start()
                raise self._damage(framing.DAMAGE[status])
            elif status == framing.MORE and not self._refill():
                break
        if self._ending:
            self._to_block_start()
            raise self._damage(self._ending)
        if self._section.state[3]:
            self._to_block_start()
            raise self._damage("the file ends inside a block")
        if self._end > self._position:
            raise self._damage("the file ends inside a record")

    def _batch(self, out: framing.FrameColumns, count: int) -> FrameBatch:
        first = self.frames + 1
        self.frames += count
        start, captured, wire = out.start[:count], out.captured[:count], out.wire[:count]
        time_ns, linktype, offset = out.time_ns[:count], out.linktype[:count], out.file_offset[:count]
        return FrameBatch(self._data, start, captured, wire, time_ns, linktype, first, offset)

    def _describe(self, status: int) -> None:
        """Take the section header or interface description block at the position."""
        interface = status == framing.INTERFACE
        try:
            length = self._section.block_length(self._whole(8 if interface else 12), interface)
            block = self._whole(length)
            if interface:
                linktype, snaplen, resolution = self._section.describe(block)
                self.linktypes.add(linktype)
                self.snaplens.add(snaplen)
                self.resolutions_ns.add(resolution_ns(resolution))
            else:
                self._section.begin(block)
        except BadBlockError as error:
            raise self._damage(str(error)) from None
        self._position += length

    def _whole(self, count: int) -> bytes:
        piece = self._need(count)
        if len(piece) < count:
            raise BadBlockError(self._ending or "the file ends inside a block")
        return piece

    def _to_block_start(self) -> None:
        """Go back to the start of a block that is being skipped: damage is reported there."""
        if self._section.state[3]:
            self._position = int(self._section.state[4]) - self._base

    def _damage(self, reason: str) -> DamagedCapture:
        return DamagedCapture(self.path, self._base + self._position, reason)
