"""The figures of a report: tables of a forecast in, plotly figures (as JSON-ready dicts) out; nothing else happens.

A trace that belongs to a variant carries its number in `meta.variant`, so that the page can show and hide variants in
all figures at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from segcast.reports import text
from segcast.reports.forecast.data import Forecast, Variant
from segcast.reports.style import (
    COLOURS,
    DASHES,
    GRID,
    INK,
    MARKERS,
    MUTED,
    Figure,
    Look,
    axis,
    label,
    layout,
    log_axis,
    looks,
    widened,
)
from segcast.traces.units import say_duration

MOST_INTERVALS: Final = 120
MOST_LINES: Final = 6


@dataclass(frozen=True)
class Cast:
    """The variants of a report in order, how each is drawn and which are shown at first."""

    variants: Sequence[Variant]
    looks: Mapping[Variant, Look]
    shown: frozenset[Variant]

    @classmethod
    def of(cls, forecast: Forecast) -> Cast:
        """Those of a forecast that are drawn; all have a look, so that a policy has one colour on the whole page."""
        drawn = forecast.drawn
        policies = list(dict.fromkeys(v.policy for v in forecast.variants))
        found = looks(forecast.variants, forecast.baseline, policies) | looks(drawn, forecast.baseline, policies)
        return cls(drawn, found, frozenset(forecast.shown))

    @cached_property
    def numbers(self) -> Mapping[Variant, int]:
        """The place of each variant."""
        return {variant: number for number, variant in enumerate(self.variants)}

    def common(self, variant: Variant) -> dict[str, Any]:
        """What every trace of a variant carries."""
        return {
            "type": "scatter",
            "name": label(text.typeset(variant.label)),
            "meta": {"variant": self.numbers[variant]},
            "visible": variant in self.shown,
        }

    def line(self, variant: Variant, **changes: Any) -> dict[str, Any]:
        """A trace in the look of a variant: a line with a few markers."""
        look = self.looks[variant]
        return {
            **self.common(variant),
            "mode": "lines+markers",
            "line": {"color": look.colour, "dash": look.dash, "width": 2.2},
            "marker": {"symbol": look.marker, "size": 8, "color": look.colour, "maxdisplayed": 7},
            **changes,
        }

    def band(self, variant: Variant, x: list[float | None], y: list[float | None]) -> dict[str, Any]:
        """A light area in the colour of a variant."""
        return {
            **self.common(variant),
            "mode": "lines",
            "x": x,
            "y": y,
            "fill": "toself",
            "fillcolor": translucent(self.looks[variant].colour, 0.13),
            "line": {"width": 0},
            "hoverinfo": "skip",
        }


def translucent(colour: str, opacity: float) -> str:
    """A `#rrggbb` colour with an opacity."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def short(values: Any, digits: int = 4) -> list[float | None]:
    """Numbers to a few significant digits, which keeps the page small; what is not finite becomes None."""
    return [float(f"{v:.{digits}g}") if v is not None and math.isfinite(v) else None for v in values]


@dataclass(frozen=True, slots=True)
class Load:
    """Bytes sent into a group's paths over time, for one variant: `bps` has a row per path, a column per interval."""

    path_ids: list[int]
    interval_ns: int
    bps: np.ndarray[Any, np.dtype[np.float64]]
    dropped: np.ndarray[Any, np.dtype[np.int64]]
    bytes: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def share_max(self) -> float | None:
        """The busiest path's part of all bytes."""
        total = int(self.bytes.sum())
        return int(self.bytes.max()) / total if total else None


