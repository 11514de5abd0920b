#!/usr/bin/env python3
"""Record `cluster.pcap.gz`: real TCP and UDP between hosts in network namespaces, as a wire would carry it.

To record again (Linux, root; packages iproute2, ethtool, tcpdump; about 10 s; other loads disturb the timing):

    sudo python3 traces/samples/record.py [--seed N] [--out FILE.pcap.gz]

What it makes: 5 clients on one switch and 4 servers on another, each behind a 1 Gbit/s link, IPv4 and IPv6. The
capture is taken on the trunk between the switches, where every frame between a client and a server passes once.
The workload (who asks whom, how much, think times) comes from the seed; the timing is the kernel's.

    web      persistent connections, heavy-tailed responses sent in pieces, think times of 30 us to 150 ms
    bulk     downloads and uploads of 1 to 2 MB
    incast   all servers answer one client at the same moment
    shuffle  all clients upload to one server at the same moment
    lookup   small UDP requests and replies, as DNS or memcached
    stream   paced UDP datagrams one way

Namespaces are named after this process and removed on every way out, Ctrl-C included.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gzip
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NoReturn

CLIENTS, SERVERS = 5, 4
LINK_RATE, LINK_BURST_BYTES = "1gbit", 10_000  # a smaller burst makes TBF drain below its rate
HOST_QUEUE_BYTES, SWITCH_QUEUE_BYTES = 300_000, 120_000  # the switch drops in an incast, the host does not
SNAPLEN_BYTES = 114  # Ethernet 14 + IPv6 40 + TCP with all its options 60
CAPTURE_FILTER = "tcp or udp or arp or (ip6 and ip6[6] == 58)"  # neighbour discovery, but no multicast reports
MIN_PACKETS, MIN_FLOWS = 20_000, 300
PORT = 8080
REQUEST = struct.Struct("!IIII")  # body bytes that follow, reply bytes, pieces of the reply, pause between (us)
HOST_LIFETIME_S = 30  # a host ends by itself should its parent be killed outright
WORKLOAD_S = 3.2  # when the last connections start thinking their last thoughts


class RecordError(Exception):
    """Recording cannot go on; the text is one line: what, and how to mend it."""


# ---- hosts: each runs in its own namespace as a process of its own ----


def address(role: str, index: int, version: int) -> str:
    """The address of client or server `index` in IP version 4 or 6."""
    side = 1 if role == "client" else 2
    return f"10.20.{side}.{index + 1}" if version == 4 else f"fd00:20::{side}:{index + 1}"


def tcp_options(sock: socket.socket) -> None:
    """The same TCP on every machine: CUBIC, no Nagle, and no wait that outlives the recording."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(10)


def read_exactly(sock: socket.socket, size_bytes: int) -> bytes:
    """Read `size_bytes`, or fewer where the peer closes."""
    parts = []
    while size_bytes > 0 and (part := sock.recv(min(size_bytes, 1 << 16))):
        parts.append(part)
        size_bytes -= len(part)
    return b"".join(parts)


