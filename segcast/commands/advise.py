"""`segcast advise`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

import segcast as sc
from segcast.following import say_next
from segcast.interruption import INTERRUPTION
from segcast.screen import (
    block_option,
    json_option,
    layer_option,
    network_options,
    note,
    plugin_option,
    progress,
    show,
    transport_option,
    validated_option,
)


@click.command()
@click.argument("trace")
@click.option("--scenario", type=click.Path(path_type=Path), help="Scenario file; the network flags stand for one.")
@network_options
@click.option("--policy", help="Flowlet policies to try [random,inflight].")
@transport_option
@click.option("--timeout", help="Flowlet timeouts to try [16us,50us,100us,256us,500us,1ms, and the scenario's].")
@click.option("--load", help="Ask at so many times the offered rate, or a share of the busiest link: 50% [the first].")
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=40,
    show_default=True,
    help="At most so many; 10 are run first, then twice as many while chance keeps the answer open.",
)
@click.option(
    "--resamples",
    type=click.IntRange(10, 1000),
    help="Ask what is advised of so many resampled traces, too, and advise nothing that may be chance [none].",
)
@block_option
@validated_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Advice folder to write.")
@layer_option
@plugin_option
@json_option
def advise(
    trace: str,
    out: Path,
    layer: str | None,
    as_json: bool,
    scenario: Path | None,
    timeout: str | None,
    load: str | None,
    seeds: int,
    validated: Path | None,
    **flags: Any,
) -> None:
    """Say whether flowlet balancing is worth it, at which timeout, and why.

    TRACE is a trace, a capture, or a flow list. The answer is one of: flowlets at a timeout; spray, if receivers
    tolerate it; leave ECMP, change the hash; nothing to gain; cannot tell (exit status 1). Budgets are those of the
    scenario, or the usual ones of a forecast. Timeouts come as settings for a scenario, SONiC and Junos, checked
    against how far the paths' delays lie apart (docs/advise.md).
    """
    from segcast.reports.advice.terminal import print_advice

    chosen = sc.scenario_from_flags(flags, scenario)
    if load is not None:
        chosen = _at_load(chosen, load)
    with progress("advise", "cells") as tick:
        document = sc.advise(
            trace,
            chosen,
            out,
            tick,
            ladder=None if timeout is None else timeout.split(","),
            most_seeds=seeds,
            validated=validated,
            layer=layer,
            say=note,
            around=INTERRUPTION.deferred(),
        )
    show({**document, "page": str(out / "advice.html")}, as_json, print_advice)
    if not as_json:
        varied = ("--scenario", out / "scenario.toml", "--set", "buffer=64KiB,256KiB,1MiB", "--out", "sweep")
        say_next("how that changes with the buffers", "sweep", trace, layer, *varied)
    if document["kind"] == "unknown":
        raise sc.CheckFailed(f"{out}: {document['answer'].partition('. Seen so far')[0]}")


def _at_load(chosen: sc.ValidScenario, text: str) -> sc.ValidScenario:
    """The scenario at one load, as `--load` has it. Raises InputError."""
    value: float | str = text
    if not text.rstrip().endswith("%"):
        try:
            value = float(text)
        except ValueError:
            raise sc.InputError(f"--load {text!r} is not a number") from None
    try:
        return sc.scenario(chosen, load=value)
    except sc.InputError as error:
        wrong = str(error).partition(": ")[2]  # behind the key, which is the flag here
        raise sc.InputError(f"--load {text!r}: {wrong}") from None
