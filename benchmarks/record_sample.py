#!/usr/bin/env python3
"""Record `cluster.pcap.gz`, the bundled sample: real TCP and UDP between hosts in network namespaces, as on a wire.

To record again (Linux, root; packages iproute2, ethtool and tcpdump; 10 s, best on an idle machine):

    sudo python3 benchmarks/record_sample.py [--seed N] [--out FILE.pcap.gz]

What it makes: 5 clients on one switch and 4 servers on another, every link 1 Gbit/s, IPv4 and IPv6. The
capture is of the trunk between the switches, where every frame between client and server passes once.
The workload (who asks whom, how much, think times) comes from the seed; the timing is the kernel's.
Namespaces are named after this process and removed on every way out short of SIGKILL, Ctrl-C included.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gzip
import math
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any, NoReturn

CLIENTS, SERVERS = 5, 4
HOSTS = [("server", index) for index in range(SERVERS)] + [("client", index) for index in range(CLIENTS)]
SIDES = {"client": 1, "server": 2}  # their place in addresses
LINK_RATE, LINK_BURST_BYTES = "1gbit", 10_000  # a smaller burst makes TBF drain below its rate
HOST_QUEUE_BYTES, SWITCH_QUEUE_BYTES = 300_000, 40_000  # a switch may drop in an incast, a host never does
SNAPLEN_BYTES = 114  # Ethernet 14 + IPv6 40 + TCP with all its options 60
CAPTURE_FILTER = "tcp or udp or arp or icmp or icmp6"  # leaves out multicast listener reports
MIN_PACKETS, MIN_FLOWS = 20_000, 300
WORKLOAD_S = 3.2  # connections start in the first nine tenths of it
LIFETIME_S = 30  # of every process here, also of a host whose parent was killed outright
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
HOST_COMMAND = "_host"
PORT = 8080
REQUEST = struct.Struct("!IIII")  # bytes that follow, bytes of the reply, its pieces, pause before each in us


class RecordError(Exception):
    """Recording cannot go on; the text is one line: what, and how to mend it."""


# ---- hosts: each runs in its own namespace as a process of its own ----
def address(role: str, index: int, version: int) -> str:
    """The address of client or server `index` in IP version 4 or 6."""
    side, number = SIDES[role], index + 1
    return f"10.20.{side}.{number}" if version == 4 else f"fd00:20::{side}:{number}"


def tcp_options(sock: socket.socket) -> None:
    """The same TCP on every machine: CUBIC, no Nagle."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def send_paced(send: Callable[..., object], size_bytes: int, pieces: int, period_us: int, *to: Any) -> None:
    """Send `size_bytes` of zeros in even pieces, one per period, on time even when the last was late."""
    begin_s = time.monotonic()
    for k in range(pieces):
        time.sleep(max(0.0, begin_s + (k + 1) * period_us / 1e6 - time.monotonic()))
        send(bytes(size_bytes * (k + 1) // pieces - size_bytes * k // pieces), *to)


def serve_tcp(sock: socket.socket) -> None:
    """Answer requests on one connection until the client closes it."""
    tcp_options(sock)
    with sock:
        while len(head := sock.recv(REQUEST.size, socket.MSG_WAITALL)) == REQUEST.size:
            body_bytes, *reply = REQUEST.unpack(head)
            sock.recv(body_bytes, socket.MSG_WAITALL)
            send_paced(sock.sendall, *reply)


def serve_udp(sock: socket.socket) -> None:
    """Answer datagrams, each in a thread; one of zeros asks for no answer."""
    while True:
        data, peer = sock.recvfrom(2048)
        if any(reply := REQUEST.unpack_from(data)[1:]):
            threading.Thread(target=send_paced, args=(sock.sendto, *reply, peer), daemon=True).start()


def run_server() -> None:
    """Serve TCP and UDP, both IP versions, until terminated."""
    tcp = socket.create_server(("::", PORT), family=socket.AF_INET6, backlog=256, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", PORT))
    threading.Thread(target=serve_udp, args=(udp,), daemon=True).start()
    print("ready", flush=True)
    while True:
        threading.Thread(target=serve_tcp, args=(tcp.accept()[0],), daemon=True).start()


def call(sock: socket.socket, body_bytes: int, reply_bytes: int, pieces: int = 1, pause_us: int = 0) -> None:
    """Send one TCP request and read its whole response."""
    sock.sendall(REQUEST.pack(body_bytes, reply_bytes, pieces, pause_us) + bytes(body_bytes))
    if len(sock.recv(reply_bytes, socket.MSG_WAITALL)) < reply_bytes:
        raise ConnectionError("the server closed the connection within a response")


def log_uniform(rng: random.Random, low: float, high: float) -> float:
    """As likely to fall in one decade as in another: gaps that split at every flowlet timeout."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


@dataclass(frozen=True)
class Client:
    """One client: its connections, each run in a thread, random in nothing but the seed and who it is."""

    index: int
    seed: int
    start_s: float  # on the monotonic clock, which all namespaces share

    def run(self) -> None:
        """Run every connection to its end; raises what the first that failed raised."""
        plan = [(kind, server) for server in range(SERVERS) for kind in (self.incast, self.shuffle)]
        plan += [(self.web, server) for server in range(SERVERS) for _ in range(6)]
        plan += [(self.lookup, server) for server in range(SERVERS) for _ in range(7)]
        plan += [(self.bulk, (self.index + k) % SERVERS) for k in range(2)]
        plan += [(self.stream, self.index % SERVERS)]
        self.sleep_until(0)
        with ThreadPoolExecutor(len(plan)) as pool:
            rngs = [random.Random(f"{self.seed}/{self.index}/{number}") for number in range(len(plan))]
            for future in [pool.submit(kind, rng, to) for (kind, to), rng in zip(plan, rngs, strict=True)]:
                future.result()

    def sleep_until(self, at_s: float) -> None:
        """Sleep until `at_s` seconds after the start that all clients share."""
        time.sleep(max(0.0, self.start_s + at_s - time.monotonic()))

    def connect(self, rng: random.Random, server: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A TCP connection or a connected UDP socket, over either IP version."""
        version = rng.choice((4, 6))
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
        if kind == socket.SOCK_STREAM:
            tcp_options(sock)
        else:
            sock.settimeout(0.5)
        sock.connect((address("server", server, version), PORT))
        return sock

    def web(self, rng: random.Random, server: int) -> None:
        """A persistent connection: heavy-tailed responses, think times."""
        self.sleep_until(rng.uniform(0, 0.8 * WORKLOAD_S))
        with self.connect(rng, server) as sock:
            for _ in range(rng.randint(4, 24)):
                reply_bytes = min(int(700 * rng.paretovariate(1.05)), 300_000)
                reply = (reply_bytes, 1 + reply_bytes // 16_384, int(log_uniform(rng, 20, 3_000)))
                call(sock, rng.randint(100, 900), *reply)
                time.sleep(log_uniform(rng, 30e-6, 150e-3))

    def bulk(self, rng: random.Random, server: int) -> None:
        """One large transfer: odd clients upload, even ones download."""
        self.sleep_until(rng.uniform(0, 0.8 * WORKLOAD_S))
        size_bytes = rng.randint(700_000, 1_500_000)
        with self.connect(rng, server) as sock:
            call(sock, *((size_bytes, 200) if self.index % 2 else (200, size_bytes)))

    def incast(self, rng: random.Random, server: int) -> None:
        """In this client's turns, all servers answer it at the same moment."""
        with self.connect(rng, server) as sock:
            for turn in range(self.index, 3 * CLIENTS, CLIENTS):
                self.sleep_until(0.2 + 0.19 * turn)
                call(sock, 64, 64_000)

    def shuffle(self, rng: random.Random, server: int) -> None:
        """In the server's turns, all clients upload to it at the same moment."""
        with self.connect(rng, server) as sock:
            for turn in range(server, 2 * SERVERS, SERVERS):
                self.sleep_until(0.3 + 0.33 * turn)
                call(sock, 48_000, 64)

    def lookup(self, rng: random.Random, server: int) -> None:
        """Small UDP requests and replies, as DNS or memcached."""
        self.sleep_until(rng.uniform(0, 0.9 * WORKLOAD_S))
        with self.connect(rng, server, socket.SOCK_DGRAM) as sock:
            for _ in range(rng.choice((1, 2, 4, 8, 16, 32))):
                pause_us = int(log_uniform(rng, 10, 300))
                sock.send(REQUEST.pack(0, rng.randint(40, 1_200), 1, pause_us) + bytes(rng.randint(8, 60)))
                with contextlib.suppress(TimeoutError):  # a lost datagram is part of the picture
                    sock.recv(2048)
                time.sleep(log_uniform(rng, 30e-6, 30e-3))

    def stream(self, rng: random.Random, server: int) -> None:
        """Paced datagrams one way: odd clients subscribe, even ones send."""
        period_us, size_bytes = (1_000, 2_000, 5_000, 10_000, 20_000)[self.index], rng.randint(200, 1_200)
        count = int(0.8 * WORKLOAD_S * 1e6) // period_us
        self.sleep_until(rng.uniform(0, 0.2 * WORKLOAD_S))
        with self.connect(rng, server, socket.SOCK_DGRAM) as sock, contextlib.suppress(TimeoutError):
            if self.index % 2 == 0:
                send_paced(sock.send, count * size_bytes, count, period_us)
            else:
                sock.send(REQUEST.pack(0, count * size_bytes, count, period_us))
                for _ in range(count):
                    sock.recv(2048)


def run_host(role: str, index: int, seed: int) -> None:
    """The process inside a host's namespace: say `ready`, and as a client wait for the start on stdin."""
    ctypes.CDLL(None).prctl(29, 1, 0, 0, 0)  # PR_SET_TIMERSLACK: sleep as long as asked, not 50 us more
    signal.alarm(LIFETIME_S)
    if role == "server":
        run_server()
    print("ready", flush=True)
    Client(index, seed, float(sys.stdin.readline())).run()


# ---- the laboratory: namespaces, links, capture ----
class Lab:
    """The namespaces and processes of one recording, taken down on return, on error and on a signal."""

    def __init__(self) -> None:
        self.prefix = f"segcast-record-{os.getpid()}-"
        self.namespaces: list[str] = []
        self.processes: list[Popen[str]] = []

    def __enter__(self) -> Lab:
        def stop(number: int, _: object) -> NoReturn:
            raise RecordError(f"stopped by {signal.Signals(number).name}")

        for number in SIGNALS:
            signal.signal(number, stop)
        signal.alarm(LIFETIME_S)
        return self

    def __exit__(self, *_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut the removal short
        for process in self.processes:
            process.kill()
            process.wait()
        for namespace in self.namespaces:  # a signal may have fallen between a start and its record
            pids = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True).stdout
            for pid in pids.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True)

    def run(self, command: str) -> list[str]:
        """Run one command to its end; returns the lines that it printed."""
        done = subprocess.run(command.split(), capture_output=True, text=True, start_new_session=True)
        if done.returncode:
            raise RecordError(f"`{command}` failed: {' '.join(done.stderr.split())}")
        return done.stdout.splitlines()

    def spawn(self, node: str, command: list[str], stderr: int | None = None) -> Popen[str]:
        """Start a process in a node, in its own session so that Ctrl-C reaches only us."""
        command = ["ip", "netns", "exec", self.prefix + node, *command]
        process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=stderr, text=True, start_new_session=True)
        self.processes.append(process)
        return process

    def add_node(self, node: str) -> str:
        """Make a namespace; returns its full name."""
        self.namespaces.append(self.prefix + node)  # before it exists: a signal may fall in between
        self.run(f"ip netns add {self.prefix + node}")
        return self.prefix + node

    def link(self, near: str, near_name: str, far: str, far_name: str) -> None:
        """Join two namespaces by a shaped veth pair that carries only what a wire could carry."""
        self.run(f"ip -n {near} link add name {near_name} type veth peer name {far_name} netns {far}")
        for namespace, name in ((near, near_name), (far, far_name)):
            self.run(f"ip netns exec {namespace} ethtool -K {name} tx off rx off tso off gso off gro off")
            # TCP builds super-segments whatever the device says; one segment each lets TBF space them.
            self.run(f"ip -n {namespace} link set {name} gso_max_segs 1 addrgenmode none")
            queue_bytes = HOST_QUEUE_BYTES if name == "eth0" else SWITCH_QUEUE_BYTES
            shaper = f"tbf rate {LINK_RATE} burst {LINK_BURST_BYTES} limit {queue_bytes}"
            self.run(f"tc -n {namespace} qdisc add dev {name} root {shaper}")

    def add_host(self, role: str, index: int, switch: str) -> None:
        """A host and its link to the switch."""
        host, port, side = self.add_node(f"{role}{index}"), f"port{index}", SIDES[role]
        self.link(host, "eth0", switch, port)
        self.run(f"ip -n {host} link set eth0 address 02:00:00:00:{side:02x}:{index + 1:02x}")
        self.run(f"ip -n {host} addr add {address(role, index, 4)}/16 dev eth0")
        self.run(f"ip -n {host} addr add {address(role, index, 6)}/64 dev eth0 nodad")
        self.run(f"ip -n {switch} link set {port} master br0 up")
        self.run(f"ip -n {host} link set eth0 up")

    def build(self) -> None:
        """Clients on one switch, servers on the other, a trunk between."""
        switches = {"client": self.add_node("switch1"), "server": self.add_node("switch2")}
        self.link(switches["client"], "trunk", switches["server"], "trunk")
        for switch in switches.values():
            self.run(f"ip -n {switch} link add name br0 type bridge mcast_snooping 0")
            self.run(f"ip -n {switch} link set br0 addrgenmode none")  # before `up`: no solicitations
            self.run(f"ip -n {switch} link set br0 up")
            self.run(f"ip -n {switch} link set trunk master br0 up")
        for role, index in HOSTS:
            self.add_host(role, index, switches[role])
        for namespace in self.namespaces:  # a link carries frames only some time after it was set up
            while any("state UP" not in line for line in self.run(f"ip -n {namespace} -o link show up")):
                time.sleep(0.05)

    def start_host(self, role: str, index: int, seed: int) -> Popen[str]:
        """Start a host's process and wait until it is ready."""
        script = [sys.executable, str(Path(__file__).resolve()), HOST_COMMAND, role, str(index), str(seed)]
        process = self.spawn(f"{role}{index}", script)
        if not process.stdout or process.stdout.readline() != "ready\n":
            raise RecordError(f"{role} {index} did not start; its own message is above")
        return process


def record(lab: Lab, seed: int, capture: Path) -> bytes:
    """Run the workload once; returns the capture of the trunk, a nanosecond pcap."""
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[:1])  # frames of one flow that wait on two CPUs would overtake one another
    lab.build()
    options = f"-i trunk -n -Z root -s {SNAPLEN_BYTES} -B 32768 -j host --time-stamp-precision=nano -w"
    command = ["tcpdump", *options.split(), str(capture), CAPTURE_FILTER]
    tcpdump = lab.spawn("switch1", command, stderr=PIPE)
    os.sched_setaffinity(tcpdump.pid, cpus[1:] or cpus)
    if not any("listening on" in line for line in tcpdump.stderr or ()):  # reads no further than that line
        raise RecordError("tcpdump did not start on the trunk")
    clients = [lab.start_host(role, index, seed) for role, index in HOSTS][SERVERS:]
    start_s = time.monotonic() + 0.2
    for client in clients:
        print(start_s, file=client.stdin, flush=True)
    if any(client.wait() for client in clients):
        raise RecordError("a client failed; its own message is above")
    time.sleep(2)  # a tcpdump stopped sooner loses packets without counting them
    tcpdump.terminate()
    counts = re.findall(r"(\d+) packets? (?:captured|received|dropped)", tcpdump.communicate()[1])
    if len(counts) != 3 or counts[0] != counts[1] or counts[2] != "0":
        raise RecordError(f"tcpdump lost packets (captured, received, dropped: {counts}); record again")
    return capture.read_bytes()


def in_order(data: bytes) -> tuple[bytes, str]:
    """The capture sorted by time (an interrupt may swap two neighbours), and what it holds in words."""
    records: list[tuple[int, bytes]] = []
    flows: set[bytes] = set()
    offset, wire_bytes = 24, 0
    while offset < len(data):
        seconds, nanoseconds, captured_bytes, original_bytes = struct.unpack_from("=IIII", data, offset)
        end = offset + 16 + captured_bytes
        records.append((seconds * 10**9 + nanoseconds, data[offset:end]))
        wire_bytes += original_bytes
        frame, offset = data[offset + 16 : end], end
        if frame[12:14] == b"\x08\x00" and frame[23] in (6, 17):
            flows.add(frame[23:24] + frame[26:38])
        elif frame[12:14] == b"\x86\xdd" and frame[20] in (6, 17):
            flows.add(frame[20:21] + frame[22:58])
    if len(records) < MIN_PACKETS or len(flows) < MIN_FLOWS:
        raise RecordError(f"only {len(records)} packets and {len(flows)} flows; record on an idle machine")
    records.sort(key=lambda record: record[0])
    report = f"{len(records)} packets, {len(flows)} flows, {wire_bytes} bytes on the wire"
    return data[:24] + b"".join(record for _, record in records), report


def main(argv: list[str]) -> int:
    """Parse, record, write aside, rename."""
    if argv[:1] == [HOST_COMMAND]:
        run_host(argv[1], int(argv[2]), int(argv[3]))
        return 0
    parser = argparse.ArgumentParser(description="Record a cluster's traffic from network namespaces.")
    parser.add_argument("--seed", type=int, default=1, help="of the workload (default 1)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "traces/samples/cluster.pcap.gz")
    args = parser.parse_args(argv)
    part = args.out.with_name(args.out.name + ".part")
    try:
        if missing := [tool for tool in ("ip", "tc", "ethtool", "tcpdump") if not shutil.which(tool)]:
            raise RecordError(f"needs {', '.join(missing)}: install iproute2, ethtool and tcpdump")
        if os.geteuid() != 0:
            raise RecordError("needs root, for network namespaces: run it with sudo")
        with tempfile.TemporaryDirectory() as folder, Lab() as lab:
            data, report = in_order(record(lab, args.seed, Path(folder, "trunk.pcap")))
        with part.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
            packed.write(data)
        part.replace(args.out)
        print(f"{args.out}: {report}; {args.out.stat().st_size} bytes compressed")
    except (RecordError, OSError) as error:
        print(f"record_sample.py: {error}", file=sys.stderr)
        return 2
    finally:
        part.unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
