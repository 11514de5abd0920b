"""A capture of a format without blocks: a file header, then records that all lie alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from segcast.traces.captures.framing import FrameColumns
from segcast.traces.captures.window import CaptureWindow

Need = Callable[[int], bytes]
"""Gives the next bytes of a capture, fewer at its end; they are not consumed."""

PCAP, SNOOP, ERF = 1, 2, 3
"""Kinds of records, as `LAYOUT` and the kernels tell them apart."""


@dataclass(frozen=True, slots=True)
class Flat:
    """What the file header of a flat capture says, and the kernel that frames its records.

    `kernel` takes the bytes, the place in them, one row of LAYOUT and the columns to write; see `frame_pcap`.
    """

    name: str
    header_bytes: int
    snaplen: int
    resolution_ns: float
    layout: npt.NDArray[Any]
    kernel: Callable[..., tuple[int, int, int]]

    @property
    def linktype(self) -> int:
        """The link type of all its frames."""
        return int(self.layout[0]["linktype"])

    def frame(self, window: CaptureWindow, out: FrameColumns) -> tuple[int, int]:
        """Frame what the window shows; (rows, status)."""
        count, window.position, status = self.kernel(
            window.data, window.position, window.end, window.base, self.layout, out
        )
        return count, status

    def drops(self) -> dict[str, int]:
        """Packets the capturing system says it lost, under the format's name; none if there are none."""
        lost = int(self.layout[0]["drops"])
        return {self.name: lost} if lost else {}

    def take_odd(self) -> bool:
        """Whether records that cannot be as they say were framed since the last call."""
        odd = bool(self.layout[0]["odd"])
        self.layout[0]["odd"] = 0
        return odd
