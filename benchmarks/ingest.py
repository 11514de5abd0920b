"""How fast captures become tables, beside other decoders: `python benchmarks/ingest.py [--packets N]`.

Writes a header-only capture (deterministic, nanosecond pcap, TCP and UDP over IPv4, 54 or 66 bytes of each frame, about
50,000 flows) into a temporary folder, and measures in one run: the cold first ingest (kernels compiled into an empty
cache), the warm one (a fresh process, kernels cached), the steady one (the same process again), each stage alone on one
core, a plain read of the bytes by `readinto` and by `mmap`, and tshark and dpkt on a slice.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SEED = 1
FLOWS = 50_000
SLICE = 200_000
ROOT = Path(__file__).parents[1]


def synthesise(path: Path, packets: int, slice_path: Path) -> None:
    """TCP and UDP over IPv4, 54 captured bytes (66 with TCP options), both directions of `FLOWS` / 2 conversations."""
    rng = np.random.default_rng(SEED)
    conversation = (rng.pareto(1.1, packets) * 50).astype(np.int64) % (FLOWS // 2)
    backward = rng.random(packets) < 0.4
    udp = conversation % 10 == 0
    options = (conversation % 3 == 0) & ~udp
    captured = np.where(options, 66, 54)
    payload = np.where(backward, 0, rng.choice([0, 100, 1448], packets))
    frame = np.zeros(packets, [("header", "<u4", 4), ("bytes", "u1", 66)])
    time_ns = 1_700_000_000_000_000_000 + np.cumsum(rng.exponential(700, packets).astype(np.int64))
    frame["header"][:, 0], frame["header"][:, 1] = time_ns // 10**9, time_ns % 10**9
    frame["header"][:, 2] = captured
    transport = np.where(udp, 8, np.where(options, 32, 20))
    ip_bytes = 20 + transport + payload
    frame["header"][:, 3] = np.maximum(14 + ip_bytes, 60)
    b = frame["bytes"]

    def put(at: int, size: int, value: Any) -> None:
        value = np.broadcast_to(np.asarray(value, np.int64), packets)
        for k in range(size):
            b[:, at + k] = (value >> (8 * (size - 1 - k))) & 0xFF

    put(12, 2, 0x0800)
    put(14, 2, 0x4500)
    put(16, 2, ip_bytes)
    put(18, 2, np.arange(packets) & 0xFFFF)
    put(22, 1, 64)
    put(23, 1, np.where(udp, 17, 6))
    client, server = 0x0A000000 + conversation % 997, 0x0A010000 + conversation % 61
    put(26, 4, np.where(backward, server, client))
    put(30, 4, np.where(backward, client, server))
    client_port = 10_000 + conversation // 2
    put(34, 2, np.where(backward, 443, client_port))
    put(36, 2, np.where(backward, client_port, 443))
    put(38, 4, np.where(udp, (8 + payload) << 16, np.cumsum(payload) & 0xFFFFFFFF))
    put(42, 4, np.where(udp, 0, np.cumsum(payload) & 0xFFFFFFFF))
    put(46, 1, np.where(udp, 0, transport << 2))
    put(47, 1, 0x10)
    put(48, 2, 502)
    packed = frame.view(np.uint8).reshape(packets, 82)
    keep = np.arange(82) < (16 + captured)[:, None]
    head = np.array([0xA1B23C4D, 0x00040002, 0, 0, 65535, 1], "<u4").tobytes()
    with path.open("wb") as file, slice_path.open("wb") as part:
        file.write(head)
        part.write(head)
        for begin in range(0, packets, 500_000):
            rows = slice(begin, begin + 500_000)
            file.write(packed[rows][keep[rows]].tobytes())
        part.write(packed[:SLICE][keep[:SLICE]].tobytes())


def seconds(run: Callable[[], object], repeats: int = 3) -> float:
    """The best of some runs."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best


def fresh_process(capture: Path, out: Path, cache: Path) -> float:
    """Seconds of an ingest in a process of its own, from its start to its end."""
    code = "import sys; from traces.store import ingest; ingest([sys.argv[1]], sys.argv[2])"
    begin = time.perf_counter()
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(capture), str(out)], check=True, env=environment)
    return time.perf_counter() - begin


def stages(capture: Path) -> dict[str, float]:
    """Seconds of each stage over the whole capture on one core, bytes in memory buffers one at a time."""
    from traces.capture import BATCH_FRAMES, read_frames
    from traces.decode import Decoder, allocate
    from traces.flows import Flows
    from traces.survey import Survey

    spent = dict.fromkeys(("frame", "decode", "flows", "survey"), 0.0)
    into, ids = allocate(BATCH_FRAMES), np.empty(BATCH_FRAMES, np.uint32)
    decoder, flows, survey = Decoder(), Flows(), Survey()
    clock = time.perf_counter
    with read_frames(capture) as reader:
        while True:
            begin = clock()
            batch = next(reader, None)
            framed = clock()
            spent["frame"] += framed - begin
            if batch is None:
                return spent
            headers = decoder.decode(batch, into)
            decoded = clock()
            flows.add(headers, batch.time_ns, batch.wire, ids[: len(batch.start)])
            assigned = clock()
            survey.add(batch, headers)
            spent["decode"] += decoded - framed
            spent["flows"] += assigned - decoded
            spent["survey"] += clock() - assigned