def pieces_of(reply_bytes: int, pieces: int) -> list[int]:
    """Split a reply as evenly as whole bytes allow."""
    return [reply_bytes * (k + 1) // pieces - reply_bytes * k // pieces for k in range(pieces)]


def serve_tcp(sock: socket.socket) -> None:
    """Answer requests on one connection until the client closes it."""
    tcp_options(sock)
    with sock:
        while len(head := read_exactly(sock, REQUEST.size)) == REQUEST.size:
            body_bytes, reply_bytes, pieces, pause_us = REQUEST.unpack(head)
            read_exactly(sock, body_bytes)
            for size_bytes in pieces_of(reply_bytes, pieces):
                time.sleep(pause_us / 1e6)
                sock.sendall(bytes(size_bytes))


def serve_udp(sock: socket.socket, peer: Any, reply_bytes: int, pieces: int, pause_us: int) -> None:
    """Answer one datagram with `pieces` datagrams, on time even when one was late."""
    due = time.monotonic()
    for size_bytes in pieces_of(reply_bytes, pieces):
        due += pause_us / 1e6
        time.sleep(max(0.0, due - time.monotonic()))
        sock.sendto(bytes(size_bytes), peer)


def run_server() -> None:
    """Serve TCP and UDP, both IP versions, until terminated."""
    tcp = socket.create_server(("::", PORT), family=socket.AF_INET6, backlog=256, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", PORT))

    def start(work: Callable[..., None], *args: Any) -> None:
        threading.Thread(target=work, args=args, daemon=True).start()

    def datagrams() -> None:
        while True:
            data, peer = udp.recvfrom(2048)
            _, reply_bytes, pieces, pause_us = REQUEST.unpack_from(data)
            if pieces:
                start(serve_udp, udp, peer, reply_bytes, pieces, pause_us)

    start(datagrams)
    print("ready", flush=True)
    while True:
        start(serve_tcp, tcp.accept()[0])


class Client:
    """One client: plans its work from the seed, then runs every connection in a thread."""

    def __init__(self, index: int, seed: int) -> None:
        self.index = index
        self.seed = seed
        self.start = 0.0
        self.work: list[Callable[[], None]] = []

    def sleep_until(self, at_s: float) -> None:
        """Sleep until `at_s` seconds after the common start."""
        time.sleep(max(0.0, self.start + at_s - time.monotonic()))

    def add(self, kind: Callable[..., None], server: int, number: int) -> None:
        """Plan one connection of a kind; its randomness depends on nothing but who it is."""
        rng = random.Random(f"{self.seed}/{self.index}/{kind.__name__}/{server}/{number}")
        self.work.append(lambda: kind(rng, server))

    def connect(self, rng: random.Random, server: int) -> socket.socket:
        version = rng.choice((4, 6))
        sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6)
        tcp_options(sock)
        sock.connect((address("server", server, version), PORT))
        return sock

    def call(self, sock: socket.socket, body_bytes: int, reply_bytes: int, pieces: int = 1, pause_us: int = 0) -> None:
        """One TCP request and its whole response."""
        sock.sendall(REQUEST.pack(body_bytes, reply_bytes, pieces, pause_us) + bytes(body_bytes))
        if len(read_exactly(sock, reply_bytes)) < reply_bytes:
            raise ConnectionError("the server closed the connection within a response")

    def web(self, rng: random.Random, server: int) -> None:
        self.sleep_until(rng.uniform(0, 0.8 * WORKLOAD_S))
        with self.connect(rng, server) as sock:
            for _ in range(rng.randint(4, 24)):
                reply_bytes = min(int(700 * rng.paretovariate(1.05)), 300_000)
                pause_us = int(log_uniform(rng, 20, 3_000))
                self.call(sock, rng.randint(100, 900), reply_bytes, 1 + reply_bytes // 16_384, pause_us)
                time.sleep(log_uniform(rng, 30e-6, 150e-3))

    def bulk(self, rng: random.Random, server: int) -> None:
        self.sleep_until(rng.uniform(0, 0.8 * WORKLOAD_S))
        with self.connect(rng, server) as sock:
            size_bytes = rng.randint(1_000_000, 2_000_000)
            up = self.index % 2 == 1
            self.call(sock, size_bytes if up else 200, 200 if up else size_bytes)

    def incast(self, rng: random.Random, server: int) -> None:
        with self.connect(rng, server) as sock:
            for turn in range(self.index, 3 * CLIENTS, CLIENTS):
                self.sleep_until(0.2 + 0.19 * turn)
                self.call(sock, 64, 64_000)

    def shuffle(self, rng: random.Random, server: int) -> None:
        with self.connect(rng, server) as sock:
            for turn in range(server, 2 * SERVERS, SERVERS):
                self.sleep_until(0.3 + 0.33 * turn)
                self.call(sock, 48_000, 64)

    def lookup(self, rng: random.Random, server: int) -> None:
        self.sleep_until(rng.uniform(0, 0.9 * WORKLOAD_S))
        with self.datagram_socket(rng, server) as sock:
            for _ in range(rng.choice((1, 2, 4, 8, 16, 32))):
                pause_us = int(log_uniform(rng, 10, 300))
                sock.send(REQUEST.pack(0, rng.randint(40, 1_200), 1, pause_us) + bytes(rng.randint(8, 60)))
                with contextlib.suppress(TimeoutError):  # a lost datagram is part of the picture
                    sock.recv(2048)
                time.sleep(log_uniform(rng, 30e-6, 30e-3))

    def stream(self, rng: random.Random, server: int) -> None:
        """Even clients send a stream, odd ones subscribe to one."""
        period_us, size_bytes = rng.choice((1_000, 2_000, 5_000, 20_000)), rng.randint(200, 1_200)
        count = int(0.8 * WORKLOAD_S * 1e6) // period_us
        self.sleep_until(rng.uniform(0, 0.2 * WORKLOAD_S))
        with self.datagram_socket(rng, server) as sock:
            if self.index % 2 == 0:
                peer = sock.getpeername()
                sock_any = sock
                begin = time.monotonic()
                for k in range(count):
                    time.sleep(max(0.0, begin + k * period_us / 1e6 - time.monotonic()))
                    sock_any.send(REQUEST.pack(0, 0, 0, 0) + bytes(size_bytes))
                del peer
            else:
                sock.send(REQUEST.pack(0, count * size_bytes, count, period_us))
                with contextlib.suppress(TimeoutError):
                    for _ in range(count):
                        sock.recv(2048)
