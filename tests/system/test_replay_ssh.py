"""Machines behind real ssh: an sshd in each namespace, and a line that takes its time. Packets stay in the testbed."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from segcast.replay.inject import starting
from segcast.replay.inventory import Inventory, Receiver, Sender
from segcast.replay.testbed.plan import Bed
from tests.conftest import Run
from tests.support.beds import rewritten
from tests.support.patience import once_in
from tests.support.replaying import MS, US, inventory_file, packets, payloads, replayed, started
from tests.support.sshd import Ssh, machines, missing_sshd
from tests.twins import injecting

pytestmark = pytest.mark.skipif(missing_sshd() is not None, reason=missing_sshd() or "sshd runs")


@pytest.fixture
def ssh(bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ssh]:
    with machines(tmp_path / "ssh", [host.namespace for host in bed.hosts()[:3]], monkeypatch) as made:
        yield made


def two(bed: Bed, **changes: object) -> Inventory:
    """leaf0 and leaf2 send, leaf1 receives: each a machine of its own."""
    here = [f"root@{host.namespace}" for host in bed.hosts()]
    senders = {
        name: Sender.model_validate({"interface": "e0", "ssh": here[n]} | changes)
        for n, name in ((0, "leaf0"), (2, "leaf2"))
    }
    return Inventory(senders=senders, receivers={"leaf1": Receiver(interface="e0", ssh=here[1], attachment="leaf1")})


@pytest.mark.parametrize("delay", [0.05, 0.25, 1.1])
def test_machines_far_away_start_together(run: Run, bed: Bed, tmp_path: Path, ssh: Ssh, delay: float) -> None:
    """All have one clock, so what their captures say is true. Gaps of 2 ms are boundaries of flowlets of 1 ms."""
    trains = [(10**18 + n // 20 * 3 * MS + n % 20 * 50 * US, data) for n, (_, data) in enumerate(packets(2000))]
    ssh.slow(delay)

    def send(attempt: int) -> None:
        folder = tmp_path / str(attempt)
        folder.mkdir()
        (folder / "r").symlink_to(tmp_path / "r")
        before = ssh.connections()
        ran = replayed(run, folder, two(bed), "--sender", "absolute", "--json")
        assert ran.code == 0, ran.err
        document = json.loads(ran.out)
        assert document["complete"]
        assert ssh.connections() - before == 3
        firsts, kept, boundaries = [], 0, 0
        for row in document["senders"]:
            times = [at for at, _ in injecting.read((folder / "run" / row["capture"]).read_bytes())]
            assert len(times) == row["sent"] == 2000
            firsts.append(times[0])
            boundaries += 99
            kept += sum(times[n] - times[n - 1] > 1 * MS for n in range(20, 2000, 20))
            timing = row["timing"]
            assert timing["clock_known_by"] == "exchange"
            assert delay / 2 < timing["clock_within_ns"] / 1e9 < delay / 2 + 0.03
            assert abs(timing["clock_ahead_ns"]) < 1 * MS
            assert any(f"sender {row['host']}: its clock is known to" in finding for finding in document["findings"])
        assert abs(firsts[0] - firsts[1]) < 1 * MS
        assert kept >= 0.99 * boundaries

    rewritten(tmp_path / "r", {"leaf0": trains, "leaf2": trains})
    once_in(3, send)
    assert ssh.folders()
    assert not any(folder.exists() for folder in ssh.folders())


def test_a_sender_that_learns_its_instant_too_late_sends_nothing(
    run: Run, bed: Bed, tmp_path: Path, ssh: Ssh, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "_LEAD_NS", 0)
    monkeypatch.setattr(starting, "_LEAD_ROUND_TRIPS", 0)
    rewritten(tmp_path / "r", {"leaf0": packets(20), "leaf2": packets(20)})
    ssh.slow(0.25)
    ran = replayed(run, tmp_path, two(bed), "--sender", "absolute")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert re.search(r"sender root@\S+ was told the instant \d+ ms after it had passed", ran.err), ran.err
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["complete"] is False
    assert "was told the instant" in document["reason"]
    assert payloads(tmp_path / "run" / "sent" / "leaf0.pcap") == []
    assert ssh.folders()
    assert not any(folder.exists() for folder in ssh.folders())


def test_killed_outright_nothing_goes_on_or_stays(run: Run, bed: Bed, tmp_path: Path, ssh: Ssh) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(300, 100 * MS), "leaf2": packets(300, 100 * MS)})
    for sender in ("absolute", "tcpreplay"):
        folder = tmp_path / sender
        folder.mkdir()
        (folder / "r").symlink_to(tmp_path / "r")
        child = started(folder, two(bed), "--sender", sender)
        capture = folder / "run" / "run.json"
        end = time.monotonic() + 60
        while time.monotonic() < end and not (
            capture.exists() and json.loads(capture.read_text())["senders"][0]["timing"]["clock_known_by"]
        ):
            time.sleep(0.1)
        time.sleep(1)
        assert child.poll() is None
        made = {each for each in ssh.folders() if each.exists()}
        assert len(made) == 3
        assert all(each.stat().st_mode & 0o777 == 0o700 for each in made)
        cleaned = run("replay", "--clean", "--inventory", folder / "inventory.toml", "--json")
        assert cleaned.code == 0, cleaned.err
        found = list(json.loads(cleaned.out)["machines"].values())
        # All machines have one /tmp here, which each of them looks through.
        assert not any(made & {Path(name) for name in each["removed"]} for each in found)
        assert all(made <= {Path(name) for name in each["in_use"]} for each in found)
        child.kill()
        child.communicate()
        end = time.monotonic() + 15
        while time.monotonic() < end and (any(each.exists() for each in made) or at_work(made)):
            time.sleep(0.1)
        assert at_work(made) == []
        assert not any(each.exists() for each in made)


def at_work(folders: set[Path]) -> list[str]:
    """Command lines of processes that name one of the folders."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(str(folder) in line for folder in folders):
            found.append(line)
    return found


