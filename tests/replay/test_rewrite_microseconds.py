"""Captures in microseconds, for senders that take no others, and the script for TRex beside them."""

from __future__ import annotations

import json
import runpy
import struct
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.inject.files import open_records
from segcast.replay.inject.plan import plan_replay
from segcast.replay.inventory import Inventory, Sender
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from tests.conftest import Run

ALL = Inventory(senders={"a": Sender(interface="lo", prefixes=("0.0.0.0/0", "::/0"))})


@pytest.fixture
def folders(cluster: Trace, run: Run, tmp_path: Path) -> tuple[Path, Path]:
    """The same schedule in nanoseconds and in microseconds."""
    forecast(cluster, short_scenario(paths="2x300Mbps", policies=["inflight"], seeds=[1]), tmp_path / "f")
    for name in ("ns", "us"):
        ran = run("rewrite", tmp_path / "f", "--policy", "inflight", "--pcap", name, "--out", tmp_path / name)
        assert (ran.code, ran.err) == (0, "")
    return tmp_path / "ns", tmp_path / "us"


def read(file: Path) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """The file's header, and of each record its seconds, their fraction and the frame."""
    content, found, at = file.read_bytes(), [], 24
    while at < len(content):
        seconds, fraction, size, length = struct.unpack_from("<IIII", content, at)
        assert size == length
        found.append((seconds, fraction, content[at + 16 : at + 16 + size]))
        at += 16 + size
    return content[:24], found


def test_times_are_cut_and_nothing_else_changes(folders: tuple[Path, Path]) -> None:
    fine, coarse = folders
    names = sorted(file.name for file in fine.glob("*.pcap"))
    assert names == sorted(file.name for file in coarse.glob("*.pcap"))
    assert len(names) > 1
    for name in names:
        (nano, rows), (micro, cut) = read(fine / name), read(coarse / name)
        assert (nano[:4], micro[:4], nano[4:]) == (b"\x4d\x3c\xb2\xa1", b"\xd4\xc3\xb2\xa1", micro[4:])
        assert cut == [(seconds, rest // 1000, frame) for seconds, rest, frame in rows]
    listed = [json.loads((folder / "rewrite.json").read_text()) for folder in folders]
    assert [document["pcap"] for document in listed] == ["ns", "us"]
    for before, after in zip(*(document["files"] for document in listed), strict=True):
        assert (after["first_ns"], after["last_ns"]) == (
            before["first_ns"] // 1000 * 1000,
            before["last_ns"] // 1000 * 1000,
        )
    assert not (fine / "trex.py").exists()


def test_replay_takes_them_too(folders: tuple[Path, Path]) -> None:
    fine, coarse = (plan_replay(folder, ALL) for folder in folders)
    assert fine.packets == coarse.packets
    (fine_stream,), (coarse_stream,) = fine.streams, coarse.streams
    assert sorted(fine_stream.records.time_ns // 1000 * 1000) == coarse_stream.records.time_ns.tolist()
    files = sorted(folders[1].glob("*.pcap"))
    assert (open_records(files, microseconds=True).time_ns % 1000 == 0).all()


def test_a_rewrite_that_says_other_times_than_it_has_is_refused(folders: tuple[Path, Path]) -> None:
    for folder, said in zip(folders, ("us", "ns"), strict=True):
        document = json.loads((folder / "rewrite.json").read_text())
        (folder / "rewrite.json").write_text(json.dumps(document | {"pcap": said}))
        with pytest.raises(InputError, match=r"\.pcap: is no capture as segcast rewrite writes them"):
            plan_replay(folder, ALL)


def test_the_script_sends_each_capture_at_its_time(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In place of TRex stands what notes the calls, as its client from v2.50 on and as older ones take them."""
    calls: list[tuple[str, Any]] = []

    class Client:
        def __init__(self, server: str) -> None:
            calls.append(("server", server))

        def connect(self) -> None:
            calls.append(("connect", None))

        def reset(self, ports: list[int]) -> None:
            calls.append(("reset", ports))

        def push_remote(self, pcap_filename: str, ports: list[int], speedup: float, count: int, **macs: bool) -> None:
            if macs and old:
                raise TypeError("push_remote() got an unexpected keyword argument 'src_mac_pcap'")
            calls.append(("push", (pcap_filename, ports, speedup, count, macs)))

        def wait_on_traffic(self, ports: list[int]) -> None:
            calls.append(("wait", ports))

        def get_stats(self, ports: list[int]) -> dict[Any, Any]:
            return {port: {"opackets": 7} for port in ports} | {"global": {}}

        def disconnect(self) -> None:
            calls.append(("disconnect", None))

    for name in ("trex", "trex.stl", "trex.stl.api"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules["trex.stl.api"], "STLClient", Client, raising=False)
    files = json.loads((folders[1] / "rewrite.json").read_text())["files"]
    ports = list(range(3, 3 + len(files)))
    for old in (False, True):
        calls.clear()
        arguments = ["trex.py", "--server", "192.0.2.9", "--ports", ",".join(map(str, ports)), "--folder", "/there"]
        monkeypatch.setattr(sys, "argv", arguments)
        runpy.run_path(str(folders[1] / "trex.py"), run_name="__main__")
        assert calls[0] == ("server", "192.0.2.9")
        pushed = [row for what, row in calls if what == "push"]
        by_start = sorted(zip(files, ports, strict=True), key=lambda pair: pair[0]["first_ns"])
        assert [row[:2] for row in pushed] == [(f"/there/{Path(file['path']).name}", [port]) for file, port in by_start]
        assert all(row[2:4] == (1.0, 1) and bool(row[4]) is not old for row in pushed)
        assert calls[-2:] == [("wait", ports), ("disconnect", None)]
    assert f"port {ports[0]}: 7 packets sent" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["trex.py", "--ports", "0"])
    with pytest.raises(SystemExit):
        runpy.run_path(str(folders[1] / "trex.py"), run_name="__main__")


def test_a_script_of_others_is_kept_and_an_own_one_goes(folders: tuple[Path, Path], run: Run, tmp_path: Path) -> None:
    def again(folder: Path, resolution: str) -> Any:
        return run("rewrite", tmp_path / "f", "--policy", "inflight", "--pcap", resolution, "--out", folder)

    assert again(folders[1], "us").code == 0
    assert (folders[1] / "trex.py").exists()
    assert again(folders[1], "ns").code == 0
    assert not (folders[1] / "trex.py").exists()
    (folders[0] / "trex.py").write_text("mine\n")
    ran = again(folders[0], "us")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "holds trex.py, which is not from an earlier rewrite" in ran.err
    assert (folders[0] / "trex.py").read_text() == "mine\n"
