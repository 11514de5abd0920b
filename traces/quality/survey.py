"""Notes the quality of a capture while it is read: time order, truncation, clock, what was skipped and why."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from segcast.traces.headers.decode import Headers, Numbered
from segcast.traces.ingest.merge import MergedBatch
from segcast.traces.jit import kernel
from segcast.traces.linktypes import is_read, linktype_name
from segcast.traces.reasons import IP_FOUND, LINK_TYPE, NUMBERED, REASONS

_STARTED, _PREVIOUS, _FIRST, _LAST, _BACKWARDS, _FURTHEST, _TRUNCATED = 0, 1, 2, 3, 4, 5, 6
_WIRE, _CAPTURED, _LONGEST, _UNIT, _TIMELESS = 7, 8, 9, 10, 11
_COUNTERS: Final = 12
_MOST_NUMBERS: Final = 20


@kernel
def count_frames(
    time_ns: npt.NDArray[np.int64],
    captured: npt.NDArray[np.uint32],
    wire: npt.NDArray[np.uint32],
    reason: npt.NDArray[np.uint8],
    counters: npt.NDArray[np.int64],
    reasons: npt.NDArray[np.int64],
) -> None:
    """Add n frames to int64[12] `counters` and to the counts by reason."""
    for i in range(time_ns.size):
        time = time_ns[i]
        reasons[reason[i]] += 1
        counters[_WIRE] += wire[i]
        counters[_CAPTURED] += captured[i]
        counters[_LONGEST] = max(counters[_LONGEST], np.int64(captured[i]))
        if captured[i] < wire[i]:
            counters[_TRUNCATED] += 1
        if time == 0:
            counters[_TIMELESS] += 1
            continue
        if counters[_STARTED] == 0:
            counters[_STARTED] = 1
            counters[_PREVIOUS] = counters[_FIRST] = counters[_LAST] = time
        back = counters[_PREVIOUS] - time
        if back > 0:
            counters[_BACKWARDS] += 1
            counters[_FURTHEST] = max(counters[_FURTHEST], back)
        counters[_PREVIOUS] = time
        counters[_FIRST] = min(counters[_FIRST], time)
        counters[_LAST] = max(counters[_LAST], time)
        while time % counters[_UNIT] != 0:
            counters[_UNIT] //= 10


class Surveyed(NamedTuple):
    """What is looked at of n frames."""

    time_ns: npt.NDArray[np.int64]
    captured: npt.NDArray[np.uint32]
    wire: npt.NDArray[np.uint32]
    reason: npt.NDArray[np.uint8]
    linktype: npt.NDArray[np.uint16]


class Survey:
    """Counts over the frames of one source."""

    def __init__(self) -> None:
        """Start with empty counts."""
        self._counters = np.zeros(_COUNTERS, np.int64)
        self._counters[_UNIT] = 1_000_000_000
        self._reasons = np.zeros(256, np.int64)
        self._linktypes = np.zeros(1 << 16, np.int64)
        self._numbers = np.zeros((len(NUMBERED), 1 << 16), np.int64)

    def add(self, columns: Surveyed) -> None:
        """Count frames, in the order of their capture."""
        count_frames(*columns[:4], self._counters, self._reasons)
        linktype = columns.linktype
        low, high = int(linktype.min()), int(linktype.max())
        if low == high:
            self._linktypes[low] += len(linktype)
        else:
            self._linktypes += np.bincount(linktype, minlength=1 << 16)

    def add_numbered(self, reason: npt.NDArray[np.uint8], number: npt.NDArray[np.uint32]) -> None:
        """Count frames whose reason comes with a number."""
        for place, numbered in enumerate(NUMBERED):
            np.add.at(self._numbers[place], number[reason == numbered], 1)

    def skipped(self) -> dict[str, int]:
        """Frames without a readable IP header, by the name of the reason.

        Link types that are not read, EtherTypes and PPP protocols have names of their own: of EtherTypes and protocols
        the commonest, and the others together.
        """
        skipped = {
            name: int(n)
            for code, (name, n) in enumerate(zip(REASONS, self._reasons, strict=False))
            if n and code not in (IP_FOUND, LINK_TYPE)
        }
        for place, numbered in enumerate(NUMBERED):
            counts, reason = self._numbers[place], REASONS[numbered]
            commonest = np.argsort(-counts, kind="stable")[:_MOST_NUMBERS]
            for number in (int(n) for n in commonest if counts[n]):
                skipped[f"{reason} 0x{number:04x}"] = int(counts[number])
                skipped[reason] -= int(counts[number])
            if skipped.get(reason) == 0:
                del skipped[reason]
        for link in np.flatnonzero(self._linktypes):
            if not is_read(int(link)):
                name = f"{REASONS[LINK_TYPE]}: {linktype_name(int(link))}"
                skipped[name] = skipped.get(name, 0) + int(self._linktypes[link])
        return skipped

    def linktypes(self) -> dict[str, int]:
        """Frames by link type (as text: it becomes JSON)."""
        return {str(link): int(self._linktypes[link]) for link in np.flatnonzero(self._linktypes)}

    def findings(self) -> dict[str, Any]:
        """Everything else, as it stands in `trace.json`; times are null where no frame has one."""
        c = [int(value) for value in self._counters]
        started = bool(c[_STARTED])
        return {
            "first_ns": c[_FIRST] if started else None,
            "last_ns": c[_LAST] if started else None,
            "wire_bytes": c[_WIRE],
            "captured_bytes": c[_CAPTURED],
            "longest_captured_bytes": c[_LONGEST],
            "truncated_packets": c[_TRUNCATED],
            "packets_without_time": c[_TIMELESS],
            "time_steps_backwards": c[_BACKWARDS],
            "furthest_step_backwards_ns": c[_FURTHEST],
            "clock_unit_seen_ns": c[_UNIT] if started else None,
        }


class Surveys:
    """A survey of each capture that is being read, whatever order their frames come in."""

    def __init__(self) -> None:
        """Start with no capture open."""
        self._surveys: dict[int, Survey] = {}

    def add(self, batch: MergedBatch, headers: Headers, numbered: Numbered) -> None:
        """Count a batch, each row to its capture."""
        for file in np.unique(batch.file[numbered.row]) if len(numbered.row) else ():
            mine = batch.file[numbered.row] == file
            self._of(int(file)).add_numbered(numbered.reason[mine], numbered.number[mine])
        frames = batch.frames
        columns = Surveyed(frames.time_ns, frames.captured, frames.wire, headers.reason, frames.linktype)
        if len(batch.files) == 1:
            self._of(batch.files[0]).add(columns)
            return
        order = np.argsort(batch.file, kind="stable")
        columns = Surveyed._make(column[order] for column in columns)
        counts = np.bincount(batch.file)
        end = 0
        for file in batch.files:
            begin, end = end, end + int(counts[file])
            self._of(file).add(Surveyed._make(column[begin:end] for column in columns))

    def finish(self, file: int) -> Survey:
        """The survey of a capture that has ended; it is kept no longer."""
        return self._surveys.pop(file, None) or Survey()

    def _of(self, file: int) -> Survey:
        if file not in self._surveys:
            self._surveys[file] = Survey()
        return self._surveys[file]
