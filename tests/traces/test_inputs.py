"""What names captures: folders, patterns, names given twice, and how each is refused, ordered and told."""

from __future__ import annotations

import json
import os
from pathlib import Path

import platformdirs
import pytest

from segcast.traces.errors import InputError
from segcast.traces.ingest.inputs import in_natural_order, list_inputs
from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from tests.conftest import Run
from tests.support.ingesting import conversations, mixture


@pytest.fixture
def tap(tmp_path: Path) -> Path:
    """A folder with captures and other things."""
    folder = tmp_path / "tap"
    (folder / "deep" / "er").mkdir(parents=True)
    for n in (10, 2, 1):
        (folder / f"cap{n}.pcap").write_bytes(conversations(n, 20, start_ns=10**18 + n * 10**9))
    (folder / "deep" / "er" / "no-suffix").write_bytes(mixture(1, 10))
    (folder / "README").write_text("no capture")
    (folder / "empty.pcap").touch()
    (folder / ".hidden.pcap").write_bytes(conversations(3, 20))
    (folder / ".cache").mkdir()
    (folder / ".cache" / "cap.pcap").write_bytes(conversations(4, 20))
    return folder


def names(*given: str | Path) -> list[str]:
    return [Path(head.path).name for head in list_inputs(given).heads]


def test_natural_order() -> None:
    given = ["cap10", "cap2", "cap02b", "cap", "a/2/x", "a/10/x", "a/1b", "b1", "10", "9"]
    assert in_natural_order(given) == ["9", "10", "a/1b", "a/2/x", "a/10/x", "b1", "cap", "cap02b", "cap2", "cap10"]


def test_a_folder_is_all_captures_below_it(tap: Path) -> None:
    inputs = list_inputs([tap])
    assert [Path(head.path).name for head in inputs.heads] == ["cap1.pcap", "cap2.pcap", "cap10.pcap", "no-suffix"]
    assert inputs.left_out == {"not_captures": 2, "named_twice": 0}
    ingest([tap], tap / "t.trace")
    assert list_inputs([tap]).left_out["not_captures"] == 2


def test_patterns_and_names_given_twice(tap: Path) -> None:
    assert names(f"{tap}/cap*.pcap") == ["cap1.pcap", "cap2.pcap", "cap10.pcap"]
    assert names(f"{tap}/**/no*", tap / "cap2.pcap") == ["no-suffix", "cap2.pcap"]
    (tap / "link.pcap").symlink_to("cap2.pcap")
    os.link(tap / "cap1.pcap", tap / "hard.pcap")
    assert names(tap / "link.pcap", tap, tap / ".." / "tap" / "cap2.pcap")[0] == "link.pcap"
    assert list_inputs([tap, tap]).left_out == {"not_captures": 4, "named_twice": 8}
    (tap / "cap[1].pcap").write_bytes(mixture(3, 10))
    assert names(tap / "cap[1].pcap") == ["cap[1].pcap"]


def test_what_cannot_be_taken_is_named(tap: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"README: .*not a capture"):
        list_inputs([f"{tap}/*"])
    with pytest.raises(InputError, match=r"\*\.pcapng: no file matches; check the pattern"):
        list_inputs([f"{tap}/*.pcapng"])
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x").write_text("x")
    with pytest.raises(InputError, match="none: holds no capture among 1 files"):
        list_inputs([tmp_path / "none"])
    with pytest.raises(InputError, match="no such file"):
        list_inputs([tmp_path / "absent"])


def test_the_command_says_what_it_leaves_out(tap: Path, tmp_path: Path, run: Run) -> None:
    ran = run("ingest", tap, tap / "cap1.pcap", "--out", tmp_path / "t.trace", "--json")
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "segcast: 2 files that are no captures are left out",
        "segcast: 1 captures that were named twice are taken once",
    ]
    facts = json.loads(ran.out)
    assert facts["packets"] == 70
    assert facts["left_out"] == {"not_captures": 2, "named_twice": 1}


def test_a_folder_or_pattern_may_stand_for_a_trace(
    tap: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_: str(tmp_path / "cache"))
    assert open_trace(tap).packet_count == 70
    made = {path.name for path in (tmp_path / "cache" / "traces").iterdir()}
    assert open_trace(tap).packet_count == 70
    assert {path.name for path in (tmp_path / "cache" / "traces").iterdir()} == made
    assert json.loads(run("inspect", f"{tap}/cap1*.pcap", "--json").out)["packets"] == 40
    (tap / "cap3.pcap").write_bytes(conversations(7, 20))
    assert open_trace(f"{tap}/").packet_count == 90


def test_damage_of_several_captures(tap: Path, tmp_path: Path, run: Run) -> None:
    for n in (1, 2):
        file = tap / f"cap{n}.pcap"
        file.write_bytes(file.read_bytes()[:-5])
    ran = run("ingest", tap, "--out", tmp_path / "t.trace", "--json")
    assert (ran.code, ran.out) == (2, "")
    lines = ran.err.splitlines()[1:]
    assert [("cap1.pcap: damaged at byte" in line, "cap2.pcap: damaged at byte" in line) for line in lines] == [
        (True, False),
        (False, True),
        (True, False),
    ]
    assert "so are 1 more of the captures" in lines[2]
    assert open_trace(tmp_path / "t.trace").packet_count == 68
    ran = run("ingest", tap, "--out", tmp_path / "t.trace", "--keep-going", "--json")
    assert ran.code == 0
    assert ran.err.count("segcast: warning: ") == 2
    assert json.loads(ran.out)["sources"][0]["damages"][0]["reason"] == "the file ends inside a record"
