"""`segcast calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

import segcast as sc
from segcast.screen import json_option, progress, show


@click.command()
@click.argument("runs", metavar="RUN... | probes", nargs=-1, required=True)
@click.option("--scenario", required=True, type=click.Path(path_type=Path), help="Scenario of the network.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Scenario file, or folder of probes.")
@json_option
def calibrate(runs: tuple[str, ...], scenario: Path, out: Path, as_json: bool) -> None:
    """Estimate rate, base delay, buffer, burst and overhead of links from runs of probe trains.

    `segcast calibrate probes` writes the trains, for `segcast replay` to send; runs of them, given here, become a
    scenario with what was found. (A run in a folder called probes is given as ./probes.)
    """
    from segcast.reports.validation.terminal import print_calibration, print_probes

    if runs == ("probes",):
        show(sc.lab.probes(scenario, out), as_json, print_probes)
        return
    if "probes" in runs:
        raise sc.InputError("calibrate: give probes alone, or runs; a run in a folder called probes is ./probes")
    with progress("calibrate", "runs") as tick:
        document = sc.lab.calibrate(runs, scenario, out, tick)
    show(document, as_json, print_calibration)
