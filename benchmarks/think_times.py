"""Think times of real TCP against the applications' own clocks: `python -m benchmarks.think_times`, as root.

Two network namespaces are joined by TUN devices, between which this program carries packets: half a round trip later,
or not at all. The same applications talk over it at two round trips and two losses; tcpdump records at both ends.
`segcast workload` tells sizes and think times from each capture, and the hosts' clocks say what they were. A minute;
on a busy machine under `chrt --rr 50`, for what waits for a processor between wire and application counts as thinking.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import polars as pl

from benchmarks.measuring import run
from segcast.analyzer.workload.reading import read_workload
from segcast.traces.ingest.run import ingest

T = TypeVar("T")
Script = list[tuple[int, int, int]]  # side, bytes, think time in ms

NETWORKS = [(1, 0.0), (20, 0.0), (1, 0.01), (20, 0.01)]
SIZES, THINKS_MS = [200, 1_000, 3_000, 20_000, 100_000], [0, 2, 10, 30, 80, 300]
NEAR_MS = 1.0
ADDRESSES, PORT, FIRST_PORT = ("10.9.0.1", "10.9.0.2"), 7000, 20_000
CLONE_NEWNET, TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x40000000, 0x400454CA, 0x0001, 0x1000


def within(namespace: str, function: Callable[[], T]) -> T:
    """What a function returns in a network namespace; sockets and devices that it makes stay there."""
    found: list[T] = []

    def enter() -> None:
        handle = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(handle, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(handle)
        found.append(function())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return found[0]


def tun() -> int:
    """A TUN device of this namespace."""
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"tun0", IFF_TUN | IFF_NO_PI))
    return device


def carry(devices: tuple[int, int], rtt_ms: float, loss: float) -> NoReturn:
    """Carry packets both ways until killed, each half a round trip later unless it is lost."""

    def one_way(source: int, target: int, draws: random.Random) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        there = threading.Semaphore(0)

        def deliver() -> None:
            while there.acquire():
                due_s, packet = waiting.popleft()
                time.sleep(max(0.0, due_s - time.monotonic()))
                os.write(target, packet)

        threading.Thread(target=deliver, daemon=True).start()
        while packet := os.read(source, 4096):
            if draws.random() >= loss:
                waiting.append((time.monotonic() + rtt_ms / 2000, packet))
                there.release()

    for seed, ends in enumerate((devices, devices[::-1])):
        threading.Thread(target=one_way, args=(*ends, random.Random(seed)), daemon=True).start()
    while True:
        signal.pause()


def play(connection: socket.socket, side: int, script: Script, thought_ns: dict[int, int]) -> None:
    """One side of a script; `thought_ns` gets how long it really took from the last byte received to sending."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    since_ns = time.monotonic_ns()
    for step, (who, size, think_ms) in enumerate(script):
        if who == side:
            time.sleep(think_ms / 1000)
            thought_ns[step] = time.monotonic_ns() - since_ns
            connection.sendall(bytes(size))
        else:
            left = size
            while left:
                left -= len(connection.recv(min(left, 1 << 16))) or sys.exit("a connection ended early")
            since_ns = time.monotonic_ns()


def record(folder: Path, scripts: list[Script], rtt_ms: float, loss: float) -> list[dict[int, int]]:
    """Captures `0.pcap` and `1.pcap` of both ends, and what the hosts' clocks say of each connection's think times."""
    spaces = [f"segcast-think{side}-{os.getpid()}" for side in (0, 1)]
    started: list[subprocess.Popen[bytes]] = []
    carrier = 0
    try:
        devices: list[int] = []
        for name, address in zip(spaces, ADDRESSES, strict=True):
            subprocess.run(["ip", "netns", "add", name], check=True)
            devices.append(within(name, tun))
            subprocess.run(["ip", "-n", name, "addr", "add", f"{address}/30", "dev", "tun0"], check=True)
            subprocess.run(["ip", "-n", name, "link", "set", "tun0", "up"], check=True)
        carrier = os.fork()
        if carrier == 0:
            carry((devices[0], devices[1]), rtt_ms, loss)
        for side, name in enumerate(spaces):
            dump = ["tcpdump", "-i", "tun0", "-n", "-s", "100", "-U", "--immediate-mode", "-Z", "root"]
            dump += ["--time-stamp-precision=nano", "-w", str(folder / f"{side}.pcap"), "tcp"]
            started.append(subprocess.Popen(["ip", "netns", "exec", name, *dump], stderr=subprocess.DEVNULL))
        time.sleep(1)
        thought_ns = talk(spaces, scripts)
        time.sleep(1)
        return thought_ns
    finally:
        for process in started:
            process.terminate()
            process.wait()
        if carrier:
            os.kill(carrier, signal.SIGKILL)
            os.waitpid(carrier, 0)
        for name in spaces:
            subprocess.run(["ip", "netns", "del", name], check=False)


