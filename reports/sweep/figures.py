"""The figures of a sweep: what decides, along one of the dimensions, policy by policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from segcast.reports import text
from segcast.reports.forecast.figures import short
from segcast.reports.style import COLOURS, DASHES, Figure, axis, label, layout, log_axis


def panel(
    along: tuple[str, Sequence[str]],
    lines: Sequence[str],
    points: Sequence[tuple[str, str, float]],
    metric: tuple[str, Callable[[float | None], str]],
    values: Sequence[float],
) -> Figure:
    """Lines over the values of a dimension; `values` are those of all panels, which share their axis."""
    (name, order), (title, unit) = along, metric
    data = []
    for number, line in enumerate(lines):
        own = {value: figure for who, value, figure in points if who == line}
        there = [value for value in order if value in own]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": label(line),
                "x": [label(text.typeset(value)) for value in there],
                "y": short((own[value] for value in there), 6),
                "text": [label(text.typeset(f"{value}: {unit(own[value])}")) for value in there],
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
                "line": {
                    "color": COLOURS[number % len(COLOURS)],
                    "width": 2.2,
                    "dash": DASHES[number % len(DASHES)],
                },
                "marker": {"size": 7},
            }
        )
    ticks = [label(text.typeset(value)) for value in order]
    x_axis = axis(name, type="category", categoryorder="array", categoryarray=ticks)
    if values and min(values) > 0:
        y_axis = log_axis(title, min(values), max(values), unit)
    else:
        y_axis = axis(title, rangemode="tozero")
    return {"data": data, "layout": layout(xaxis=x_axis, yaxis=y_axis)}
