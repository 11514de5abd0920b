"""`segcast report`."""

from __future__ import annotations

from pathlib import Path

import click

import segcast as sc
from segcast.screen import busy, say, terminal


@click.command()
@click.argument("folder", metavar="F", type=click.Path(path_type=Path))
def report(folder: Path) -> None:
    """Write report.html of a forecast again, from its tables."""
    with busy("report"):
        page = sc.report(folder)
    say(terminal(), str(page))