def talk(spaces: list[str], scripts: list[Script]) -> list[dict[int, int]]:
    """Let all connections talk, each begun 50 ms after the one before."""
    thought_ns: list[dict[int, int]] = [{} for _ in scripts]
    server = within(spaces[1], socket.socket)
    server.bind((ADDRESSES[1], PORT))
    server.listen(len(scripts))

    def serve() -> None:
        connection, (_, port) = server.accept()
        with connection:
            play(connection, 1, scripts[port - FIRST_PORT], thought_ns[port - FIRST_PORT])
            connection.recv(1)

    def ask(number: int) -> None:
        time.sleep(number / 20)
        with within(spaces[0], socket.socket) as connection:
            connection.bind((ADDRESSES[0], FIRST_PORT + number))
            connection.connect((ADDRESSES[1], PORT))
            play(connection, 0, scripts[number], thought_ns[number])

    threads = [threading.Thread(target=serve) for _ in scripts]
    threads += [threading.Thread(target=ask, args=(number,)) for number in range(len(scripts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.close()
    return thought_ns


def told(folder: Path, side: int) -> dict[int, list[tuple[int, int, int]]]:
    """Side, bytes and think time of the messages of each connection, by its number."""
    trace = ingest([folder / f"{side}.pcap"], folder / f"{side}.trace")
    out = folder / f"{side}.parquet"
    run([sys.executable, "-m", "segcast", "workload", trace.folder, "--out", out])
    ports = trace.flows.select(pl.max_horizontal("src_port", "dst_port")).to_series().to_list()
    workload = read_workload(out)
    found: dict[int, list[tuple[int, int, int]]] = {}
    for row in range(len(workload)):
        who = ADDRESSES.index(workload.host(int(workload.source[row])))
        flow = int(workload.connection_name[int(workload.connection[row])].as_py())
        message = who, int(workload.bytes[row]), int(workload.think_ns[row])
        found.setdefault(ports[flow] - FIRST_PORT, []).append(message)
    return found


def main() -> None:
    """Print, for each network and capture point, how what was told agrees with what the applications did."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=12, help="requests of a connection, each with its response")
    chosen = parser.parse_args()
    draws = random.Random(5)
    scripts: list[Script] = [
        [(side, draws.choice(SIZES), draws.choice(THINKS_MS)) for _ in range(chosen.epochs) for side in (0, 1)]
        for _ in range(chosen.connections)
    ]
    print("RTT     loss  captured at  connections told  think times: sum  within 5 % or 1 ms  p99 of the error")
    for rtt_ms, loss in NETWORKS:
        with tempfile.TemporaryDirectory() as name:
            thought_ns = record(Path(name), scripts, rtt_ms, loss)
            for side, where in enumerate(("client", "server")):
                found = told(Path(name), side)
                same, pairs = 0, []
                for number, (script, clock) in enumerate(zip(scripts, thought_ns, strict=True)):
                    messages = found.get(number, [])
                    if [each[:2] for each in messages] == [each[:2] for each in script]:
                        same += 1
                        pairs += [(each[2], clock[step]) for step, each in enumerate(messages) if step]
                thinks, truth = (np.array(column) / 1e6 for column in zip(*pairs, strict=True))
                off_ms = np.abs(thinks - truth)
                near = float((off_ms <= np.maximum(0.05 * truth, NEAR_MS)).mean())
                print(
                    f"{rtt_ms:>2} ms  {loss:>5.0%}  {where:<11}  {same:>6} of {len(scripts):<6}  "
                    f"{thinks.sum() / truth.sum() - 1:>+16.1%}  {near:>19.1%}  {np.quantile(off_ms, 0.99):>13.1f} ms",
                    flush=True,
                )


if __name__ == "__main__":
    main()
