"""`segcast inspect`."""

from __future__ import annotations

import shlex

import click

from segcast.screen import json_option, layer_option, open_trace_of, print_facts, say, show, terminal


@click.command()
@click.argument("trace")
@layer_option
@json_option
def inspect(trace: str, layer: str | None, as_json: bool) -> None:
    """Say what a trace holds, what was skipped and why, and whether it is fit to forecast from."""
    from segcast.traces.quality.describe import describe

    facts = describe(open_trace_of(trace, layer))
    show(facts, as_json, print_facts)
    if not as_json and facts["verdict"] != "unfit":
        say(terminal(), f"next, how flows split into flowlets: segcast flowlets {shlex.quote(trace)}")
