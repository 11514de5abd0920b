"""Run folders for the tests of measurement: a rewrite, sent through links as the slow twin knows them."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.rewrite.run import RewriteSummary
from tests.support.networks import both_ways
from tests.twins import matching as twin
from tests.twins.srv6 import Record, folded_sum, parse_frame, read_pcap

MAGIC = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)


def write_pcap(path: Path, records: Sequence[tuple[int, bytes]], snaplen: int = 1 << 18) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        out.write(MAGIC)
        for time_ns, frame in records:
            kept = frame[:snaplen]
            out.write(struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(kept), len(frame)) + kept)


def unpacked(frame: bytes, mode: str) -> bytes:
    """The frame as the receiver gets it: decapsulated, one hop on."""
    packet = bytearray(parse_frame(frame, mode).inner)
    if packet[0] >> 4 == 4:
        packet[8] = packet[8] - 1 & 255
        packet[10:12] = b"\0\0"
        packet[10:12] = (0xFFFF - folded_sum(bytes(packet[: packet[0] % 16 * 4]))).to_bytes(2, "big")
    else:
        packet[7] = packet[7] - 1 & 255
    return bytes(12) + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + bytes(packet)


@dataclass
class Net:
    """How the packets of a run travel: a base delay, links of the scenario with a burst, clocks per receiving side."""

    base_ns: int = 40_000
    jitter_ns: int = 0
    wake_ns: int = 0  # more for a packet on a path that was idle for a millisecond
    burst: int = 0
    late_ns: Callable[[int], int] = lambda number: 0
    fails: Callable[[int], bool] = lambda number: False
    twice: Callable[[int], bool] = lambda number: False
    snaplen: int = 1 << 18
    receiver_clock: str = "lab"
    shows: Callable[[int], int] = lambda time_ns: time_ns
    fates: dict[tuple[str, int], tuple[int, int | None]] = field(default_factory=dict)


def run_folder(
    folder: Path,
    scenario: ValidScenario,
    summary: RewriteSummary,
    forecast: Path | None,
    path_of: Callable[[bytes], int],
    net: Net,
) -> Path:
    """Write RUN for a rewrite over parallel paths; `path_of(frame)` says where a frame goes.

    `net.fates` then holds what happened: by host and number of the planned packet, when sent and when received.
    """
    rng = random.Random(5)
    network = both_ways(scenario).network
    senders: list[dict[str, Any]] = []
    frames: list[tuple[int, str, int, bytes]] = []
    for file in summary.files:
        name = Path(file.path).name
        records = [(record.time_ns, record.frame) for record in read_pcap(Path(file.path))]
        write_pcap(folder / "planned" / name, records)
        sent = [
            (time_ns + net.late_ns(number), file.host, number, frame)
            for number, (time_ns, frame) in enumerate(records)
            if not net.fails(number)
        ]
        sent.sort(key=lambda item: item[0])
        frames += sent
        write_pcap(folder / "sent" / name, [(item[0], item[3]) for item in sent], net.snaplen)
        entry = {"host": file.host, "interface": "e0", "clock": "lab", "sent": len(sent), "dropped_by_capture": 0}
        entry |= {"planned": f"planned/{name}", "capture": f"sent/{name}", "failed": len(records) - len(sent)}
        senders.append(entry)
    frames.sort(key=lambda item: item[0])
    by_path: dict[int, list[tuple[int, str, int, bytes]]] = {}
    for item in frames:
        by_path.setdefault(path_of(item[3]), []).append(item)
    came: dict[int, list[tuple[int, bytes]]] = {0: [], 1: []}
    for path, items in by_path.items():
        times: list[int | None] = [item[0] for item in items]
        for number in network.paths[path].links:
            link = network.links[number]
            alive = [k for k, time_ns in enumerate(times) if time_ns is not None]
            arrivals = [(times[k] or 0, len(items[k][3])) for k in alive]
            left = twin.link(arrivals, link.rate_bps, link.delay_ns, link.buffer_bytes, link.overhead_bytes, net.burst)
            for k, passed in zip(alive, left, strict=True):
                times[k] = None if passed is None else passed[0]
        before_ns = 0
        for (sent_ns, host, number, frame), time_ns in zip(items, times, strict=True):
            idle_ns, before_ns = sent_ns - before_ns, sent_ns
            if time_ns is not None:
                time_ns += net.base_ns + rng.randint(0, net.jitter_ns) + net.wake_ns * (idle_ns > 10**6)
                copies = 2 if net.twice(number) else 1
                seen = [(net.shows(time_ns) + 1000 * k, unpacked(frame, summary.mode)) for k in range(copies)]
                came[network.paths[path].group] += seen
            net.fates[host, number] = (sent_ns, time_ns)
    receivers = []
    for group, side in enumerate(("right", "left")):
        records = sorted(came[group], key=lambda item: item[0])
        write_pcap(folder / "received" / f"{side}.pcap", records, net.snaplen)
        entry = {"host": side, "attachment": side, "interface": "e0", "clock": net.receiver_clock}
        receivers.append(entry | {"capture": f"received/{side}.pcap", "dropped_by_capture": 0})
    write_run(folder, summary, forecast, senders, receivers)
    return folder


def write_run(
    folder: Path,
    summary: RewriteSummary,
    forecast: Path | None,
    senders: list[dict[str, Any]],
    receivers: list[dict[str, Any]],
    **changes: Any,
) -> None:
    document = {"schema_version": 1, "complete": True, "reason": None, "started_ns": 0, "ended_ns": 0, "transit": []}
    document |= {"forecast": None if forecast is None else str(forecast), "rewrite": summary.folder}
    document |= {"cell": summary.cell, "tcpreplay": {"version": "none", "compensation_ns": 0}}
    (folder / "run.json").write_text(json.dumps(document | {"senders": senders, "receivers": receivers} | changes))


__all__ = ["Net", "Record", "run_folder", "unpacked", "write_pcap", "write_run"]
