"""`segcast inspect`."""

from __future__ import annotations

import click

from segcast.screen import json_option, layer_option, open_trace_of, print_facts, show


@click.command()
@click.argument("trace")
@layer_option
@json_option
def inspect(trace: str, layer: str | None, as_json: bool) -> None:
    """Say what a trace holds, what was skipped and why."""
    from segcast.traces.quality.describe import describe

    show(describe(open_trace_of(trace, layer)), as_json, print_facts)
