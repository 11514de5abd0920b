"""`segcast compare`."""

from __future__ import annotations

from pathlib import Path

import click

import segcast as sc
from segcast.screen import busy, json_option, show


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option(
    "--slo",
    help='Of forecasts: budgets, such as "p99_delay < 2ms" [those of the scenario of SECOND, else of FIRST].',
)
@click.option("--out", type=click.Path(path_type=Path), help="Also write a folder with the document and a page [none].")
@json_option
def compare(first: Path, second: Path, slo: str | None, out: Path | None, as_json: bool) -> None:
    """Say what differs between two forecasts, or two plans, FIRST and SECOND: in what was asked, and in results.

    Forecasts are paired by seed where the traffic is the same. Exit status 1: with budgets, at some load no policy of
    SECOND keeps them, or one breaks there what it kept in FIRST. Of plans the edges of each policy are compared. Exit
    status 1: no policy of SECOND keeps its budgets anywhere, or, asked the same of the same traffic, one clearly goes
    less far than in FIRST.
    """
    from segcast.reports.compare.plans_terminal import print_plan_comparison
    from segcast.reports.compare.terminal import print_comparison

    with busy("compare"):
        found = sc.compare(first, second, slo, out)
    page = None if out is None else str(out / "compare.html")
    printed = print_plan_comparison if isinstance(found, sc.PlanComparison) else print_comparison
    show({**found.document, "page": page}, as_json, printed)
    if found.why_not:
        raise sc.CheckFailed(f"{second}: {found.why_not}")
