"""The senders of a replay: what they are given, how they are started together, and what they say they sent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from segcast.replay.inject import absolute
from segcast.replay.inject.children import Child, Speaker
from segcast.replay.inject.document import Account
from segcast.replay.inject.files import write_records
from segcast.replay.inject.machines import bound, push, spoken_to
from segcast.replay.inject.plan import ABSOLUTE, Options, Replay, Stream
from segcast.replay.inject.starting import Sender
from segcast.replay.inventory import Point
from segcast.traces.errors import InputError


def files_to_send(replay: Replay, out: Path, costs_ns: Mapping[str, int], far: Mapping[str, str]) -> dict[str, str]:
    """The files that senders read, by stream, where their machines have them; so do they then have the own sender.

    Raises InputError if one cannot be copied there.
    """
    copies: list[tuple[Point, Path, str]] = []
    found = {}
    for stream in replay.streams:
        file = file_to_send(stream, out, costs_ns.get(stream.name, 0))
        found[stream.name] = str(file)
        if (ssh := stream.sender.ssh) is not None:
            found[stream.name] = f"{far[ssh]}/{stream.name}.pcap"
            copies.append((stream.sender, file, found[stream.name]))
    points = {stream.sender.ssh: stream.sender for stream in replay.streams if stream.sender.ssh is not None}
    push([*copies, *((point, Path(absolute.__file__), f"{far[ssh]}/absolute.py") for ssh, point in points.items())])
    return found


def file_to_send(stream: Stream, out: Path, cost_ns: int, *, always: bool = False) -> Path:
    """What a sender is to send: the file of what is planned, or a copy for it alone."""
    if not cost_ns and not always:
        return out / "planned" / f"{stream.name}.pcap"
    file = out / ".sending" / f"{stream.name}.pcap"
    write_records(
        stream.records,
        file,
        source_mac=stream.sender.source_mac,
        next_hop_mac=stream.sender.next_hop_mac,
        cost_ns=cost_ns,
    )
    return file


def tcpreplay_command(interface: str, file: str, packets: int) -> list[str]:
    """How tcpreplay is run."""
    return ["tcpreplay", f"--intf1={interface}", "--timer=gtod", "--no-flow-stats", f"--limit={packets}", file]


def start_senders(
    replay: Replay, options: Options, files: Mapping[str, str], far: Mapping[str, str], out: Path
) -> list[Sender]:
    """One tcpreplay for each interface; or one own sender for each machine, which serves all its interfaces.

    They get ready, and wait to be told when to begin.
    """
    begun = []
    used: dict[str, int] = {}
    for streams in _groups(replay.streams, options.sender):
        stream, point = streams[0], streams[0].sender
        script = str(Path(absolute.__file__))
        if point.ssh is not None:
            script = f"{far[point.ssh]}/absolute.py"
        command = ["python3" if point.ssh else sys.executable, script, "wait"]
        if options.sender == ABSOLUTE:
            name, cpu = point.machine, 0
            # It enters namespaces itself.
            point = point.model_copy(update={"netns": None})
            for each in streams:
                command += [each.sender.netns or "-", each.sender.interface, files[each.name]]
        else:
            name, cpu = stream.name, used.get(point.machine, -1) + 1
            used[point.machine] = cpu
            command += ["--", *tcpreplay_command(point.interface, files[name], stream.load.packets)]
        cpus = stream.facts.cpus
        child = Speaker(
            f"sender {name}",
            spoken_to(point, command, cpu=cpu % cpus if cpus > 1 else None),
            _log(out, name),
            remote=point.ssh is not None,
        )
        after_ns = min(each.load.first_ns for each in streams) - replay.start_ns
        begun.append(Sender(child, tuple(each.name for each in streams), point.ssh is not None, after_ns))
    return begun


def _groups(streams: Sequence[Stream], sender: str) -> list[list[Stream]]:
    """The streams of each process that sends."""
    if sender != ABSOLUTE:
        return [[stream] for stream in streams]
    together: dict[str, list[Stream]] = {}
    for stream in streams:
        together.setdefault(stream.sender.machine, []).append(stream)
    return list(together.values())


def _log(out: Path, name: str) -> Path:
    return out / "log" / f"send-{name.replace('/', '_')}.txt"


def start_at_once(stream: Stream, command: list[str], out: Path, name: str) -> Child:
    """Start a command that sends for a stream, now."""
    cpus = stream.facts.cpus
    bound_command = bound(stream.sender, command, signal="KILL", cpu=0 if cpus > 1 else None)
    return Child(name, bound_command, _log(out, name), remote=stream.sender.ssh is not None)


def accounts(options: Options, senders: Sequence[Sender]) -> dict[str, Account]:
    """What was sent, by stream, from what the senders printed. Raises InputError if one printed nothing."""
    found: dict[str, Account] = {}
    for sender in senders:
        child, text = sender.child, sender.child.printed()
        if options.sender == ABSOLUTE:
            try:
                said = json.loads(text.strip().splitlines()[-1])
                for row in said.pop("files"):
                    found[Path(row["file"]).stem] = Account(row["sent"], row["failed"], **said)
            except (ValueError, IndexError, KeyError, TypeError, AttributeError):
                raise InputError(f"{child.name} did not say what it sent: {text.strip()[:200]}") from None
        else:
            (name,) = sender.streams
            found[name] = Account(*tcpreplay_counts(text, name)[:2])
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
