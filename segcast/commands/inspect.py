"""`segcast inspect`."""

from __future__ import annotations

import shlex

import click

import segcast as sc
from segcast.screen import json_option, layer_option, note, print_facts, say, show, terminal


@click.command()
@click.argument("trace")
@layer_option
@json_option
def inspect(trace: str, layer: str | None, as_json: bool) -> None:
    """Say what a trace holds, what was skipped and why, and whether it is fit to forecast from."""
    facts = sc.inspect(trace, layer=layer, say=note)
    show(facts, as_json, print_facts)
    if not as_json and facts["verdict"] != "unfit":
        say(terminal(), f"next, how flows split into flowlets: segcast flowlets {shlex.quote(trace)}")
