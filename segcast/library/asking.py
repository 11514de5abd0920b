"""The verbs that ask: what a network would do with a trace or a flow list, how far it goes, and what to choose.

What a verb needs is imported when it is called: each command waits for its own verb's alone.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from segcast.analyzer.workload.source import WorkloadFile, open_source
from segcast.library.results import folder_for
from segcast.library.scenarios import Asks, scenario, swept_scenario
from segcast.traces.trace import Trace

if TYPE_CHECKING:
    from segcast.analyzer.answers.validated import Validated
    from segcast.library.failures import Failures
    from segcast.library.forecasts import Forecast
    from segcast.library.plans import Plan
    from segcast.library.sweeps import Sweep

Source = Trace | WorkloadFile
Progress = Callable[[int, int], None]
NamedProgress = Callable[[int, int, str], None]
Say = Callable[[str], None]
Around = AbstractContextManager[Any]
"""What is entered around the run itself, once all is read and checked: what handles signals, say."""


def forecast(
    source: Source | str | Path,
    network: Asks,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    threads: int | None = None,
    stream: bool | None = None,
    sensitivity: bool = False,
    validated: str | Path | None = None,
    layer: str | None = None,
    say: Say | None = None,
    around: Around | None = None,
    **asked: Any,
) -> Forecast:
    """What a network would do with a trace or flow list, under each policy; `asked` as `scenario` takes it.

    The folder `out` has tables and report; without it they go with the result. `sensitivity`: also run what counts
    bytes in flight with errors of that count. `validated`: a validation, whose measured error is then said. `progress`
    is told how many cells of how many are done, and `say` what comes of an interrupted forecast that is taken up.
    Raises InputError.
    """
    from segcast.analyzer.forecast.run import forecast as run
    from segcast.library.forecasts import Forecast
    from segcast.reports.forecast.page import write_report

    chosen, measured = scenario(network, **asked), _measured(validated)
    if sensitivity:
        from segcast.analyzer.scenario.sensitivity import with_errors

        chosen = with_errors(chosen)
    taken = _taken(source, layer, say)
    with folder_for(out) as (folder, kept):
        with around or nullcontext():
            run(
                taken,
                chosen,
                folder,
                progress,
                threads=threads,
                stream=stream,
                finish=write_report,
                say=say,
                validated=measured,
            )
        return Forecast(folder, kept=kept)


def sweep(
    source: Source | str | Path,
    network: Asks,
    fields: Mapping[str, str | Sequence[Any]] | Sequence[str] = (),
    out: str | Path | None = None,
    progress: NamedProgress | None = None,
    *,
    jobs: int | None = None,
    processes: bool = False,
    cluster: str | None = None,
    store: str | None = None,
    layer: str | None = None,
    say: Say | None = None,
    around: Around | None = None,
    **asked: Any,
) -> Sweep:
    """Run a scenario for every combination of values of some of its fields, as `segcast sweep` does.

    `fields` are fields and their values: `{"buffer": "64KiB..1MiB/5", "network.spines": [2, 4]}`, or texts as `--set`
    has them. `jobs`: cells that run at a time; `processes`, `cluster` (a Dask scheduler) and `store` (where cells are
    kept) as docs/sweeps.md has them. `out` may be s3://BUCKET/KEY. `asked` is as `scenario` has it. `progress` is told
    the cells done, all, and the time left in words. Raises InputError.
    """
    from segcast.analyzer.sweep.batches import needed_columns
    from segcast.analyzer.sweep.places import running
    from segcast.analyzer.sweep.run import sweep as run
    from segcast.library.sweeps import Sweep, with_fields
    from segcast.reports.sweep.page import write_sweep
    from segcast.traces.captures.remote import is_url
    from segcast.traces.disk.folders import SWEEP
    from segcast.traces.objects.outputs import output_folder

    chosen = with_fields(swept_scenario(network, **asked), fields)
    elsewhere = out is not None and is_url(str(out))
    with folder_for(None if elsewhere else out) as (here, kept):
        with output_folder(str(out) if elsewhere else str(here), SWEEP.marker) as folder:
            taken = _taken(source, layer, say, needed_columns(chosen))
            where = running(_place(source), taken, chosen, store=store, cluster=cluster, jobs=jobs, processes=processes)
            with where as (cells, ways), around or nullcontext():
                run(taken, chosen, folder, progress, store=cells, execution=ways, finish=write_sweep, say=say)
            if elsewhere:
                shutil.copytree(folder, here)
        return Sweep(here, kept=kept)


def plan(
    source: Source | str | Path,
    network: Asks,
    slo: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    over: str = "load",
    between: str | None = None,
    precision: float = 0.01,
    cells: int = 1000,
    seeds: int = 40,
    cost: str | None = None,
    validated: str | Path | None = None,
    layer: str | None = None,
    say: Say | None = None,
    around: Around | None = None,
    **asked: Any,
) -> Plan:
    """How far each policy keeps the budgets `slo` along an axis, as `segcast plan` does; `asked` as `scenario` has it.

    `seeds` are at most so many at a place, `cells` at most so many a policy. `cost` are prices, as `--cost` has them.
    Raises InputError.
    """
    from segcast.analyzer.plan.axes import axis_of, shares_of
    from segcast.analyzer.plan.run import Asked, budgets_of
    from segcast.analyzer.plan.run import plan as run
    from segcast.library.plans import Plan
    from segcast.reports.plan.page import write_plan

    chosen = scenario(network, **asked)
    if cost is not None:
        from segcast.analyzer.plan.cost import parse_cost

        chosen = chosen.model_copy(update={"cost": parse_cost(cost)})
    axis = axis_of(over, chosen)
    bounds = between if between is None or "%" in between else axis.between(between)
    if isinstance(bounds, str):
        shares_of(bounds, axis)  # refused before the trace is read
    measured = _measured(validated)
    question = Asked(budgets_of(chosen, slo), axis, bounds, precision, cells, seeds)
    taken = _taken(source, layer, say)
    with folder_for(out) as (folder, kept):
        with around or nullcontext():
            run(taken, chosen, question, folder, progress, finish=write_plan, validated=measured)
        return Plan(folder, kept=kept)


def failures(
    source: Source | str | Path,
    network: Asks,
    of: Literal["links", "nodes", "groups"] = "links",
    slo: str | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    pairs: int = 0,
    at: str | None = None,
    judge: Literal["whole", "settled"] = "whole",
    layer: str | None = None,
    say: Say | None = None,
    around: Around | None = None,
    **asked: Any,
) -> Failures:
    """What every single failure of links, nodes or groups costs, as `segcast plan --failures` does.

    `pairs`: at most so many of two at once as well. `at`: when, from the first packet on. `judge`: where the budgets
    must be kept, over the whole run or once all have settled. `asked` is as `scenario` has it. Raises InputError.
    """
    from segcast.analyzer.plan.failures.run import AskedFailures, study_failures
    from segcast.analyzer.slo import parse_slo
    from segcast.library.failures import Failures
    from segcast.reports.plan.failures_page import write_failures
    from segcast.traces.units import duration_ns

    chosen = scenario(network, **asked)
    at_ns, budgets = None if at is None else duration_ns(at), None if slo is None else parse_slo(slo)
    question = AskedFailures(of, pairs, at_ns, budgets, judge)
    taken = _taken(source, layer, say)
    with folder_for(out) as (folder, kept):
        with around or nullcontext():
            study_failures(taken, chosen, question, folder, progress, finish=write_failures)
        return Failures(folder, kept=kept)


def advise(
    source: Source | str | Path,
    network: Asks,
    out: str | Path | None = None,
    progress: Progress | None = None,
    *,
    ladder: Sequence[str] | None = None,
    most_seeds: int = 40,
    validated: str | Path | None = None,
    layer: str | None = None,
    say: Say | None = None,
    around: Around | None = None,
    **asked: Any,
) -> dict[str, Any]:
    """Whether flowlet balancing is worth it, at which timeout and why: the document of `segcast advise --json`.

    `ladder` are the flowlet timeouts to try, besides the scenario's own. `asked` is as `scenario` has it; the page is
    kept if `out` names a folder. Raises InputError.
    """
    from segcast.analyzer.advice.run import advise as run
    from segcast.reports.advice.page import write_advice
    from segcast.traces.units import duration_ns

    chosen, measured = scenario(network, **asked), _measured(validated)
    steps = None if ladder is None else [duration_ns(each) for each in ladder]
    taken = _taken(source, layer, say)
    with contextlib.ExitStack() as stack:
        folder, kept = stack.enter_context(folder_for(out))
        if kept is not None:
            stack.callback(shutil.rmtree, kept, ignore_errors=True)
        stack.enter_context(around or nullcontext())
        return run(
            taken,
            chosen,
            folder,
            progress,
            ladder_ns=steps,
            most_seeds=most_seeds,
            finish=write_advice,
            validated=measured,
        )


def report(forecast: Forecast | str | Path) -> Path:
    """Write the page of a forecast again, from its tables; its file. Raises InputError."""
    from segcast.reports.forecast.page import write_report

    return write_report(Path(forecast) if isinstance(forecast, str | Path) else forecast.folder)


def _taken(
    source: Source | str | Path, layer: str | None, say: Say | None, columns: Sequence[str] | None = None
) -> Source:
    if isinstance(source, Trace | WorkloadFile):
        return source
    return open_source(source, layer=layer, say=say, columns=columns)


def _place(source: Source | str | Path) -> str:
    """Where the source lies, for workers to read it there."""
    if isinstance(source, Trace):
        return str(source.folder)
    return str(source.path if isinstance(source, WorkloadFile) else source)


def _measured(validation: str | Path | None) -> Validated | None:
    if validation is None:
        return None
    from segcast.replay.validate.measured import measured_error

    return measured_error(Path(validation))