def test_what_was_left_is_cleared_away(run: Run, bed: Bed, tmp_path: Path, ssh: Ssh) -> None:
    """A keeper killed outright cannot remove its folder: what has none is removed, other folders are not touched."""
    left = Path(tempfile.mkdtemp(prefix="segcast-run-aaaa"))
    left.rename(left.with_name("segcast-run-abcdefghijkl"))
    left = left.with_name("segcast-run-abcdefghijkl")
    (left / ".keeper").write_text("999999999\n")
    (left / "sent-a.pcap").write_bytes(b"traffic")
    other = Path("/tmp/segcast-runs-of-mine")
    other.mkdir()
    try:
        ran = run("replay", "--clean", "--inventory", inventory_file(tmp_path, two(bed)))
        assert (ran.code, ran.err) == (0, "")
        assert sum(int(line.split(": ")[1].split(" ")[0]) for line in ran.out.splitlines()) >= 1
        assert not left.exists()
        assert other.exists()
        ran = run("replay", "--inventory", tmp_path / "inventory.toml")
        assert (ran.code, ran.err.count("\n")) == (2, 1)
    finally:
        other.rmdir()
        shutil.rmtree(left, ignore_errors=True)


def test_the_interface_of_the_session_is_refused(run: Run, bed: Bed, tmp_path: Path, ssh: Ssh) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(3), "leaf2": packets(3)})
    plan = run("replay", tmp_path / "r", "--inventory", inventory_file(tmp_path, two(bed, interface="mgmt")), "--json")
    assert plan.code == 1
    refused = json.loads(plan.out)["refused"]
    for name in ("leaf0", "leaf2"):
        assert any(why.startswith(f"sender {name}: interface mgmt carries this ssh session") for why in refused)
    allowed = run("replay", tmp_path / "r", "--inventory", tmp_path / "inventory.toml", "--i-mean-it", "--json")
    assert (allowed.code, json.loads(allowed.out)["refused"]) == (0, [])


def test_no_sshd_is_said(run: Run, bed: Bed, tmp_path: Path, ssh: Ssh) -> None:
    rewritten(tmp_path / "r", {"leaf0": packets(3), "leaf2": packets(3)})
    machines_ = two(bed)
    senders = {**machines_.senders, "leaf0": Sender(interface="e0", ssh="root@nowhere")}
    ran = replayed(run, tmp_path, machines_.model_copy(update={"senders": senders}))
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "root@nowhere: cannot be reached" in ran.err
    assert not (tmp_path / "run").exists()
