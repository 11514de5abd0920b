"""The captures of a replay: at senders, receivers and on the way; how they are run, and what they missed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segcast.replay.inject.children import Child
from segcast.replay.inject.document import Watch
from segcast.replay.inject.machines import bound, favoured, was_favoured
from segcast.replay.inject.plan import Options, Replay
from segcast.replay.inventory import Point
from segcast.traces.errors import InputError

READY_S: Final = 15.0

_BUFFER_KIB: Final = 65536
_PRIORITY: Final = 5  # below senders: what waits for a capture is in its buffer, what waits for a sender is late


@dataclass
class Capture:
    """A capture of a point: `folder` and `name` of its file in the run, `far` where a machine behind ssh has it."""

    kind: str
    name: str
    point: Point
    file: Path
    far: str | None
    child: Child | None = None


def captures_of(replay: Replay, out: Path, far: Mapping[str, str]) -> list[Capture]:
    """All captures of a replay; `far`: the folder that each machine behind ssh has for it."""
    points: list[tuple[str, str, Point]] = [("sent", stream.name, stream.sender) for stream in replay.streams]
    points += [("received", name, point) for name, point in replay.inventory.receivers.items()]
    points += [("transit", name, replay.inventory.transit[name]) for name in replay.transit]
    return [
        Capture(
            kind,
            name,
            point,
            out / kind / f"{name}.pcap",
            f"{far[point.ssh]}/{kind}-{name}.pcap" if point.ssh else None,
        )
        for kind, name, point in points
    ]


def capture_command(tool: str, kind: str, point: Point, file: str, snaplen: int) -> list[str]:
    """How a point is captured: departures at senders and on the way, arrivals at receivers."""
    if tool == "dumpcap":
        stamps = ["--time-stamp-type", point.stamps] if point.stamps else []
        size = ["-s", str(snaplen), "-B", str(_BUFFER_KIB // 1024)]
        return ["dumpcap", "-q", "-i", point.interface, *stamps, *size, "-w", file]
    direction = "in" if kind == "received" else "out"
    stamps = ["-j", point.stamps] if point.stamps else []
    common = [*stamps, "-n", "-s", str(snaplen), "-B", str(_BUFFER_KIB), "--time-stamp-precision=nano"]
    # As root until the end: giving that up would also forget to end with this process.
    return ["tcpdump", "-Z", "root", "-i", point.interface, "-Q", direction, *common, "-w", file]


def start_capture(capture: Capture, replay: Replay, options: Options, out: Path, tool: str | None = None) -> Child:
    """Start the inventory's tool, or another, on the last processor. Raises InputError if the point is out of reach."""
    tool = tool or replay.inventory.capture
    file = capture.far or str(capture.file)
    command = capture_command(tool, capture.kind, capture.point, file, options.snaplen)
    cpus = _cpus(replay, capture.point)
    # The first processors are the senders': a capture that shares one delays what it captures.
    cpu = cpus - 1 if cpus > 1 else None
    return Child(
        f"{capture.kind}/{capture.name}",
        bound(capture.point, favoured(command, _PRIORITY), signal="TERM", cpu=cpu),
        out / "log" / f"{capture.kind}-{capture.name}.txt",
        remote=capture.point.ssh is not None,
    )


def refuse_other_stamps(captures: Sequence[Capture]) -> None:
    """Raise InputError if a capture has other time stamps than it was asked for: tcpdump only warns, and goes on."""
    for capture in captures:
        if capture.child is not None and "set timestamp type" in capture.child.printed():
            interface = capture.point.interface
            raise InputError(
                f"{capture.kind}/{capture.name}: interface {interface} has no time stamps {capture.point.stamps} "
                f"(tcpdump -J -i {interface} lists what it has), so nothing was sent"
            )


def listens(child: Child) -> bool:
    """Whether a capture has said that it has begun."""
    text = child.printed()
    return "listening on" in text or "File: " in text


def _cpus(replay: Replay, point: Point) -> int:
    return next(
        (s.facts.cpus for s in replay.streams if s.sender.machine == point.machine),
        1,
    )


def watched(child: Child) -> Watch:
    """What a capture says of itself when it has ended."""
    text = child.printed()
    return Watch(missed(text), was_favoured(text))


def missed(text: str) -> int:
    """Packets that a capture says it was not given in time."""
    found = re.search(r"(\d+) packets dropped by kernel", text)
    if found is None:
        found = re.search(r"received/dropped on interface .*: \d+/(\d+)", text)
    return int(found[1]) if found else 0
