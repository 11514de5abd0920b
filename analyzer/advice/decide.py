"""From rows of cells to a verdict, by the candidates, budgets and ties of `analyzer.answers`. Nothing is measured here.

The remedies form a ladder, the cheapest first: another hash, flowlets, spray. A remedy is taken if it keeps the
budgets and is clearly better than what the ladder has reached, by enough to be worth it, also beside what was gained
before it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from segcast.analyzer.advice.document import Kind, Role, Why
from segcast.analyzer.advice.document import Standing as Word
from segcast.analyzer.answers.budgets import more_dropped
from segcast.analyzer.answers.candidates import Candidate, Circumstances, Key, best_of, candidates
from segcast.analyzer.answers.evidence import FEWEST_FLOWS, seeds_needed, too_few
from segcast.analyzer.answers.standings import Standing, standing
from segcast.analyzer.answers.wording import significant
from segcast.analyzer.forecast.compare import compare, interval

WORTH: Final[dict[Role, float]] = {"hash": 0.05, "flowlets": 0.05, "spray": 0.10}
"""What a remedy must gain to be worth it: spray, which asks more of receivers, twice that."""
IDLE: Final = 0.05
"""Where the p99 of queueing is a smaller share of that of delay, taking all of it away is not worth it either."""
IDLE_LINK: Final = 0.01
"""A busiest link that is used less is idle, if nothing tried is better either."""
_LEAST_SPARED: Final = 0.001  # So many fewer packets dropped, as a share of all, are a gain, whatever delays do.
_ALIKE: Final = 0.02
_MORE: Final = 0.1  # A further remedy must gain such a share of what those before it gained.
_RUNGS: Final[tuple[tuple[Role, Kind], ...]] = (("hash", "hash"), ("flowlets", "flowlets"), ("spray", "spray"))

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """What a verdict follows from: rows of SUMMARY at one load, and what is known beside them.

    `roles` are by label of a policy. `paths`: the most that a flow may take; `skew_ns`: how far their delays lie apart
    when empty; `effective`: how many flows of one size would spread bytes as evenly. `switches` are policies by which
    switches choose, without SRv6.
    """

    rows: Sequence[Row]
    roles: Mapping[str, Role]
    circumstances: Circumstances
    paths: int
    skew_ns: int
    effective: float = math.inf
    switches: frozenset[str] = frozenset()

    @property
    def baseline(self) -> str:
        """The label of the policy that others are compared with."""
        return self.circumstances.baseline


@dataclass(frozen=True, slots=True)
class Step:
    """A rung that was taken: `best` against `against`, which the ladder had reached before."""

    kind: Kind
    best: Candidate
    against: Candidate


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict, what decided, the steps that led to it, and what it would take to tell.

    `there` are all candidates against the baseline, which is `base`. `few` says why so little traffic says little.
    `alike` cannot be told from what is advised; `waiting` is the p99 of queueing over that of delay. `open`: whether
    more seeds may change the verdict.
    """

    kind: Kind
    why: Why
    there: tuple[Candidate, ...]
    base: Candidate
    standing: Standing
    words: Mapping[Key, Word]
    few: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    alike: tuple[Candidate, ...] = ()
    needs: tuple[str, ...] = ()
    waiting: float | None = None
    open: bool = False

    @property
    def chosen(self) -> Candidate | None:
        """What is advised in place of the baseline, against the baseline."""
        if not self.steps:
            return None
        return next(one for one in self.there if one.key == self.steps[-1].best.key)


def decide(case: Case) -> Decision:
    """The verdict that follows from the numbers, whatever the order of rows."""
    there = _against(case, case.rows, case.baseline)
    verdict = standing(there[0].load, there, case.baseline)
    base = verdict.baseline
    assert base is not None
    known = Decision(
        "nothing",
        "measured",
        tuple(there),
        base,
        verdict,
        {one.key: _word(one, base, case) for one in there},
        few=_few(verdict, there, case),
        waiting=_waiting(base),
    )
    if case.paths < 2:
        return replace(known, why="one path")
    if verdict.verdict == "lost" or base.value is None:
        return replace(known, kind="unknown", why="nothing received", needs=("traffic that the network delivers",))
    if _idle(known, case):
        return replace(known, why="idle")
    if known.few:
        needs = tuple(each.rpartition(": ")[2] for each in known.few)
        return replace(known, kind="unknown", why="few", needs=needs)
    return _climb(case, known)


def _against(case: Case, rows: Sequence[Row], baseline: str) -> list[Candidate]:
    """All candidates at the one load of the rows, compared with a policy of theirs; intervals hold for all of the case.

    Timeouts that make the same flowlets are one comparison.
    """
    compared = compare([dict(row) for row in rows], baseline, comparisons_of(case))
    (found,) = candidates(rows, compared, replace(case.circumstances, baseline=baseline)).values()
    return found


def comparisons_of(case: Case) -> int:
    """How many comparisons with the baseline there are, of what differs."""
    different: dict[Key, list[Any]] = {}
    for row in sorted(case.rows, key=lambda row: int(row["seed"])):
        different.setdefault(key_of(row), []).append(row[case.circumstances.headline])
    return max(len({tuple(values) for values in different.values()}) - 1, 1)


def _few(verdict: Standing, there: Sequence[Candidate], case: Case) -> tuple[str, ...]:
    """Why the traffic, or the seeds, are too few to tell; where senders react their bytes must be many flows', too."""
    found = too_few([verdict], there, case.circumstances)
    if found or not case.circumstances.reacts or case.effective >= FEWEST_FLOWS:
        return found
    what = f"the bytes are spread as if of {significant(case.effective, 2)} flows of one size"
    return (f"{what}: it takes at least {FEWEST_FLOWS}",)


