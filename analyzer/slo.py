"""Budgets that an answer must keep: `p99_fct < 2ms and drops == 0 and reordered < 0.05`."""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import pyarrow as pa
from pydantic import AfterValidator, Field

from segcast.analyzer.metrics.messages import MESSAGE_SUMMARY
from segcast.analyzer.metrics.tables import SUMMARY
from segcast.analyzer.schema import CELL
from segcast.analyzer.values import Model
from segcast.traces.errors import InputError
from segcast.traces.refusals import meant
from segcast.traces.units import duration_ns, rate_bps, size_bytes

MOST_BUDGETS: Final = 20

_HOLDS: Final[dict[str, Callable[[float, float], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
_SAID: Final = {"<": "below", "<=": "at most", "==": "exactly", ">=": "at least", ">": "above"}
_BUDGET: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_.]*)\s*(<=|>=|==|=|<|>)\s*(\S+(?:\s+[A-Za-zµμ]\S*)?)\s*")
_PLAIN: Final = {
    "drops": "drop_ratio",
    "loss": "drop_ratio",
    "reordered": "reordered_ratio",
    "reordering": "reordered_ratio",
    "utilisation": "utilisation_max",
    "utilization": "utilisation_max",
    "rto": "timeouts",
    "goodput": "goodput_bps",
}
_UNITS: Final = ("_ns", "_bps", "_bytes")
_QUANTILE: Final = re.compile(r"(p\d+(?:\.\d+)?|mean|max)_(\w+)")
_ABBREVIATED: Final = {"queueing": "queue", "queuing": "queue", "latency": "delay"}


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget: the column of a forecast's summary that it bounds, and how. `limit` is in the column's unit."""

    text: str
    metric: str
    sign: str
    limit: float

    def holds(self, value: float) -> bool:
        """Whether a value of the metric keeps it."""
        return _HOLDS[self.sign](value, self.limit)

    def margin(self, value: float) -> float:
        """How far a value is inside the budget; negative outside.

        The logarithm of limit over value, or of value over limit, where both are above 0; else their difference. One
        that asks for an exact value has the distance from it, negative.
        """
        if self.sign == "==":
            return -abs(value - self.limit)
        over, under = (self.limit, value) if self.sign[0] == "<" else (value, self.limit)
        if over > 0 and under > 0:
            return math.log(over / under)
        return over - under

    @property
    def exact(self) -> bool:
        """Whether only one value, or none beyond 0, keeps it: then there is no margin to speak of."""
        return self.sign == "==" or (self.limit == 0 and self.sign == "<=")


@dataclass(frozen=True, slots=True)
class Slo:
    """Budgets that must all be kept."""

    budgets: tuple[Budget, ...]

    @property
    def text(self) -> str:
        """The budgets as `parse_slo` reads them."""
        return " and ".join(budget.text for budget in self.budgets)

    def broken(self, row: Mapping[str, Any]) -> tuple[Budget, ...]:
        """The budgets that a row of the summary, or means over seeds of such rows, does not keep.

        A row without a value breaks the budget: nothing was received.
        """
        return tuple(
            budget for budget in self.budgets if row[budget.metric] is None or not budget.holds(row[budget.metric])
        )

    def check_mode(self, reacts: bool) -> None:
        """Raise InputError if a budget is on what cells of this mode do not have."""
        for budget in self.budgets:
            if not reacts and budget.metric in _OF_REACTING:
                raise InputError(
                    f"the SLO's {budget.text!r}: packets that leave as captured have no {budget.metric}; "
                    "let senders react (--transport cubic), or bound another metric"
                )


def parse_slo(text: str) -> Slo:
    """The budgets that a text says, joined by `and` or commas. Raises InputError that names the wrong one.

    A metric is a column of a forecast's summary, with or without its unit, the quantile first or last: `p99_fct`,
    `fct_p99`, `delay_p99_ns`. Times need a unit; ratios may be in percent. What nothing can keep is refused, and a
    share above 1, which whatever happens keeps or breaks.
    """
    parts = [part.strip() for part in re.split(r"\band\b|,", text)]
    if not any(parts):
        raise InputError('the SLO is empty; write it like "p99_fct < 2ms and drops == 0"')
    if len(parts) > MOST_BUDGETS:
        raise InputError(f"the SLO has {len(parts)} budgets; give at most {MOST_BUDGETS}")
    budgets = tuple(_budget(part) for part in parts)
    _check_together(budgets)
    return Slo(budgets)


def say_sign(sign: str) -> str:
    """A comparison in words, such as `below`."""
    return _SAID[sign]


def _budget(part: str) -> Budget:
    match = _BUDGET.fullmatch(part) if len(part) <= 200 else None
    if match is None:
        raise InputError(f'the SLO\'s {part[:60]!r} is no budget; write it like "p99_fct < 2ms"')
    name, sign, written = match[1], "==" if match[2] == "=" else match[2], match[3]
    metric = _column(name)
    try:
        limit = _limit(metric, written)
    except InputError as error:
        raise InputError(f"the SLO's {part!r}: {error}") from None
    budget = Budget(f"{name} {sign} {written}", metric, sign, limit)
    _check_possible(budget)
    return budget


def _check_possible(budget: Budget) -> None:
    """Raise InputError for a limit that no value reaches: no metric is below 0, and no ratio above 1."""
    metric, sign, limit = budget.metric, budget.sign, budget.limit
    if limit < 0 or (limit == 0 and sign == "<"):
        fate = "everything keeps it" if sign[0] == ">" else "nothing keeps it"
        raise InputError(f"the SLO's {budget.text!r}: {metric} is never below 0, so {fate}")
    if metric.endswith("_ratio") and (limit > 1 or (limit == 1 and sign == ">")):
        meant_so = "" if budget.text.endswith("%") else f"; write {limit:g}%"
        packets = f", or dropped {sign} {limit:g} of packets" if meant_so and metric == "drop_ratio" else ""
        raise InputError(f"the SLO's {budget.text!r}: {metric} is a share, never above 100 %{meant_so}{packets}")
    if metric.startswith("utilisation_") and limit > 1 and not budget.text.endswith("%"):
        raise InputError(f"the SLO's {budget.text!r}: {metric} is a share of a link's rate; write {limit:g}%")


def _check_together(budgets: Sequence[Budget]) -> None:
    """Raise InputError for two budgets of one metric that no value keeps both."""
    for number, one in enumerate(budgets):
        for other in budgets[:number]:
            if one.metric == other.metric and not _together(one, other):
                raise InputError(f"the SLO's {other.text!r} and {one.text!r}: no value keeps both")


def _together(one: Budget, other: Budget) -> bool:
    """Whether a value keeps both: one of their limits, or one between or beside them."""
    ends = sorted((one.limit, other.limit))
    tried = (*ends, sum(ends) / 2, math.nextafter(ends[0], -math.inf), math.nextafter(ends[1], math.inf))
    return any(one.holds(value) and other.holds(value) for value in tried)


def _column(name: str) -> str:
    columns = _numbers()
    lowered = name.lower()
    found = _found(lowered, columns)
    if found is None and (match := _QUANTILE.fullmatch(lowered)):
        quantile, rest = match[1].replace(".", ""), match[2]
        rest = _ABBREVIATED.get(rest, rest)
        found = _found(f"{rest}_{quantile}", columns)
    if found is None:
        names = [*_PLAIN, *columns, *(_swapped(column) for column in columns)]
        hint = meant(lowered, names) or "; metrics are the columns of summary in docs/tables.md"
        raise InputError(f"the SLO's metric {name[:60]!r} is unknown{hint}")
    return found


def _found(name: str, columns: Sequence[str]) -> str | None:
    if name in _PLAIN:
        return _PLAIN[name]
    return next((column for column in (name, *(name + unit for unit in _UNITS)) if column in columns), None)


def _swapped(column: str) -> str:
    """`fct_p99_ns` as people say it: `p99_fct`."""
    parts = column.removesuffix("_ns").rsplit("_", 1)
    return "_".join(reversed(parts))


def _limit(metric: str, written: str) -> float:
    if metric.endswith("_ns"):
        return duration_ns(written)
    if metric.endswith("_bps"):
        return rate_bps(written)
    if metric.endswith("_bytes") and not written.replace(".", "", 1).isdigit():
        return size_bytes(written)
    digits, percent = written.removesuffix("%"), written.endswith("%")
    try:
        value = float(digits)
    except ValueError:
        raise InputError(f"{written!r} is not a number") from None
    if not math.isfinite(value):
        raise InputError(f"{written!r} is not a finite number")
    return value / 100 if percent else value


@functools.cache
def _numbers() -> tuple[str, ...]:
    named = {column.name for column in CELL}
    return tuple(
        column.name
        for column in SUMMARY.columns
        if column.name not in named and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type))
    )


_OF_REACTING: Final = {*(column.name for column in MESSAGE_SUMMARY if column.name != "mode"), "retransmissions"}


def _checked(text: str) -> str:
    try:
        parse_slo(text)
    except InputError as error:
        raise ValueError(str(error)) from None
    return text


class SloSpec(Model):
    """What an answer must keep."""

    keep: Annotated[str, AfterValidator(_checked)] = Field(
        description='budgets joined by "and", such as "p99_fct < 2ms and drops == 0 and reordered < 5%"'
    )

    @classmethod
    def instead_of(cls, unknown: Mapping[str, object]) -> str:
        """How budgets that stand as keys of their own are written: `keep = "p99_delay < 2ms"`."""
        budgets = []
        for name, value in unknown.items():
            try:
                metric = _column(name)
            except InputError:
                continue
            given = isinstance(value, str | int | float) and not isinstance(value, bool)
            bound = str(value) if given else "2ms" if metric.endswith("_ns") else "1%"
            budgets.append(f"{name} {bound}" if bound[:1] in ("<", ">", "=") else f"{name} < {bound}")
        if not budgets and meant(next(iter(unknown)), cls.model_fields):
            return ""
        return f'keep = "{" and ".join(budgets) or "p99_delay < 2ms and drops == 0"}"'

    @property
    def slo(self) -> Slo:
        """The budgets."""
        return parse_slo(self.keep)
