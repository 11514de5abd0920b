"""Captures of UDP packets at chosen times, for queues whose figures are known."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from segcast.traces.ingest.opening import open_trace
from segcast.traces.trace import Trace

SERVICE_NS = 10_000
"""What a link of 1 Gbit/s takes for a packet of `capture`."""
_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 1)
_ETHERNET = bytes.fromhex("0200000000020200000000010800")
_EPOCH_NS = 10**18


def capture(file: Path, times_ns: Any, flows: int = 1) -> Trace:
    """A trace of UDP packets that take 1250 bytes of a link each, of so many flows in turn."""
    times_ns = np.asarray(times_ns, np.int64) + _EPOCH_NS
    frame = np.zeros((len(times_ns), 16 + 42), np.uint8)
    header = np.empty((len(times_ns), 4), "<u4")
    header[:, 0], header[:, 1] = np.divmod(times_ns, 10**9)
    header[:, 2], header[:, 3] = 42, 1226
    frame[:, :16] = header.view(np.uint8).reshape(-1, 16)
    frame[:, 16:] = np.frombuffer(_udp("10.0.0.1", "10.0.1.1", 1000, 1212), np.uint8)
    frame[:, 16 + 34 + 1] = np.arange(len(times_ns)) % flows  # low byte of the source port
    file.write_bytes(_HEADER + frame.tobytes())
    return open_trace(file, say=lambda text: None)


def sent(file: Path, rows: Iterable[tuple[int, str, str, int, int]]) -> Trace:
    """A trace of UDP packets in order of time: nanosecond, source, target, source port, IP bytes."""
    records = []
    for time_ns, source, target, port, ip_bytes in rows:
        seconds, rest = divmod(time_ns + _EPOCH_NS, 10**9)
        records.append(struct.pack("<IIII", seconds, rest, 42, 14 + ip_bytes) + _udp(source, target, port, ip_bytes))
    file.write_bytes(_HEADER + b"".join(records))
    return open_trace(file, say=lambda text: None)


def _udp(source: str, target: str, port: int, ip_bytes: int) -> bytes:
    ends = (ipaddress.IPv4Address(source).packed, ipaddress.IPv4Address(target).packed)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, ip_bytes, 0, 0, 64, 17, 0, *ends)
    return _ETHERNET + ip + struct.pack("!HHHH", port, 53, ip_bytes - 20, 0)
