"""The tables of a failure study, and their rows from the figures of cells: means over seeds, paired with the network
as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segcast.analyzer.plan.failures.kinds import Failure
from segcast.analyzer.slo import Budget, Slo
from segcast.traces.schema import Column, Table

VARIANT: Final = (
    Column("policy", pa.string(), "label of the policy"),
    Column("timeout", pa.string(), "label of the flowlet timeout; null without one", True),
    Column("timeout_ns", pa.int64(), "the timeout, if it is fixed", True),
    Column("load", pa.float64(), "what is offered, in parts of the trace"),
    Column("share", pa.string(), "the load as it was asked, if that is a share of the busiest link: `60%`", True),
    Column("seeds", pa.uint32(), "seeds that figures are means over"),
)

STAGES: Final = Table(
    "stages",
    "a stage of a failure under a policy, as a mean over seeds; without a failure, the network as it is",
    (
        Column("failure", pa.string(), "what fails; null: nothing", True),
        *VARIANT,
        Column(
            "stage", pa.string(), "`before`, `hole`, `routed` or `suspected`; a packet is of that in which it is sent"
        ),
        Column("begin_ns", pa.int64(), "when it begins, from the failure on; it ends with the next"),
        Column("packets", pa.float64(), "packets sent"),
        Column("delivered", pa.float64(), "of them received"),
        Column("full", pa.float64(), "dropped by full queues"),
        Column("dead", pa.float64(), "dropped by dead links though another path was there"),
        Column("no_path", pa.float64(), "dropped by dead links where no path was left"),
        Column("bytes", pa.float64(), "IP bytes received"),
        Column("delay_p50_ns", pa.float64(), "p50 of one-way delay", True),
        Column("delay_p99_ns", pa.float64(), "p99 of one-way delay", True),
        Column("queue_p99_ns", pa.float64(), "p99 of time spent waiting in queues", True),
        Column("fct_p50_ns", pa.float64(), "p50 of flow completion time; null where packets leave as captured", True),
        Column("fct_p99_ns", pa.float64(), "p99 of the same", True),
        Column("messages", pa.float64(), "messages asked for, or under way at the failure", True),
        Column("unfinished", pa.float64(), "of them never complete", True),
        Column(
            "utilisation_max",
            pa.float64(),
            "what the busiest link accepted over what it could carry in the stage: above 1 where queues fill",
            True,
        ),
        Column("busiest", pa.string(), "that link", True),
    ),
)

FAILURES: Final = Table(
    "failures",
    "a failure under a policy, as a mean over seeds",
    (
        Column("failure", pa.string(), "what fails"),
        *VARIANT,
        Column("lost_hole", pa.float64(), "packets lost in the hole: to dead links before anybody could know"),
        Column("lost_later", pa.float64(), "lost to dead links after that, though another path was there"),
        Column("no_path", pa.float64(), "lost because no path was left"),
        Column("lost_full", pa.float64(), "lost to full queues from the failure on, beyond those without it"),
        Column("lost_ratio", pa.float64(), "all of these over packets sent from the failure on"),
        Column("still_losing", pa.bool_(), "whether dead links still take packets in the last tenth of the time"),
        Column(
            "recover_ns",
            pa.float64(),
            "until dead links take no packet any more and, where senders react, who lost some is heard again; null if "
            "nothing was lost, or it goes on",
            True,
        ),
        Column("hit_flows", pa.float64(), "flows that lost packets to dead links though another path was there"),
        Column("silent_flows", pa.float64(), "of them those of which nothing was received after that"),
        Column("stall_p50_ns", pa.float64(), "p50 of their longest time from such a loss to the next reception", True),
        Column("stall_max_ns", pa.float64(), "longest of these", True),
        Column("delay_p99_before_ns", pa.float64(), "p99 of one-way delay before", True),
        Column("delay_p99_hole_ns", pa.float64(), "in the hole", True),
        Column("delay_p99_after_ns", pa.float64(), "in the last stage", True),
        Column("delay_p99_intact_ns", pa.float64(), "at that time without the failure", True),
        Column("fct_p99_before_ns", pa.float64(), "p99 of flow completion time before", True),
        Column("fct_p99_hole_ns", pa.float64(), "of messages in the hole, or under way at the failure", True),
        Column("fct_p99_after_ns", pa.float64(), "of those asked for in the last stage", True),
        Column("fct_p99_intact_ns", pa.float64(), "of those asked for at that time without the failure", True),
        Column("unfinished", pa.float64(), "messages never complete, beyond those without the failure", True),
        Column("utilisation_after", pa.float64(), "utilisation of the busiest link in the last stage", True),
        Column("utilisation_intact", pa.float64(), "of the busiest at that time without the failure", True),
        Column("bottleneck", pa.string(), "the busiest link in the last stage", True),
        Column("headroom", pa.float64(), "what of its rate is left, 0 to 1", True),
        Column("broken", pa.string(), "budgets broken over the whole run, joined by `and`; empty if none"),
        Column("broken_after", pa.string(), "budgets broken in the last stage"),
    ),
)

LINKS_AT_WORST: Final = Table(
    "links",
    "a link under a policy over all failures tried, in their last stage, as means over seeds",
    (
        Column("link", pa.string(), "name of the link, one direction"),
        *VARIANT,
        Column("utilisation", pa.float64(), "its utilisation without a failure", True),
        Column("utilisation_worst", pa.float64(), "the highest with one", True),
        Column("utilisation_by", pa.string(), "failures that cause it: all within 5 %, at most ten named"),
        Column("delay_p99_ns", pa.float64(), "p99 of one-way delay of packets that cross it, without a failure", True),
        Column("delay_p99_worst_ns", pa.float64(), "the highest with one, within 1.6 %", True),
        Column("delay_by", pa.string(), "failures that cause it"),
        Column("fct_p99_ns", pa.float64(), "p99 completion time of messages whose packets cross it", True),
        Column("fct_p99_worst_ns", pa.float64(), "the highest with one", True),
        Column("fct_by", pa.string(), "failures that cause it"),
        Column("full_worst", pa.float64(), "most packets that its full queue dropped with a failure"),
    ),
)

_NEAR: Final = 0.95
_NAMED: Final = 10
_LAST_TENTH: Final = 0.9
_OF_LINKS: Final = ("utilisation", "delay_p99_ns", "fct_p99_ns", "full")

Numbers = dict[str, Any]


def mean_of(rows: Sequence[Mapping[str, Any]]) -> Numbers:
    """Each number's mean over rows that have one; of texts the one that most have."""
    found: Numbers = {}
    for name in rows[0]:
        values = [row[name] for row in rows if row[name] is not None]
        if not values:
            found[name] = None
        elif isinstance(values[0], str):
            found[name] = Counter(values).most_common(1)[0][0]
        else:
            found[name] = sum(values) / len(values)
    return found


