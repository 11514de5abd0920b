"""run.json: what a replay did, as far as it got."""

from __future__ import annotations

import time
from pathlib import Path

from segcast.replay.inject.plan import Replay, Stream
from segcast.replay.measure.run_folder import (
    RUN_FILE,
    SCHEMA_VERSION,
    ReceivedCapture,
    Run,
    SentCapture,
    Tcpreplay,
    TransitCapture,
)
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_file


class Document:
    """run.json as it grows."""

    def __init__(self, replay: Replay, out: Path) -> None:
        self._replay = replay
        self._out = out
        self.complete = False
        self.reason: str | None = "it was cut off"
        self.compensation_ns = 0
        self.started_ns = self.ended_ns = time.time_ns()
        self.sent: dict[str, tuple[int, int]] = {}
        self.missed: dict[Path, int] = {}

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
                    capture=f"received/{name}.pcap",
                    dropped_by_capture=self.missed.get(Path("received", f"{name}.pcap"), 0),
                )
                for name, point in replay.inventory.receivers.items()
            ],
            transit=[
                TransitCapture(node=point.node, link=point.link, capture=f"transit/{name}.pcap", clock=point.stamped_by)
                for name, point in ((name, replay.inventory.transit[name]) for name in replay.transit)
            ],
        )

    def _sent(self, stream: Stream) -> SentCapture:
        """What is known of a sender so far."""
        sent, failed = self.sent.get(stream.name, (0, 0))
        return SentCapture(
            host=stream.name,
            interface=stream.sender.interface,
            clock=stream.sender.stamped_by,
            planned=f"planned/{stream.name}.pcap",
            capture=f"sent/{stream.name}.pcap",
            sent=sent,
            failed=failed,
            dropped_by_capture=self.missed.get(Path("sent", f"{stream.name}.pcap"), 0),
        )

    def write(self) -> None:
        """Renew run.json."""
        with new_file(self._out / RUN_FILE) as aside:
            aside.write_text(json_text(self.content()), encoding="utf-8")
