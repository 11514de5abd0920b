"""However steering ends, nothing of it stays and traffic goes on: killed, or without its interface or namespace.

SEGCAST_STEER_KILLS says how often it is killed at random moments, SEGCAST_STEER_SEED which those are.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from segcast.analyzer.scenario.valid import ValidScenario
from segcast.replay.steer import clsact
from segcast.replay.steer.attach import pin_folder
from segcast.replay.steer.bpf import program_name
from segcast.replay.steer.program import Program, Room
from segcast.replay.steer.surroundings import hooks
from segcast.replay.testbed.bed import down
from segcast.replay.testbed.spaces import create, inhabitants, remove, spaces, within
from segcast.traces.errors import InputError
from tests.support.beds import NAME, needs_namespaces
from tests.support.steered_hosts import (
    ADDRESSES,
    COMMAND,
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

pytestmark = [needs_namespaces, needs_bpf]

KILLS = int(os.environ.get("SEGCAST_STEER_KILLS", "3"))
SEED = int(os.environ.get("SEGCAST_STEER_SEED", "1"))
HOST = space_of("leaf0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ends")
    stand(folder, "reduced")
    yield folder
    down(NAME)
    assert spaces(f"{NAME}-") == []


@pytest.fixture(scope="module")
def scenario(folder: Path) -> ValidScenario:
    return stand(folder, "reduced")


def has_qdisc(space: str = HOST) -> bool:
    return within(space, lambda: clsact.has_qdisc(socket.if_nametoindex("e0")))


def programs(space: str = HOST) -> list[int]:
    """Numbers of the programs at the interface; none if that is gone."""
    try:
        return within(space, lambda: [hook.program_id for hook in hooks("e0")])
    except InputError:
        return []


def nothing_left(seen: list[int]) -> bool:
    """No program at the interface, no qdisc, no pin, no process, and those once seen are unloaded."""
    pinned = within(HOST, lambda: pin_folder("e0").exists())
    there = here() or has_qdisc() or pinned or any(program_name(number).startswith("segcast_") for number in seen)
    return not there and not inhabitants([HOST])


class Stream:
    """One TCP connection, steered or not, over which bytes go all the time."""

    def __init__(self, stack: ExitStack) -> None:
        source, target = (ADDRESSES[place][0] for place in ADDRESSES)
        listener = stack.enter_context(within(space_of("leaf1"), lambda: socket.create_server((target, 0))))
        self.sender = stack.enter_context(within(HOST, socket.socket))
        self.sender.bind((source, 0))
        self.sender.settimeout(30)
        self.sender.connect(listener.getsockname())
        self.receiver = stack.enter_context(listener.accept()[0])
        self.receiver.settimeout(30)
        self.sent, self.received, self.arrived = hashlib.sha256(), hashlib.sha256(), 0
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=work) for work in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self) -> None:
        numbers = random.Random(SEED)
        while not self.ending.wait(0.005):
            piece = numbers.randbytes(20_000)
            self.sent.update(piece)
            self.sender.sendall(piece)
        self.sender.shutdown(socket.SHUT_WR)

    def receive(self) -> None:
        while piece := self.receiver.recv(1 << 16):
            self.received.update(piece)
            self.arrived += len(piece)

    def end(self) -> None:
        """All that was sent has arrived, in order and whole."""
        self.ending.set()
        for thread in self.threads:
            thread.join()
        assert self.sent.digest() == self.received.digest()


@contextmanager
def attached(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A controller, which is ended at the end if it is still there."""
    asked = attaching_command(folder, "--attach", *more)
    with subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def test_killed_at_random_moments_nothing_stays_and_a_connection_lives_on(
    scenario: ValidScenario, folder: Path
) -> None:
    numbers = random.Random(SEED)
    begun = time.monotonic()
    with attached(folder, "--hook", "clsact"):
        until(lambda: len(here()) == 2)
        usual = time.monotonic() - begun
    until(lambda: nothing_left([]))
    with ExitStack() as stack:
        stream = Stream(stack)
        reached = 0
        for number in range(KILLS):
            by = ("clsact", "tcx")[number % 2]
            # Half of them in the last fifth before it is attached, or as long after.
            low, high = ((0.0, 2.0), (0.8, 1.2))[number // 2 % 2]
            with attached(folder, "--hook", by) as child:
                end = time.monotonic() + usual * numbers.uniform(low, high)
                seen: list[int] = []
                while time.monotonic() < end:
                    seen = programs() or seen
                    time.sleep(0.01)
                child.kill()
                seen = programs() or seen
            reached += bool(seen)
            until(lambda: nothing_left(seen))  # noqa: B023
            before = stream.arrived
            until(lambda: stream.arrived > before + 20_000)  # noqa: B023
        stream.end()
        assert stream.arrived > KILLS * 20_000
    print(f"{KILLS} kills, {reached} of them while programs were attached; {stream.arrived} bytes went on")
    assert KILLS < 8 or 0 < reached < KILLS


def guard_of(child: subprocess.Popen[str]) -> int:
    """The process beside the controller."""
    (guard,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    return int(guard)


def status() -> str:
    return subprocess.run(command("leaf0", "status"), cwd=ROOT, capture_output=True, text=True, check=True).stdout


def detach() -> str:
    asked = command("leaf0", "detach", "--iface", "e0")
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_filters_that_nobody_holds_do_nothing_are_shown_and_taken_off(folder: Path) -> None:
    with attached(folder, "--hook", "clsact") as child:
        until(lambda: len(here()) == 2)
        seen = programs()
        os.kill(guard_of(child), signal.SIGKILL)
        child.kill()
    assert programs() == seen
    assert has_qdisc()
    transfer(0)  # unsteered: they go on in a map that went with the controller
    said = status()
    assert f"e0 egress by clsact: program {seen[0]} 'segcast_egress', Segcast's\n" in said
    again = subprocess.run(
        attaching_command(folder, "--attach", "--hook", "clsact"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert again.returncode == 2
    assert "is steered already" in again.stderr
    assert "segcast steer detach --iface e0" in again.stderr
    assert detach() == "e0: detached\n"
    until(lambda: nothing_left(seen))
    assert status() == "nothing is attached\n"
    assert detach() == "e0: nothing was left there\n"
    transfer(1)


def test_who_loses_the_process_beside_it_or_its_filters_ends(folder: Path) -> None:
    for lost in ("guard", "filters"):
        with attached(folder, "--hook", "clsact") as child:
            until(lambda: len(here()) == 2)
            seen = programs()
            if lost == "guard":
                os.kill(guard_of(child), signal.SIGKILL)
            else:
                detach()
            said = child.communicate(timeout=20)[1]
            assert child.returncode == 2
        why = {"guard": "who takes the filters off again was ended; detached", "filters": "somebody has taken off"}
        assert why[lost] in said
        assert said.count("\n") == 1
        until(lambda: nothing_left(seen))  # noqa: B023
    transfer(0)


def test_filters_of_others_that_come_later_stay(scenario: ValidScenario) -> None:
    number = within(HOST, lambda: socket.if_nametoindex("e0"))
    with Program(Room(1, 1, 1, flows=64, outstanding=64, records=64)) as foreign:
        with steered(scenario, "leaf0", by="clsact"):
            within(HOST, lambda: clsact.add_filter(number, "ingress", foreign.entries["sweep"], "somebody's"))
            assert sorted(here()) == ["segcast_egress", "segcast_ingress", "segcast_sweep"]
        assert here() == ["segcast_sweep"]
        assert has_qdisc()
        run("tc", "-n", HOST, "qdisc", "delete", "dev", "e0", "clsact")
    until(lambda: nothing_left([]))


def test_clsact_steers_as_tcx_does(scenario: ValidScenario) -> None:
    with (
        steered(scenario, "leaf0", "spray", by="clsact") as sender,
        steered(scenario, "leaf1", by="clsact") as receiver,
    ):
        assert here() == ["segcast_egress", "segcast_ingress"]
        for family in (0, 1):
            for super_frames in (True, False):
                transfer(family, super_frames=super_frames)
        assert all(count > 100_000 for count in sender.sent_bytes().values())
        assert settled(sender) == settled(receiver) == [0] * 8
        for host in (sender, receiver):
            tally = host.tally()
            assert tally["flows"] == 4
            assert not any(tally[name] for name in ("dropped", "push_failed", "too_long", "uncounted", "log_lost"))
    until(lambda: nothing_left([]))


def test_a_kernel_without_tcx_is_steered_by_clsact(folder: Path) -> None:
    """The kernel says of tcx what one before 6.6 does: that it knows no such thing."""
    asked = attaching_command(folder, "--attach", "--for", "3s", "--json")
    older = [sys.executable, "-m", "tests.support.refusing", "28,16", "EINVAL"]
    at = asked.index(COMMAND[0])
    with subprocess.Popen([*asked[:at], *older, *asked[at:]], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        until(lambda: len(here()) == 2)
        assert within(HOST, lambda: {hook.by for hook in hooks("e0")}) == {"clsact"}
        transfer(1)
        said = child.communicate()[0]
    assert child.returncode == 0
    assert '"by": "clsact"' in said
    until(lambda: nothing_left([]))
    checked = subprocess.run([*older, *COMMAND, "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "has no tcx, which came with 6.6; clsact is not tried here" in checked.stdout
    assert "a host here can be steered" in checked.stdout


def lone_host(space: str, folder: Path) -> list[str]:
    """A host with a neighbour at the other end of its wire, both in one namespace; what steers it."""
    create(space)
    run("ip", "-n", space, "link", "add", "e0", "type", "veth", "peer", "name", "e1")
    for name in ("e0", "e1", "lo"):
        run("ip", "-n", space, "link", "set", name, "up")
    run("ip", "-n", space, "address", "add", "10.0.0.1/24", "dev", "e0")
    run("ip", "-n", space, "route", "add", "10.1.0.0/24", "dev", "e0", "mtu", "1400")
    (folder / "s.toml").write_text(SCENARIO)
    rules = ["--policy", "random", "--timeout", "1ms", "--attach"]
    return ["ip", "netns", "exec", space, *COMMAND, "attach", str(folder / "s.toml"), "--iface", "e0", *rules]


@pytest.mark.parametrize("by", ["tcx", "clsact"])
def test_an_interface_that_goes_ends_it_with_a_line(by: str, tmp_path: Path) -> None:
    space = f"{NAME}-gone"
    asked = [*lone_host(space, tmp_path), "--hook", by]
    try:
        with subprocess.Popen(asked, cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
            until(lambda: len(programs(space)) == 2)
            seen = programs(space)
            run("ip", "-n", space, "link", "delete", "e0")
            said = child.communicate(timeout=20)[1]
        assert (child.returncode, said) == (2, "segcast: e0: is gone, and what steered there with it\n")
        until(lambda: not any(program_name(number) for number in seen) and not inhabitants([space]))
    finally:
        remove(space)


@pytest.mark.parametrize("by", ["tcx", "clsact"])
def test_a_namespace_that_goes_takes_all_with_it_once_its_controller_ends(by: str, tmp_path: Path) -> None:
    space = f"{NAME}-gone"
    asked = [*lone_host(space, tmp_path), "--hook", by]
    try:
        with subprocess.Popen(asked, cwd=ROOT, stderr=subprocess.DEVNULL) as child:
            until(lambda: len(programs(space)) == 2)
            seen = programs(space)
            beside = guard_of(child) if by == "clsact" else 0
            remove(space)  # its name: who is in it keeps it
            child.kill()
    finally:
        remove(space)
    until(lambda: not any(program_name(number) for number in seen))
    until(lambda: not beside or not Path(f"/proc/{beside}").exists())
