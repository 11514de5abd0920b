"""Signs of life of what takes long: a bar in a terminal, elsewhere a line now and then; and what is compiled meanwhile.

`--quiet` leaves both away, `--verbose` makes lines come every second.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click

from segcast.interruption import INTERRUPTION
from segcast.traces.kernels.compiling import COMPILING

Tick = Callable[[int, int], None]
NamedTick = Callable[[int, int, str], None]
EVERY_SECONDS: Final = {"quiet": float("inf"), "usual": 10.0, "verbose": 1.0}
_RARELY_SECONDS: Final = 60.0
_SHARE: Final = 0.1


class Manner:
    """How much a command says on stderr besides errors: `quiet`, `usual` or `verbose`."""

    def __init__(self) -> None:
        self.name = "usual"

    @property
    def quiet(self) -> bool:
        """Whether neither progress nor notes are wanted."""
        return self.name == "quiet"


MANNER: Final = Manner()


def with_manner(command: click.Command) -> click.Command:
    """Give a command, or all of a group, `--quiet` and `--verbose`."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_manner(inner)
        return command

    def chosen(context: click.Context, option: click.Parameter, value: bool) -> None:
        if value:
            MANNER.name = str(option.name)

    for name, said in (
        ("quiet", "Neither progress nor notes on stderr; errors stay."),
        ("verbose", "Progress every second, also where stderr is no terminal."),
    ):
        flag = click.Option([f"--{name}"], is_flag=True, expose_value=False, is_eager=True, callback=chosen, help=said)
        command.params.append(flag)
    return command


@contextmanager
def progress(what: str, unit: str = "") -> Iterator[Tick]:
    """A function of what is done and what there is, which shows it. It raises when interrupted.

    `unit`: "B" for bytes, "" for a quantity of which the share alone is shown.
    """
    with named_progress(what, unit) as update:
        yield lambda done, total: update(done, total, "")


@contextmanager
def busy(what: str) -> Iterator[None]:
    """Shows what is under way, and for how long, where nobody can say how far it is."""
    with progress(what):
        yield


@contextmanager
def named_progress(what: str, unit: str = "", *, foreseen: bool = True) -> Iterator[NamedTick]:
    """The same, of what is done, what there is, and what is being done at the moment.

    `foreseen`: the time left is told from the share that is done; else whoever ticks knows better, and says it.
    """
    if MANNER.quiet:
        yield lambda done, total, now: INTERRUPTION.check()
    elif sys.stderr.isatty():
        with _bar(what, unit, foreseen) as tick:
            yield tick
    else:
        with _lines(what, unit, foreseen) as tick:
            yield tick


@contextmanager
def compiling_said() -> Iterator[None]:
    """Say in a terminal that kernels are compiled, by whatever shows no progress of its own."""
    said: list[str] = []

    def told(words: str | None) -> None:
        if words is not None and not said:
            said.append(words)
            click.echo(f"segcast: {words}", err=True)

    if MANNER.quiet or not sys.stderr.isatty():
        yield
        return
    with COMPILING.told(told):
        yield


@contextmanager
def _bar(what: str, unit: str, foreseen: bool) -> Iterator[NamedTick]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    count = {"B": DownloadColumn, "": TaskProgressColumn}.get(unit, MofNCompleteColumn)()
    left = (TextColumn("left"), TimeRemainingColumn()) if unit and foreseen else ()
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, TimeElapsedColumn(), *left)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        doing = {"now": "", "compiling": ""}

        def shown() -> str:
            return f"{what} {doing['now']}".rstrip() + (f": {doing['compiling']}" if doing["compiling"] else "")

        def update(done: int, total: int, now: str) -> None:
            INTERRUPTION.check()
            doing["now"] = now
            bar.update(task, completed=done, total=total or None, description=shown())

        def compiles(words: str | None) -> None:
            doing["compiling"] = words or ""
            bar.update(task, description=shown())

        with COMPILING.told(compiles):
            yield update


@contextmanager
def _lines(what: str, unit: str, foreseen: bool) -> Iterator[NamedTick]:
    teller = Teller(what, unit, EVERY_SECONDS[MANNER.name], lambda line: click.echo(f"segcast: {line}", err=True))
    teller.foreseen = foreseen

    def update(done: int, total: int, now: str) -> None:
        INTERRUPTION.check()
        teller.at(done, total, now)

    with COMPILING.told(teller.compiles), teller.heard():
        yield update


class Teller:
    """Lines about what is under way: every so many seconds while it gets on by a tenth, else once a minute."""

    def __init__(
        self,
        what: str,
        unit: str,
        every_seconds: float,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._unit = what, unit
        self._every = every_seconds
        self._say = say
        self._clock = clock
        self._began = self._last = clock()
        self.foreseen = True
        self._done, self._total, self._now = 0, 0, ""
        self._compiling: str | None = None
        self._compiling_since = 0.0
        self._compiled_seconds = 0.0
        self._told: tuple[float, str | None] | None = None

    def at(self, done: int, total: int, now: str = "") -> None:
        """So much is done of so much, 0 if nobody knows how much there is; `now` is being done."""
        self._done, self._total, self._now = done, total, now

    def compiles(self, words: str | None) -> None:
        """This is compiled, or nothing any more."""
        now = self._clock()
        if self._compiling is not None:
            self._compiled_seconds += now - self._compiling_since
        self._compiling, self._compiling_since = words, now

    def look(self) -> None:
        """Say a line if it is time for one."""
        now = self._clock()
        if now - self._last < self._every:
            return
        share = self._done / self._total if self._total else 0.0
        told = self._told
        moved = told is None or told[1] != self._compiling or share - told[0] >= _SHARE
        if moved or MANNER.name == "verbose" or now - self._last >= _RARELY_SECONDS:
            self._last, self._told = now, (share, self._compiling)
            self._say(self._line(now - self._began, share))

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Look once a second, in a thread of its own: what takes long may not call."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(min(self._every, 1.0)):
                self.look()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _line(self, seconds: float, share: float) -> str:
        parts = [f"{seconds:.0f} s"]
        if self._compiling is not None:
            parts.insert(0, self._compiling)
        if self._total:
            parts.insert(0, self._count(share))
            if self.foreseen and 0 < share < 1 and self._compiling is None:
                worked = seconds - self._compiled_seconds
                parts.append(f"about {worked * (1 - share) / share:.0f} s left")
        return f"{self._what} {self._now}".rstrip() + f": {', '.join(parts)}"

    def _count(self, share: float) -> str:
        if self._unit == "B":
            return f"{self._done / 1e6:,.0f} of {self._total / 1e6:,.0f} MB ({share * 100:.0f} %)"
        return f"{self._done:,} of {self._total:,} {self._unit}" if self._unit else f"{share * 100:.0f} %"
