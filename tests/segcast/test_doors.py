"""What others chose: names in the terminal, and files without an end, or of no size that they should have."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from segcast.analyzer.scenario.reading import read_scenario
from segcast.analyzer.toml_keys import key_lines, read_toml
from segcast.replay.inventory import read_inventory
from segcast.replay.srv6.signing import read_key as read_hmac_key
from segcast.traces.disk.bounded import read_bounded
from segcast.traces.disk.names import visible
from segcast.traces.errors import InputError
from segcast.traces.flows.anonymize import read_key as read_address_key
from segcast.traces.trace import Trace, load
from tests.conftest import Run
from tests.support.ingesting import conversations
from tests.twins import writing
from tests.twins.writing import Captured

NAMES = ("a\x1b[2J\x1b[31mred", "b\x1b]0;title\x07", "c\nsegcast: all well", "d\u202egnp", "e\x9b31m", "f\u2028g")
GRAPH = '[network]\nkind = "graph"\nfile = "{}"\nlink = {{ rate = "1Gbps" }}\n'


def test_control_characters_are_shown() -> None:
    assert visible("a\x1b[2J\nb\u202e\x9b") == "a\\x1b[2J\\nb\\u202e\\x9b"
    assert visible("µs — naïve 10.0.0.1 ü") == "µs — naïve 10.0.0.1 ü"


@pytest.mark.parametrize("name", NAMES)
def test_names_do_not_reach_the_terminal_as_they_are(run: Run, tmp_path: Path, name: str) -> None:
    capture = tmp_path / f"{name}.pcap"
    capture.write_bytes(conversations(1, 60))
    hidden = [character for character in name if visible(character) != character]
    commands = (
        ("ingest", capture, "--out", tmp_path / "t.trace"),
        ("inspect", tmp_path / "t.trace"),
        ("flowlets", tmp_path / "t.trace"),
        ("inspect", tmp_path / f"{name}.trace"),
        ("forecast", capture, "--scenario", tmp_path / f"{name}.toml", "--out", tmp_path / "f"),
    )
    for command in commands:
        ran = run(*command)
        for text in (ran.out, ran.err):
            assert not any(character in text for character in hidden if character != "\n")
            assert "\nsegcast: all well" not in text
        assert ran.code in (0, 2)
    assert visible(name) in run("inspect", tmp_path / "t.trace").out


def test_colons_are_no_shorthand_for_pictures(run: Run, tmp_path: Path) -> None:
    capture = tmp_path / "rack:a:1:o:.pcap"
    src, dst = (bytes.fromhex(f"000a000b000c0012000000000000000{end}") for end in (1, 2))
    packet = writing.ipv6(writing.ipv6(bytes(8), 59), 41, src=src, dst=dst)
    capture.write_bytes(writing.pcap([Captured(10**15, len(packet), packet)], 101))
    shown = run("ingest", capture, "--out", tmp_path / "t.trace").out
    assert "a:b:c:12::1 " in shown
    assert capture.name in shown
    assert "ipv6 inside" in shown
    assert shown.isascii()


def endless(tmp_path: Path) -> list[tuple[Path, str]]:
    """Files that must be refused at once, and how."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(300 << 20)
    return [
        (Path("/dev/zero"), "is not a regular file"),
        (Path("/dev/urandom"), "is not a regular file"),
        (fifo, "is a pipe that nothing was written to"),
        (large, "has more than "),
    ]


def test_files_without_an_end_are_refused_at_every_door(tmp_path: Path, cluster: Trace) -> None:
    shutil.copytree(cluster.folder, tmp_path / "t.trace")
    for file, why in endless(tmp_path):
        with pytest.raises(InputError, match=why):
            read_bounded(file)
        with pytest.raises(InputError, match=why):
            read_hmac_key(1, file, flag=False)
        with pytest.raises(InputError, match=why):
            read_address_key(file)
        with pytest.raises(InputError, match=why):
            read_toml(file, "scenario")
        with pytest.raises(InputError, match=why):
            read_inventory(file)
        (tmp_path / "s.toml").write_text(GRAPH.format(file))
        with pytest.raises(InputError, match=why):
            read_scenario(tmp_path / "s.toml")
        (tmp_path / "t.trace" / "trace.json").unlink(missing_ok=True)
        (tmp_path / "t.trace" / "trace.json").symlink_to(file)
        with pytest.raises(InputError, match=why):
            load(tmp_path / "t.trace")


