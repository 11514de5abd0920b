"""Finds where budgets begin to break along an axis, from runs that are noisy.

The search knows nothing of networks. It asks for margins (see `segcast.analyzer.slo`) at places on an axis, scaled so
that further is worse: each ask is a place and seeds, each answer float64[seeds, budgets], of which negative ones are
outside. Seeds are the same at every place, so what they draw cancels where places are compared. A place is settled if
each budget's 95 % interval of the mean over seeds (Student's t) lies on one side of 0; more seeds are asked for until
it is, or until the last stage. A budget on a quantile of all seeds' values together is kept if no more of them are
beyond its limit than may be. An exact budget (`drops == 0`) is broken by one seed that breaks it.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcast.analyzer.forecast.student import student_bound
from segcast.analyzer.statistics.pooled import FEWEST_BEYOND

STAGES: Final = (10, 20, 40)
_GRID: Final = 5
_MOST_STEPS: Final = 40
_TAIL: Final = 0.025
_IN_A_ROW: Final = 2
_MOST_WANTED: Final = 1_000_000
_EDGEMOST: Final = 0.1  # of a bracket: a step comes no nearer to its ends, so that both close in


class Ask(NamedTuple):
    """Margins that are wanted: at `place`, of seeds number `first` up to but without `stop`."""

    place: float
    first: int
    stop: int


Verdict = Literal["kept", "broken", "unclear"]
State = Literal["edge", "nowhere", "everywhere"]
Margins = NDArray[np.float64]
Search = Generator[list[Ask], list[Margins], "Edge"]


@dataclass(frozen=True, slots=True)
class Question:
    """The axis from `near` to `far`, where further is worse, and how well the edge is to be known.

    `exact` says of each budget whether it has no margin to speak of. `shares` are the numbers of budgets on quantiles
    of all seeds' values together: their margins are how many more values of a seed may be beyond the limit, and one
    more column of the answers for each, after those of the budgets, is how many may be in all. `whole`: only whole
    places exist. `step` is how close the ends of the edge's bracket come to each other. `most` is how many margins
    (seeds over all places) may be asked for.
    """

    near: float
    far: float
    exact: tuple[bool, ...]
    step: float
    whole: bool = False
    stages: tuple[int, ...] = STAGES
    most: int = 1000
    shares: tuple[int, ...] = ()

    def bounds(self, margins: Margins) -> tuple[Margins, Margins, Margins]:
        """See `bounds`."""
        return bounds(margins, self.exact, self.shares)

    def verdict(self, margins: Margins) -> Verdict:
        """See `verdict`."""
        return verdict(margins, self.exact, self.shares)


@dataclass(slots=True)
class Probe:
    """A place that was asked: margins float64[seeds, budgets], and beyond them a column for each of `shares`."""

    place: float
    margins: Margins

    @property
    def seeds(self) -> int:
        """How many seeds were run."""
        return len(self.margins)


@dataclass(frozen=True, slots=True)
class Edge:
    """Where budgets begin to break.

    `place` is the estimate; between `low` and `high` it lies at 95 %, as far as the seeds' draws go. None of them where
    the whole axis is on one side. `binding` is the budget that breaks first, by number. `settled`: every place next to
    the edge was, or it is known as closely as was asked; else the seeds ran out, and the interval is that of the noise.
    `monotone`: nothing was kept beyond a place that was broken; else the edge is the first one.
    """

    state: State
    place: float | None
    low: float | None
    high: float | None
    binding: int | None
    settled: bool
    monotone: bool
    probes: tuple[Probe, ...] = field(repr=False)

    @property
    def cells(self) -> int:
        """How many margins it took."""
        return sum(probe.seeds for probe in self.probes)

    @property
    def end(self) -> Probe | None:
        """Where the whole axis is on one side: the end that is nearest to the other; None with an edge."""
        return {"nowhere": self.probes[0], "everywhere": self.probes[-1]}.get(self.state)

    def seeds_wanted(self, question: Question) -> int | None:
        """About how many seeds a place would settle what these did not; None if it is settled, or nobody can say.

        Intervals shrink as the root of seeds. Between whole places, and at the end of an axis, that nearest to 0 must
        tell; else the edge is to be as close as its search was to be.
        """
        if self.settled:
            return None
        if (few := self._for_quantiles(question)) is not None:
            return few
        wanted: list[float] = []
        if self.place is None or self.low is None or self.high is None or question.whole:
            for probe in self.probes:
                mean, low, _ = question.bounds(probe.margins)
                budget = int(mean.argmin())
                told = mean[budget] != 0 and math.isfinite(low[budget])
                if question.verdict(probe.margins) == "unclear" and told:
                    wanted.append(probe.seeds * float(((mean[budget] - low[budget]) / mean[budget]) ** 2))
        elif self.high - self.low > question.step:
            near = [probe.seeds for probe in self.probes if self.low <= probe.place <= self.high]
            wanted.append(max(near, default=max(question.stages)) * ((self.high - self.low) / question.step) ** 2)
        return math.ceil(max(wanted)) if wanted and max(wanted) < _MOST_WANTED else None

    def _for_quantiles(self, question: Question) -> int | None:
        """How many seeds have enough values beyond the quantiles of budgets; None where those that may be run have."""
        rooms = [probe.margins[:, len(question.exact) :].mean(axis=0) for probe in self.probes]
        least = min((float(room.min()) for room in rooms if len(room) and room.min() > 0), default=math.inf)
        return math.ceil(FEWEST_BEYOND / least) if max(question.stages) * least < FEWEST_BEYOND else None


def stages_to(most: int) -> tuple[int, ...]:
    """How many seeds are run at a place, stage by stage, up to `most`."""
    return (*itertools.takewhile(lambda stop: stop < most, (STAGES[0] << n for n in itertools.count())), most)


def bounds(margins: Margins, exact: Sequence[bool], shares: Sequence[int] = ()) -> tuple[Margins, Margins, Margins]:
    """Mean of each budget's margins over seeds, and the bounds of its interval: float64[budgets] each.

    Of an exact budget all three are the least margin: one seed that breaks it does. So does one in which nothing was
    received, whose margin is minus infinity. Of `shares` (see `Question`) it is the logarithm of how many values may be
    beyond over how many are.
    """
    rooms = margins[:, len(exact) :]
    margins = margins[:, : len(exact)]
    least = margins.min(axis=0)
    alone = np.array(exact) | np.isinf(least)
    finite = np.where(alone, 0.0, margins)
    half = np.zeros_like(least)
    if len(margins) > 1:
        half = student_bound(_TAIL, len(margins) - 1) * finite.std(axis=0, ddof=1) / math.sqrt(len(margins))
    mean = np.where(alone, least, finite.mean(axis=0))
    for number, budget in enumerate(shares):
        if not alone[budget]:
            mean[budget], half[budget] = _of_share(rooms[:, number] - margins[:, budget], rooms[:, number])
    return mean, mean - half, mean + half


def _of_share(beyond: Margins, room: Margins) -> tuple[float, float]:
    """The logarithm of how many values may be beyond over how many are, and half its interval; float64[seeds] each.

    Student's t of a ratio, with degrees as in `pooled`: where a few seeds have most values beyond, the others say
    nothing of the error. Or that of so many rare events as there are such seeds, if it is less: where few values are
    beyond, and many may be, two seeds tell enough. It is infinite where too few values are or may be beyond.
    """
    seen, may = float(beyond.sum()), float(room.sum())
    mean = math.log(may / max(seen, 0.5))
    if max(seen, may) < FEWEST_BEYOND or len(beyond) < 2:
        return mean, math.inf
    if seen == 0:
        return mean, 0.0
    events = seen**2 / float((beyond**2).sum())
    half = _half_of_events(events, fewer=seen < may)
    if (degrees := int(events + 1e-9) - 1) >= 1:
        rest = beyond - seen / may * room
        error = math.sqrt(len(beyond) / (len(beyond) - 1) * float((rest**2).sum())) / seen
        half = min(half, student_bound(_TAIL, degrees) * error)
    return mean, half


def _half_of_events(events: float, *, fewer: bool) -> float:
    """How far the logarithm of a Poisson mean may be above that of what is seen, at 97.5 %; not `fewer`: below it.

    Byar's approximation of the exact limits (Breslow and Day 1987, section 2.3).
    """
    count = events + 1 if fewer else events
    reach = 1.96 / (3 * math.sqrt(count))
    limit = count * (1 - 1 / (9 * count) + (reach if fewer else -reach)) ** 3
    return abs(math.log(limit / events))


def verdict(margins: Margins, exact: Sequence[bool], shares: Sequence[int] = ()) -> Verdict:
    """Whether budgets are kept at a place, are broken, or cannot be told yet."""
    _, low, high = bounds(margins, exact, shares)
    if (high < 0).any():
        return "broken"
    return "kept" if (low >= 0).all() else "unclear"


class _Probes:
    """Places asked so far, in order, and how many margins are left to ask."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.places: list[float] = []
        self.at: dict[float, Probe] = {}
        self.left = question.most

    def ask(self, places: Sequence[float], stop: int) -> Generator[list[Ask], list[Margins], None]:
        """Margins at places, of seeds up to `stop`, as far as they are not known and may be asked."""
        asks: list[Ask] = []
        for place in dict.fromkeys(places):
            known = self.at[place].seeds if place in self.at else 0
            wanted = min(stop - known, self.left)
            if wanted > 0:
                asks.append(Ask(place, known, known + wanted))
                self.left -= wanted
        if not asks:
            return
        for ask, margins in zip(asks, (yield asks), strict=True):
            if ask.place in self.at:
                margins = np.concatenate([self.at[ask.place].margins, margins])
            else:
                bisect.insort(self.places, ask.place)
            self.at[ask.place] = Probe(ask.place, margins)

    def settle(self, places: Sequence[float]) -> Generator[list[Ask], list[Margins], None]:
        """Ask at places, with more seeds where they do not yet tell."""
        for stop in self.question.stages:
            unsettled = [place for place in places if place not in self.at or self.verdict(place) == "unclear"]
            yield from self.ask(unsettled, stop)

    def verdict(self, place: float) -> Verdict:
        """See `verdict`; what an exact budget needs all seeds for is unclear until then."""
        found = self.question.verdict(self.at[place].margins)
        return "unclear" if found == "kept" and self.wants_all(place) else found

    def wants_all(self, place: float) -> bool:
        """Whether further seeds could break an exact budget."""
        return any(self.question.exact) and self.at[place].seeds < self.question.stages[-1]

    def worst(self, place: float) -> float:
        """The least of the budgets' mean margins."""
        return float(self.question.bounds(self.at[place].margins)[0].min())

    def kept(self, place: float) -> bool:
        """Whether budgets are kept there as far as the mean says."""
        return self.worst(place) >= 0

    def edge(self, state: State, settled: bool = True) -> Edge:
        """What is known of the edge."""
        probes = tuple(self.at[place] for place in self.places)
        if state != "edge":
            return Edge(state, None, None, None, None, settled, self.monotone(), probes)
        place, binding, _ = _crossing(probes, self.question, 0)
        low, high = (_crossing(probes, self.question, which)[0] for which in (1, 2))
        if self.question.whole:  # the last place that keeps them, and those that it may be
            place = self.places[max(self.first_outside() - 1, 0)]
            low, high = float(math.floor(low)), float(math.ceil(high) - 1)
        else:  # it is known no better than it was searched
            after = self.first_outside()
            low, high = min(low, self.places[max(after - 1, 0)]), max(high, self.places[after])
            settled = settled or high - low <= self.question.step
        return Edge("edge", place, min(low, place), max(high, place), binding, settled, self.monotone(), probes)

    def first_outside(self) -> int:
        """The number of the first place that does not keep budgets, as far as the mean says."""
        return next(number for number, place in enumerate(self.places) if not self.kept(place))

    def monotone(self) -> bool:
        """Whether nothing is surely kept beyond what is surely broken."""
        verdicts = [self.verdict(place) for place in self.places]
        first = next((number for number, each in enumerate(verdicts) if each == "broken"), len(verdicts))
        return "kept" not in verdicts[first:]


