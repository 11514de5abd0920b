"""How far an edge may move with other traffic: the edges of resampled traces, found more coarsely."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from segcast.analyzer.answers.validated import Validated
from segcast.analyzer.forecast.resamples import resamples_of, say_draws
from segcast.analyzer.plan.axes import Axis
from segcast.analyzer.plan.document import StatedEdge
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.statistics.traffic import traffic_bounds

SEEDS: Final = 2
CELLS: Final = 40
PRECISION: Final = 0.02
_REACH: Final = 2.0  # bounds of the searches, about the edge of the trace itself

Found = Callable[[ValidScenario, tuple[float, float]], float | None]
"""Where the edge of a scenario lies between two values; None where the scenario cannot be run."""


def with_other_traffic(edge: StatedEdge, axis: Axis, scenario: ValidScenario, found: Found) -> StatedEdge:
    """The edge with bounds that cover other traffic, too.

    Resamples have seeds of their own, so that their edges scatter by both: nothing is taken off, and the bounds are
    never narrower than those of the seeds.
    """
    if edge.value is None or edge.low is None or edge.high is None:
        return edge
    between = max(edge.value / _REACH, axis.least), min(edge.value * _REACH, axis.most)
    if axis.whole:
        between = float(math.floor(between[0])), float(math.ceil(between[1]))
    logs = []
    for number, one in resamples_of(scenario):
        value = found(one.model_copy(update={"seeds": (1 + SEEDS * number,)}), between)
        if value is not None:
            logs.append(math.log(value))
    low, high = traffic_bounds([math.log(edge.value)], logs)
    if low is None or high is None:
        return edge
    bounds = [math.exp(low), math.exp(high)]
    if axis.whole:
        bounds = [float(math.floor(bounds[0])), float(math.ceil(bounds[1]))]
    return edge.model_copy(
        update={"traffic_low": max(min(edge.low, bounds[0]), axis.least), "traffic_high": max(edge.high, bounds[1])}
    )


def say_edges_cover(scenario: ValidScenario, validated: Validated | None, kind: str) -> str:
    """What the intervals of edges cover; `kind`: of a trace, or of a workload."""
    model = "errors of the model" if validated is None else f"the model's error: {validated.words}"
    if not scenario.traffic.resamples:
        return f"intervals cover the policies' random draws: neither another day's traffic, nor {model}"
    drawn = say_draws(scenario, kind)
    return f"intervals of edges cover policies' random draws, and other traffic as far as {drawn}, tell; not {model}"
