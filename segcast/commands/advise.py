"""`segcast advise`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from segcast.following import say_next
from segcast.interruption import INTERRUPTION
from segcast.screen import (
    block_option,
    durations,
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
    from segcast.analyzer.advice.run import advise as run
    from segcast.analyzer.scenario.flags import scenario_of
    from segcast.analyzer.workload.source import open_source
    from segcast.reports.advice.page import write_advice
    from segcast.reports.advice.terminal import print_advice
    from segcast.traces.errors import CheckFailed

    chosen = scenario_of(scenario, flags)
    measured = None
    if validated is not None:
        from segcast.replay.validate.measured import measured_error

        measured = measured_error(validated)
    if load is not None:
        chosen = chosen.model_copy(update={"load": (_load(load),)})
    ladder = None if timeout is None else durations(timeout)
    with progress("advise", "cells") as tick:
        taken = open_source(trace, layer=layer, say=note)
        with INTERRUPTION.deferred():
            document = run(
                taken, chosen, out, tick, ladder_ns=ladder, most_seeds=seeds, finish=write_advice, validated=measured
            )
    show({**document, "page": str(out / "advice.html")}, as_json, print_advice)
    if not as_json:
        varied = ("--scenario", out / "scenario.toml", "--set", "buffer=64KiB,256KiB,1MiB", "--out", "sweep")
        say_next("how that changes with the buffers", "sweep", trace, layer, *varied)
    if document["kind"] == "unknown":
        raise CheckFailed(f"{out}: {document['answer'].partition('. Seen so far')[0]}")


def _load(text: str) -> float | str:
    from segcast.analyzer.scenario.growth import load_of
    from segcast.traces.errors import InputError

    value: float | str = text
    if not text.rstrip().endswith("%"):
        try:
            value = float(text)
        except ValueError:
            raise InputError(f"--load {text!r} is not a number") from None
    try:
        return load_of(value)
    except ValueError as error:
        raise InputError(f"--load {text!r}: {error}") from None
