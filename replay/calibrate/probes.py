"""Writes probe trains for `segcast calibrate`: per path spaced packets, trains back to back, and trains that overflow.

The packets are UDP over IPv6, no two alike, in a capture per sending attachment with the scenario's SRv6 around them;
probes.json says which train is when. Trains follow each other in time over all paths, so none meets another.
"""

from __future__ import annotations

import ipaddress
import math
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from segcast.analyzer.network.fabric import Assembled, Attachment
from segcast.analyzer.network.model import ETHERNET_HEADER_BYTES, Network
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.schema import PACKET_FATES
from segcast.replay.calibrate.document import (
    OVERFLOW,
    PROBES_FILE,
    RATE,
    SCHEMA_VERSION,
    SINGLE,
    ProbesDocument,
    Train,
)
from segcast.replay.rewrite.of_forecast import encapsulation
from segcast.replay.rewrite.run import Hosts, rewrite_schedule
from segcast.traces.disk.documents import json_text
from segcast.traces.disk.folders import new_file
from segcast.traces.errors import InputError
from segcast.traces.schema import FLOWS

_START_NS: Final = 1_700_000_000 * 1_000_000_000
_SIZES: Final = (200, 1200)  # IP bytes
_SINGLES: Final = (14, 3)  # groups, and packets of each: the first wakes what sleeps and warms what is cold
_APART_NS: Final = 2_000_000
_CLOSE_NS: Final = 20_000
_TRAINS: Final = {RATE: 6, OVERFLOW: 3}
_MOST_PACKETS: Final = 6000
_RATE_PACKETS: Final = 300
_UNBOUNDED_BYTES: Final = 1 << 17
_SPARE_NS: Final = 4_000_000
_FILLINGS: Final = 4  # of the buffer that the scenario says
_MOST_PATHS: Final = 256
_PORT: Final = 9


def write_probes(scenario: ValidScenario, out: Path) -> ProbesDocument:
    """Write the probe trains of all paths between all attachments into `out`; returns what probes.json says.

    `out` is also what `segcast rewrite` writes, so that `segcast replay` sends it, a capture per attachment and named
    after it. Raises InputError if there are more than 256 paths, a packet of 1200 bytes does not fit `network.mtu`, or
    `out` is not to be written.
    """
    attachments = scenario.fabric().attachments
    pairs = [(a, b) for a in range(len(attachments)) for b in range(len(attachments)) if a != b]
    built = scenario.assembled(pairs)
    network = built.network
    if len(network.paths) > _MOST_PATHS:
        raise InputError(
            f"network: {len(network.paths)} paths to probe; at most {_MOST_PATHS}: probe a smaller scenario"
        )
    extra = max(path.srv6_bytes for path in network.paths)
    if scenario.network.mtu is not None and _SIZES[1] + extra > scenario.network.mtu:
        raise InputError(f"network.mtu {scenario.network.mtu} bytes: probes need {_SIZES[1] + extra}; raise it")
    trains: list[Train] = []
    times: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    now = _START_NS
    for path_id in range(len(network.paths)):
        for kind, ip_bytes, gaps_ns, rest_ns in _plan(network, path_id):
            send_ns = now + np.rint(np.cumsum(gaps_ns) - gaps_ns[0]).astype(np.int64)
            trains.append(
                Train(
                    path_id=path_id,
                    kind=kind,
                    ip_bytes=ip_bytes,
                    packets=len(gaps_ns),
                    first_ns=int(send_ns[0]),
                    last_ns=int(send_ns[-1]),
                )
            )
            times.append(send_ns)
            now = int(send_ns[-1]) + rest_ns
    _write(scenario, out, built, pairs, attachments, trains, times)
    document = ProbesDocument(
        schema_version=SCHEMA_VERSION,
        groups=[[attachments[a].name, attachments[b].name] for a, b in pairs],
        duration_ns=now - _START_NS,
        packets=sum(train.packets for train in trains),
        trains=trains,
    )
    with new_file(out / PROBES_FILE) as aside:
        aside.write_text(json_text(document, indent=None), encoding="utf-8")
    return document


