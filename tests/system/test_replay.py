"""Injection: what is sent, what is refused, here and on machines behind ssh. In the testbed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from segcast.replay.inject import plan
from segcast.replay.inject.captures import missed
from segcast.replay.inject.plan import keeps_time, plan_replay
from segcast.replay.inject.senders import tcpreplay_counts
from segcast.replay.inventory import Inventory, Receiver, Sender, read_inventory
from segcast.replay.testbed.bed import down, held, inventory_of, up
from segcast.replay.testbed.plan import Bed
from segcast.traces.errors import InputError
from segcast.traces.version import VERSION
from tests.conftest import Run
from tests.support.beds import NAME, needs_testbed, rewritten, scenario_of
from tests.support.patience import once_in
from tests.support.replaying import (
    MS,
    US,
    inventory_file,
    only,
    packets,
    payloads,
    replayed,
    started,
)
from tests.twins import injecting


@pytest.mark.parametrize("sender", ["tcpreplay", "absolute"])
def test_packets_are_sent_and_captured(run: Run, bed: Bed, tmp_path: Path, sender: str) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(500)})
    ran = replayed(run, tmp_path, only(bed), "--sender", sender, "--transit", "--json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document == {"segcast": VERSION} | json.loads((tmp_path / "run" / "run.json").read_text())
    assert (document["complete"], document["reason"], document["cell"]) == (True, None, "random-100us-s1")
    assert document["tcpreplay"]["version"]
    assert document["burst_bytes"] == 10_000
    (row,) = document["senders"]
    assert (row["host"], row["clock"], row["sent"], row["failed"]) == ("leaf0", "testbed", 500, 0)
    (arrived,) = document["receivers"]
    assert (arrived["attachment"], arrived["capture"]) == ("leaf1", "received/leaf1.pcap")
    for name in (row["planned"], row["capture"], arrived["capture"]):
        assert payloads(tmp_path / "run" / name) == list(range(500)), name
    seen = {entry["link"]: tmp_path / "run" / entry["capture"] for entry in document["transit"]}
    assert payloads(seen["leaf0-spine0"]) == list(range(0, 500, 2))
    assert payloads(seen["leaf1-spine1-back"]) == list(range(1, 500, 2))
    assert row["timing"]["real_time"] is (True if sender == "absolute" else None)
    assert row["timing"]["late"] == (0 if sender == "absolute" else None) or row["timing"]["latest_ns"] > 1 * MS
    assert row["capture_real_time"] is arrived["capture_real_time"] is True
    times = [time for time, _ in injecting.read((tmp_path / "run" / row["capture"]).read_bytes())]
    assert row["timing"]["began_late_ns"] == times[0] - document["started_ns"]
    assert row["timing"]["stretch"] == (times[-1] - times[0]) / (499 * 200 * US)
    assert document["started_ns"] < injecting.read((tmp_path / "run" / row["capture"]).read_bytes())[0][0]


def test_the_own_sender_does_not_drift(run: Run, bed: Bed, tmp_path: Path) -> None:
    """Of each quarter of the packets the most punctual one counts: a stall makes some late, a drift all that follow."""
    count, gap_ns = 10_000, 100 * US

    def send(attempt: int) -> None:
        folder = tmp_path / str(attempt)
        folder.mkdir()
        rewritten(folder / "r", {"leaf0": packets(count, gap_ns)})
        assert replayed(run, folder, only(bed), "--sender", "absolute").code == 0
        left = [time for time, _ in injecting.read((folder / "run" / "sent" / "leaf0.pcap").read_bytes())]
        late_ns = [time - number * gap_ns for number, time in enumerate(left)]
        quarter = len(late_ns) // 4
        assert abs(min(late_ns[-quarter:]) - min(late_ns[:quarter])) < 5 * MS  # 2 us a packet would be 15 ms

    once_in(3, send)


def test_two_processes_share_an_interface(run: Run, bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows stay in order, whoever sends them; both directions of time are those of the plan."""
    monkeypatch.setattr(plan, "FOR_CAPTURES", 0)
    monkeypatch.setitem(plan.KEEPS_PPS, "absolute", 3_000)
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two processes that share a processor are none")
    flows = [(time_ns, data[:15] + bytes([0, 0, n % 7]) + data[18:]) for n, (time_ns, data) in enumerate(packets(700))]
    rewritten(tmp_path / "r", {"leaf0": flows})
    ran = replayed(run, tmp_path, only(bed), "--sender", "absolute", "--json")
    assert (ran.code, ran.err) == (0, "")
    (row,) = json.loads(ran.out)["senders"]
    assert (row["sent"], row["failed"]) == (700, 0)
    logs = sorted(file.name for file in (tmp_path / "run" / "log").glob("send-*"))
    assert logs == ["send-here-1-of-2.txt", "send-here-2-of-2.txt"]
    arrived = payloads(tmp_path / "run" / "received" / "leaf1.pcap")
    assert sorted(arrived) == list(range(700))
    for flow in range(7):
        mine = [number for number in arrived if number % 7 == flow and number % 2]
        assert mine == sorted(mine)


