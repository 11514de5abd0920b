"""The senders of a replay: what they are given, how they are started together, and what they say they sent."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from segcast.replay.inject import absolute
from segcast.replay.inject.children import Child, Speaker
from segcast.replay.inject.document import Account
from segcast.replay.inject.files import Records, shared_out, write_records
from segcast.replay.inject.machines import bound, push, spoken_to
from segcast.replay.inject.plan import ABSOLUTE, Options, Replay, Stream, processes
from segcast.replay.inject.starting import SendingProcess
from segcast.replay.inventory import Point
from segcast.traces.errors import InputError


class Job(NamedTuple):
    """What one process sends: `cpu`, the processor it has; `files`, for each of `streams`, where its machine has them;
    `after_ns`, how long after the instant it begins.
    """

    name: str
    cpu: int
    streams: tuple[Stream, ...]
    files: tuple[str, ...]
    after_ns: int


def jobs_of(
    replay: Replay, out: Path, costs_ns: Mapping[str, int], far: Mapping[str, str], options: Options
) -> list[Job]:
    """One tcpreplay for each interface; or own senders for each machine, which share its flows out among them.

    What they send is where they are, and so is the own sender. Raises InputError if it cannot be copied there.
    """
    copies: list[tuple[Point, Path, str]] = []

    def placed(stream: Stream, file: Path) -> str:
        if (ssh := stream.sender.ssh) is None:
            return str(file)
        copies.append((stream.sender, file, f"{far[ssh]}/{file.name}"))
        return copies[-1][2]

    jobs = []
    if options.sender == ABSOLUTE:
        for machine, several in processes(replay.streams, ABSOLUTE).items():
            streams = tuple(stream for stream in replay.streams if stream.sender.machine == machine)
            parts = [shared_out(stream.records, several) for stream in streams]
            for number in range(several):
                mine = [part[number] for part in parts]
                if not any(len(records.time_ns) for records in mine):
                    continue
                files = tuple(
                    placed(stream, _part(stream, out, records, f"-part{number}" if several > 1 else ""))
                    for stream, records in zip(streams, mine, strict=True)
                )
                begins = min(int(records.time_ns[0]) for records in mine if len(records.time_ns))
                name = f"{machine} {number + 1} of {several}" if several > 1 else machine
                jobs.append(Job(name, number, streams, files, begins - replay.start_ns))
    else:
        used: dict[str, int] = {}
        for stream in replay.streams:
            cpu = used[stream.sender.machine] = used.get(stream.sender.machine, -1) + 1
            file = placed(stream, file_to_send(stream, out, costs_ns.get(stream.name, 0)))
            jobs.append(Job(stream.name, cpu, (stream,), (file,), stream.load.first_ns - replay.start_ns))
    points = {stream.sender.ssh: stream.sender for stream in replay.streams if stream.sender.ssh is not None}
    push([*copies, *((point, Path(absolute.__file__), f"{far[ssh]}/absolute.py") for ssh, point in points.items())])
    return jobs


def file_to_send(stream: Stream, out: Path, cost_ns: int, *, always: bool = False) -> Path:
    """What tcpreplay is to send: the file of what is planned, or a copy for it alone."""
    if not cost_ns and not always:
        return out / "planned" / f"{stream.name}.pcap"
    return _written(stream, out / ".sending" / f"{stream.name}.pcap", stream.records, cost_ns)


def _part(stream: Stream, out: Path, records: Records, suffix: str) -> Path:
    """What one of several processes is to send of a stream."""
    if not suffix:
        return out / "planned" / f"{stream.name}.pcap"
    return _written(stream, out / ".sending" / f"{stream.name}{suffix}.pcap", records, 0)


def _written(stream: Stream, file: Path, records: Records, cost_ns: int) -> Path:
    point = stream.sender
    write_records(records, file, source_mac=point.source_mac, next_hop_mac=point.next_hop_mac, cost_ns=cost_ns)
    return file


def tcpreplay_command(interface: str, file: str, packets: int) -> list[str]:
    """How tcpreplay is run."""
    return ["tcpreplay", f"--intf1={interface}", "--timer=gtod", "--no-flow-stats", f"--limit={packets}", file]


def start_senders(jobs: Sequence[Job], far: Mapping[str, str], options: Options, out: Path) -> list[SendingProcess]:
    """Start the processes: they get ready, and wait to be told when to begin."""
    begun = []
    for job in jobs:
        stream, point = job.streams[0], job.streams[0].sender
        remote = point.ssh is not None
        script = f"{far[point.ssh]}/absolute.py" if point.ssh is not None else str(Path(absolute.__file__))
        command = ["python3" if remote else sys.executable, script, "wait"]
        if options.sender == ABSOLUTE:
            # It enters namespaces itself.
            point = point.model_copy(update={"netns": None})
            for each, file in zip(job.streams, job.files, strict=True):
                command += [each.sender.netns or "-", each.sender.interface, file]
        else:
            command += ["--", *tcpreplay_command(point.interface, job.files[0], stream.load.packets)]
        cpus = stream.facts.cpus
        bound_command = spoken_to(point, command, cpu=job.cpu % cpus if cpus > 1 else None)
        child = Speaker(f"sender {job.name}", bound_command, _log(out, job.name), remote=remote)
        begun.append(SendingProcess(child, tuple(each.name for each in job.streams), remote, job.after_ns))
    return begun


def _log(out: Path, name: str) -> Path:
    return out / "log" / f"send-{name.replace('/', '_').replace(' ', '-')}.txt"


def start_at_once(stream: Stream, command: list[str], out: Path, name: str) -> Child:
    """Start a command that sends for a stream, now."""
    cpus = stream.facts.cpus
    bound_command = bound(stream.sender, command, signal="KILL", cpu=0 if cpus > 1 else None)
    return Child(name, bound_command, _log(out, name), remote=stream.sender.ssh is not None)


def accounts(options: Options, senders: Sequence[SendingProcess]) -> dict[str, Account]:
    """What was sent, by stream, from what the senders printed. Raises InputError if one printed nothing."""
    found: dict[str, Account] = {}
    for sender in senders:
        child, text = sender.child, sender.child.printed()
        if options.sender == ABSOLUTE:
            try:
                said = json.loads(text.strip().splitlines()[-1])
                for name, row in zip(sender.streams, said.pop("files"), strict=True):
                    own = Account(row["sent"], row["failed"], **said)
                    found[name] = found[name].with_other(own) if name in found else own
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
