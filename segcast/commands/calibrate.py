"""`segcast calibrate`."""

from __future__ import annotations

from pathlib import Path

import click

from replay.commands.screen import Screen, json_option
from traces.errors import InputError


def command(screen: Screen) -> click.Command:
    """The command."""

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
        from replay.calibrate import calibrate as run_calibrate
        from replay.calibrate import probes

        if runs == ("probes",):
            screen.show(probes(scenario, out), as_json, "probes")
            return
        if "probes" in runs:
            raise InputError("calibrate: give probes alone, or runs; a run in a folder called probes is ./probes")
        with screen.progress("calibrate", "runs") as tick:
            document = run_calibrate([Path(run) for run in runs], scenario, out, progress=tick)
        screen.show(document, as_json, "calibration")

    return calibrate
