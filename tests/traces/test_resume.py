"""Interrupted ingests of several captures: what is kept, and that going on after it makes the same trace."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from segcast.traces.disk.folders import CHECKPOINT
from segcast.traces.ingest import checkpoint, packets
from segcast.traces.ingest.checkpoint import Checkpoints
from segcast.traces.ingest.intake import choose
from segcast.traces.ingest.run import ingest
from tests.conftest import Run
from tests.support.ingesting import conversations
from tests.twins import writing
from tests.twins.writing import Captured

EVERY = 300
OF_FLOWS = checkpoint._OF_FLOWS
PARTIAL = ".t.trace.segcast-partial"


@pytest.fixture
def rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A rotation set: two captures overlap, one is empty, some hold tunnels, segment lists and fragments.

    Row groups are small, and nothing is synced to the device, which takes most of the time.
    """
    monkeypatch.setattr(packets, "GROUP_ROWS", 100)
    monkeypatch.setattr(packets, "BATCH_FRAMES", 4096)
    monkeypatch.setattr(checkpoint, "_sync", lambda _: None)
    monkeypatch.setattr(checkpoint, "_OF_FLOWS", 1)  # the captures are small, and full of flows
    folder = tmp_path / "cap"
    folder.mkdir()
    captures = [conversations(n, 300, port=1000, start_ns=10**18 + n * 10**9) for n in range(5)]
    captures.append(writing.pcap([], 1))
    captures.append(conversations(9, 300, port=2000, start_ns=10**18 + 10**9))
    captures += [odd(n) for n in range(3)]
    for n, data in enumerate(captures):
        (folder / f"cap{n}.pcap").write_bytes(data)
    return [folder / f"cap{n}.pcap" for n in range(len(captures))]


def odd(n: int) -> bytes:
    """Packets whose state goes from one capture to the next: fragments, segment lists, tunnels, duplicates."""
    sid = [bytes([0xFC, *bytes(14), k % 5]) for k in range(9)]
    frames = []
    for k in range(200):
        inner = writing.ipv4(writing.udp(k % 7, 9), 17)
        list_ = sid[k % 4 : k % 4 + 3 + n]
        frames += [
            writing.ipv6(writing.srh(4, list_, 1) + inner, 43),
            writing.ipv4(writing.udp(5, 6, payload=bytes(16)), 17, identification=n * 7 + k, more_fragments=k % 2 > 0),
            writing.ipv4(bytes(24), 17, identification=n * 7 + k + 5, fragment_offset=24),
            writing.ipv4(writing.vxlan(writing.ethernet(inner, 0x0800)), 17),
        ]
    start = 10**18 + (20 + n) * 10**9
    return writing.pcap([Captured(start + i * 997, len(f), f) for i, f in enumerate(frames)], 101, nanoseconds=True)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def whole(captures: Sequence[Path], folder: Path, **options: Any) -> dict[str, bytes]:
    """What an ingest without interruption makes."""
    ingest(captures, folder / "whole.trace", checkpoint_rows=EVERY, **options)
    made = content(folder / "whole.trace")
    shutil.rmtree(folder / "whole.trace")
    return made


