"""`segcast forecast`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import segcast as sc
from segcast.following import after_forecast
from segcast.interruption import INTERRUPTION
from segcast.screen import (
    block_option,
    json_option,
    layer_option,
    network_options,
    note,
    plugin_option,
    print_json,
    progress,
    say,
    terminal,
    transport_option,
    validated_option,
)


@click.command()
@click.argument("trace")
@click.option(
    "--scenario",
    type=click.Path(path_type=Path),
    help="Scenario file; of the flags below only --growth, --until, --resamples and --block go with it.",
)
@network_options
@click.option("--ecn", help="ECN marking threshold of a path [none].")
@click.option("--burst", help="What a path lets through at once, if token buckets shape it, such as 10kB [none].")
@click.option("--policy", help="Policies [ecmp,random,inflight].")
@click.option("--timeout", help="Flowlet timeouts, such as 100us,rtt [100us].")
@click.option("--load", help="Factors of the trace's rate, such as 1,1.5,2, or shares of the busiest link: 50% [1].")
@click.option("--growth", help="Factors of the trace's connections, such as 1,1.3, or growth a year: 30%/y [1].")
@click.option("--until", help="With growth a year: how far to look, such as 5y.")
@click.option("--seeds", type=click.IntRange(1, 10_000), help="Number of seeds, counted from 1 [10].")
@click.option(
    "--resamples",
    type=click.IntRange(10, 1000),
    help="Also run so many resampled traces, to say how far changes are of this trace's own chance [none].",
)
@block_option
@validated_option
@click.option("--packets", type=click.Choice(["none", "first", "all"]), help="Seeds whose packets are kept [first].")
@click.option("--only", help="Only flows from or to these prefixes, such as 10.0.0.0/8,fd00::/8 [all].")
@click.option("--without", help="No flows from or to these prefixes [none].")
@click.option("--sensitivity", is_flag=True, help="Also run what counts bytes in flight with errors of that count.")
@transport_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Forecast folder to write.")
@layer_option
@plugin_option
@click.option("--all", "every", is_flag=True, help="Print all rows, of many not only each policy's best timeout.")
@json_option
def forecast(
    trace: str,
    out: Path,
    layer: str | None,
    as_json: bool,
    scenario: Path | None,
    sensitivity: bool,
    validated: Path | None,
    every: bool,
    **flags: Any,
) -> None:
    """Forecast delay, loss and balance of a trace, or completion times of a flow list, under several policies.

    TRACE is a trace, a capture, or a flow list (docs/workloads.md). Packets of a trace leave as captured; with
    --transport, and for flow lists, TCP senders react to the network. The exit status is 1 if the scenario has budgets
    ([slo]) and at some load no policy keeps them. An interrupted forecast resumes when the same command is given again.
    """
    chosen = sc.scenario_from_flags(flags, scenario)
    with progress("forecast", "cells") as tick:
        found = sc.forecast(
            trace,
            chosen,
            out,
            tick,
            sensitivity=sensitivity,
            validated=validated,
            layer=layer,
            say=note,
            around=INTERRUPTION.deferred(),
        )
    document = found.document
    if as_json:
        print_json(document)
    else:
        from segcast.reports.forecast.terminal import print_forecast

        console = terminal()
        print_forecast(out, console, every=every)
        say(console, f"report: {out / 'report.html'}")
        after_forecast(trace, layer, out, document, chosen)
    if document["decision"]["kept"] is False:
        raise sc.CheckFailed(f"{out}: no policy keeps the budgets at load {_loads_unkept(document)}")


def _loads_unkept(document: dict[str, Any]) -> str:
    return ", ".join(f"{one['load']:g}" for one in document["decision"]["loads"] if one["verdict"] in ("none", "lost"))
