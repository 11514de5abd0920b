"""What a replay would do, and whether it may: asked of the machines before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.forecast.reading import captured_origin
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES
from segcast.replay.inject.files import Records, SendingLoad, busiest_pps, load_of, open_records
from segcast.replay.inject.machines import Facts, probe
from segcast.replay.inventory import Inventory, Point, Sender
from segcast.replay.rewrite.summary import MANIFEST, HostCapture, read_rewrite
from segcast.traces.errors import InputError
from segcast.traces.units import write_rate

TCPREPLAY, ABSOLUTE = "tcpreplay", "absolute"
# Packets a second that a sender has been seen to keep time at, and at best to send; see docs/replay.md.
KEEPS_PPS: Final = {TCPREPLAY: 150_000, ABSOLUTE: 100_000}
MOST_PPS: Final = {TCPREPLAY: 600_000, ABSOLUTE: 220_000}
FOR_CAPTURES: Final = 1  # processors of a machine that no sender is given, but where it has only one
DRAIN_NS: Final = 2_000_000_000  # a capture that is stopped earlier loses what it has not yet been given
FIRST_WITH_CATCH_UP: Final = (4, 5, 3)

_AGAIN: Final = "run segcast rewrite again"
_VLAN_TAG_BYTES: Final = 4
_LIMIT_FACTOR: Final = 3
_SUSTAINED_NS: Final = 100_000_000
_LIMIT_EXTRA_NS: Final = 30_000_000_000


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


@dataclass(frozen=True)
class Stream:
    """What one interface sends: its inventory entry, the packets, what they ask for, and what its machine says."""

    name: str
    sender: Sender
    records: Records
    load: SendingLoad
    facts: Facts


@dataclass(frozen=True)
class Replay:
    """A replay that may be run: `refusals` are why it may not be, in words. Times in nanoseconds."""

    rewrite: Path
    cell: str
    forecast: str | None
    inventory: Inventory
    streams: tuple[Stream, ...]
    facts: Mapping[str, Facts]
    transit: tuple[str, ...]
    refusals: tuple[str, ...]
    start_ns: int
    duration_ns: int
    limit_ns: int
    sender: str = TCPREPLAY
    hop_limit_1: int = 0

    @property
    def packets(self) -> int:
        """Packets of all interfaces."""
        return sum(stream.load.packets for stream in self.streams)

    def as_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return {
            "rewrite": str(self.rewrite),
            "cell": self.cell,
            "packets": self.packets,
            "duration_ns": self.duration_ns,
            "limit_ns": self.limit_ns,
            "senders": [
                {
                    "name": stream.name,
                    "machine": stream.sender.machine,
                    "netns": stream.sender.netns,
                    "interface": stream.sender.interface,
                    "packets": stream.load.packets,
                    "bytes": stream.load.bytes,
                    "starts_after_ns": stream.load.first_ns - self.start_ns,
                    "longest_frame_bytes": stream.load.longest_bytes,
                    "busiest_bps": stream.load.busiest_bps,
                    "busiest_pps": dict(zip(("1ms", "10ms", "100ms"), stream.load.busiest_pps, strict=True)),
                    "mtu": stream.facts.mtu,
                    "link_bps": link_bps(stream.sender, stream.facts),
                    "tcpreplay": stream.facts.tcpreplay,
                }
                for stream in self.streams
            ],
            "receivers": [
                {"name": name, "machine": point.machine, "netns": point.netns, "interface": point.interface}
                for name, point in self.inventory.receivers.items()
            ],
            "transit": list(self.transit),
            "refused": list(self.refusals),
            "notes": self.notes(),
        }

    def notes(self) -> list[str]:
        """What does not forbid sending, but should be known before."""
        found = [
            f"{self.hop_limit_1:,} packets have a hop limit of 1: the router behind SRv6 drops them, and answers"
        ] * (self.hop_limit_1 > 0)
        found += [
            f"tcpreplay {stream.facts.tcpreplay} at {stream.name} adds the cost of sending to every gap, so that "
            "it falls behind: --calibrate measures that, --compensation states it, --sender absolute keeps time"
            for stream in self.streams
            if self.sender == TCPREPLAY and stream.facts.tcpreplay and not keeps_time(stream.facts.tcpreplay)
        ]
        several = processes(self.streams, self.sender)
        for who, times in together(self.streams, self.sender):
            most = KEEPS_PPS[self.sender] * several[who]
            for width, pps in zip(("1 ms", "10 ms", "100 ms"), busiest_pps(times), strict=True):
                if pps > most:
                    found.append(
                        f"{self.sender} at {who} is asked for {pps / 1e6:.2f} M packets/s in the busiest {width}; it "
                        f"keeps time up to {most / 1e6:.2f} M, beyond that packets leave late"
                    )
        return found


def processes(streams: Sequence[Stream], sender: str) -> dict[str, int]:
    """How many processes send, by machine: as many as keep time with its fullest 10 ms, but no processor is shared."""
    found = {}
    for machine, times in together(streams, sender):
        cpus = next((s.facts.cpus for s in streams if s.sender.machine == machine), 1)
        wanted = -(-busiest_pps(times)[1] // KEEPS_PPS[sender]) if sender == ABSOLUTE else 1
        found[machine] = max(1, min(wanted, cpus - FOR_CAPTURES))
    return found


def together(streams: Sequence[Stream], sender: str) -> list[tuple[str, NDArray[np.int64]]]:
    """Who sends, and the ordered times of all it sends: `absolute` serves a machine, each tcpreplay a stream."""
    if sender == TCPREPLAY:
        return [(stream.name, stream.records.time_ns) for stream in streams]
    machines: dict[str, list[NDArray[np.int64]]] = {}
    for stream in streams:
        machines.setdefault(stream.sender.machine, []).append(stream.records.time_ns)
    return [(machine, np.sort(np.concatenate(times))) for machine, times in machines.items()]


def _overburdened(streams: Sequence[Stream], sender: str) -> list[str]:
    """Why a sender cannot send as much as the whole schedule asks for."""
    found = []
    several = processes(streams, sender)
    for who, times in together(streams, sender):
        most = MOST_PPS[sender] * several[who]
        span_ns = int(times[-1] - times[0])
        pps = (len(times) - 1) * 1_000_000_000 // span_ns if span_ns else 0
        if span_ns >= _SUSTAINED_NS and pps > most:
            found.append(
                f"{sender} at {who}: {pps / 1e6:.2f} M packets/s are to be sent throughout, but it sends up to "
                f"{most / 1e6:.2f} M, so that it would take {pps / most:.1f} times as long; "
                "forecast with a lower load"
            )
    return found


def plan_replay(
    folder: Path,
    inventory: Inventory,
    *,
    forecast: str | None = None,
    sender: str = TCPREPLAY,
    transit: bool = False,
    limit_ns: int | None = None,
    allow_default_route: bool = False,
) -> Replay:
    """Read what `segcast rewrite` wrote to `folder`, and ask all machines of the inventory.

    `forecast`: the folder that the schedule is of, if not the one that the rewrite names. Raises InputError if it is
    none, `folder` holds no rewrite, a file of it has no sender, or a machine cannot be reached. What forbids sending is
    in `refusals`.
    """
    missing = f"{folder}: has no {MANIFEST}, so it is no folder that segcast rewrite wrote"
    document = read_rewrite(folder, missing, _AGAIN)
    if forecast is not None:
        captured_origin(Path(forecast))
    files: dict[str, dict[Path, HostCapture]] = {}
    for entry in document.files:
        owner = inventory.sender_of(entry.host)
        if owner is None:
            raise InputError(
                f"{folder / MANIFEST}: no sender of the inventory injects for {entry.host}: give one of them its "
                "prefix (prefixes) or its attachment (attachments)"
            )
        files.setdefault(owner, {})[folder / Path(entry.path).name] = entry
    if not files:
        raise InputError(f"{folder / MANIFEST}: names no captures, so there is nothing to send; {_AGAIN}")
    sending: dict[str, Records] = {}
    streams: list[Stream] = []
    facts: dict[str, Facts] = {}
    for name, paths in files.items():
        records = open_records(sorted(paths), microseconds=document.pcap == "us")
        for number, path in enumerate(sorted(paths)):
            _check_whole(path, paths[path], records, number)
        sending[name] = records
    seen = tuple(inventory.transit) if transit else ()
    others: dict[str, Point] = {**inventory.receivers, **{f"transit {name}": inventory.transit[name] for name in seen}}
    points = {_where(point): point for point in (*(inventory.senders[name] for name in sending), *others.values())}
    asked = dict(zip(points, probe(list(points.values()), inventory.capture), strict=True))
    for name, records in sending.items():
        sender_point = inventory.senders[name]
        facts[name] = asked[_where(sender_point)]
        streams.append(Stream(name, sender_point, records, load_of(records), facts[name]))
    refusals = [why for stream in streams for why in _refusals(stream, sender, inventory.capture, allow_default_route)]
    for name, point in others.items():
        found = facts[f"receiver {name}"] = asked[_where(point)]
        refusals += _capture_refusals(f"receiver {name}", point, found, inventory.capture)
    refusals += _overburdened(streams, sender)
    start = min(stream.load.first_ns for stream in streams)
    duration = max(stream.load.last_ns for stream in streams) - start
    return Replay(
        rewrite=folder,
        cell=document.cell,
        forecast=forecast if forecast is not None else document.forecast,
        inventory=inventory,
        streams=tuple(streams),
        facts=facts,
        transit=seen,
        refusals=tuple(dict.fromkeys(refusals)),
        start_ns=start,
        duration_ns=duration,
        limit_ns=limit_ns if limit_ns is not None else duration * _LIMIT_FACTOR + _LIMIT_EXTRA_NS,
        sender=sender,
        hop_limit_1=document.hop_limit_1,
    )


def _check_whole(path: Path, entry: HostCapture, records: Records, number: int) -> None:
    """Raise InputError unless a file, `number` of the records, is as the rewrite says and in order of time."""
    mine = records.file == number
    times, places = records.time_ns[mine], records.first[mine]
    if (np.diff(places) < 0).any():
        raise InputError(f"{path}: its packets are not in order of time; {_AGAIN}")
    ends = (int(times[0]), int(times[-1])) if len(times) else (None, None)
    for what, said, found in zip(
        ("packets", "first_ns", "last_ns"),
        (entry.packets, entry.first_ns, entry.last_ns),
        (len(times), *ends),
        strict=True,
    ):
        if said is not None and said != found:
            raise InputError(f"{path}: is damaged: {what} is {found}, but {said} in {MANIFEST}; {_AGAIN}")


def keeps_time(version: str) -> bool:
    """Whether a tcpreplay of this version makes up for what sending costs (since 4.5.3)."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return numbers >= FIRST_WITH_CATCH_UP


