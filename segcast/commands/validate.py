"""`segcast validate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import click

from segcast.screen import json_option, progress, show
from segcast.traces.errors import CheckFailed, InputError


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
    from segcast.replay.validate.live.run import is_live

    if is_live([forecast, *measurements]):
        given = {"scenario": scenario, "burst": burst, "tolerances": tolerances, **flags}
        _validate_live([forecast, *measurements], out, fct, [name for name, value in given.items() if value], as_json)
        return
    from segcast.replay.validate.run import validate as run_validate
    from segcast.replay.validate.tolerances import read_tolerances
    from segcast.reports.validation.page import write_validation
    from segcast.reports.validation.terminal import print_validation
    from segcast.traces.units import size_bytes

    if fct is not None:
        raise InputError("--fct: is of completion times in live runs, and none is given")
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


def _validate_live(folders: list[Path], out: Path, fct: float | None, others: list[str], as_json: bool) -> None:
    from segcast.replay.validate.live.run import DEFAULT_TOLERANCE, validate_live
    from segcast.reports.validation.live import print_live_validation, write_live_validation

    if others:
        raise InputError(f"--{others[0]}: is of packets that were replayed; a live run has --fct alone")
    tolerance = DEFAULT_TOLERANCE if fct is None else fct
    if not 0 < tolerance < 10:
        raise InputError(f"--fct {tolerance:g}: give a share above 0, such as 0.1")
    document = validate_live(folders, out, tolerance=tolerance, finish=write_live_validation)
    show({**document, "page": str(out / "validation.html")}, as_json, print_live_validation)
    if not document["holds"]:
        raise CheckFailed(f"{out}: {document['answer']}")
