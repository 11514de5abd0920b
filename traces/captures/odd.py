"""Counts records whose headers cannot be true, though they can be read: what plain reading keeps, a finding tells."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from segcast.traces.byteorder import Bytes, Word
from segcast.traces.captures.formats.erf import count_lost
from segcast.traces.captures.formats.flat import ERF, Flat
from segcast.traces.captures.formats.pcapng import Section
from segcast.traces.captures.framing import FrameColumns
from segcast.traces.captures.resync import record
from segcast.traces.jit import kernel

LENGTHS: Final = "wire_below_captured"
FRACTIONS: Final = "fraction_of_a_second_or_more"


@kernel
def count_lengths(count: int, out: FrameColumns) -> int:
    """Rows with fewer bytes on the wire than were captured."""
    odd = 0
    for row in range(count):
        odd += out.captured[row] > out.wire[row]
    return odd


@kernel
def count_fractions(data: Bytes, base: int, count: int, out: FrameColumns, layout: npt.NDArray[Any]) -> tuple[int, int]:
    """Rows whose fraction of a second is a second or more, and the largest fraction, in units of the file."""
    odd: Word = 0
    most: Word = np.int64(0)
    at: Word
    for row in range(count):
        at = np.int64(out.file_offset[row]) - base
        fraction_ns = record(data, at, layout)[1]
        odd += fraction_ns >= 1_000_000_000
        most = max(most, fraction_ns // layout[0].unit_ns)
    return odd, most


class OddRecords:
    """Counts over the records of one capture."""

    def __init__(self) -> None:
        """Nothing is odd yet."""
        self.counts = {LENGTHS: 0, FRACTIONS: 0}
        self.most_fraction = 0

    def add(self, data: Bytes, base: int, count: int, out: FrameColumns, form: Flat | Section) -> None:
        """Take rows that were framed, of which some are odd."""
        self.counts[LENGTHS] += int(count_lengths(count, out))
        if isinstance(form, Flat):
            if form.layout[0]["kind"] == ERF:
                form.layout[0]["drops"] += int(count_lost(data, base, count, out))
            odd, most = count_fractions(data, base, count, out, form.layout)
            self.counts[FRACTIONS] += int(odd)
            self.most_fraction = max(self.most_fraction, int(most))

    def found(self) -> dict[str, int]:
        """The counts that are not 0, by what is odd."""
        return {name: count for name, count in self.counts.items() if count}
