"""Findings about frames that could not be read, or not wholly: what they hold, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from segcast.traces.linktypes import linktype_name
from segcast.traces.quality.finding import Finding, finding, severity_of
from segcast.traces.reasons import FILTERED, ORDINARY, REASONS
from segcast.traces.units import say_share

_NAMED: Final = 4
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
            finding(
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
            finding(
                "frames_not_read",
                severity_of(share),
                sum(unread.values()),
                f"{say_share(share)} of the frames hold what is not looked through: {_say(unread)}",
                "packets in them, if there are any, load no path",
            )
        )
    if beyond := decoded["packets_beyond_frame"]:
        share = beyond / frames
        found.append(
            finding(
                "packets_beyond_frame",
                severity_of(share),
                beyond,
                f"{say_share(share)} of the packets are longer, by their IP headers, than the frames that hold them",
                "sizes are those that IP headers state; the frames were cut without a note, or a sender is wrong",
            )
        )
    if further := decoded["packets_in_aggregates"]:
        share = further / frames
        found.append(
            finding(
                "packets_in_aggregates",
                severity_of(share),
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
