"""The figures of times: how they are distributed, with a tail on a logarithmic axis, and by the size of flows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from segcast.reports import text
from segcast.reports.forecast.data import Curve, Variant
from segcast.reports.forecast.figures import Cast, short
from segcast.reports.style import Figure, axis, fitted, label, layout, log_axis

_POINTS: Final = 90
_FEWEST_POINTS: Final = 24
_MOST_POINTS: Final = 2_400
_NAME: Final = "<extra>%{fullData.name}</extra>"


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a figure is of: things that have a value each; `axis` names it, `number` says it without a sign."""

    things: str
    done: str
    axis: str
    least: float
    unit: Callable[[float | None], str]
    number: Callable[[float | None], str]
    more: str = "slower than"
    sign: str = " ns"


def _times(value: float | None) -> str:
    return f"{text.plain(value)}×"


DELAY: Final = Quantity("packets", "packets received by then", "one-way delay", 1.0, text.duration, text.duration)
FCT: Final = Quantity("flows", "flows complete by then", "flow completion time", 1.0, text.duration, text.duration)
SLOWDOWN: Final = Quantity(
    "flows", "flows slowed no more", "times the empty network", 1e-3, _times, text.plain, "slowed more than", "×"
)


def cdf(curves: Mapping[Variant, Curve], cast: Cast, of: Quantity, detail: int = _POINTS) -> Figure:
    """Share of all that are done within a value: mean over seeds, band from least to most; `detail` points a curve."""
    y = {
        "range": [0, 1.01],
        "tickvals": [0, 0.25, 0.5, 0.75, 1],
        "ticktext": ["0", "25 %", "50 %", "75 %", "100 %"],
    }
    return _distribution(curves, cast, of, axis(of.done, **y), np.linspace(0, 1, detail), tail=False)


def tail(
    curves: Mapping[Variant, Curve], cast: Cast, of: Quantity, detail: int = _POINTS, count: int | None = None
) -> Figure:
    """The slowest: share of all beyond a value, on a logarithmic axis that ends at one in `count` of them."""
    finest = min((1 - c.quantile[c.quantile < 1].max(initial=0) for c in curves.values()), default=1e-3)
    finest = max(finest, 1e-6, 0.0 if count is None else 1 / max(count, 1))
    decades = max(2, min(6, math.ceil(-math.log10(finest) - 1e-6)))
    y = axis(
        f"{of.things} {of.more} that",
        type="log",
        range=[-decades - 0.05, 0.05],
        tickvals=[10.0**-d for d in range(decades + 1)],
        ticktext=["all", "1 in 10", "1 in 100", *(f"1 in {text.count(10**d)}" for d in range(3, decades + 1))],
    )
    return _distribution(curves, cast, of, y, 1 - np.logspace(0, -decades, detail), tail=True)


