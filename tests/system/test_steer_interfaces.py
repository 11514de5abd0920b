"""Steering and odd interfaces: those that are refused, those that go, and several of them."""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

import pytest

from segcast.analyzer.scenario.reading import read_scenario
from segcast.replay.steer.attach import Steered
from segcast.replay.steer.plan import plan_steering, rules_of
from segcast.replay.steer.run import Wanted, plan_of
from segcast.replay.steer.surroundings import hooks, is_ethernet, refusals
from segcast.replay.testbed.spaces import create, remove, within
from tests.support.beds import NAME, needs_namespaces
from tests.support.steered_hosts import ETH_P_IPV6, SCENARIO, run
from tests.support.steering import needs_bpf

pytestmark = [needs_namespaces, needs_bpf]


def against(space: str) -> list[str]:
    return within(space, lambda: refusals("v0", [("10.1.0.0/24", "leaf1")], 64))


def test_odd_interfaces_are_refused() -> None:
    space = f"{NAME}-odd"
    create(space)
    try:
        run("ip", "-n", space, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        assert "v0: is down" in against(space)
        assert "v0: no target is routed by it; 10.1.0.0/24 (leaf1) is the first" in against(space)
        assert within(space, lambda: (is_ethernet("v0"), is_ethernet("lo"))) == (True, False)
        run("ip", "netns", "exec", space, "tc", "qdisc", "add", "dev", "v0", "clsact")
        assert "v0: has a clsact or ingress qdisc, which somebody means to use; take it off" in against(space)
    finally:
        remove(space)


@pytest.mark.parametrize("hook", ["tcx", "clsact"])
def test_an_interface_or_a_namespace_that_goes_takes_the_program_with_it(
    tmp_path: Path, hook: Literal["tcx", "clsact"]
) -> None:
    for gone in ("interface", "namespace"):
        space = f"{NAME}-gone"
        create(space)
        run("ip", "-n", space, "link", "add", "e0", "type", "veth", "peer", "name", "e1")
        for name in ("e0", "e1", "lo"):
            run("ip", "-n", space, "link", "set", name, "up")
        run("ip", "-n", space, "address", "add", "10.0.0.1/24", "dev", "e0")
        run("ip", "-n", space, "route", "add", "10.1.0.0/24", "dev", "e0", "mtu", "1400")
        (tmp_path / "s.toml").write_text(SCENARIO)
        plan = plan_steering(read_scenario(tmp_path / "s.toml"), "leaf0", ["10.0.0.1"])
        rules = rules_of(
            plan,
            read_scenario(tmp_path / "s.toml").steering,
            policy="random",
            timeout="1ms",
            seed=1,
            mtu_bytes=1500,
            minimum_frame_bytes=60,
        )
        host = within(space, lambda: Steered("e0", plan, rules, by=hook))  # noqa: B023
        assert within(space, lambda: len(hooks("e0"))) == 2
        if gone == "interface":
            run("ip", "-n", space, "link", "delete", "e0")
            host.wait(time.monotonic() + 0.1)
            host.close()
            remove(space)
        else:
            remove(space)
            host.wait(time.monotonic() + 0.1)
            host.close()


def test_headers_leave_by_the_interface_that_leads_to_their_first_sid(tmp_path: Path) -> None:
    """Two uplinks: targets are routed by one, two of four first SIDs by the other, one by another router there."""
    here_, there = f"{NAME}-two", f"{NAME}-far"
    with ExitStack() as stack:
        for space in (here_, there):
            create(space)
            stack.callback(remove, space)
        for number in (0, 1):
            run(
                "ip",
                "-n",
                here_,
                "link",
                "add",
                f"e{number}",
                "mtu",
                "2000",
                "type",
                "veth",
                "peer",
                "name",
                f"p{number}",
            )
            run("ip", "-n", here_, "link", "set", f"p{number}", "netns", there)
            for space, name, last in ((here_, f"e{number}", 1), (there, f"p{number}", 2)):
                run("ip", "-n", space, "address", "add", f"fd5e:{number}::{last}/64", "dev", name, "nodad")
                run("ip", "-n", space, "link", "set", name, "up", "mtu", "2000")
        run("ip", "-n", here_, "address", "add", "2001:db8::1/128", "dev", "e0", "nodad")
        (tmp_path / "s.toml").write_text(SCENARIO + '[srv6]\nmode = "reduced"\n')
        scenario = read_scenario(tmp_path / "s.toml")
        route = ["ip", "-n", here_, "-6", "route", "add"]
        run(*route, "2001:db8:1::/64", "via", "fd5e:0::2", "dev", "e0", "mtu", "1500")
        plan = plan_steering(scenario, "leaf0", ["2001:db8::1"])
        firsts = [path.ipv6[0] for path in plan.paths.values()]
        for number, first in enumerate(firsts):
            run(*route, f"{first}/128", "via", f"fd5e:{number % 2}::2", "dev", f"e{number % 2}")
        wanted = Wanted("e0", "leaf0", ("2001:db8::1",))
        plan = within(here_, lambda: plan_of(scenario, wanted))
        other = within(here_, lambda: socket.if_nametoindex("e1"))
        assert [way.leaves_by for way in plan.tables.pairs[0].ways] == [0, other, 0, other]

        def listen(name: str) -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind((name, ETH_P_IPV6))
            made.settimeout(5)
            return made

        wires = [stack.enter_context(within(there, partial(listen, f"p{number}"))) for number in (0, 1)]
        rules = rules_of(
            plan, scenario.steering, policy="round-robin", timeout="1ns", seed=1, mtu_bytes=2000, minimum_frame_bytes=60
        )
        stack.enter_context(within(here_, lambda: Steered("e0", plan, rules)))
        sender = stack.enter_context(within(here_, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)))
        sender.bind(("2001:db8::1", 7777))
        for number in range(8):
            sender.sendto(b"number %d" % number, ("2001:db8:1::1", 7))
            name = f"p{number % 2}"
            mac = bytes.fromhex(within(there, partial(mac_of, name)))
            frame = wires[number % 2].recv(2048)
            while frame[38:54] != socket.inet_pton(socket.AF_INET6, firsts[number % 4]):
                frame = wires[number % 2].recv(2048)
            assert frame[:6] == mac
            assert frame.endswith(b"number %d" % number)


def mac_of(interface: str) -> str:
    """The MAC address of an interface of the present namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        return fcntl.ioctl(control, 0x8927, struct.pack("16s24x", interface.encode()))[18:24].hex()
