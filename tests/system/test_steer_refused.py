"""Where nothing may be attached nothing is: one line says why, the exit status is 2, and the interface is as it was."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from segcast.replay.steer import clsact
from segcast.replay.steer.bpf import TCX_INGRESS, attach_tcx
from segcast.replay.steer.program import Program, Room
from segcast.replay.testbed.bed import down
from segcast.replay.testbed.spaces import spaces, within
from tests.support.beds import NAME, needs_namespaces
from tests.support.steered_hosts import COMMAND, ROOT, SCENARIO, here, run, space_of, stand
from tests.support.steering import needs_bpf

pytestmark = [needs_namespaces, needs_bpf]

HOST = space_of("leaf0")
NO_TCX = [sys.executable, "-m", "tests.support.refusing", "28,16", "EINVAL"]
NO_BPF = [sys.executable, "-m", "tests.support.refusing", "all", "ENOSYS"]
NO_PROGRAM = [sys.executable, "-m", "tests.support.refusing", "5", "EINVAL"]


@pytest.fixture(scope="module", autouse=True)
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    stand(tmp_path_factory.mktemp("refused"), "reduced")
    yield
    down(NAME)
    assert spaces(f"{NAME}-") == []


def without(*capabilities: str) -> list[str]:
    lost = ",".join(f"-{each}" for each in capabilities)
    return ["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}"]


def asked(tmp_path: Path, *more: str, before: list[str], interface: str = "e0") -> subprocess.CompletedProcess[str]:
    (tmp_path / "s.toml").write_text(SCENARIO + '[srv6]\nmode = "reduced"\n')
    rules = ["--policy", "random", "--timeout", "1ms", "--at", "leaf0", "--from", "10.0.0.1", "--attach", "--for", "5s"]
    attach = [*COMMAND, "attach", str(tmp_path / "s.toml"), "--iface", interface, *rules, *more]
    return subprocess.run(
        ["ip", "netns", "exec", HOST, *before, *attach],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
    )


@contextmanager
def a_route_of(mtu: int) -> Iterator[None]:
    via = run("ip", "-n", HOST, "route", "show", "0.0.0.0/1").split()
    gateway = via[via.index("via") + 1]
    run("ip", "-n", HOST, "route", "add", "10.1.0.0/24", "via", gateway, "dev", "e0", "mtu", str(mtu))
    try:
        yield
    finally:
        run("ip", "-n", HOST, "route", "delete", "10.1.0.0/24")


@contextmanager
def somebodys_tcx() -> Iterator[None]:
    with Program(Room(1, 1, 1, flows=64, outstanding=64, records=64)) as foreign:
        number = within(HOST, lambda: socket.if_nametoindex("e0"))
        link = within(HOST, lambda: attach_tcx(foreign.entries["sweep"], number, TCX_INGRESS))
        try:
            yield
        finally:
            os.close(link)


@contextmanager
def somebodys_clsact() -> Iterator[None]:
    with Program(Room(1, 1, 1, flows=64, outstanding=64, records=64)) as foreign:
        number = within(HOST, lambda: socket.if_nametoindex("e0"))
        within(HOST, lambda: clsact.add_qdisc(number))
        try:
            within(HOST, lambda: clsact.add_filter(number, "egress", foreign.entries["sweep"], "somebody's"))
            yield
        finally:
            run("tc", "-n", HOST, "qdisc", "delete", "dev", "e0", "clsact")


@contextmanager
def a_qdisc_alone() -> Iterator[None]:
    run("tc", "-n", HOST, "qdisc", "add", "dev", "e0", "clsact")
    try:
        yield
    finally:
        run("tc", "-n", HOST, "qdisc", "delete", "dev", "e0", "clsact")


@contextmanager
def nothing() -> Iterator[None]:
    yield


MEANT = ("--i-mean-it",)
CASES = {
    "nobody": (
        ["setpriv", "--reuid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"],
        MEANT,
        nothing,
        "steering takes root (CAP_BPF and CAP_NET_ADMIN); run it with sudo",
    ),
    "no CAP_BPF": (without("bpf", "sys_admin"), MEANT, nothing, "it lacks CAP_BPF or CAP_NET_ADMIN, as in a container"),
    "no CAP_NET_ADMIN": (without("net_admin", "sys_admin"), MEANT, nothing, "it lacks CAP_BPF or CAP_NET_ADMIN"),
    "no tcx": (NO_TCX, (*MEANT, "--hook", "tcx"), nothing, "has no tcx, which came with 6.6"),
    "no bpf": (NO_BPF, MEANT, nothing, "this kernel has no bpf(2)"),
    "no program": (NO_PROGRAM, MEANT, nothing, "refuses the program: Invalid argument"),
    "no room": (
        [],
        MEANT,
        lambda: a_route_of(1937),
        "over its MTU of 2000; give the route an MTU of 1936: ip route replace 10.1.0.0/24 ... mtu 1936",
    ),
    "default route": (
        [],
        (),
        nothing,
        "e0: a default route leaves by it, so it may be what you are connected by; --i-",
    ),
    "tcx of others": ([], MEANT, somebodys_tcx, "e0: has a program 'segcast_sweep' at ingress (id "),
    "clsact of others": ([], MEANT, somebodys_clsact, "e0: has a program 'segcast_sweep' at egress (id "),
    "a qdisc": (
        [],
        MEANT,
        a_qdisc_alone,
        "e0: has a clsact or ingress qdisc, which somebody means to use; take it off",
    ),
    "nowhere": ([], (*MEANT, "--log", "/nowhere/at/all/log.parquet"), nothing, "there is no folder /nowhere/at/all"),
}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_attached_and_one_line_says_why(name: str, tmp_path: Path) -> None:
    before, more, around, why = CASES[name]
    if name == "nobody" and subprocess.run([*before, "test", "-r", ROOT / "pyproject.toml"], check=False).returncode:
        pytest.skip("the checkout is in a folder that others than root may not read")
    for folder in (tmp_path, *tmp_path.parents[: -len(Path(tempfile.gettempdir()).parts)]):
        folder.chmod(0o755)
    with ExitStack() as stack:
        stack.enter_context(around())
        there = here()
        done = asked(tmp_path, *more, before=before)
        assert here() == there
        assert "Traceback" not in done.stderr
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert why in done.stderr
        assert done.stdout == ""
    assert here() == []
    assert not within(HOST, lambda: clsact.has_qdisc(socket.if_nametoindex("e0")))


@pytest.mark.parametrize(
    ("interface", "why"),
    [
        ("e9", "--iface e9: there is no such interface here; there are lo, e0"),
        ("lo", "lo: packets of this machine to itself have no paths; give the interface that leads to the network"),
        ("d0", "d0: no target is routed by it; 10.1.0.0/24 (leaf1) is the first"),
    ],
)
def test_interfaces_that_are_none_or_lead_nowhere(interface: str, why: str, tmp_path: Path) -> None:
    run("ip", "-n", HOST, "link", "add", "d0", "mtu", "2000", "type", "veth", "peer", "name", "d1")
    try:
        for end in ("d0", "d1"):
            run("ip", "-n", HOST, "link", "set", end, "up")
        done = asked(tmp_path, *MEANT, before=[], interface=interface)
    finally:
        run("ip", "-n", HOST, "link", "delete", "d0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert why in done.stderr
