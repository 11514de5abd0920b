"""`segcast plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

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
    if failures is not None:
        from segcast.analyzer.scenario.flags import scenario_of

        _plan_failures(trace, scenario_of(scenario, flags), (failures, pairs, at, slo, judge), out, layer, as_json)
        return
    from segcast.analyzer.plan.axes import axis_of, shares_of
    from segcast.analyzer.plan.cost import parse_cost
    from segcast.analyzer.plan.run import Asked, budgets_of
    from segcast.analyzer.plan.run import plan as run
    from segcast.analyzer.scenario.flags import scenario_of
    from segcast.analyzer.workload.source import open_source
    from segcast.reports.plan.page import write_plan
    from segcast.reports.plan.terminal import print_plan
    from segcast.traces.errors import CheckFailed

    chosen = scenario_of(scenario, flags)
    if cost is not None:
        chosen = chosen.model_copy(update={"cost": parse_cost(cost)})
    axis = axis_of(over, chosen)
    bounds: Any = None if between is None else between if "%" in between else axis.between(between)
    if isinstance(bounds, str):
        shares_of(bounds, axis)
    measured = None
    if validated is not None:
        from segcast.replay.validate.measured import measured_error

        measured = measured_error(validated)
    asked = Asked(budgets_of(chosen, slo), axis, bounds, precision, cells, seeds)
    with progress("plan", "cells") as tick:
        taken = open_source(trace, layer=layer, say=note)
        with INTERRUPTION.deferred():
            document = run(taken, chosen, asked, out, tick, finish=write_plan, validated=measured)
    show({**document, "page": str(out / "plan.html")}, as_json, print_plan)
    if not as_json:
        asked_next = ("--scenario", out / "scenario.toml", "--failures", "links", "--slo", document["slo"])
        say_next("what the failure of each link costs", "plan", trace, layer, *asked_next, "--out", "failures")
    if all(edge["state"] == "nowhere" for edge in document["edges"]):
        raise CheckFailed(f"{out}: {document['answer']}")


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
    trace: str,
    scenario: Any,
    asked: tuple[Any, int | None, str | None, str | None, Any],
    out: Path,
    layer: str | None,
    as_json: bool,
) -> None:
    from segcast.analyzer.plan.failures.run import AskedFailures, study_failures
    from segcast.analyzer.slo import parse_slo
    from segcast.analyzer.workload.source import open_source
    from segcast.reports.plan.failures_page import write_failures
    from segcast.reports.plan.failures_terminal import print_failures
    from segcast.traces.errors import CheckFailed
    from segcast.traces.units import duration_ns

    kind, pairs, at, slo, judge = asked
    wanted = AskedFailures(
        kind,
        pairs or 0,
        None if at is None else duration_ns(at),
        None if slo is None else parse_slo(slo),
        judge,
    )
    with progress("failures", "cells") as tick:
        taken = open_source(trace, layer=layer, say=note)
        with INTERRUPTION.deferred():
            document = study_failures(taken, scenario, wanted, out, tick, finish=write_failures)
    page = str(out / "failures.html")
    if as_json:
        print_json({**document, "page": page})
    else:
        console = terminal()
        print_failures(out, console)
        say(console, f"page: {page}")
        kept = ("--scenario", out / "scenario.toml", "--out", "advice")
        say_next("whether flowlets are worth it, and at which timeout", "advise", trace, layer, *kept)
    if not document["holds"]:
        raise CheckFailed(f"{out}: {document['answer']}")
