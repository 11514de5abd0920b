"""The decision that a forecast supports: one function from its numbers to its sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segcast.analyzer.answers import card
from segcast.analyzer.answers.budgets import say_budgets
from segcast.analyzer.answers.candidates import Candidate, Circumstances, candidates
from segcast.analyzer.answers.evidence import flows_of, p999_is_known, periods_beyond, too_few
from segcast.analyzer.answers.standings import Standing, spans, standings
from segcast.analyzer.answers.validated import say_covers


@dataclass(frozen=True, slots=True)
class Decision:
    """The card, and what it rests on; `brief` says in short what `do` does.

    `about` is the load and the candidate whose numbers stand beside it. `kept`: whether somebody keeps the scenario's
    budgets at each load; None without any. `few`: why nothing can be told. `knows_p999`: whether p99.9 rests on enough.
    `covers` says what intervals do.
    `broken` are those who break budgets.
    """

    do: str
    brief: str
    because: str
    but: tuple[str, ...]
    budgets: str
    standings: tuple[Standing, ...]
    about: Standing
    kept: bool | None
    few: tuple[str, ...]
    knows_p999: bool
    covers: str
    broken: tuple[Candidate, ...] = ()

    @property
    def spoken(self) -> Candidate | None:
        """Whose numbers stand beside the answer."""
        return self.about.beside


def decide(
    summary: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    circumstances: Circumstances,
    pooled: Sequence[Mapping[str, Any]] = (),
) -> Decision:
    """What rows of SUMMARY, their comparisons and rows of POOLED say; their order says nothing."""
    found = candidates(summary, comparisons, circumstances, pooled)
    there = [one for load in found for one in found[load]]
    held = spans(standings(found, circumstances.baseline))
    verdicts = [one for span in held for one in span.standings]
    few = too_few(verdicts, there, circumstances)
    about = _about(verdicts)
    several = len(verdicts) > 1
    flows = flows_of(there, circumstances.reacts)
    delivered = min((one.mean("delivered") for one in there if "delivered" in one.means), default=None)
    periods = None
    if not circumstances.reacts:
        known = (periods_beyond(one, "p999") for one in there)
        periods = min((number for number in known if number is not None), default=None)
    kept = None
    if circumstances.slo is not None:
        kept = all(one.verdict not in ("none", "lost") for one in verdicts)
    return Decision(
        do=card.do(held, circumstances, few),
        brief=card.brief(held, circumstances, few),
        because=card.because(about, there, circumstances, several),
        but=card.but(verdicts, about, there, circumstances),
        budgets=say_budgets(circumstances.slo, circumstances.reacts, circumstances.baseline),
        standings=tuple(verdicts),
        about=about,
        kept=kept,
        few=few,
        knows_p999=p999_is_known(flows, delivered, periods),
        covers=say_covers(circumstances.resampled, circumstances.validated),
        broken=tuple(one for one in there if one.broken),
    )


def _about(verdicts: Sequence[Standing]) -> Standing:
    """The load to speak of: of those where something is chosen, else of all, that of the trace, else the lowest."""
    picks = [one for one in verdicts if one.picks] or list(verdicts)
    return next((one for one in picks if one.load == 1), picks[0])
