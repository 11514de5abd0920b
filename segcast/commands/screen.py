"""What commands show: progress on stderr, one document on stdout; and what the command line hands to them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout, nothing else.")


def print_json(document: Any) -> None:
    """One JSON document."""
    click.echo(json.dumps(document, indent=1))


@contextmanager
def progress(
    what: str, unit: str = "", check: Callable[[], None] = lambda: None
) -> Iterator[Callable[[int, int], None]]:
    """Called with what is done and what there is: a bar on stderr if that is a terminal; calls `check` each time.

    `unit`: "B" for bytes, "" for a quantity of which the share alone is shown.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: check()
        return
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
    columns = (TextColumn(what), BarColumn(), count, TimeRemainingColumn() if unit else TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def update(done: int, total: int) -> None:
            check()
            bar.update(task, completed=done, total=total or None)

        yield update


@dataclass(frozen=True, slots=True)
class Screen:
    """`progress(what, unit)` gives a function of what is done and what there is; `show(document, as_json, kind)` prints
    a document of that kind; `write_page(folder)` writes the HTML page of a validation.
    """

    progress: Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
    show: Callable[[dict[str, Any], bool, str], None]
    write_page: Callable[[Path], object]