def load(series: Any, group: int, path_ids: Sequence[int] = (), most: int = MOST_INTERVALS) -> Load | None:
    """The series of one variant and group on a dense grid, neighbours joined to at most `most` intervals.

    `path_ids` names the group's paths, so that an idle one counts as zero; None if nothing was sent.
    """
    rows = series.filter(np.asarray(series["group"]) == group)
    if not len(rows):
        return None
    path, start, sent, lost = (rows[n].to_numpy() for n in ("path_id", "start_ns", "bytes", "dropped"))
    interval_ns = int(rows["interval_ns"][0].as_py())
    ids = sorted({*path.tolist(), *path_ids})
    column = start // interval_ns
    joined = max(1, math.ceil((int(column.max()) + 1) / most))
    shape = (len(ids), int(column.max()) // joined + 1)
    place = (np.searchsorted(ids, path), column // joined)
    sent_bytes, drops = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    np.add.at(sent_bytes, place, sent.astype(np.int64))
    np.add.at(drops, place, lost.astype(np.int64))
    interval_ns *= joined
    return Load(ids, interval_ns, sent_bytes * 8e9 / interval_ns, drops, sent_bytes.sum(axis=1))


def load_panel(
    found: Load,
    top_bps: float,
    rates_bps: Sequence[float],
    until_ns: int,
    names: Sequence[str] = (),
    at_ns: Sequence[int] = (),
) -> Figure:
    """One panel of path load over time: a line per path, or with many paths their envelope and mean.

    `top_bps` and `until_ns` end the axes, the same for all panels; drops are crosses on the path that lost them. Each
    of the rates of the paths within the axis is a dotted line, upright ones are at the times `at_ns` of events. `names`
    are those of the paths, `path 0` and so on unless given.
    """
    names = [label(name) for name in names] or [f"path {path}" for path in found.path_ids]
    scale, unit = text.rate_unit(top_bps)
    time_scale, unit_of_time = time_unit(until_ns)
    step = found.interval_ns / time_scale
    hover = f"%{{x:.4~g}} {unit_of_time}: %{{y:.3~g}} {unit}<extra>%{{fullData.name}}</extra>"
    base = {"type": "scatter", "mode": "lines", "x0": step / 2, "dx": step, "hovertemplate": hover}
    data: list[dict[str, Any]] = []
    if len(found.path_ids) <= MOST_LINES:
        lines = [(name, found.bps[i], path_line(i)) for i, name in enumerate(names)]
    else:
        least, most = found.bps.min(axis=0) / scale, found.bps.max(axis=0) / scale
        times = short((np.arange(len(least)) + 0.5) * step, 6)
        area = {"x": [*times, *reversed(times)], "y": [*short(most), *reversed(short(least))]}
        fill = {"fill": "toself", "fillcolor": translucent(COLOURS[0], 0.25), "line": {"width": 0}}
        data.append({"type": "scatter", "mode": "lines", "hoverinfo": "skip", **area, **fill})
        lines = [
            ("busiest path", found.bps.max(axis=0), {"color": COLOURS[0], "width": 1.6}),
            ("mean of paths", found.bps.mean(axis=0), {"color": INK, "width": 1.6, "dash": "dash"}),
        ]
    data += [{**base, "name": name, "y": short(values / scale), "line": line} for name, values, line in lines]
    losses = np.argwhere(found.dropped > 0)
    if len(losses):
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "dropped",
                "x": short((losses[:, 1] + 0.5) * step, 6),
                "y": short(found.bps[losses[:, 0], losses[:, 1]] / scale),
                "text": [f"{names[i]}: {text.count(found.dropped[i, j])} dropped" for i, j in losses],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"symbol": "x-thin", "size": 7, "color": INK, "line": {"width": 1.4, "color": INK}},
            }
        )
    dotted = {"type": "line", "line": {"color": MUTED, "width": 1.4, "dash": "dot"}, "x0": 0, "x1": 1, "xref": "paper"}
    shapes = [{**dotted, "y0": rate / scale, "y1": rate / scale} for rate in rates_bps if rate <= top_bps]
    upright = {"type": "line", "line": {"color": INK, "width": 1.4, "dash": "dot"}, "y0": 0, "y1": 1, "yref": "paper"}
    shapes += [{**upright, "x0": at / time_scale, "x1": at / time_scale} for at in at_ns if at < until_ns]
    x_axis = axis(f"time ({unit_of_time})", range=[0, until_ns / time_scale], nticks=5)
    y_axis = axis(unit, range=[0, top_bps / scale * 1.06], nticks=5)
    return {"data": data, "layout": layout(xaxis=x_axis, yaxis=y_axis, shapes=shapes, height=230)}


