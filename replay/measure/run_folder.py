"""Reads a run folder: run.json, and what it leads to of the rewrite, the forecast and the scenario."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, Strict

from segcast.analyzer.network.srv6_modes import Mode
from segcast.analyzer.scenario.model import Scenario
from segcast.replay.measure.identity import Marks
from segcast.traces.disk.documents import Count, Shape, Whole, read_shape
from segcast.traces.errors import InputError

RUN_FILE: Final = "run.json"
PROBES: Final = "probes"  # the cell of what segcast calibrate probes writes
MARGIN_NS: Final = 5_000_000_000  # by which stamps may be before or after the run

_AGAIN: Final = "run segcast replay again"


class Sender(Shape):
    """A host that sent: what it was asked to send, and what its interface was seen to send."""

    host: str
    interface: str = ""
    clock: str
    planned: str
    capture: str
    sent: Count = 0
    failed: Count = 0
    dropped_by_capture: Count = 0


class Receiver(Shape):
    """A host that received, behind an attachment."""

    host: str
    attachment: str = ""
    interface: str = ""
    clock: str
    capture: str
    dropped_by_capture: Count = 0


class Transit(Shape):
    """A capture within the network, of what is sent into a link."""

    node: str = ""
    link: str
    capture: str
    clock: str


class Tcpreplay(Shape):
    """The sender's program."""

    version: str = ""
    compensation_ns: Whole = 0


class Run(Shape):
    """The content of run.json."""

    schema_version: Count
    complete: bool
    reason: str | None = None
    forecast: str | None = None
    rewrite: str | None = None
    cell: str = ""
    burst_bytes: Count | None = None
    started_ns: Whole = 0
    ended_ns: Whole = 0
    tcpreplay: Tcpreplay = Tcpreplay()
    senders: list[Sender] = Field(min_length=1)
    receivers: list[Receiver] = Field(min_length=1)
    transit: list[Transit] = Field(default_factory=list)

    def away(self, capture: str, clock: str, time_ns: NDArray[np.int64]) -> list[str]:
        """A finding if a capture's times, int64[n], are not those of the run, as far as it says when it was."""
        if self.ended_ns <= self.started_ns or not len(time_ns):
            return []
        early, late = self.started_ns - int(time_ns.min()), int(time_ns.max()) - self.ended_ns
        if max(early, late) <= MARGIN_NS:
            return []
        where = f"{early / 1e9:.1f} s before the run began" if early > late else f"{late / 1e9:.1f} s after it ended"
        why = f"it is of another run, or the clock {clock} is not that of the machine that ran it"
        return [f"{capture}: has packets of {where}: {why}; do not believe its delays before you know"]

    @property
    def missed_by_captures(self) -> int:
        """Packets that the programs which captured say they lost."""
        return sum(s.dropped_by_capture for s in self.senders) + sum(r.dropped_by_capture for r in self.receivers)


class _RewriteShape(Shape):
    cell: str = ""
    mode: Annotated[Mode, Strict(False)] | None = None
    speed: float = 1.0


def read_run(folder: Path) -> Run:
    """What run.json says. Raises InputError."""
    file = folder / RUN_FILE
    run = read_shape(file, Run, f"{file}: not found, so this is no run; make one with segcast replay", _AGAIN)
    if run.schema_version != 1:
        raise InputError(f"{file}: schema version {run.schema_version} is not 1; {_AGAIN} with this Segcast")
    return run


def forecast_of(folder: Path, run: Run) -> Path:
    """The forecast that a run names. Raises InputError if it names none, or one that is gone."""
    file = folder / RUN_FILE
    if run.cell == PROBES:
        raise InputError(
            f"{file}: is a run of probes, which segcast calibrate {folder} --scenario S --out S2 makes a scenario of"
        )
    if not run.forecast:
        raise InputError(f"{file}: names no forecast; add --forecast F, the one whose schedule was sent")
    if not (folder / run.forecast).is_dir():
        raise InputError(f"{file}: names {run.forecast}, where no forecast is now; add --forecast F")
    return folder / run.forecast


def rewrite_of(folder: Path, run: Run) -> _RewriteShape:
    """What rewrite.json says, as far as it matters here; nothing if the run names no rewrite. Raises InputError."""
    if run.rewrite is None:
        return _RewriteShape()
    file = folder / run.rewrite / "rewrite.json"
    mend = f"mend the path in {folder / RUN_FILE}, or {_AGAIN}"
    return read_shape(file, _RewriteShape, f"{file}: not found; {mend}", mend)


def marks_of(scenario: Scenario, mode: Mode | None) -> Marks:
    """How the packets of a scenario are known when they are steered; `mode` is the rewrite's."""
    network = ipaddress.IPv6Network(scenario.srv6.source_prefix)
    words = [int(network.network_address), int(network.netmask)]
    prefix, mask = (np.array([word >> 64, word & (2**64 - 1)], np.uint64) for word in words)
    return Marks(prefix, mask, (mode or scenario.srv6.mode).inserts)