def points(curves: int) -> int:
    """Points of a curve: fewer where a page has many, so that it can still be mailed."""
    return max(_FEWEST_POINTS, min(_POINTS, _MOST_POINTS // max(curves, 1)))


def _distribution(
    curves: Mapping[Variant, Curve], cast: Cast, of: Quantity, y_axis: Any, wanted: Any, *, tail: bool
) -> Figure:
    """Bands and lines of every variant at the wanted shares; what never was done is beyond every value."""
    bands, lines = [], []
    for variant in cast.variants:
        if (curve := curves.get(variant)) is None or not len(curve.quantile):
            continue
        done = curve.quantile * curve.part
        rows = np.unique(np.searchsorted(done, wanted - 1e-12).clip(max=len(done) - 1))
        if tail:
            rows = rows[done[rows] < 1]
        mean, low, high = (np.maximum(v[rows], of.least) for v in (curve.mean, curve.low, curve.high))
        share = short(1 - done[rows] if tail else done[rows], 6)
        beyond = of.more if tail else "within"
        said = [
            f"{text.typeset(text.percent(s))} {beyond} {text.typeset(of.unit(m))}"
            for s, m in zip(share, mean, strict=True)
        ]
        lines.append(cast.line(variant, x=short(mean), y=share, text=said, hovertemplate=f"%{{text}}{_NAME}"))
        if (high > low).any():
            bands.append(cast.band(variant, [*short(low), *reversed(short(high))], [*share, *reversed(share)]))

    def x_axis(drawn: Sequence[Curve]) -> dict[str, Any]:
        least = min((float(c.low.min(initial=np.inf)) for c in drawn), default=1e3)
        # The slowest half percent is for the other panel.
        ends = [c.high if tail else c.high[c.quantile <= max(0.995, c.quantile.min())] for c in drawn]
        most = max((float(end.max(initial=of.least)) for end in ends), default=1e6)
        return log_axis(of.axis, max(least, of.least), max(most, of.least), of.unit)

    there = [variant for variant in cast.variants if variant in curves]
    fit, whole = (x_axis([curves[v] for v in those]) for those in (_shown(there, cast), there))
    return {"data": bands + lines, "layout": fitted("xaxis", fit, whole, layout(yaxis=y_axis))}


def by_size(sizes: Mapping[Variant, list[dict[str, Any]]], cast: Cast, of: Quantity, column: str) -> Figure:
    """A column of `sizes` by flow size: mean over seeds, whiskers from least to most."""
    below = {row["min_bytes"]: row["below_bytes"] for rows in sizes.values() for row in rows if row["flows"]}
    order = sorted(below)
    step = min(0.07, 0.6 / max(len(cast.variants), 1))
    data: list[dict[str, Any]] = []
    for number, variant in enumerate(cast.variants):
        found: dict[int, list[float]] = {}
        for row in sizes.get(variant, []):
            if row[column] is not None:
                found.setdefault(row["min_bytes"], []).append(row[column])
        places = [place for place in order if place in found]
        if not places:
            continue
        mean = [math.fsum(found[p]) / len(found[p]) for p in places]
        said = [
            f"{text.typeset(bin_label(p, below[p]))}: {text.typeset(of.unit(m))} "
            f"({text.typeset(text.span(of.number(min(found[p])), of.number(max(found[p]))))})"
            for p, m in zip(places, mean, strict=True)
        ]
        trace = cast.line(
            variant,
            x=short(order.index(p) + (number - (len(cast.variants) - 1) / 2) * step for p in places),
            y=short(mean),
            text=said,
            hovertemplate=f"%{{text}}{_NAME}",
        )
        trace["marker"].pop("maxdisplayed")
        if any(len(found[p]) > 1 for p in places):
            trace["error_y"] = {
                "type": "data",
                "symmetric": False,
                "array": short(max(found[p]) - m for p, m in zip(places, mean, strict=True)),
                "arrayminus": short(m - min(found[p]) for p, m in zip(places, mean, strict=True)),
                "thickness": 1.2,
                "width": 3,
            }
        data.append(trace)

    def y_axis(drawn: Sequence[Variant]) -> dict[str, Any]:
        known = [row[column] for variant in drawn for row in sizes[variant] if row[column] is not None] or [1.0, 2.0]
        return log_axis(of.axis, max(min(known), 1e-3), max(*known, 1e-3), of.unit)

    there = [variant for variant in cast.variants if variant in sizes]
    x_axis = axis(
        "flow size",
        range=[-0.5, max(len(order), 1) - 0.5],
        tickvals=list(range(len(order))),
        ticktext=[label(text.typeset(bin_label(p, below[p], brief=True))) for p in order],
        showgrid=False,
    )
    fit, whole = (y_axis(those) for those in (_shown(there, cast), there))
    return {"data": data, "layout": fitted("yaxis", fit, whole, layout(xaxis=x_axis))}


def _shown(variants: Sequence[Variant], cast: Cast) -> list[Variant]:
    """Those shown at first, which the axes fit; all where none is."""
    return [variant for variant in variants if variant in cast.shown] or list(variants)


def bin_label(low: int, below: int | None, *, brief: bool = False) -> str:
    """A bin of flow sizes in words: `1 kB to 10 kB`; brief, as a tick: `1 kB+`."""
    if low <= 1:
        return f"<{text.size(below)}" if below else "all"
    if brief or below is None:
        return f"{text.size(low)}+"
    return f"{text.size(low)} to {text.size(below)}"
