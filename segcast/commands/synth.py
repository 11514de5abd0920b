"""`segcast synth`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import segcast as sc
from segcast.screen import json_option, progress, show

_KINDS = (
    *(
        "fixed",
        "web-search",
        "data-mining",
        "hadoop",
        "cache-follower",
        "web-server",
        "google-rpc",
        "ali-storage",
        "solar",
    ),
    *("incast", "shuffle", "web-pages", "ring-all-reduce", "all-to-all"),
)


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice(_KINDS))
@click.option("--scenario", required=True, type=click.Path(path_type=Path), help="Whose network it is for.")
@click.option("--load", required=True, type=float, help="Load of the network's bottleneck tier, such as 0.6.")
@click.option("--flows", required=True, type=int, help="How many flows; kinds of jobs make whole jobs.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=1, help="Seed of all that is drawn [1].")
@click.option("--bytes", "size", help="Size of flows, such as 1MB; of jobs as docs/workloads.md says.")
@click.option("--arrivals", type=click.Choice(["poisson", "lognormal"]), help="Gaps [poisson].")
@click.option("--sigma", type=float, help="How bursty lognormal gaps are [2].")
@click.option(
    "--pattern",
    help="Who sends to whom: all-pairs, permutation, left-right, incast:N, racks:FILE [all-pairs].",
)
@click.option("--fan", type=click.IntRange(2, 4096), help="Hosts of a job, on each side [8].")
@click.option("--objects", type=click.IntRange(0, 10_000), help="Objects of a page [12].")
@click.option("--sizes", help="Distribution of pages and objects [web-server].")
@click.option("--jitter", help="Flows of a job start up to so much late, at random [1us].")
@click.option("--mss", type=click.IntRange(100, 65_000), help="Bytes of a segment, for the load [1460].")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .csv or .parquet.")
@json_option
def synth(scenario: Path, size: str | None, jitter: str | None, out: Path, as_json: bool, **choices: Any) -> None:
    """Make a flow list: KIND at a load of the scenario's network.

    KIND is fixed (with --bytes), a published distribution of sizes (web-search, data-mining, hadoop, cache-follower,
    web-server, google-rpc, ali-storage, solar), or jobs of flows that wait for each other (incast, shuffle, web-pages,
    ring-all-reduce, all-to-all).
    """
    from segcast.reports.synthesis import print_synthesis

    with progress("synth") as tick:
        made = sc.synth(network=scenario, size=size, jitter=jitter, out=out, progress=tick, **choices)
    assert made.document is not None
    show(made.document, as_json, print_synthesis)
