"""`segcast plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

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
    print_json,
    progress,
    say,
    show,
    terminal,
    transport_option,
    validated_option,
)

MOST_PAIRS: Final = 1000
_SEARCH: Final = ("over", "between", "precision", "cells", "seeds", "cost", "resamples", "block", "validated")
_FAILURES: Final = ("pairs", "at", "judge")


@click.command()
@click.argument("trace")
@click.option("--scenario", type=click.Path(path_type=Path), help="Scenario file; the network flags stand for one.")
@network_options
@click.option("--policy", help="Policies [ecmp,random,inflight].")
@click.option("--timeout", help="Flowlet timeouts, such as 100us,rtt [100us].")
@click.option("--load", help="Unless varied: a factor of the trace's rate, or a share of the busiest link: 50% [1].")
@click.option("--growth", help="A factor of connections, or growth a year: with 30%/y the answer is in years [1].")
@click.option("--until", help="With growth a year: how far to look, such as 5y.")
@click.option("--cost", help="Prices, for answers in money: spine=12000,link=400,gbps=30,currency=EUR.")
@transport_option
@click.option("--slo", help='Budgets, such as "p99_delay < 2ms and drops == 0" [those of the scenario].')
@click.option(
    "--over",
    type=click.Choice(["load", "growth", "links.rate", "paths", "buffer"]),
    default="load",
    show_default=True,
    help="What is varied.",
)
@click.option(
    "--between",
    help="Its bounds: 0.5..4, 20%..90% (of the busiest link), 10Gbps..100Gbps, 1..16 [about the scenario's own].",
)
@click.option("--precision", type=click.FloatRange(0.0001, 0.5), default=0.01, show_default=True, help="Of the edge.")
@click.option(
    "--cells", type=click.IntRange(20, 100_000), default=1000, show_default=True, help="At most so many a policy."
)
@click.option(
    "--seeds", type=click.IntRange(2, 10_000), default=40, show_default=True, help="At most so many at a place."
)
@click.option(
    "--resamples",
    type=click.IntRange(10, 1000),
    help="Find each edge in so many resampled traces, too, to say how far it is of this trace's own chance [none].",
)
@block_option
@validated_option
@click.option(
    "--failures",
    type=click.Choice(["links", "nodes", "groups"]),
    help="Instead of --over: try every failure of these; groups are those of the scenario.",
)
@click.option(
    "--pairs",
    is_flag=False,
    flag_value=MOST_PAIRS,
    type=click.IntRange(1, 1_000_000),
    help="Two failures at once as well, at most so many pairs [1000].",
)
@click.option("--at", help="When things fail, from the first packet on [a busy moment of the second quarter].")
@click.option(
    "--judge",
    type=click.Choice(["whole", "settled"]),
    default="whole",
    show_default=True,
    help="Where failures must keep the budgets: over the whole run, or once routing or hosts have settled.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Plan folder to write.")
@layer_option
@plugin_option
@json_option
def plan(
    trace: str,
    out: Path,
    layer: str | None,
    as_json: bool,
    scenario: Path | None,
    slo: str | None,
    over: str,
    between: str | None,
    precision: float,
    cells: int,
    seeds: int,
    failures: Any,
    pairs: int | None,
    at: str | None,
    judge: Any,
    cost: str | None,
    validated: Path | None,
    **flags: Any,
) -> None:
    """Find how far each policy keeps budgets: how much load it carries, or what rate, paths or buffers it needs.

    With --failures, find what every single failure of links, nodes or groups costs instead (docs/failures.md); exit
    status 1 is then that one breaks the budgets, if there are any.

    TRACE is a trace, a capture, or a flow list. Each place is run with 10 seeds, then 20 and 40 where they do not yet
    tell; cells that ran are kept, so an interrupted plan goes on, and one asked again is instant. Exit status 1: no
    policy keeps the budgets anywhere.
    """
    _refuse_others(failures is not None)
    if flags["growth"] is not None and "/" in flags["growth"] and _default("over"):
        over = "growth"
    chosen = sc.scenario_from_flags(flags, scenario)
    if failures is not None:
        _plan_failures(trace, chosen, failures, out, layer, as_json, slo=slo, pairs=pairs or 0, at=at, judge=judge)
        return
    from segcast.reports.plan.terminal import print_plan

    with progress("plan", "cells") as tick:
        document = sc.plan(
            trace,
            chosen,
            slo,
            out,
            tick,
            over=over,
            between=between,
            precision=precision,
            cells=cells,
            seeds=seeds,
            cost=cost,
            validated=validated,
            layer=layer,
            say=note,
            around=INTERRUPTION.deferred(),
        ).document
    show({**document, "page": str(out / "plan.html")}, as_json, print_plan)
    if not as_json:
        asked_next = ("--scenario", out / "scenario.toml", "--failures", "links", "--slo", document["slo"])
        say_next("what the failure of each link costs", "plan", trace, layer, *asked_next, "--out", "failures")
    if all(edge["state"] == "nowhere" for edge in document["edges"]):
        raise sc.CheckFailed(f"{out}: {document['answer']}")


def _default(name: str) -> bool:
    """Whether an option was not given."""
    return click.get_current_context().get_parameter_source(name) != ParameterSource.COMMANDLINE


def _refuse_others(failing: bool) -> None:
    """Raise UsageError for options of the other question."""
    context = click.get_current_context()
    for name in _SEARCH if failing else _FAILURES:
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} is {'no option of' if failing else 'for'} --failures", context)


def _plan_failures(
    trace: str, chosen: sc.ValidScenario, of: Any, out: Path, layer: str | None, as_json: bool, **asked: Any
) -> None:
    from segcast.reports.plan.failures_terminal import print_failures

    with progress("failures", "cells") as tick:
        found = sc.failures(
            trace, chosen, of, out=out, progress=tick, layer=layer, say=note, around=INTERRUPTION.deferred(), **asked
        )
    page = str(out / "failures.html")
    if as_json:
        print_json({**found.document, "page": page})
    else:
        console = terminal()
        print_failures(out, console)
        say(console, f"page: {page}")
        kept = ("--scenario", out / "scenario.toml", "--out", "advice")
        say_next("whether flowlets are worth it, and at which timeout", "advise", trace, layer, *kept)
    if not found.holds:
        raise sc.CheckFailed(f"{out}: {found.answer}")
