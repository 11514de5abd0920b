"""A decision as forecast.json states it."""

from __future__ import annotations

from segcast.analyzer.answers.candidates import Candidate
from segcast.analyzer.answers.decision import Decision
from segcast.analyzer.answers.standings import Standing
from segcast.analyzer.forecast.document import StatedBreach, StatedDecision, StatedStanding, StatedVariant
from segcast.traces.units import write_duration


def stated_decision(decision: Decision) -> StatedDecision:
    """What forecast.json says of a decision."""
    return StatedDecision(
        do=decision.do,
        brief=decision.brief,
        because=decision.because,
        but=list(decision.but),
        budgets=decision.budgets,
        covers=decision.covers,
        few=list(decision.few),
        kept=decision.kept,
        knows_p999=decision.knows_p999,
        loads=[_standing(one, decision) for one in decision.standings],
    )


def _standing(one: Standing, decision: Decision) -> StatedStanding:
    first = one.spoken if one.verdict != "none" else None
    return StatedStanding(
        load=one.load,
        offered=one.offered,
        verdict=one.verdict,
        chosen=[_variant(chosen) for chosen in one.chosen],
        change=None if first is None else first.change,
        low=None if first is None else first.low,
        high=None if first is None else first.high,
        closest=None if one.closest is None else _variant(one.closest),
        broken=[
            StatedBreach.model_validate(_variant(out).as_dict() | {"budgets": list(out.broken)})
            for out in decision.broken
            if out.load == one.load
        ],
    )


def _variant(one: Candidate) -> StatedVariant:
    policy, rule, timeout_ns = one.key
    timeout = rule if timeout_ns is None else write_duration(timeout_ns)
    return StatedVariant(policy=policy, timeout=timeout, timeout_ns=timeout_ns)
