"""The figure of a plan: a budget's metric along the axis, policy by policy, with the budget and the edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from segcast.analyzer.plan.axes import Axis
from segcast.analyzer.plan.document import StatedEdge
from segcast.analyzer.plan.words import name_of, value_words
from segcast.analyzer.slo import Budget
from segcast.reports import text
from segcast.reports.forecast.figures import short
from segcast.reports.style import COLOURS, DASHES, INK, MUTED, Figure, axis, label, layout, log_axis


def colour_of(number: int) -> str:
    """The colour of the policy at that place of the order."""
    return COLOURS[number % len(COLOURS)]


def curve(
    along: Axis, edges: Sequence[StatedEdge], budget: Budget, unit: Callable[[float | None], str], title: str
) -> Figure:
    """Lines of the means over seeds; a dashed line is the budget, diamonds are the edges."""
    values = [figure for edge in edges for probe in edge.probes if (figure := probe.figures[budget.metric]) is not None]
    places = [probe.value for edge in edges for probe in edge.probes]
    logarithmic = all(value > 0 for value in values) and budget.limit > 0
    data: list[dict[str, Any]] = []
    for number, edge in enumerate(edges):
        points = [(probe, probe.figures[budget.metric]) for probe in edge.probes]
        known = [(probe, figure) for probe, figure in points if figure is not None]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": label(name_of(edge)),
                "x": short(probe.value for probe, _ in known),
                "y": short((figure for _, figure in known), 6),
                "text": [
                    label(text.typeset(f"{value_words(along, p.value)}: {unit(figure)}, {p.seeds} seeds, {p.verdict}"))
                    for p, figure in known
                ],
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
                "line": {
                    "color": colour_of(number),
                    "width": 2.2,
                    "dash": DASHES[number // len(COLOURS) % len(DASHES)],
                },
                "marker": {"size": 6},
            }
        )
        if edge.value is not None and edge.binding == budget.text:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": label(f"edge of {name_of(edge)}"),
                    "x": [edge.value],
                    "y": [budget.limit],
                    "error_x": _reach(edge, colour_of(number)),
                    "marker": {"symbol": "diamond", "size": 12, "color": colour_of(number), "line": {"color": INK}},
                    "hovertemplate": f"{label(text.typeset(value_words(along, edge.value)))}"
                    "<extra>%{fullData.name}</extra>",
                }
            )
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": budget.limit, "y1": budget.limit}
    line |= {"line": {"color": MUTED, "width": 1.6, "dash": "dash"}}
    name = along.noun
    x_axis = (
        axis(name)
        if along.whole
        else log_axis(name, min(places), max(places), lambda v: along.write(float(f"{v:.3g}")))
    )
    if logarithmic:
        y_axis = log_axis(title, min([*values, budget.limit]), max([*values, budget.limit]), unit)
    else:
        y_axis = axis(title, rangemode="tozero")
    return {"data": data, "layout": layout(xaxis=x_axis, yaxis=y_axis, shapes=[line])}


def _reach(edge: StatedEdge, colour: str) -> dict[str, Any]:
    low = edge.low if edge.traffic_low is None else edge.traffic_low
    high = edge.high if edge.traffic_high is None else edge.traffic_high
    if edge.value is None or low is None or high is None:
        return {"visible": False}
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(high - edge.value, 0)],
        "arrayminus": [max(edge.value - low, 0)],
        "color": colour,
        "thickness": 2,
    }
