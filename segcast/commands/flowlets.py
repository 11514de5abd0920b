"""`segcast flowlets`."""

from __future__ import annotations

from pathlib import Path

import click

from segcast.following import say_next
from segcast.screen import FLOWLET_TIMEOUTS, durations, json_option, layer_option, open_trace_of, show
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
        tried = ",".join(write_duration(one["timeout_ns"]) for one in report["worth_trying"]["timeouts"])
        if tried:
            asked = ("--paths", "4x10Gbps", "--timeout", tried, "--out", "forecast")
            say_next("what your network makes of them", "forecast", trace, layer, *asked)
        else:
            say_next("what else may be worth it", "advise", trace, layer, "--paths", "4x10Gbps", "--out", "advice")
