"""Replays that are stopped, by what breaks or by whom: nothing goes on, and what there is stays readable."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from segcast.replay.testbed.bed import down, inventory_of, up
from segcast.replay.testbed.plan import Bed, plan_bed
from segcast.replay.testbed.spaces import spaces
from tests.conftest import Run
from tests.support.beds import NAME, rewritten, scenario_of
from tests.support.replaying import (
    MS,
    SEGCAST,
    check_readable,
    inventory_file,
    left_running,
    named,
    once_sending,
    only,
    packets,
    payloads,
    replayed,
    started,
)

KILLS = int(os.environ.get("SEGCAST_KILLS", "3"))


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
