"""run.json: what a replay did, as far as it got."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segcast.replay.inject.departed import Kept
from segcast.replay.inject.plan import Replay, Stream
from segcast.replay.inject.starting import Clock
from segcast.replay.measure.run_folder import (
    RUN_FILE,
    SCHEMA_VERSION,
    ReceivedCapture,
    Run,
    SentCapture,
    Tcpreplay,
    Timing,
    TransitCapture,
)
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_file

_TOLD_NS: Final = 1_000_000  # a start that is off by more is a finding
_TOLD_STRETCH: Final = 0.01


@dataclass(frozen=True)
class Account:
    """What a sender says of its work: null is what its program does not say."""

    sent: int
    failed: int
    real_time: bool | None = None
    memory_locked: bool | None = None
    late: int | None = None
    latest_ns: int | None = None
    shifts: int | None = None
    shifted_ns: int | None = None

    def with_other(self, other: Account) -> Account:
        """The same of two processes that both send for a stream."""
        return Account(
            self.sent + other.sent,
            self.failed + other.failed,
            bool(self.real_time and other.real_time),
            bool(self.memory_locked and other.memory_locked),
            (self.late or 0) + (other.late or 0),
            max(self.latest_ns or 0, other.latest_ns or 0),
            (self.shifts or 0) + (other.shifts or 0),
            max(self.shifted_ns or 0, other.shifted_ns or 0),
        )


@dataclass(frozen=True)
class Watch:
    """What a capture says of itself."""

    missed: int
    real_time: bool


class Document:
    """run.json as it grows."""

    def __init__(self, replay: Replay, out: Path) -> None:
        self._replay = replay
        self._out = out
        self.complete = False
        self.reason: str | None = "it was cut off"
        self.compensation_ns = 0
        self.started_ns = self.ended_ns = time.time_ns()
        self.accounts: dict[str, Account] = {}
        self.kept: dict[str, Kept] = {}
        self.watches: dict[Path, Watch] = {}
        self.clocks: dict[str, Clock] = {}

    def content(self) -> Run:
        """What run.json says now."""
        replay = self._replay
        version = next((s.facts.tcpreplay for s in replay.streams if s.facts.tcpreplay), None)
        return Run(
            schema_version=SCHEMA_VERSION,
            complete=self.complete,
            reason=None if self.complete else self.reason,
            forecast=replay.forecast,
            rewrite=str(replay.rewrite.absolute()),
            cell=replay.cell,
            burst_bytes=replay.inventory.burst,
            started_ns=self.started_ns,
            ended_ns=self.ended_ns,
            tcpreplay=Tcpreplay(version=version or "", compensation_ns=self.compensation_ns),
            senders=[self._sent(stream) for stream in replay.streams],
            receivers=[
                ReceivedCapture(
                    host=name,
                    attachment=point.attachment,
                    interface=point.interface,
                    clock=point.stamped_by,
                    clock_ahead_of_utc_ns=point.tai_offset,
                    capture=f"received/{name}.pcap",
                    **self._watched(Path("received", f"{name}.pcap")),
                )
                for name, point in replay.inventory.receivers.items()
            ],
            transit=[
                TransitCapture(
                    node=point.node,
                    link=point.link,
                    capture=f"transit/{name}.pcap",
                    clock=point.stamped_by,
                    clock_ahead_of_utc_ns=point.tai_offset,
                    capture_real_time=self._watched(Path("transit", f"{name}.pcap"))["capture_real_time"],
                )
                for name, point in ((name, replay.inventory.transit[name]) for name in replay.transit)
            ],
            findings=self.findings(),
        )

    def _sent(self, stream: Stream) -> SentCapture:
        """What is known of a sender so far."""
        account = self.accounts.get(stream.name, Account(0, 0))
        kept = self.kept.get(stream.name, Kept())
        clock = self.clocks.get(stream.name)
        return SentCapture(
            host=stream.name,
            interface=stream.sender.interface,
            clock=stream.sender.stamped_by,
            clock_ahead_of_utc_ns=stream.sender.tai_offset,
            planned=f"planned/{stream.name}.pcap",
            capture=f"sent/{stream.name}.pcap",
            sent=account.sent,
            failed=account.failed,
            **self._watched(Path("sent", f"{stream.name}.pcap")),
            timing=Timing(
                real_time=account.real_time,
                memory_locked=account.memory_locked,
                late=account.late,
                latest_ns=account.latest_ns,
                shifts=account.shifts,
                shifted_ns=account.shifted_ns,
                clock_ahead_ns=clock.ahead_ns if clock else None,
                clock_within_ns=clock.within_ns if clock else None,
                clock_known_by=clock.known_by if clock else None,
                began_late_ns=kept.first_ns,
                stretch=kept.stretch,
                shift_p50_ns=kept.shift_p50_ns,
                shift_p99_ns=kept.shift_p99_ns,
            ),
        )

    def _watched(self, capture: Path) -> dict[str, Any]:
        watch = self.watches.get(capture)
        return {
            "dropped_by_capture": watch.missed if watch else 0,
            "capture_real_time": watch.real_time if watch else None,
        }

    def findings(self) -> list[str]:
        """What a reader must know of the sending before believing what was measured."""
        found = []
        for stream in self._replay.streams:
            at = f"sender {stream.name}"
            kept = self.kept.get(stream.name, Kept())
            account = self.accounts.get(stream.name, Account(0, 0))
            if kept.first_ns is not None and abs(kept.first_ns) > _TOLD_NS:
                way = "late" if kept.first_ns > 0 else "early"
                found.append(f"{at} began {abs(kept.first_ns) / 1e6:.1f} ms {way}: senders did not start together")
            clock = self.clocks.get(stream.name)
            if clock is not None and clock.within_ns > _TOLD_NS:
                found.append(
                    f"{at}: its clock is known to {clock.within_ns / 1e6:.1f} ms only, so it may have begun that much "
                    "earlier or later than others; let chrony or PTP synchronise the machines"
                )
            if account.shifts:
                found.append(
                    f"{at} fell behind: it moved the rest of its schedule {account.shifts} times, by "
                    f"{(account.shifted_ns or 0) / 1e6:.1f} ms altogether"
                )
            if kept.stretch is not None and abs(kept.stretch - 1) > _TOLD_STRETCH:
                found.append(f"{at} took {kept.stretch:.3f} times as long as planned")
        return found

    def write(self) -> None:
        """Renew run.json."""
        with new_file(self._out / RUN_FILE) as aside:
            aside.write_text(json_text(self.content()), encoding="utf-8")
