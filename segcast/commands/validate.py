"""`segcast validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

import segcast as sc
from segcast.screen import json_option, progress, show


@click.command()
@click.argument("forecast", metavar="F", type=click.Path(path_type=Path))
@click.argument("measurements", metavar="M...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Validation folder to write.")
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    help="Links of packets as sent: a calibrated scenario [its own].",
)
@click.option(
    "--burst",
    help="What every link lets pass at once, such as 10kB, as sent [as the scenario says, else as was built].",
)
@click.option(
    "--judge",
    type=click.Choice(["as-sent", "end-to-end", "both"]),
    default="as-sent",
    show_default=True,
    help="What must hold: the model of packets as sent, the forecast as planned, or both.",
)
@click.option("--tolerances", type=click.Path(path_type=Path), help="TOML file of the tolerances below.")
@click.option("--loss", type=float, help="Of loss, as a share of a path's packets [0.01].")
@click.option("--p50", type=float, help="Of p50 delay (on a cliff: of the area), as a share of it [0.05].")
@click.option("--p99", type=float, help="Of p99 delay, as a share of it [0.05].")
@click.option("--residual", type=float, help="Of the median error of packets that waited, as a share of that [0.025].")
@click.option("--absolute", help="Errors of delay up to this are within tolerance [60us].")
@click.option("--fct", type=float, help="Against live runs: of p50 and p95 of completion times, as a share [0.1].")
@click.option("--reordering", type=float, help="Of reordering, as a share of packets [not judged].")
@json_option
def validate(
    forecast: Path,
    measurements: tuple[Path, ...],
    out: Path,
    scenario: Path | None,
    burst: str | None,
    judge: Literal["as-sent", "end-to-end", "both"],
    tolerances: Path | None,
    fct: float | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Say whether FORECAST held, from each MEASUREMENT of it, one per policy; exit 1 if not, or nothing is said.

    A live run (segcast testbed live) is compared with the forecasts of the flow lists that it sent, in any order:
    segcast validate f1 f2 f3 run --out validation.
    """
    from segcast.reports.validation.live import print_live_validation
    from segcast.reports.validation.terminal import print_validation

    with progress("validate", "measurements") as tick:
        document = sc.lab.validate(
            forecast,
            measurements,
            out,
            tick,
            judge=judge,
            scenario=scenario,
            burst=burst,
            tolerances=tolerances,
            fct=fct,
            **flags,
        )
    live = sc.lab.is_live([forecast, *measurements])
    page = str(out / "validation.html")
    show({**document, "page": page}, as_json, print_live_validation if live else print_validation)
    if not document["holds"]:
        raise sc.CheckFailed(f"{out}: {document['answer']}")
