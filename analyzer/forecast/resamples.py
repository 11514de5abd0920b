"""Runs the cells of a forecast over resampled traces: one of the seeds each, in turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from segcast.analyzer.forecast.cells import CellPlan
from segcast.analyzer.forecast.runner import CellRunner, Tick
from segcast.analyzer.scenario.traffic import FEWEST_RESAMPLES
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.traffic.prepare import Extent
from segcast.analyzer.traffic.resampling import blocks_of
from segcast.analyzer.workload.source import WorkloadFile
from segcast.traces.errors import InputError
from segcast.traces.trace import Trace
from segcast.traces.units import write_duration

Ready = Callable[[ValidScenario, Path], CellRunner]
"""What makes a scenario's runner, which writes into a folder."""


WHOLE: Final = {"trace": "trace, whole connections", "workload": "flow list, whole trees of flows"}


def resampled_rows(
    scenario: ValidScenario, cells: Sequence[CellPlan], ready: Ready, threads: int, tick: Tick
) -> list[dict[str, Any]]:
    """Rows of RESAMPLES. A resample in which nothing crosses the network has none.

    Raises InputError if too few are left.
    """
    rows: list[dict[str, Any]] = []
    seeds = list(dict.fromkeys(scenario.seeds))
    for number, one in resamples_of(scenario):
        seed = seeds[(number - 1) % len(seeds)]
        plans = [replace(cell, keep_packets=False, keep_series=False) for cell in cells if cell.seed == seed]
        with tempfile.TemporaryDirectory(prefix="segcast-") as folder:
            try:
                runner = ready(one, Path(folder))
            except InputError:  # of the trace itself it could be made, so nothing of this one is sent
                continue
            rows += [{"resample": number, **result.summary} for result in runner.results(plans, threads, tick)]
    if len({row["resample"] for row in rows}) < FEWEST_RESAMPLES:
        raise scenario.wrong(("traffic", "resamples"), "of too few anything crosses the network; give a longer trace")
    return rows


def check_resampled(source: Trace | WorkloadFile, scenario: ValidScenario) -> None:
    """Raise InputError if resamples are asked of a trace whose senders react: those are of flow lists."""
    spec = scenario.traffic
    if isinstance(source, WorkloadFile) or scenario.transport is None or not (spec.resample or spec.resamples):
        return
    raise scenario.wrong(
        ("traffic", "resample" if spec.resample else "resamples"),
        "of traces only packets that leave as captured are resampled, and here senders react; make a flow list of "
        "it (segcast workload), and resample that",
    )


def say_draws(scenario: ValidScenario, kind: str) -> str:
    """What resamples are, before anything is read; `kind`: of a trace, or of a workload."""
    length = scenario.traffic.block
    blocks = "a twentieth of it" if length is None else write_duration(length)
    return f"{scenario.traffic.resamples} resamples of the {WHOLE[kind]} by blocks of {blocks}"


def check_no_resamples(scenario: ValidScenario, what: str) -> None:
    """Raise InputError if the scenario asks for resampled traces, which `what` does not run."""
    for key in ("resamples", "resample"):
        if getattr(scenario.traffic, key):
            raise scenario.wrong(("traffic", key), f"{what} is of the trace itself; leave it out")


def resamples_of(scenario: ValidScenario) -> list[tuple[int, ValidScenario]]:
    """The scenario of each resample that is asked for, and its number."""
    found = []
    for number in range(1, scenario.traffic.resamples + 1):
        traffic = scenario.traffic.model_copy(update={"resamples": 0, "resample": number})
        found.append((number, scenario.model_copy(update={"traffic": traffic, "packets": "none", "slo": None})))
    return found


def say_resamples(scenario: ValidScenario, extent: Extent, kind: str) -> str:
    """What resamples are, for sentences about intervals; `kind`: of a trace, or of a workload."""
    blocks = blocks_of(extent.first_ns, extent.last_ns, scenario.traffic.block)
    length = write_duration(int(float(f"{blocks.length_ns:.2g}")))
    return f"{scenario.traffic.resamples} resamples of the {WHOLE[kind]} by blocks of {length}"
