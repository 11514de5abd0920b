"""What the page and the terminal say of a failure study, as rows of text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Final, NamedTuple

from segcast.analyzer.forecast.compare import variant_label
from segcast.analyzer.plan.failures.document import FailedVariant, FailuresDocument
from segcast.analyzer.plan.failures.tables import FAILURES, LINKS_AT_WORST
from segcast.reports import text
from segcast.traces.disk.documents import read_shape
from segcast.traces.disk.folders import FAILURES as FOLDER
from segcast.traces.disk.parquet import read_table
from segcast.traces.schema import Table

WORST: Final = 10
_AGAIN: Final = "run segcast plan --failures again"
_NAMED: Final = ("policy", "timeout", "timeout_ns", "load")

Row = dict[str, Any]


class Told(NamedTuple):
    """A policy with its timeout and load: sentences, and rows of both tables as text, the worst first."""

    label: str
    says: list[str]
    failures: list[list[str]]
    links: list[list[str]]


class FailuresContent:
    """What a failure study says."""

    def __init__(self, folder: Path) -> None:
        """Raises InputError if the folder holds no failure study."""
        self._folder = folder
        missing = f"{folder / FOLDER.marker}: not found, so this is no failure study; make one with segcast plan"
        self.document = read_shape(folder / FOLDER.marker, FailuresDocument, missing, _AGAIN)
        self.title = PurePath(self.document.source).name

    @property
    def failure_heads(self) -> list[str]:
        """Heads of the table of failures."""
        what = "p99 FCT" if self.document.reacts else "p99 delay"
        heads = [
            *("failure", "lost in the hole", "lost later", "no path left", "full queues", "recovers in"),
            *(f"{what} before", "in the hole", "after", "without it", "busiest link after", "headroom"),
        ]
        return [*heads, "budgets broken"] if self.document.slo is not None else heads

    @property
    def link_heads(self) -> list[str]:
        """Heads of the table of links."""
        heads = ["link", "used", "at worst", "caused by", "p99 delay", "at worst", "caused by"]
        return [*heads, "p99 FCT", "at worst", "caused by"] if self.document.reacts else heads

    @property
    def tried(self) -> str:
        """How many failures were tried, in words."""
        document = self.document
        singles = f"{text.counted(document.tried - document.pairs, document.kind.removesuffix('s') + ' failure')}"
        if not document.all_pairs:
            return singles
        return f"{singles} and {document.pairs:,} of {document.all_pairs:,} pairs"

    @cached_property
    def variants(self) -> list[Told]:
        """Each policy, in the order of the scenario."""
        failures, links = self._rows(FAILURES), self._rows(LINKS_AT_WORST)
        return [
            Told(
                variant_label(one.policy, one.timeout_ns, one.timeout, one.load, share=one.share),
                one.says,
                [self._failure(row) for row in sorted(_of(failures, one), key=self._harm, reverse=True)],
                [
                    self._link(row)
                    for row in sorted(_of(links, one), key=lambda row: row["utilisation_worst"] or 0.0, reverse=True)
                ],
            )
            for one in self.document.variants
        ]

    def _rows(self, table: Table) -> list[Row]:
        rows: list[Row] = read_table(self._folder / f"{table.name}.parquet", table, mend=_AGAIN).to_pylist()
        return rows

    def _harm(self, row: Row) -> tuple[Any, ...]:
        """What makes a failure worse than another: budgets, then packets lost for good or times, then the rest."""
        slow = row["fct_p99_after_ns"] if self.document.reacts else row["delay_p99_after_ns"]
        rest = (row["lost_ratio"], slow or 0.0) if not self.document.reacts else (slow or 0.0, row["lost_ratio"])
        return (
            bool(row["broken_after"]),
            bool(row["broken"]),
            row["still_losing"],
            *rest,
            row["utilisation_after"] or 0.0,
        )

    def _failure(self, row: Row) -> list[str]:
        key = "fct_p99" if self.document.reacts else "delay_p99"
        recovers = "never" if row["still_losing"] else text.duration(row["recover_ns"])
        busiest = f"{text.percent(row['utilisation_after'])} {row['bottleneck'] or ''}".strip()
        cells = [
            row["failure"],
            *(_count(row[name]) for name in ("lost_hole", "lost_later", "no_path", "lost_full")),
            recovers,
            *(text.duration(row[f"{key}_{stage}_ns"]) for stage in ("before", "hole", "after", "intact")),
            busiest,
            text.percent(row["headroom"]),
        ]
        if self.document.slo is not None:
            lasting = row["broken_after"]
            cells.append(f"{lasting} (for good)" if lasting else row["broken"])
        return cells

    def _link(self, row: Row) -> list[str]:
        cells = [
            row["link"],
            text.percent(row["utilisation"]),
            text.percent(row["utilisation_worst"]),
            row["utilisation_by"],
            text.duration(row["delay_p99_ns"]),
            text.duration(row["delay_p99_worst_ns"]),
            row["delay_by"],
        ]
        if self.document.reacts:
            cells += [text.duration(row["fct_p99_ns"]), text.duration(row["fct_p99_worst_ns"]), row["fct_by"]]
        return cells


def _of(rows: Sequence[Row], variant: FailedVariant) -> list[Row]:
    wanted = tuple(getattr(variant, name) for name in _NAMED)
    return [row for row in rows if tuple(row[name] for name in _NAMED) == wanted]


def _count(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == 0 else text.plain(value)
