"""What an answer chooses among: a policy and timeout at a load, its means, its change and the budgets it breaks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from segcast.analyzer.answers.budgets import broken_budgets, more_dropped
from segcast.analyzer.answers.validated import Validated
from segcast.analyzer.forecast.compare import FCT_HEADLINE, HEADLINE, interval, load_label, variant_label
from segcast.analyzer.slo import Slo
from segcast.analyzer.statistics.pools import pooled_column

HARDLY: Final = 0.005  # Changes smaller than half a percent are none.

_BOUNDS: Final = ("change", "low", "high", "traffic_low", "traffic_high")

Key = tuple[str, str | None, int | None]
"""Policy, and the timeout: the label of its rule, or what it is fixed at."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision must know beside the numbers.

    `resampled` says what resamples of the traffic there are, `validated` what is known of the model's error.

    `gap` says that the capture is hardly more than one, `dealt` whose places were invented, if any were. `unlearning`
    are policies whose hosts never learn of a dead link. Receivers of the policies of `tolerant` are taken to put
    packets in order, whatever arrives. `paths` are the most that any two ends have between them. An answer speaks
    of so many `comparisons` together, None: its own.
    """

    baseline: str
    reacts: bool = False
    slo: Slo | None = None
    gap: str = ""
    dealt: str = ""
    unlearning: frozenset[str] = frozenset()
    resampled: str = ""
    validated: Validated | None = None
    tolerant: frozenset[str] = frozenset()
    paths: int = 2
    comparisons: int | None = None

    @property
    def headline(self) -> str:
        """The column that decides."""
        return FCT_HEADLINE if self.reacts else HEADLINE


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """Cells that differ only in their seed: means over the seeds, and the change of the headline's metric.

    In `means` p99 and p99.9 of what is pooled (POOLED) are those of all seeds' values together: what 99 % of all are
    within, and not 99 % of a seed's.

    `by_seed` has the headline of each seed that has one. `broken` says the budgets that it does not keep. `growth` is
    the part of the load that is of more connections, `year` when that is, `share` the load as it was asked, if it is a
    share of the network's.
    """

    key: Key
    load: float
    means: Mapping[str, float | None]
    by_seed: Mapping[int, float] = field(default_factory=dict)
    change: float | None = None
    low: float | None = None
    high: float | None = None
    traffic_low: float | None = None
    traffic_high: float | None = None
    value: float | None = None
    broken: tuple[str, ...] = ()
    growth: float | None = None
    year: int | None = None
    share: str | None = None

    @property
    def offered(self) -> str:
        """Its load in words: `load 2` or `load 60 %`, or `growth 1.3` and the year where connections are added."""
        return load_label(self.load, self.growth, self.year, self.share)

    @property
    def compressed(self) -> bool:
        """Whether its load plays packets faster than the trace, or slower."""
        return self.load != (self.growth or 1.0)

    @property
    def policy(self) -> str:
        """The label of its policy."""
        return self.key[0]

    @property
    def name(self) -> str:
        """The policy and its timeout in words; its load is said by whoever speaks of it."""
        policy, timeout, timeout_ns = self.key
        return variant_label(policy, timeout_ns, timeout)

    def mean(self, column: str) -> float:
        """The mean of a column; 0 where it has none."""
        return self.means.get(column) or 0.0

    @property
    def overflow(self) -> float:
        """The part of the packets that full queues drop."""
        return max(0.0, self.mean("drop_ratio") - self.mean("dropped_dead_link") / (self.mean("packets") or 1.0))

    @property
    def better(self) -> bool:
        """Whether it is clearly quicker than the baseline; without an interval, whether it is quicker."""
        return self.change is not None and self.change <= -HARDLY and (self.high is None or self.high < 0)

    @property
    def unclear(self) -> bool:
        """Whether the interval of its change contains zero."""
        return self.low is not None and self.high is not None and self.low <= 0 <= self.high


def candidates(
    summary: Sequence[Mapping[str, Any]],
    comparisons: Sequence[Mapping[str, Any]],
    circumstances: Circumstances,
    pooled: Sequence[Mapping[str, Any]] = (),
) -> dict[float, list[Candidate]]:
    """Candidates by load, loads rising; rows of SUMMARY, of `compare` and of POOLED."""
    headline = circumstances.headline
    cells: dict[tuple[float, Key], list[Mapping[str, Any]]] = {}
    for row in summary:
        cells.setdefault((row["load"], _key(row)), []).append(row)
    together: dict[tuple[float, Key], dict[str, float | None]] = {}
    for row in pooled:
        together.setdefault((row["load"], _key(row)), {})[pooled_column(row["metric"], row["quantile"])] = row["value"]
    changes = {(c.get("load", 1.0), _key(c)): c for c in comparisons if c["metric"] == headline}
    found: dict[float, list[Candidate]] = {}
    for load in sorted({load for load, _ in cells}):
        there = {key: rows for (at, key), rows in cells.items() if at == load}
        means = {key: _means(rows) | together.get((load, key), {}) for key, rows in there.items()}
        baseline = next((means[key] for key in sorted(means, key=_order) if key[0] == circumstances.baseline), None)
        broken = broken_budgets(
            means,
            baseline,
            slo=circumstances.slo,
            reacts=circumstances.reacts,
            tolerated=[key for key in means if key[0] in circumstances.tolerant],
        )
        found[load] = [
            _candidate(key, load, means[key], there[key], changes.get((load, key)), headline, broken[key])
            for key in sorted(there, key=_order)
        ]
    return found


def _candidate(
    key: Key,
    load: float,
    means: dict[str, float | None],
    rows: Sequence[Mapping[str, Any]],
    change: Mapping[str, Any] | None,
    headline: str,
    broken: tuple[str, ...],
) -> Candidate:
    by_seed = {row["seed"]: float(row[headline]) for row in rows if row.get(headline) is not None}
    bounds = {name: None if change is None else change.get(name) for name in _BOUNDS}
    grown = {name: rows[0].get(name) for name in ("growth", "year", "share")}
    return Candidate(key, load, means, by_seed, value=means.get(headline), broken=broken, **bounds, **grown)


def _key(row: Mapping[str, Any]) -> Key:
    timeout_ns = row.get("timeout_ns")
    return row["policy"], row.get("timeout") if timeout_ns is None else None, timeout_ns


def _order(key: Key) -> tuple[str, bool, int, str]:
    """An order that does not depend on that of the tables."""
    policy, timeout, timeout_ns = key
    return policy, timeout_ns is None, timeout_ns or 0, timeout or ""


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The mean of every number over the seeds that have it, and the share of packets displaced by three or more."""
    means: dict[str, float | None] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if isinstance(row.get(name), int | float)]
        means[name] = statistics.fmean(values) if values else None
    delivered = means.get("delivered")
    if delivered:
        means["displaced_ratio"] = (means.get("displaced_3") or 0.0) / delivered
    return means


def alike(one: Candidate, other: Candidate, comparisons: int) -> bool:
    """Whether seeds cannot tell two candidates apart, of so many comparisons, or hardly any difference is there."""
    shared = [s for s in one.by_seed if s in other.by_seed and one.by_seed[s] > 0 and other.by_seed[s] > 0]
    logs = [math.log(one.by_seed[seed] / other.by_seed[seed]) for seed in shared]
    if not logs:
        return one.value == other.value
    found = interval(logs, max(1, comparisons))
    close = abs(math.expm1(found.mean)) < HARDLY
    return close or (found.low is not None and found.high is not None and found.low <= 0 <= found.high)


def best_of(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The quickest, and those alike, the quickest first; of those alike only who loses least packets."""
    able = [one for one in found if one.value is not None]
    if not able:
        return ()
    quickest = min(able, key=_rank)
    tied = [one for one in able if one is quickest or alike(one, quickest, len(able) - 1)]
    least = min(one.mean("drop_ratio") for one in tied)
    return tuple(sorted((one for one in tied if not more_dropped(one.mean("drop_ratio"), least)), key=_rank))


def _rank(one: Candidate) -> tuple[float, tuple[str, bool, int, str]]:
    return one.value if one.value is not None else math.inf, _order(one.key)