def _crossing(probes: Sequence[Probe], question: Question, which: int) -> tuple[float, int, bool]:
    """Where the first budget goes below 0 on straight lines between probes: place, budget, and whether it does at all.

    `which` of mean, lower and upper bound. An exact budget steps: it breaks after the last place that keeps it, or, for
    the upper bound, at the first that does not.
    """
    curves = np.array([question.bounds(probe.margins)[which] for probe in probes])
    found: list[tuple[float, int]] = []
    for budget, curve in enumerate(curves.T):
        outside = np.flatnonzero(curve < 0)
        if len(outside) == 0:
            continue
        after = int(outside[0])
        if after == 0:
            found.append((probes[0].place, budget))
            continue
        a, b = probes[after - 1].place, probes[after].place
        if question.exact[budget] or not np.isfinite(curve[after - 1 : after + 1]).all():
            found.append((b if which == 2 else a, budget))
        else:
            found.append((a + (b - a) * float(curve[after - 1] / (curve[after - 1] - curve[after])), budget))
    if not found:
        return probes[-1].place, 0, False
    return *min(found), True


def find_edge(question: Question) -> Search:
    """A search for the edge: yields what it wants to know, is sent the answers, and returns the Edge."""
    probes = _Probes(question)
    ends = [question.near, question.far]
    yield from probes.settle(ends)
    inner: list[float] = np.linspace(question.near, question.far, _GRID + 2)[1:-1].tolist()
    if question.whole:
        inner = [place for place in dict.fromkeys(float(round(each)) for each in inner) if place not in ends]
    yield from probes.ask(inner, question.stages[0])
    if not probes.kept(question.near):
        return probes.edge("nowhere", probes.verdict(question.near) == "broken")
    if all(probes.kept(place) for place in probes.places):
        return probes.edge("everywhere", probes.verdict(question.far) == "kept")
    settled, moved = True, 0  # moved: steps in a row that moved the inner end, or below 0 the outer one
    for _ in range(_MOST_STEPS):
        a, b = yield from _sure_bracket(probes)
        if b - a <= question.step:
            break
        place = _between(probes, a, b, halve=abs(moved) >= _IN_A_ROW)
        if probes.left <= 0:
            settled = False
            break
        yield from probes.settle([place])
        if probes.verdict(place) == "unclear":
            yield from _around(probes, place, a, b)
            settled = False
            break
        moved = max(moved, 0) + 1 if probes.kept(place) else min(moved, 0) - 1
    a, b = yield from _sure_bracket(probes)
    yield from probes.settle([a, b])
    return probes.edge("edge", settled and all(probes.verdict(place) != "unclear" for place in _bracket(probes)))


