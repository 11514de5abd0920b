"""`segcast workload`."""

from __future__ import annotations

from pathlib import Path

import click

import segcast as sc
from segcast.screen import json_option, layer_option, note, progress, show


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
    from segcast.reports.extraction import print_extraction

    with progress("workload") as tick:
        made = sc.workload(trace, out, tick, layer=layer, say=note)
    assert made.document is not None
    show(made.document, as_json, print_extraction)
