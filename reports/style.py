"""How figures look: colours, dashes and markers per policy and timeout, axes with readable ticks, the shared layout.

Colours are those of Okabe and Ito (2008), told apart under every common colour blindness; what they tell is told by
dash and marker as well. A figure is plotly's own JSON as a dict: checking each property as graph objects do costs more
than drawing (the tests check them).
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from segcast.reports import text
from segcast.reports.forecast.data import Variant

Figure = dict[str, Any]

INK: Final = "#1f2933"
MUTED: Final = "#52606d"
GRID: Final = "#e4e7eb"
PAPER: Final = "#ffffff"
AXIS: Final = "#9aa5b1"
HEAT: Final = ("#fff7ec", "#fdd49e", "#fc8d59", "#d7301f", "#7f0000")
DOWN: Final = "#c3cad1"
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

BASELINE_COLOUR: Final = "#000000"
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# What each colour is on a dark screen: as far from the page as it is on a bright one.
DARK: Final = {
    PAPER: "#14181d",
    INK: "#e6eaee",
    MUTED: "#aab5c0",
    GRID: "#2c343c",
    AXIS: "#5b6773",
    DOWN: "#4a545e",
    BASELINE_COLOUR: "#ffffff",
    **dict(zip(COLOURS, ("#4aa3df", "#ff8a3d", "#2bc79a", "#e79cc4", "#ffbf3f", "#a5dcff"), strict=True)),
    **dict(zip(HEAT, ("#1b2127", "#4f2e17", "#a34e22", "#f08a3c", "#ffe0b0"), strict=True)),
}
DASHES: Final = ("solid", "dash", "dot", "dashdot", "longdash", "10px,3px,2px,3px,2px,3px")
MARKERS: Final = ("circle", "square", "triangle-up", "diamond", "cross", "star", "x")

# The same dashes and markers as the legend of the page draws them.
DASH_ARRAYS: Final = ("", "7 4", "2 3", "7 3 2 3", "12 4", "10 3 2 3 2 3")
MARKER_SHAPES: Final = (
    "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z",
    "M-4,-4H4V4H-4Z",
    "M-5,4H5L0,-5Z",
    "M0,-6L5,0L0,6L-5,0Z",
    "M-5,-2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
    "M0,-6L1.8,-2L6,-1.8L2.8,1L4,5.2L0,2.8L-4,5.2L-2.8,1L-6,-1.8L-1.8,-2Z",
    "M-5,-3L-3,-5L0,-2L3,-5L5,-3L2,0L5,3L3,5L0,2L-3,5L-5,3L-2,0Z",
)


@dataclass(frozen=True, slots=True)
class Look:
    """How a variant is drawn: policy by colour and marker, timeout by dash."""

    colour: str
    dash: str
    dash_array: str
    marker: str
    marker_shape: str


def looks(
    variants: Sequence[Variant], baseline: Variant | None, among: Sequence[str] | None = None
) -> dict[Variant, Look]:
    """A look per variant; the baseline is black, a timeout has the same dash under every policy.

    `among` are the policies in order, those of the variants unless given.
    """
    given = dict.fromkeys(v.policy for v in variants) if among is None else among
    policies = [policy for policy in given if baseline is None or policy != baseline.policy]
    timeouts = sorted({(v.rule or "", v.timeout_ns or 0, v.load) for v in variants if v.beside})
    found = {}
    for variant in variants:
        rank = policies.index(variant.policy) if variant.policy in policies else -1
        colour = COLOURS[rank % len(COLOURS)] if rank >= 0 else BASELINE_COLOUR
        beside = (variant.rule or "", variant.timeout_ns or 0, variant.load)
        line = timeouts.index(beside) % len(DASHES) if variant.beside else 0
        point = (rank + 1) % len(MARKERS)
        found[variant] = Look(colour, DASHES[line], DASH_ARRAYS[line], MARKERS[point], MARKER_SHAPES[point])
    return found


def label(content: str) -> str:
    """Text for a figure, with no markup of its own."""
    return html.escape(content, quote=False)


def layout(**changes: Any) -> dict[str, Any]:
    """The layout that all figures share, with `changes` on top."""
    return {
        "font": {"family": FONT, "size": 15, "color": INK},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"l": 10, "r": 22, "t": 14, "b": 10},
        "height": 340,
        "showlegend": False,
        "hovermode": "closest",
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": MUTED, "font": {"size": 15, "color": INK}},
        **changes,
    }


def axis(title: str, **changes: Any) -> dict[str, Any]:
    """An axis with a title and room made for its labels; no zoom, so that a drag on a phone scrolls."""
    return {
        "title": {"text": label(title), "standoff": 10, "font": {"size": 15, "color": MUTED}},
        "automargin": True,
        "fixedrange": True,
        "gridcolor": GRID,
        "zeroline": False,
        "showline": True,
        "linecolor": AXIS,
        "ticks": "outside",
        "tickcolor": AXIS,
        "ticklen": 4,
        "tickangle": 0,
        "ticklabeloverflow": "allow",
        **changes,
    }


def fitted(name: str, fit: dict[str, Any], whole: dict[str, Any], around: dict[str, Any]) -> dict[str, Any]:
    """A layout whose axis `name` fits what is shown at first; the page takes the other when more is shown."""
    changes = {key: whole[key] for key in ("range", "tickvals", "ticktext")}
    return {**around, name: fit} if fit["range"] == whole["range"] else {**around, name: fit, "meta": {name: changes}}


def log_axis(title: str, low: float, high: float, unit: Callable[[float], str], **changes: Any) -> dict[str, Any]:
    """A logarithmic axis over `low` to `high` (widened a little) with ticks worded by `unit`."""
    low, high = widened(low, high)
    ticks = log_ticks(low, high)
    return axis(
        title,
        **{
            "type": "log",
            "range": [math.log10(low), math.log10(high)],
            "tickvals": ticks,
            "ticktext": [text.typeset(unit(tick)) for tick in ticks],
            **changes,
        },
    )


def widened(low: float, high: float) -> tuple[float, float]:
    """A range of positive numbers with 4 % room at both ends of its logarithm, at least a factor of 1.5 in all."""
    middle, half = math.log10(low * high) / 2, max(math.log10(high / low), math.log10(1.35)) / 2 * 1.08
    return 10 ** (middle - half), 10 ** (middle + half)


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers for a logarithmic axis, at most `most` or nearly so: the densest of the usual series that fits."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = range(first, last + 1)
    series: list[list[float]] = [
        [digit * 10.0**d for d in decades for digit in digits]
        for digits in ((1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), (1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))
    ]
    series += [[10.0**d for d in decades if d % step == 0] for step in (2, 3, 4, 6)]
    fitting = [[tick for tick in ticks if low <= tick <= high] for ticks in series]
    return next((ticks for ticks in fitting if 2 <= len(ticks) <= most), linear_ticks(low, high, most))


def linear_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round multiples of 1, 2 or 5 times a power of ten within `low` to `high`."""
    if high <= low:
        return [low]
    power = 10 ** math.floor(math.log10((high - low) / most))
    step = next(s * power for s in (1, 2, 2.5, 5, 10, 20) if (high - low) / (s * power) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]
