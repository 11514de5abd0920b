"""Machines behind real ssh: an sshd in each namespace, and a line that takes its time. Packets stay in the testbed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from segcast.replay.inventory import Inventory, Receiver, Sender
from segcast.replay.testbed.plan import Bed
from tests.conftest import Run
from tests.support.beds import rewritten
from tests.support.patience import once_in
from tests.support.replaying import MS, US, packets, replayed
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


def left_over() -> set[str]:
    return {folder.name for folder in Path("/tmp").glob("segcast-run-*")}


@pytest.mark.parametrize("delay", [0.05, 0.25, 1.1])
def test_machines_far_away_start_together(run: Run, bed: Bed, tmp_path: Path, ssh: Ssh, delay: float) -> None:
    """All have one clock, so what their captures say is true. Gaps of 2 ms are boundaries of flowlets of 1 ms."""
    before = left_over()
    trains = [(10**18 + n // 20 * 3 * MS + n % 20 * 50 * US, data) for n, (_, data) in enumerate(packets(2000))]
    ssh.slow(delay)

    def send(attempt: int) -> None:
        folder = tmp_path / str(attempt)
        folder.mkdir()
        (folder / "r").symlink_to(tmp_path / "r")
        ssh_before = ssh.connections()
        ran = replayed(run, folder, two(bed), "--sender", "absolute", "--json")
        assert ran.code == 0, ran.err
        document = json.loads(ran.out)
        assert document["complete"]
        assert ssh.connections() - ssh_before == 3
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
    assert left_over() == before
