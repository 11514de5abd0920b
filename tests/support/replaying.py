"""Replays in a testbed: what is sent, what came of it, and what is left running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from segcast.analyzer.scenario.srv6 import Srv6Spec
from segcast.replay.inventory import Inventory
from segcast.replay.testbed.bed import inventory_of
from segcast.replay.testbed.plan import Bed
from segcast.traces.captures.reader import read_frames
from segcast.traces.errors import DamagedCapture
from tests.conftest import Ran, Run
from tests.support.beds import frame, udp
from tests.twins import injecting

SEGCAST = [sys.executable, "-m", "segcast"]
US = 1_000
MS = 1_000_000


def packets(count: int, gap_ns: int = 200 * US, size: int = 100) -> list[tuple[int, bytes]]:
    """From leaf0 to leaf1, over both spines in turn."""
    ways = (("fd00:0:1001::1", "fd00:0:1003::d6"), ("fd00:0:1002::1", "fd00:0:1003::d6"))
    found = []
    for number in range(count):
        inner = udp("2001:db8::1", "2001:db8::2", number.to_bytes(4, "big") + bytes(size))
        found.append((10**18 + number * gap_ns, _frame(inner, ways[number % 2])))
    return found


def _frame(inner: bytes, way: tuple[str, ...]) -> bytes:
    srv6 = Srv6Spec(source_mac="02:00:00:00:00:01", destination_mac="02:00:00:00:00:02")
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
