"""What a sweep's rows say: in each case what to do, and over all cases in one sentence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from segcast.analyzer.answers.candidates import Candidate, Circumstances, candidates
from segcast.analyzer.answers.card import hedged
from segcast.analyzer.answers.decision import decide
from segcast.analyzer.answers.standings import Standing
from segcast.analyzer.forecast.compare import compare
from segcast.analyzer.forecast.writing import otherwise_of, unlearning_of
from segcast.analyzer.sweep.batches import Batch
from segcast.analyzer.sweep.document import StatedCase
from segcast.analyzer.sweep.fields import written
from segcast.analyzer.sweep.tables import MEANS
from segcast.traces.units import say_number, write_duration

_FEW: Final = 3
_LOAD: Final = "load"


@dataclass(slots=True)
class Decided:
    """Rows of CHOICES and of COMPARED, the cases, and what each of them chooses.

    `few` are reasons why some variant tells nothing; `everywhere_few` those of the first, if every one has some.
    """

    choices: list[dict[str, Any]] = field(default_factory=list)
    comparisons: list[dict[str, Any]] = field(default_factory=list)
    cases: list[StatedCase] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)
    few: dict[str, None] = field(default_factory=dict)
    everywhere_few: tuple[str, ...] = ()
    budgets: str = ""
    baseline: str = ""


def decide_all(
    batches: Sequence[Batch],
    rows: Sequence[Sequence[dict[str, Any]]],
    pooled: Sequence[Sequence[dict[str, Any]]],
    source_reacts: bool,
) -> Decided:
    """What the rows of each batch say; `pooled` are those of POOLED."""
    asked = [_asked(batch, summary) for batch, summary in zip(batches, rows, strict=True)]
    # One sentence is said of all variants, so no case of it may be there by chance alone.
    comparisons = sum(len({_named(row) for row in one.rows if row["policy"] != one.baseline}) for one in asked)
    decided, few = Decided(), []
    for batch, one, together in zip(batches, asked, pooled, strict=True):
        reacts = source_reacts or batch.scenario.transport is not None
        few.append(_decide_one(decided, batch, one, together, comparisons, reacts))
    decided.everywhere_few = few[0] if few and all(few) else ()
    return decided


class _Asked(NamedTuple):
    """Rows of a variant that may be chosen, or are what others are compared with, and which policy that is."""

    rows: list[dict[str, Any]]
    baseline: str
    otherwise: Collection[str]


def _asked(batch: Batch, summary: Sequence[dict[str, Any]]) -> _Asked:
    baseline = next((row["policy"] for row in summary if row["policy"] == "ecmp"), summary[0]["policy"])
    otherwise = otherwise_of(batch.scenario, summary, baseline)
    return _Asked([row for row in summary if row["policy"] not in otherwise], baseline, otherwise)


def _named(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return row["policy"], row["timeout"], row["timeout_ns"], row["load"]


def _decide_one(
    decided: Decided,
    batch: Batch,
    asked: _Asked,
    pooled: Sequence[dict[str, Any]],
    number: int,
    reacts: bool,
) -> tuple[str, ...]:
    """Add what a variant says, of so many comparisons in all; gives why it tells nothing."""
    scenario, name = batch.scenario, batch.variant.name
    advised, baseline, otherwise = asked
    comparisons = compare(advised, baseline, number)
    circumstances = Circumstances(
        baseline,
        reacts=reacts,
        slo=None if scenario.slo is None else scenario.slo.slo,
        unlearning=unlearning_of(scenario),
        comparisons=number,
    )
    together = [row for row in pooled if row["policy"] not in otherwise]
    decision = decide(advised, comparisons, circumstances, together)
    found = candidates(advised, comparisons, circumstances, together)
    decided.comparisons += [{"variant": name, **row} for row in comparisons]
    decided.few |= dict.fromkeys(decision.few)
    decided.budgets, decided.baseline = decision.budgets, baseline
    values = {key: written(value) for key, value in batch.variant.values.items()}
    for standing in decision.standings:
        decided.standings.append(standing)
        decided.cases.append(_case(name, values, standing, circumstances))
        chosen = {one.key for one in standing.chosen}
        decided.choices += [_choice(name, one, one.key in chosen, len(one.by_seed)) for one in found[standing.load]]
    return decision.few


def _choice(variant: str, one: Candidate, chosen: bool, seeds: int) -> dict[str, Any]:
    policy, rule, timeout_ns = one.key
    return {
        "variant": variant,
        "load": one.load,
        "growth": one.growth,
        "year": one.year,
        "policy": policy,
        "timeout": rule if timeout_ns is None else write_duration(timeout_ns),
        "timeout_ns": timeout_ns,
        "seeds": seeds,
        "chosen": chosen,
        "breaks": "; ".join(one.broken),
        **{name: one.means.get(name) for name in MEANS},
        "change": one.change,
        "low": one.low,
        "high": one.high,
    }


def _case(variant: str, values: dict[str, str], standing: Standing, circumstances: Circumstances) -> StatedCase:
    one = standing.beside
    policy, rule, timeout_ns = (None, None, None) if one is None else one.key
    return StatedCase(
        variant=variant,
        values=values,
        load=standing.load,
        offered=standing.offered,
        verdict=standing.verdict,
        do=_do(standing, circumstances.baseline),
        policy=policy,
        timeout=rule if timeout_ns is None else write_duration(timeout_ns),
        timeout_ns=timeout_ns,
        metric=circumstances.headline,
        value=None if one is None else one.value,
        baseline=None if standing.baseline is None else standing.baseline.value,
        change=None if one is None else one.change,
        low=None if one is None else one.low,
        high=None if one is None else one.high,
        drop_ratio=None if one is None else one.means.get("drop_ratio"),
        breaks=[] if one is None else list(one.broken),
    )


def _do(standing: Standing, baseline: str, name: str | None = None) -> str:
    """What to do in a case; `name` is who of those alike is named."""
    verdict = standing.verdict
    if verdict in ("use", "only"):
        return f"use {name or standing.chosen[0].name}"
    if verdict == "none":
        return "no policy keeps the budgets"
    if verdict == "lost":
        return "nothing arrives"
    return f"stay with {baseline}" if verdict == "stay" else f"{baseline} keeps the budgets"


def answer_of(decided: Decided, fields: Mapping[str, Sequence[str]]) -> str:
    """What to do over all cases: as few choices as will do, and where each is made, after what is too few for it."""
    return hedged(_said(decided, fields), decided.everywhere_few)


def _said(decided: Decided, fields: Mapping[str, Sequence[str]]) -> str:
    groups = _groups(decided)
    dimensions: dict[str, list[str]] = {name: list(values) for name, values in fields.items()}
    loads = [say_number(load) for load in sorted({case.load for case in decided.cases})]
    if len(loads) > 1:
        dimensions[_LOAD] = loads
    total = len(decided.cases)
    if len(groups) == 1:
        (do, places) = groups[0]
        return f"{do[0].upper()}{do[1:]}{_everywhere(total)}{_changes(decided, places)}."
    parts = []
    for do, places in groups:
        where = _where(decided, places, dimensions)
        parts.append(f"{do} in {len(places)} of {total} cases{f' ({where})' if where else ''}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def limits_of(decided: Decided) -> list[str]:
    """What speaks against the answer: who would be quicker but breaks a budget, and what cannot be told."""
    count: dict[str, int] = {}
    for standing in decided.standings:
        if standing.tempting is not None:
            name = standing.tempting.name
            count[name] = count.get(name, 0) + 1
    total = len(decided.standings)
    quicker = [
        f"{name} would be clearly quicker in {cases} of {total} cases, but breaks a budget there"
        for name, cases in sorted(count.items(), key=lambda item: (-item[1], item[0]))
    ]
    return [*quicker, *(why for why in decided.few if why not in decided.everywhere_few)]


def _everywhere(total: int) -> str:
    return "" if total == 1 else f" in all {total} cases"


def _changes(decided: Decided, places: Sequence[int]) -> str:
    found = [case.change for case in (decided.cases[place] for place in places) if case.change is not None]
    if not found or decided.cases[places[0]].verdict != "use":
        return ""
    low, high = (f"{100 * each:+.0f} %" for each in (min(found), max(found)))
    what = "p99 completion" if decided.cases[places[0]].metric.startswith("fct") else "p99 delay"
    return f": {what} {low}" if low == high else f": {what} {low} to {high}"


def _groups(decided: Decided) -> list[tuple[str, list[int]]]:
    """What is done, and in which cases: a choice that is as good as any in most of them first."""
    left = [place for place, one in enumerate(decided.standings) if one.picks]
    groups: list[tuple[str, list[int]]] = []
    while left:
        count: dict[Any, list[int]] = {}
        for place in left:
            for one in decided.standings[place].chosen:
                count.setdefault(one.name, []).append(place)
        name, there = min(count.items(), key=lambda item: (-len(item[1]), item[0]))
        groups.append((_do(decided.standings[there[0]], decided.baseline, name), there))
        left = [place for place in left if place not in set(there)]
    others: dict[str, list[int]] = {}
    for place, standing in enumerate(decided.standings):
        if not standing.picks:
            others.setdefault(decided.cases[place].do, []).append(place)
    return sorted([*groups, *others.items()], key=lambda group: -len(group[1]))


def _where(decided: Decided, places: Sequence[int], dimensions: Mapping[str, Sequence[str]]) -> str:
    """The first dimension by which these cases can be told from all others, and their values of it."""
    mine = set(places)
    for name, values in dimensions.items():
        of = [case.values.get(name) or say_number(case.load) for case in decided.cases]
        ours = {value for place, value in enumerate(of) if place in mine}
        if len(ours) < len(values) and not ours & {value for place, value in enumerate(of) if place not in mine}:
            return f"{name} {_listed([value for value in values if value in ours], values)}"
    return ""


def _listed(some: Sequence[str], values: Sequence[str]) -> str:
    if len(some) > _FEW:
        first = values.index(some[0])
        if list(values[first : first + len(some)]) == list(some):
            return f"{some[0]} to {some[-1]}"
        return f"{', '.join(some[:_FEW])} and {len(some) - _FEW} more"
    return " or ".join([", ".join(some[:-1]), some[-1]] if len(some) > 1 else some)