def path_line(place: int) -> dict[str, Any]:
    """How the path at a place of its group is drawn."""
    return {"color": COLOURS[place % len(COLOURS)], "dash": DASHES[place % len(DASHES)], "width": 1.8}


def time_unit(span_ns: float) -> tuple[float, str]:
    """The scale and unit in which to draw times up to `span_ns`."""
    units = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"))
    return next(((scale, unit) for scale, unit in units if span_ns >= 2 * scale), (1.0, "ns"))


def profile_flowlets(profile: Sequence[dict[str, Any]]) -> Figure:
    """Flowlets against the timeout, with the number of flows as the floor they fall to."""
    times = [row["timeout_ns"] for row in profile]
    counts = [row["flowlets"] for row in profile]
    flows = max((row["flows"] for row in profile), default=0)
    words = [
        f"{text.typeset(say_duration(t))}: {text.count(row['flowlets'])} flowlets, "
        f"{text.count(row['never_split'])} of {text.count(row['flows'])} flows never split"
        for t, row in zip(times, profile, strict=True)
    ]
    line = {"color": COLOURS[0], "width": 2.2}
    marker = {"symbol": "circle", "size": 8, "color": COLOURS[0]}
    trace = {"type": "scatter", "mode": "lines+markers", "name": "flowlets", "x": times, "y": counts}
    floor = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": flows, "y1": flows}
    note = {"text": f"{text.count(flows)} flows", "xref": "paper", "x": 0.01, "xanchor": "left", "yanchor": "bottom"}
    note |= {"y": math.log10(max(flows, 1)), "showarrow": False, "font": {"size": 15, "color": MUTED}}
    low, high = max(min([*counts, flows], default=1), 1), max([*counts, flows, 1])
    return {
        "data": [{**trace, "line": line, "marker": marker, "text": words, "hovertemplate": "%{text}<extra></extra>"}],
        "layout": layout(
            xaxis=_timeout_axis(times),
            yaxis=log_axis("flowlets", low, high * 1.3, text.count),
            shapes=[{**floor, "line": {"color": MUTED, "width": 1.4, "dash": "dot"}}],
            annotations=[note],
        ),
    }


def profile_packets(profile: Sequence[dict[str, Any]]) -> Figure:
    """Packets per flowlet against the timeout: median, mean, p90, p99 and the largest."""
    times = [row["timeout_ns"] for row in profile]
    data, known = [], [1.0]
    curves = (("max", "largest"), ("p99", "p99"), ("p90", "p90"), ("mean", "mean"), ("p50", "median"))
    for place, (column, name) in enumerate(curves):
        values = [row[f"packets_{column}"] for row in profile]
        known += [v for v in values if v is not None]
        words = [f"{text.typeset(say_duration(t))}: {text.plain(v)}" for t, v in zip(times, values, strict=True)]
        colour = COLOURS[place]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": times,
                "y": short(None if v is None else max(v, 1e-9) for v in values),
                "text": words,
                "hovertemplate": "%{text} packets<extra>%{fullData.name}</extra>",
                "line": {"color": colour, "dash": DASHES[place], "width": 2.2},
                "marker": {"symbol": MARKERS[place], "size": 8, "color": colour},
            }
        )
    legend = {
        "orientation": "h",
        "x": 0,
        "y": 1.02,
        "yanchor": "bottom",
        "font": {"size": 15},
        "traceorder": "reversed",
    }
    y_axis = log_axis("packets per flowlet", 1, max(known), text.count)
    return {"data": data, "layout": layout(xaxis=_timeout_axis(times), yaxis=y_axis, showlegend=True, legend=legend)}


def _timeout_axis(times: Sequence[int]) -> dict[str, Any]:
    low, high = widened(max(min(times, default=1_000), 1), max([*times, 1]))
    return log_axis("flowlet timeout", low, high, text.duration, gridcolor=GRID)
