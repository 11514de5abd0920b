"""How busy links are over time: a heat strip of the hottest, and figures of each, of the variants shown at first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from segcast.reports import text
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.forecast.figures import Cast, short, time_unit
from segcast.reports.forecast.network.places import Event, Places
from segcast.reports.style import DOWN, HEAT, INK, MUTED, Figure, axis, label, layout

_MOST_LINKS: Final = 16
_MOST_COLUMNS: Final = 120
_MOST_EVENTS: Final = 60
_MOST_LABELS: Final = 6
_LONGEST: Final = 22
_NANOSECOND_BITS: Final = 8e9


@dataclass(frozen=True, slots=True)
class LinkRow:
    """A link in figures: utilisation as its mean, p95 and peak over intervals, in words, and packets it dropped."""

    name: str
    mean: str
    p95: str
    peak: str
    dropped: str


@dataclass(frozen=True, slots=True)
class LinkStrip:
    """The links of a variant: its figure's name and height, its title, a sentence, and a row for each link."""

    name: str
    title: str
    says: str
    height: int
    rows: list[LinkRow]


@dataclass(frozen=True, slots=True)
class _Shares:
    """Of each link what was sent towards it, as a share of what it could carry, [links, intervals]; NaN while down."""

    names: list[str]
    share: NDArray[np.float64]
    mean: NDArray[np.float64]
    interval_ns: int


class LinkLoads:
    """What the page shows of links over time; empty where the forecast has no series."""

    def __init__(self, forecast: Forecast, cast: Cast) -> None:
        self._forecast = forecast
        self.places = Places(forecast)
        self.strips: list[LinkStrip] = []
        self.figures: dict[str, Figure] = {}
        self.interval_ns = 0
        for number, variant in enumerate(cast.variants):
            if variant in cast.shown and (found := self._shares(variant)) is not None:
                self._add(f"links-{number}", variant, found)

    @property
    def hidden(self) -> int:
        """How many links are left out of each strip."""
        return max(0, len(self.places.rates) - _MOST_LINKS)

    def _add(self, name: str, variant: Variant, found: _Shares) -> None:
        known = np.nan_to_num(found.share, nan=0.0)
        hottest = sorted(range(len(found.names)), key=lambda i: (-found.mean[i], -known[i].max(), i))[:_MOST_LINKS]
        if not hottest or not known.any():
            return
        dropped = self._of_seed(variant, "dropped")
        rows = []
        for i in hottest:
            up = found.share[i][~np.isnan(found.share[i])]
            p95, peak = (np.quantile(up, q, method="inverted_cdf") if len(up) else math.nan for q in (0.95, 1.0))
            lost = text.count(dropped[found.names[i]]) if found.names[i] in dropped else text.NO_VALUE
            mean, p95_words, peak_words = (text.percent(float(share)) for share in (found.mean[i], p95, peak))
            rows.append(LinkRow(found.names[i], mean, p95_words, peak_words, lost))
        self.interval_ns = found.interval_ns
        height = 24 * len(rows) + 110
        first = rows[0]
        says = f"hottest: {first.name}, mean {first.mean}, p95 {first.p95}, peak {first.peak}"
        self.strips.append(LinkStrip(name, variant.label, says, height, rows))
        self.figures[name] = _figure(found, hottest, self.places.events, height)

    def _shares(self, variant: Variant) -> _Shares | None:
        series = self._forecast.series.get(variant)
        rates, carries = self.places.rates, self._links_of_paths()
        if series is None or not len(series) or not carries:
            return None
        path, start, sent = (series[name].to_numpy() for name in ("path_id", "start_ns", "bytes"))
        interval_ns = int(series["interval_ns"][0].as_py())
        column = start // interval_ns
        names = [name for name in rates if rates[name] and any(name in those for those in carries.values())]
        if not names:
            return None
        places = {name: place for place, name in enumerate(names)}
        bits = np.zeros((len(names), int(column.max()) + 1))
        for one in np.unique(path):
            mine = path == one
            amount = np.bincount(column[mine], sent[mine], bits.shape[1]) * _NANOSECOND_BITS
            for name in carries.get(int(one), ()):
                if name in places:
                    bits[places[name]] += amount
        could = np.array([self._could(name, bits.shape[1], interval_ns) for name in names])
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(could > 0, bits / could, np.nan)
        carried = self._of_seed(variant, "utilisation")
        built = np.array([float(rates[name]) for name in names]) * bits.shape[1] * interval_ns
        mean = np.array(
            [carried.get(name, offered) for name, offered in zip(names, bits.sum(axis=1) / built, strict=True)]
        )
        return _Shares(names, share, mean, interval_ns)

    def _links_of_paths(self) -> Mapping[int, Sequence[str]]:
        return {
            path.get("path_id", -1): path.get("links") or []
            for path in self._forecast.section("network").get("paths") or []
        }

    def _could(self, name: str, intervals: int, interval_ns: int) -> NDArray[np.float64]:
        """What a link could carry in each interval, in nanobits, after what events leave of its rate."""
        ends = np.arange(intervals + 1) * interval_ns
        could = np.zeros(intervals)
        changes = [c for c in self._forecast.section("network").get("changes") or [] if c.get("link") == name]
        times = [0, *(int(change.get("at_ns") or 0) for change in changes)]
        rates = [self.places.rates[name], *(change.get("rate_bps") or 0 for change in changes)]
        for begin, end, rate in zip(times, [*times[1:], int(ends[-1])], rates, strict=True):
            could += float(rate) * np.clip(np.minimum(ends[1:], end) - np.maximum(ends[:-1], begin), 0, None)
        return could

    def _of_seed(self, variant: Variant, column: str) -> dict[str, Any]:
        """A column of `links` by link, of the seed that the series is of; nothing where a link has no value."""
        seed = self._forecast.series[variant]["seed"][0].as_py()
        rows = self._forecast.links.get(variant, ())
        return {row["name"]: row[column] for row in rows if row["seed"] == seed and row[column] is not None}


