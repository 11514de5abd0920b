"""Passes over damage: notes it, and looks for the next good record or block where reading is to go on.

A reader of a sound capture needs none of this; one that stops at damage only the note.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from segcast.traces.captures import framing, resync
from segcast.traces.captures.formats.flat import Flat
from segcast.traces.captures.formats.pcapng import Section
from segcast.traces.captures.window import CaptureWindow
from segcast.traces.errors import Damage, DamagedCapture

_MOST_DAMAGES: Final = 1000

Framed = tuple[framing.FrameColumns, int]
"""Columns, and how many of their rows are frames."""


class Recovery:
    """What was wrong with a capture so far, and how reading goes on after it."""

    def __init__(self, path: str, window: CaptureWindow, digest: bool, keep_going: bool) -> None:
        """Nothing is wrong yet. Unless `keep_going`, the first damage is raised; with `digest` the file is read on."""
        self.damages: list[Damage] = []
        self.joined = False  # whether `records` ended where the header of another capture begins
        self._path = path
        self._window = window
        self._digest = digest
        self._keep_going = keep_going

    def next_block(self, reason: str, section: Section) -> bool:
        """Note the damage and go to the next good block; False if there is none. Raises unless `keep_going`."""
        window = self._window
        skipping, start = section.skipping, int(section.state[0]["skipped_at"]) - window.base
        offset = window.base + (start if skipping else window.position)
        if self._keep_going:
            section.pass_over()
            window.position = min(window.end, window.position + (0 if skipping else 1))
            while len(self.damages) < _MOST_DAMAGES:
                big = bool(section.state[0]["big_endian"])
                status, window.position = resync.next_block(
                    window.data, window.position, window.end, window.ending is not None, big
                )
                if status == resync.FOUND:
                    self.damages.append(Damage(offset, reason, window.base + window.position))
                    return True
                if not window.refill() and not window.skip_gap():
                    break
        return self.give_up(offset, reason)

    def give_up(self, offset: int, reason: str) -> bool:
        """Note damage after which nothing is read; raises unless `keep_going`."""
        self.damages.append(Damage(offset, reason, None))
        if self._digest:
            self._window.source.finish()
        if self._keep_going:
            return False
        raise DamagedCapture(self._path, offset, reason)

    def records(self, flat: Flat, out: framing.FrameColumns) -> Iterator[Framed]:
        """The frames of a classic capture that may be damaged anywhere.

        The last record is held back until the next is seen: damage found
        there may be a wrong length of this one.
        """
        window = self._window
        alone = framing.FrameColumns._make(column[:1] for column in out)
        while True:
            count, status = flat.frame(window, out)
            reason = framing.DAMAGE.get(status)
            at_end = window.ending is not None
            good, doubt = resync.good_rows(window.data, window.base, window.end, at_end, count, out, flat.layout)
            self.joined = good == count and status == framing.JOINED
            if self.joined:
                if good:
                    yield out, good
                return
            if good < count:
                window.position = int(out.file_offset[good]) - window.base
                status = framing.MORE
                reason = "a record contradicts those around it" if doubt == resync.NOTHING else None
            ended = status == framing.MORE and reason is None and at_end
            if ended:
                reason = window.wrong_at_end()
                if not reason:
                    if good:
                        yield out, good
                    return
            damaged = window.position
            held = int(out.file_offset[good - 1]) - window.base if good else damaged
            if good > 1:
                yield out, good - 1
            window.position = held
            if reason is None:
                if status == framing.MORE:
                    window.refill()
                continue
            yield from self._next_record(flat, alone, reason, damaged, held < damaged)
            if self.damages[-1].resumed_at is None:
                return

    def _next_record(
        self,
        flat: Flat,
        alone: framing.FrameColumns,
        reason: str,
        damaged: int,
        held: bool,
    ) -> Iterator[Framed]:
        """Note the damage at `damaged` and go to the next good record; if `held`, that before it is at the position.

        If a good record begins within the one that is held, that one's length was wrong, and it is left out.
        """
        window = self._window
        if len(self.damages) + 1 >= _MOST_DAMAGES:
            window.position = damaged
            self.give_up(window.base + damaged, f"{reason}; {_MOST_DAMAGES} places were damaged before")
            return
        span = damaged - window.position
        at, status = 1, resync.MORE
        while held and status == resync.MORE:
            stop = window.position + span
            status, found = resync.next_record(
                window.data, window.position + at, stop, window.end, window.ending is not None, flat.layout
            )
            at = found - window.position
            if status == resync.MORE and not window.refill():
                break
        if held and status == resync.FOUND:
            offset = window.base + window.position
            window.position += at
            self.damages.append(Damage(offset, reason, window.base + window.position))
            return
        offset = window.base + window.position + span
        if held:
            flat.frame(window, alone)
            yield alone, 1
        window.position = min(window.end, offset - window.base + 1)
        if window.ending and window.resumes:
            window.position = window.end  # the record is cut by missing bytes
        while True:
            end = window.end
            status, window.position = resync.next_record(
                window.data, window.position, end, end, window.ending is not None, flat.layout
            )
            if status == resync.FOUND:
                self.damages.append(Damage(offset, reason, window.base + window.position))
                return
            if not window.refill() and not window.skip_gap():
                self.give_up(offset, reason)
                return
