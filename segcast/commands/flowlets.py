"""`segcast flowlets`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from segcast.screen import FLOWLET_TIMEOUTS, durations, json_option, layer_option, open_trace_of, say, show, terminal
from segcast.traces.units import write_duration


@click.command()
@click.argument("trace")
@click.option("--timeout", "timeouts", default=FLOWLET_TIMEOUTS, show_default=True, help="Flowlet timeouts.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write every flowlet to this Parquet file.")
@layer_option
@json_option
def flowlets(trace: str, timeouts: str, out: Path | None, layer: str | None, as_json: bool) -> None:
    """Count flowlets and their sizes at any list of timeouts."""
    from segcast.analyzer.flowlets.report import flowlet_report

    report = flowlet_report(open_trace_of(trace, layer), durations(timeouts), out)
    from segcast.reports.console import print_flowlets

    show(report, as_json, print_flowlets)
    if not as_json:
        say(terminal(), f"next, {_next(trace, layer, report['worth_trying']['timeouts'])}")


def _next(trace: str, layer: str | None, tried: list[dict[str, Any]]) -> str:
    """The command that asks a network."""
    of = [trace, *(["--layer", layer] if layer == "inner" else []), "--paths", "4x10Gbps"]
    if not tried:
        return f"what else may be worth it: {shlex.join(['segcast', 'advise', *of, '--out', 'advice'])}"
    timeouts = ",".join(write_duration(one["timeout_ns"]) for one in tried)
    command = ["segcast", "forecast", *of, "--timeout", timeouts, "--out", "forecast"]
    return f"what your network makes of them: {shlex.join(command)}"
