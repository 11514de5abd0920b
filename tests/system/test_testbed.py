"""The testbed as the kernel builds it: packets of every encapsulation arrive over their links; nothing stays behind."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import segcast.replay.testbed.bed as beds
from segcast.analyzer.scenario.reading import read_scenario
from segcast.replay.inject.machines import environment
from segcast.replay.testbed.bed import down, status, up
from segcast.replay.testbed.build import has_delays
from segcast.replay.testbed.plan import plan_bed
from segcast.replay.testbed.spaces import inhabitants, spaces, within
from segcast.traces.errors import InputError
from segcast.traces.version import VERSION
from tests.conftest import Run
from tests.support.beds import NAME, SCENARIOS, frame, listening, needs_testbed, scenario_of, send, udp

pytestmark = needs_testbed

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _gone() -> Iterator[None]:
    yield
    down(NAME)
    assert spaces(f"{NAME}-") == []
    assert not (Path("/run/segcast") / NAME).exists()


def quiet() -> None:
    """Wait until interfaces have told their memberships of multicast groups: those are packets, too."""
    time.sleep(1.5)


def counted() -> dict[str, int]:
    return {link["link"]: link["packets"] for link in status(NAME)["links"]}


@pytest.mark.parametrize("kind", SCENARIOS)
def test_packets_of_every_path_reach_a_socket_over_its_links(kind: str, tmp_path: Path) -> None:
    scenario = scenario_of(kind, tmp_path)
    assert up(scenario, NAME)["state"] == "up"
    quiet()
    hosts = plan_bed(scenario, NAME).hosts()
    pairs = [pair for pair in itertools.product(range(len(hosts)), repeat=2) if pair[0] != pair[1]][:4]
    assembled = scenario.assembled(pairs)
    for family, address in ((0, "198.19.0.77"), (1, "2001:db8::77")):
        for number, path in enumerate(assembled.network.paths):
            a, b = (hosts[place] for place in pairs[path.group])
            segments = (*path.segments, assembled.decapsulate[path.group][family])
            inner = udp(address, b.addresses[family], f"{family} {number}".encode())
            before = counted()
            with within(b.namespace, partial(listening, b.addresses[family])) as arrivals:
                within(a.namespace, partial(send, [frame(scenario, inner, segments)], "e0"))
                assert arrivals.recv(100) == f"{family} {number}".encode()
            after = counted()
            expected = {assembled.network.links[link].name for link in path.links}
            assert {link for link in after if after[link] > before[link]} == expected


def test_packets_without_srv6_pass_by_the_prefixes_of_attachments(tmp_path: Path) -> None:
    up(scenario_of("graph", tmp_path), NAME)
    west, east = plan_bed(scenario_of("graph", tmp_path), NAME).hosts()
    macs = bytes.fromhex("020000000002020000000001")
    for family, kind in ((0, b"\x08\x00"), (1, b"\x86\xdd")):
        with within(east.namespace, partial(listening, east.addresses[family])) as arrivals:
            packet = udp(west.addresses[family], east.addresses[family], b"plain")
            within(west.namespace, partial(send, [macs + kind + packet], "e0"))
            assert arrivals.recv(100) == b"plain"


def test_links_have_their_rate_and_their_buffer(tmp_path: Path) -> None:
    scenario = scenario_of("parallel", tmp_path)
    up(scenario, NAME)
    quiet()
    left, right = plan_bed(scenario, NAME).hosts()
    inner = udp("2001:db8::1", right.addresses[1], bytes(1200))
    packet = frame(scenario, inner, ("fd00:0:1000::1", "fd00:0:20::d6"))
    room = 65536 + 10000  # the buffer, and what a full bucket lets pass at once
    with within(right.namespace, partial(listening, right.addresses[1])) as arrivals:
        before = counted()["upper"]
        started = time.monotonic()
        within(left.namespace, partial(send, [packet] * 400, "e0"))
        sent_in = time.monotonic() - started
        got = 0
        while True:
            try:
                arrivals.recv(2000)
                got += 1
            except TimeoutError:
                break
    passed = room + sent_in * 100e6 / 8
    assert got == counted()["upper"] - before
    assert room / len(packet) - 3 <= got <= passed / len(packet) + 3


def test_up_is_idempotent_and_replaces_another_network(tmp_path: Path) -> None:
    first = up(scenario_of("leaf-spine", tmp_path), NAME)
    assert first["state"] == "up"
    assert first["sids"] == status(NAME)["sids"] == scenario_of("leaf-spine", tmp_path).whole_sid_table().as_dict()
    inode = (Path("/run/netns") / f"{NAME}-leaf0").stat().st_ino
    assert up(scenario_of("leaf-spine", tmp_path), NAME)["namespaces"] == first["namespaces"]
    assert (Path("/run/netns") / f"{NAME}-leaf0").stat().st_ino == inode
    other = up(scenario_of("parallel", tmp_path), NAME)
    assert f"{NAME}-leaf0" not in other["namespaces"]
    assert other["state"] == "up"


def test_up_takes_note_of_a_scenario_that_builds_the_same_network(tmp_path: Path) -> None:
    first, other = (scenario_of("leaf-spine", tmp_path) for _ in range(2))
    other = other.model_copy(update={"srv6": other.srv6.model_copy(update={"tag": 7})})
    inodes = set()
    for scenario in (first, other):
        assert up(scenario, NAME)["state"] == "up"
        inodes.add((Path("/run/netns") / f"{NAME}-leaf0").stat().st_ino)
    assert len(inodes) == 1
    assert beds.standing(NAME)[0].srv6 == other.srv6


def test_what_lost_a_part_is_partial_and_mended(tmp_path: Path) -> None:
    up(scenario_of("leaf-spine", tmp_path), NAME)
    beds.remove(f"{NAME}-spine0")
    found = status(NAME)
    assert (found["state"], found["missing"]) == ("partial", [f"{NAME}-spine0"])
    assert up(scenario_of("leaf-spine", tmp_path), NAME)["state"] == "up"


_SLOWER = "tbf rate 90mbit burst 10kb limit 64kb"
DAMAGES = {
    "shaper of leaf0-spine0": ("tc", "qdisc del dev e0 root"),
    "shaper of leaf0-spine1": ("tc", f"qdisc change dev e1 root {_SLOWER}"),
    "routes, such as fd00:0:": ("ip", "-6 route flush table main"),
    "routes, such as 198.19.0.1/32": ("ip", "-4 route flush table main"),
    "1 of 19 routes, such as fd00:0:1003::/48": ("ip", "-6 route del fd00:0:1003::/48"),
    "interface e1": ("ip", "link set e1 down"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_partial_and_built_anew(damage: str, tmp_path: Path) -> None:
    up(scenario_of("leaf-spine", tmp_path), NAME)
    space = f"{NAME}-leaf0"
    tool, words = DAMAGES[damage]
    subprocess.run([tool, "-n", space, *words.split()], check=True, env=environment())
    found = status(NAME)
    assert found["state"] == "partial"
    assert all(line.startswith(f"{space}: ") for line in found["missing"])
    assert any(damage in line for line in found["missing"]), found["missing"]
    with pytest.raises(InputError, match=f"does not stand as it was built .{space}"):
        beds.standing(NAME)
    assert up(scenario_of("leaf-spine", tmp_path), NAME)["state"] == "up"


def test_down_ends_what_lives_in_it(tmp_path: Path) -> None:
    up(scenario_of("leaf-spine", tmp_path), NAME)
    living = subprocess.Popen(["ip", "netns", "exec", f"{NAME}-leaf0", "sleep", "100"])
    while living.pid not in inhabitants([f"{NAME}-leaf0"]):
        time.sleep(0.01)
    assert down(NAME)["processes_ended"] == 1
    assert living.wait(5) != 0
    assert down(NAME)["namespaces_removed"] == []


def test_a_failure_while_building_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr("segcast.replay.testbed.netlink.Requests.add_shaper", refuse)
    with pytest.raises(InputError, match=r"token bucket of leaf0-spine0: the kernel refuses it: .*CONFIG_NET_SCH_TBF"):
        up(scenario_of("leaf-spine", tmp_path), NAME)
    assert spaces(f"{NAME}-") == []
    assert status(NAME)["state"] == "down"


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with beds.held(NAME):
        code = f"from segcast.replay.testbed.bed import down; down({NAME!r})"
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"testbed {NAME}: is in use by process" in run.stderr


def test_refusals_are_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "s.toml"
    file.write_text(SCENARIOS["leaf-spine"])
    with monkeypatch.context() as user:
        user.setattr("os.geteuid", lambda: 1000)
        for arguments in (("up", file), ("down",)):
            ran = run("testbed", *arguments, "--name", NAME)
            assert (ran.code, ran.out) == (2, "")
            assert "takes root" in ran.err
            assert ran.err.count("\n") == 1
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyroute2", None)
        ran = run("testbed", "up", file, "--name", NAME)
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "pip install 'pyroute2" in ran.err
    ran = run("testbed", "status", "--name", NAME, "--json")
    document = json.loads(ran.out)
    assert document == {"segcast": VERSION, "schema_version": 1, "name": NAME, "state": "down", "namespaces": []}


def test_the_command_line(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(SCENARIOS["parallel"])
    planned = json.loads(run("testbed", "plan", file, "--json").out)
    ran = run("testbed", "plan", file)
    assert (ran.code, ran.err) == (0, "")
    assert "path1.0  End      fd00:0:1001::1" in ran.out
    assert "path 0, left to right: fd00:0:1000::1 fd00:0:20::d4 | fd00:0:1000::1 fd00:0:20::d6" in ran.out
    ran = run("testbed", "up", file, "--name", NAME)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(run("testbed", "status", "--name", NAME, "--json").out)["sids"] == planned["sids"]
    assert "upper: 100 Mbit/s, 65,536 bytes" in ran.out
    assert "note: the propagation delay" in ran.out
    ran = run("testbed", "down", "--name", NAME)
    assert (ran.code, ran.out) == (0, f"testbed {NAME}: 7 namespaces removed\n")


def test_delays_are_asked_for_where_the_kernel_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This kernel's own answer decides; where it says yes, a link of 20 ms takes them."""
    scenario = read_scenario(_with_delay(tmp_path))
    notes = up(scenario, NAME)["notes"]
    assert any("no netem" in note for note in notes) is not has_delays()
    if not has_delays():
        monkeypatch.setattr("segcast.replay.testbed.bed.has_delays", lambda: True)
        down(NAME)
        with pytest.raises(InputError, match=r"token bucket of .*: the kernel refuses it"):
            up(scenario, NAME)
        assert spaces(f"{NAME}-") == []
        pytest.skip("this kernel has no netem, so no delay was measured")
    left, right = plan_bed(scenario, NAME).hosts()[:2]
    command = ["ip", "netns", "exec", left.namespace, "ping", "-c", "3", "-i", "0.2", right.addresses[0]]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert float(text.rsplit("= ", 1)[1].split("/")[0]) >= 40


def _with_delay(folder: Path) -> Path:
    file = folder / "delayed.toml"
    file.write_text(SCENARIOS["parallel"].replace('rate = "100Mbps"', 'rate = "100Mbps", delay = "20ms"'))
    return file
