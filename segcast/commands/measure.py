"""`segcast measure`."""

from __future__ import annotations

from pathlib import Path

import click

import segcast as sc
from segcast.screen import json_option, progress, show


@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Measurement folder to write.")
@click.option("--forecast", type=click.Path(path_type=Path), help="The forecast that was sent [the one RUN names].")
@json_option
def measure(run: Path, out: Path, forecast: Path | None, as_json: bool) -> None:
    """Say what became of every packet of a run: delay, loss and path, in the columns of a forecast's packets."""
    from segcast.reports.validation.terminal import print_measurement

    with progress("measure", "captures") as tick:
        document = sc.lab.measure(run, out, tick, forecast=forecast)
    show(document, as_json, print_measurement)