def _bracket(probes: _Probes) -> tuple[float, float]:
    """The last place kept before the first that is not, and that."""
    after = probes.first_outside()
    return probes.places[max(after - 1, 0)], probes.places[after]


def _sure_bracket(probes: _Probes) -> Generator[list[Ask], list[Margins], tuple[float, float]]:
    """The bracket, once all seeds have kept its inner end where one could break it."""
    while True:
        a, b = _bracket(probes)
        if a >= b or probes.left <= 0 or not (probes.kept(a) and probes.wants_all(a)):
            return a, b
        yield from probes.ask([a], probes.question.stages[-1])


def _between(probes: _Probes, a: float, b: float, *, halve: bool) -> float:
    """The place to ask next: where a straight line between the ends crosses 0, but not too near to either.

    Or half-way, if `halve`: on a curve such lines move one end only.
    """
    inside, outside = probes.worst(a), probes.worst(b)
    exact = probes.question.exact
    broken = probes.question.bounds(probes.at[b].margins)[0] < 0
    straight = not halve and math.isfinite(inside) and math.isfinite(outside) and not (broken & np.array(exact)).any()
    share = inside / (inside - outside) if straight and inside > outside else 0.5
    place = a + (b - a) * min(max(share, _EDGEMOST), 1 - _EDGEMOST)
    if probes.question.whole:
        place = min(max(float(round(place)), a + 1), b - 1)
    return place


def _around(probes: _Probes, place: float, a: float, b: float) -> Generator[list[Ask], list[Margins], None]:
    """Places on both sides of one that noise hides, just far enough to tell: they give the slope there."""
    if probes.question.whole:
        return
    mean, low, high = probes.question.bounds(probes.at[place].margins)
    budget = int(mean.argmin())
    slope = (probes.worst(a) - probes.worst(b)) / (b - a)
    if not math.isfinite(slope) or slope <= 0:
        return
    reach = 1.5 * float(high[budget] - low[budget]) / 2 / slope
    sides = [max(place - reach, a), min(place + reach, b)]
    yield from probes.ask([side for side in sides if a < side < b], probes.question.stages[-1])
