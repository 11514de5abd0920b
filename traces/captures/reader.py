"""Reads captures: pcap, pcapng and snoop, plain or compressed, from a file, stdin or a URL, as batches of frames.

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

from segcast.traces.captures import framing, resync
from segcast.traces.captures.buffers import ByteSource
from segcast.traces.captures.formats import (
    BadBlockError,
    PcapHeader,
    Section,
    SnoopHeader,
    is_pcapng,
    parse_pcap_header,
    parse_snoop_header,
    resolution_ns,
    what_is_it,
)
from segcast.traces.errors import Damage, DamagedCapture, InputError

BUFFER_BYTES: Final = 4 << 20
BATCH_FRAMES: Final = 1 << 16
_MOST_DAMAGES: Final = 1000
_MOST_SNAPLENS: Final = 1000  # different ones, the largest
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
    """Open a capture (a path, a URL, or "-" for stdin) as an iterator of `FrameBatch`; `digest` also computes XXH3-128.

    Raises InputError if it is no capture or cannot be opened; DamagedCapture, after everything before the damage was
    yielded, if it is truncated or corrupt. With `keep_going` the damage is noted in `damages` instead, and reading goes
    on at the next good record, or ends where none is found.
    """
    return CaptureReader(path, buffer_bytes, batch_frames, digest, keep_going)


class CaptureReader:
    """Iterates over the frames of one capture, and knows what its headers said so far.

    `format` is pcap, pcapng or snoop; `damages` lists what was met, also the damage that was raised.
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
        self.damages: list[Damage] = []
        self.format = "pcap"
        self._source = ByteSource(path, buffer_bytes, _HEADROOM, digest, keep_going)
        self._batch_frames = batch_frames
        self._keep_going = keep_going
        self._digest = digest
        self._data, self._position, self._end = np.empty(0, np.uint8), 0, 0
        self._base = 0  # file offset of data[0]; negative while the headroom is unused
        self._ending: str | None = None
        self._resumes = False  # whether bytes are missing at the end, after which there are more
        self._section = Section(whole_blocks=keep_going)
        self._sense = np.zeros(8, np.int64)
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
        self._source.close()

    @property
    def compression(self) -> str:
        """none, gzip, zstd, lz4, bzip2 or xz."""
        return self._source.compression

    @property
    def drops(self) -> dict[str, int]:
        """Packets the capturing system says it lost, by who: interface, os, packet blocks, snoop; none that are 0."""
        if self.format == "snoop":
            assert self._layout is not None
            return {"snoop": int(self._layout[1])} if self._layout[1] else {}
        return self._section.drops()

    @property
    def bytes_read(self) -> int:
        """Bytes read of the file as stored (compressed)."""
        return self._source.raw.bytes_read

    @property
    def total_bytes(self) -> int:
        """Size of the file as stored; 0 if unknown (a pipe)."""
        return self._source.raw.total_bytes

    def hexdigest(self) -> str:
        """XXH3-128 of the stored bytes once the iterator has ended: of the whole file, or of what a pipe gave."""
        return self._source.raw.hexdigest()

    def _recognise(self) -> npt.NDArray[np.int64] | None:
        """Take the file header; the layout of a classic pcap or snoop capture, None for pcapng."""
        head = self._need(PcapHeader.SIZE)
        header = parse_pcap_header(head)
        if header is not None:
            self._position += PcapHeader.SIZE
            self._note_interface(header.linktype, header.snaplen, float(header.unit_ns))
            self._sense = resync.classic_sense(
                big=header.big_endian,
                snoop=False,
                unit_ns=header.unit_ns,
                header=header.record_header,
                snaplen=header.snaplen,
                swapping=header.swapped_lengths,
            )
            return header.layout()
        snoop = parse_snoop_header(head)
        if snoop is not None:
            self.format = "snoop"
            self._position += SnoopHeader.SIZE
            self._note_interface(snoop.linktype, 0, 1000.0)
            self._sense = resync.classic_sense(big=True, snoop=True, unit_ns=1000, header=24, snaplen=0, swapping=0)
            return snoop.layout()
        if is_pcapng(head):
            self.format = "pcapng"
            return None
        what = what_is_it(head)
        if self._ending and self._source.compression != "none":
            what = f"nothing can be read: {self._ending}"
        raise InputError(f"{self.path}: {what}")

    def _note_interface(self, linktype: int, snaplen: int, resolution_ns: float) -> None:
        self.linktypes.add(linktype)
        self.snaplens.add(snaplen)
        if len(self.snaplens) > _MOST_SNAPLENS:
            self.snaplens.discard(min(self.snaplens))
        self.resolutions_ns.add(resolution_ns)

    def _refill(self) -> bool:
        """Carry what is left to the front of the next buffer; False if nothing more joins on."""
        if self._ending is not None:
            return False
        headroom = self._source.headroom
        rest = self._end - self._position
        offset = self._base + self._position
        carried = self._data[self._position : self._end]
        buffer, count, self._ending, self._resumes = self._source.next()
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

    def _frame(self, out: framing.FrameColumns) -> tuple[int, int]:
        """Frame what is in the buffer; (rows, status)."""
        if self._layout is None:
            count, self._position, status = framing.frame_pcapng(
                self._data,
                self._position,
                self._end,
                self._base,
                self._section.state,
                self._section.interfaces,
                out,
            )
        else:
            framed = framing.frame_snoop if self.format == "snoop" else framing.frame_pcap
            count, self._position, status = framed(self._data, self._position, self._end, self._base, self._layout, out)
        return count, status

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
        if self._keep_going and self._layout is not None:
            yield from self._iterate_warily(out)
            return
        while True:
            count, status = self._frame(out)
            if count:
                yield self._batch(out, count)
            reason = framing.DAMAGE.get(status)
            if status in (framing.SECTION, framing.INTERFACE, framing.STATISTICS):
                reason = self._describe(status)
            elif status == framing.MORE and not self._refill():
                reason = self._wrong_at_end()
                if not reason:
                    return
            if reason and not self._next_block(reason):
                return

    def _wrong_at_end(self) -> str:
        """What is wrong where no more bytes join on; empty if nothing is."""
        if self._ending:
            return self._ending
        if self._section.state[3]:
            return "the file ends inside a block"
        return "the file ends inside a record" if self._end > self._position else ""

    def _next_block(self, reason: str) -> bool:
        """Note the damage and go to the next good block; False if there is none. Raises unless `keep_going`."""
        skipping, start = int(self._section.state[3]), int(self._section.state[4]) - self._base
        offset = self._base + (start if skipping else self._position)
        if self._keep_going:
            self._section.state[2:4] = 0
            self._position = min(self._end, self._position + (0 if skipping else 1))
            while self._layout is None and len(self.damages) < _MOST_DAMAGES:
                big = bool(self._section.state[0])
                status, self._position = resync.next_block(
                    self._data, self._position, self._end, self._ending is not None, big
                )
                if status == resync.FOUND:
                    self.damages.append(Damage(offset, reason, self._base + self._position))
                    return True
                if not self._refill() and not self._after_gap():
                    break
        return self._give_up(offset, reason)

    def _after_gap(self) -> bool:
        """Go on behind missing bytes; False if there are none, or nothing follows them."""
        if not self._resumes:
            return False
        self._position = self._end
        self._ending, self._resumes = None, False
        return self._refill()

    def _give_up(self, offset: int, reason: str) -> bool:
        """Note damage after which nothing is read; raises unless `keep_going`."""
        self.damages.append(Damage(offset, reason, None))
        if self._digest:
            self._source.finish()
        if self._keep_going:
            return False
        raise DamagedCapture(self.path, offset, reason)

    def _iterate_warily(self, out: framing.FrameColumns) -> Generator[FrameBatch, None, None]:
        """The frames of a classic capture that may be damaged anywhere.

        The last record is held back until the next is seen: damage found there may be a wrong length of this one.
        """
        alone = framing.FrameColumns._make(column[:1] for column in out)
        while True:
            count, status = self._frame(out)
            reason = framing.DAMAGE.get(status)
            at_end = self._ending is not None
            good, doubt = resync.good_rows(self._data, self._base, self._end, at_end, count, out, self._sense)
            if good < count:
                self._position = int(out.file_offset[good]) - self._base
                status = framing.MORE
                if doubt == resync.NOTHING:
                    reason = "a record contradicts those around it"
            ended = status == framing.MORE and reason is None and at_end
            if ended:
                reason = self._wrong_at_end()
                if not reason:
                    if good:
                        yield self._batch(out, good)
                    return
            damaged = self._position
            held = int(out.file_offset[good - 1]) - self._base if good else damaged
            if good > 1:
                yield self._batch(out, good - 1)
            self._position = held
            if reason is None:
                if status == framing.MORE:
                    self._refill()
                continue
            yield from self._next_record(reason, damaged, alone, held < damaged)
            if self.damages[-1].resumed_at is None:
                return

    def _next_record(
        self, reason: str, damaged: int, alone: framing.FrameColumns, held: bool
    ) -> Generator[FrameBatch, None, None]:
        """Note the damage at `damaged` and go to the next good record; if `held`, that before it is at the position.

        If a good record begins within the one that is held, that one's length was wrong, and it is left out.
        """
        if len(self.damages) + 1 >= _MOST_DAMAGES:
            self._position = damaged
            self._give_up(self._base + damaged, f"{reason}; {_MOST_DAMAGES} places were damaged before")
            return
        span = damaged - self._position
        at, status = 1, resync.MORE
        while held and status == resync.MORE:
            stop = self._position + span
            status, found = resync.next_record(
                self._data, self._position + at, stop, self._end, self._ending is not None, self._sense
            )
            at = found - self._position
            if status == resync.MORE and not self._refill():
                break
        if held and status == resync.FOUND:
            offset = self._base + self._position
            self._position += at
            self.damages.append(Damage(offset, reason, self._base + self._position))
            return
        offset = self._base + self._position + span
        if held:
            self._frame(alone)
            yield self._batch(alone, 1)
        self._position = min(self._end, offset - self._base + 1)
        if self._ending and self._resumes:
            self._position = self._end  # the record is cut by missing bytes
        while True:
            end = self._end
            status, self._position = resync.next_record(
                self._data, self._position, end, end, self._ending is not None, self._sense
            )
            if status == resync.FOUND:
                self.damages.append(Damage(offset, reason, self._base + self._position))
                return
            if not self._refill() and not self._after_gap():
                self._give_up(offset, reason)
                return

    def _batch(self, out: framing.FrameColumns, count: int) -> FrameBatch:
        first = self.frames + 1
        self.frames += count
        start, captured, wire = out.start[:count], out.captured[:count], out.wire[:count]
        time_ns, linktype, offset = out.time_ns[:count], out.linktype[:count], out.file_offset[:count]
        return FrameBatch(self._data, start, captured, wire, time_ns, linktype, first, offset)

    def _describe(self, status: int) -> str | None:
        """Take the section header, interface description or statistics block at the position; what is wrong with it."""
        section = status == framing.SECTION
        try:
            length = self._section.block_length(self._whole(12 if section else 8), not section)
            block = self._whole(length)
            if section:
                self._section.begin(block)
            elif status == framing.INTERFACE:
                linktype, snaplen, resolution = self._section.describe(block)
                self._note_interface(linktype, snaplen, resolution_ns(resolution))
            else:
                self._section.count_drops(block)
        except BadBlockError as error:
            return str(error)
        self._position += length
        return None

    def _whole(self, count: int) -> bytes:
        piece = self._need(count)
        if len(piece) < count:
            raise BadBlockError(self._ending or "the file ends inside a block")
        return piece
