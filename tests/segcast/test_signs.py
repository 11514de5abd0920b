"""Signs of life: lines where stderr is no terminal, what is compiled, `--quiet`, `--verbose`, a bar in a terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from segcast import signs
from segcast.screen import note
from segcast.signs import Teller
from segcast.traces.kernels.compiling import Compiling
from tests.conftest import Run
from tests.support.ingesting import conversations


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(clock: Clock, unit: str = "cells") -> tuple[Teller, list[str]]:
    said: list[str] = []
    return Teller("forecast", unit, 10.0, said.append, clock), said


def at(teller: Teller, clock: Clock, seconds: float) -> None:
    clock.now = seconds
    teller.look()


def test_what_is_short_says_nothing(clock: Clock) -> None:
    teller, said = told(clock)
    teller.at(5, 10)
    at(teller, clock, 9.9)
    assert said == []


def test_a_line_comes_every_ten_seconds_while_a_tenth_is_done_and_else_once_a_minute(clock: Clock) -> None:
    teller, said = told(clock)
    teller.at(20, 100)
    at(teller, clock, 10)
    at(teller, clock, 15)
    teller.at(40, 100)
    at(teller, clock, 20)
    teller.at(41, 100)
    at(teller, clock, 30)
    at(teller, clock, 79)
    at(teller, clock, 82)
    assert said == [
        "forecast: 20 of 100 cells, 10 s, about 40 s left",
        "forecast: 40 of 100 cells, 20 s, about 30 s left",
        "forecast: 41 of 100 cells, 82 s, about 118 s left",
    ]


def test_what_is_compiled_is_said_and_is_not_in_the_time_left(clock: Clock) -> None:
    teller, said = told(clock)
    teller.at(0, 10)
    teller.compiles("compiling inflight (once, about 5 s)")
    at(teller, clock, 10)
    clock.now = 12
    teller.compiles(None)
    teller.at(5, 10)
    at(teller, clock, 20)
    assert said == [
        "forecast: 0 of 10 cells, compiling inflight (once, about 5 s), 10 s",
        "forecast: 5 of 10 cells, 20 s, about 8 s left",
    ]


def test_bytes_and_shares_have_their_words(clock: Clock) -> None:
    teller, said = told(clock, "B")
    teller.at(1_500_000_000, 3_000_000_000)
    at(teller, clock, 10)
    other, more = told(clock, "")
    other.at(1, 4)
    at(other, clock, 20)
    nothing, least = told(clock)
    at(nothing, clock, 30)
    assert [*said, *more, *least] == [
        "forecast: 1,500 of 3,000 MB (50 %), 10 s, about 10 s left",
        "forecast: 25 %, 10 s, about 30 s left",
        "forecast: 10 s",
    ]


def test_nested_compiling_is_told_once_and_ends_once() -> None:
    compiling, told = Compiling(), list[str | None]()
    with compiling.told(told.append):
        compiling.begins()
        compiling.begins()
        compiling.begins("inflight")
        compiling.ends()
        compiling.ends()
        assert told == ["compiling (once, about 20 s)", "compiling inflight (once, about 5 s)"]
        compiling.ends()
        compiling.begins("ecmp", large=True)
        compiling.ends()
    compiling.begins()
    assert told[2:] == [None, "compiling ecmp (once, up to a minute)", None]


KERNEL = """
import sys
import numpy as np
from segcast.analyzer.engine.unseen import all_unseen
from segcast.traces.kernels.compiling import COMPILING
told = []
with COMPILING.told(told.append):
    all_unseen(1 << 31, 1, np.arange(20), np.arange(20, dtype=np.uint32))
print(told)
"""


def test_kernels_say_so_only_while_the_cache_is_cold(tmp_path: Path) -> None:
    def ran(code: str) -> str:
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_OPT": "1"}
        return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True).stdout

    assert ran(KERNEL) == "['compiling (once, about 20 s)', None]\n"
    assert ran(KERNEL) == "[]\n"


def test_lines_of_a_command_come_from_a_thread_and_stop_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(signs.EVERY_SECONDS, "usual", 0.01)
    seen = threading.Event()
    monkeypatch.setattr(signs.click, "echo", lambda line, err: seen.set() if err else None)
    before = threading.active_count()
    with signs.progress("forecast", "cells") as tick:
        tick(1, 2)
        assert seen.wait(10)
    assert threading.active_count() == before


def test_quiet_leaves_notes_and_progress_away_and_the_next_command_is_as_usual(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(signs.EVERY_SECONDS, "usual", 0.0)
    assert run("policies", "--quiet").code == 0
    note("a note")
    with signs.progress("forecast", "cells") as tick:
        tick(1, 2)
    assert capsys.readouterr().err == ""
    assert run("inspect", "nowhere.pcap", "--quiet").err.startswith("segcast: nowhere.pcap")
    assert run("policies", "--verbose").code == 0
    assert signs.MANNER.name == "verbose"
    assert run("policies").code == 0
    note("a note")
    assert capsys.readouterr().err == "segcast: a note\n"


def test_a_terminal_sees_a_bar_that_says_what_is_compiled(tmp_path: Path) -> None:
    code = "from segcast.signs import progress; from segcast.traces.kernels.compiling import COMPILING\n"
    code += "import time\nwith progress('forecast', 'cells') as tick:\n"
    code += (
        "    tick(1, 2); COMPILING.begins('inflight'); time.sleep(.4); COMPILING.ends(); tick(2, 2); time.sleep(.4)\n"
    )
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": "160", "TERM": "xterm"}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=slave, stdout=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    os.close(master)
    assert b"forecast: compiling inflight (once, about 5 s)" in shown
    assert b"left" in shown
    assert b"2/2" in shown


def shown_by(*arguments: object, cwd: Path) -> str:
    """What a command shows in a terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "segcast", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "160", "TERM": "xterm", "NUMBA_OPT": "1"}
    process = subprocess.Popen(command, env=environment, cwd=cwd, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while part := os.read(master, 4096):
            shown += part
    os.close(master)
    assert process.wait() == 0, shown
    return shown.decode()


def test_whatever_may_take_long_has_a_name_in_a_terminal(tmp_path: Path) -> None:
    """A silent second looks like a fault: also where nobody can say how far it is, its name and time are shown."""
    (tmp_path / "c.pcap").write_bytes(conversations(1, 60))
    flags = ("--paths", "2x10Mbps", "--seeds", "2", "--policy", "ecmp,inflight", "--out")
    for command in (
        ("inspect", "c.pcap"),
        ("flowlets", "c.pcap"),
        ("forecast", "c.pcap", *flags, "f"),
        ("report", "f"),
        ("compare", "f", "f"),
        ("rewrite", "f", "--policy", "inflight", "--out", "srv6"),
    ):
        shown = shown_by(*command, cwd=tmp_path)
        assert f"{command[0]} \x1b" in shown, (command, shown)  # the bar follows in its colour
        assert "0:00:0" in shown, (command, shown)
