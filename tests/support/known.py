"""Captures whose best remedy is known from how they are made."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segcast.traces.ingest.opening import open_trace
from segcast.traces.trace import Trace

PACKET_BYTES = 1212
LINK_BYTES = 1250  # of a packet, with Ethernet's header and overhead
_BEGIN_NS = 10**18


@dataclass(frozen=True)
class Flows:
    """UDP flows: when each sends its packets, and between which hosts; ports tell flows of the same hosts apart."""

    times_ns: list[NDArray[np.int64]]
    source: list[int]
    target: list[int]

    def write(self, file: Path) -> Trace:
        """The trace of a capture of them, from 10.0.0.0/16 to 10.1.0.0/16."""
        flow = np.repeat(np.arange(len(self.times_ns)), [len(times) for times in self.times_ns])
        time_ns = np.concatenate(self.times_ns).astype(np.int64) + _BEGIN_NS
        order = np.argsort(time_ns, kind="stable")
        flow, time_ns = flow[order], time_ns[order]
        frame = np.zeros((len(flow), 16 + 42), np.uint8)
        header = np.empty((len(flow), 4), "<u4")
        header[:, 0], header[:, 1] = np.divmod(time_ns, 10**9)
        header[:, 2], header[:, 3] = 42, PACKET_BYTES + 14
        frame[:, :16] = header.view(np.uint8).reshape(-1, 16)
        ends = zip(self.source, self.target, strict=True)
        frame[:, 16:] = np.array([_headers(number, a, b) for number, (a, b) in enumerate(ends)])[flow]
        frame[:, 16 + 18 : 16 + 20] = (np.arange(len(flow)) % 65536).astype(">u2").view(np.uint8).reshape(-1, 2)  # id
        file.write_bytes(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1) + frame.tobytes())
        return open_trace(file, say=lambda text: None)


def _headers(number: int, source: int, target: int) -> NDArray[np.uint8]:
    ethernet = bytes.fromhex("0200000000020200000000010800")
    ends = bytes([10, 0, *divmod(source + 1, 256)]), bytes([10, 1, *divmod(target + 1, 256)])
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, PACKET_BYTES, 0, 0, 64, 17, 0, *ends)
    return np.frombuffer(ethernet + ip + struct.pack("!HHHH", 1024 + number, 53, PACKET_BYTES - 20, 0), np.uint8)


def service_ns(rate_bps: float) -> float:
    """What a packet takes on a link."""
    return LINK_BYTES * 8e9 / rate_bps


def paced_bursts(seed: int, flows: int = 40, share: float = 0.65, span_ns: float = 2e8) -> Flows:
    """Flows of one host in bursts of 4 packets, with pauses of about 0.6 ms a burst: `share` of 4 links of 1 Gbit/s.

    Its host knows what it has in flight, so flowlets even out what a hash cannot; within bursts nothing can move.
    """
    rng = np.random.default_rng(seed)
    pace = service_ns(1e9)
    period = flows * 4 * pace / (4 * share)
    times = []
    for _ in range(flows):
        begins = np.cumsum(rng.uniform(0.6, 1.4, int(span_ns / period)) * period)
        times.append((begins[:, None] + np.arange(4) * pace).ravel().astype(np.int64))
    return Flows(times, [0] * flows, [number % 8 for number in range(flows)])


def steady_streams(seed: int, flows: int = 24, share: float = 0.7, span_ns: float = 2e7) -> Flows:
    """A flow a host, none with a pause of 16 us: `share` of 4 links of a quarter of a Gbit/s a flow.

    Nothing can move, and all begin at once, before anybody knows of another: only packets on all paths even out what a
    hash does not.
    """
    rng = np.random.default_rng(seed)
    gap = flows * service_ns(flows * 0.25e9) / (4 * share)
    assert gap * 1.1 < 16_000
    count = int(span_ns / gap)
    times = [rng.uniform(0, gap) + np.cumsum(rng.uniform(0.9, 1.1, count) * gap) for _ in range(flows)]
    return Flows([each.astype(np.int64) for each in times], list(range(flows)), list(range(flows)))


def many_mice(
    seed: int, flows: int = 300, hosts: tuple[int, int] = (8, 8), rate_pps: float = 2e5, span_ns: float = 2e8
) -> Flows:
    """Flows between `hosts` that send packets at random times, `rate_pps` of all together."""
    rng = np.random.default_rng(seed)
    mean = rate_pps * span_ns / 1e9 / flows
    times = [np.sort(rng.uniform(0, span_ns, rng.poisson(mean) + 1)).astype(np.int64) for _ in range(flows)]
    source, target = (rng.integers(0, count, flows).tolist() for count in hosts)
    return Flows(times, source, target)


def conversations(seed: int, connections: int = 48, messages: int = 20) -> str:
    """A flow list: connections that send 300 kB again and again, thinking 4.5 ms in the mean before each.

    A hash puts a connection on one path for good, and any hash does: those that share a path collide again and again.
    Each message follows a pause in which nothing is under way, so a flowlet may take whichever path has least.
    """
    rng = np.random.default_rng(seed)
    lines = ["flow,start_ns,src,dst,bytes,after,think_ns,connection"]
    for connection in range(connections):
        ends = f"10.0.0.{1 + connection % 8},10.0.1.{1 + int(rng.integers(8))},300000"
        for message in range(messages):
            begins = str(int(rng.integers(0, 4_500_000))) if message == 0 else ""
            waits = "," if message == 0 else f"c{connection}m{message - 1},{int(rng.exponential(4_500_000))}"
            lines.append(f"c{connection}m{message},{begins},{ends},{waits},c{connection}")
    return "\n".join(lines) + "\n"