def link_bps(sender: Sender, facts: Facts) -> int | None:
    """The rate of a sender's link: as the inventory says, else as the machine does."""
    return sender.rate if sender.rate is not None else facts.speed_bps


def _where(point: Point) -> tuple[str | None, str | None, str]:
    return point.ssh, point.netns, point.interface


def _refusals(stream: Stream, sender: str, tool: str, allow_default_route: bool) -> Sequence[str]:
    """Why nothing may be sent at an interface."""
    facts, interface = stream.facts, stream.sender.interface
    at = f"sender {stream.name}: interface {interface}"
    found = _capture_refusals(f"sender {stream.name}", stream.sender, facts, tool)
    if sender == TCPREPLAY and facts.tcpreplay is None:
        found.append(
            f"sender {stream.name}: tcpreplay is not installed (apt-get install tcpreplay), or choose --sender absolute"
        )
    if facts.loopback:
        found.append(f"{at} is a loopback, which leads to no network; name the one that leads there")
    if facts.exposed is not None and not allow_default_route:
        found.append(f"{at} {facts.exposed}: a replay could cut this machine off; add --i-mean-it if that is meant")
    longest = stream.load.longest_bytes - ETHERNET_HEADER_BYTES
    if facts.mtu is not None and longest > facts.mtu + _VLAN_TAG_BYTES * _tagged(stream.records):
        found.append(f"{at} has an MTU of {facts.mtu}, but packets of up to {longest} bytes are to be sent; raise it")
    link = link_bps(stream.sender, facts)
    if link is not None and stream.load.busiest_bps > link:
        found.append(
            f"{at} carries {write_rate(link)}, but {stream.load.busiest_bps / 1e9:.3f} Gbit/s are to be sent in the "
            "busiest 100 ms; forecast with a lower load"
        )
    return found


def _capture_refusals(what: str, point: Point, facts: Facts, tool: str) -> list[str]:
    found = []
    if facts.up is None:
        place = f" of {point.netns}" if point.netns else ""
        found.append(f"{what}: there is no interface {point.interface}{place} on {point.machine}")
    elif not facts.up:
        found.append(f"{what}: interface {point.interface} is down; ip link set {point.interface} up")
    if not facts.root:
        found.append(f"{what}: sending and capturing take root on {point.machine}; run it with sudo, or ssh as root")
    if not facts.capture:
        found.append(f"{what}: {tool} is not installed on {point.machine}")
    return found


def _tagged(records: Records) -> int:
    """1 if the first frame has a VLAN tag, which the MTU does not count."""
    first = records.first[0] + 16 + 12
    return int(records.data[records.file[0]][first : first + 2].tobytes() in (b"\x81\x00", b"\x88\xa8"))
