"""Printed configuration at work: lines of ip build what the testbed builds, FRR loads its routes, packets arrive."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.inject.machines import environment
from segcast.replay.testbed.bed import down, up
from segcast.replay.testbed.formats.registry import BedPlan, configuration, label_of, planned
from segcast.replay.testbed.plan import Space
from segcast.replay.testbed.spaces import evict, remove, spaces, within
from segcast.replay.testbed.survey import survey
from tests.support.beds import NAME, SCENARIOS, frame, listening, needs_testbed, scenario_of, send, udp

pytestmark = needs_testbed

BY_LINES = f"{NAME[:11]}l"
ZEBRA, STATICD = "/usr/lib/frr/zebra", "/usr/lib/frr/staticd"
needs_frr = pytest.mark.skipif(
    not (Path(ZEBRA).exists() and Path(STATICD).exists() and shutil.which("vtysh")), reason="FRR is not installed"
)
needs_ethtool = pytest.mark.skipif(
    shutil.which("ethtool", path="/usr/sbin:/sbin:/usr/bin") is None, reason="ethtool is not installed"
)


@pytest.fixture(autouse=True)
def _gone() -> Iterator[None]:
    yield
    down(NAME)
    there = spaces(f"{BY_LINES}-")
    evict(there)
    for space in there:
        remove(space)
    assert spaces(f"{BY_LINES}-") == []


def shell(lines: list[str], space: str | None = None) -> None:
    entered = ["ip", "netns", "exec", space] if space else []
    ran = subprocess.run(
        [*entered, "sh", "-e"], input="\n".join(lines), env=environment(), capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def asked(*command: str) -> Any:
    ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    return json.loads(ran.stdout or "[]")


def facts(name: str, space: Space, label: str) -> dict[str, Any]:
    """What the kernel says of a namespace, without what differs from one making of it to the next."""
    there = f"{name}-{label}"
    asked_ = partial(asked, "ip", "-n", there, "-d", "-j")
    found: dict[str, Any] = {
        "addresses": [
            {key: link.get(key) for key in ("ifname", "mtu", "address", "operstate", "inet6_addr_gen_mode")}
            | {"addr_info": [{k: v for k, v in one.items() if "time" not in k} for one in link["addr_info"]]}
            for link in asked_("address", "show")
        ],
        "routes": [sorted(map(str, asked_(version, "route", "show", "table", "main"))) for version in ("-4", "-6")],
        "neighbors": sorted(
            str(neighbor) for neighbor in asked_("neighbor", "show", "nud", "permanent") if "lladdr" in neighbor
        ),
        "shapers": [
            {key: shaper.get(key) for key in ("kind", "dev", "options", "root")}
            for shaper in asked("tc", "-n", there, "-j", "qdisc", "show")
        ],
        "offloads": [offloads(there, interface.name) for interface in space.interfaces],
    }
    return found


def assert_alike(space: Space, label: str) -> None:
    """A node of both makings is the same, once the kernel has brought up its links, which takes a moment."""
    end = time.monotonic() + 10
    while facts(BY_LINES, space, label) != facts(NAME, space, label) and time.monotonic() < end:
        time.sleep(0.1)
    assert facts(BY_LINES, space, label) == facts(NAME, space, label)


OFF = (
    "\ttx-checksum-ip-generic:",
    "\ttx-tcp-segmentation:",
    "\ttx-tcp6-segmentation:",
    "generic-segmentation-offload:",
    "generic-receive-offload:",
)


def offloads(space: str, interface: str) -> list[str]:
    ran = subprocess.run(
        ["ip", "netns", "exec", space, "ethtool", "-k", interface],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in ran.stdout.splitlines() if line.startswith(OFF)]


def settings(space: str) -> str:
    keys = ["ipv4/ip_forward", "ipv4/fib_multipath_hash_policy", "ipv6/fib_multipath_hash_policy"]
    keys += [f"ipv6/conf/all/{key}" for key in ("forwarding", "seg6_enabled", "accept_dad")]
    keys += [f"ipv6/conf/e0/{key}" for key in ("forwarding", "seg6_enabled", "accept_ra", "router_solicitations")]
    return within(space, lambda: " ".join(Path("/proc/sys/net", key).read_text().strip() for key in keys))


def delivered(scenario: ValidScenario, plan: BedPlan) -> int:
    """Send a packet of each IP version along every path of some pairs; how many there were, all of which arrived."""
    hosts = plan.bed.hosts()
    pairs = list(itertools.permutations(range(len(hosts)), 2))[:4]
    assembled = scenario.assembled(pairs)
    count = 0
    for family, address in ((0, "198.19.0.77"), (1, "2001:db8::77")):
        for number, path in enumerate(assembled.network.paths):
            a, b = (hosts[place] for place in pairs[path.group])
            segments = (*path.segments, assembled.decapsulate[path.group][family])
            inner = udp(address, b.addresses[family], f"{family} {number}".encode())
            with within(b.namespace, partial(listening, b.addresses[family])) as arrivals:
                within(a.namespace, partial(send, [frame(scenario, inner, segments)], "e0"))
                assert arrivals.recv(100) == f"{family} {number}".encode()
            count += 1
    return count


@needs_ethtool
@pytest.mark.parametrize("kind", SCENARIOS)
def test_the_lines_of_ip_build_what_up_builds(kind: str, tmp_path: Path) -> None:
    scenario = scenario_of(kind, tmp_path)
    up(scenario, NAME)
    plan = planned(scenario, BY_LINES)
    shell(configuration(plan, "ip").lines)
    for space in plan.bed.spaces:
        label = label_of(plan.bed, space)
        assert_alike(space, label)
        assert settings(space.namespace) == settings(f"{NAME}-{label}")
        assert survey(as_json(space), plan.bed.mtu).missing == []
    down(NAME)
    assert delivered(scenario, plan) >= 4


@needs_ethtool
def test_the_lines_of_a_node_configure_it_from_within(tmp_path: Path) -> None:
    """As on a machine of its own, whose interfaces are there; of a leaf-spine of 2 times 4 all packets arrive."""
    scenario = scenario_of("leaf-spine-2x4", tmp_path)
    plan = planned(scenario, BY_LINES)
    shell([line for line in configuration(plan, "ip").lines if line.startswith(("ip netns add", "ip link add"))])
    for label, space in plan.nodes(hosts=True).items():
        shell(configuration(plan, "ip", label).lines, space.namespace)
        assert survey(as_json(space), plan.bed.mtu).missing == []
    assert delivered(scenario, plan) == 16


def as_json(space: Space) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(asdict(space)))
    return found


@contextlib.contextmanager
def frr(space: str, folder: Path) -> Iterator[None]:
    """FRR's daemons in a namespace, ended by their process ids; `folder` is theirs, with their sockets."""
    folder.mkdir()
    shutil.chown(folder, "frr")
    (folder / "empty.conf").touch()
    common = ["--vty_socket", str(folder), "-z", str(folder / "zserv.api"), "-d", "-f", str(folder / "empty.conf")]
    pids = []
    try:
        for daemon in (ZEBRA, STATICD):
            pid = folder / f"{Path(daemon).name}.pid"
            subprocess.run(
                ["ip", "netns", "exec", space, daemon, "-i", str(pid), *common],
                env=environment(),
                capture_output=True,
                check=True,
            )
            pids.append(int(pid.read_text()))
        yield
    finally:
        for number in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)
        for number in pids:
            while Path(f"/proc/{number}").exists():
                time.sleep(0.02)