class Stop:
    """Saves checkpoints and interrupts the ingest after the n-th."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.saved = 0
        save = Checkpoints.save

        def stop(mine: Checkpoints, *arguments: Any) -> None:
            save(mine, *arguments)
            self.saved += 1
            if self.saved == after:
                raise KeyboardInterrupt

        monkeypatch.setattr(Checkpoints, "save", stop)


@pytest.mark.parametrize("layer", ["outer", "inner"])
def test_interrupted_at_every_checkpoint(
    rotated: list[Path], tmp_path: Path, layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"layer": layer, "choices": choose(drop_duplicates=True, split_offload="500")}
    wanted = whole(rotated, tmp_path, **options)
    assert len([name for name in wanted if "part-" in name]) > 4
    target, said = tmp_path / "t.trace", []
    checkpoints = 0
    while True:  # each run gets one checkpoint further
        with monkeypatch.context() as patch:
            stop = Stop(patch, 1)
            try:
                ingest(rotated, target, checkpoint_rows=EVERY, say=said.append, **options)
                break
            except KeyboardInterrupt as error:
                assert stop.saved == 1
                checkpoints += 1
                assert "captures are kept aside: the same command resumes after them" in str(error)
                assert not target.exists()
                assert {p.name for p in tmp_path.iterdir()} == {"cap", PARTIAL}
    assert checkpoints > 4
    assert len(said) == checkpoints
    assert all(line.startswith("resuming after ") and line.endswith(" of 10 captures") for line in said)
    assert content(target) == wanted
    assert {p.name for p in tmp_path.iterdir()} == {"cap", "t.trace"}


def interrupted(captures: Sequence[Path], target: Path, after: int = 3, **options: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Stop(patch, after)
        with pytest.raises(KeyboardInterrupt):
            ingest(captures, target, checkpoint_rows=EVERY, **options)
    assert (target.parent / PARTIAL / CHECKPOINT).is_file()


def change_a_capture(folder: Path, options: dict[str, Any]) -> None:
    data = (folder / "cap" / "cap1.pcap").read_bytes()
    (folder / "cap" / "cap1.pcap").write_bytes(data[:-1] + b"\x01")
    os.utime(folder / "cap" / "cap1.pcap", (1, 1))


def change_the_layer(folder: Path, options: dict[str, Any]) -> None:
    options["layer"] = "inner"


def change_a_choice(folder: Path, options: dict[str, Any]) -> None:
    options["choices"] = choose(drop_duplicates=True)


def go_on_with_damage(folder: Path, options: dict[str, Any]) -> None:
    options["keep_going"] = True


def change_the_code(folder: Path, options: dict[str, Any]) -> None:
    options["digest"] = "other"


@pytest.mark.parametrize(
    "change", [change_a_capture, change_the_layer, change_a_choice, go_on_with_damage, change_the_code]
)
def test_any_difference_starts_afresh(
    rotated: list[Path], tmp_path: Path, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(rotated, tmp_path / "t.trace")
    options: dict[str, Any] = {}
    change(tmp_path, options)
    if options.pop("digest", None):
        monkeypatch.setattr(checkpoint, "source_digest", lambda: "other")
    said: list[str] = []
    trace = ingest(rotated, tmp_path / "t.trace", checkpoint_rows=EVERY, say=said.append, **options)
    assert said == []
    assert content(trace.folder) == whole(rotated, tmp_path, **options)
    assert {p.name for p in tmp_path.iterdir()} == {"cap", "t.trace"}


@pytest.mark.parametrize("how", ["cut", "flip", "empty", "gone", "folder"])
def test_a_damaged_checkpoint_starts_afresh(rotated: list[Path], tmp_path: Path, how: str) -> None:
    wanted = whole(rotated, tmp_path)
    target, partial, kept = tmp_path / "t.trace", tmp_path / PARTIAL, tmp_path / "kept"
    interrupted(rotated, target)
    shutil.copytree(partial, kept)
    (state,) = partial.glob("state-*.npz")
    for name in (Path(CHECKPOINT), Path(state.name), Path("new/packets/part-00000.parquet")):
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(kept, partial)
        file = partial / name
        data = file.read_bytes()
        middle = len(data) // 2
        file.unlink()
        if how == "folder":
            file.mkdir()
        elif how != "gone":
            flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            file.write_bytes({"cut": data[:middle], "flip": flipped, "empty": b""}[how])
        said: list[str] = []
        ingest(rotated, target, checkpoint_rows=EVERY, say=said.append)
        if how != "flip" or name.suffix != ".parquet":  # pages carry no checksum
            assert (said, content(target)) == ([], wanted), name
        shutil.rmtree(target)


HOSTILE: dict[str, str] = {
    "deep": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "list": "[]",
    "null": "null",
    "number": '{"plan": ' + "9" * 5000 + "}",
    "elsewhere": '{"plan": {}, "digest": "", "state": "../../x.npz", "state_digest": "", "rows": 1, "sources": {}, '
    '"parts": [{"name": "../flows.parquet", "rows": 1}], "part_bytes": [1]}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_checkpoint_starts_afresh(rotated: list[Path], tmp_path: Path, text: str) -> None:
    interrupted(rotated, tmp_path / "t.trace")
    (tmp_path / PARTIAL / CHECKPOINT).write_text(text)
    assert content(ingest(rotated, tmp_path / "t.trace", checkpoint_rows=EVERY).folder) == whole(rotated, tmp_path)


def test_a_folder_that_others_can_enter_is_not_believed(rotated: list[Path], tmp_path: Path) -> None:
    interrupted(rotated, tmp_path / "t.trace")
    (tmp_path / PARTIAL).chmod(0o755)
    said: list[str] = []
    ingest(rotated, tmp_path / "t.trace", checkpoint_rows=EVERY, say=said.append)
    assert said == []
    shutil.rmtree(tmp_path / PARTIAL)
    (tmp_path / "else").mkdir()
    (tmp_path / PARTIAL).symlink_to("else")
    ingest(rotated, tmp_path / "t.trace", checkpoint_rows=EVERY)
    assert list((tmp_path / "else").iterdir()) == []


def test_two_at_once_do_not_disturb_each_other(rotated: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "t.trace"
    inside: list[dict[str, bytes]] = []

    def other(_done: int, _total: int) -> None:
        if not inside and (tmp_path / PARTIAL / CHECKPOINT).exists():
            inside.append(content(ingest(rotated[:2], target, checkpoint_rows=EVERY).folder))

    ingest(rotated, target, checkpoint_rows=EVERY, progress=other)
    assert inside == [whole(rotated[:2], tmp_path)]
    assert content(target) == whole(rotated, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {"cap", "t.trace"}


def test_one_capture_leaves_nothing_and_clears_what_is_stale(rotated: list[Path], tmp_path: Path) -> None:
    interrupted(rotated, tmp_path / "t.trace")
    ingest(rotated[:1], tmp_path / "t.trace")
    assert {p.name for p in tmp_path.iterdir()} == {"cap", "t.trace"}

    def stop(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        ingest(rotated[:1], tmp_path / "u.trace", checkpoint_rows=1, progress=stop)
    assert str(caught.value) == ""
    assert {p.name for p in tmp_path.iterdir()} == {"cap", "t.trace"}


def test_a_trace_that_was_there_stays_until_the_end(rotated: list[Path], tmp_path: Path) -> None:
    target = tmp_path / "t.trace"
    ingest(rotated[:1], target)
    before = content(target)
    interrupted(rotated, target)
    assert content(target) == before
    target.rename(tmp_path / PARTIAL / "old")  # killed between the renames at the end
    interrupted(rotated, target, 1)
    assert content(target) == before
    ingest(rotated, target, checkpoint_rows=EVERY)
    assert content(target) == whole(rotated, tmp_path)


def test_the_command_says_how_to_resume(
    rotated: list[Path], tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segcast.traces.ingest.run.checkpoint.ROWS", EVERY)
    monkeypatch.setattr(Checkpoints, "due", lambda *_: True)
    command = ("ingest", tmp_path / "cap", "--out", tmp_path / "t.trace", "--json")
    with monkeypatch.context() as patch:
        Stop(patch, 4)
        ran = run(*command)
    assert (ran.code, ran.out) == (130, "")
    assert ran.err == ("segcast: interrupted; 5 of 10 captures are kept aside: the same command resumes after them\n")
    ran = run(*command)
    assert ran.code == 0
    assert ran.err == "segcast: resuming after 5 of 10 captures\n"
    assert json.loads(ran.out)["packets"] > 3000


KILLED = """
import sys
from segcast.traces.ingest import packets
from segcast.traces.ingest.run import ingest
packets.GROUP_ROWS = 100
ingest([sys.argv[1]], sys.argv[2], checkpoint_rows=300)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_at_any_moment(
    rotated: list[Path], tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_OF_FLOWS", OF_FLOWS)  # as in the process that is killed
    wanted = whole([tmp_path / "cap"], tmp_path)
    target = tmp_path / "t.trace"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cap"), str(target)]
    environment = dict(os.environ)
    begin = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    span = time.perf_counter() - begin
    shutil.rmtree(target)
    chance = random.Random(int(number))
    kept = 0
    for _ in range(6):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        time.sleep(span * chance.uniform(0.6, 1.0))
        process.send_signal(number)
        process.wait(60)
        kept += (tmp_path / PARTIAL / CHECKPOINT).exists()
        if target.exists():  # it was quicker
            assert content(target) == wanted
            shutil.rmtree(target)
    ingest([tmp_path / "cap"], target, checkpoint_rows=EVERY)
    assert content(target) == wanted
    assert {p.name for p in tmp_path.iterdir()} == {"cap", "t.trace"}
