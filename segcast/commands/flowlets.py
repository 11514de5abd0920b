"""`segcast flowlets`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

import segcast as sc
from segcast.screen import json_option, layer_option, note, progress, show, terminal

_TIMEOUTS: Final = "50us,100us,500us,1ms,5ms"


@click.command()
@click.argument("trace")
@click.option("--timeout", "timeouts", default=_TIMEOUTS, show_default=True, help="Flowlet timeouts.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write every flowlet to this Parquet file.")
@layer_option
@json_option
def flowlets(trace: str, timeouts: str, out: Path | None, layer: str | None, as_json: bool) -> None:
    """Count flowlets and their sizes at any list of timeouts."""
    from segcast.reports.console import print_flowlets, print_worth_asking

    with progress("flowlets") as tick:
        report = sc.flowlets(trace, timeouts.split(","), out, tick, layer=layer, say=note)
    show(report, as_json, print_flowlets)
    if not as_json:
        print_worth_asking(report, trace, layer, terminal())
