"""Injection: what is sent, what is refused, and that nothing goes on when something breaks. In the testbed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from segcast.replay.inject.captures import missed
from segcast.replay.inject.plan import keeps_time, plan_replay
from segcast.replay.inject.senders import tcpreplay_counts
from segcast.replay.inventory import Inventory, Receiver, Sender, read_inventory
from segcast.replay.testbed.bed import down, held, inventory_of, up
from segcast.replay.testbed.plan import Bed, plan_bed
from segcast.replay.testbed.spaces import spaces
from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import DamagedCapture, InputError
from tests.conftest import Ran, Run
from tests.support.beds import NAME, frame, missing, needs_testbed, rewritten, scenario_of, udp
from tests.twins import injecting

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("SEGCAST_KILLS", "3"))
SEGCAST = [sys.executable, "-m", "segcast"]
US, MS = 1_000, 1_000_000


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    if (why := missing()) is not None:
        pytest.skip(why)
    scenario = scenario_of("leaf-spine", tmp_path_factory.mktemp("bed"))
    up(scenario, NAME)
    yield plan_bed(scenario, NAME)
    down(NAME)
    assert spaces(f"{NAME}-") == []


def packets(count: int, gap_ns: int = 200 * US, size: int = 100) -> list[tuple[int, bytes]]:
    """From leaf0 to leaf1, over both spines in turn."""
    ways = (("fd00:0:1001::1", "fd00:0:1003::d6"), ("fd00:0:1002::1", "fd00:0:1003::d6"))
    found = []
    for number in range(count):
        inner = udp("2001:db8::1", "2001:db8::2", number.to_bytes(4, "big") + bytes(size))
        found.append((10**18 + number * gap_ns, _frame(inner, ways[number % 2])))
    return found


def _frame(inner: bytes, way: tuple[str, ...]) -> bytes:
    srv6 = SimpleNamespace(
        mode="encaps", block="fd00::/32", source_mac="02:00:00:00:00:01", destination_mac="02:00:00:00:00:02"
    )
    scenario: Any = SimpleNamespace(srv6=srv6)
    return frame(scenario, inner, way)


def inventory_file(folder: Path, inventory: Inventory) -> Path:
    file = folder / "inventory.toml"
    file.write_text(inventory.to_toml())
    return file


def only(bed: Bed, **changes: Any) -> Inventory:
    """leaf0 sends and leaf1 receives; `changes` are of the sender."""
    whole = inventory_of(bed)
    sender = whole.senders["leaf0"].model_copy(update=changes)
    return whole.model_copy(update={"senders": {"leaf0": sender}, "receivers": {"leaf1": whole.receivers["leaf1"]}})


def payloads(file: Path) -> list[int]:
    """The numbers of the packets in a capture."""
    return [int.from_bytes(data[-104:-100], "big") for _, data in injecting.read(file.read_bytes())]


def replayed(run: Run, folder: Path, inventory: Inventory, *flags: object) -> Ran:
    where = inventory_file(folder, inventory)
    return run("replay", folder / "r", "--inventory", where, "--out", folder / "run", "--send", *flags)


@pytest.mark.parametrize("sender", ["tcpreplay", "absolute"])
def test_packets_are_sent_and_captured(run: Run, bed: Bed, tmp_path: Path, sender: str) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(500)})
    ran = replayed(run, tmp_path, only(bed), "--sender", sender, "--transit", "--json")
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert document == json.loads((tmp_path / "run" / "run.json").read_text())
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
    assert document["started_ns"] < injecting.read((tmp_path / "run" / row["capture"]).read_bytes())[0][0]


def test_the_own_sender_does_not_drift(run: Run, bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(10_000, 100 * US)})
    assert replayed(run, tmp_path, only(bed), "--sender", "absolute").code == 0
    left = [time for time, _ in injecting.read((tmp_path / "run" / "sent" / "leaf0.pcap").read_bytes())]
    assert abs(left[-1] - left[0] - 9_999 * 100 * US) < 20 * MS  # a drift of 2 us a packet would be at its end


def test_senders_start_as_the_schedule_says(run: Run, bed: Bed, tmp_path: Path) -> None:
    later = [(time_ns + 300 * MS, data) for time_ns, data in packets(50)]
    rewritten(tmp_path / "r", {"leaf0": packets(50), "leaf2": later})
    assert replayed(run, tmp_path, inventory_of(bed)).code == 0
    first = [
        injecting.read((tmp_path / "run" / "sent" / f"{name}.pcap").read_bytes())[0][0] for name in ("leaf0", "leaf2")
    ]
    assert 200 * MS < first[1] - first[0] < 500 * MS


def test_gaps_are_calibrated(run: Run, bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(400)})
    ran = replayed(run, tmp_path, only(bed), "--calibrate", "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    if not keeps_time(document["tcpreplay"]["version"]):
        assert 0 < document["tcpreplay"]["compensation_ns"] < 150 * US
    assert payloads(tmp_path / "run" / "received" / "leaf1.pcap") == list(range(400))
    assert not (tmp_path / "run" / ".sending").exists()


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
    refused(only(bed, rate=10_000_000), "carries 10Mbps", "busiest 100 ms")
    ip("route", "add", "default", "dev", "e0")
    refused(only(bed), "has the default route", "--i-mean-it")
    assert replayed(run, tmp_path, only(bed), "--i-mean-it").code == 0
    shutil.rmtree(tmp_path / "run")
    ip("route", "del", "default", "dev", "e0")
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


def test_sending_is_bounded_in_time(run: Run, bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(100, 100 * MS)})
    ran = replayed(run, tmp_path, only(bed), "--limit", "1s")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "longer than 1.0 s" in ran.err
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (document["complete"], "longer than" in document["reason"]) == (False, True)
    assert payloads(tmp_path / "run" / "sent" / "leaf0.pcap")[:5] == [0, 1, 2, 3, 4]


def test_a_capture_that_dies_stops_everything(bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(100, 100 * MS)})
    child = started(tmp_path, only(bed))
    once_sending(tmp_path)
    (victim,) = set(named("tcpdump", tmp_path / "run" / "received"))
    os.kill(victim, signal.SIGKILL)
    _, text = child.communicate(timeout=20)
    assert child.returncode == 2
    assert "the capture received/leaf1 ended (signal SIGKILL" in text
    assert "so the replay was stopped" in json.loads((tmp_path / "run" / "run.json").read_text())["reason"]
    assert left_running(tmp_path) == []


def test_a_full_disk_ends_the_replay(bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(5000, 2 * MS, 1000)})
    small = tmp_path / "run"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m", "none", small], check=True)
    try:
        command = [*SEGCAST, "replay", tmp_path / "r", "--inventory", inventory_file(tmp_path, only(bed))]
        child = subprocess.Popen(
            [*command, "--out", small / "it", "--send"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        once_sending(tmp_path)
        with (small / "hog").open("wb", buffering=0) as hog, contextlib.suppress(OSError):
            while True:
                hog.write(bytes(1 << 16))
                if shutil.disk_usage(small).free < 1 << 20:
                    break
        _, text = child.communicate(timeout=40)
        assert (child.returncode, text.count("\n")) == (2, 1), text
        assert "stopped" in text or "cannot be written" in text
        assert json.loads((small / "it" / "run.json").read_text())["complete"] is False
        check_readable(small / "it")
        assert left_running(tmp_path) == []
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_no_room_is_said(run: Run, bed: Bed, tmp_path: Path) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(10)})
    (tmp_path / "run").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "none", tmp_path / "run"], check=True)
    try:
        ran = replayed(run, tmp_path, only(bed))
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "has 9 MiB free" in ran.err or "has 10 MiB free" in ran.err
        assert "nothing was sent" in ran.err
    finally:
        subprocess.run(["umount", "-l", tmp_path / "run"], check=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_replay_keeps_what_it_has(bed: Bed, tmp_path: Path, number: int) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(100, 100 * MS)})
    child = started(tmp_path, only(bed))
    once_sending(tmp_path)
    child.send_signal(number)
    _, text = child.communicate(timeout=20)
    assert child.returncode == 130
    assert text == f"segcast: interrupted; what was captured until then is in {tmp_path / 'run'}\n"
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (document["complete"], document["reason"]) == (False, "interrupted")
    assert payloads(tmp_path / "run" / "sent" / "leaf0.pcap")[:3] == [0, 1, 2]
    assert left_running(tmp_path) == []


def started(folder: Path, inventory: Inventory, *flags: str) -> subprocess.Popen[str]:
    where = inventory_file(folder, inventory)
    command = [*SEGCAST, "replay", folder / "r", "--inventory", where, "--out", folder / "run", "--send", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def once_sending(folder: Path) -> None:
    """Wait until packets are on their way."""
    deadline = time.monotonic() + 30
    while not named("tcpreplay", folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)


def left_running(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(folder).encode() in line:
                found.append(int(process.name))
    return found


def test_kills_at_random_moments_leave_nothing(bed: Bed, tmp_path: Path) -> None:
    """Of tcpreplay, tcpdump and segcast, each by SIGKILL or SIGTERM; SEGCAST_KILLS says how many."""
    rng = random.Random(20261125)
    name = f"{NAME}k"
    scenario = scenario_of("leaf-spine", tmp_path)
    rewritten(tmp_path / "r", {"leaf0": packets(2000, 1 * MS), "leaf1": packets(1)})
    outcomes: dict[str, int] = {}
    try:
        for number in range(KILLS):
            up(scenario, name)
            folder = tmp_path / f"k{number}"
            folder.mkdir()
            (folder / "r").symlink_to(tmp_path / "r")
            sender = rng.choice(("tcpreplay", "absolute"))
            child = started(folder, inventory_of(plan_bed(scenario, name)), "--sender", sender)
            victim = rng.choice(("sender", "tcpdump", "segcast"))
            number_of_signal = rng.choice((signal.SIGKILL, signal.SIGTERM))
            comm = {"sender": {"tcpreplay": "tcpreplay", "absolute": "python"}[sender]}.get(victim, victim)
            deadline = time.monotonic() + 30
            while victim != "segcast" and time.monotonic() < deadline:
                if set(named(comm, folder / "run")) - {child.pid} or child.poll() is not None:
                    break
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 8 if victim == "segcast" else 3))
            others = sorted(set(named(comm, folder / "run")) - {child.pid})
            victims = [child.pid] if victim == "segcast" else others
            rng.shuffle(victims)
            for process in victims[:1]:
                try:
                    os.kill(process, number_of_signal)
                except ProcessLookupError:
                    victims = []
            child.communicate(timeout=60)
            outcomes[f"{victim} {len(victims[:1])}"] = outcomes.get(f"{victim} {len(victims[:1])}", 0) + 1
            down(name)
            assert spaces(f"{name}-") == []
            for _ in range(100):
                if not left_running(folder):
                    break
                time.sleep(0.05)
            assert left_running(folder) == [], (number, victim)
            check_readable(folder / "run")
    finally:
        down(name)
    print(outcomes)


def named(tool: str, folder: Path) -> list[int]:
    found = []
    for process in left_running(folder):
        try:
            if (Path("/proc") / str(process) / "comm").read_text().strip() == tool:
                found.append(process)
        except OSError:
            continue
    return found


def check_readable(run: Path) -> None:
    """Whatever there is of a run: its document, and the captures up to where they were cut."""
    if not (run / "run.json").exists():
        return
    document = json.loads((run / "run.json").read_text())
    assert document["complete"] or document["reason"]
    for file in [*run.glob("sent/*.pcap"), *run.glob("received/*.pcap")]:
        if file.stat().st_size < 24:
            continue
        try:
            for _ in read_frames(file):
                pass
        except DamagedCapture as damage:
            assert damage.offset >= 24


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
            if (Path("/proc") / str(process) / "comm").read_text().strip() == tool:
                found.append(process)
        except OSError:
            continue
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
