"""A run folder: run.json, declared once, and what it leads to of the rewrite, the forecast and the scenario."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.measure.identity import Marks
from segcast.replay.rewrite.summary import MANIFEST, RewriteSummary, read_rewrite
from segcast.traces.disk.documents import Count, Shape, Whole, read_shape
from segcast.traces.errors import InputError

RUN_FILE: Final = "run.json"
SCHEMA_VERSION: Final = 1
PROBES: Final = "probes"  # the cell of what segcast calibrate probes writes
MARGIN_NS: Final = 5_000_000_000  # by which stamps may be before or after the run

_AGAIN: Final = "run segcast replay again"


class Timing(Shape):
    """How a sender kept its schedule. Null is what is not known: what a program does not say, or no capture shows."""

    real_time: bool | None = Field(None, description="whether it ran in real time (SCHED_FIFO)")
    memory_locked: bool | None = Field(None, description="whether its memory could not be paged out")
    late: Count | None = Field(None, description="packets that it sent more than 1 ms late, of what it then planned")
    latest_ns: Count | None = Field(None, description="how late the latest of them was")
    shifts: Count | None = Field(None, description="how often it moved the rest of its schedule, having fallen behind")
    shifted_ns: Count | None = Field(None, description="by how much altogether")
    clock_ahead_ns: Whole | None = Field(
        None, description="how far its clock was ahead of that of the commanding machine"
    )
    clock_within_ns: Count | None = Field(None, description="to how much that is known: half of the least round trip")
    clock_known_by: str | None = Field(
        None, description="`exchange` of times, `synchronised` clocks, or the `same` clock"
    )
    began_late_ns: Whole | None = Field(None, description="first departure captured, less the instant asked for")
    stretch: float | None = Field(None, description="time from first to last departure captured, over that planned")
    shift_p50_ns: Count | None = Field(None, description="p50 of how far departures are from where the first puts them")
    shift_p99_ns: Count | None = Field(None, description="p99 of the same")


class SentCapture(Shape):
    """What a sender was asked to send, and what its interface was seen to send."""

    host: str = Field(description="the sender, as the inventory names it")
    interface: str = Field("", description="its interface")
    clock: str = Field(description="the clock that stamped its packets")
    clock_ahead_of_utc_ns: Whole = Field(0, description="how far that clock is ahead of UTC, which `measure` takes off")
    planned: str = Field(description="capture of what was to be sent, in the run's folder")
    capture: str = Field(description="capture of what left")
    sent: Count = Field(0, description="packets that the sending program says it sent")
    failed: Count = Field(0, description="packets that it says it could not send")
    dropped_by_capture: Count = Field(0, description="packets that the capturing program says it missed")
    capture_real_time: bool | None = Field(None, description="whether that program ran in real time; null: unknown")
    timing: Timing = Field(Timing.model_validate({}), description="how the schedule was kept")


class ReceivedCapture(Shape):
    """What was seen to arrive at a receiver."""

    host: str = Field(description="the receiver, as the inventory names it")
    attachment: str = Field("", description="attachment of the scenario that it stands for")
    interface: str = Field("", description="its interface")
    clock: str = Field(description="the clock that stamped its packets")
    clock_ahead_of_utc_ns: Whole = Field(0, description="how far that clock is ahead of UTC, which `measure` takes off")
    capture: str = Field(description="capture of what arrived")
    dropped_by_capture: Count = Field(0, description="packets that the capturing program says it missed")
    capture_real_time: bool | None = Field(None, description="whether that program ran in real time; null: unknown")


class TransitCapture(Shape):
    """What was seen within the network, on its way into a link."""

    node: str = Field("", description="node of the scenario")
    link: str = Field(description="link of the scenario")
    capture: str = Field(description="capture of what was sent into it")
    clock: str = Field(description="the clock that stamped its packets")
    clock_ahead_of_utc_ns: Whole = Field(0, description="how far that clock is ahead of UTC, which `measure` takes off")
    capture_real_time: bool | None = Field(None, description="whether that program ran in real time; null: unknown")


class Tcpreplay(Shape):
    """The program that sent, if it was tcpreplay."""

    version: str = Field("", description="its version; empty if another sent")
    compensation_ns: Whole = Field(0, description="what was taken from every gap, because sending takes that long")


class Run(Shape):
    """What a replay did, as far as it got."""

    schema_version: Count = Field(description="version of this document")
    complete: bool = Field(description="whether it ended as planned")
    reason: str | None = Field(None, description="why it did not; null if it did")
    forecast: str | None = Field(None, description="the forecast whose schedule was sent; null if it is of none")
    rewrite: str | None = Field(None, description="the rewrite that was sent")
    cell: str = Field("", description="cell of the forecast; `probes` for probes")
    burst_bytes: Count | None = Field(None, description="bucket of links whose burst the scenario omits")
    started_ns: Whole = Field(0, description="when sending began, on the clock of the machine that ran it")
    ended_ns: Whole = Field(0, description="when it ended")
    tcpreplay: Tcpreplay = Field(Tcpreplay.model_validate({}), description="the program that sent")
    senders: list[SentCapture] = Field(description="the senders")
    receivers: list[ReceivedCapture] = Field(description="the receivers")
    transit: list[TransitCapture] = Field([], description="captures within the network")
    findings: list[str] = Field([], description="what to know of the sending before believing the run")

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


def read_run(folder: Path) -> Run:
    """What run.json says. Raises InputError."""
    file = folder / RUN_FILE
    run = read_shape(file, Run, f"{file}: not found, so this is no run; make one with segcast replay", _AGAIN)
    if run.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{file}: schema version {run.schema_version} is not {SCHEMA_VERSION}; {_AGAIN} with this Segcast"
        )
    for name in ("senders", "receivers"):
        if not getattr(run, name):
            raise InputError(f"{file}: {name}: names none, so there is nothing to measure; {_AGAIN}")
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


def rewrite_of(folder: Path, run: Run) -> RewriteSummary | None:
    """What rewrite.json says; None if the run names no rewrite. Raises InputError."""
    if run.rewrite is None:
        return None
    mend = f"mend the path in {folder / RUN_FILE}, or {_AGAIN}"
    return read_rewrite(folder / run.rewrite, f"{folder / run.rewrite / MANIFEST}: not found; {mend}", mend)


def marks_of(scenario: ValidScenario, rewrite: RewriteSummary | None) -> Marks:
    """How the packets of a scenario are known when they are steered, as the rewrite says, or else the scenario."""
    mode = None if rewrite is None else rewrite.mode
    network = ipaddress.IPv6Network(scenario.srv6.source_prefix)
    words = [int(network.network_address), int(network.netmask)]
    prefix, mask = (np.array([word >> 64, word & (2**64 - 1)], np.uint64) for word in words)
    return Marks(prefix, mask, (mode or scenario.srv6.mode).inserts)
