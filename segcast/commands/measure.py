"""`segcast measure`."""

from __future__ import annotations

from pathlib import Path

import click

from replay.commands.screen import Screen, json_option


def command(screen: Screen) -> click.Command:
    """The command."""

    @click.command()
    @click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
    @click.option("--out", required=True, type=click.Path(path_type=Path), help="Measurement folder to write.")
    @click.option("--forecast", type=click.Path(path_type=Path), help="The forecast that was sent [the one RUN names].")
    @json_option
    def measure(run: Path, out: Path, forecast: Path | None, as_json: bool) -> None:
        """Say what became of every packet of a run: delay, loss and path, in the columns of a forecast's packets."""
        from replay.measure import measure as run_measure

        with screen.progress("measure", "captures") as tick:
            document = run_measure(run, out, forecast=forecast, progress=tick)
        screen.show(document, as_json, "measurement")

    return measure
