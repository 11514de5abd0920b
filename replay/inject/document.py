"""run.json: what a replay did, as far as it got."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Final

from segcast.replay.inject.plan import Replay
from segcast.traces.disk.folders import new_file

RUN: Final = "run.json"
SCHEMA_VERSION: Final = 1


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

    def content(self) -> dict[str, Any]:
        """What run.json holds."""
        replay = self._replay
        version = next((s.facts.tcpreplay for s in replay.streams if s.facts.tcpreplay), None)
        senders = []
        for stream in replay.streams:
            sent, failed = self.sent.get(stream.name, (0, 0))
            senders.append(
                {
                    "host": stream.name,
                    "interface": stream.sender.interface,
                    "clock": stream.sender.stamped_by,
                    "planned": f"planned/{stream.name}.pcap",
                    "capture": f"sent/{stream.name}.pcap",
                    "sent": sent,
                    "failed": failed,
                    "dropped_by_capture": self.missed.get(Path("sent", f"{stream.name}.pcap"), 0),
                }
            )
        return {
            "schema_version": SCHEMA_VERSION,
            "complete": self.complete,
            "reason": None if self.complete else self.reason,
            "forecast": replay.forecast,
            "rewrite": str(replay.rewrite.absolute()),
            "cell": replay.cell,
            "burst_bytes": replay.inventory.burst,
            "started_ns": self.started_ns,
            "ended_ns": self.ended_ns,
            "tcpreplay": {"version": version or "", "compensation_ns": self.compensation_ns},
            "senders": senders,
            "receivers": [
                {
                    "host": name,
                    "attachment": point.attachment,
                    "interface": point.interface,
                    "clock": point.stamped_by,
                    "capture": f"received/{name}.pcap",
                    "dropped_by_capture": self.missed.get(Path("received", f"{name}.pcap"), 0),
                }
                for name, point in replay.inventory.receivers.items()
            ],
            "transit": [
                {
                    "node": point.node,
                    "link": point.link,
                    "capture": f"transit/{name}.pcap",
                    "clock": point.stamped_by,
                }
                for name, point in ((name, replay.inventory.transit[name]) for name in replay.transit)
            ],
        }

    def write(self) -> None:
        """Renew run.json."""
        with new_file(self._out / RUN) as aside:
            aside.write_text(json.dumps(self.content(), indent=1) + "\n", encoding="utf-8")
