"""How far a gain may be this traffic's own chance: the baseline and what is advised, over resampled traffic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from segcast.analyzer.advice.decide import Case, Decision, comparisons_of, key_of
from segcast.analyzer.answers.candidates import Candidate, Key
from segcast.analyzer.forecast.resamples import resamples_of
from segcast.analyzer.plan.cells import Cells, Variant
from segcast.analyzer.scenario.traffic import FEWEST_RESAMPLES
from segcast.analyzer.scenario.valid import ValidScenario
from segcast.analyzer.statistics.traffic import traffic_bounds
from segcast.traces.errors import InputError


@dataclass(frozen=True, slots=True)
class Drawn:
    """A cell over a resample, by its number: a row of SUMMARY."""

    resample: int
    row: dict[str, Any]


def doubted(decision: Decision) -> list[Candidate]:
    """Whose gains are asked of other traffic: what each step of the ladder took; without any, what came nearest."""
    if decision.steps:
        keys = [step.best.key for step in decision.steps]
        return [one for one in decision.there if one.key in keys]
    if decision.why not in ("measured", "noise"):
        return []
    able = [one for one in decision.there if one is not decision.base and one.change is not None and not one.broken]
    return [min(able, key=lambda one: (one.change or 0.0, one.name))] if able else []


def over_resamples(cells: Cells, scenario: ValidScenario, variants: Sequence[Variant], seeds: int) -> list[Drawn]:
    """The variants over each resample, with one of the seeds each, in turn.

    Nothing of a resample in which nothing crosses the network. Raises InputError if too few are left.
    """
    found: list[Drawn] = []
    for number, one in resamples_of(scenario):
        seed = 1 + (number - 1) % seeds
        try:
            rows = cells.rows(one, [(variant, seed) for variant in variants])
        except InputError:  # the traffic itself could be run, so nothing of this one is sent
            continue
        found += [Drawn(number, row) for row in rows]
    if len({one.resample for one in found}) < FEWEST_RESAMPLES:
        raise scenario.wrong(("traffic", "resamples"), "of too few anything crosses the network; give a longer trace")
    return found


def with_other_traffic(decision: Decision, case: Case, drawn: Sequence[Drawn]) -> Decision:
    """The decision with bounds that cover other traffic, too, and without steps that these leave in doubt.

    A step that was taken for its delay, and whose gain may be this traffic's own chance, is taken back. If none is
    left, nothing can be told.
    """
    metric = case.circumstances.headline
    values: dict[Key, dict[int, float]] = {}
    for one in drawn:
        if one.row[metric]:
            values.setdefault(key_of(one.row), {})[one.resample] = float(one.row[metric])
    there = tuple(_bounded(one, decision.base, values, comparisons_of(case)) for one in decision.there)
    known = {one.key: one for one in there}
    steps = list(decision.steps)
    if not decision.base.broken:
        while steps and _by_chance(known[steps[-1].best.key]):
            steps.pop()
    found = replace(decision, there=there, base=known[decision.base.key], steps=tuple(steps))
    if len(steps) == len(decision.steps):
        return found
    if steps:
        return replace(found, kind=steps[-1].kind, alike=())
    return replace(found, kind="unknown", why="traffic", alike=(), needs=("a longer capture, or another day's",))


def _bounded(one: Candidate, base: Candidate, values: Mapping[Key, Mapping[int, float]], comparisons: int) -> Candidate:
    """The candidate with the bounds of its change that cover other traffic, if its cells were drawn."""
    ours, theirs = values.get(one.key, {}), values.get(base.key, {})
    if one.key == base.key or not ours:
        return one
    low, high = traffic_bounds(_logs(one.by_seed, base.by_seed), _logs(ours, theirs), comparisons)
    if low is None or high is None:
        return one
    return replace(one, traffic_low=math.expm1(low), traffic_high=math.expm1(high))


def _logs(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    return [math.log(ours[n] / theirs[n]) for n in ours if ours[n] > 0 and theirs.get(n, 0.0) > 0]


def _by_chance(one: Candidate) -> bool:
    """Whether what looks quicker may be slower with other traffic."""
    quicker = one.high is not None and one.high < 0
    return quicker and one.traffic_high is not None and one.traffic_high >= 0