def _figure(found: _Shares, chosen: Sequence[int], events: Sequence[Event], height: int) -> Figure:
    """The strip: a row per link, the hottest on top; a column is the highest of the intervals joined in it."""
    share = found.share[list(chosen)]
    joined = max(1, math.ceil(share.shape[1] / _MOST_COLUMNS))
    padded = np.pad(share, ((0, 0), (0, -share.shape[1] % joined)), constant_values=np.nan)
    parts = padded.reshape(len(chosen), -1, joined)
    down: NDArray[np.bool_] = np.all(np.isnan(parts), axis=2)
    highest = np.where(down, np.nan, np.nan_to_num(parts, nan=0.0).max(axis=2))
    until_ns = share.shape[1] * found.interval_ns
    scale, unit = time_unit(until_ns)
    step = joined * found.interval_ns / scale
    names = [label(found.names[i]) for i in chosen]
    ticks = [label(_brief(found.names[i])) for i in chosen]
    most = max(float(np.nanmax(highest, initial=0.0)), 0.01)
    top = 1.0 if most > 0.5 else most
    along = {"x0": step / 2, "dx": step, "y": names, "ygap": 1}
    data: list[dict[str, Any]] = [
        {
            "type": "heatmap",
            **along,
            "z": [short(100 * row, 3) for row in highest],
            "zmin": 0,
            "zmax": 100 * top,
            "colorscale": [[place / (len(HEAT) - 1), colour] for place, colour in enumerate(HEAT)],
            "colorbar": _bar(top),
            "hovertemplate": f"%{{y}}, at %{{x:.4~g}} {unit}: %{{z:.3~r}} %<extra></extra>",
            "hoverongaps": False,
        }
    ]
    if down[:, : max(1, share.shape[1] // joined)].any():
        grey = [[0, DOWN], [1, DOWN]]
        data.append(
            {"type": "heatmap", **along, "z": [[1 if cell else None for cell in row] for row in down.tolist()]}
            | {"colorscale": grey, "showscale": False, "hovertemplate": "down<extra></extra>", "hoverongaps": False}
        )
    within = [event for event in events if event.at_ns < until_ns]
    lines = [
        {"type": "line", "x0": event.at_ns / scale, "x1": event.at_ns / scale, "yref": "paper", "y0": 0, "y1": 1}
        | {"line": {"color": INK, "width": 1.6, "dash": "dot"}}
        for event in within[:_MOST_EVENTS]
    ]
    notes = [
        {"x": event.at_ns / scale, "yref": "paper", "y": 1, "yanchor": "bottom", "showarrow": False}
        | {"xanchor": "left" if event.at_ns < until_ns / 2 else "right", "yshift": 18 * (place % 2)}
        | {"text": label(text.typeset(event.words)), "font": {"size": 14, "color": INK}}
        for place, event in enumerate(within[:_MOST_LABELS])
    ]
    return {
        "data": data,
        "layout": layout(
            xaxis=axis(f"time ({unit})", range=[0, until_ns / scale], nticks=6, showgrid=False),
            yaxis=axis(
                "",
                type="category",
                range=[len(chosen) - 0.5, -0.5],
                tickvals=names,
                ticktext=ticks,
                showgrid=False,
            ),
            shapes=lines,
            annotations=notes,
            height=height,
            margin={"l": 10, "r": 10, "t": 14 + (22 if len(notes) == 1 else 40 if notes else 0), "b": 10},
        ),
    }


def _bar(top: float) -> dict[str, Any]:
    ticks = [top * part / 4 for part in range(5)]
    return {
        "thickness": 12,
        "outlinewidth": 0,
        "tickvals": [100 * tick for tick in ticks],
        "ticktext": [text.typeset(text.percent(tick)) for tick in ticks],
        "tickfont": {"size": 14, "color": MUTED},
    }


def _brief(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
