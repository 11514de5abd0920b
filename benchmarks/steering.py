"""What steering costs: `python -m benchmarks.steering [--rounds 9] [--seconds 1]`, as root.

One TCP flow through a router between namespaces that nothing shapes, with super-frames: plain, steered by the kernel's
program, and encapsulated by the kernel's own routes (seg6, encap.red), one after the other in each round, in another
order each time. Medians over the rounds, for others use the machine, too. And what the program takes for a packet and
for an acknowledgement, by the kernel's own measure of it (BPF_PROG_TEST_RUN).
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv6Address
from typing import Final

from segcast.replay.srv6.templates import outer_headers
from segcast.replay.steer.attach import Steered
from segcast.replay.steer.bpf import test_run
from segcast.replay.steer.layout import Flag, Granularity, PolicyCode
from segcast.replay.steer.plan import SteeredPath, SteerPlan
from segcast.replay.steer.tables import Rules, SteeredPair, Tables, Way, turn_to
from segcast.replay.testbed.spaces import create, remove, within

_NAME: Final = f"sgcost{os.getpid()}"
_SENDER, _ROUTER, _RECEIVER = (f"{_NAME}-{part}" for part in ("a", "r", "b"))
_SOURCE, _TARGET = "fd5e:1::2", "fd5e:2::2"
_LIST: Final = ("fd5e:9::1", "fd5e:9::d6")
_MTU, _HEADER_BYTES = 1500, 64
_PORT: Final = 5001
_MS: Final = 1_000_000


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@contextmanager
def _network() -> Iterator[None]:
    """Sender, router and receiver; the router has both SIDs."""
    spaces = (_SENDER, _ROUTER, _RECEIVER)
    try:
        for space in spaces:
            create(space)
            for setting in ("all/forwarding", "all/seg6_enabled", "default/seg6_enabled"):
                _run("ip", "netns", "exec", space, "sh", "-c", f"echo 1 > /proc/sys/net/ipv6/conf/{setting}")
            _run("ip", "-n", space, "link", "set", "lo", "up")
        for number, space in ((1, _SENDER), (2, _RECEIVER)):
            _run("ip", "-n", space, "link", "add", "e0", "mtu", "2000", "type", "veth", "peer", "name", f"p{number}")
            _run("ip", "-n", space, "link", "set", f"p{number}", "mtu", "2000", "netns", _ROUTER)
            for where, name, last in ((space, "e0", 2), (_ROUTER, f"p{number}", 1)):
                _run("ip", "-n", where, "address", "add", f"fd5e:{number}::{last}/64", "dev", name, "nodad")
                _run("ip", "-n", where, "link", "set", name, "up")
        for space, via in ((_SENDER, "fd5e:1::1"), (_RECEIVER, "fd5e:2::1")):
            _run("ip", "-n", space, "-6", "route", "add", "fd5e::/16", "via", via, "dev", "e0", "mtu", str(_MTU))
        for sid, action in ((_LIST[0], ["End"]), (_LIST[1], ["End.DX6", "nh6", _TARGET])):
            _run(
                "ip",
                "-n",
                _ROUTER,
                "-6",
                "route",
                "add",
                f"{sid}/128",
                "encap",
                "seg6local",
                "action",
                *action,
                "dev",
                "p2",
            )
        yield
    finally:
        for space in spaces:
            remove(space)


def _gigabits(seconds: float) -> float:
    """One flow for so long, by two processes; Gbit/s of payload that arrived."""
    with ExitStack() as stack:
        made: Callable[[], socket.socket] = lambda: socket.create_server((_TARGET, _PORT), family=socket.AF_INET6)  # noqa: E731
        listener = stack.enter_context(within(_RECEIVER, made))
        sender = stack.enter_context(within(_SENDER, lambda: socket.socket(socket.AF_INET6)))
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        sender.settimeout(10)
        sender.connect((_TARGET, _PORT))
        receiver = stack.enter_context(listener.accept()[0])
        child = os.fork()
        if child == 0:
            piece, end = bytes(1 << 20), time.monotonic() + seconds
            while time.monotonic() < end:
                sender.sendall(piece)
            sender.shutdown(socket.SHUT_WR)
            os._exit(0)
        sender.close()
        room, arrived, begun = bytearray(1 << 20), 0, time.monotonic()
        while count := receiver.recv_into(room):
            arrived += count
        taken = time.monotonic() - begun
        os.waitpid(child, 0)
        return arrived * 8 / taken / 1e9


def _plan() -> tuple[SteerPlan, Rules]:
    segments = [IPv6Address(sid).packed for sid in _LIST]
    header = bytearray(outer_headers(segments, 41, 64, reduced=True))
    header[8:24] = IPv6Address(_SOURCE).packed
    way = Way(bytes(header), bytes(header))
    tables = Tables(((f"{_SOURCE}/128", 0),), (("fd5e:2::/64", 0),), (SteeredPair(0, 0, 0, 0, (way,) * 4),), 4)
    paths = {slot: SteeredPath("b", slot, _LIST, _LIST) for slot in range(4)}
    plan = SteerPlan("a", (_SOURCE,), (_SOURCE,), (("fd5e:2::/64", "b"),), paths, tables, _HEADER_BYTES, False)
    rules = Rules(
        PolicyCode.INFLIGHT,
        Granularity.FLOWLET,
        3 * _MS,
        Flag.LOGS | Flag.READS_SACK,
        loss_timeout_ns=300 * _MS,
        mtu_bytes=2000,
    )
    return plan, rules


def _steered(seconds: float) -> float:
    plan, rules = _plan()
    with within(_SENDER, lambda: Steered("e0", plan, rules, allow_default_route=True)) as host:
        found = _gigabits(seconds)
        assert host.tally()["steered"] > 1000
        return found


def _encapsulated(seconds: float) -> float:
    route = ["ip", "-n", _SENDER, "-6", "route"]
    way = [
        "fd5e:2::/64",
        "encap",
        "seg6",
        "mode",
        "encap.red",
        "segs",
        ",".join(_LIST),
        "via",
        "fd5e:1::1",
        "dev",
        "e0",
    ]
    _run(*route, "add", *way, "mtu", str(_MTU))
    try:
        return _gigabits(seconds)
    finally:
        _run(*route, "delete", "fd5e:2::/64")


def _costs() -> None:
    """The time of the program alone, warm, on packets that go nowhere."""
    from segcast.replay.steer.check import _frame, _tables
    from segcast.replay.steer.program import Program
    from segcast.replay.steer.tables import install

    rules = Rules(
        PolicyCode.INFLIGHT, Granularity.FLOWLET, _MS, Flag.PACKET_CLOCK, loss_timeout_ns=100 * _MS, mtu_bytes=2000
    )
    with Program(_tables().room()) as program:
        install(program, _tables(), rules)
        sent, heard = [], []
        for number in range(20_000):
            now_ns = 10_000 * (number + 1)
            sent.append(test_run(program.entries["egress"], _frame(100 * number), time_ns=now_ns).duration_ns)
            if number % 2:
                answer = _frame(1, ack=100 * number + 100, payload=0)
                heard.append(test_run(program.entries["ingress"], answer, time_ns=now_ns + 5_000).duration_ns)
        turn_to(program, _tables(), rules)
    for name, times in (("a packet steered", sent), ("an acknowledgement", heard)):
        times.sort()
        print(f"{name:20} {times[len(times) // 2]:6} ns in the median, {times[len(times) // 10]} in the lowest tenth")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    chosen = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("benchmarks.steering takes root")
    _costs()
    ways = {"plain": _gigabits, "steered": _steered, "kernel's seg6": _encapsulated}
    rounds: list[dict[str, float]] = []
    with _network():
        for number in range(chosen.rounds):
            names = [*ways]
            turned = names[number % 3 :] + names[: number % 3]
            found = {name: ways[name](chosen.seconds) for name in turned}
            rounds.append(found)
            print("  ".join(f"{name} {found[name]:.2f}" for name in names), "Gbit/s", flush=True)
    for name in ways:
        print(f"{name:20} {statistics.median(found[name] for found in rounds):.2f} Gbit/s in the median")
    shares = sorted(found["steered"] / found["kernel's seg6"] for found in rounds)
    print(
        f"steered is {statistics.median(shares):.2f} of the kernel's own encapsulation in the median round, "
        f"{shares[0]:.2f} to {shares[-1]:.2f}"
    )


if __name__ == "__main__":
    main()