def test_senders_start_as_the_schedule_says(run: Run, bed: Bed, tmp_path: Path) -> None:
    later = [(time_ns + 300 * MS, data) for time_ns, data in packets(50)]

    def send(attempt: int) -> None:
        folder = tmp_path / str(attempt)
        folder.mkdir()
        rewritten(folder / "r", {"leaf0": packets(50), "leaf2": later})
        assert replayed(run, folder, inventory_of(bed)).code == 0
        captures = (folder / "run" / "sent" / f"{name}.pcap" for name in ("leaf0", "leaf2"))
        first = [injecting.read(capture.read_bytes())[0][0] for capture in captures]
        assert 200 * MS < first[1] - first[0] < 500 * MS

    once_in(3, send)


def test_gaps_are_calibrated(run: Run, bed: Bed, tmp_path: Path) -> None:
    def send(attempt: int) -> None:
        folder = tmp_path / str(attempt)
        folder.mkdir()
        rewritten(folder / "r", {"leaf0": packets(400)})
        ran = replayed(run, folder, only(bed), "--calibrate", "--json")
        assert ran.code == 0, ran.err
        document = json.loads(ran.out)
        if not keeps_time(document["tcpreplay"]["version"]):
            assert 0 < document["tcpreplay"]["compensation_ns"] < 150 * US
        assert payloads(folder / "run" / "received" / "leaf1.pcap") == list(range(400))
        assert not (folder / "run" / ".sending").exists()

    once_in(3, send)


def test_macs_are_those_of_the_inventory(run: Run, bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": [(t, bytes(12) + data[12:]) for t, data in packets(10)]})
    inventory = only(bed, source_mac="02:00:00:00:00:01", next_hop_mac="02:00:00:00:00:02")
    assert replayed(run, tmp_path, inventory).code == 0
    assert payloads(tmp_path / "run" / "received" / "leaf1.pcap") == list(range(10))


def test_without_consent_only_the_plan_is_said(run: Run, bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(10)})
    where = inventory_file(tmp_path, only(bed))
    for flags in ((), ("--out", tmp_path / "run", "--send", "--dry-run")):
        ran = run("replay", tmp_path / "r", "--inventory", where, *flags)
        assert ran.code == 0
        assert "10 packets" in ran.out
        assert "nothing was sent" in ran.out
        assert not (tmp_path / "run").exists()
    document = json.loads(run("replay", tmp_path / "r", "--inventory", where, "--json").out)
    assert (document["sent"], document["refused"], document["senders"][0]["mtu"]) == (False, [], 2000)


