"""`segcast replay`: captures start, packets are sent together at an instant, all is drained, and a run folder says so.

RUN/run.json is written before anything is sent and renewed as things happen, so that what was measured until a crash
can be read: `complete` is false until all has ended as it should.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from replay.inject import absolute
from replay.inject.children import Child, Children
from replay.inject.files import Records, load_of, open_records, write_records
from replay.inject.machines import at, bound, discard, fetch, push
from replay.inject.plan import ABSOLUTE, TCPREPLAY, Replay, Stream, keeps_time
from replay.inventory import Point
from traces.errors import InputError
from traces.folders import new_file

RUN: Final = "run.json"
SCHEMA_VERSION: Final = 1
DRAIN_NS: Final = 2_000_000_000  # a capture that is stopped earlier loses what it has not yet been given

_READY_S: Final = 15.0
_START_AFTER_NS: Final = 700_000_000
_CALIBRATION_PACKETS: Final = 5000
_CALIBRATION_NS: Final = 1_000_000_000
_BUFFER_KIB: Final = 65536
_SPARE_BYTES: Final = 64 << 20

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """How a replay is run. `compensation_ns`: taken from every gap; None: calibrated where tcpreplay needs it.

    `calibrate`: packets may be sent for that; `snaplen`: bytes kept of each packet, 0 for all.
    """

    sender: str = TCPREPLAY
    compensation_ns: int | None = None
    calibrate: bool = False
    snaplen: int = 0
    drain_ns: int = DRAIN_NS


@dataclass
class _Capture:
    """A capture of a point: `folder` and `name` of its file in the run, `far` where a machine behind ssh has it."""

    kind: str
    name: str
    point: Point
    file: Path
    far: str | None
    child: Child | None = None


def run_replay(
    replay: Replay, out: Path, options: Options, progress: Progress = lambda done, total: None
) -> dict[str, Any]:
    """Send and capture; returns the content of run.json. `progress`: nanoseconds since the start, and those there are.

    Raises InputError if sending is refused, or something fails on the way: then what was captured is there, and
    run.json says why it is not complete.
    """
    if replay.refusals:
        more = f" (and {len(replay.refusals) - 1} more)" if len(replay.refusals) > 1 else ""
        raise InputError(f"nothing was sent: {replay.refusals[0]}{more}")
    prepare(replay, out)
    document = Document(replay, out)
    document.write()
    with contextlib.ExitStack() as stack:
        far = f"/tmp/segcast-{time.time_ns():x}"
        for point in {capture.point.ssh: capture.point for capture in captures_of(replay, out, far)}.values():
            if point.ssh is not None:
                stack.callback(discard, point, far)
        try:
            cost = _cost(replay, out, options, far)
            document.compensation_ns = max(cost.values(), default=0)
            _send(replay, out, options, cost, far, document, progress)
        except BaseException as error:
            document.reason = str(error) or "interrupted"
            raise
        finally:
            document.ended_ns = time.time_ns()
            document.write()
            shutil.rmtree(out / ".sending", ignore_errors=True)
    return document.content()


def prepare(replay: Replay, out: Path) -> None:
    """Make the run folder with what is to be sent. Raises InputError if it is in use, or there is no room."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty; give a run a folder of its own")
    try:
        for name in ("planned", "sent", "received", "transit", "log", ".sending"):
            (out / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: cannot be made: {error.strerror}") from None
    per_copy = sum(stream.load.bytes + 16 * stream.load.packets for stream in replay.streams)
    needed = (4 + (1 + len(replay.transit)) // 2) * per_copy + _SPARE_BYTES
    if (free := shutil.disk_usage(out).free) < needed:
        raise InputError(f"{out}: has {free >> 20} MiB free, but {needed >> 20} MiB may be written; nothing was sent")
    for stream in replay.streams:
        planned = out / "planned" / f"{stream.name}.pcap"
        try:
            write_records(
                stream.records, planned, source_mac=stream.sender.source_mac, next_hop_mac=stream.sender.next_hop_mac
            )
        except OSError as error:
            raise InputError(f"{planned}: cannot be written: {error.strerror}") from None


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


def _send(
    replay: Replay,
    out: Path,
    options: Options,
    cost: Mapping[str, int],
    far: str,
    document: Document,
    progress: Progress,
) -> None:
    captures = captures_of(replay, out, far)
    files = {stream.name: _file_to_send(stream, out, cost.get(stream.name, 0), far) for stream in replay.streams}
    with Children() as children:
        try:
            for capture in captures:
                capture.child = _start_capture(capture, replay, options, out)
                children.captures.append(capture.child)
            ready = children.until(lambda: all(_listens(child) for child in children.captures), _READY_S, _nothing)
            if not ready:
                raise InputError(f"a capture did not start within {_READY_S:.0f} s, so nothing was sent")
            instant = time.time_ns() + _START_AFTER_NS
            document.started_ns = instant
            document.write()
            children.senders += _start_senders(replay, options, files, instant, out)

            def tick() -> None:
                progress(min(max(time.time_ns() - instant, 0), replay.duration_ns), replay.duration_ns)

            limit_s = (_START_AFTER_NS + replay.limit_ns) / 1e9
            ended = children.until(lambda: all(c.code is not None for c in children.senders), limit_s, tick)
            if not ended:
                raise InputError(f"sending took longer than {replay.limit_ns / 1e9:.1f} s (--limit), so it was stopped")
            document.sent = counts(replay, options, children.senders)
            drain = time.monotonic() + options.drain_ns / 1e9
            children.until(lambda: time.monotonic() >= drain, options.drain_ns / 1e9 + 1, tick)
            document.complete = True
        finally:
            children.end_senders()
            if children.senders and not document.complete:
                time.sleep(options.drain_ns / 1e9)
            with contextlib.suppress(InputError):
                document.sent = document.sent or counts(replay, options, children.senders)
            children.end_captures()
            for capture in captures:
                if capture.child is not None:
                    document.missed[capture.file.relative_to(out)] = missed(capture.child.printed())
                    if capture.far is not None:
                        with contextlib.suppress(InputError):
                            fetch(capture.point, capture.far, capture.file)
    for capture in captures:
        if not capture.file.exists() or capture.file.stat().st_size == 0:
            document.complete = False
            raise InputError(f"{capture.file}: the capture is missing; see {out / 'log'}")


def captures_of(replay: Replay, out: Path, far: str) -> list[_Capture]:
    """All captures of a replay."""
    points: list[tuple[str, str, Point]] = [("sent", stream.name, stream.sender) for stream in replay.streams]
    points += [("received", name, point) for name, point in replay.inventory.receivers.items()]
    points += [("transit", name, replay.inventory.transit[name]) for name in replay.transit]
    return [
        _Capture(kind, name, point, out / kind / f"{name}.pcap", f"{far}/{kind}-{name}.pcap" if point.ssh else None)
        for kind, name, point in points
    ]


def capture_command(tool: str, kind: str, interface: str, file: str, snaplen: int) -> list[str]:
    """How a point is captured: departures at senders and on the way, arrivals at receivers."""
    if tool == "dumpcap":
        return ["dumpcap", "-q", "-i", interface, "-s", str(snaplen), "-B", str(_BUFFER_KIB // 1024), "-w", file]
    direction = "in" if kind == "received" else "out"
    common = ["-n", "-s", str(snaplen), "-B", str(_BUFFER_KIB), "--time-stamp-precision=nano"]
    # As root until the end: giving that up would also forget to end with this process.
    return ["tcpdump", "-Z", "root", "-i", interface, "-Q", direction, *common, "-w", file]


def _start_capture(capture: _Capture, replay: Replay, options: Options, out: Path, tool: str | None = None) -> Child:
    tool = tool or replay.inventory.capture
    if capture.far is not None:
        push(capture.point, Path("/dev/null"), f"{capture.far}.begun")
    file = capture.far or str(capture.file)
    command = capture_command(tool, capture.kind, capture.point.interface, file, options.snaplen)
    cpus = _cpus(replay, capture.point)
    # The first processors are the senders': a capture that shares one delays what it captures.
    cpu = cpus - 1 if cpus > 1 else None
    return Child(
        f"{capture.kind}/{capture.name}",
        bound(capture.point, command, signal="TERM", cpu=cpu),
        out / "log" / f"{capture.kind}-{capture.name}.txt",
        remote=capture.point.ssh is not None,
    )


def _listens(child: Child) -> bool:
    text = child.printed()
    return "listening on" in text or "File: " in text


def _cpus(replay: Replay, point: Point) -> int:
    return next(
        (s.facts.cpus for s in replay.streams if s.sender.machine == point.machine),
        1,
    )


def _file_to_send(stream: Stream, out: Path, cost_ns: int, far: str, *, always: bool = False) -> str:
    """The file that a sender reads, where its machine has it: what is planned, or a copy for it alone."""
    file = out / "planned" / f"{stream.name}.pcap"
    if cost_ns or always:
        file = out / ".sending" / f"{stream.name}.pcap"
        write_records(
            stream.records,
            file,
            source_mac=stream.sender.source_mac,
            next_hop_mac=stream.sender.next_hop_mac,
            cost_ns=cost_ns,
        )
    if stream.sender.ssh is None:
        return str(file)
    push(stream.sender, file, f"{far}/{stream.name}.pcap")
    return f"{far}/{stream.name}.pcap"


def tcpreplay_command(interface: str, file: str, packets: int) -> list[str]:
    """How tcpreplay is run."""
    return ["tcpreplay", f"--intf1={interface}", "--timer=gtod", "--no-flow-stats", f"--limit={packets}", file]


def _start_senders(replay: Replay, options: Options, files: Mapping[str, str], instant: int, out: Path) -> list[Child]:
    """One tcpreplay for each interface; or one own sender for each machine, which serves all its interfaces."""
    children = []
    used: dict[str, int] = {}
    together: dict[str, list[Stream]] = {}
    for stream in replay.streams:
        machine = stream.sender.machine
        if options.sender == ABSOLUTE:
            together.setdefault(machine, []).append(stream)
            continue
        cpu = used[machine] = used.get(machine, -1) + 1
        start = instant + stream.load.first_ns - replay.start_ns + stream.facts.ahead_ns
        command = at(start, tcpreplay_command(stream.sender.interface, files[stream.name], stream.load.packets))
        children.append(_sender(stream, command, cpu, out, stream.name))
    for machine, streams in together.items():
        point = streams[0].sender
        start = instant + min(s.load.first_ns for s in streams) - replay.start_ns + streams[0].facts.ahead_ns
        script = str(Path(absolute.__file__))
        if point.ssh is not None:
            target = str(Path(files[streams[0].name]).with_name("absolute.py"))
            push(point, Path(script), target)
            script = target
        command = ["python3" if point.ssh else sys.executable, script, str(start)]
        for stream in streams:
            command += [stream.sender.netns or "-", stream.sender.interface, files[stream.name]]
        children.append(_sender(streams[0], command, 0, out, machine, outside=True))
    return children


def _sender(stream: Stream, command: list[str], cpu: int, out: Path, name: str, *, outside: bool = False) -> Child:
    point: Point = stream.sender
    if outside and point.netns is not None:
        point = point.model_copy(update={"netns": None})  # it enters namespaces itself
    cpus = stream.facts.cpus
    return Child(
        name,
        bound(point, command, signal="KILL", cpu=cpu % cpus if cpus > 1 else None),
        out / "log" / f"send-{name.replace('/', '_')}.txt",
        remote=point.ssh is not None,
    )


def counts(replay: Replay, options: Options, senders: list[Child]) -> dict[str, tuple[int, int]]:
    """Packets (sent, failed) by stream, from what the senders printed. Raises InputError if one printed nothing."""
    found: dict[str, tuple[int, int]] = {}
    for child in senders:
        text = child.printed()
        if options.sender == ABSOLUTE:
            try:
                rows = json.loads(text.strip().splitlines()[-1])
            except (ValueError, IndexError):
                raise InputError(f"the sender {child.name} did not say what it sent: {text.strip()[:200]}") from None
            found |= {Path(row["file"]).stem: (row["sent"], row["failed"]) for row in rows}
        else:
            found[child.name] = tcpreplay_counts(text, child.name)[:2]
    return found


def tcpreplay_counts(text: str, name: str) -> tuple[int, int, int]:
    """Packets sent and failed, and nanoseconds taken: tcpreplay exits with 0 although frames were too long."""
    actual = re.search(r"Actual: (\d+) packets .* sent in ([\d.]+) seconds", text)
    if actual is None:
        raise InputError(f"tcpreplay of {name} did not say what it sent: {' '.join(text.split())[:200] or 'nothing'}")
    good = re.search(r"Successful packets:\s+(\d+)", text)
    failed = re.search(r"Failed packets:\s+(\d+)", text)
    sent = int(good[1]) if good else int(actual[1])
    return sent, int(failed[1]) if failed else 0, round(float(actual[2]) * 1e9)


def missed(text: str) -> int:
    """Packets that a capture says it was not given in time."""
    found = re.search(r"(\d+) packets dropped by kernel", text)
    if found is None:
        found = re.search(r"received/dropped on interface .*: \d+/(\d+)", text)
    return int(found[1]) if found else 0


def _cost(replay: Replay, out: Path, options: Options, far: str) -> dict[str, int]:
    """What sending a packet adds to every gap, by stream."""
    if options.sender == ABSOLUTE:
        return {}
    late = [stream for stream in replay.streams if not keeps_time(stream.facts.tcpreplay or "")]
    if options.compensation_ns is not None:
        return {stream.name: options.compensation_ns for stream in late}
    if not options.calibrate:
        return {}
    return {stream.name: _calibrated(stream, replay, out, options, far) for stream in late}


def _calibrated(stream: Stream, replay: Replay, out: Path, options: Options, far: str) -> int:
    """Send the first second while it is captured: by how much gaps are longer, at the median, which stalls do not move.

    Afterwards the network drains.
    """
    times = stream.records.time_ns
    count = min(int(np.searchsorted(times, times[0] + _CALIBRATION_NS)), _CALIBRATION_PACKETS)
    if count < 2:
        return 0
    begun = Records(stream.records.data, *(column[:count] for column in stream.records[1:]))
    trial = Stream(f"{stream.name}-trial", stream.sender, begun, load_of(begun), stream.facts)
    file = _file_to_send(trial, out, 0, far, always=True)
    ssh = stream.sender.ssh
    seen = out / ".sending" / f"{trial.name}-seen.pcap"
    capture = _Capture("sent", trial.name, stream.sender, seen, f"{far}/{trial.name}-seen.pcap" if ssh else None)
    with Children() as children:
        children.captures.append(_start_capture(capture, replay, options, out, "tcpdump"))
        if not children.until(lambda: _listens(children.captures[0]), _READY_S, _nothing):
            raise InputError(f"the capture {trial.name} did not start within {_READY_S:.0f} s, so nothing was sent")
        child = _sender(trial, tcpreplay_command(stream.sender.interface, file, count), 0, out, trial.name)
        children.senders.append(child)
        patience_s = 10 + 10 * int(times[count - 1] - times[0]) / 1e9
        if not children.until(lambda: child.code is not None, patience_s, _nothing):
            raise InputError(f"the calibration of {stream.name} did not end, so it was stopped")
        drained = time.monotonic() + DRAIN_NS / 1e9
        children.until(lambda: time.monotonic() >= drained, DRAIN_NS, _nothing)
    if capture.far is not None:
        fetch(capture.point, capture.far, seen)
    left = open_records([seen]).time_ns
    if len(left) != count:
        raise InputError(
            f"the calibration of {stream.name} captured {len(left)} of {count} packets; give --compensation"
        )
    return max(0, int(np.median(np.diff(left) - np.diff(times[:count]))))


def _nothing() -> None:
    pass
