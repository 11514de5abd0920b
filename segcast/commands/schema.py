"""`segcast schema`."""

from __future__ import annotations

import click

import segcast as sc
from segcast.screen import print_schema


@click.command()
@click.argument("name", default="scenario", metavar="[NAME]")
def schema(name: str) -> None:
    """Print the JSON Schema of scenario files, for editors, or of a document that Segcast writes.

    NAME is scenario [scenario], or a document of docs/tables.md, such as trace.json, forecast.json, plan.json, inspect,
    flowlets; a name that there is not lists them.
    """
    print_schema(sc.schema(name))