@dataclass(slots=True)
class Case:
    """A failure (None: nothing) under one policy, timeout and load: what its seeds gave, added up as they come."""

    failure: Failure | None
    seeds: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    _links: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = field(default_factory=dict)

    def add(self, figures: dict[str, Any]) -> None:
        """The figures of one more seed. Those of links are only summed: there may be many."""
        figures = dict(figures)
        for name, values in figures.pop("links").items():
            row = np.array([np.nan if value is None else value for value in values], np.float64)
            known = np.isfinite(row)
            total, number = self._links.setdefault(name, (np.zeros(len(row)), np.zeros(len(row))))
            total += np.where(known, row, 0.0)
            number += known
        self.rows.append(figures)
        self.seeds += 1

    @property
    def stages(self) -> list[Numbers]:
        """Means of each stage, in order."""
        return [mean_of([row["stages"][number] for row in self.rows]) for number in range(len(self.rows[0]["stages"]))]

    @property
    def whole(self) -> Numbers | None:
        """Means of the summary over the whole run, if it was counted."""
        wholes = [row["whole"] for row in self.rows]
        return None if wholes[0] is None else mean_of(wholes)

    def links(self, name: str) -> NDArray[np.float64] | None:
        """Means by link, NaN where there is none; None if nobody counted them."""
        if name not in self._links:
            return None
        total, number = self._links[name]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(total / number)


def summary_of(stage: Mapping[str, Any]) -> Numbers:
    """A stage in columns of the summary, as far as a stage has them."""
    dropped = stage["full"] + stage["dead"] + stage["no_path"]
    found = {name: value for name, value in stage.items() if name.startswith(("delay_", "queue_", "utilisation_"))}
    found |= {name: stage[name] for name in ("packets", "delivered")}
    found |= {"dropped": dropped, "drop_ratio": dropped / stage["packets"] if stage["packets"] else 0.0}
    found["dropped_dead_link"] = stage["dead"] + stage["no_path"]
    if "messages" in stage:
        kinds = ("fct_", "slowdown_", "messages", "unfinished")
        found |= {name: value for name, value in stage.items() if name.startswith(kinds)}
    return found


def broken(slo: Slo | None, case: Case) -> tuple[tuple[Budget, ...], tuple[Budget, ...]]:
    """The budgets that a case breaks over the whole run, and in its last stage as far as stages tell."""
    if slo is None:
        return (), ()
    whole, last = case.whole, summary_of(case.stages[-1])
    over_all = () if whole is None else slo.broken(whole)
    return over_all, Slo(tuple(budget for budget in slo.budgets if budget.metric in last)).broken(last)


def stage_rows(case: Case, variant: Numbers) -> list[Numbers]:
    """Rows of STAGES."""
    names = [column.name for column in STAGES.columns]
    shared = {"failure": None if case.failure is None else case.failure.name, **variant, "seeds": case.seeds}
    return [
        {name: row[name] if name in row else shared.get(name) for name in names}
        for row in ({**stage, **shared} for stage in case.stages)
    ]


