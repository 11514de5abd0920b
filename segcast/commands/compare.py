"""`segcast compare`."""

from __future__ import annotations

from pathlib import Path

import click

from segcast.screen import json_option, show


@click.command()
@click.argument("first", metavar="F1", type=click.Path(path_type=Path))
@click.argument("second", metavar="F2", type=click.Path(path_type=Path))
@click.option("--slo", help='Budgets, such as "p99_delay < 2ms" [those of the scenario of F2, else of F1].')
@click.option("--out", type=click.Path(path_type=Path), help="Also write a folder with the document and a page [none].")
@json_option
def compare(first: Path, second: Path, slo: str | None, out: Path | None, as_json: bool) -> None:
    """Say what differs between two forecasts F1 and F2: in scenario and traffic, and in results.

    Results are paired by seed where the traffic is the same. Exit status 1: with budgets, at some load no policy of F2
    keeps them, or one breaks in F2 what it kept in F1.

    segcast compare before after --slo "p99_delay < 2ms and drops == 0" --out C
    """
    from segcast.analyzer.compare.run import compare as run
    from segcast.reports.compare.page import write_comparison
    from segcast.reports.compare.terminal import print_comparison
    from segcast.traces.errors import CheckFailed

    document = run(first, second, out, slo=slo, finish=write_comparison)
    page = None if out is None else str(out / "compare.html")
    show({**document, "page": page}, as_json, print_comparison)
    if document["holds"] is False:
        raise CheckFailed(f"{second}: does not keep the budgets {document['slo']}, or not where {first} does")
