"""Findings about records: headers that cannot be true, captures joined end to end, and clocks that leap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from segcast.traces.captures.odd import FRACTIONS, LENGTHS
from segcast.traces.quality.finding import Finding, finding
from segcast.traces.units import say_span

_SECOND_NS: Final = 1_000_000_000
_DAY_NS: Final = 24 * 3600 * _SECOND_NS
_IDLE_NS: Final = 60 * _SECOND_NS
_CLOCK_UNSET_NS: Final = 20 * 365 * _DAY_NS  # a clock that says 1970 to 1989 was never set


def records(sources: Sequence[dict[str, Any]]) -> list[Finding]:
    """The findings of all captures of a trace."""
    return [*_fractions(sources), *_lengths(sources), *_joined(sources), *_silences(sources), *_idle(sources)]


def _fractions(sources: Sequence[dict[str, Any]]) -> list[Finding]:
    odd = [s for s in sources if s.get("odd_records", {}).get(FRACTIONS)]
    if not odd:
        return []
    count = sum(s["odd_records"][FRACTIONS] for s in odd)
    why = "the records are damaged"
    if all(s["most_fraction"] < _SECOND_NS for s in odd):
        why = "nanoseconds, it seems, in a file that says microseconds"
    return [
        finding(
            "fractions_of_a_second_or_more",
            "error",
            count,
            f"records give fractions of a second or more: {why}",
            "times are wrong, up to a thousandfold, and so is all that is made of them: loads, gaps and completion "
            "times; record again, or mend the magic number (4d 3c b2 a1 for nanoseconds)",
        )
    ]


def _lengths(sources: Sequence[dict[str, Any]]) -> list[Finding]:
    count = sum(s.get("odd_records", {}).get(LENGTHS, 0) for s in sources)
    if not count:
        return []
    return [
        finding(
            "wire_below_captured",
            "warning",
            count,
            "records give a length on the wire below the captured one, which cannot be",
            "bytes on the wire are understated; IP packets have the length that their headers give, as always",
        )
    ]


def _joined(sources: Sequence[dict[str, Any]]) -> list[Finding]:
    count = sum(s.get("further_headers", 0) for s in sources)
    if not count:
        return []
    return [
        finding(
            "joined_captures",
            "info",
            count,
            "captures begin within another, as cat joins them; each was read by its own header",
            "they follow each other as one capture; if their times overlap, give them apart: then they are merged",
        )
    ]


def _silences(sources: Sequence[dict[str, Any]]) -> list[Finding]:
    """Steps of over a day forward, within captures and between them."""
    count = sum(s["long_silences"] for s in sources)
    longest = max((s["longest_silence_ns"] for s in sources), default=0)
    spans = sorted((s["first_ns"], s["last_ns"]) for s in sources if s["first_ns"] is not None)
    until = spans[0][1] if spans else 0
    for first, last in spans[1:]:
        count += first - until > _DAY_NS
        longest = max(longest, first - until)
        until = max(until, last)
    if not count:
        return []
    detail = f"times leap forward by over a day, by up to {say_span(longest)}"
    if spans[0][0] < _CLOCK_UNSET_NS <= until:
        detail += "; the first are of a clock that was not set yet (before 1990)"
    return [
        finding(
            "long_silence",
            "warning",
            count,
            f"{detail}: a clock that was set, a packet of a wrong time, or silence",
            "a flow that goes on across it completes only after it, rates and loads are averages over all of it, and "
            "every flowlet ends; leave out what is on one side (editcap -A, -B)",
        )
    ]


def _idle(sources: Sequence[dict[str, Any]]) -> list[Finding]:
    """That most of a trace's time is one gap of a minute or more, between captures or within one that is alone then."""
    spans = sorted((s["first_ns"], s["last_ns"], s["longest_silence_ns"]) for s in sources if s["first_ns"] is not None)
    if not spans:
        return []
    longest, until = 0, spans[0][0]
    for place, (first, last, silence) in enumerate(spans):
        longest = max(longest, first - until)
        alone = first >= until and (place + 1 == len(spans) or spans[place + 1][0] >= last)
        longest = max(longest, silence if alone else 0)
        until = max(until, last)
    whole = until - spans[0][0]
    if longest < _IDLE_NS or 2 * longest <= whole:
        return []
    return [
        finding(
            "idle_gap",
            "warning",
            1,
            f"{say_span(longest)} of {say_span(whole)} pass without a packet, between two parts",
            "loads and utilisation are averages over a time in which nothing is sent, and mean nothing: ingest the "
            "parts apart (editcap -A, -B)",
        )
    ]
