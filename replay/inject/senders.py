"""The senders of a replay: what they are given, how they are started together, and what they say they sent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from segcast.replay.inject import absolute
from segcast.replay.inject.children import Child
from segcast.replay.inject.document import Account
from segcast.replay.inject.files import write_records
from segcast.replay.inject.machines import at, bound, push
from segcast.replay.inject.plan import ABSOLUTE, Options, Replay, Stream
from segcast.replay.inventory import Point
from segcast.traces.errors import InputError


def file_to_send(stream: Stream, out: Path, cost_ns: int, far: str, *, always: bool = False) -> str:
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


def start_senders(replay: Replay, options: Options, files: Mapping[str, str], instant: int, out: Path) -> list[Child]:
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
        children.append(start_sender(stream, command, cpu, out, stream.name))
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
        children.append(start_sender(streams[0], command, 0, out, machine, outside=True))
    return children


def start_sender(stream: Stream, command: list[str], cpu: int, out: Path, name: str, *, outside: bool = False) -> Child:
    """Start a command that sends for a stream, on this processor; `outside`: not in the sender's namespace."""
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


def accounts(options: Options, senders: list[Child]) -> dict[str, Account]:
    """What was sent, by stream, from what the senders printed. Raises InputError if one printed nothing."""
    found: dict[str, Account] = {}
    for child in senders:
        text = child.printed()
        if options.sender == ABSOLUTE:
            try:
                said = json.loads(text.strip().splitlines()[-1])
                for row in said.pop("files"):
                    found[Path(row["file"]).stem] = Account(row["sent"], row["failed"], **said)
            except (ValueError, IndexError, KeyError, TypeError, AttributeError):
                raise InputError(f"the sender {child.name} did not say what it sent: {text.strip()[:200]}") from None
        else:
            found[child.name] = Account(*tcpreplay_counts(text, child.name)[:2])
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