@needs_testbed
def test_what_forbids_sending_is_said(run: Run, bed: Bed, tmp_path: Path) -> None:
    space = bed.hosts()[0].namespace

    def refused(inventory: Inventory, *words: str, flags: tuple[str, ...] = ()) -> None:
        ran = replayed(run, tmp_path, inventory, *flags)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1), ran.err
        assert ran.err.startswith("segcast: nothing was sent: "), ran.err
        for word in words:
            assert word in ran.err
        assert not (tmp_path / "run").exists()

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", "-n", space, *arguments], check=True)

    rewritten(tmp_path / "r", {"leaf0": packets(1000, 20 * US)})
    refused(only(bed, interface="eth9"), "there is no interface eth9")
    where = inventory_file(tmp_path, only(bed, interface="eth9"))
    ran = run("replay", tmp_path / "r", "--inventory", where)
    assert ran.code == 1
    assert "(no such interface)" in ran.out
    assert "nothing was sent: this is the plan; it is refused as it is" in ran.out
    assert ran.err.startswith("segcast: the plan is refused: sender leaf0: there is no interface eth9")
    assert run("replay", tmp_path / "r", "--inventory", where, "--json").code == 1
    refused(only(bed, rate=10_000_000), "carries 10Mbps", "busiest 100 ms")
    ip("route", "add", "default", "dev", "e0")
    refused(only(bed), "has the default route", "--i-mean-it")
    assert replayed(run, tmp_path, only(bed), "--i-mean-it").code == 0
    shutil.rmtree(tmp_path / "run")
    ip("route", "del", "default", "dev", "e0")
    for route, words in (
        (("0.0.0.0/1", "dev", "e0", "table", "7"), "has the route 0.0.0.0/1 of table 7, as good as a default route"),
        (("8000::/1", "dev", "e0", "table", "7"), "has the route 8000::/1 of table 7, as good as a default route"),
        (("2000::/3", "dev", "e0"), "has the route 2000::/3, as good as a default route"),
        (("default", "dev", "e0", "table", "100"), "has the default route of table 100"),
        (("default", "nexthop", "dev", "e0", "nexthop", "dev", "lo"), "has the default route"),
    ):
        ip("route", "add", *route)
        refused(only(bed), words, "--i-mean-it")
        ip("route", "del", *route)
    ip("route", "add", "224.0.0.0/4", "dev", "e0")
    ip("route", "add", "10.0.0.0/8", "dev", "e0")
    where = inventory_file(tmp_path, only(bed))
    assert run("replay", tmp_path / "r", "--inventory", where).code == 0
    ip("route", "del", "224.0.0.0/4", "dev", "e0")
    ip("route", "del", "10.0.0.0/8", "dev", "e0")
    for above in (("type", "bridge"), ("link", "e0", "type", "macvlan")):
        ip("link", "add", "name", "upper0", *above)
        if above[-1] == "bridge":
            ip("link", "set", "e0", "master", "upper0")
        ip("link", "set", "upper0", "up")
        ip("route", "add", "default", "dev", "upper0")
        refused(only(bed), "shares a link with upper0, which has the default route", "--i-mean-it")
        ip("link", "del", "upper0")
    ip("link", "add", "pair0", "type", "veth", "peer", "name", "pair1")
    ip("link", "add", "name", "upper0", "type", "bridge")
    ip("link", "set", "pair1", "master", "upper0")
    for name in ("pair0", "pair1", "upper0"):
        ip("link", "set", name, "up")
    ip("route", "add", "default", "dev", "upper0")
    refused(only(bed, interface="pair0"), "shares a link with upper0, which has the default route", "--i-mean-it")
    assert run("replay", tmp_path / "r", "--inventory", inventory_file(tmp_path, only(bed))).code == 0
    ip("link", "del", "upper0")
    ip("link", "del", "pair0")
    ip("link", "set", "e0", "mtu", "1400")
    rewritten(tmp_path / "long", {"leaf0": packets(3, size=1500)})
    (tmp_path / "r").rename(tmp_path / "short")
    (tmp_path / "long").rename(tmp_path / "r")
    refused(only(bed), "MTU of 1400", "1632 bytes")
    ip("link", "set", "e0", "mtu", "2000")
    ip("link", "set", "e0", "down")
    refused(only(bed), "interface e0 is down")
    ip("link", "set", "e0", "up")
    down(NAME)  # which has lost routes with the interface
    up(scenario_of("leaf-spine", tmp_path), NAME)


def test_stamps_that_an_interface_does_not_have_are_said(run: Run, bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(3)})
    ran = replayed(run, tmp_path, only(bed, stamps="adapter_unsynced"))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "sent/leaf0: interface e0 has no time stamps adapter_unsynced (tcpdump -J -i e0 lists" in ran.err
    assert payloads(tmp_path / "run" / "sent" / "leaf0.pcap") == []
    shutil.rmtree(tmp_path / "run")
    assert replayed(run, tmp_path, only(bed, stamps="host")).code == 0


def test_a_testbed_in_use_is_refused(run: Run, bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(2)})
    with held(NAME):
        ran = replayed(run, tmp_path, only(bed))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert f"testbed {NAME}: is in use by process {os.getpid()}" in ran.err
    assert not (tmp_path / "run").exists()


def test_missing_root_is_said(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "id").write_text("#!/bin/sh\necho 1000\n")
    (tools / "id").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    rewritten(tmp_path / "r", {"10.0.0.1": packets(2)})
    inventory = Inventory(senders={"a": Sender(interface="lo", prefixes=("10.0.0.0/8",))})
    ran = replayed(run, tmp_path, inventory)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "take root on here" in ran.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (None, "has no rewrite.json"),
        ("{", "rewrite.json"),
        ('{"files": [{"host": "192.0.2.1", "path": "x.pcap"}]}', "no sender of the inventory injects for 192.0.2.1"),
        ('{"files": []}', "names no captures"),
        ('{"files": [{"host": "10.0.0.1", "path": "gone.pcap"}]}', "gone.pcap: cannot be read"),
    ],
)
def test_a_folder_that_is_no_rewrite_is_refused(tmp_path: Path, manifest: str | None, words: str) -> None:
    if manifest is not None:
        (tmp_path / "rewrite.json").write_text(manifest)
    inventory = Inventory(senders={"a": Sender(interface="lo", prefixes=("10.0.0.0/8",))})
    with pytest.raises(InputError, match=words):
        plan_replay(tmp_path, inventory)