def _plan(network: Network, path_id: int) -> Iterator[tuple[str, int, np.ndarray[Any, np.dtype[np.float64]], int]]:
    """Trains of a path: kind, size, gaps in ns (the first counts for nothing), and the idle time after it."""
    path = network.paths[path_id]
    links = [network.links[link] for link in path.links]
    rate_bps = min(link.rate_bps for link in links)
    buffers = [link.buffer_bytes for link in links if link.buffer_bytes is not None]
    room = min(buffers, default=_UNBOUNDED_BYTES)

    def lasting(size: float) -> float:
        return size * 8e9 / rate_bps

    # Twice the time that a buffer takes, for rates below those of the scenario.
    drained = int(2 * lasting(room + _UNBOUNDED_BYTES)) + _SPARE_NS
    for ip_bytes in _SIZES:
        frame = ETHERNET_HEADER_BYTES + ip_bytes + path.srv6_bytes
        groups, of_each = _SINGLES
        gaps_ns = np.full((groups, of_each), max(float(_CLOSE_NS), 2 * lasting(frame)))
        gaps_ns[:, 0] = max(float(_APART_NS), 4 * lasting(frame))
        yield SINGLE, ip_bytes, gaps_ns.ravel(), drained
    for ip_bytes in _SIZES:
        frame = ETHERNET_HEADER_BYTES + ip_bytes + path.srv6_bytes
        count = max(8, min(_RATE_PACKETS, int(0.7 * room / frame)))
        for _ in range(_TRAINS[RATE]):
            yield RATE, ip_bytes, np.zeros(count), drained
        if not buffers:
            continue
        pressed = _FILLINGS * room + _UNBOUNDED_BYTES
        for _ in range(_TRAINS[OVERFLOW]):
            count = min(_MOST_PACKETS, math.ceil(pressed / frame))
            yield OVERFLOW, ip_bytes, np.zeros(count), drained


def _address(prefixes: Sequence[str], number: int) -> str:
    """An IPv6 address behind an attachment."""
    own = [network for network in map(ipaddress.ip_network, prefixes) if network.version == 6 and network.prefixlen]
    return str(own[0][1] if own and own[0].num_addresses > 1 else ipaddress.IPv6Address(f"2001:db8:{number + 1:x}::1"))


def _write(
    scenario: ValidScenario,
    out: Path,
    built: Assembled,
    pairs: Sequence[tuple[int, int]],
    attachments: Sequence[Attachment],
    trains: Sequence[Train],
    times: Sequence[np.ndarray[Any, np.dtype[np.int64]]],
) -> None:
    """The packets as a capture, and that rewritten: what a schedule would make of it."""
    addresses = [_address(attachment.prefixes, number) for number, attachment in enumerate(attachments)]
    names = tuple(attachment.name for attachment in attachments)
    flows = [
        {field.name: 0 for field in FLOWS.arrow_schema() if not field.nullable}
        | {"flow_id": path_id, "ip_version": 6, "protocol": 17, "src_port": 1024 + path_id, "dst_port": _PORT}
        | {"src": addresses[pairs[path.group][0]], "dst": addresses[pairs[path.group][1]]}
        for path_id, path in enumerate(built.network.paths)
    ]
    path_ids = np.concatenate([np.full(train.packets, train.path_id) for train in trains])
    count = len(path_ids)
    columns: dict[str, Any] = {field.name: np.zeros(count, np.int64) for field in PACKET_FATES.arrow_schema()}
    columns |= {"frame_number": np.arange(1, count + 1), "flow_id": path_ids, "path_id": path_ids}
    columns |= {"send_ns": np.concatenate(times)}
    schema = PACKET_FATES.arrow_schema()
    schedule = pa.table([pa.array(columns[field.name]).cast(field.type) for field in schema], schema=schema)
    with tempfile.TemporaryDirectory() as aside:
        capture = Path(aside) / "probes.pcap"
        with capture.open("wb") as file:
            file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
            number = 0
            for train, send_ns in zip(trains, times, strict=True):
                flow = flows[train.path_id]
                ends = b"".join(ipaddress.IPv6Address(str(flow[side])).packed for side in ("src", "dst"))
                size = train.ip_bytes - 40
                head = bytes(12) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, size, 17, 64) + ends
                head += struct.pack("!HHHH", int(flow["src_port"]), _PORT, size, 0)
                for time_ns in send_ns.tolist():
                    frame = head + struct.pack("!Q", number) + bytes(size - 16)
                    file.write(struct.pack("<IIII", time_ns // 10**9, time_ns % 10**9, len(frame), len(frame)) + frame)
                    number += 1
        rewrite_schedule(
            schedule,
            pa.Table.from_pylist(flows, FLOWS.arrow_schema()),
            [capture],
            encapsulation(scenario, built, len(names), steered=True),
            Hosts(names, np.array([pairs[path.group][0] for path in built.network.paths], np.int64)),
            out,
            cell="probes",
            sids=scenario.sid_table(built),
        )
