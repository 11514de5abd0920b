"""`segcast inspect`."""

from __future__ import annotations

import click

import segcast as sc
from segcast.following import say_next
from segcast.screen import json_option, layer_option, note, print_facts, progress, show


@click.command()
@click.argument("trace")
@layer_option
@json_option
def inspect(trace: str, layer: str | None, as_json: bool) -> None:
    """Say what a trace holds, what was skipped and why, and whether it is fit to forecast from."""
    with progress("inspect") as tick:
        facts = sc.inspect(trace, tick, layer=layer, say=note)
    show(facts, as_json, print_facts)
    if not as_json and facts["verdict"] != "unfit":
        say_next("how flows split into flowlets", "flowlets", trace, layer)
