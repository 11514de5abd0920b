"""Why packets were dropped: at full queues, or at links that were down, before routing knew and after."""

from __future__ import annotations

from dataclasses import dataclass

from segcast.reports import text
from segcast.reports.forecast.data import Forecast, Variant


@dataclass(frozen=True, slots=True)
class Drops:
    """Shares of the packets that a variant sent, in words, and how wide their parts of a bar are, in percent."""

    variant: Variant
    all: str
    full: str
    unknown: str
    known: str
    widths: tuple[float, float, float]


def drops_by_cause(forecast: Forecast) -> list[Drops]:
    """A row for each variant shown at first, if any of them drops packets; bars are of the one that drops most."""
    found = {variant: _shares(forecast, variant) for variant in forecast.shown}
    most = max((sum(shares) for shares in found.values()), default=0.0)
    if most <= 0:
        return []
    rows = []
    for variant, shares in found.items():
        full, unknown, known = (round(100 * share / most, 2) for share in shares)
        words = [text.percent(share) for share in (sum(shares), *shares)]
        rows.append(Drops(variant, words[0], words[1], words[2], words[3], (full, unknown, known)))
    return rows


def dead_link_share(forecast: Forecast, variant: Variant, column: str) -> float:
    """Packets of a column over those sent."""
    part, sent = (forecast.estimate(variant, name).mean or 0.0 for name in (column, "packets"))
    return part / sent if sent else 0.0


def _shares(forecast: Forecast, variant: Variant) -> tuple[float, float, float]:
    """At full queues, at dead links that routing did not know of yet, and at those it knew."""
    dead = dead_link_share(forecast, variant, "dropped_dead_link")
    unknown = dead_link_share(forecast, variant, "dropped_undetected")
    every = forecast.estimate(variant, "drop_ratio").mean or 0.0
    return max(every - dead, 0.0), unknown, max(dead - unknown, 0.0)
