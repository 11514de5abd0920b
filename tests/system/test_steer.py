"""Real packets of a host, steered: they arrive over the paths chosen, and whatever ends the steering leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.rewrite.of_forecast import encapsulation
from segcast.replay.srv6.templates import templates
from segcast.replay.steer import attach as attaching
from segcast.replay.steer import clsact
from segcast.replay.steer.attach import unpin
from segcast.replay.steer.bpf import TCX_EGRESS, attach_tcx
from segcast.replay.steer.program import Program, Room
from segcast.replay.steer.surroundings import refusals
from segcast.replay.testbed.bed import down
from segcast.replay.testbed.plan import plan_bed
from segcast.replay.testbed.spaces import spaces, within
from segcast.traces.errors import InputError
from tests.support.beds import NAME, needs_namespaces
from tests.support.steered_hosts import (
    ADDRESSES,
    COMMAND,
    ETH_P_IPV6,
    ROOT,
    SCENARIO,
    attaching_command,
    command,
    here,
    run,
    settled,
    space_of,
    stand,
    steered,
    transfer,
    until,
)
from tests.support.steering import needs_bpf
from tests.twins.hashing import flow_key, mix

pytestmark = [needs_namespaces, needs_bpf]


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValidScenario]:
    yield stand(tmp_path_factory.mktemp("steer"), "reduced")
    down(NAME)
    assert spaces(f"{NAME}-") == []


@pytest.mark.parametrize("mode", ["encaps", "usid", "reduced"])
def test_tcp_arrives_steered_at_both_ends(tmp_path: Path, mode: str) -> None:
    """The last mode leaves the testbed as the other tests want it."""
    scenario = stand(tmp_path, mode)
    with steered(scenario, "leaf0", "spray") as sender, steered(scenario, "leaf1") as receiver:
        for family in (0, 1):
            for super_frames in (True, False):
                transfer(family, super_frames=super_frames)
        assert all(count > 100_000 for count in sender.sent_bytes().values())
        assert settled(sender) == settled(receiver) == [0] * 8
        for host in (sender, receiver):
            tally = host.tally()
            assert tally["flows"] == 4
            assert not any(tally[name] for name in ("dropped", "push_failed", "too_long", "uncounted", "log_lost"))
        flowlets = sender.flowlets()
        assert sum(flowlets.column("bytes").to_pylist()) > 4_000_000
        assert set(flowlets.column("path_id").to_pylist()) == set(sender.plan.paths)


def test_packets_at_the_first_hop_have_the_headers_that_rewrite_writes(scenario: ValidScenario) -> None:
    bed = plan_bed(scenario, NAME)
    spaces_of = {space.namespace: space for space in bed.spaces}
    mac = spaces_of[space_of("leaf0")].interfaces[0].mac
    leaf = f"{NAME}-leaf0"
    facing = next(each.name for each in spaces_of[leaf].interfaces if each.peer_mac == mac)
    around = encapsulation(scenario, scenario.assembled([(0, 1)]), 2, steered=True)
    wires = templates(around)
    with steered(scenario, "leaf0", "round-robin", "1ns") as host, ExitStack() as stack:

        def listen() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            made.bind((facing, ETH_P_IPV6))
            made.settimeout(5)
            return made

        wire = stack.enter_context(within(leaf, listen))
        for family, kind in enumerate((socket.AF_INET, socket.AF_INET6)):
            source, target = (ADDRESSES[place][family] for place in ADDRESSES)
            sender = stack.enter_context(within(space_of("leaf0"), partial(socket.socket, kind, socket.SOCK_DGRAM)))
            sender.bind((source, 7777))
            label = mix(flow_key(source, target, 17, 7777, 7)) & 0xFFFFF
            for number in range(8):
                sender.sendto(b"number %d" % number, (target, 7))
                frame = wire.recv(2048)
                while frame[14 + 6] not in (4, 41, 43):
                    frame = wire.recv(2048)
                path = number % 4
                header = bytearray(wires.headers[family, path, : wires.header_bytes[family, path]].tobytes())
                header[:4] = struct.pack("!I", 6 << 28 | label)
                header[4:6] = struct.pack("!H", len(frame) - 54)
                header[8:24] = around.source[family]
                assert frame[14 : 14 + len(header)] == header
                assert frame[14 + len(header)] >> 4 == (4, 6)[family]
                assert frame.endswith(b"number %d" % number)
        assert host.tally()["steered"] == 16


@pytest.fixture
def folder(scenario: ValidScenario, tmp_path: Path) -> Path:
    (tmp_path / "s.toml").write_text(SCENARIO + '[srv6]\nmode = "reduced"\n')
    return tmp_path


HOOKS = ("tcx", "clsact")


def nothing_left() -> bool:
    number = within(space_of("leaf0"), lambda: socket.if_nametoindex("e0"))
    return here() == [] and not within(space_of("leaf0"), lambda: clsact.has_qdisc(number))


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_whatever_ends_it_nothing_stays_and_traffic_goes_on(folder: Path, number: int, hook: str) -> None:
    attach = attaching_command(folder, "--hook", hook, "--attach")
    with subprocess.Popen(attach, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        until(lambda: len(here()) == 2)
        assert here() == ["segcast_egress", "segcast_ingress"]
        transfer(0)
        child.send_signal(number)
        said, _ = child.communicate()
    # Who gave no end ends it so: what was done is told, as after --for.
    if number != signal.SIGKILL:
        assert (child.returncode, "packets steered" in said) == (0, True)
    until(nothing_left)
    transfer(0)


def test_it_ends_by_itself_and_leaves_its_log(folder: Path) -> None:
    log = folder / "flowlets.parquet"
    asked = attaching_command(folder, "--attach", "--for", "4s", "--log", str(log), "--json")
    with subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        until(lambda: len(here()) == 2)
        transfer(1)
        document = json.loads(child.communicate()[0])
    assert child.returncode == 0
    assert document["tally"]["flows"] == 1
    assert pq.read_table(log).num_rows == document["tally"]["flowlets"] > 0
    assert here() == []


def test_without_attach_the_plan_is_printed_and_nothing_touched(folder: Path) -> None:
    done = subprocess.run(attaching_command(folder), cwd=ROOT, capture_output=True, text=True, check=True)
    assert "path 3, slot 3 to leaf1: fd00:0:1004::1 fd00:0:1005::d4" in done.stdout
    assert "refused" not in done.stdout
    assert done.stderr == "nothing is attached: give --attach\n"
    assert here() == []
    plan = command("leaf0", "plan", str(folder / "s.toml"), "--iface", "e0", "--json")
    document = json.loads(subprocess.run(plan, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert document["largest_packet_bytes"] == 2000 - 64
    assert document["refused"] == [
        "e0: a default route leaves by it, so it may be what you are connected by; --i-mean-it"
    ]
    assert [path["header_ipv6"][:2] for path in document["paths"]] == ["60"] * 4


def test_what_is_pinned_stays_until_it_is_detached(
    scenario: ValidScenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "bpf"
    files.mkdir()
    monkeypatch.setattr(attaching, "BPF_FILES", files)
    nowhere = pytest.raises(InputError, match=r"cannot be pinned to .*; mount -t bpf bpf")
    with steered(scenario, "leaf0") as host, nowhere:
        within(space_of("leaf0"), host.pin)
    assert here() == []
    run("mount", "-t", "bpf", "bpf", str(files))
    try:
        with steered(scenario, "leaf0") as host:
            within(space_of("leaf0"), host.pin)
        assert len(here()) == 2
        transfer(0)
        assert within(space_of("leaf0"), lambda: unpin("e0"))
        until(lambda: here() == [])
        assert not within(space_of("leaf0"), lambda: unpin("e0"))
    finally:
        run("umount", str(files))


def against(**how: Any) -> list[str]:
    targets, most = how.pop("targets", [("10.1.0.0/24", "leaf1")]), how.pop("most", 64)
    name = how.pop("interface", "e0")
    return within(how.pop("space", space_of("leaf0")), lambda: refusals(name, targets, most, **how))


def test_what_speaks_against_attaching_is_said(scenario: ValidScenario) -> None:
    assert against(allow_default_route=True) == []
    assert against() == ["e0: a default route leaves by it, so it may be what you are connected by; --i-mean-it"]
    assert "the MTU" not in str(against(most=500))
    (only,) = against(most=501, allow_default_route=True)
    assert only == (
        "e0: packets to 10.1.0.0/24 (leaf1) may have 1500 bytes, and with their header 501 more, over its MTU of "
        "2000; give the route an MTU of 1499: ip route replace 10.1.0.0/24 ... mtu 1499"
    )
    assert against(interface="lo") == [
        "lo: packets of this machine to itself have no paths; give the interface that leads to the network"
    ]
    with pytest.raises(InputError, match="--iface e9: there is no such interface here; there are lo, e0"):
        against(interface="e9")
    with steered(scenario, "leaf0"):
        (only,) = against(allow_default_route=True)[:1]
        assert only.startswith("e0: is steered already")
    with Program(Room(1, 1, 1, flows=64, outstanding=64, records=64)) as foreign:
        number = within(space_of("leaf0"), lambda: socket.if_nametoindex("e0"))
        link = within(space_of("leaf0"), lambda: attach_tcx(foreign.entries["sweep"], number, TCX_EGRESS))
        (only,) = against(allow_default_route=True)
        assert only.startswith("e0: has a program 'segcast_sweep' at egress (id ")
        os.close(link)


def test_nobody_else_may_attach(folder: Path) -> None:
    asked = ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
    with tempfile.TemporaryDirectory() as readable:  # not below pytest's own folder, which is root's
        Path(readable).chmod(0o777)
        scenario = shutil.copy(folder / "s.toml", readable)
        arguments = ["attach", scenario, "--iface", "e0", "--policy", "random", "--timeout", "1ms", "--attach"]
        done = subprocess.run(
            ["ip", "netns", "exec", space_of("leaf0"), *asked, *COMMAND, *arguments, "--i-mean-it"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HOME": readable, "NUMBA_CACHE_DIR": readable},
        )
    assert done.returncode == 2
    assert "steering takes root (CAP_BPF and CAP_NET_ADMIN); run it with sudo" in done.stderr
    assert here() == []
