"""The figures of advice: gains over timeouts with their intervals, and how many bytes could move against the skew."""

from __future__ import annotations

import math
from typing import Any

from segcast.analyzer.advice.document import AdviceDocument, Tried
from segcast.reports import text
from segcast.reports.forecast.figures import short
from segcast.reports.style import (
    COLOURS,
    DASH_ARRAYS,
    DASHES,
    INK,
    MUTED,
    Figure,
    axis,
    label,
    layout,
    linear_ticks,
    log_axis,
)
from segcast.traces.units import say_duration

_LEAST_NS = 1000


def gains(advice: AdviceDocument) -> Figure:
    """Change against ecmp by timeout, a line for each flowlet policy; level lines for what has no timeout."""
    compared = [one for one in advice.evidence.tried if one.change is not None and one.role != "baseline"]
    timed: dict[str, list[Tried]] = {}
    for one in compared:
        if one.timeout_ns:
            timed.setdefault(one.policy, []).append(one)
    level = [one for one in compared if not one.timeout_ns]
    places = [one.timeout_ns or 0 for own in timed.values() for one in own] or [_LEAST_NS]
    data = [
        _line(policy, sorted(own, key=lambda one: one.timeout_ns or 0), COLOURS[number % len(COLOURS)])
        for number, (policy, own) in enumerate(timed.items())
    ]
    data += [_level(one, (min(places), max(places)), len(timed) + number) for number, one in enumerate(level)]
    ends = [end for one in compared for end in (one.change, one.low, one.high) if end is not None] or [0.0]
    ticks = linear_ticks(min(*ends, 0.0), max(*ends, 0.0))
    zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 0, "y1": 0, "line": {"color": INK, "width": 1}}
    return {
        "data": data,
        "layout": layout(
            xaxis=log_axis("flowlet timeout", min(places), max(places), text.duration),
            yaxis=axis(
                "change against ecmp", tickvals=ticks, ticktext=[text.typeset(text.change(tick)) for tick in ticks]
            ),
            shapes=[zero],
        ),
    }


def legend(figure: Figure) -> list[tuple[str, str, str]]:
    """Name, colour and dash of each line of a figure."""
    return [
        (trace["name"], trace["line"]["color"], DASH_ARRAYS[DASHES.index(trace["line"].get("dash", "solid"))])
        for trace in figure["data"]
    ]


def _line(policy: str, own: list[Tried], colour: str) -> dict[str, Any]:
    change = [one.change or 0.0 for one in own]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(policy),
        "x": [one.timeout_ns for one in own],
        "y": short(change, 6),
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": short(((c if one.high is None else one.high) - c for one, c in zip(own, change, strict=True)), 6),
            "arrayminus": short(
                (c - (c if one.low is None else one.low) for one, c in zip(own, change, strict=True)), 6
            ),
            "color": colour,
        },
        "text": [
            label(
                text.typeset(
                    f"{policy}, {text.duration(one.timeout_ns)}: {text.change(one.change)}, "
                    f"{text.percent(one.reordered)} reordered, {one.standing}"
                )
            )
            for one in own
        ],
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": colour, "width": 2.2},
        "marker": {"size": 9, "symbol": ["circle" if one.standing == "better" else "circle-open" for one in own]},
    }


def _level(one: Tried, ends: tuple[int, int], number: int) -> dict[str, Any]:
    name = label(one.policy if one.timeout is None else f"{one.policy}, {one.timeout}")
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": list(ends),
        "y": [one.change, one.change],
        "line": {"color": COLOURS[number % len(COLOURS)], "width": 2, "dash": DASHES[1 + number % (len(DASHES) - 1)]},
        "hovertemplate": f"{name}: {label(text.typeset(text.change(one.change)))}<extra></extra>",
    }


def gaps(advice: AdviceDocument) -> Figure:
    """The share of bytes that could move at each timeout, and the skews as upright lines."""
    supply, skew = advice.evidence.supply, advice.evidence.skew
    places = [each.timeout_ns for each in supply if each.timeout_ns > 0] or [_LEAST_NS]
    skews = [("empty", skew.base_ns), ("p50", skew.p50_ns), ("p99", skew.p99_ns)]
    drawn = [(name, value) for name, value in skews if value is not None and value >= _LEAST_NS]
    lines = [
        {
            "type": "line",
            "yref": "paper",
            "x0": value,
            "x1": value,
            "y0": 0,
            "y1": 1,
            "line": {"color": MUTED, "width": 1.6, "dash": "dash"},
        }
        for _, value in drawn
    ]
    notes = [
        {
            "x": math.log10(value),
            "y": 1 - 0.12 * place,
            "yref": "paper",
            "text": label(f"skew {name}"),
            "showarrow": False,
            "xanchor": "left",
            "font": {"color": MUTED},
        }
        for place, (name, value) in enumerate(drawn)
    ]
    low, high = min([*places, *(v for _, v in drawn)]), max([*places, *(v for _, v in drawn)])
    own = [each for each in supply if each.timeout_ns > 0]
    curves = [
        ("bytes that could move", [each.movable for each in own]),
        ("packets slower by more", [each.overtaken or 0.0 for each in own]),
    ]
    ticks = linear_ticks(0.0, max(value for _, values in curves for value in [*values, 0.01]))
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": label(name),
                "x": [each.timeout_ns for each in own],
                "y": short(values, 6),
                "text": [
                    label(text.typeset(f"{say_duration(e.timeout_ns)}: {text.percent(v)}"))
                    for e, v in zip(own, values, strict=True)
                ],
                "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
                "line": {"color": COLOURS[number], "width": 2.2, "dash": DASHES[number]},
            }
            for number, (name, values) in enumerate(curves)
        ],
        "layout": layout(
            xaxis=log_axis("flowlet timeout", low, high, text.duration),
            yaxis=axis(
                "share",
                rangemode="tozero",
                tickvals=ticks,
                ticktext=[text.typeset(text.percent(tick)) for tick in ticks],
            ),
            shapes=lines,
            annotations=notes,
        ),
    }
