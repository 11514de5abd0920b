"""`segcast demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

import segcast as sc
from segcast.interruption import INTERRUPTION
from segcast.screen import busy, progress, say, terminal

if TYPE_CHECKING:
    from rich.console import Console

_FLAGS: Final = {"paths": "4x300Mbps", "timeout": "50us,100us,500us", "buffer": "1MiB"}


@click.command()
@click.option(
    "--out", default="segcast-demo", show_default=True, type=click.Path(path_type=Path), help="Where to write."
)
def demo(out: Path) -> None:
    """Run the main job on the bundled capture: ingest, flowlets, forecast, report, SRv6 schedule."""
    from segcast.reports.console import print_flowlets, print_rewrite
    from segcast.reports.forecast.terminal import print_forecast

    console = terminal()
    trace = out / "cluster.trace"
    folder = out / "cluster.forecast"
    capture = sc.sample()
    scenario = sc.scenario_from_flags(_FLAGS)
    flags = " ".join(f"--{name} {value}" for name, value in _FLAGS.items())
    _step(console, f"segcast ingest {capture.name} --out {trace}")
    with progress("ingest", "B") as tick:
        opened = sc.ingest([capture], trace, tick)
    _step(console, f"segcast flowlets {trace}")
    with busy("flowlets"):
        counted = sc.flowlets(opened)
    print_flowlets(counted, console)
    _step(console, f"segcast forecast {trace} {flags} --out {folder}")
    with progress("forecast", "cells") as tick:
        sc.forecast(opened, scenario, folder, tick, around=INTERRUPTION.deferred())
    print_forecast(folder, console)
    _step(console, f"segcast rewrite {folder} --policy inflight --out {out / 'srv6'}")
    with busy("rewrite"):
        written = sc.lab.rewrite(folder, out / "srv6", policy="inflight")
    print_rewrite(written, console)
    console.print()
    say(console, f"report:   {folder / 'report.html'}")
    say(console, f"captures: {out / 'srv6'}")


def _step(console: Console, command: str) -> None:
    console.print()
    console.print(f"$ {command}", style="bold", markup=False)
