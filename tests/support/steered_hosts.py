"""A network for hosts that steer: its scenario, a testbed of it, commands there, and real TCP through it."""

from __future__ import annotations

import hashlib
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.steer.attach import Steered
from segcast.replay.steer.plan import SteerPlan, plan_steering, rules_of
from segcast.replay.steer.surroundings import hooks
from segcast.replay.testbed.bed import up
from segcast.replay.testbed.spaces import within
from tests.support.beds import NAME

ROOT = Path(__file__).parents[2]
ETH_P_IPV6 = 0x86DD
SCENARIO = """
[network]
kind = "leaf-spine"
leaves = 2
spines = 4
links = { rate = "200Mbps", buffer = "256KiB" }
[steering]
loss_timeout = "300ms"
[[attachments]]
name = "leaf0"
prefixes = ["10.0.0.0/24", "2001:db8:0::/64"]
[[attachments]]
name = "leaf1"
prefixes = ["10.1.0.0/24", "2001:db8:1::/64"]
"""
ADDRESSES = {"leaf0": ("10.0.0.1", "2001:db8::1"), "leaf1": ("10.1.0.1", "2001:db8:1::1")}
MTU = 1500
COMMAND = [sys.executable, "-m", "segcast", "steer"]


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def space_of(place: str) -> str:
    return f"{NAME}-host-{place}"


def stand(folder: Path, mode: str, route_mtu: int = MTU) -> ValidScenario:
    """The testbed, its hosts with addresses of their prefixes, and routes whose MTU leaves room for headers."""
    (folder / "s.toml").write_text(SCENARIO + f'[srv6]\nmode = "{mode}"\n')
    scenario = read_scenario(folder / "s.toml")
    up(scenario, NAME)
    for place, addresses in ADDRESSES.items():
        space = space_of(place)
        run("ip", "-n", space, "address", "replace", f"{addresses[0]}/32", "dev", "lo")
        run("ip", "-n", space, "address", "replace", f"{addresses[1]}/128", "dev", "lo", "nodad")
        for route in ("0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"):
            via = run("ip", "-n", space, "route", "show", route).split()
            if ":" in route:
                via = run("ip", "-n", space, "-6", "route", "show", route).split()
            set_mtu(space, route, via[via.index("via") + 1], route_mtu)
    return scenario


def set_mtu(space: str, route: str, gateway: str, mtu: int) -> None:
    run("ip", "-n", space, "route", "replace", route, "via", gateway, "dev", "e0", "proto", "115", "mtu", str(mtu))


def planned(scenario: ValidScenario, place: str) -> SteerPlan:
    return plan_steering(scenario, place, ADDRESSES[place], first_number=2 * int(place[-1]))


def steered(scenario: ValidScenario, place: str, policy: str = "inflight", timeout: str = "1ms", **how: Any) -> Steered:
    plan = planned(scenario, place)
    rules = rules_of(
        plan, scenario.steering, policy=policy, timeout=timeout, seed=1, mtu_bytes=2000, minimum_frame_bytes=60
    )
    return within(space_of(place), lambda: Steered("e0", plan, rules, allow_default_route=True, **how))


def transfer(family: int, size: int = 1_000_000, *, super_frames: bool = True, port: int = 0) -> None:
    """Real TCP from one host to the other, both ends in this process.

    Raises unless all bytes arrive soon, the same by their digest. `port`: the sender's.
    """
    source, target = (ADDRESSES[place][family] for place in ADDRESSES)
    kind = (socket.AF_INET, socket.AF_INET6)[family]
    content = random.Random(size ^ port).randbytes(size)
    for place in ADDRESSES:
        run("ip", "-n", space_of(place), "link", "set", "e0", "gso_max_segs", "65535" if super_frames else "1")
    with ExitStack() as stack:
        listener = stack.enter_context(
            within(space_of("leaf1"), lambda: socket.create_server((target, 5001 if port else 0), family=kind))
        )
        sender = stack.enter_context(within(space_of("leaf0"), lambda: socket.socket(kind)))
        for each in (listener, sender):
            each.settimeout(10)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sender.bind((source, port))
        sender.connect(listener.getsockname()[:2])
        receiver = stack.enter_context(listener.accept()[0])
        receiver.settimeout(10)
        pushing = threading.Thread(target=sender.sendall, args=(content,))
        pushing.start()
        arrived, left = hashlib.sha256(), size
        while left:
            piece = receiver.recv(1 << 16)
            assert piece, f"{left} bytes did not arrive"
            arrived.update(piece)
            left -= len(piece)
        pushing.join()
        receiver.sendall(b"done")
        assert sender.recv(4) == b"done"
        assert arrived.digest() == hashlib.sha256(content).digest()


def settled(host: Steered) -> list[int]:
    """The counters once all has been acknowledged or has timed out."""
    end = time.monotonic() + 5
    while host.inflight_bytes().any() and time.monotonic() < end:
        time.sleep(0.05)
    return [int(count) for count in host.inflight_bytes()]


def command(place: str, *arguments: str) -> list[str]:
    return ["ip", "netns", "exec", space_of(place), *COMMAND, *arguments]


def attaching_command(folder: Path, *more: str) -> list[str]:
    """`steer attach` at the first host, with a scenario from that folder."""
    rules = ["--policy", "inflight", "--timeout", "1ms", "--i-mean-it"]
    return command("leaf0", "attach", str(folder / "s.toml"), "--iface", "e0", *rules, *more)


def here(place: str = "leaf0") -> list[str]:
    """Names of the programs at a host's interface, by whatever means."""
    return within(space_of(place), lambda: [hook.name for hook in hooks("e0")])


def until(held: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something; it is a failure if it does not come."""
    end = time.monotonic() + seconds
    while not held():
        assert time.monotonic() < end
        time.sleep(0.02)