def read_plainly(capture: Path) -> None:
    buffer = bytearray(4 << 20)
    with capture.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def read_mapped(capture: Path) -> None:
    with capture.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        int(view[::4096].sum())
        del view


def walk(capture: Path, mapped: bool) -> None:
    """Framing and decoding, over a mapping or over buffers that a thread reads."""
    from traces import framing
    from traces.capture import FrameBatch, read_frames
    from traces.decode import allocate, decode_batch

    rows = 1 << 16
    into = allocate(rows)
    if not mapped:
        with read_frames(capture) as reader:
            for batch in reader:
                decode_batch(batch, into)
        return
    types = (np.int64, np.uint32, np.uint32, np.int64, np.uint16, np.uint64)
    out = framing.FrameColumns._make(np.empty(rows, dtype) for dtype in types)
    layout = np.array([0, 1, 16, 1, 0], np.int64)
    data = np.memmap(capture, np.uint8, "c").view(np.ndarray)
    position, status = 24, framing.FULL
    while status == framing.FULL:
        count, position, status = framing.frame_pcap(data, position, len(data), 0, layout, out)
        o = framing.FrameColumns._make(column[:count] for column in out)
        decode_batch(FrameBatch(data, o.start, o.captured, o.wire, o.time_ns, o.linktype, 1, o.file_offset), into)


def dpkt_decode(path: Path) -> None:
    import dpkt

    with path.open("rb") as file:
        for _, data in dpkt.pcap.Reader(file):
            packet = dpkt.ethernet.Ethernet(data)
            if isinstance(packet.data, dpkt.ip.IP):
                _ = packet.data.src, packet.data.dst, packet.data.len


def tshark_decode(path: Path) -> None:
    names = "frame.time_epoch ip.src ip.dst ip.len tcp.srcport tcp.dstport tcp.seq tcp.ack tcp.flags"
    command = [
        "tshark",
        "-n",
        "-r",
        str(path),
        "-T",
        "fields",
        *(word for field in names.split() for word in ("-e", field)),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packets", type=int, default=5_000_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    from traces.store import ingest

    results: dict[str, float] = {}  # packets a second
    with tempfile.TemporaryDirectory(prefix="segcast-bench-") as name:
        folder = Path(name)
        capture, part = folder / "c.pcap", folder / "slice.pcap"
        synthesise(capture, arguments.packets, part)
        packets = arguments.packets
        results["ingest, cold (compiles)"] = packets / fresh_process(capture, folder / "t", folder / "cache")
        results["ingest, warm (fresh process)"] = packets / fresh_process(capture, folder / "t", folder / "cache")
        ingest([part], folder / "t")
        results["ingest, steady"] = packets / seconds(lambda: ingest([capture], folder / "t"), 5)
        size = sum(path.stat().st_size for path in (folder / "t").rglob("*") if path.is_file())
        stages(part)
        spent = stages(capture)
        results["frame + decode + flows, one core"] = packets / (spent["frame"] + spent["decode"] + spent["flows"])
        for stage, value in spent.items():
            results[f"  {stage} alone"] = packets / value
        walk(part, True)
        results["read + frame + decode, readinto"] = packets / seconds(lambda: walk(capture, False))
        results["read + frame + decode, mmap"] = packets / seconds(lambda: walk(capture, True))
        results["read the bytes, readinto"] = packets / seconds(lambda: read_plainly(capture))
        results["read the bytes, mmap"] = packets / seconds(lambda: read_mapped(capture))
        slice_packets = min(SLICE, packets)
        results["dpkt"] = slice_packets / seconds(lambda: dpkt_decode(part), 1)
        if shutil.which("tshark"):
            results["tshark"] = slice_packets / seconds(lambda: tshark_decode(part), 1)
        capture_bytes = capture.stat().st_size
    if arguments.json:
        print(json.dumps({"packets": packets, "capture_bytes": capture_bytes, "packets_per_s": results}, indent=1))
        return
    print(f"{packets:,} packets, {capture_bytes:,} bytes of capture, {size:,} bytes of trace, {os.cpu_count()} cores")
    base = results["ingest, steady"]
    for label, rate in results.items():
        print(f"{label:36} {rate / 1e6:8.2f} M packets/s   {rate / base:8.3f} x ingest")


if __name__ == "__main__":
    main()