def test_a_machine_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"10.0.0.1": packets(2)})
    inventory = Inventory(senders={"a": Sender(interface="lo", netns="nowhere", prefixes=("10.0.0.0/8",))})
    with pytest.raises(InputError, match="nowhere: cannot be reached"):
        plan_replay(tmp_path / "r", inventory)


FAKE_SSH = """#!/bin/sh
while [ "$1" != -- ]; do case "$1" in -o) shift;; *) target="$1";; esac; shift; done
shift
echo "$target: $*" >> "$SSH_LOG"
exec ip netns exec "${target#root@}" sh -c "$*"
"""


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ssh that takes the names of namespaces for those of machines."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "ssh").write_text(FAKE_SSH)
    (tools / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("SSH_LOG", str(tmp_path / "ssh.log"))
    return tmp_path / "ssh.log"


def remote(bed: Bed) -> Inventory:
    left, right = (f"root@{host.namespace}" for host in bed.hosts()[:2])
    return Inventory(
        senders={"leaf0": Sender(interface="e0", ssh=left)},
        receivers={"leaf1": Receiver(interface="e0", ssh=right, attachment="leaf1")},
    )


@pytest.mark.parametrize("sender", ["tcpreplay", "absolute"])
def test_machines_behind_ssh_send_and_capture(run: Run, bed: Bed, tmp_path: Path, ssh: Path, sender: str) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(300)})
    ran = replayed(run, tmp_path, remote(bed), "--sender", sender, "--json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert (document["complete"], document["senders"][0]["sent"]) == (True, 300)
    clocks = [document["senders"][0]["clock"], document["receivers"][0]["clock"]]
    assert clocks == [f"root@{host.namespace}" for host in bed.hosts()[:2]]
    for name in ("sent/leaf0.pcap", "received/leaf1.pcap"):
        assert payloads(tmp_path / "run" / name) == list(range(300)), name
    assert "tcpdump" in ssh.read_text()
    folders = {word for word in ssh.read_text().split() if word.startswith("/tmp/segcast-")}
    assert folders
    assert not any(Path(word).exists() for word in folders)


def test_a_connection_that_breaks_ends_the_far_side(bed: Bed, tmp_path: Path, ssh: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(100, 100 * MS)})
    child = started(tmp_path, remote(bed))
    deadline = time.monotonic() + 20
    while not named_anywhere("tcpreplay", bed) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert named_anywhere("tcpreplay", bed)
    child.kill()
    child.communicate()
    deadline = time.monotonic() + 10
    while named_anywhere("tcpreplay", bed) + named_anywhere("tcpdump", bed) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert named_anywhere("tcpreplay", bed) + named_anywhere("tcpdump", bed) == []


def named_anywhere(tool: str, bed: Bed) -> list[int]:
    from segcast.replay.testbed.spaces import inhabitants

    found = []
    for process in inhabitants([host.namespace for host in bed.hosts()]):
        try:
            comm = (Path("/proc") / str(process) / "comm").read_text().strip()
            line = (Path("/proc") / str(process) / "cmdline").read_bytes()
        except OSError:
            continue
        if comm == tool and not line.endswith(b"\0-V\0"):  # a tool that is asked for its version is not at work
            found.append(process)
    return found


def test_commands_are_printed_for_people(run: Run, bed: Bed, tmp_path: Path, ssh: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(10)})
    where = inventory_file(tmp_path, remote(bed))
    ran = run("replay", tmp_path / "r", "--inventory", where, "--out", tmp_path / "run", "--print-commands")
    assert ran.code == 0, ran.err
    left = f"root@{bed.hosts()[0].namespace}"
    assert f"ssh {left} 'tcpreplay --intf1=e0 --timer=gtod --no-flow-stats --limit=10 " in ran.out
    assert "--time-stamp-precision=nano" in ran.out
    assert payloads(tmp_path / "run" / "planned" / "leaf0.pcap") == list(range(10))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["complete"] is False
    assert read_inventory(where) == remote(bed)


def test_what_tools_print_is_understood() -> None:
    text = """Actual: 5000 packets (3814206 bytes) sent in 1.12 seconds
Rated: 3379354.0 Bps, 27.03 Mbps, 4429.95 pps
Statistics for network device: e0
\tSuccessful packets:        4990
\tFailed packets:            10
"""
    assert tcpreplay_counts(text, "a") == (4990, 10, 1_120_000_000)
    with pytest.raises(InputError, match="did not say what it sent: nothing"):
        tcpreplay_counts("", "a")
    assert missed("19 packets captured\n38 packets received by filter\n7 packets dropped by kernel\n") == 7
    assert missed("Packets received/dropped on interface 'lo': 10/3 (pcap:0/dumpcap:0)") == 3
    assert [keeps_time(version) for version in ("4.4.3", "4.5.2", "4.5.3", "4.6.0-beta1")] == [False, False, True, True]
