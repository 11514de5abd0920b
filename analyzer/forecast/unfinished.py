"""What to answer where flows did not finish: completion times are then of different flows, and do not compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from segcast.analyzer.forecast.compare import variant_label

# A tenth of the flows that a p99 leaves out: policies that differ by less have p99 of the same flows, nearly.
TELLING: Final = 0.001
_NAMED: Final = ("policy", "timeout", "timeout_ns", "load", "growth", "year")


class Left(NamedTuple):
    """Flows that did not finish under a variant, and all that were asked for, as means over the seeds."""

    variant: dict[str, Any]
    unfinished: float
    flows: float
    p99_ns: float

    @property
    def label(self) -> str:
        """The variant in words."""
        of = self.variant
        grown = {"growth": of["growth"], "year": of["year"]}
        return variant_label(of["policy"], of["timeout_ns"], of["timeout"], of["load"], **grown)


def differing(left: Sequence[float], flows: float) -> bool:
    """Whether so many unfinished of `flows` differ too much between variants for their p99 to be of the same flows."""
    return max(left, default=0.0) - min(left, default=0.0) > TELLING * flows


def unfinished_answer(summary: Sequence[dict[str, Any]], baseline: str) -> tuple[str, dict[str, Any]] | None:
    """The answer, and the variant it is about, where policies leave different flows unfinished; None elsewhere.

    `summary` are the rows of SUMMARY. The best leaves the fewest unfinished, and of those has the lowest p99; at the
    load 1 if that ran, else at the first.
    """
    found = _variants(summary)
    load = 1.0 if any(one.variant["load"] == 1 for one in found) else found[0].variant["load"] if found else 1.0
    found = [one for one in found if one.variant["load"] == load]
    if not found or not differing([one.unfinished for one in found], found[0].flows):
        return None
    best = min(found, key=lambda one: (one.unfinished, one.p99_ns))
    against = next((one for one in found if one.variant["policy"] == baseline), best)
    share = f"{best.unfinished:.3g} of {best.flows:,.0f} flows unfinished"
    rest = (
        "the fewest of all"
        if best.variant["policy"] == baseline
        else f"against {against.unfinished:.3g} under {against.label}"
    )
    return f"{best.label}: {share}, {rest}; completion times are of different flows, so do not compare", best.variant


def _variants(summary: Sequence[dict[str, Any]]) -> list[Left]:
    """Variants in the order of their first cells."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in summary:
        if row.get("messages"):
            key = tuple(row.get(name) for name in _NAMED)
            cells.setdefault(key, []).append(row)
    return [
        Left(
            dict(zip(_NAMED, key, strict=True)),
            statistics.fmean(row["unfinished"] for row in rows),
            statistics.fmean(row["messages"] for row in rows),
            statistics.fmean([row["fct_p99_ns"] for row in rows if row["fct_p99_ns"] is not None] or [float("inf")]),
        )
        for key, rows in cells.items()
    ]
