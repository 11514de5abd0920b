"""Who is to be chosen at each load, and over which loads the same choice holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from segcast.analyzer.answers.candidates import Candidate, Key, best_of

Verdict = Literal["use", "only", "stay", "none", "alone", "lost"]

PICKS: Final = ("use", "only")


@dataclass(frozen=True, slots=True)
class Standing:
    """The verdict at a load.

    `use`: the chosen are clearly quicker than the baseline; `only`: the baseline breaks a budget that they keep;
    `stay`: nothing within the budgets is clearly quicker than the baseline; `none`: nothing keeps the budgets; `alone`:
    there is nothing to choose from; `lost`: nothing was delivered. `offered` is the load in words.

    `chosen` are alike, the quickest first. `closest` is what comes nearest where nothing is to be gained. `tempting` is
    what would be quicker still, but breaks a budget; `outside` is the best that breaks one, if nothing else is left.
    """

    load: float
    verdict: Verdict
    offered: str
    chosen: tuple[Candidate, ...] = ()
    closest: Candidate | None = None
    baseline: Candidate | None = None
    tempting: Candidate | None = None
    outside: Candidate | None = None

    @property
    def picks(self) -> bool:
        """Whether it asks for something else than the baseline."""
        return self.verdict in PICKS

    @property
    def spoken(self) -> Candidate | None:
        """Whom a sentence about this load is about."""
        return self.chosen[0] if self.picks else self.closest or self.baseline

    @property
    def beside(self) -> Candidate | None:
        """Whose numbers stand beside the answer."""
        return self.spoken if self.picks or self.closest else self.tempting or self.outside or self.spoken


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring loads with the same choice; `standings` have only the chosen that hold at all of them."""

    standings: tuple[Standing, ...]

    @property
    def loads(self) -> list[float]:
        """The loads, rising."""
        return [standing.load for standing in self.standings]

    @property
    def first(self) -> Standing:
        """The standing at its lowest load."""
        return self.standings[0]


def standing(load: float, there: Sequence[Candidate], baseline: str) -> Standing:
    """The verdict on the candidates at a load."""
    offered = there[0].offered
    ours = best_of([one for one in there if one.policy == baseline and not one.broken])
    base = ours[0] if ours else next((one for one in there if one.policy == baseline), None)
    if not any(one.value is not None for one in there):
        return Standing(load, "lost", offered, baseline=base)
    able = [one for one in there if not one.broken and one.value is not None]
    if not able:
        nearest = min(there, key=lambda one: (len(one.broken), one.value is None, one.value or 0.0, one.name))
        return Standing(load, "none", offered, closest=nearest, baseline=base)
    others = [one for one in able if one.policy != baseline]
    if base is not None and not base.broken and all(one.policy == baseline for one in there):
        return Standing(load, "alone", offered, (base,), baseline=base)
    tempting = _tempting(there)
    if base is None or base.broken:
        return Standing(load, "only", offered, best_of(able), baseline=base, tempting=tempting)
    quicker = best_of([one for one in others if one.better])
    if quicker:
        return Standing(load, "use", offered, quicker, baseline=base, tempting=_beyond(tempting, quicker[0]))
    closest, outside = (
        found[0] if found else None for found in (best_of(others), best_of([one for one in there if one.broken]))
    )
    return Standing(load, "stay", offered, (base,), closest, base, tempting, None if closest else outside)


def _tempting(there: Sequence[Candidate]) -> Candidate | None:
    """The quickest of those that break a budget, if it is clearly quicker than the baseline."""
    found = best_of([one for one in there if one.broken and one.better])
    return found[0] if found else None


def _beyond(tempting: Candidate | None, best: Candidate) -> Candidate | None:
    """The same if it is quicker than the best that keeps the budgets."""
    if tempting is None or tempting.value is None or best.value is None or tempting.value >= best.value:
        return None
    return tempting


def standings(found: Mapping[float, Sequence[Candidate]], baseline: str) -> list[Standing]:
    """The verdict at each load, loads rising."""
    return [standing(load, found[load], baseline) for load in sorted(found)]


def spans(verdicts: Sequence[Standing]) -> list[Span]:
    """Neighbouring loads joined as long as somebody is chosen at all of them."""
    joined: list[list[Standing]] = []
    common: set[Key] = set()
    for one in verdicts:
        keys = {chosen.key for chosen in one.chosen}
        if joined and _kind(joined[-1][0]) == _kind(one) and (keys & common or not keys):
            joined[-1].append(one)
            common &= keys
        else:
            joined.append([one])
            common = keys
    return [Span(_agreed(span)) for span in joined]


def _kind(one: Standing) -> str:
    return "pick" if one.picks else one.verdict


def _agreed(span: Sequence[Standing]) -> tuple[Standing, ...]:
    """The same with those alone who are chosen at all loads, in one order: the most quickened on the whole first."""
    common = set.intersection(*({one.key for one in standing.chosen} for standing in span))
    of = {key: [one for standing in span for one in standing.chosen if one.key == key] for key in common}
    order = sorted(of, key=lambda key: (sum(one.change or 0.0 for one in of[key]), of[key][0].name))
    return tuple(
        replace(standing, chosen=tuple(one for key in order for one in standing.chosen if one.key == key))
        for standing in span
    )
