"""The figure of docs/live.md, drawn from the table that stands there."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Final

_PAGE: Final = Path(__file__).parent / "live.md"
_CHANGE: Final = r"([+-]\d+) \(([+-]\d+) to ([+-]\d+)\)"
_ROW: Final = re.compile(rf"^\| (`[a-z-]+` against `[a-z-]+`, \w+) \| {_CHANGE} \| {_CHANGE} \|", re.MULTILINE)
_LOW, _HIGH = -70, 20
_LEFT, _RIGHT, _TOP, _STEP = 330, 900, 64, 46
_INK, _MUTED, _GRID, _MEASURED, _FORECAST = "#1f2933", "#52606d", "#e4e7eb", "#000000", "#0072B2"


def live_figure() -> str:
    """The change of completion times from policy to policy, with real TCP and as forecast, as SVG."""
    rows = [
        (name.replace("`", ""), [int(value) for value in values])
        for name, *values in _ROW.findall(_PAGE.read_text("utf-8"))
    ]
    height = _TOP + _STEP * len(rows) + 46
    bottom = height - 40
    style = f'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="15" fill="{_INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 940 {height}" role="img" {style}>',
        "<title>Completion times from policy to policy: real TCP, and its forecast</title>",
        f'<rect width="940" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="28" font-weight="bold">Flow completion time, change in %</text>',
        f'<circle cx="560" cy="23" r="5.5" fill="{_MEASURED}"/><text x="572" y="28">real TCP</text>',
        f'<rect x="655" y="18" width="10" height="10" fill="{_FORECAST}"/><text x="672" y="28">forecast</text>',
        f'<text x="{_RIGHT}" y="28" text-anchor="end" fill="{_MUTED}">95 % of the lists</text>',
    ]
    for tick in range(-60, 21, 20):
        colour = _INK if tick == 0 else _GRID
        parts.append(f'<line x1="{_x(tick)}" x2="{_x(tick)}" y1="{_TOP - 14}" y2="{bottom}" stroke="{colour}"/>')
        sign = "\u2212" if tick < 0 else "+" if tick else ""
        label = f"{sign}{abs(tick)}"
        parts.append(f'<text x="{_x(tick)}" y="{bottom + 20}" text-anchor="middle" fill="{_MUTED}">{label}</text>')
    for number, (name, values) in enumerate(rows):
        y = _TOP + _STEP * number + 10
        parts.append(f'<text x="{_LEFT - 14}" y="{y + 5}" text-anchor="end">{html.escape(name)}</text>')
        for (change, low, high), at, colour in ((values[:3], y - 6, _MEASURED), (values[3:], y + 8, _FORECAST)):
            parts.append(
                f'<line x1="{_x(low)}" x2="{_x(high)}" y1="{at}" y2="{at}" stroke="{colour}" stroke-width="3"/>'
            )
            if colour == _MEASURED:
                parts.append(f'<circle cx="{_x(change)}" cy="{at}" r="5.5" fill="{colour}"/>')
            else:
                parts.append(f'<rect x="{_x(change, -5)}" y="{at - 5}" width="10" height="10" fill="{colour}"/>')
    return "\n".join([*parts, "</svg>", ""])


def _x(percent: int, more: int = 0) -> str:
    kept = min(max(percent, _LOW), _HIGH)
    return f"{_LEFT + (kept - _LOW) * (_RIGHT - _LEFT) / (_HIGH - _LOW) + more:.1f}"