@needs_frr
@needs_ethtool
@pytest.mark.parametrize("kind", ["leaf-spine-2x4", "leaf-spine-usid", "leaf-spine-functions"])
def test_frr_loads_addresses_and_routes_and_all_packets_arrive(kind: str, tmp_path: Path) -> None:
    """The nodes' plain routes are FRR's alone; SIDs that its release has no words for are the kernel's lines."""
    scenario = scenario_of(kind, tmp_path)
    plan = planned(scenario, BY_LINES)
    nodes = plan.nodes(hosts=False)
    own = tuple(f"ip -n {space.namespace} " for space in nodes.values())
    lines = configuration(plan, "ip").lines
    left_to_frr = [
        line
        for line in lines
        if line.startswith(own) and ((" route add" in line and "seg6local" not in line) or " address add" in line)
    ]
    assert len(left_to_frr) == sum(len(plan.plain_routes(s)) + 2 * len(s.interfaces) for s in nodes.values())
    # A SID needs the address that its next hop is a neighbour of: the kernel's SIDs come behind FRR's addresses.
    sids = [line for line in lines if "seg6local" in line]
    shell([line for line in lines if line not in left_to_frr and line not in sids])
    with tempfile.TemporaryDirectory() as home, contextlib.ExitStack() as daemons:
        Path(home).chmod(0o755)  # FRR's daemons run as a user of their own
        for label, space in nodes.items():
            folder = Path(home) / label
            daemons.enter_context(frr(space.namespace, folder))
            text = configuration(plan, "frr", label).lines
            (folder / "frr.conf").write_text("\n".join(text) + "\n")
            ran = subprocess.run(
                ["vtysh", "--vty_socket", folder, "-f", folder / "frr.conf"],
                env=environment(),
                capture_output=True,
                text=True,
                check=False,
            )
            refused = [
                text[int(line.split()[1].rstrip(":")) - 1].split()[0] for line in complaints(ran.stdout + ran.stderr)
            ]
            if kind == "leaf-spine-functions" and label == "leaf0":
                assert refused == []
            assert set(refused) <= {"prefix", "static-sids", "sid", "behavior"}, ran.stdout + ran.stderr
        shell(sids)
        for space in nodes.values():
            settled(space, plan.bed.mtu)
        assert delivered(scenario, plan) >= 16


def complaints(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("line ")]


def settled(space: Space, mtu: int) -> None:
    """Wait until all routes of a node lead where they were planned to."""
    wanted = {
        route.prefix: {(name, gateway) for name, gateway in route.ways} for route in space.routes if not route.sid
    }
    end = time.monotonic() + 10
    while True:
        found = {}
        for version in ("-4", "-6"):
            for route in asked("ip", "-n", space.namespace, "-j", version, "route", "show", "table", "main"):
                ways = route.get("nexthops") or [route]
                length = "" if "/" in route["dst"] else ("/32" if version == "-4" else "/128")
                found[route["dst"] + length] = {(way.get("dev"), way.get("gateway")) for way in ways}
        if wanted.items() <= found.items():
            return
        assert time.monotonic() < end, (space.place, {key: found.get(key) for key in wanted})
        time.sleep(0.1)
