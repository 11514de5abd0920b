"""Findings about frames that could not be read, or not wholly: what they hold, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from segcast.traces.linktypes import linktype_name
from segcast.traces.quality.findings import Finding
from segcast.traces.reasons import FILTERED, ORDINARY, REASONS

_NAMED: Final = 4
_FEW: Final = 0.01
_ORDINARY_NAMES: Final = frozenset(REASONS[reason] for reason in ORDINARY)


def find(sources: Sequence[Mapping[str, Any]], decoded: Mapping[str, Any]) -> list[Finding]:
    """Findings of the captures' entries in `trace.json`, and of what the decoder counted over all of them."""
    frames = sum(source["packets"] for source in sources)
    skipped: dict[str, int] = {}
    for source in sources:
        for name, count in source["skipped"].items():
            skipped[name] = skipped.get(name, 0) + count
    found = []
    unread = {name: count for name, count in skipped.items() if name not in _ORDINARY_NAMES}
    if frames and sum(skipped.values()) == frames and REASONS[FILTERED] not in skipped:
        kinds = sorted({linktype_name(int(link)) for source in sources for link in source["linktypes"]})
        found.append(
            _finding(
                "no_ip",
                "error",
                frames,
                f"no frame has a readable IP header; link type {' and '.join(kinds)}: {_say(skipped)}",
                "there is no packet to forecast",
            )
        )
    elif unread:
        share = sum(unread.values()) / frames
        found.append(
            _finding(
                "frames_not_read",
                "info" if share < _FEW else "warning",
                sum(unread.values()),
                f"{share:.1%} of the frames hold what is not looked through: {_say(unread)}",
                "packets in them, if there are any, load no path",
            )
        )
    if beyond := decoded["packets_beyond_frame"]:
        share = beyond / frames
        found.append(
            _finding(
                "packets_beyond_frame",
                "info" if share < _FEW else "warning",
                beyond,
                f"{share:.1%} of the packets are longer, by their IP headers, than the frames that hold them",
                "sizes are those that IP headers state; the frames were cut without a note, or a sender is wrong",
            )
        )
    if further := decoded["packets_in_aggregates"]:
        share = further / frames
        found.append(
            _finding(
                "packets_in_aggregates",
                "info" if share < _FEW else "warning",
                further,
                "packets behind the first in frames that aggregate several (802.11 A-MSDU) are not read",
                "packets are missing: load is understated, and gaps where they were look like flowlet boundaries",
            )
        )
    return found


def _say(counts: Mapping[str, int]) -> str:
    """Counts by name, the greatest first, and how many more there are."""
    names = sorted(counts, key=lambda name: (-counts[name], name))
    said = [f"{counts[name]} {name}" for name in names[:_NAMED]]
    if rest := sum(counts[name] for name in names[_NAMED:]):
        said.append(f"{rest} others")
    return ", ".join(said)


def _finding(code: str, severity: str, number: int, detail: str, effect: str) -> Finding:
    return {"code": code, "severity": severity, "count": number, "detail": detail, "effect": effect}
