"""`segcast workload`."""

from __future__ import annotations

from pathlib import Path

import click

from segcast.screen import json_option, layer_option, open_trace_of, progress, show


@click.command()
@click.argument("trace")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .csv or .parquet.")
@layer_option
@json_option
def workload(trace: str, out: Path, layer: str | None, as_json: bool) -> None:
    """Make a flow list of a trace: requests, responses and think times of its TCP connections.

    Think times are what hosts waited, not what the network took. UDP and connections that cannot be told stay out of
    the list, and are counted by reason.
    """
    from segcast.analyzer.workload.recorded.run import recorded_workload
    from segcast.analyzer.workload.writing import check_target, write_workload
    from segcast.reports.extraction import print_extraction

    check_target(out)
    opened = open_trace_of(trace, layer)
    with progress("workload") as tick:
        made, document = recorded_workload(opened, tick)
        write_workload(made, out)
    show({"workload": str(out), **document}, as_json, print_extraction)