def failure_row(case: Case, intact: Case, variant: Numbers, spans_ns: Sequence[int], slo: Slo | None) -> Numbers:
    """The row of FAILURES; `spans_ns` is the time from the failure to the end of traffic without it, seed by seed."""
    assert case.failure is not None
    stages, normal = case.stages, {stage["stage"]: stage for stage in intact.stages}
    hole, last, before = stages[0], stages[-1], normal["before"]
    calm = normal[last["stage"]]
    full = sum(stage["full"] for stage in stages) - sum(normal[stage["stage"]]["full"] for stage in stages)
    later = sum(stage["dead"] for stage in stages[1:])
    no_path, sent = sum(stage["no_path"] for stage in stages), sum(stage["packets"] for stage in stages)
    losing = [
        row["last_dead_ns"] is not None and row["last_dead_ns"] > _LAST_TENTH * span
        for row, span in zip(case.rows, spans_ns, strict=True)
    ]
    still = sum(losing) * 2 > len(losing)
    over_all, after = broken(slo, case)
    row = {
        "failure": case.failure.name,
        **variant,
        "seeds": case.seeds,
        "lost_hole": hole["dead"],
        "lost_later": later,
        "no_path": no_path,
        "lost_full": max(full, 0.0),
        "lost_ratio": (hole["dead"] + later + no_path + max(full, 0.0)) / sent if sent else 0.0,
        "still_losing": still,
        "recover_ns": None
        if still
        else _recovery([row for row, more in zip(case.rows, losing, strict=True) if not more]),
        "delay_p99_before_ns": before["delay_p99_ns"],
        "delay_p99_hole_ns": hole["delay_p99_ns"],
        "delay_p99_after_ns": last["delay_p99_ns"],
        "delay_p99_intact_ns": calm["delay_p99_ns"],
        "utilisation_after": last["utilisation_max"],
        "utilisation_intact": calm["utilisation_max"],
        "bottleneck": last["busiest"],
        "headroom": None if last["utilisation_max"] is None else max(1 - last["utilisation_max"], 0.0),
        "broken": " and ".join(budget.text for budget in over_all),
        "broken_after": " and ".join(budget.text for budget in after),
    }
    for name in ("hit_flows", "silent_flows", "stall_p50_ns", "stall_max_ns"):
        row[name] = mean_of([{name: each[name]} for each in case.rows])[name]
    for name, stage in (("before", before), ("hole", hole), ("after", last), ("intact", calm)):
        row[f"fct_p99_{name}_ns"] = stage.get("fct_p99_ns")
    row["unfinished"] = None
    if "unfinished" in last:
        row["unfinished"] = sum(stage["unfinished"] - normal[stage["stage"]]["unfinished"] for stage in stages)
    return row


def _recovery(rows: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over seeds of the time to recover, where anything was lost. Senders that react have messages."""
    found = []
    for row in rows:
        last, resumed = row["last_dead_ns"], row["resumed_ns"]
        if last is not None:
            reacts = "messages" in row["stages"][0]
            found.append(max(last, resumed) if reacts and resumed is not None else last)
    return sum(found) / len(found) if found else None


def link_rows(names: Sequence[str], cases: Sequence[Case], intact: Case, variant: Numbers) -> list[Numbers]:
    """Rows of LINKS_AT_WORST, of all links that carry anything in any case."""
    worst: dict[str, tuple[NDArray[np.float64], list[str]]] = {}
    for name in _OF_LINKS:
        rows = [case.links(name) for case in cases]
        known = np.array([row for row in rows if row is not None])
        labels = [case.failure.name if case.failure else "" for case in cases]
        worst[name] = _worst(known, labels, len(names))
    calm = {name: intact.links(name) for name in _OF_LINKS}
    found = []
    for link, name in enumerate(names):
        row: Numbers = {"link": name, **variant, "seeds": intact.seeds}
        for metric, column, at_worst, by in (
            ("utilisation", "utilisation", "utilisation_worst", "utilisation_by"),
            ("delay_p99_ns", "delay_p99_ns", "delay_p99_worst_ns", "delay_by"),
            ("fct_p99_ns", "fct_p99_ns", "fct_p99_worst_ns", "fct_by"),
        ):
            values = calm[metric]
            row[column] = None if values is None else _number(values[link])
            row[at_worst] = _number(worst[metric][0][link])
            row[by] = worst[metric][1][link]
        row["full_worst"] = _number(worst["full"][0][link]) or 0.0
        if row["utilisation"] or row["utilisation_worst"]:
            found.append(row)
    return found


def _worst(rows: NDArray[np.float64], labels: Sequence[str], links: int) -> tuple[NDArray[np.float64], list[str]]:
    """By link the highest of all cases, and who causes it."""
    if len(rows) == 0:
        return np.full(links, np.nan), [""] * links
    filled = np.where(np.isfinite(rows), rows, -np.inf)
    highest = filled.max(axis=0)
    by = []
    for link in range(links):
        order = np.argsort(-filled[:, link], kind="stable")
        near = [labels[case] for case in order if filled[case, link] >= _NEAR * highest[link] > 0]
        more = f" and {len(near) - _NAMED} more" if len(near) > _NAMED else ""
        by.append(", ".join(near[:_NAMED]) + more)
    return np.where(np.isfinite(highest), highest, np.nan), by


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