def _waiting(base: Candidate) -> float | None:
    waits, delay = base.means.get("queue_p99_ns"), base.means.get("delay_p99_ns")
    return None if waits is None or not delay else waits / delay


def _idle(known: Decision, case: Case) -> bool:
    """Whether next to nothing queues under the baseline or is sent, nothing is lost, and nothing may be better."""
    base, words = known.base, set(known.words.values())
    tempting = any(one.broken and one.better and (one.change or 0.0) <= -WORTH["flowlets"] for one in known.there)
    lost = base.mean("drop_ratio") > 0 or (case.circumstances.reacts and base.mean("unfinished") > 0)
    if lost or base.broken or "better" in words:
        return False
    if known.waiting is not None and known.waiting < IDLE:
        return True
    return base.mean("utilisation_max") < IDLE_LINK and "unclear" not in words and not tempting


def _climb(case: Case, known: Decision) -> Decision:
    step, steps = known.base, list[Step]()
    alike: tuple[Candidate, ...] = ()
    undecided = False
    for role, kind in _RUNGS:
        own = [row for row in case.rows if key_of(row) == step.key or case.roles[row["policy"]] == role]
        there = _against(case, own, step.policy)
        below = next(one for one in there if one.key == step.key)
        words = {one.key: _word(one, below, case, own) for one in there}
        better = [one for one in there if words[one.key] == "better" and _adds(one, below, known.base)]
        if not better:
            undecided |= any(words[one.key] == "unclear" and (one.change or 0.0) <= -WORTH[role] for one in there)
            continue
        best = _chosen(best_of(better) or tuple(better))
        alike = tuple(one for one in best_of(better) if one is not best)
        steps.append(Step(kind, best, below))
        step = best
    if steps:
        return replace(known, kind=steps[-1].kind, steps=tuple(steps), alike=alike, open=undecided)
    unclear = [one for one in known.there if known.words[one.key] == "unclear"]
    if unclear:
        return replace(known, kind="unknown", why="noise", needs=(_seeds(unclear, known),), open=True)
    if known.base.broken:
        return replace(known, why="budgets")
    return known


def _word(one: Candidate, base: Candidate, case: Case, rows: Sequence[Row] | None = None) -> Word:
    """How a candidate stands against another."""
    if one is base:
        return "baseline"
    role = case.roles[one.policy]
    if role == "flowlets" and one.key[2] is not None and one.key[2] <= case.skew_ns:
        return "below the skew"
    if one.broken:
        return "over budget"
    if base.broken:
        return "better"  # it keeps a budget that the other breaks
    worth = WORTH[role]
    if one.change is None or one.low is None or one.high is None:
        return "unclear"
    if (one.change <= -worth and one.high < 0) or _spares(one, base, case, rows or case.rows, worth):
        return "better"
    # A change that may well be worth it, by its mean or by twice as much in its interval, is not told from one.
    return "unclear" if one.change <= -worth or one.low <= -2 * worth else "not worth it"


def _spares(one: Candidate, base: Candidate, case: Case, rows: Sequence[Row], worth: float) -> bool:
    """Whether clearly fewer packets are dropped, at a delay that is not clearly worse by as much as matters."""
    if case.circumstances.reacts or not more_dropped(base.mean("drop_ratio"), one.mean("drop_ratio")):
        return False
    ours, theirs = (
        {row["seed"]: row["drop_ratio"] for row in rows if key_of(row) == key} for key in (one.key, base.key)
    )
    others = len({key_of(row) for row in case.rows}) - 1
    spared = interval([ours[seed] - theirs[seed] for seed in sorted(ours) if seed in theirs], max(others, 1))
    return spared.high is not None and spared.high < -_LEAST_SPARED and (one.low or 0.0) <= worth


def _adds(one: Candidate, below: Candidate, base: Candidate) -> bool:
    """Whether a remedy gains enough beside what those before it gained."""
    if below.key == base.key or one.value is None or below.value is None or base.value is None:
        return True
    return below.value - one.value >= _MORE * (base.value - below.value)


def _chosen(alike: Sequence[Candidate]) -> Candidate:
    """Of those within 2 % of the quickest that which reorders least, then that with the longest timeout."""
    quickest = min(one.value or 0.0 for one in alike)
    near = [one for one in alike if (one.value or 0.0) <= (1 + _ALIKE) * quickest]
    return min(near, key=lambda one: (round(one.mean("reordered_ratio"), 4), -(one.key[2] or 0), one.name))


def _seeds(unclear: Sequence[Candidate], known: Decision) -> str:
    """How many seeds would tell what looks most promising from chance."""
    most = min(unclear, key=lambda one: (one.change or 0.0, one.name))
    seeds, now = seeds_needed(most, known.base, len(known.there) - 1), len(most.by_seed)
    if seeds is None or seeds > 20 * now:
        return "a longer capture, or another day's"
    return f"about {max(seeds, 2 * now):,} seeds (--seeds {max(seeds, 2 * now)}), or a longer capture"


def key_of(row: Row) -> Key:
    """The candidate that a row of SUMMARY is of."""
    timeout_ns = row.get("timeout_ns")
    return row["policy"], row.get("timeout") if timeout_ns is None else None, timeout_ns


def mean_of(rows: Sequence[Row], column: str) -> float | None:
    """The mean of a column over the rows that have it."""
    known = [float(row[column]) for row in rows if row.get(column) is not None]
    return statistics.fmean(known) if known else None
