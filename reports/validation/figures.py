"""The figures of a validation: rows of its tables in, plotly figures (as JSON-ready dicts) out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from segcast.reports import text
from segcast.reports.forecast.figures import short
from segcast.reports.style import COLOURS, INK, MARKERS, MUTED, Figure, axis, label, layout, log_axis

SOURCES: Final = {
    "measured": {"color": INK, "width": 2.6, "dash": "solid"},
    "as-sent": {"color": COLOURS[0], "width": 2, "dash": "dash"},
    "forecast": {"color": COLOURS[1], "width": 2, "dash": "dot"},
}
WORDS: Final = {"measured": "measured", "as-sent": "forecast as sent", "forecast": "forecast as planned"}

Rows = Sequence[dict[str, Any]]


def cdf(rows: Rows) -> Figure:
    """Measured and predicted delays of one path: the share of packets received within a delay."""
    data = []
    for source, line in SOURCES.items():
        points = [row for row in rows if row["source"] == source]
        hover = [
            f"{text.typeset(text.percent(p['quantile']))} within {text.typeset(text.duration(p['delay_ns']))}"
            for p in points
        ]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": WORDS[source],
                "line": line,
                "x": short(max(point["delay_ns"], 1) for point in points),
                "y": short((point["quantile"] for point in points), 6),
                "text": hover,
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
            }
        )
    values = [max(row["delay_ns"], 1) for row in rows] or [1e3, 1e6]
    y_axis = axis("", range=[0, 1.01], tickvals=[0, 0.5, 0.99], ticktext=["0", "50 %", "99 %"])
    x_axis = log_axis("one-way delay", min(values), max(values), text.duration)
    return {"data": data, "layout": layout(xaxis=x_axis, yaxis=y_axis, height=230)}


def agreement(rows: Rows, policies: Sequence[str]) -> Figure:
    """Predicted against measured delay of every path: on the line they agree. p50 is open, p99 filled."""
    kept = [
        row
        for row in rows
        if row["path_id"] is not None and row["metric"].startswith("delay") and row["error"] is not None
    ]
    data = []
    for number, policy in enumerate(policies):
        for metric, filled in (("delay_p50_ns", False), ("delay_p99_ns", True)):
            points = [row for row in kept if row["policy"] == policy and row["metric"] == metric]
            words = [
                f"path {p['path_id']}: {text.duration(p['predicted'])} predicted, {text.duration(p['measured'])} found"
                for p in points
            ]
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": label(f"{policy}, {metric.split('_')[1]}"),
                    "x": short(max(point["predicted"], 1) for point in points),
                    "y": short(max(point["measured"], 1) for point in points),
                    "text": [label(text.typeset(line)) for line in words],
                    "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
                    "marker": {
                        "symbol": MARKERS[number % len(MARKERS)] + ("" if filled else "-open"),
                        "size": 10,
                        "color": COLOURS[number % len(COLOURS)],
                    },
                }
            )
    values = [max(row[side], 1) for row in kept for side in ("predicted", "measured")] or [1e3, 1e6]
    low, high = min(values), max(values)
    line = {"type": "line", "x0": low / 2, "x1": high * 2, "y0": low / 2, "y1": high * 2}
    line |= {"line": {"color": MUTED, "width": 1.2}, "layer": "below"}
    axes = (log_axis(f"{side} delay", low, high, text.duration) for side in ("predicted", "measured"))
    return {"data": data, "layout": layout(xaxis=next(axes), yaxis=next(axes), shapes=[line])}


def shares(rows: Rows, metric: str, title: str) -> Figure:
    """A share of packets (loss, reordering): measured, as sent and as planned, side by side."""
    kept = [
        row for row in rows if row["metric"] == metric and (row["path_id"] is not None or metric == "reordered_ratio")
    ]
    places = list(dict.fromkeys((row["policy"], row["path_id"]) for row in kept))
    names = [policy if path is None else f"{policy} {path}" for policy, path in places]

    def values(comparison: str, side: str) -> list[float | None]:
        of = {(row["policy"], row["path_id"]): row[side] for row in kept if row["comparison"] == comparison}
        return [None if of.get(place) is None else 100 * of[place] for place in places]

    bars = (
        ("measured", values("as-sent", "measured")),
        ("as-sent", values("as-sent", "predicted")),
        ("forecast", values("end-to-end", "predicted")),
    )
    data = [
        {
            "type": "bar",
            "name": WORDS[source],
            "x": list(range(len(places))),
            "y": short(of or 0 for of in found),
            "text": [label(name) for name in names],
            "textposition": "none",
            "hovertemplate": "%{text}: %{y:.3~g} %<extra>%{fullData.name}</extra>",
            "marker": {"color": SOURCES[source]["color"]},
        }
        for source, found in bars
    ]
    x_axis = axis("", tickvals=list(range(len(places))), ticktext=[label(name) for name in names], showgrid=False)
    return {"data": data, "layout": layout(xaxis=x_axis, yaxis=axis(title, rangemode="tozero"), barmode="group")}


def gap_errors(rows: Rows) -> Figure:
    """How far gaps between departures are from those planned, by sender."""
    quantiles = (("p50", "circle-open"), ("p99", "circle"), ("max", "line-ew-open"))
    kept = [row for row in rows if row["gap_error_max_ns"]]

    def points(name: str) -> Iterable[float]:
        return (max(row[f"gap_error_{name}_ns"], 1) for row in kept)

    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": list(range(len(kept))),
            "y": short(points(name)),
            "text": [
                label(text.typeset(f"{row['policy']}, {row['host']}: {text.duration(row[f'gap_error_{name}_ns'])}"))
                for row in kept
            ],
            "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
            "marker": {"symbol": symbol, "size": 10, "color": COLOURS[0], "line": {"width": 2}},
        }
        for name, symbol in quantiles
    ]
    everything = [value for name, _ in quantiles for value in points(name)] or [1e2, 1e5]
    y_axis = log_axis("error of a gap", min(everything), max(everything), text.duration)
    ticks = [label(row["host"]) for row in kept]
    x_axis = axis("sender", tickvals=list(range(len(kept))), ticktext=ticks, showgrid=False)
    return {"data": data, "layout": layout(xaxis=x_axis, yaxis=y_axis)}


def worded(metric: str) -> Callable[[float | None], str]:
    """How values of a metric are written."""
    return text.duration if metric.endswith("_ns") else text.percent
