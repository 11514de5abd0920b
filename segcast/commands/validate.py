"""`segcast validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from segcast.screen import json_option, progress, show
from segcast.traces.errors import CheckFailed


@click.command()
@click.argument("forecast", metavar="F", type=click.Path(path_type=Path))
@click.argument("measurements", metavar="M...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Validation folder to write.")
@click.option(
    "--scenario", type=click.Path(path_type=Path), help="Links of packets as sent: a calibrated scenario [F's own]."
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
    as_json: bool,
    **flags: Any,
) -> None:
    """Say whether a forecast F held, from measurements M of it, one per policy; exit 1 if not, or nothing is said."""
    from segcast.replay.validate.run import validate as run_validate
    from segcast.replay.validate.tolerances import read_tolerances
    from segcast.reports.validation.page import write_validation
    from segcast.reports.validation.terminal import print_validation
    from segcast.traces.units import size_bytes

    with progress("validate", "measurements") as tick:
        document = run_validate(
            forecast,
            measurements,
            out,
            tolerances=read_tolerances(tolerances, **flags),
            judge=judge,
            scenario=scenario,
            burst_bytes=None if burst is None else size_bytes(burst),
            finish=write_validation,
            progress=tick,
        )
    show({**document, "page": str(out / "validation.html")}, as_json, print_validation)
    if not document["holds"]:
        raise CheckFailed(f"{out}: {document['answer']}")
