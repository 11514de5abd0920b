"""Outputs: what they may replace, what they never touch, and what an interruption leaves."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from segcast.analyzer.forecast.run import forecast
from segcast.analyzer.metrics.tables import FORECAST_TABLES, REACTING_TABLES, RESAMPLES
from segcast.analyzer.scenario.short import short_scenario
from segcast.replay.rewrite.of_forecast import rewrite_forecast
from segcast.reports.forecast.page import write_report
from segcast.traces.disk import folders
from segcast.traces.disk.folders import FORECAST, TRACE, new_file, new_folder
from segcast.traces.disk.names import check_name
from segcast.traces.errors import InputError
from segcast.traces.ingest.opening import open_trace
from segcast.traces.ingest.run import ingest
from segcast.traces.samples import CLUSTER
from segcast.traces.trace import Trace, load
from tests.support.folders import Contents, contents
from tests.support.ingesting import conversations


def make(target: Path, text: str = "new") -> None:
    """A forecast, as far as its folder goes."""
    with new_folder(target, marker="forecast.json") as folder:
        (folder / "packets").mkdir()
        (folder / "packets" / "ecmp-s1.parquet").write_text(text)
        (folder / "forecast.json").write_text(text)
        (folder / "scenario.toml").write_text(text)


def made(text: str) -> Contents:
    content = text.encode()
    return {
        "packets": None,
        "packets/ecmp-s1.parquet": content,
        "forecast.json": content,
        "scenario.toml": content,
    }


@pytest.fixture(scope="module")
def folder(cluster: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("forecast") / "f"
    scenario = short_scenario(paths="2x400Mbps", seeds=[1], policies=["ecmp", "inflight"], timeouts=["50us", "1ms"])
    forecast(cluster, scenario, out, finish=write_report)
    return out


# --- what is replaced --------------------------------------------------------------------------------------------


def test_what_the_commands_write_is_theirs(cluster: Trace, folder: Path) -> None:
    assert TRACE.made(cluster.folder)
    assert FORECAST.made(folder)
    assert TRACE.foreign(cluster.folder) is FORECAST.foreign(folder) is None
    assert {name for name in FORECAST.others if name.endswith(".parquet") and "/" not in name} == {
        f"{table.name}.parquet" for table in (*FORECAST_TABLES, *REACTING_TABLES, RESAMPLES) if table.name != "packets"
    }


def test_an_earlier_output_and_an_empty_folder_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    for text in ("one", "two"):
        make(tmp_path / "f", text)
        assert contents(tmp_path) == {"f": None} | {f"f/{name}": c for name, c in made(text).items()}


def thesis(folder: Path) -> str:
    (folder / "thesis.tex").write_text("words")
    return "thesis.tex"


def nested(folder: Path) -> str:
    (folder / "packets" / "mine.parquet").write_text("words")
    return "packets/mine.parquet"


def srv6(folder: Path) -> str:
    (folder / "srv6").mkdir()
    return "srv6"


def deeper(folder: Path) -> str:
    (folder / "packets" / "packets").mkdir()
    return "packets/packets"


def linked(folder: Path) -> str:
    (folder / "summary.parquet").symlink_to("scenario.toml")
    return "summary.parquet"


def linked_folder(folder: Path) -> str:
    (folder / "packets").rename(folder.parent / "elsewhere")
    (folder / "packets").symlink_to(folder.parent / "elsewhere")
    return "packets"


def undecodable(folder: Path) -> str:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("words")
    return r"\\udcff"


@pytest.mark.parametrize("add", [thesis, nested, srv6, deeper, linked, linked_folder, undecodable])
def test_anything_else_in_the_folder_stops_the_command(tmp_path: Path, add: Callable[[Path], str]) -> None:
    make(tmp_path / "f", "old")
    name = add(tmp_path / "f")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=rf"f: is a forecast that also holds {name}, which would be lost; move"):
        make(tmp_path / "f")
    assert contents(tmp_path) == before


def test_what_comes_while_the_command_runs_is_kept(tmp_path: Path) -> None:
    make(tmp_path / "f", "old")
    with (
        pytest.raises(InputError, match=r"also holds thesis\.tex"),
        new_folder(tmp_path / "f", marker="forecast.json"),
    ):
        thesis(tmp_path / "f")
    assert contents(tmp_path / "f") == made("old") | {"thesis.tex": b"words"}


@pytest.mark.parametrize("marker", ["trace.json", "forecast.json"])
def test_a_file_named_as_a_marker_makes_no_folder_ours(tmp_path: Path, marker: str) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / marker).write_text("[]")
    with (
        pytest.raises(InputError, match="exists and was not made by this command"),
        new_folder(tmp_path / "f", marker=marker),
    ):
        pass
    assert contents(tmp_path / "f") == {marker: b"[]"}


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.pcap").write_bytes(conversations(1))
    target = tmp_path / "t.trace"
    ingest([tmp_path / "a.pcap"], target)
    shutil.copy(tmp_path / "a.pcap", target / "a.pcap")
    with pytest.raises(InputError, match=r"also holds a\.pcap"):
        ingest([target / "a.pcap"], target)
    part = target / "packets" / "part-00009.parquet"
    (target / "a.pcap").rename(part)
    (tmp_path / "link.pcap").symlink_to(part)
    with pytest.raises(InputError, match=r"t\.trace: holds .*link\.pcap, which is read; choose another --out"):
        ingest([tmp_path / "link.pcap"], target)
    assert load(target).packet_count == 400


@pytest.mark.parametrize("out", ["", ".", "..", "../..", "../here", "link"])
def test_the_current_folder_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    here = tmp_path / "up" / "here"
    here.mkdir(parents=True)
    (here / "link").symlink_to(here)
    monkeypatch.chdir(here)
    with pytest.raises(InputError, match="is the current folder, or holds it; name a new folder"):
        make(Path(out))
    assert contents(tmp_path) == {"up": None, "up/here": None, "up/here/link": None}


# --- links and names ---------------------------------------------------------------------------------------------


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    make(tmp_path / "far" / "f", "old")
    (tmp_path / "link").symlink_to("far/f")
    make(tmp_path / "link")
    assert (tmp_path / "link").readlink() == Path("far/f")
    assert contents(tmp_path / "far" / "f") == made("new")
    with new_file(tmp_path / "link" / "scenario.toml") as file:
        file.write_text("newer")
    assert (tmp_path / "far" / "f" / "scenario.toml").read_text() == "newer"
    assert not [name for name in contents(tmp_path) if "segcast" in name]


@pytest.mark.parametrize("leads_to", ["nowhere", "link"])
def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path, leads_to: str) -> None:
    (tmp_path / "link").symlink_to(leads_to)
    with pytest.raises(InputError, match="link: is a link that leads nowhere; remove it"):
        make(tmp_path / "link")
    with pytest.raises(InputError, match="link: is a link that leads nowhere"), new_file(tmp_path / "link"):
        pass
    assert contents(tmp_path) == {"link": None}


def test_names_that_are_not_utf8_are_refused(tmp_path: Path, folder: Path) -> None:
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copy(CLUSTER, bad)
    (tmp_path / "link").symlink_to(bad)
    message = r"(caf\\udce9|link): its name is not UTF-8; rename it"
    for path in (bad, tmp_path / "link", bad / "deeper"):
        for use in (check_name, open_trace, make, lambda p: ingest([p], tmp_path / "t.trace")):
            with pytest.raises(InputError, match=r"its name is not UTF-8; rename it") as caught:
                use(path)
            assert str(caught.value).isascii()
    with pytest.raises(InputError, match=message), new_file(bad):
        pass
    for out in (bad, tmp_path / "link"):
        with pytest.raises(InputError, match=message):
            rewrite_forecast(folder, out, policy="ecmp")
    assert {os.fsencode(path.name) for path in tmp_path.iterdir()} == {b"caf\xe9", b"link"}


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o027, 0o640), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            make(tmp_path / "f")
            with new_file(tmp_path / "file") as file:
                file.write_text("x")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o777 & ~mask
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


# --- interruptions -----------------------------------------------------------------------------------------------


class Interrupter:
    """Raises KeyboardInterrupt once, before or after the n-th call of what it wraps."""

    def __init__(self, function: Callable[..., object], call: int, after: bool) -> None:
        self.function, self.call, self.after, self.calls = function, call, after, 0

    def __call__(self, *arguments: object, **options: object) -> object:
        self.calls += 1
        if self.calls == self.call and not self.after:
            raise KeyboardInterrupt
        result = self.function(*arguments, **options)
        if self.calls == self.call and self.after:
            raise KeyboardInterrupt
        return result


@pytest.mark.parametrize(
    ("what", "call", "after", "wins"),
    [
        ("exchange", 1, False, "old"),
        ("exchange", 1, True, "new"),
        *(("rename", call, after, "old") for call in (1, 2, 3) for after in (False, True)),
        ("rename", 4, False, "old"),
        ("rename", 4, True, "new"),
        ("rmtree", 1, False, "new"),
        ("rmtree", 1, True, "new"),
    ],
)
def test_an_interrupted_swap_keeps_one_of_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, call: int, after: bool, wins: str
) -> None:
    """Whether the file system exchanges names (`exchange`) or not (`rename`)."""
    make(tmp_path / "f", "old")
    if what == "exchange":
        monkeypatch.setattr(folders, "_exchanged", Interrupter(folders._exchanged, call, after))
    elif what == "rename":
        wrapped = Interrupter(Path.rename, call, after)
        monkeypatch.setattr(Path, "rename", lambda path, to: wrapped(path, to))
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    else:
        monkeypatch.setattr(shutil, "rmtree", Interrupter(shutil.rmtree, call, after))
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "f")
    assert {path.name for path in tmp_path.iterdir()} == {"f"}
    assert contents(tmp_path / "f") == made(wins)


def test_what_a_killed_command_left_is_settled_by_the_next(tmp_path: Path) -> None:
    """Killed before the swap, between its renames, and while the old output was removed."""
    (tmp_path / ".f.segcast-00000000" / "new").mkdir(parents=True)
    make(tmp_path / ".f.segcast-11111111" / "old", "old")
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "f", marker="forecast.json"):
        raise ZeroDivisionError
    assert {path.name for path in tmp_path.iterdir()} == {"f"}
    assert contents(tmp_path / "f") == made("old")
    make(tmp_path / ".f.segcast-22222222" / "old", "older")
    make(tmp_path / "f")
    assert {path.name for path in tmp_path.iterdir()} == {"f"}
    assert contents(tmp_path / "f") == made("new")


def test_what_a_live_command_writes_is_left_alone(tmp_path: Path) -> None:
    with new_folder(tmp_path / "f", marker="forecast.json") as mine:
        (mine / "forecast.json").write_text("slow")
        (mine / "scenario.toml").write_text("slow")
        make(tmp_path / "f", "quick")
        assert mine.is_dir()
    assert contents(tmp_path / "f") == {"forecast.json": b"slow", "scenario.toml": b"slow"}
    assert {path.name for path in tmp_path.iterdir()} == {"f"}


def test_a_folder_works_where_nothing_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    make(tmp_path / "f", "old")
    make(tmp_path / "f")
    assert contents(tmp_path) == {"f": None} | {f"f/{name}": c for name, c in made("new").items()}


# --- files -------------------------------------------------------------------------------------------------------


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with (
        pytest.raises(InputError, match=r"file: cannot be written: No space left on device; make room"),
        new_file(target) as file,
    ):
        file.write_text("half")
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyboardInterrupt), new_file(target) as file:
        file.write_text("half")
        raise KeyboardInterrupt
    assert contents(tmp_path) == {"file": b"old"}
    with new_file(target) as file:
        file.write_text("new")
    assert contents(tmp_path) == {"file": b"new"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is a folder; name a file"),
        ("fifo", "fifo: is not a regular file; choose another name"),
        ("none/file", "none/file: cannot be written: No such file or directory"),
        ("text/file", "text/file: cannot be written: Not a directory"),
    ],
)
def test_what_can_be_no_file_is_named(tmp_path: Path, name: str, message: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("x")
    with pytest.raises(InputError, match=message), new_file(tmp_path / name):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"fifo", "text"}