def test_a_key_may_come_from_a_pipe(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"secret\n")
    os.close(writing)
    assert read_hmac_key(1, Path(f"/dev/fd/{reading}"), flag=False).secret == b"secret"
    os.close(reading)


def test_a_deep_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text('{"nodes": ' + "[" * 100_000 + "]" * 100_000 + "}")
    (tmp_path / "s.toml").write_text(GRAPH.format("g.json"))
    with pytest.raises(InputError, match=r"g\.json: is no graph: it is nested too deeply"):
        read_scenario(tmp_path / "s.toml")


def test_absurd_keys_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(".".join("a" for _ in range(50_000)) + " = 1\n")
    with pytest.raises(InputError, match=r"s\.toml: a key of more than 100 parts"):
        read_scenario(tmp_path / "s.toml")
    text = "".join(f'[[events]]\nat = "{n}ms"\n' for n in range(20_000))
    lines = key_lines(text)
    assert lines["events", 19_999, "at"] == 40_000


@pytest.mark.parametrize("name", [".", "..", "a\\u001b[31m", "a\\u0000"])
def test_interfaces_have_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "i.toml").write_text(f'[senders.a]\ninterface = "{name}"\nprefixes = ["10.0.0.0/8"]\n')
    with pytest.raises(InputError, match=r"i\.toml:2: senders\.a\.interface: "):
        read_inventory(tmp_path / "i.toml")


def test_json_is_escaped_by_itself(run: Run, tmp_path: Path) -> None:
    capture = tmp_path / f"{NAMES[0]}.pcap"
    capture.write_bytes(conversations(1, 60))
    ran = run("ingest", capture, "--out", tmp_path / "t.trace", "--json")
    assert json.loads(ran.out)["sources"][0]["path"].endswith(capture.name)
    assert "\x1b" not in ran.out


@pytest.mark.parametrize(("names", "line"), [("aba", 6), (("b-back", "b"), 4), (("b", "b-back"), 4)])
def test_two_links_of_one_name_are_refused(tmp_path: Path, names: tuple[str, ...], line: int) -> None:
    text = "".join(f'[[network.paths]]\nlinks = [{{ name = "{name}", rate = "1Gbps" }}]\n' for name in names)
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(
        InputError, match=rf"s\.toml:{line}: network\.paths\[\d\]\.links\[0\]\.name: two are called {names[-1]}$"
    ):
        read_scenario(tmp_path / "s.toml").fabric()


def test_networks_of_absurd_size_are_refused_at_once(tmp_path: Path) -> None:
    links = 'links = { rate = "1Gbps" }\n'
    (tmp_path / "s.toml").write_text(f'[network]\nkind = "leaf-spine"\nleaves = 1000\nspines = 1000\n{links}')
    with pytest.raises(InputError, match=r"s\.toml:3: network\.leaves: makes 1,000,000 links, more than 100,000"):
        read_scenario(tmp_path / "s.toml").fabric()


@pytest.mark.parametrize("name", ["~", "s3:", "~nobody", "file:"])
def test_relative_names_are_names_and_no_homes_or_urls(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Arrow reads `~` and `s3:/` of a relative path otherwise than the system does."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.pcap").write_bytes(conversations(1, 60))
    (tmp_path / "w.csv").write_text("flow,start_ns,src,dst,bytes\n0,0,10.0.0.1,10.1.0.1,5000\n")
    (tmp_path / name).mkdir()
    trace, forecast = f"{name}/t", f"{name}/f"
    assert run("ingest", "c.pcap", "--out", trace).err == ""
    assert run("inspect", trace).code == 0
    made = run("forecast", trace, "--paths", "2x1Gbps", "--seeds", "2", "--policy", "ecmp", "--out", forecast)
    assert (made.code, made.err) == (0, "")
    assert run("report", forecast).code == 0
    assert run("compare", forecast, forecast).code == 0
    assert load(Path(trace)).packets.collect().height == 60


def test_a_loop_of_links_is_said_in_words(tmp_path: Path, cluster: Trace) -> None:
    shutil.copytree(cluster.folder, tmp_path / "t.trace")
    file = tmp_path / "t.trace" / "segment_lists.parquet"
    file.unlink()
    file.symlink_to(file.name)
    with pytest.raises(InputError, match=r"unreadable \(Too many levels of symbolic links\)"):
        load(tmp_path / "t.trace").segment_list_table()
