"""The things that a report is about: variants, estimates over their seeds, comparisons, and distributions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segcast.analyzer.forecast.compare import interval, timeout_label, variant_label
from segcast.reports import text


@dataclass(frozen=True, slots=True)
class Variant:
    """A policy with its flowlet timeout and load: the cells that differ only in their seed.

    `rule` is the label of a timeout that is not fixed. `growth` and `year` say what the load is made of, `share` how it
    was asked, and `several` that there are others: they are of the label alone.
    """

    policy: str
    timeout_ns: int | None
    rule: str | None = None
    load: float = 1.0
    growth: float | None = field(default=None, compare=False)
    year: int | None = field(default=None, compare=False)
    share: str | None = field(default=None, compare=False)
    several: bool = field(default=False, compare=False)

    @classmethod
    def of(cls, row: Mapping[str, Any], prefix: str = "") -> Variant:
        """The variant that a row names, its columns beginning with a prefix (of the load there is but one)."""
        timeout_ns = row.get(f"{prefix}timeout_ns")
        rule = row.get(f"{prefix}timeout") if timeout_ns is None else None
        return cls(str(row.get(f"{prefix}policy") or ""), timeout_ns, rule, row.get("load") or 1.0)

    @property
    def timeout(self) -> str:
        """The timeout of the variant in words."""
        return timeout_label(self.timeout_ns, self.rule) or text.NO_VALUE

    @property
    def beside(self) -> str:
        """What tells it from others of its policy, in words; empty if nothing does."""
        return self._said("").removeprefix(", ")

    @property
    def label(self) -> str:
        """The variant in words, such as `inflight, 100 us`."""
        return self._said(self.policy)

    def _said(self, policy: str) -> str:
        said: dict[str, Any] = {name: getattr(self, name) for name in ("several", "growth", "year", "share")}
        return variant_label(policy, self.timeout_ns, self.rule, self.load, **said)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity over `seeds` seeds, with its 95 % interval (none with one seed): their mean, or a quantile of all."""

    mean: float | None
    low: float | None = None
    high: float | None = None
    seeds: int = 0

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Estimate:
        """Student's t interval of the mean of the values present; a quantity never below zero is kept so."""
        known = [float(v) for v in values if v is not None and math.isfinite(v)]
        if not known:
            return cls(None)
        found = interval(known)
        if found.low is None or found.high is None:
            return cls(found.mean, seeds=1)
        low = found.low if min(known) < 0 else max(0.0, found.low)
        return cls(found.mean, low, found.high, len(known))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric of a variant against that of a baseline; `low` and `high` bound the change at 95 %, if known."""

    variant: Variant
    against: Variant
    metric: str
    value: float | None
    baseline: float | None
    change: float | None
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval of the change excludes zero; false without an interval."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True)
class Curve:
    """A distribution over the seeds: at each quantile the mean, smallest and largest value.

    `part` is how much of all it is of: what has no value, as a flow that never finished, is beyond every one.
    """

    quantile: np.ndarray[Any, np.dtype[np.float64]]
    mean: np.ndarray[Any, np.dtype[np.float64]]
    low: np.ndarray[Any, np.dtype[np.float64]]
    high: np.ndarray[Any, np.dtype[np.float64]]
    part: float = 1.0
