"""The figure of docs/headline.md, drawn from the table that stands there."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Final

_PAGE: Final = Path(__file__).parent / "headline.md"
_ROW: Final = re.compile(r"^\| (`.*?) \|(?:[^|]*\|){4} ([+-]\d+) \(([+-]\d+) to ([+-]\d+)\) \|", re.MULTILINE)
_LOW, _HIGH = -70, 90
_LEFT, _RIGHT, _TOP, _STEP = 330, 900, 64, 24
_PAPER: Final = -33
_INK, _MUTED, _GRID, _CLEAR, _UNCLEAR = "#1f2933", "#52606d", "#e4e7eb", "#0072B2", "#9aa5b1"


def headline_figure() -> str:
    """The change of p99 completion time against ECMP, policy by policy, as SVG.

    What is clear of 0 is blue; a dashed line is what the paper reports.
    """
    rows = [
        (name.replace("`", ""), *(int(value) for value in values))
        for name, *values in _ROW.findall(_PAGE.read_text("utf-8").partition("Read from it")[0])
    ]
    height = _TOP + _STEP * len(rows) + 46
    bottom = height - 40
    style = f'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="15" fill="{_INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 940 {height}" role="img" {style}>',
        "<title>p99 flow completion time against ECMP, by policy</title>",
        f'<rect width="940" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="28" font-weight="bold">p99 flow completion time against ECMP, %</text>',
        f'<text x="{_RIGHT}" y="28" text-anchor="end" fill="{_MUTED}">95 % of 10 seeds; grey: not clear of 0</text>',
    ]
    for tick in range(-60, 81, 20):
        colour = _INK if tick == 0 else _GRID
        parts.append(f'<line x1="{_x(tick)}" x2="{_x(tick)}" y1="{_TOP - 14}" y2="{bottom}" stroke="{colour}"/>')
        sign = "\u2212" if tick < 0 else "+" if tick else ""
        label = f"{sign}{abs(tick)}"
        parts.append(f'<text x="{_x(tick)}" y="{bottom + 20}" text-anchor="middle" fill="{_MUTED}">{label}</text>')
    parts.append(
        f'<line x1="{_x(_PAPER)}" x2="{_x(_PAPER)}" y1="{_TOP - 14}" y2="{bottom}" stroke="#D55E00" '
        'stroke-width="1.6" stroke-dasharray="6 4"/>'
    )
    parts.append(f'<text x="{_x(_PAPER)}" y="{_TOP - 20}" text-anchor="middle" fill="#B34700">the paper</text>')
    for number, (name, change, low, high) in enumerate(rows):
        y = _TOP + _STEP * number + 6
        colour = _UNCLEAR if low <= 0 <= high else _CLEAR
        parts.append(f'<text x="{_LEFT - 14}" y="{y + 5}" text-anchor="end">{html.escape(name)}</text>')
        parts.append(f'<line x1="{_x(low)}" x2="{_x(high)}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<circle cx="{_x(change)}" cy="{y}" r="5.5" fill="{colour}"/>')
    return "\n".join([*parts, "</svg>", ""])


def _x(percent: int) -> str:
    return f"{_LEFT + (percent - _LOW) * (_RIGHT - _LEFT) / (_HIGH - _LOW):.1f}"
