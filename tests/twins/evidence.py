"""Which packets met another on their links, and which have an equal one beside them: pair by pair."""

from __future__ import annotations

from collections.abc import Sequence


def lone(packets: Sequence[tuple[int, int, int]], ways: Sequence[Sequence[int]], pauses: Sequence[int]) -> list[bool]:
    """Packets (sent, way, how long they took or -1) in order: none before them on a link was there a pause ago."""
    found = []
    for number, (sent, way, _) in enumerate(packets):
        met = False
        for before, other, took in packets[:number]:
            gone = before if took < 0 else before + took
            met |= any(sent - gone < pauses[link] for link in ways[way] if link in ways[other])
        found.append(not met)
    return found


def exchangeable(packets: Sequence[tuple[int, int, int, int]]) -> list[bool]:
    """Packets (class, way, sent or -1, how long they took or -1): another of the class and another way was underway."""
    longest = max((took for _, _, sent, took in packets if sent >= 0 and took >= 0), default=0)
    times = [(sent, sent + (took if took >= 0 else longest)) for _, _, sent, took in packets]
    return [
        sent >= 0
        and any(
            own == other and way != others and begin >= 0 and begin <= until and sent <= end
            for (other, others, begin, _), (_, end) in zip(packets, times, strict=True)
        )
        for (own, way, sent, _), (_, until) in zip(packets, times, strict=True)
    ]
