"""`segcast demo`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from segcast.interruption import INTERRUPTION
from segcast.screen import FLOWLET_TIMEOUTS, durations, open_trace_of, progress, say, terminal

if TYPE_CHECKING:
    from rich.console import Console

_FLAGS: Final = {"paths": "4x300Mbps", "timeout": "50us,100us,500us", "buffer": "1MiB"}


@click.command()
@click.option(
    "--out", default="segcast-demo", show_default=True, type=click.Path(path_type=Path), help="Where to write."
)
def demo(out: Path) -> None:
    """Run the main job on the bundled capture: ingest, flowlets, forecast, report, SRv6 schedule."""
    from segcast.analyzer.flowlets.report import flowlet_report
    from segcast.analyzer.forecast.run import forecast as run
    from segcast.analyzer.scenario.flags import scenario_of
    from segcast.replay.rewrite.of_forecast import rewrite_forecast
    from segcast.reports.console import print_flowlets, print_rewrite
    from segcast.reports.forecast.page import write_report
    from segcast.reports.forecast.terminal import print_forecast
    from segcast.traces.ingest.run import ingest as ingest_captures
    from segcast.traces.samples import CLUSTER

    console = terminal()
    trace = out / "cluster.trace"
    folder = out / "cluster.forecast"
    scenario = scenario_of(None, _FLAGS)
    flags = " ".join(f"--{name} {value}" for name, value in _FLAGS.items())
    _step(console, f"segcast ingest {CLUSTER.name} --out {trace}")
    ingest_captures([CLUSTER], trace)
    _step(console, f"segcast flowlets {trace}")
    print_flowlets(flowlet_report(open_trace_of(trace), durations(FLOWLET_TIMEOUTS)), console)
    _step(console, f"segcast forecast {trace} {flags} --out {folder}")
    with progress("forecast", "cells") as tick:
        taken = open_trace_of(trace)
        with INTERRUPTION.deferred():
            run(taken, scenario, folder, tick, finish=write_report)
    print_forecast(folder, console)
    _step(console, f"segcast rewrite {folder} --policy inflight --out {out / 'srv6'}")
    print_rewrite(rewrite_forecast(folder, out / "srv6", policy="inflight").as_dict(), console)
    console.print()
    say(console, f"report:   {folder / 'report.html'}")
    say(console, f"captures: {out / 'srv6'}")


def _step(console: Console, command: str) -> None:
    console.print()
    console.print(f"$ {command}", style="bold", markup=False)
