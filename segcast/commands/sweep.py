"""`segcast sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import segcast as sc
from segcast.interruption import INTERRUPTION
from segcast.screen import (
    json_option,
    layer_option,
    named_progress,
    network_options,
    note,
    plugin_option,
    show,
    transport_option,
)


@click.command()
@click.argument("trace")
@click.option("--scenario", type=click.Path(path_type=Path), help="Scenario file, whose [sweep] is run.")
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="FIELD=VALUES",
    help="A field and its values: buffer=64KiB,1MiB or buffer=64KiB..1MiB/5; may be given several times.",
)
@network_options
@click.option("--policy", help="Policies [ecmp,random,inflight].")
@click.option("--timeout", help="Flowlet timeouts, such as 100us,rtt [100us].")
@click.option("--load", help="Factors of the trace's rate, such as 1,1.5,2, or shares of the busiest link: 50% [1].")
@click.option("--seeds", type=click.IntRange(1, 10_000), help="Number of seeds, counted from 1 [10].")
@transport_option
@click.option("--jobs", type=click.IntRange(1, 1024), help="Cells that run at a time [all cores].")
@click.option("--processes", is_flag=True, help="In processes instead of threads: one that is killed loses one cell.")
@click.option("--cluster", help="Run cells on the workers of a Dask scheduler, such as tcp://10.0.0.1:8786 [here].")
@click.option("--store", help="Where cells are kept: a file, or s3://BUCKET/PREFIX [a file in the user's cache].")
@click.option("--out", required=True, help="Sweep folder to write; it may be s3://BUCKET/KEY.")
@layer_option
@plugin_option
@json_option
def sweep(
    trace: str,
    out: str,
    layer: str | None,
    as_json: bool,
    scenario: Path | None,
    given: tuple[str, ...],
    jobs: int | None,
    processes: bool,
    cluster: str | None,
    store: str | None,
    **flags: Any,
) -> None:
    """Run a scenario for every combination of values of some of its fields, and say what to do in each case.

    TRACE is a trace, a capture, or a flow list. Fields are those of a scenario (docs/scenario.md), such as
    steering.ack_late or network.spines; rate, delay, buffer and ecn are those of all links, and paths their number.
    Cells that ran are kept, so an interrupted sweep goes on, and one asked again runs nothing (docs/sweeps.md). Exit
    status 1: the scenario has budgets, and nothing keeps them in any case.

    segcast sweep capture.pcap --paths 4x10Gbps --set buffer=64KiB..1MiB/5 --out S
    """
    from segcast.reports.sweep.terminal import print_sweep

    chosen = sc.scenario_from_flags(flags, scenario, swept=True)
    with named_progress("sweep", "cells", foreseen=False) as tick:
        document = sc.sweep(
            trace,
            chosen,
            given,
            out,
            tick,
            jobs=jobs,
            processes=processes,
            cluster=cluster,
            store=store,
            layer=layer,
            say=note,
            around=INTERRUPTION.deferred(),
        ).document
    show({**document, "page": f"{out.rstrip('/')}/sweep.html"}, as_json, print_sweep)
    if document["kept"] is False:
        raise sc.CheckFailed(f"{out}: in no case a policy keeps the budgets")
