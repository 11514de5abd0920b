"""A sender that keeps time: frames of captures at absolute instants, over raw sockets, from one process.

    python3 absolute.py INSTANT_NS NETNS INTERFACE FILE [NETNS INTERFACE FILE ...]

The first record of all files is sent at INSTANT_NS of the system's clock, the others as long after it as they are
stamped; NETNS is "-" for the namespace that this runs in. It needs nothing but the standard library, so that it can be
copied to another machine. A gap is slept through but for its end, which is waited for without sleeping. On the way out,
also by SIGTERM, it prints one JSON document with `sent` and `failed` for each file. Linux only: packet(7), setns(2).
"""

from __future__ import annotations

import ctypes
import gc
import heapq
import json
import mmap
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MAGIC = 0xA1B23C4D
_AWAKE_NS = 300_000
_CLONE_NEWNET = 0x40000000


class Record(NamedTuple):
    """A frame to send: when, from which file, and where in it."""

    time_ns: int
    file: int
    first: int
    last: int


def records(data: mmap.mmap, file: int) -> Iterator[Record]:
    """The records of a nanosecond pcap, little-endian."""
    if struct.unpack_from("<I", data)[0] != _MAGIC:
        raise SystemExit(f"file {file + 1} is no nanosecond pcap")
    at, header = 24, struct.Struct("<III")
    while at + 16 <= len(data):
        seconds, nanoseconds, size = header.unpack_from(data, at)
        yield Record(seconds * 1_000_000_000 + nanoseconds, file, at + 16, at + 16 + size)
        at += 16 + size


def opened(space: str, interface: str) -> socket.socket:
    """A raw socket on an interface of a namespace; this process stays there."""
    if space != "-":
        handle = os.open(f"/run/netns/{space}", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(handle, _CLONE_NEWNET) != 0:
            raise SystemExit(f"namespace {space}: {os.strerror(ctypes.get_errno())}")
        os.close(handle)
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.bind((interface, 0))
    return made


def main(arguments: list[str]) -> int:
    """Send; 0 if every frame was handed over."""
    start_ns = int(arguments[0])
    triples = [arguments[at : at + 3] for at in range(1, len(arguments), 3)]
    sent, failed = [0] * len(triples), [0] * len(triples)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        data = []
        for _, _, path in triples:
            with Path(path).open("rb") as opened_file:
                data.append(mmap.mmap(opened_file.fileno(), 0, prot=mmap.PROT_READ))
        views = [memoryview(content) for content in data]
        sends = [opened(space, interface).send for space, interface, _ in triples]
        gc.disable()
        shift = None
        clock = time.time_ns
        for time_ns, file, first, last in heapq.merge(*(records(content, n) for n, content in enumerate(data))):
            if shift is None:
                shift = start_ns - time_ns
            instant = time_ns + shift
            left = instant - clock()
            if left > 2 * _AWAKE_NS:
                time.sleep((left - _AWAKE_NS) / 1e9)
            while clock() < instant:
                pass
            try:
                sends[file](views[file][first:last])
                sent[file] += 1
            except OSError:
                failed[file] += 1
    finally:
        rows = [{"file": path, "sent": sent[n], "failed": failed[n]} for n, (_, _, path) in enumerate(triples)]
        print(json.dumps(rows), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
