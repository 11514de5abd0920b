"""`segcast compare`."""

from __future__ import annotations

from pathlib import Path

import click

import segcast as sc
from segcast.screen import json_option, show


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option("--slo", help='Budgets, such as "p99_delay < 2ms" [those of the scenario of SECOND, else of FIRST].')
@click.option("--out", type=click.Path(path_type=Path), help="Also write a folder with the document and a page [none].")
@json_option
def compare(first: Path, second: Path, slo: str | None, out: Path | None, as_json: bool) -> None:
    """Say what differs between two forecasts, FIRST and SECOND: in scenario and traffic, and in results.

    Results are paired by seed where the traffic is the same. Exit status 1: with budgets, at some load no policy of
    SECOND keeps them, or one breaks there what it kept in FIRST.
    """
    from segcast.reports.compare.terminal import print_comparison

    document = sc.compare(first, second, slo, out).document
    page = None if out is None else str(out / "compare.html")
    show({**document, "page": page}, as_json, print_comparison)
    if document["holds"] is False:
        raise sc.CheckFailed(f"{second}: does not keep the budgets {document['slo']}, or not where {first} does")
