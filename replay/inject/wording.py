"""`segcast replay --print-commands`: the commands of a replay for people who run them by hand."""

from __future__ import annotations

import secrets
import shlex
from collections import defaultdict
from pathlib import Path

from segcast.replay.inject import absolute
from segcast.replay.inject.captures import capture_command, captures_of
from segcast.replay.inject.document import Document
from segcast.replay.inject.machines import here
from segcast.replay.inject.plan import ABSOLUTE, Options, Replay
from segcast.replay.inject.run import prepare, refuse_short
from segcast.replay.inject.senders import tcpreplay_command
from segcast.replay.inventory import Point
from segcast.traces.errors import InputError

_WHAT: dict[str, str] = {"sent": "departures", "received": "arrivals", "transit": "on the way"}


def worded(replay: Replay, out: Path, options: Options) -> list[str]:
    """Lines for a shell on this machine, by step; what is to be sent is written to `out`, with a run.json to complete.

    Raises InputError if sending is refused.
    """
    if replay.refusals:
        raise InputError(f"nothing was sent: {replay.refusals[0]}")
    refuse_short(replay, options.snaplen)
    prepare(replay, out)
    (out / ".sending").rmdir()
    document = Document(replay, out)
    document.reason = "its commands were printed, to be run by hand"
    document.write()
    far = f"/tmp/segcast-by-hand-{secrets.token_hex(6)}"
    lines = ["# 1. copy what is sent"]
    captures = captures_of(replay, out, defaultdict(lambda: far))
    machines = dict.fromkeys(capture.point.ssh for capture in captures if capture.point.ssh is not None)
    lines += [shlex.join(["ssh", ssh, f"mkdir -m 700 {far}"]) for ssh in machines]
    for stream in replay.streams:
        if stream.sender.ssh:
            lines.append(
                shlex.join(["scp", str(out / "planned" / f"{stream.name}.pcap"), f"{stream.sender.ssh}:{far}/"])
            )
            if options.sender == ABSOLUTE:
                lines.append(shlex.join(["scp", str(Path(absolute.__file__)), f"{stream.sender.ssh}:{far}/"]))
    lines.append("# 2. start the captures, each in a terminal of its own")
    for capture in captures:
        file = capture.far or str(capture.file)
        command = capture_command(replay.inventory.capture, capture.kind, capture.point, file, options.snaplen)
        lines.append(f"{shlex.join(_by_hand(capture.point, command))}  # {_WHAT[capture.kind]}, {capture.name}")
    lines.append("# 3. send; all at once, but for those that start later")
    for stream in replay.streams:
        name = f"{stream.name}.pcap"
        file = f"{far}/{name}" if stream.sender.ssh else str(out / "planned" / name)
        command = tcpreplay_command(stream.sender.interface, file, stream.load.packets)
        if options.sender == ABSOLUTE:
            script = f"{far}/absolute.py" if stream.sender.ssh else str(Path(absolute.__file__))
            command = ["python3", script, "now", "-", stream.sender.interface, file]
        wait = (stream.load.first_ns - replay.start_ns) / 1e9
        later = f"sleep {wait:.6f}; " if wait else ""
        lines.append(f"{later}{shlex.join(_by_hand(stream.sender, command))}  # {stream.name}")
    lines.append(f"# 4. {options.drain_ns / 1e9:.0f} s after the last packet, end the captures with SIGTERM or Ctrl-C")
    lines += [
        shlex.join(["scp", f"{capture.point.ssh}:{capture.far}", str(capture.file)])
        for capture in captures
        if capture.far
    ]
    lines += [shlex.join(["ssh", ssh, f"rm -r {far}"]) for ssh in machines]
    lines.append(f"# 5. in {out / 'run.json'}: set complete to true, and each sender's sent to what it said")
    return lines


def _by_hand(point: Point, command: list[str]) -> list[str]:
    if point.ssh is not None:
        return ["ssh", point.ssh, shlex.join(command)]
    return here(point, command)
