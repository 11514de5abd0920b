"""The verbs: open a trace or flow list, make one, and ask what a network would do with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from segcast.analyzer.advice.run import advise as run_advise
from segcast.analyzer.forecast.run import forecast as run_forecast
from segcast.analyzer.plan.axes import axis_of
from segcast.analyzer.plan.run import Asked, budgets_of
from segcast.analyzer.plan.run import plan as run_plan
from segcast.analyzer.scenario.flags import growth_of
from segcast.analyzer.scenario.model import Scenario
from segcast.analyzer.scenario.reading import read_scenario, validated
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.toml_keys import written
from segcast.analyzer.workload.source import WorkloadFile, open_source, open_workload
from segcast.analyzer.workload.synthesis.run import request_of, synthesise
from segcast.analyzer.workload.writing import check_target, write_workload
from segcast.library.forecasts import Forecast
from segcast.library.networks import Network
from segcast.library.plans import Plan
from segcast.reports.advice.page import write_advice
from segcast.reports.forecast.page import write_report
from segcast.reports.plan.page import write_plan
from segcast.traces.trace import Trace
from segcast.traces.units import duration_ns, size_bytes

Source = Trace | WorkloadFile
Asks = Network | Scenario | str | Path
"""A network, a whole scenario, or the file of one."""


def open(  # noqa: A001
    source: str | Path, *, layer: str | None = None, say: Callable[[str], None] | None = None
) -> Source:
    """A trace folder, captures (which are ingested into the user's cache), or a flow list. Raises InputError."""
    return open_source(source, layer=layer, say=say)


def synth(
    kind: str,
    network: Asks,
    *,
    load: float,
    flows: int,
    seed: int = 1,
    size: str | None = None,
    jitter: str | None = None,
    out: str | Path,
    **choices: Any,
) -> WorkloadFile:
    """Make a flow list as `segcast synth` does, into the file `out` (.csv or .parquet); `size` is its `--bytes`.

    Raises InputError.
    """
    file = Path(out)
    check_target(file)
    request = request_of(
        kind=kind,
        load=load,
        flows=flows,
        seed=seed,
        size_bytes=None if size is None else size_bytes(size),
        jitter_ns=None if jitter is None else duration_ns(jitter),
        **choices,
    )
    workload, _ = synthesise(request, scenario(network))
    write_workload(workload, file)
    return open_workload(file)


def scenario(
    network: Asks,
    *,
    policies: Sequence[str | dict[str, Any]] | None = None,
    timeouts: Sequence[str | dict[str, Any]] | None = None,
    load: float | str | Sequence[float | str] | None = None,
    growth: str | Sequence[float] | None = None,
    until: str | None = None,
    seeds: int | Sequence[int] | None = None,
    transport: str | dict[str, Any] | None = None,
    slo: str | None = None,
    **more: Any,
) -> ValidScenario:
    """The scenario of a network and what is asked of it; of a whole scenario, with what is given in its place.

    `seeds` is how many, from 1 on, or which. `more` are further keys of a scenario (docs/scenario.md). Raises
    InputError, naming the key.
    """
    fields: dict[str, Any] = {"policies": policies, "timeouts": timeouts, **more}
    fields["load"] = [load] if isinstance(load, int | float | str) else load
    fields["seeds"] = list(range(1, seeds + 1)) if isinstance(seeds, int) else seeds
    fields["transport"] = {"control": transport} if isinstance(transport, str) else transport
    fields["slo"] = None if slo is None else {"keep": slo}
    fields["growth"] = growth_of(growth, until) if growth is None or isinstance(growth, str) else {"factor": growth}
    given = {name: value for name, value in fields.items() if value is not None}
    if isinstance(network, Network):
        return validated({"network": network.spec, **given}, written)
    whole = network if isinstance(network, Scenario) else read_scenario(network)
    if not given and isinstance(whole, ValidScenario):
        return whole
    return validated(whole.model_dump(mode="json", exclude_none=True) | given, written)


def forecast(
    source: Source | str | Path,
    network: Asks,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    threads: int | None = None,
    stream: bool | None = None,
    say: Callable[[str], None] | None = None,
    **asked: Any,
) -> Forecast:
    """What a network would do with a trace or flow list, under each policy; `asked` as `scenario` takes it.

    The folder `out` has tables and report; without it they go with the result. `progress` is told how many cells of how
    many are done, and `say` what comes of an interrupted forecast that is taken up. Raises InputError.
    """
    taken = _taken(source)
    folder, kept = _folder(out)
    run_forecast(
        taken,
        scenario(network, **asked),
        folder,
        progress,
        threads=threads,
        stream=stream,
        finish=write_report,
        say=say,
    )
    return Forecast(folder, kept=kept)


def plan(
    source: Source | str | Path,
    network: Asks,
    slo: str | None = None,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    *,
    over: str = "load",
    between: str | None = None,
    precision: float = 0.01,
    cells: int = 1000,
    seeds: int = 40,
    **asked: Any,
) -> Plan:
    """How far each policy keeps the budgets `slo` along an axis, as `segcast plan` does; `asked` as `scenario` has it.

    Raises InputError.
    """
    chosen = scenario(network, **asked)
    axis = axis_of(over, chosen)
    bounds = between if between is None or "%" in between else axis.between(between)
    question = Asked(budgets_of(chosen, slo), axis, bounds, precision, cells, seeds)
    taken = _taken(source)
    folder, kept = _folder(out)
    run_plan(taken, chosen, question, folder, progress, finish=write_plan)
    return Plan(folder, kept=kept)


def advise(
    source: Source | str | Path,
    network: Asks,
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **asked: Any,
) -> dict[str, Any]:
    """Whether flowlet balancing is worth it, at which timeout and why: the document of `segcast advise --json`.

    `asked` is as `scenario` has it; the page is kept if `out` names a folder. Raises InputError.
    """
    taken = _taken(source)
    folder, kept = _folder(out)
    try:
        return run_advise(taken, scenario(network, **asked), folder, progress, finish=write_advice)
    finally:
        if kept is not None:
            shutil.rmtree(kept, ignore_errors=True)


def _folder(out: str | Path | None) -> tuple[Path, Path | None]:
    """Where to write, and what keeps it if it has no name of the user's."""
    if out is not None:
        return Path(out), None
    kept = Path(mkdtemp(prefix="segcast-"))
    return kept / "result", kept


def _taken(source: Source | str | Path) -> Source:
    return source if isinstance(source, Trace | WorkloadFile) else open_source(source)
