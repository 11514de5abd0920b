"""Whether there are enough seeds and flows to tell policies apart, and how many it would take."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

from segcast.analyzer.answers.candidates import HARDLY, Candidate, Circumstances
from segcast.analyzer.answers.standings import Standing
from segcast.analyzer.answers.wording import count, counted, significant
from segcast.analyzer.forecast.student import student_bound

FEWEST_SEEDS: Final = 4
USUAL_SEEDS: Final = 10
_MOST_SEEDS: Final = 10_000
# Whose hash decides: below this, the forecast is of these few flows and their luck.
FEWEST_FLOWS: Final = 20
# So many completion times, and one of them is beyond the p99.
FEWEST_COMPLETIONS: Final = 100
# So many flows, and one of them is beyond the p99.9; so many packets, and ten are.
FLOWS_FOR_P999: Final = 1_000
PACKETS_FOR_P999: Final = 10_000
# Of so many separate busy periods beyond it a percentile is off by about a tenth; of two by a quarter, of one by more.
PERIODS_BEYOND: Final = 10
# Where waiting is less of a delay than this, its luck is not the delay's.
_WAITS: Final = 0.05


def too_few(verdicts: Sequence[Standing], there: Sequence[Candidate], circumstances: Circumstances) -> tuple[str, ...]:
    """Why nothing can be told, each with what it would take; nothing where there is nothing to compare."""
    if circumstances.paths < 2 or not any(one.verdict in ("use", "only", "stay") for one in verdicts):
        return ()
    found = []
    own = sum(one.policy != circumstances.baseline for one in there)
    compared = circumstances.comparisons or own
    seeds = min((len(one.by_seed) for one in there if one.by_seed), default=0)
    if 0 < seeds < FEWEST_SEEDS:
        cannot = f"{counted(seeds, 'seed')} cannot tell {counted(compared, 'comparison')} apart"
        found.append(f"{cannot}: run at least {_enough(verdicts, compared)}")
    flows = flows_of(there, circumstances.reacts)
    if flows is not None and circumstances.reacts and flows < FEWEST_COMPLETIONS:
        found.append(f"of {count(flows, ',')} flows p99 is the slowest one: it takes at least {FEWEST_COMPLETIONS}")
    elif flows is not None and not circumstances.reacts and flows < FEWEST_FLOWS:
        what = "1 flow of one size" if flows < 1.05 else f"{significant(flows, 2)} flows of one size"
        found.append(f"the packets are spread as if of {what}: it takes at least {FEWEST_FLOWS}")
    return tuple(found)


def _enough(verdicts: Sequence[Standing], comparisons: int) -> int:
    """How many seeds would tell what is seen, at least as many as are run without being asked."""
    asked = [seeds_needed(one.spoken, one.baseline, comparisons) for one in verdicts if one.spoken is not None]
    return max([USUAL_SEEDS, *(number for number in asked if number is not None)])


def seeds_needed(one: Candidate | None, baseline: Candidate | None, comparisons: int) -> int | None:
    """How many seeds would tell a difference as large as the one seen; None if it cannot be said, or is too many."""
    if one is None or baseline is None or one is baseline:
        return None
    logs = [
        math.log(one.by_seed[seed] / baseline.by_seed[seed])
        for seed in one.by_seed
        if baseline.by_seed.get(seed, 0) > 0 and one.by_seed[seed] > 0
    ]
    if len(logs) < 2 or abs(statistics.fmean(logs)) < HARDLY:
        return None
    spread, mean = statistics.stdev(logs), abs(statistics.fmean(logs))
    number = FEWEST_SEEDS
    while number <= _MOST_SEEDS:
        if student_bound(0.025 / max(1, comparisons), number - 1) * spread / math.sqrt(number) < mean:
            return number
        number += max(1, number // 20)
    return None


def flows_of(there: Sequence[Candidate], reacts: bool) -> float | None:
    """How many flows the numbers rest on, at the least: those asked for, or as many of one size as send packets."""
    column = "messages" if reacts else "effective_flows"
    return min((value for one in there if (value := one.means.get(column)) is not None), default=None)


def p999_is_known(flows: float | None, delivered: float | None, periods: float | None = None) -> bool:
    """Whether a p99.9 rests on enough: packets of one flow or busy period meet the same queue, so those count, too."""
    enough = (flows is None or flows >= FLOWS_FOR_P999) and (periods is None or periods >= PERIODS_BEYOND)
    return enough and (delivered is None or delivered >= PACKETS_FOR_P999)


def periods_beyond(one: Candidate, quantile: str) -> float | None:
    """How many separate busy periods a percentile of delay rests on; None where waiting is hardly a part of it.

    It is the mean of the seeds', not their sum: packets leave at the same times under every seed.
    """
    waited, delay = one.mean(f"queue_{quantile}_ns"), one.mean(f"delay_{quantile}_ns")
    return one.means.get(f"busy_periods_{quantile}") if is_waited_for(waited, delay) else None


def is_waited_for(waited_ns: float, delay_ns: float) -> bool:
    """Whether waiting in queues is enough of a delay for its luck to be the delay's."""
    return waited_ns > 0 and waited_ns >= _WAITS * delay_ns


def few_periods(verdicts: Sequence[Standing]) -> str:
    """That a p99 delay is of few busy periods, whose it is, and how much longer the traffic must be; or nothing."""
    found = [
        (periods, standing, one)
        for standing in verdicts
        for one in (standing.baseline, standing.spoken)
        if one is not None and (periods := periods_beyond(one, "p99")) is not None and periods < PERIODS_BEYOND
    ]
    if not found:
        return ""
    periods, standing, one = min(found, key=lambda each: each[0])
    where = f" at {standing.offered}" if len(verdicts) > 1 else ""
    number = significant(max(periods, 1.0), 2)
    what = "1 separate busy period" if number == "1" else f"{number} separate busy periods"
    longer = significant(PERIODS_BEYOND / max(periods, 1.0), 2)
    return (
        f"Too few busy periods to tell how large p99 delay is: under {one.name}{where} it rests on about {what} of the "
        f"queues, {PERIODS_BEYOND} would be needed, traffic about {longer} times as long."
    )
